#!/usr/bin/env bash
# Sends a server what schemathesis makes of its OpenAPI document, and checks the answers against it.
#
#   test/system/openapi/run.sh [seconds]     (needs a built dist/ and what test/clients/environment.sh needs)
#
# SEED=<number> repeats a run; without it every run has another seed, which schemathesis prints.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../../.." && pwd)
seconds=${1:-60}
python=$("$root/test/clients/environment.sh")/bin/python
work=$(mktemp -d)
server=

finish() {
  [[ -z $server ]] || { kill "$server" && wait "$server" || true; }
  rm -rf "$work"
}
trap finish EXIT

# Starts a server: serve NAME [none|explicit]
serve() {
  # What it logs is of no interest: the log settings are changed, too.
  node "$here/serve.mjs" "$work/$1" "$2" >/dev/null &
  server=$!
  until [[ -f $work/$1 ]]; do
    kill -0 "$server" || { echo "run.sh: the server did not start" >&2; exit 1; }
    sleep 0.1
  done
}

stop() {
  kill "$server"
  wait "$server"
  server=
}

# Runs schemathesis against the server NAME: check NAME [options…]
check() {
  local name=$1
  shift
  (
    # It keeps notes in the folder in which it runs.
    cd "$work"
    PYTHONPATH=$here PYTHONDONTWRITEBYTECODE=1 "$python" -m schemathesis.cli --config-file "$here/schemathesis.toml" \
      run "$(<"$work/$name")/openapi.json" ${SEED:+--seed "$SEED"} "$@"
  )
}

serve usual none
check usual --max-time "$seconds" --exclude-operation-id load --exclude-operation-id unload
stop

# What loads and unloads models gets a server of its own, or there would be none left for the others.
serve controlled explicit
check controlled --max-time $((seconds / 4)) --include-tag Repository
stop

echo "openapi: schemathesis found nothing"
