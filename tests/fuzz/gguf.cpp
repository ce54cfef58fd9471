#include "base/gguf.h"

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "models/ggml_blocks.h"
#include "models/gguf.h"
#include "tests/fuzz/input_file.h"

using namespace sinkbench;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const fuzz::InputFile input("model.gguf");
  return fuzz::run(input, data, size, [] {
    const GgufFile gguf = read_gguf(input.file());
    float sum = 0;
    for (const auto& [name, tensor] : gguf.tensors) {
      if (!can_decode(*tensor.type)) continue;
      const size_t blocks = std::min<size_t>(tensor.data.size() / tensor.type->bytes, 16);
      std::vector<float> numbers(blocks * tensor.type->numbers);
      decode_blocks(*tensor.type, tensor.data.data(), static_cast<int64_t>(numbers.size()),
                    numbers.data());
      for (const float number : numbers) sum += number;
    }
    static volatile float sink = 0;
    sink = sum;
    GgufCheckpoint checkpoint(gguf, at::kFloat, at::kMeta);
    const DecoderConfig config = checkpoint.config();
    if (config.layers < 100) checkpoint.weights(config);
  });
}
