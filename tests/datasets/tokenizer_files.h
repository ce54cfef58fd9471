// Small tokenizers of our own, whole or changed in one place.
#pragma once

#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/sha256.h"
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

/// With which a tokenizer is refused; "" where it is read.
inline std::string refusal_of(const std::filesystem::path& path) {
  try {
    Tokenizer::load(path);
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

/// The King James text as Debian's bible-kjv prints it, or nothing where that isn't installed.
inline std::string king_james() {
  std::string text;
  FILE* pipe = ::popen("bible -f -l100 gen1:1-rev22:21 2>/dev/null", "r");
  if (pipe == nullptr) return text;
  char buffer[1 << 16];
  for (size_t n; (n = std::fread(buffer, 1, sizeof(buffer), pipe)) > 0;) text.append(buffer, n);
  ::pclose(pipe);
  return text;
}

inline std::string sha256_of(const Ids& ids) {  // as little-endian uint32
  std::string bytes;
  for (const int32_t id : ids) {
    for (int shift = 0; shift < 32; shift += 8) bytes += static_cast<char>(id >> shift & 0xFF);
  }
  return sha256_hex(bytes);
}

}  // namespace sinkbench::test
