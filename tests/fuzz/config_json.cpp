#include "models/decoder.h"
#include "tests/fuzz/input_file.h"

using namespace sinkbench;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const fuzz::InputFile input("config.json");
  // On the meta device: shapes alone, whatever sizes they ask for.
  return fuzz::run(input, data, size,
                   [] { Decoder::random(input.file(), 0, {.device = at::kMeta}); });
}
