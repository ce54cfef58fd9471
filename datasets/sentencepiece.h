// tokenizer.model: the file of https://github.com/google/sentencepiece, a protocol buffer.
#pragma once

#include <filesystem>

#include "datasets/tokenizer_json.h"

namespace sinkbench {

/// Reads a BPE model of SentencePiece as the tokenizer.json that says the same, so that one encoder
/// does both; ids equal those of SentencePiece's own library. (The library itself isn't linked: it
/// carries a protobuf of its own, whose symbols clash with those of the one that LibTorch loads.)
///
/// BOS and EOS are added as the tokenizer_config.json beside it says (`add_bos_token`, true where
/// nothing is said, and `add_eos_token`, false), if the model has them. InputError where the file
/// is broken or asks for what isn't supported: unigram models, normalization, removal of spaces,
/// user-defined symbols together with a dummy prefix.
TokenizerJson read_sentencepiece(const std::filesystem::path& path);

/// The same of the tokenizer in a GGUF file, where it is of SentencePiece's kind.
TokenizerJson read_gguf_tokenizer(const std::filesystem::path& path);

}  // namespace sinkbench
