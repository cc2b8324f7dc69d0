// A real OpenID provider (npm `oidc-provider`, certified OP) whose keys change on command.
// Started by tests/tokens/provider.rs: `node provider.mjs FOLDER_WITH_NODE_MODULES CERTIFICATE KEY PORT`, its key store in
// `STORE` (first in the list signs). Lines on standard input: `rotate ALGORITHM` publishes and signs with a new key, the others
// stay published; `drop` leaves only the newest. Each line is answered by one JSON line.
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';
import * as crypto from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:https';

const [folder, certificate, key, store, port] = process.argv.slice(2);
const require = createRequire(pathToFileURL(`${folder}/`));
const { default: Provider } = await import(pathToFileURL(require.resolve('oidc-provider')));
console.info = console.warn = () => {};
const iss = 'https://provider.test';
const clientId = 'civil-affairs.provided';

function made(alg) {
  const pair = alg === 'RS256' || alg === 'PS256' ? crypto.generateKeyPairSync('rsa', { modulusLength: 2048 })
    : alg === 'ES256' ? crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' }) : crypto.generateKeyPairSync('ed25519');
  return { ...pair.privateKey.export({ format: 'jwk' }), alg, use: 'sig', kid: crypto.randomUUID() };
}

let keys = existsSync(store) ? JSON.parse(readFileSync(store, 'utf8')) : [made('ES256')];
let current;

function begin() {
  writeFileSync(store, JSON.stringify(keys));
  const provider = new Provider(iss, {
    jwks: { keys },
    clients: [{
      client_id: clientId, client_secret: 'not-a-secret', grant_types: ['client_credentials'], redirect_uris: [], response_types: [],
      token_endpoint_auth_method: 'client_secret_post', id_token_signed_response_alg: keys[0].alg,
    }],
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: () => ({
          scope: 'ask', audience: 'tongqu.test', accessTokenTTL: 600, accessTokenFormat: 'jwt', jwt: { sign: { alg: keys[0].alg, kid: keys[0].kid } },
        }),
      },
    },
    // The hub asks for `nbf` too, which RFC 9068 leaves open.
    formats: { customizers: { jwt(_ctx, _token, jwt) { jwt.payload.nbf = jwt.payload.iat; } } },
    cookies: { keys: ['test'] },
  });
  provider.proxy = true;
  current = provider.callback();
}

begin();
const server = createServer({ cert: readFileSync(certificate), key: readFileSync(key) }, (request, response) => current(request, response));
server.listen(Number(port), '127.0.0.1', () => console.log(JSON.stringify({ port: server.address().port, kid: keys[0].kid })));
createInterface({ input: process.stdin }).on('line', (line) => {
  const [word, alg] = line.split(' ');
  keys = word === 'rotate' ? [made(alg), ...keys] : keys.slice(0, 1);
  begin();
  console.log(JSON.stringify({ kid: keys[0].kid, published: keys.length }));
}).on('close', () => process.exit(0));
