#include "datasets/unicode_classes.h"

#include <algorithm>
#include <vector>

#include "datasets/unicode_tables.h"

namespace sinkbench {
namespace {

std::vector<uint16_t> expand() {
  constexpr uint32_t kCodePoints = 0x110000;
  constexpr int kBits = UnicodeTables::kClassBits;
  std::vector<uint16_t> classes(kCodePoints);
  const auto runs = unicode_tables().classes;
  for (size_t i = 0; i < runs.size(); ++i) {
    const uint32_t end = i + 1 < runs.size() ? runs[i + 1] >> kBits : kCodePoints;
    std::fill(classes.begin() + (runs[i] >> kBits), classes.begin() + end,
              static_cast<uint16_t>(runs[i] & ((1u << kBits) - 1)));
  }
  return classes;
}

}  // namespace

const uint16_t* char_classes() {
  static const std::vector<uint16_t> classes = expand();
  return classes.data();
}

void append_utf8(uint32_t c, std::string& text) {
  const auto byte = [&](uint32_t value) { text.push_back(static_cast<char>(value)); };
  if (c < 0x80) {
    byte(c);
  } else if (c < 0x800) {
    byte(0xC0 | c >> 6);
    byte(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    byte(0xE0 | c >> 12);
    byte(0x80 | (c >> 6 & 0x3F));
    byte(0x80 | (c & 0x3F));
  } else {
    byte(0xF0 | c >> 18);
    byte(0x80 | (c >> 12 & 0x3F));
    byte(0x80 | (c >> 6 & 0x3F));
    byte(0x80 | (c & 0x3F));
  }
}

}  // namespace sinkbench
