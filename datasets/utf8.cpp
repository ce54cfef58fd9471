#include "datasets/utf8.h"

#include <cstdint>
#include <cstring>

namespace sinkbench {
namespace {

/// Of the bytes at `p`: the length of the well-formed sequence (> 0), or minus the length of the
/// maximal subpart of an ill-formed one.
int sequence_length(const unsigned char* p, const unsigned char* end) {
  const unsigned char lead = p[0];
  if (lead < 0x80) return 1;
  int length = 0;
  unsigned char low = 0x80, high = 0xBF;  // what the second byte may be
  if (lead >= 0xC2 && lead <= 0xDF) {
    length = 2;
  } else if (lead >= 0xE0 && lead <= 0xEF) {
    length = 3;
    if (lead == 0xE0) low = 0xA0;   // shorter forms
    if (lead == 0xED) high = 0x9F;  // surrogates
  } else if (lead >= 0xF0 && lead <= 0xF4) {
    length = 4;
    if (lead == 0xF0) low = 0x90;   // shorter forms
    if (lead == 0xF4) high = 0x8F;  // above U+10FFFF
  } else {
    return -1;
  }
  for (int i = 1; i < length; ++i) {
    if (p + i == end || p[i] < low || p[i] > high) return -i;
    low = 0x80;
    high = 0xBF;
  }
  return length;
}

}  // namespace

size_t valid_utf8_prefix(std::string_view text) {
  const auto* begin = reinterpret_cast<const unsigned char*>(text.data());
  const auto* end = begin + text.size();
  const auto* p = begin;
  while (p < end) {
    uint64_t word;
    if (end - p >= 8 && (std::memcpy(&word, p, 8), (word & 0x8080808080808080u) == 0)) {
      p += 8;
      continue;
    }
    const int length = sequence_length(p, end);
    if (length < 0) break;
    p += length;
  }
  return static_cast<size_t>(p - begin);
}

std::string to_valid_utf8(std::string_view text) {
  std::string valid;
  valid.reserve(text.size());
  while (true) {
    const size_t prefix = valid_utf8_prefix(text);
    valid.append(text.substr(0, prefix));
    if (prefix == text.size()) return valid;
    text.remove_prefix(prefix);
    const auto* bytes = reinterpret_cast<const unsigned char*>(text.data());
    valid.append("\xEF\xBF\xBD");
    text.remove_prefix(static_cast<size_t>(-sequence_length(bytes, bytes + text.size())));
  }
}

}  // namespace sinkbench
