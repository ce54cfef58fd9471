#!/usr/bin/env bash
# Builds test programs with sanitizers and runs them; the first finding ends it. Without arguments:
# address and undefined behaviour, leaks included, for what needs no LibTorch (a few minutes).
#     scripts/sanitize.sh [asan|tsan [base|policies|datasets|experiment|models|reports|eval|training|cli]...]
set -euo pipefail
root=$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")
source "$root/scripts/prepare.sh"
preset=${1:-asan}
shift || true
folders=("$@")
((${#folders[@]})) || folders=(base policies datasets experiment)
[[ $preset == asan || $preset == tsan ]] || die "expected asan or tsan, found '$preset'"

choose_torch
packages+=("${test_packages[@]}")
install_packages
choose_blas
cd "$root"
forget_other_checkout "$root/build-$preset"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
say "building test programs with sanitizers ($preset): ${folders[*]}"
if ! { cmake --preset "$preset" && ninja -C "build-$preset" "${folders[@]/#/test_}"; } >"$log" 2>&1; then
  grep -E -A3 'error:|CMake Error|FAILED|undefined reference' "$log" | head -n 40 >&2
  die "the build failed"
fi

# Leaks are looked for at the end of each program, by ptrace, which some containers forbid.
leaks=1
if ASAN_OPTIONS=detect_leaks=1 "build-$preset/tests/test_${folders[0]}" --list-tests 2>&1 |
  grep -q 'LeakSanitizer has encountered a fatal error'; then
  say "leaks can't be looked for here: ptrace is not allowed"
  leaks=0
fi
export ASAN_OPTIONS=detect_leaks=$leaks:detect_stack_use_after_return=1:strict_string_checks=1:check_initialization_order=1
export UBSAN_OPTIONS=print_stacktrace=1
export TSAN_OPTIONS=halt_on_error=1:ignore_noninstrumented_modules=1:suppressions=$root/tests/tsan.supp
export OMP_NUM_THREADS=1
for folder in "${folders[@]}"; do
  printf '%s: ' "$folder"
  "build-$preset/tests/test_$folder" '~[timing]' >"$log" 2>&1 ||
    { tail -n 60 "$log"; die "test_$folder failed under $preset"; }
  tail -n 2 "$log" | sed '/^$/d'
done
