#!/usr/bin/env bash
# Packs the package, installs it into an empty folder as a user would, serves from there and embeds it in a program.
#
#   test/system/package/run.sh        (needs a built or buildable checkout, curl, and the npm registry or its cache)
set -euo pipefail
cd "$(dirname "$0")/../../.."
root=$PWD

work=$(mktemp -d)
server=''
clean_up() {
  [[ -n $server ]] && kill "$server" 2>/dev/null
  rm -rf "$work"
}
trap 'set +e; clean_up' EXIT
die() {
  echo "package: FAILED: $*" >&2
  tail -n 20 "$work"/*.log >&2
  exit 1
}

npm pack --silent --pack-destination "$work" >"$work/pack.log" 2>&1 || die 'npm pack'
mkdir "$work/app"
cd "$work/app"
echo '{"name":"app","private":true,"type":"module"}' >package.json
ONNXRUNTIME_NODE_INSTALL=skip npm install --no-audit --no-fund "$work"/shoal-*.tgz >"$work/install.log" 2>&1 || die 'npm install'
[[ ! -e node_modules/typescript ]] || die 'a development dependency was installed'
echo "package: $(du -h "$work"/shoal-*.tgz | cut -f1) packed, $(find node_modules/shoal -type f | wc -l) files"

port=$(node -e "const s=require('node:net').createServer().listen(0,'127.0.0.1',()=>{console.log(s.address().port);s.close()})")
npx shoal --version >"$work/version.log" 2>&1 || die 'npx shoal --version'
node_modules/.bin/shoal serve node_modules/shoal/models --port "$port" >"$work/serve.log" 2>&1 &
server=$!
for _ in $(seq 200); do
  curl -fsS -o /dev/null "http://127.0.0.1:$port/v2/health/ready" 2>/dev/null && break
  sleep 0.1
done
curl -fsS "http://127.0.0.1:$port/v2/models/language-id/infer" -H 'content-type: application/json' \
  -d '{"inputs":[{"name":"text","datatype":"BYTES","shape":[1],"data":["Wo ist bitte der nächste Bahnhof?"]}]}' >"$work/answer.log" ||
  die 'the first question'
grep -q '"deu"' "$work/answer.log" || die 'the first answer'
kill -TERM "$server"
wait "$server" || die "exit code $? after SIGTERM"
server=''

cat >app.js <<'EOF'
import { createServer, makeTensor, readTensor } from 'shoal';
import { ShoalClient } from 'shoal/client';
const server = await createServer({ models: 'node_modules/shoal/models', port: 0, logLevel: 'error' });
const client = new ShoalClient(await server.listen());
await server.loaded();
const reply = await client.infer('language-id', { text: { data: ['Wo ist der Bahnhof, bitte?'], shape: [1] } });
console.log(reply.outputs.language?.data);
await client.close();
const { outputs } = await server.infer('language-id', { text: makeTensor('BYTES', [1], ['Where is the station, please?']) });
console.log(readTensor(outputs.language));
await server.close();
EOF
node app.js >"$work/app.log" 2>&1 || die "the README's program"
grep -q deu "$work/app.log" || die 'the client answers something else'
grep -q eng "$work/app.log" || die "the README's program answers something else"
# A user's strict TypeScript must accept the same program: the types are exported and complete.
cp app.js app.ts
"$root/node_modules/.bin/tsc" --noEmit --strict --target es2023 --module nodenext --skipLibCheck \
  --typeRoots "$root/node_modules/@types" --types node app.ts >"$work/types.log" 2>&1 || die 'types'
echo 'package: serves with npx, answers as a library, ends on SIGTERM with 0'
