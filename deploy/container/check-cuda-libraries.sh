#!/usr/bin/env bash
# Fails when ONNX Runtime's CUDA provider could not be loaded from the given folder by what this system has installed.
#
#   check-cuda-libraries.sh [FOLDER]    FOLDER holds libonnxruntime.so.1 (default: the one of the installed package)
#
# Needs ldd and grep only, so that it runs inside a slim image. The driver (libcuda.so.1) is not asked for: the NVIDIA
# container toolkit mounts it when the container starts.
set -euo pipefail

folder=${1:-node_modules/onnxruntime-node/bin/napi-v6/linux/x64}
fail() {
  echo "check-cuda-libraries: $*" >&2
  exit 1
}

runtime=$folder/libonnxruntime.so.1
[[ -f $runtime ]] || fail "$runtime is missing: not a folder of onnxruntime-node's binaries for linux/x64"
provider=$folder/libonnxruntime_providers_cuda.so
for file in "$provider" "$folder/libonnxruntime_providers_shared.so"; do
  [[ -f $file ]] || fail "$file is missing: install it as docs/gpu.md says"
done

# The runtime carries its own version as a symbol version; a provider library talks to no other one.
version=$(grep -aoE -m1 'VERS_[0-9]+\.[0-9]+\.[0-9]+' "$runtime" | head -n1 | cut -c6-) || true
[[ -n $version ]] || fail "$runtime does not say its version"
grep -qaF "$version" "$provider" || fail "$provider is not of version $version, which $runtime is"

needed=$(ldd "$provider")
missing=$(grep 'not found' <<<"$needed" | grep -v 'libcuda\.so\.1' | awk '{print $1}' | paste -sd' ') || true
if [[ -n $missing ]]; then
  toolkit=$(grep -oE 'libcudart\.so\.[0-9]+' <<<"$needed" | head -n1 | grep -oE '[0-9]+$') || true
  fail "$provider${toolkit:+ was linked with CUDA $toolkit and} needs libraries that this system does not have: $missing"
fi

# cuDNN is opened when the first operator asks for it, so ldd does not see it.
on_loader_path() {
  local dir
  ldconfig -p 2>/dev/null | grep -cF "$1 " >/dev/null && return
  IFS=: read -ra dirs <<<"${LD_LIBRARY_PATH:-}"
  for dir in "${dirs[@]}"; do [[ -e $dir/$1 ]] && return; done
  return 1
}
on_loader_path libcudnn.so.9 || fail 'cuDNN 9 (libcudnn.so.9) is not on the loader path'

echo "check-cuda-libraries: ONNX Runtime $version finds what its CUDA provider needs"
