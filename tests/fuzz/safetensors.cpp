#include "models/checkpoint.h"
#include "tests/fuzz/input_file.h"

using namespace sinkbench;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const fuzz::InputFile input("model.safetensors");
  return fuzz::run(input, data, size, [] {
    SafetensorsCheckpoint checkpoint(input.folder(), at::kFloat, at::kCPU);
    checkpoint.sha256();
    if (checkpoint.has("a")) checkpoint.get("a", {2, 3});
    if (checkpoint.has("b")) checkpoint.get("b", {4});
    if (checkpoint.has("c_blocks")) checkpoint.get_mxfp4("c", {2, 4, 64}, true);
    checkpoint.check_all_used();
  });
}
