// The vocabularies of tiktoken (https://github.com/openai/tiktoken): byte strings and their ranks.
#pragma once

#include <filesystem>

#include "datasets/tokenizer_json.h"

namespace sinkbench {

/// Whether a file is one of tiktoken's: lines of a byte string in Base64 and its rank.
bool is_tiktoken(const std::filesystem::path& path);

/// Reads such a file. It says neither how texts are cut into words nor which special tokens there
/// are, so it is read only where it is known by its contents: Llama 3's original/tokenizer.model,
/// with the special tokens of Llama 3.1 and a BOS before every text. Ids equal those of Meta's own
/// reader; hence a special token that is written in a text is text. InputError says what else it is
/// and what to do.
TokenizerJson read_tiktoken(const std::filesystem::path& path);

/// Reads Mistral's tekken.json, which says all that: ids equal those of mistral_common
/// (https://github.com/mistralai/mistral-common), with a BOS before every text; a special token
/// that is written in a text is text. InputError names the field.
TokenizerJson read_tekken(const std::filesystem::path& path);

}  // namespace sinkbench
