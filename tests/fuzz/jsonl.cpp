#include "datasets/documents.h"
#include "tests/fuzz/input_file.h"

using namespace sinkbench;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const fuzz::InputFile input("documents.jsonl");
  return fuzz::run(input, data, size, [] {
    DocumentReader reader({input.file()});
    while (reader.next()) {
    }
  });
}
