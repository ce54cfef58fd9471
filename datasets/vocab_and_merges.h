// vocab.json and merges.txt: a byte-level BPE tokenizer in the two files of GPT-2's first release.
#pragma once

#include <filesystem>

#include "datasets/tokenizer_config.h"
#include "datasets/tokenizer_json.h"

namespace sinkbench {

/// Whether a folder holds both files.
bool holds_vocab_and_merges(const std::filesystem::path& folder);

/// The two files as the tokenizer.json that says the same, what transformers' converter makes of
/// them: that of GPT2Tokenizer (and of CodeGenTokenizer, which is equal) or Qwen2Tokenizer, by
/// `config`; where nothing names a class, GPT-2's. InputError where it names another, or where a
/// file is broken.
TokenizerJson read_vocab_and_merges(const std::filesystem::path& folder,
                                    const TokenizerConfig& config);

}  // namespace sinkbench
