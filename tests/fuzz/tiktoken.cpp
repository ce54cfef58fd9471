#include "datasets/tiktoken.h"

#include "datasets/tokenizer.h"
#include "tests/fuzz/input_file.h"

using namespace sinkbench;

// A tekken.json, or a tokenizer.model of tiktoken's.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const fuzz::InputFile tekken("tekken.json"), model("tokenizer.model");
  if (size > 0 && data[0] != '{') {
    return fuzz::run(model, data, size, [] {
      if (is_tiktoken(model.file())) read_tiktoken(model.file());
    });
  }
  return fuzz::run(tekken, data, size, [] {
    const Tokenizer tokenizer = Tokenizer::load(tekken.file());
    tokenizer.decode(tokenizer.encode("The 12 caf\u00e9s \u4e16\u754c don't <s> \xff\n"));
  });
}
