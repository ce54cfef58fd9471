#!/usr/bin/env bash
# Builds against the LibTorch inside PyTorch's CUDA package, runs what needs no card, and makes the
# bundle that scripts/device-check.sh takes to a machine with one.
#
#   scripts/check-cuda.sh [TORCH [BUNDLE]]
#
# TORCH: the package's folder (default: python3's, then one that pip installs below .cache/). Needs
# nvcc. BUNDLE (default: .device): the program, its test and the libraries that other systems may
# lack, below 64 MiB.
set -eu
cd "$(dirname "$0")/.."
torch=${1:-$(python3 -c 'import importlib.util as u; print(u.find_spec("torch").submodule_search_locations[0])' 2>/dev/null || true)}
bundle=${2:-.device}
build=${BUILD:-build-cuda}
if [[ -z $torch ]]; then
  python3 -m venv .cache/torch
  .cache/torch/bin/pip install -q 'torch==2.11.*' numpy
  torch=$(echo .cache/torch/lib/python3*/site-packages/torch)
fi
torch=$(cd "$torch" && pwd)

cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release \
  -DCMAKE_PREFIX_PATH="$torch/share/cmake" -DCMAKE_EXE_LINKER_FLAGS=-Wl,--allow-shlib-undefined
ninja -C "$build" sinkbench test_cuda

cuda=$(dirname "$(dirname "$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)")")
libraries=$torch/lib
for folder in "$torch"/../nvidia/*/lib; do libraries+=:$folder; done
libraries+=:$cuda/lib64
LD_LIBRARY_PATH=$libraries OMP_NUM_THREADS=1 "$build/tests/test_cuda" '~on a CUDA device*'

rm -rf "$bundle"
mkdir -p "$bundle/lib"
programs=()
for file in "$build"/cli/sinkbench "$build"/cli/lib*.so "$build"/tests/test_cuda; do
  [[ -f $file ]] || continue  # no library where the program is of one piece
  strip -o "$bundle/${file##*/}" "$file"
  programs+=("$bundle/${file##*/}")
done
cp scripts/device-check.sh scripts/cuda-peers.py "$bundle"
# What a system without our packages lacks: not the C library's, LibTorch's or CUDA's.
LD_LIBRARY_PATH=$libraries ldd "${programs[@]}" | awk '$3 ~ /^\// { print $3 }' |
  sort -u | grep -Ev "^$torch|/nvidia/|^$cuda|/lib(c|m|dl|rt|pthread|util|mvec|gcc_s|stdc\+\+|gomp|resolv)\.so" |
  while read -r library; do cp -L "$library" "$bundle/lib/"; done
du -sh "$bundle"
