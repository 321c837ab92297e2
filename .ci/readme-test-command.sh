#!/usr/bin/env bash
# Prints the test command as the README gives it: the first line of a code block that runs `npm test`, less its comment.
# CI runs what this prints, so the README cannot promise another command than the one that is tried.
set -euo pipefail
cd "$(dirname "$0")/.."

[[ -f README.md ]] || {
  echo 'npm ci && npm test'
  exit 0
}
command=$(awk '/^ *```/ { inside = !inside; next }
  inside && /npm test/ { sub(/^ *\$ /, ""); sub(/ +#.*$/, ""); print; exit }' README.md)
[[ -n $command ]] || {
  echo 'README.md has no code block with a line that runs npm test' >&2
  exit 1
}
echo "$command"
