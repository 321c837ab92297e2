#!/usr/bin/env bash
# Builds the image, looks at it, runs it, asks it, and stops it with SIGTERM under load.
#
#   test/system/container/run.sh
#
# Uses Docker where its daemon answers. Elsewhere CONTAINER_BUILD names a command that builds a context
# (`$CONTAINER_BUILD -t TAG FOLDER`) into buildah's storage and runs an image (`$CONTAINER_BUILD --run TAG --env K=V
# [-- COMMAND…]`). Needs bash, Node.js, curl and, without Docker, root.
set -euo pipefail
cd "$(dirname "$0")/../../.."

tag=localhost/shoal-system-test:latest
work=$(mktemp -d)
builder=tool
docker info >/dev/null 2>&1 && builder=docker
if [[ $builder == tool && -z ${CONTAINER_BUILD:-} ]]; then
  echo 'container: no Docker daemon answers and CONTAINER_BUILD is not set' >&2
  exit 1
fi
# The image format of OCI has no health check; Docker's, which every engine reads, has.
export BUILDAH_FORMAT=docker STORAGE_DRIVER=${STORAGE_DRIVER:-vfs} BUILDAH_ISOLATION=chroot

say() { echo "container: $*"; }
die() {
  say "FAILED: $*" >&2
  for log in "$work"/*.log; do [[ -s $log ]] && tail -n 20 "$log" | sed "s#^#  ${log##*/}: #" >&2; done
  exit 1
}

launched='' # process id of what runs the current container
docker_id=''
buildah_id=''
clean_up() {
  if [[ -n $launched ]]; then
    kill -TERM -- "-$launched" 2>/dev/null
    sleep 2
    kill -KILL -- "-$launched" 2>/dev/null
  fi
  [[ -n $docker_id ]] && docker rm -f "$docker_id" >/dev/null 2>&1
  [[ -n $buildah_id ]] && buildah rm "$buildah_id" >/dev/null 2>&1
  if [[ $builder == docker ]]; then docker rmi -f "$tag"; else buildah rmi -f "$tag"; fi >/dev/null 2>&1
  rm -rf "$work"
}
trap 'set +e; clean_up' EXIT

free_port() {
  node -e "const s=require('node:net').createServer().listen(0,'127.0.0.1',()=>{console.log(s.address().port);s.close()})"
}
# `field EXPRESSION` evaluates over the image's configuration `c`.
field() { node -e 'const c=JSON.parse(require("fs").readFileSync(process.argv[1]));console.log(eval(process.argv[2]))' "$work/config.json" "$1"; }

# ---------------------------------------------------------------- build
say 'building'
args=()
revision=$(git rev-parse HEAD 2>/dev/null) && args=(--build-arg "REVISION=$revision")
if [[ $builder == docker ]]; then
  docker build "${args[@]}" -t "$tag" . >"$work/build.log" 2>&1 || die 'the build'
  docker image inspect "$tag" --format '{{json .Config}}' >"$work/config.json"
  say "size: $(docker image inspect "$tag" --format '{{.Size}}' | numfmt --to=si)B"
else
  "$CONTAINER_BUILD" "${args[@]}" -t "$tag" . >"$work/build.log" 2>&1 || die 'the build'
  buildah inspect --type image "$tag" |
    node -e 'console.log(JSON.stringify(JSON.parse(require("fs").readFileSync(0)).Docker.config))' >"$work/config.json"
  say "size: $(tail -n 1 "$work/build.log")"
fi

# ---------------------------------------------------------------- what the image says
check() { [[ $(field "$2") == true ]] || die "$1: $(field 'JSON.stringify(c)')"; }
check 'the user is a number other than root' '/^[1-9]\d*:[1-9]\d*$/.test(c.User)'
check 'the entry point is in exec form' "c.Entrypoint[0] === 'node' && c.Entrypoint[1].endsWith('/dist/src/main.js')"
check 'the command is serve' "c.Cmd.join(' ') === 'serve'"
check 'the health check asks the server' "c.Healthcheck.Test.join(' ') === ['CMD', ...c.Entrypoint, 'health'].join(' ')"
check 'it listens on every interface' "c.Env.includes('SHOAL_HOST=0.0.0.0')"
check 'models are at /models' "c.Env.includes('SHOAL_MODELS=/models')"
check 'telemetry is off' "c.Env.includes('ORT_DISABLE_TELEMETRY=1')"
check 'port 8000 is exposed' "'8000/tcp' in c.ExposedPorts"
check 'it is labelled' "c.Labels['org.opencontainers.image.licenses'] === 'MIT' && !!c.Labels['org.opencontainers.image.version']"
say 'configuration: user, entry point, health check, environment, port and labels are as they should be'

# ---------------------------------------------------------------- what is in it
# `in_image COMMAND…` runs a command in a fresh container and prints its output.
in_image() {
  if [[ $builder == docker ]]; then docker run --rm --entrypoint "$1" "$tag" "${@:2}"; else "$CONTAINER_BUILD" --run "$tag" -- "$@"; fi
}
binaries=$(in_image find /opt/shoal/node_modules/onnxruntime-node/bin -mindepth 3 -maxdepth 3 -type d)
[[ $(wc -l <<<"$binaries") == 1 && $binaries == */linux/* ]] || die "other platforms' binaries are still there: $binaries"
[[ -z $(in_image find /opt/shoal/node_modules -maxdepth 2 '(' -name typescript -o -name biome -o -name autocannon ')') ]] ||
  die 'development dependencies are in the image'
writable=$(in_image sh -c 'for skip in proc sys dev tmp var/tmp run home; do set -- "$@" -path "/$skip" -o; done
  find / -xdev "(" "$@" -path /nowhere ")" -prune -o "(" -type f -o -type d ")" -writable -print 2>/dev/null || true')
[[ -z $writable ]] || die "the server's user can write: $writable"
in_image node /opt/shoal/dist/src/main.js inspect /models >"$work/inspect.log" 2>&1 || die 'inspect /models'
grep -q language-id "$work/inspect.log" || die 'inspect does not name the bundled model'
say "content: one platform's binaries (${binaries##*/bin/}), no development dependencies, nothing the user could write"

# ---------------------------------------------------------------- run, ask, stop
# Each `start_…` sets `launched` and `server` (the process to signal); `stop` sends SIGTERM and sets `status`.
server_below() { # the process of Node.js that serves, among the descendants of $1
  local family=" $1 " pid parent grown=1
  while ((grown)); do
    grown=0
    while read -r pid parent; do
      [[ $family == *" $parent "* && $family != *" $pid "* ]] && family+="$pid " && grown=1
    done < <(ps -eo pid=,ppid=)
  done
  for pid in $family; do
    [[ $(readlink "/proc/$pid/exe" 2>/dev/null) == */node ]] || continue
    [[ $(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null) == *'/dist/src/main.js serve '* ]] && echo "$pid" && return
  done
  return 0
}
find_server() {
  server=''
  for _ in $(seq 300); do
    server=$(server_below "$launched")
    [[ -n $server ]] && return
    kill -0 "$launched" 2>/dev/null || break
    sleep 0.1
  done
  die "$kind: no server process was started"
}
start_docker() { # read-only root, no capabilities, no new privileges
  docker_id=$(docker run -d --read-only --cap-drop ALL --security-opt no-new-privileges -p "127.0.0.1:$port:8000" "$tag")
}
start_chroot() { # as the tool runs an image: its user, its environment, the host's network
  setsid "$CONTAINER_BUILD" --run "$tag" --env "SHOAL_PORT=$port" >"$work/$kind.log" 2>&1 &
  launched=$!
  find_server
}
start_sandbox() { # as a container engine would with --read-only --cap-drop ALL: process 1 of its own namespace
  buildah_id=$(buildah from --pull-never "$tag")
  local root environment entry
  root=$(buildah mount "$buildah_id")
  mapfile -t environment < <(field 'c.Env.join("\n")')
  mapfile -t entry < <(field '[...c.Entrypoint, ...c.Cmd].join("\n")')
  # shellcheck disable=SC2016
  setsid unshare --mount --pid --fork --kill-child bash -c '
    set -e
    root=$1; shift
    mount --make-rprivate /
    mount --bind "$root" "$root"
    mount --rbind /dev "$root/dev"
    mount -t proc proc "$root/proc"
    mount -o remount,bind,ro "$root"
    exec chroot "$root" "$@"
  ' sandbox "$root" setpriv --reuid=1000 --regid=1000 --clear-groups --no-new-privs --inh-caps=-all --bounding-set=-all \
    env -i -C "$(field c.WorkingDir)" "${environment[@]}" "SHOAL_PORT=$port" "${entry[@]}" >"$work/$kind.log" 2>&1 &
  launched=$!
  find_server
}
in_running() { # a command in the running container, as its health check is run
  case $kind in
    docker) docker exec "$docker_id" "$@" ;;
    chroot) "$CONTAINER_BUILD" --run "$tag" --env "SHOAL_PORT=$port" -- "$@" ;;
    sandbox) nsenter --target "$server" --mount --pid --root --wd --setuid 1000 --setgid 1000 env "SHOAL_PORT=$port" SHOAL_HOST=0.0.0.0 "$@" ;;
  esac
}
stop() {
  status=0
  if [[ $kind == docker ]]; then
    docker stop --time 30 "$docker_id" >/dev/null
    status=$(docker inspect "$docker_id" --format '{{.State.ExitCode}}')
    docker logs "$docker_id" >"$work/$kind.log" 2>&1
    docker rm "$docker_id" >/dev/null
    docker_id=''
    return
  fi
  kill -TERM "$server"
  for _ in $(seq 300); do
    kill -0 "$server" 2>/dev/null || break
    sleep 0.1
  done
  kill -0 "$server" 2>/dev/null && die "$kind: still running 30 s after SIGTERM"
  wait "$launched" || status=$?
  launched=''
  if [[ -n $buildah_id ]]; then
    buildah rm "$buildah_id" >/dev/null
    buildah_id=''
  fi
}

exercise() {
  kind=$1
  port=$(free_port)
  local started url="http://127.0.0.1:$port" answer hammer
  started=$(date +%s%N)
  "start_$kind"
  for _ in $(seq 600); do
    curl -fsS -o /dev/null "$url/v2/health/ready" 2>/dev/null && break
    sleep 0.05
  done
  curl -fsS -o /dev/null "$url/v2/health/ready" 2>"$work/ready.log" || die "$kind: not ready within 30 s"
  say "$kind: ready after $((($(date +%s%N) - started) / 1000000)) ms"

  if [[ $kind == sandbox ]]; then
    [[ $(awk '/^NSpid/ {print $NF}' "/proc/$server/status") == 1 ]] || die 'the server is not process 1'
    grep -qE '^CapBnd:\s+0+$' "/proc/$server/status" || die 'the server has capabilities'
    nsenter --target "$server" --mount --root touch /opt/shoal/x /models/x /tmp/x 2>/dev/null && die 'the root file system is not read-only'
  fi
  if [[ $kind != docker ]]; then
    [[ $(awk '/^Uid:/ {print $2, $3}' "/proc/$server/status") == '1000 1000' ]] || die "$kind: the server does not run as user 1000"
  fi

  answer=$(curl -fsS "$url/v2/models/language-id/infer" -H 'content-type: application/json' \
    -d '{"inputs":[{"name":"text","datatype":"BYTES","shape":[1],"data":["Wo ist bitte der nächste Bahnhof?"]}]}') || die "$kind: the first question"
  node -e 'const o=JSON.parse(process.argv[1]).outputs.find((o)=>o.name==="language");if(!/^(de|deu|ger|german)$/i.test(o.data[0]))throw new Error(process.argv[1])' "$answer" ||
    die "$kind: wrong answer: $answer"
  curl -fsS "$url/metrics" | grep -c '^shoal_build_info{' >/dev/null || die "$kind: /metrics"
  mapfile -t health < <(field 'c.Healthcheck.Test.slice(1).join("\n")')
  in_running "${health[@]}" >"$work/health.log" 2>&1 || die "$kind: the health check says unhealthy"

  node test/system/container/hammer.mjs "$port" "$work/hammering" >"$work/hammer.log" 2>&1 &
  hammer=$!
  for _ in $(seq 200); do
    [[ -e $work/hammering ]] && break
    sleep 0.05
  done
  [[ -e $work/hammering ]] || die "$kind: no hundred answers within 10 s"
  rm "$work/hammering"
  stop
  wait "$hammer" || die "$kind: SIGTERM under load lost or spoilt answers"
  [[ $status == 0 ]] || die "$kind: exit code $status after SIGTERM"
  if [[ $kind == sandbox || $kind == chroot ]]; then
    "$CONTAINER_BUILD" --run "$tag" --env "SHOAL_PORT=$port" -- "${health[@]}" >"$work/health.log" 2>&1 &&
      die "$kind: the health check is content with a server that is gone"
  fi
  say "$kind: answered, healthy, SIGTERM under load: $(tail -n 1 "$work/hammer.log"), exit code 0"
}

if [[ $builder == docker ]]; then
  exercise docker
else
  exercise chroot
  if unshare --mount --pid --fork true 2>/dev/null; then
    exercise sandbox
  else
    say 'namespaces are not allowed here: a read-only root and process 1 were not tried'
  fi
fi

bash test/system/container/check-cuda-libraries.sh "$work"
say 'all passed'
