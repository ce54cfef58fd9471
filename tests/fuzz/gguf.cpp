#include "base/gguf.h"
#include "tests/fuzz/input_file.h"

using namespace sinkbench;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const fuzz::InputFile input("model.gguf");
  return fuzz::run(input, data, size, [] {
    unsigned sum = 0;
    for (const auto& [name, tensor] : read_gguf(input.file()).tensors) {
      for (size_t i = 0; i < tensor.data.size(); ++i) sum += static_cast<unsigned>(tensor.data[i]);
    }
    static volatile unsigned sink = 0;
    sink = sum;
  });
}
