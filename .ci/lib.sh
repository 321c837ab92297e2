# Parts of .ci/run. Sourced, not run.

step() { printf '\n=== %s (%s s)\n' "$1" "$SECONDS"; }

# need COMMAND PACKAGE: installs a Debian package where its command is missing, without starting a service.
need() { command -v "$1" >/dev/null || install_package "$2"; }

# need_file PATH PACKAGE: installs a Debian package where a file of it is missing.
need_file() { [[ -e $1 ]] || install_package "$2"; }

# need_python: Python with its venv module.
need_python() { python3 -c 'import ensurepip, venv' 2>/dev/null || install_package python3-venv; }

install_package() {
  [[ -n ${apt_updated:-} ]] || { apt-get update -qq && apt_updated=1; }
  DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "$1" >/dev/null
}

# node_of_major MAJOR: prints the folder of a `node` of that major version; it comes from an npm package into the cache
# unless the machine's own is one.
node_of_major() {
  local major=$1 own package folder
  own=$(command -v node)
  if [[ $(node -p 'process.versions.node.split(".")[0]') == "$major" ]]; then
    dirname "$own"
    return
  fi
  package=node-linux-$(node -p process.arch)
  folder=$cache/node$major
  if [[ ! -x $folder/node_modules/$package/bin/node ]]; then
    npm install --prefix "$folder" --no-save --ignore-scripts --silent "$package@$major" >/dev/null
  fi
  echo "$folder/node_modules/$package/bin"
}

# on_node FOLDER COMMAND…: runs a command with that folder's `node` first on the path.
on_node() { PATH="$1:$PATH" "${@:2}"; }

# totals_of FILE: the last summary that node's test runner printed there, in the form of its TAP reporter.
totals_of() {
  awk '/^(#|ℹ) (tests|suites|pass|fail|cancelled|skipped|todo|duration_ms) / {
    if ($2 == "tests") totals = ""
    sub(/^ℹ/, "#")
    totals = totals $0 "\n"
  } END { printf "%s", totals }' "$1"
}
