// Small tokenizers of our own, whole or changed in one place.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/file.h"
#include "datasets/tokenizer.h"
#include "tests/data.h"

namespace sinkbench::test {

using json = nlohmann::json;
using Ids = std::vector<int32_t>;

/// tests/data/tokenizers/NAME.json. In byte_level.json the id of a byte's character is the byte and
/// the merges' tokens follow; in sentencepiece.json 0 is <unk>, 1 <s>, 2 </s>, 3 + b the byte b,
/// then come the characters "▁abcdehlorwé" and the merges' tokens.
inline json tokenizer_json(const std::string& name) {
  return json::parse(read_file(data("tokenizers") / (name + ".json")));
}

/// A file of this process alone, gone with the object.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& content)
      : path_(std::filesystem::temp_directory_path() /
              ("sinkbench_tokenizer_" + std::to_string(::getpid()) + ".json")) {
    std::ofstream(path_, std::ios::binary) << content;
  }
  ~TemporaryFile() { std::filesystem::remove(path_); }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

inline Tokenizer load_text(const std::string& content) {
  return Tokenizer::load(TemporaryFile(content).path());
}
inline Tokenizer load(const json& content) {
  return load_text(content.dump());
}

}  // namespace sinkbench::test
