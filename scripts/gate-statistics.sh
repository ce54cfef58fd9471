#!/usr/bin/env bash
# How often a pair of runs is called slower, on this machine as it is: runs two programs one after the other
# and compares, or both by `ab`, and counts the verdicts. With the same program twice every "worse" or "better"
# is a false alarm.
#
#   scripts/gate-statistics.sh [-n PAIRS] [-l BUSY] [-t] CONFIG [BEFORE [AFTER]]
#
# -t: in turn, by AFTER's `ab`.
# BEFORE and AFTER: programs (default: the one of build/, and BEFORE). BUSY: so many processes that
# count in a loop, on and off for some seconds, beside the runs. For an AFTER that is slower by what one
# knows, build a copy with a loop in a decode step.
set -euo pipefail
cd "$(dirname "$0")/.."
pairs=20 busy=0 in_turn=
while getopts n:l:t option; do
  case $option in
    n) pairs=$OPTARG ;;
    l) busy=$OPTARG ;;
    t) in_turn=1 ;;
    *) exit 2 ;;
  esac
done
shift $((OPTIND - 1))
config=${1:?"an experiment's YAML file"}
before=${2:-build/cli/sinkbench}
after=${3:-$before}
root=$PWD torch_cmake=
source scripts/prepare.sh
choose_blas

work=$(mktemp -d)
loads=()
cleanup() {
  ((${#loads[@]} == 0)) || kill "${loads[@]}" 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT
for ((i = 0; i < busy; ++i)); do
  while :; do
    timeout $((RANDOM % 6 + 1)) bash -c 'while :; do :; done' || true
    sleep $((RANDOM % 4))
  done &
  loads+=($!)
done

measure() {
  rm -rf "$2"
  "$1" run "$config" --quiet --no-plots --set 'metrics=[latency]' --out "$2" >/dev/null
}
compared() {
  if [[ -n $in_turn ]]; then
    rm -rf "$work/ab"
    "$after" ab "$before" "$config" --quiet --set 'metrics=[latency]' --out "$work/ab"
    return
  fi
  measure "$before" "$work/before"
  measure "$after" "$work/after"
  "$before" compare "$work/before" "$work/after"
}
for ((pair = 1; pair <= pairs; ++pair)); do
  compared >"$work/said" || true
  # Of each line of the table of latency: the change and the verdict.
  awk '/^Latency/ { inside = 1; next } /^$/ { inside = 0 } inside && / ms / {
    verdict = "same"
    if (/  worse/) verdict = "worse"; else if (/  better/) verdict = "better"
    else if (/can.t tell/) verdict = "can'\''t tell"; else if (/not comparable/) verdict = "not comparable"
    if (/by processor time/) verdict = verdict " (processor)"
    print verdict
  }' "$work/said" | tee -a "$work/verdicts" | paste -sd, | sed "s/^/pair $pair: /"
done
sort "$work/verdicts" | uniq -c | sort -rn
