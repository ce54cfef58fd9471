// GPT-2's byte alphabet: each of the 256 bytes written as one visible character, a space as U+0120,
// so that a vocabulary of byte strings can be kept as text
// (https://github.com/openai/gpt-2/blob/master/src/encoder.py, bytes_to_unicode).
#pragma once

#include <string>
#include <string_view>

namespace sinkbench {

/// Appends the characters of `bytes`.
void append_byte_alphabet(std::string_view bytes, std::string& text);

/// Appends the bytes that `text` writes; where it holds a character that is not of the alphabet,
/// as tokens that were added by hand do, `text` itself.
void append_alphabet_bytes(std::string_view text, std::string& bytes);

}  // namespace sinkbench
