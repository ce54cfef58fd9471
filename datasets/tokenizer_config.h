// What lies beside a tokenizer.json and changes the ids all the same: tokenizer_config.json,
// special_tokens_map.json and added_tokens.json.
#pragma once

#include <filesystem>
#include <string>

#include "datasets/tokenizer_json.h"

namespace sinkbench {

/// A folder's tokenizer_config.json, or what stands for it where it has none.
class TokenizerConfig {
 public:
  /// InputError where a file is there and can't be read.
  explicit TokenizerConfig(const std::filesystem::path& folder);

  /// The class of transformers that reads the tokenizer, without "Fast": that of
  /// tokenizer_config.json, else that of config.json; or "" where neither says it.
  const std::string& tokenizer_class() const { return class_; }
  bool boolean(const char* key, bool absent) const { return field().boolean(key, absent); }

  /// Makes `json` what transformers makes of it (`AutoTokenizer.from_pretrained`, its version 4.57;
  /// 5 does the same except where stated):
  ///  - tokens that only these files have, or have with other flags, are added to added_tokens:
  ///    those of added_tokens_decoder (without it: special_tokens_map.json's and
  ///    added_tokens.json's) and the named special tokens (bos_token ...
  ///    additional_special_tokens);
  ///  - where the class is Llama's, CodeLlama's, Gemma's, Cohere's or GPT-NeoX's, add_bos_token and
  ///    add_eos_token decide in place of the post-processor what stands around a text. (Version 5
  ///    leaves the post-processor as it is.)
  ///  - add_prefix_space, or false where it isn't stated, counts in place of that of a
  ///    pre_tokenizer that is a ByteLevel alone. (In version 5 for GPT-2's class.) Stated as false
  ///    beside Llama's class it takes away the space that is put before a text.
  ///  - split_special_tokens makes a note: `special_tokens: text` does what it says.
  /// InputError names the file, the field and the value.
  void apply(TokenizerJson& json) const;
  /// Whether a Llama class is told to put no space before a text.
  bool denies_prefix_space() const;

 private:
  JsonField field() const { return json_.field(); }
  /// A file of the folder as JSON, null where there is none.
  TokenizerJson read(const char* name) const;

  std::filesystem::path folder_;
  TokenizerJson json_;  // of which only file and root are used
  std::string class_;
  std::string stated_class_;  // as the files write it
};

}  // namespace sinkbench
