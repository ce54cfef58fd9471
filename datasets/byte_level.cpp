#include "datasets/byte_level.h"

#include <array>
#include <cstdint>

#include "datasets/unicode_classes.h"

namespace sinkbench {
namespace {

constexpr uint32_t kAlphabetEnd = 0x144;  // 256 + the 68 bytes without a visible character

struct Alphabet {
  std::array<uint32_t, 256> character;
  std::array<int, kAlphabetEnd> byte;  // -1 for what is not of the alphabet
};

constexpr Alphabet make_alphabet() {
  Alphabet alphabet{};
  alphabet.byte.fill(-1);
  uint32_t next = 256;
  for (int b = 0; b < 256; ++b) {
    const bool visible = (b > 0x20 && b < 0x7F) || (b > 0xA0 && b != 0xAD);
    const uint32_t c = visible ? static_cast<uint32_t>(b) : next++;
    alphabet.character[b] = c;
    alphabet.byte[c] = b;
  }
  return alphabet;
}

constexpr Alphabet kAlphabet = make_alphabet();

}  // namespace

void append_byte_alphabet(std::string_view bytes, std::string& text) {
  for (const char b : bytes) append_utf8(kAlphabet.character[static_cast<unsigned char>(b)], text);
}

void append_alphabet_bytes(std::string_view text, std::string& bytes) {
  const size_t before = bytes.size();
  for (size_t i = 0; i < text.size();) {
    const CodePoint c = decode_utf8(text.data() + i);
    if (c.value >= kAlphabetEnd || kAlphabet.byte[c.value] < 0) {
      bytes.resize(before);
      bytes += text;
      return;
    }
    bytes.push_back(static_cast<char>(kAlphabet.byte[c.value]));
    i += c.length;
  }
}

}  // namespace sinkbench
