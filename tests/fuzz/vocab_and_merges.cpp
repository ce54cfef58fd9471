#include "datasets/tokenizer.h"
#include "tests/fuzz/input_file.h"

using namespace sinkbench;

// A vocab.json and, after the first line feed, a merges.txt.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const fuzz::InputFile input("vocab.json");
  const std::string_view all(reinterpret_cast<const char*>(data), size);
  const size_t line = std::min(all.find('\n'), size);
  std::ofstream(input.folder() / "merges.txt", std::ios::binary | std::ios::trunc)
      << all.substr(std::min(line + 1, size));
  return fuzz::run(input, data, line, [] {
    const Tokenizer tokenizer = Tokenizer::load(input.folder());
    tokenizer.decode(tokenizer.encode("The 12 caf\u00e9s don't <s> \xff\n"));
  });
}
