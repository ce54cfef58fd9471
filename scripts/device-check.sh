#!/usr/bin/env bash
# On a machine with an NVIDIA card and no network, where python3 has PyTorch: checks the CUDA path and
# times it, in one run of six minutes at the most.
#
#   scripts/device-check.sh [BUNDLE]     BUNDLE: a folder that scripts/check-cuda.sh made (.device)
#
# Runs in the root of the checkout. Each part has a limit of its own, and what fails doesn't end the
# rest. A short report goes to standard output, its table last; details to $OUT (else results/device).
set -u
root=$(pwd)
bundle=$(cd "${1:-.device}" && pwd) || exit 2
out=${OUT:-$root/results/device}
mkdir -p "$out"
work=$(mktemp -d)
began=$SECONDS

# LibTorch is Python's; the libraries that its package wants lie beside it.
torch=$(python3 -c 'import importlib.util as u; print(u.find_spec("torch").submodule_search_locations[0])') || exit 2
libraries=$bundle/lib:$torch/lib
for folder in "$torch"/../nvidia/*/lib; do libraries+=:$folder; done
libraries+=${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}  # the driver's, it may be
export SINKBENCH_TEST_DATA=$root/tests/data
export CUDA_MODULE_LOADING=LAZY OMP_NUM_THREADS=8

# part NAME LIMIT LINES COMMAND...: its output to a file of all parts, its last lines here.
part() {
  local name=$1 limit=$2 lines=$3 start=$SECONDS log
  shift 3
  log=$(mktemp)
  timeout -k 5 "$limit" env "$@" >"$log" 2>&1
  local status=$?
  printf '\n===== %s (exit %s, %s s)\n' "$name" $status $((SECONDS - start)) | tee -a "$out/parts.log"
  cat "$log" >>"$out/parts.log"
  if ((status == 0)); then tail -n "$lines" "$log"; else tail -n $((lines + 12)) "$log"; fi | cut -c1-200
  rm -f "$log"
  return $status
}
ours=(LD_LIBRARY_PATH="$libraries")
bench() {  # NAME LIMIT ENVIRONMENT... -- ARGUMENTS...
  local name=$1 limit=$2 environment=()
  shift 2
  while [[ $1 != -- ]]; do environment+=("$1"); shift; done
  shift
  part "bench $name" "$limit" 11 "${ours[@]}" "${environment[@]}" "$bundle/sinkbench" bench \
    configs/shapes/llama-2-7b.json --device cuda --dtype bfloat16 --policy-tokens 0 \
    --recomputed 0 --ceilings 1 "$@" | tee "$work/$name.log" | grep -v 'multiply-adds\|machine; for decode\|eval/run/bench.h\|Medians of'
}

nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.sm,clocks.mem --format=csv,noheader
python3 -c 'import torch; print("PyTorch", torch.__version__)'

# Kernels against their plain form, then engines, on the card.
part 'kernels' 60 30 "${ours[@]}" "$bundle/test_cuda" 'fused*' ||
  part 'kernels, not chained' 60 12 "${ours[@]}" SINKBENCH_CUDA_CHAIN=0 "$bundle/test_cuda" 'fused*'
part 'goldens' 70 20 "${ours[@]}" "$bundle/test_cuda" 'on a CUDA device: the goldens*' ||
  part 'goldens, plain' 60 12 "${ours[@]}" SINKBENCH_CUDA_PLAIN=1 "$bundle/test_cuda" \
    'on a CUDA device: the goldens*'
part 'engines in 16 bits' 80 30 "${ours[@]}" "$bundle/test_cuda" 'on a CUDA device: engines*'
part 'bands' 40 20 "${ours[@]}" "$bundle/test_cuda" 'on a CUDA device: a band*'
part 'scores and stored forms' 60 20 "${ours[@]}" "$bundle/test_cuda" 'on a CUDA device: policies*'
part 'verify' 50 14 "${ours[@]}" "$bundle/sinkbench" verify configs/verify.yaml --limit 1500 \
  --set device=cuda --set 'chunk=[7,512]' --quiet

# Every metric, policies that run on the host beside the card, and a stored form.
cat >"$work/every-metric.yaml" <<YAML
model: $root/models/tiny
dataset: {tokens_file: $root/tests/data/random_ids.json, tokens: 1500}
policies: [dense, {sinks: {sinks: 4, window: 60}}, {h2o: {capacity: 64}}]
kv: [native, q8_0]
dtype: [float32, bfloat16]
metrics: [perplexity, latency, memory, divergence, evicted_mass]
reference: dense
latency: {warmup: 5, samples: 20, seconds: 0}
YAML
part 'every metric' 60 60 "${ours[@]}" "$bundle/sinkbench" run "$work/every-metric.yaml" \
  --device cuda --no-plots --quiet --out "$work/every-metric"
# What doesn't fit is said, and the rest is run: status 4.
python3 -c 'import json; json.dump([i % 32000 for i in range(200_000)], open("'"$work"'/long.json", "w"))'
cat >"$work/beyond.yaml" <<YAML
model: {config: $root/configs/shapes/llama-2-7b.json, weights: random}
dataset: [{tokens_file: $work/long.json, tokens: 32769}, {tokens_file: $work/long.json}]
policies: [dense, {sinks: {sinks: 4, window: 508}}]
dtype: bfloat16
metrics: [latency, memory]
latency: {warmup: 5, samples: 20, seconds: 0}
YAML
part 'beyond the memory' 60 30 "${ours[@]}" "$bundle/sinkbench" run "$work/beyond.yaml" \
  --device cuda --no-plots --quiet --out "$work/beyond"

# The table: after, then before.
bench 508 50 -- --cache 4+508 --tokens 16384 --dense 8192 --samples 100
bench 4092 40 -- --cache 4+4092 --tokens 4100 --samples 60 --passes 8
bench 1020 30 -- --cache 4+1020 --tokens 2048 --samples 40 --passes 15
bench 2044 40 -- --cache 4+2044 --tokens 16384 --samples 40
bench 508-unchained 25 SINKBENCH_CUDA_CHAIN=0 -- --cache 4+508 --tokens 600 --samples 60
bench 508-no-graph 25 SINKBENCH_CUDA_GRAPH=0 -- --cache 4+508 --tokens 600 --samples 60
bench 508-before 40 SINKBENCH_CUDA_PLAIN=1 -- --cache 4+508 --tokens 4096 --chunk 190 --samples 20
left() { echo $((350 - (SECONDS - began))); }
if (($(left) > 60)); then
  part 'peers' "$(($(left) < 90 ? $(left) : 90))" 12 python3 "$bundle/cuda-peers.py" "$work/peers.txt"
fi
if (($(left) > 45)); then
  part 'figure 10' "$(left)" 16 "${ours[@]}" "$bundle/sinkbench" run \
    configs/streamingllm/figure10-random.yaml --device cuda --out "$work/figure10" --set \
    'latency={warmup: 5, samples: 20, seconds: 0}'
  cp "$work"/figure10/results.json "$out/figure10.json" 2>/dev/null
fi

python3 - "$work" <<'PYTHON'
import pathlib, re, sys
out = pathlib.Path(sys.argv[1])
def read(name):
    path = out / name
    return path.read_text() if path.exists() else ''
def find(name, pattern):
    found = re.search(pattern, read(name))
    return found.group(1) if found else '-'
decode = r'\sdecode\s+\d+\s+\d+ %\s+([\d.]+)'
scoring = r'\sscoring\s+(\d+)'
one_pass = r'\spass\s+\d+\s+\d+ %\s+([\d.]+)'
rows = [
    ('decode 4+508, ms', find('508-before.log', decode), find('508.log', decode), '5.5'),
    ('  by events', '', find('508.log', r'\sdecode\s+\d+\s+\d+ %\s+[\d.]+\s+([\d.]+)'), ''),
    ('  not chained', '', find('508-unchained.log', decode), ''),
    ('  no graph', '', find('508-no-graph.log', decode), ''),
    ('decode 4+4092, ms', '', find('4092.log', decode), '6.2'),
    ('pass of 1024, ms', '', find('1020.log', one_pass), '28'),
    ('pass of 4096, ms', '', find('4092.log', one_pass), '105'),
    ('scoring 4+508, tokens/s', find('508-before.log', scoring), find('508.log', scoring), '35000'),
    ('scoring 4+2044', '', find('2044.log', scoring), '32000'),
    ('scoring dense 8192', '', find('508.log', r'\sdense \d+\s+(\d+)'), '35000'),
]
print(f'\n{"what":28} {"before":>16} {"now":>10} {"goal":>8}')
for row in rows:
    print(f'{row[0]:28} {row[1]:>16} {row[2]:>10} {row[3]:>8}')
print(read('peers.txt'), end='')
PYTHON
echo "whole check: $((SECONDS - began)) s"
