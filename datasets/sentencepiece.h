// tokenizer.model: the file of https://github.com/google/sentencepiece, a protocol buffer.
#pragma once

#include <filesystem>

#include "datasets/tokenizer_config.h"
#include "datasets/tokenizer_json.h"

namespace sinkbench {

/// Reads a model of SentencePiece, BPE or unigram, so that the encoder of tokenizer.json does both;
/// ids equal those of SentencePiece's own library. Hence a control symbol ("<s>") that is written
/// in a text is text. (The library itself isn't linked: it carries a protobuf of its own, whose
/// symbols clash with those of the one that LibTorch loads.)
///
/// The model's BOS, if it has one, stands before every text and its EOS nowhere, unless the
/// tokenizer_config.json `beside` it (nullptr: none) says otherwise by add_bos_token and
/// add_eos_token; by `legacy: false` of a LlamaTokenizer only the start of a whole text gets the
/// dummy prefix, as with transformers, not that of what follows an added token. InputError where
/// the file is broken or asks for what isn't supported: models of words or characters, and unused
/// pieces that are made of others.
TokenizerJson read_sentencepiece(const std::filesystem::path& path, const TokenizerConfig* beside);

}  // namespace sinkbench
