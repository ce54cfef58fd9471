// The books a model is trained on, as token ids on disk.
#pragma once

#include <filesystem>
#include <functional>
#include <span>
#include <string>

#include "base/file.h"
#include "training/config.h"

namespace sinkbench {

/// Token ids of all documents but the held-out ones, and of those, each joined without anything
/// between; no BOS. Little-endian uint16 files, mapped.
class Corpus {
 public:
  Corpus(const std::filesystem::path& train, const std::filesystem::path& held_out,
         const std::filesystem::path& tokenizer_json, std::string key);

  std::span<const uint16_t> train() const { return ids(train_); }
  std::span<const uint16_t> held_out() const { return ids(held_out_); }
  const std::filesystem::path& tokenizer_json() const { return tokenizer_json_; }
  /// A hash of all that decided the ids.
  const std::string& key() const { return key_; }

 private:
  static std::span<const uint16_t> ids(const MappedFile& file);

  MappedFile train_, held_out_;
  std::filesystem::path tokenizer_json_;
  std::string key_;
};

/// Makes the tokenizer and the ids, or finds them in `cache` from an earlier time: their names hold
/// a hash of the files' contents and of every setting they depend on. A document is held out where
/// the hash of its text says so, so that adding documents moves none. `say` gets a line now and
/// then.
Corpus prepare_corpus(const CorpusConfig& corpus, const TokenizerConfig& tokenizer,
                      const std::filesystem::path& cache,
                      const std::function<void(const std::string&)>& say);

}  // namespace sinkbench
