#include "datasets/tokenizer.h"
#include "tests/fuzz/input_file.h"

using namespace sinkbench;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const fuzz::InputFile input("model.gguf");
  return fuzz::run(input, data, size, [] {
    const Tokenizer tokenizer = Tokenizer::load(input.file());
    tokenizer.decode(tokenizer.encode("The 12 caf\u00e9s \u4e16\u754c don't <s> \xff\n"));
  });
}
