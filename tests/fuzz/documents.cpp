#include "datasets/documents.h"

#include <vector>

#include "datasets/compressed.h"
#include "tests/fuzz/input_file.h"

using namespace sinkbench;

namespace {

/// A few bytes of bzip2 can stand for gigabytes, which are right but take their time. Some blocks'
/// worth of text is read, so that no way of reading is left out.
bool is_short(const std::filesystem::path& path) {
  static std::vector<char> bytes(1 << 20);  // cleared once, not for each execution
  return CompressedFile(path).read(bytes.data(), bytes.size()) < bytes.size();
}

}  // namespace

/// The first byte says what the file is called and what becomes of bytes that are no UTF-8.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const fuzz::InputFile inputs[] = {
      fuzz::InputFile("documents.jsonl"), fuzz::InputFile("documents.json"),
      fuzz::InputFile("documents"), fuzz::InputFile("documents.txt.gz")};
  if (size == 0) return 0;
  const fuzz::InputFile& input = inputs[data[0] & 3];
  const DocumentOptions options{.invalid = (data[0] & 4) != 0 ? InvalidBytes::replace
                                                              : InvalidBytes::refuse};
  return fuzz::run(input, data + 1, size - 1, [&] {
    if (!is_short(input.file())) return;
    DocumentReader reader({input.file()}, options);
    while (reader.next()) {
    }
    reader.finish();
    reader.notes();
  });
}
