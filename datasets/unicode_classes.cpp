#include "datasets/unicode_classes.h"

#include <fmt/format.h>

#include <iterator>
#include <vector>

namespace sinkbench {
namespace {

constexpr uint32_t kRuns[] = {
#include "datasets/unicode_classes.inc"
};
constexpr uint32_t kCodePoints = 0x110000;

std::vector<uint16_t> expand() {
  std::vector<uint16_t> classes(kCodePoints);
  for (size_t i = 0; i < std::size(kRuns); ++i) {
    const uint32_t end = i + 1 < std::size(kRuns) ? kRuns[i + 1] >> 10 : kCodePoints;
    for (uint32_t c = kRuns[i] >> 10; c < end; ++c) {
      classes[c] = static_cast<uint16_t>(kRuns[i] & 0x3FF);
    }
  }
  return classes;
}

}  // namespace

const uint16_t* char_classes() {
  static const std::vector<uint16_t> classes = expand();
  return classes.data();
}

std::string class_ranges(uint16_t mask, bool negated) {
  const uint16_t* classes = char_classes();
  const auto inside = [&](uint32_t c) { return ((classes[c] & mask) != 0) != negated; };
  std::string ranges;
  for (uint32_t c = 0; c < kCodePoints; ++c) {
    if (!inside(c)) continue;
    uint32_t last = c;
    // A range may not end within the surrogates, which are no characters.
    while (last + 1 < kCodePoints && last + 1 != 0xD800 && inside(last + 1)) ++last;
    if (c < 0xD800 || c > 0xDFFF) {
      ranges += fmt::format("\\x{{{:x}}}-\\x{{{:x}}}", c, last);
    } else if (last > 0xDFFF) {
      ranges += fmt::format("\\x{{e000}}-\\x{{{:x}}}", last);
    }
    c = last;
  }
  return ranges;
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
