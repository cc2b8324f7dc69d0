#!/usr/bin/env bash
# schemathesis (PyPI) against `/openapi.json` of the demo's hub: all checks, no failure. Short: examples and coverage;
# long: `TONGQU_API_EXAMPLES=N` adds N random calls an operation and chains of calls.
# Usage: tests/api/schemathesis.sh TONGQU SCHEMATHESIS, both programs.
set -euo pipefail
tongqu=$1 schemathesis=$2
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
pid=
trap '[[ -z $pid ]] || { kill "$pid" && wait "$pid"; } 2>/dev/null || true; rm -rf "$folder"' EXIT
"$tongqu" demo --dir "$folder/demo" --listen 127.0.0.1:0 --residents 2000 --once >"$folder/story"
# Hundreds of calls a minute without a token are what is asked for here: a 429 would hide how they are answered.
sed -i 's/^\[hub\]$/[hub]\nlisten = "127.0.0.1:0"/' "$folder/demo/tongqu.toml"
printf '\n[limits]\nunauthenticated_per_minute = 1000000\n' >>"$folder/demo/tongqu.toml"
"$tongqu" serve --config "$folder/demo/tongqu.toml" >"$folder/log" 2>&1 &
pid=$!
url=
for ((turn = 0; turn < 600; turn++)); do
  port=$(sed -n 's/.*address"\{0,1\}[=:]"\{0,1\}127\.0\.0\.1:\([0-9]*\).*/\1/p' "$folder/log" | head -1)
  [[ -n $port ]] && url=http://127.0.0.1:$port && break
  kill -0 "$pid" 2>/dev/null || break
  sleep 0.1
done
[[ -n $url ]] || { echo "tests/api/schemathesis.sh: the hub does not serve" >&2; cat "$folder/log" >&2; exit 1; }
export NO_PROXY=127.0.0.1 no_proxy=127.0.0.1
token=$(sed -n 's/.*"civil-affairs.operator": "\(.*\)".*/\1/p' "$folder/demo/credentials.json")
arguments=(--phases "examples,coverage" --max-examples 3)
[[ -z ${TONGQU_API_EXAMPLES:-} ]] || arguments=(--phases "examples,coverage,fuzzing,stateful" --max-examples "$TONGQU_API_EXAMPLES")
cd "$folder"
"$schemathesis" --config-file "$here/schemathesis.toml" run "$url/openapi.json" --header "Authorization: Bearer $token" \
  --checks all --generation-database none --seed "${TONGQU_SEED:-1}" "${arguments[@]}" >"$folder/said" 2>&1 || { cat "$folder/said"; exit 1; }
tail -n 12 "$folder/said"
