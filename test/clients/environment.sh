#!/usr/bin/env bash
# Makes the environment of the client tests and prints its folder:
#
#   <folder>/bin/python                  Python with the packages of requirements.txt
#   <folder>/perf_analyzer/perf_analyzer Triton's perf_analyzer; its libraries are in <folder>/perf_analyzer/lib
#
# It stays in the user's cache, under a name made from the content of the files that say what is in it, and is made
# again when one of them changes or when an earlier run was interrupted. Progress goes to standard error.
# Needs Python with its venv module (Debian: python3-venv), apt-get and dpkg-deb, and the PyPI and Debian registries.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/shoal-ci
python=${PYTHON:-python3}

"$python" -c 'import ensurepip, venv' 2>/dev/null || {
  echo "environment.sh: '$python' is missing or has no venv module; on Debian: apt-get install python3-venv" >&2
  exit 1
}

key=$(
  {
    cat "$here/environment.sh" "$here/requirements.txt" "$here/perf-analyzer.txt"
    "$python" -c 'import sys; print(sys.version, sys.base_prefix)'
    uname -m
  } | sha256sum | cut -c1-16
)
folder=$cache/clients-$key

mkdir -p "$cache"
exec 9>"$cache/clients.lock"
flock -w 900 9

if [[ ! -f $folder/complete ]]; then
  started=$SECONDS
  # What an interrupted run left is not worth a look.
  rm -rf "$folder"
  {
    "$python" -m venv "$folder"
    pip=("$folder/bin/pip" --disable-pip-version-check --quiet --quiet --no-input)
    "${pip[@]}" install --no-deps --no-compile --only-binary :all: --requirement "$here/requirements.txt"

    mkdir -p "$folder/perf_analyzer/lib" "$folder/parts"
    "${pip[@]}" install --no-deps --no-compile --only-binary :all: --target "$folder/parts" --requirement "$here/perf-analyzer.txt"
    mv "$folder/parts/bin/perf_analyzer" "$folder/perf_analyzer/perf_analyzer"
    mv "$folder/parts/nvidia/cuda_runtime/lib/"libcudart.so.* "$folder/perf_analyzer/lib/"
    # apt-get downloads into the current folder, as a user of its own when it is run by root.
    (
      cd "$folder/parts"
      apt-get download -qq -o APT::Sandbox::User=root libb64-0d || {
        apt-get update -qq
        apt-get download -qq -o APT::Sandbox::User=root libb64-0d
      }
      dpkg-deb --extract libb64-0d_*.deb libb64
    )
    find "$folder/parts/libb64" -name 'libb64.so*' -exec mv {} "$folder/perf_analyzer/lib/" \;
    rm -rf "$folder/parts"
    LD_LIBRARY_PATH=$folder/perf_analyzer/lib "$folder/perf_analyzer/perf_analyzer" --version
    "$folder/bin/python" -c 'import kserve, tritonclient.http, tritonclient.http.aio'
  } >&2
  date >"$folder/complete"
  echo "environment.sh: made $folder in $((SECONDS - started)) s" >&2
fi

# Those that nothing has asked for in a month go; another checkout may need one that is not this one's.
touch "$folder/complete"
find "$cache" -maxdepth 2 -path '*/clients-*/complete' -mtime +30 -printf '%h\0' | xargs -0 -r rm -rf
echo "$folder"
