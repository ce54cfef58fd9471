#include "eval/experiment/experiment.h"
#include "tests/fuzz/input_file.h"

using namespace sinkbench;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const fuzz::InputFile input("experiment.yaml");
  return fuzz::run(input, data, size, [] { load_experiment(input.file(), {}); });
}
