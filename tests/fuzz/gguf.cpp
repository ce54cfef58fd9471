#include "base/gguf.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "models/ggml_blocks.h"
#include "models/gguf.h"
#include "tests/fuzz/input_file.h"

using namespace sinkbench;

namespace {

/// Reads a stored matrix to its last byte.
void touch(const StoredMatrix& matrix) {
  if (!matrix.defined()) return;
  const StoredMatrix last = matrix.narrow(matrix.rows() - 1, 1);
  last.decode(at::kFloat);
  last.product(at::ones({1, matrix.columns()}), {});
}

}  // namespace

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
    if (config.layers >= 100) return;
    checkpoint.weights(config);
    GgufCheckpoint as_stored(gguf, at::kFloat, at::kMeta, {.as_stored = true});
    const DecoderWeights weights = as_stored.weights(config);
    touch(weights.stored_embedding);
    touch(weights.head.stored);
    for (const LayerWeights& layer : weights.layers) {
      for (const Linear* linear : {&layer.qkv, &layer.output, &layer.gate_up, &layer.down}) {
        touch(linear->stored);
      }
      for (const ExpertWeights& expert : layer.experts.experts) {
        touch(expert.gate_up.stored);
        touch(expert.down.stored);
      }
    }
  });
}
