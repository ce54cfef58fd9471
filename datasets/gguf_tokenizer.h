// The tokenizer in a GGUF file: the keys tokenizer.ggml.*
// (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md#tokenizer), as llama.cpp's
// src/llama-vocab.cpp reads them.
#pragma once

#include <filesystem>

#include "datasets/tokenizer_json.h"

namespace sinkbench {

/// Reads it as the tokenizer.json that says the same, so that one encoder does both: ids are those
/// of the model's own tokenizer.json as far as the file tells them. Two kinds are known, by
/// tokenizer.ggml.model: "gpt2", byte-level BPE (datasets/gguf_pre_tokenizers.h), and "llama",
/// SentencePiece's BPE. BOS and EOS are added as add_bos_token and add_eos_token say, or as
/// llama.cpp does it where they are missing. Tokens that only fill the table up (UNUSED) are none.
///
/// Where the file tells too little, ids are llama.cpp's: an added token takes no spaces in (lstrip,
/// rstrip), but for those after the added tokens of a model that is named Phi-3, and is looked for in the text as it is given; of the kind "llama" the text after one
/// starts with a space of its own, as the whole text does (transformers' `legacy`), unless
/// add_space_prefix is false.
///
/// Its digest is that of these keys (and of being named Phi-3) alone: files of one model in several types have one tokenizer.
/// InputError names the key, and says that a tokenizer.json beside the file is taken instead.
TokenizerJson read_gguf_tokenizer(const std::filesystem::path& path);

}  // namespace sinkbench
