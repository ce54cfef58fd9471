#include "eval/run/cell_checkpoint.h"

#include <string>

#include "base/sha256.h"
#include "tests/fuzz/input_file.h"

using namespace sinkbench;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const fuzz::InputFile input("cell.checkpoint");
  // With the checksum that it would need to be read at all.
  std::string content(reinterpret_cast<const char*>(data), size);
  content += sha256_hex(content);
  return fuzz::run(input, reinterpret_cast<const uint8_t*>(content.data()), content.size(),
                   [] { read_checkpoint(input.file()); });
}
