// Good and forged tokens by a generator that shares nothing with the hub: npm `jose` and Node's own cryptography.
// Started by tests/tokens/generated.rs: `node generate.mjs FOLDER_WITH_NODE_MODULES`, a JSON line on standard input,
// a JSON document `{jwks, cases: [[name, token, good]]}` on standard output.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import * as crypto from 'node:crypto';
import { readFileSync } from 'node:fs';
import { deflateRawSync } from 'node:zlib';

const require = createRequire(pathToFileURL(`${process.argv[2]}/`));
const jose = await import(pathToFileURL(require.resolve('jose')));
const { iss, sub, aud, now, listener } = JSON.parse(readFileSync(0, 'utf8'));

const pairs = {
  rs: crypto.generateKeyPairSync('rsa', { modulusLength: 2048 }),
  ps: crypto.generateKeyPairSync('rsa', { modulusLength: 2048 }),
  es: crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  ed: crypto.generateKeyPairSync('ed25519'),
};
const algorithms = { rs: 'RS256', ps: 'PS256', es: 'ES256', ed: 'EdDSA' };
const stranger = {
  rs: crypto.generateKeyPairSync('rsa', { modulusLength: 2048 }),
  es: crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  ed: crypto.generateKeyPairSync('ed25519'),
  k1: crypto.generateKeyPairSync('ec', { namedCurve: 'secp256k1' }),
  p384: crypto.generateKeyPairSync('ec', { namedCurve: 'P-384' }),
  x: crypto.generateKeyPairSync('ed448'),
};
const jwk = (pair, more) => ({ ...pair.publicKey.export({ format: 'jwk' }), use: 'sig', ...more });
const jwks = { keys: Object.keys(pairs).map((kid) => jwk(pairs[kid], { kid, alg: algorithms[kid] })) };

const b64 = (value) => Buffer.from(value).toString('base64url');
const claims = { iss, sub, aud, exp: now + 300, iat: now, nbf: now };
const header = (kid) => ({ alg: algorithms[kid], typ: 'at+jwt', kid });
const cases = [];
const bad = (name, token) => cases.push([name, token, false]);
const good = (name, token) => cases.push([name, token, true]);

// Signs any text as the algorithm would be.
function raw(alg, key, signed) {
  const data = Buffer.from(signed);
  const pss = { padding: crypto.constants.RSA_PKCS1_PSS_PADDING };
  switch (alg) {
    case 'RS256': return crypto.sign('sha256', data, key);
    case 'RS384': return crypto.sign('sha384', data, key);
    case 'RS512': return crypto.sign('sha512', data, key);
    case 'RS1': return crypto.sign('sha1', data, key);
    case 'PS256': return crypto.sign('sha256', data, { key, ...pss, saltLength: 32 });
    case 'PS384': return crypto.sign('sha384', data, { key, ...pss, saltLength: 48 });
    case 'PS512': return crypto.sign('sha512', data, { key, ...pss, saltLength: 64 });
    case 'ES256': case 'ES256K': return crypto.sign('sha256', data, { key, dsaEncoding: 'ieee-p1363' });
    case 'ES384': return crypto.sign('sha384', data, { key, dsaEncoding: 'ieee-p1363' });
    case 'EdDSA': case 'Ed25519': case 'Ed448': return crypto.sign(null, data, key);
    default: throw new Error(alg);
  }
}
const parts = (head, body) =>
  `${b64(typeof head === 'string' ? head : JSON.stringify(head))}.${b64(typeof body === 'string' ? body : JSON.stringify(body))}`;
// A token whose header and claims differ in some members, signed by the registered key of that name.
function token(kid, head = {}, body = {}, alg = algorithms[kid], key = pairs[kid].privateKey) {
  const signed = parts(typeof head === 'string' ? head : { ...header(kid), ...head }, typeof body === 'string' ? body : { ...claims, ...body });
  return `${signed}.${b64(raw(alg, key, signed))}`;
}
const mac = (name, secret, head) => {
  const signed = parts(head, claims);
  return `${signed}.${crypto.createHmac(name, secret).update(signed).digest('base64url')}`;
};

// Good ones, by the library and by hand: a refusal of everything would not pass.
for (const kid of Object.keys(pairs)) {
  const signed = await new jose.SignJWT(claims).setProtectedHeader(header(kid)).sign(pairs[kid].privateKey);
  good(`jose ${algorithms[kid]}`, signed);
  good(`by hand ${algorithms[kid]}`, token(kid));
}
good('a list of this hub alone', token('es', {}, { aud: [aud] }));
good('jku, x5u, x5c and jwk are not looked at', token('ed', {
  jku: `${listener}/jku`, x5u: `${listener}/x5u`, x5c: ['AA'], jwk: jwk(stranger.ed, {}),
}));

// Which key and algorithm: only the registered key's own.
for (const kid of Object.keys(pairs)) {
  for (const alg of ['none', 'None', '', 'HS256', 'RS256', 'PS256', 'ES256', 'EdDSA', 'RS1', 'ES256K', 'ES384', 'ML-DSA-44']) {
    if (alg !== algorithms[kid]) bad(`${algorithms[kid]} key, header says ${alg || 'nothing'}`, token(kid, { alg }));
  }
  bad(`${algorithms[kid]} none without signature`, `${parts({ ...header(kid), alg: 'none' }, claims)}.`);
  bad(`${algorithms[kid]} without signature`, `${parts(header(kid), claims)}.`);
  bad(`${algorithms[kid]} a signature of another token`, `${parts(header(kid), { ...claims, sub: `${sub}2` })}.${token(kid).split('.')[2]}`);
  const pem = pairs[kid].publicKey.export({ type: 'spki', format: 'pem' });
  const der = pairs[kid].publicKey.export({ type: 'spki', format: 'der' });
  for (const [what, secret] of [['PEM', pem], ['PEM without its end of line', pem.trim()], ['DER', der], ['JWK', JSON.stringify(jwks.keys.find((key) => key.kid === kid))]]) {
    bad(`HS256 with the ${algorithms[kid]} public key (${what}) as secret`, mac('sha256', secret, { ...header(kid), alg: 'HS256' }));
  }
  bad(`HMAC under the name ${algorithms[kid]}`, mac('sha256', pem, header(kid)));
}
bad('HS512 with an empty secret', mac('sha512', '', { ...header('es'), alg: 'HS512' }));
bad('RS256 by the PS256 key', token('ps', { alg: 'RS256' }, {}, 'RS256'));
bad('PS256 by the RS256 key', token('rs', { alg: 'PS256' }, {}, 'PS256'));
bad('RS256 signature under PS256', token('ps', {}, {}, 'RS256'));
bad('PS256 signature under RS256', token('rs', {}, {}, 'PS256'));
for (const alg of ['RS384', 'RS512', 'RS1']) bad(`${alg} by the RS256 key`, token('rs', { alg }, {}, alg));
for (const alg of ['RS384', 'RS512', 'RS1']) bad(`${alg} under the name RS256`, token('rs', {}, {}, alg));
for (const alg of ['PS384', 'PS512']) bad(`${alg} under the name PS256`, token('ps', {}, {}, alg));
bad('PS256 with a salt of 0', (() => {
  const signed = parts(header('ps'), claims);
  const key = { key: pairs.ps.privateKey, padding: crypto.constants.RSA_PKCS1_PSS_PADDING, saltLength: 0 };
  return `${signed}.${b64(crypto.sign('sha256', Buffer.from(signed), key))}`;
})());
bad('ES256K', token('es', { alg: 'ES256K' }, {}, 'ES256K', stranger.k1.privateKey));
bad('ES256K under the name ES256', token('es', {}, {}, 'ES256K', stranger.k1.privateKey));
bad('ES384', token('es', { alg: 'ES384' }, {}, 'ES384', stranger.p384.privateKey));
bad('ES384 under the name ES256', token('es', {}, {}, 'ES384', stranger.p384.privateKey));
bad('Ed448', token('ed', {}, {}, 'Ed448', stranger.x.privateKey));
for (const kid of ['rs', 'es', 'ed']) {
  const by = stranger[kid];
  bad(`a stranger's ${algorithms[kid]} key`, token(kid, {}, {}, algorithms[kid], by.privateKey));
  bad(`a stranger's ${algorithms[kid]} key in jwk`, token(kid, { jwk: jwk(by, { kid }) }, {}, algorithms[kid], by.privateKey));
  bad(`a stranger's ${algorithms[kid]} key by jku`, token(kid, { jku: `${listener}/keys` }, {}, algorithms[kid], by.privateKey));
  bad(`a stranger's ${algorithms[kid]} key by x5u`, token(kid, { x5u: `${listener}/chain` }, {}, algorithms[kid], by.privateKey));
  bad(`a stranger's ${algorithms[kid]} key in x5c`, token(kid, { x5c: [by.publicKey.export({ type: 'spki', format: 'der' }).toString('base64')] }, {}, algorithms[kid], by.privateKey));
  bad(`a stranger's ${algorithms[kid]} key with its own kid`, token(kid, { kid: 'stranger', jwk: jwk(by, { kid: 'stranger' }) }, {}, algorithms[kid], by.privateKey));
}
for (const kid of [`${listener}/kid`, '/dev/null', '../../../../etc/passwd', "x' UNION SELECT 'k' --", 'k'.repeat(10_240), '', ' es', 'es ', 'ES', 'es\u0000', 'e\u0441', null, 1, ['es'], { kid: 'es' }]) {
  bad(`kid ${JSON.stringify(kid).slice(0, 40)}`, token('es', { kid }));
}
bad('another registered key\'s kid', token('es', { kid: 'ed' }));

// Signatures in every wrong form.
const order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
const number = (buffer) => BigInt(`0x${buffer.toString('hex')}`);
const bytes = (value) => Buffer.from(value.toString(16).padStart(64, '0'), 'hex');
const es = parts(header('es'), claims);
const signature = raw('ES256', pairs.es.privateKey, es);
const [r, s] = [number(signature.subarray(0, 32)), number(signature.subarray(32))];
for (const [what, pair] of [
  ['r = s = 0', [0n, 0n]], ['r = 0', [0n, s]], ['s = 0', [r, 0n]], ['r = n', [order, s]], ['s = n', [r, order]],
  ['r = s = n', [order, order]], ['r = s = 1', [1n, 1n]], ['r and s swapped', [s, r]], ['r one more', [r + 1n, s]],
  ['s one more', [r, (s + 1n) % order]],
]) bad(`ES256 ${what}`, `${es}.${b64(Buffer.concat(pair.map(bytes)))}`);
const der = crypto.sign('sha256', Buffer.from(es), pairs.es.privateKey);
for (const [what, value] of [
  ['DER in place of raw', der], ['empty', Buffer.alloc(0)], ['one byte', Buffer.alloc(1)], ['zeros', Buffer.alloc(64)], ['all ones', Buffer.alloc(64, 255)],
  ['cut by a byte', signature.subarray(0, 63)], ['a byte longer', Buffer.concat([signature, Buffer.alloc(1)])],
  ['a zero before', Buffer.concat([Buffer.alloc(1), signature])], ['twice', Buffer.concat([signature, signature])],
]) bad(`ES256 signature ${what}`, `${es}.${b64(value)}`);
const ed = parts(header('ed'), claims);
const edSignature = raw('EdDSA', pairs.ed.privateKey, ed);
const group = (1n << 252n) + 27742317777372353535851937790883648493n;
const little = (value) => Buffer.from(value.toString(16).padStart(64, '0'), 'hex').reverse();
const S = number(Buffer.from(edSignature.subarray(32)).reverse());
const R = edSignature.subarray(0, 32);
for (let times = 1n; times <= 15n; times += 7n) {
  bad(`EdDSA S + ${times} L`, `${ed}.${b64(Buffer.concat([R, little(S + times * group)]))}`);
}
for (const point of [
  '0100000000000000000000000000000000000000000000000000000000000000',
  '0000000000000000000000000000000000000000000000000000000000000000',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
  'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
]) {
  bad(`EdDSA R of small order ${point.slice(0, 4)}, S = 0`, `${ed}.${b64(Buffer.concat([Buffer.from(point, 'hex'), Buffer.alloc(32)]))}`);
  bad(`EdDSA R of small order ${point.slice(0, 4)}, its S`, `${ed}.${b64(Buffer.concat([Buffer.from(point, 'hex'), edSignature.subarray(32)]))}`);
}
const rs = parts(header('rs'), claims);
const rsSignature = raw('RS256', pairs.rs.privateKey, rs);
for (const [what, value] of [
  ['zero', Buffer.alloc(256)], ['one', Buffer.concat([Buffer.alloc(255), Buffer.from([1])])], ['all ones', Buffer.alloc(256, 255)],
  ['with a zero before', Buffer.concat([Buffer.alloc(1), rsSignature])], ['cut', rsSignature.subarray(1)],
  // The cube root trick (e = 3) and a padding with rubbish after the digest need a broken check.
  ['a padding in clear', Buffer.concat([Buffer.from([0, 1]), Buffer.alloc(202, 255), Buffer.from([0]), Buffer.from('3031300d060960864801650304020105000420', 'hex'), crypto.createHash('sha256').update(rs).digest()])],
]) bad(`RS256 signature ${what}`, `${rs}.${b64(value)}`);

// Claims.
for (const [name, values] of Object.entries({
  exp: [now - 31, `${now + 300}`, now + 300.5, 1e300, -1, null, true, [now + 300], {}, 0, Number.MAX_SAFE_INTEGER, now + 300_000],
  nbf: [now + 3600, `${now}`, now + 0.5, -1, null, 1e300, []],
  iat: [now + 3600, `${now}`, now - 0.5, -1, null, 1e300, now - 300_000],
  aud: [`${aud}.evil`, `evil-${aud}`, `${aud}/`, ` ${aud}`, aud.toUpperCase(), '', null, [], ['other'], [aud, 'other'], ['other', aud], [aud, aud], [[aud]], { [aud]: aud }, true, 1, `${aud}\u0000`, '*'],
  iss: [`${iss}/`, iss.toUpperCase(), iss.replace('https', 'http'), ` ${iss}`, [iss], [iss, 'https://issuer.test'], null, '', 'https://issuer.test', `${iss}#`, `${iss}\u0000`],
  sub: [null, '', [sub], `${sub} `, sub.toUpperCase(), 'hub', 1, `${sub}\u0000`, '*', '%'],
})) {
  for (const value of values) bad(`${name} ${JSON.stringify(value)}`, token('es', {}, { [name]: value }));
  const without = { ...claims };
  delete without[name];
  bad(`no ${name}`, token('es', {}, JSON.stringify(without)));
  bad(`${name} twice`, token('es', {}, JSON.stringify(claims).replace('{', `{${JSON.stringify(name)}:${JSON.stringify(claims[name])},`)));
  bad(`${name} twice, once escaped`, token('es', {}, JSON.stringify(claims).replace('{', `{"\\u00${name.charCodeAt(0).toString(16)}${name.slice(1)}":${JSON.stringify(claims[name])},`)));
}
for (const text of ['exp":1e10', `exp":${now + 300}.0`, 'exp":9999999999999999999999', 'exp":NaN', 'exp":0x7fffffff']) {
  bad(text, token('es', {}, JSON.stringify(claims).replace(/exp":\d+/, text)));
}

// Headers.
for (const [what, head] of [
  ['crit', { crit: ['exp'] }], ['crit of b64', { crit: ['b64'], b64: false }], ['crit of what nobody knows', { crit: ['x'], x: 1 }], ['b64 false alone', { b64: false }],
  ['b64 true', { b64: true }], ['zip', { zip: 'DEF' }], ['nested', { cty: 'JWT' }], ['an ID token', { typ: 'JWT' }], ['no typ', { typ: undefined }], ['typ id+jwt', { typ: 'id+jwt' }],
  ['typ logout+jwt', { typ: 'logout+jwt' }], ['typ dpop+jwt', { typ: 'dpop+jwt' }], ['typ with a blank', { typ: 'at+jwt ' }], ['typ a list', { typ: ['at+jwt'] }], ['no kid', { kid: undefined }], ['no alg', { alg: undefined }],
]) bad(`header: ${what}`, token('es', head));
bad('header twice alg', token('es', JSON.stringify(header('es')).replace('{', '{"alg":"none",')));
bad('header twice kid', token('es', JSON.stringify(header('es')).replace('{', '{"kid":"ed",')));
bad('header a list', token('es', '[]'));
bad('header null', token('es', 'null'));
bad('header followed by another', token('es', `${JSON.stringify(header('es'))}{}`));
bad('claims a list', token('es', {}, '[]'));
bad('claims followed by others', token('es', {}, `${JSON.stringify(claims)}${JSON.stringify(claims)}`));
bad('claims with a byte order mark', token('es', {}, `\ufeff${JSON.stringify(claims)}`));
bad('claims compressed', (() => {
  const signed = `${b64(JSON.stringify({ ...header('es'), zip: 'DEF' }))}.${b64(deflateRawSync(JSON.stringify(claims)))}`;
  return `${signed}.${b64(raw('ES256', pairs.es.privateKey, signed))}`;
})());

// Forms of the text.
const [h, c, g] = token('es').split('.');
const swap = (text, at, by) => text.slice(0, at) + by + text.slice(at + 1);
// The last character of 64 bytes carries 2 bits; another one with the same two is not canonical.
const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
const last = alphabet[alphabet.indexOf(g[g.length - 1]) + 1];
for (const [what, text] of [
  ['detached payload', `${h}..${g}`], ['a part too few', `${h}.${c}`], ['a part too many', `${h}.${c}.${g}.${g}`], ['five parts', `${h}.${c}.${g}.${h}.${c}`],
  ['an empty part before', `.${h}.${c}.${g}`], ['a dot after', `${h}.${c}.${g}.`], ['padding', `${h}.${c}.${g}=`], ['padding of two', `${h}.${c}.${g}==`], ['padded header', `${h}=.${c}.${g}`],
  ['standard base64', `${h}.${c}.${Buffer.from(g, 'base64url').toString('base64')}`], ['a signature that is not canonical', `${h}.${c}.${g.slice(0, -1)}${last}`],
  ['a blank within', `${h}.${swap(c, 5, ' ')}.${g}`], ['a blank before', ` ${h}.${c}.${g}`], ['a tab within', `${h}.${c}.${g.slice(0, 9)}\t${g.slice(9)}`],
  ['a bracket in base64', `${h}.${swap(c, 9, '(')}.${g}`], ['header of another key', `${b64(JSON.stringify(header('ed')))}.${c}.${g}`],
  ['JSON serialisation', JSON.stringify({ payload: c, protected: h, signature: g })], ["claims of 20 KB", token("es", {}, { more: "x".repeat(20_000) })],
  ['nested', token('es', { cty: undefined }, `"${token('es')}"`)], ['quoted', `"${h}.${c}.${g}"`],
]) bad(`form: ${what}`, text);
bad('a JWE to the RSA key', await new jose.CompactEncrypt(Buffer.from(JSON.stringify(claims)))
  .setProtectedHeader({ alg: 'RSA-OAEP-256', enc: 'A256GCM', typ: 'at+jwt', kid: 'rs' }).encrypt(pairs.rs.publicKey));
bad('a JWE that is shared directly', await new jose.CompactEncrypt(Buffer.from(token('es')))
  .setProtectedHeader({ alg: 'dir', enc: 'A256GCM', cty: 'JWT', typ: 'at+jwt', kid: 'es' }).encrypt(new Uint8Array(32)));
bad('an unsecured JWT', new jose.UnsecuredJWT(claims).encode());

process.stdout.write(JSON.stringify({ jwks, cases }));
