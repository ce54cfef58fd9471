// How tokens become text again: tokenizer.json's decoder.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "datasets/replace.h"
#include "datasets/tokenizer_json.h"

namespace sinkbench {

/// ByteFallback, ByteLevel, Fuse, Metaspace, Replace, Strip and any Sequence of these, or none,
/// which puts spaces between the tokens.
class Decoder {
 public:
  /// `field` is the file's decoder, null for none.
  explicit Decoder(const JsonField& field);

  std::string decode(std::vector<std::string> tokens) const;

 private:
  struct ByteFallback {};
  struct ByteLevel {};
  struct Fuse {};
  struct Metaspace {
    std::string replacement;
    bool drop_first;  // the space that encoding put before the text
  };
  struct Strip {  // up to so many times, from either end of each token
    std::string character;
    int64_t start, stop;
  };
  using Step = std::variant<ByteFallback, ByteLevel, Fuse, Metaspace, Replace, Strip>;

  void add(const JsonField& field);

  static void apply(const ByteFallback&, std::vector<std::string>& tokens);
  static void apply(const ByteLevel&, std::vector<std::string>& tokens);
  static void apply(const Fuse&, std::vector<std::string>& tokens);
  static void apply(const Metaspace& step, std::vector<std::string>& tokens);
  static void apply(const Replace& step, std::vector<std::string>& tokens);
  static void apply(const Strip& step, std::vector<std::string>& tokens);

  std::vector<Step> steps_;
  bool present_ = false;
};

}  // namespace sinkbench
