#include "datasets/tokenizer.h"
#include "tests/fuzz/input_file.h"

using namespace sinkbench;

// A tokenizer_config.json beside a small tokenizer.json.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const fuzz::InputFile input("tokenizer_config.json");
  static const bool written = [] {
    std::ofstream(input.folder() / "tokenizer.json") << R"({"added_tokens": [], "model": {
        "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}})";
    return true;
  }();
  return fuzz::run(input, data, size, [] {
    const Tokenizer tokenizer = Tokenizer::load(input.folder());
    tokenizer.decode(tokenizer.encode("ab<s>b a<|im|>"));
  });
}
