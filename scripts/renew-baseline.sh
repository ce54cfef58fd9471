#!/usr/bin/env bash
# Makes tests/data/baseline anew, which .ci/run compares with: after a change that is meant to change
# perplexity or memory, or with another bundled model.
set -euo pipefail
root=$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
"$root/sinkbench" run "$root/configs/ci.yaml" --set 'metrics=[perplexity, memory]' --out "$out"
# Where the checkout is doesn't matter.
sed -i "s|$root/||g" "$out/results.json"
rm -rf "$root/tests/data/baseline/nll"
cp -r "$out/results.json" "$out/nll" "$root/tests/data/baseline/"
