#!/usr/bin/env bash
# Tries deploy/container/check-cuda-libraries.sh on folders that lack something, and on one that lacks nothing.
# The libraries are made from the installed ONNX Runtime: the name of one of the libraries it needs is overwritten.
#
#   test/system/container/check-cuda-libraries.sh SCRATCH_FOLDER
set -euo pipefail
cd "$(dirname "$0")/../../.."

binaries=node_modules/onnxruntime-node/bin/napi-v6/linux/x64
[[ $(uname -m) == x86_64 ]] || {
  echo 'check-cuda-libraries: linux/x64 only'
  exit 0
}
folder=$1/cuda
rm -rf "$folder"
mkdir -p "$folder/cudnn"
cp "$binaries/libonnxruntime.so.1" "$folder/"

expect() { # $1 = exit code, $2 = what the message must contain
  local code=0 output
  output=$(bash deploy/container/check-cuda-libraries.sh "$folder" 2>&1) || code=$?
  [[ $code == "$1" && $output == *"$2"* ]] && return
  echo "check-cuda-libraries: expected exit code $1 and '$2', got $code and: $output" >&2
  exit 1
}

expect 1 'libonnxruntime_providers_cuda.so is missing'
cp "$folder/libonnxruntime.so.1" "$folder/libonnxruntime_providers_cuda.so"
expect 1 'libonnxruntime_providers_shared.so is missing'
cp "$folder/libonnxruntime.so.1" "$folder/libonnxruntime_providers_shared.so"
expect 1 'cuDNN 9'
touch "$folder/cudnn/libcudnn.so.9"
LD_LIBRARY_PATH=$folder/cudnn expect 0 'finds what its CUDA provider needs'
# Names of the same length, so that nothing else in the file moves.
sed -i 's/libstdc++\.so\.6/libcudart.so.7/' "$folder/libonnxruntime_providers_cuda.so"
LD_LIBRARY_PATH=$folder/cudnn expect 1 'was linked with CUDA 7 and needs libraries that this system does not have: libcudart.so.7'
version=$(node -p "require('./node_modules/onnxruntime-node/package.json').version")
cp "$folder/libonnxruntime.so.1" "$folder/libonnxruntime_providers_cuda.so"
sed -i "s/${version//./\\.}/${version//[0-9]/9}/g" "$folder/libonnxruntime_providers_cuda.so"
LD_LIBRARY_PATH=$folder/cudnn expect 1 "is not of version $version"
echo 'container: the check for CUDA libraries finds what is missing, of another version or linked with another CUDA'
