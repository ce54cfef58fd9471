#include "base/utf8.h"

#include <algorithm>
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

std::string to_valid_utf8(std::string_view text, int64_t* replaced) {
  std::string valid;
  valid.reserve(text.size());
  while (true) {
    const size_t prefix = valid_utf8_prefix(text);
    valid.append(text.substr(0, prefix));
    if (prefix == text.size()) return valid;
    text.remove_prefix(prefix);
    const auto* bytes = reinterpret_cast<const unsigned char*>(text.data());
    const int subpart = -sequence_length(bytes, bytes + text.size());
    valid.append("\xEF\xBF\xBD");
    text.remove_prefix(static_cast<size_t>(subpart));
    if (replaced != nullptr) *replaced += subpart;
  }
}

int64_t count_characters(std::string_view text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; });
}

size_t append_utf16(std::string& out, std::string_view bytes, bool big_endian, bool last) {
  const auto unit = [&](size_t i) {
    const auto first = static_cast<unsigned char>(bytes[i]);
    const auto second = static_cast<unsigned char>(bytes[i + 1]);
    return static_cast<uint32_t>(big_endian ? first << 8 | second : second << 8 | first);
  };
  const auto put = [&](uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  const auto is_high = [](uint32_t u) { return u >= 0xD800 && u < 0xDC00; };
  const auto is_low = [](uint32_t u) { return u >= 0xDC00 && u < 0xE000; };
  size_t i = 0;
  while (bytes.size() - i >= 2) {
    const uint32_t c = unit(i);
    if (is_high(c) && bytes.size() - i < 4 && !last) return i;
    i += 2;
    if (c < 0x80) {
      put(c);
    } else if (c < 0x800) {
      put(0xC0 | c >> 6);
      put(0x80 | (c & 0x3F));
    } else if (is_high(c) && bytes.size() - i >= 2 && is_low(unit(i))) {
      const uint32_t point = 0x10000 + ((c - 0xD800) << 10) + (unit(i) - 0xDC00);
      i += 2;
      put(0xF0 | point >> 18);
      put(0x80 | (point >> 12 & 0x3F));
      put(0x80 | (point >> 6 & 0x3F));
      put(0x80 | (point & 0x3F));
    } else if (is_high(c) || is_low(c)) {
      put(0xFF);
    } else {
      put(0xE0 | c >> 12);
      put(0x80 | (c >> 6 & 0x3F));
      put(0x80 | (c & 0x3F));
    }
  }
  if (!last || i == bytes.size()) return i;
  put(0xFF);  // half a unit
  return bytes.size();
}

}  // namespace sinkbench
