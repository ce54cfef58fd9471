#include "eval/results/nll_file.h"

#include "eval/results/decision_file.h"
#include "tests/fuzz/input_file.h"

using namespace sinkbench;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const fuzz::InputFile nll("nll.f64"), decisions("decisions.jsonl.zst");
  fuzz::run(nll, data, size, [] { read_nll_file(nll.file()); });
  return fuzz::run(decisions, data, size, [] { read_decision_file(decisions.file()); });
}
