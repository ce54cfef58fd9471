#include "datasets/chars_map.h"

#include <cstring>

#include "base/error.h"

namespace sinkbench {

CharsMap::CharsMap(std::string_view blob, const std::string& where) {
  uint32_t bytes = 0;
  if (blob.size() >= sizeof bytes) std::memcpy(&bytes, blob.data(), sizeof bytes);
  const bool fits = bytes > 0 && bytes % sizeof(uint32_t) == 0 &&
                    blob.size() > sizeof bytes + size_t{bytes} && blob.back() == '\0';
  if (!fits)
    throw InputError::format("{}: expected a map of characters, found a damaged one", where);
  units_.resize(bytes / sizeof(uint32_t));
  std::memcpy(units_.data(), blob.data() + sizeof bytes, bytes);
  replacements_ = blob.substr(sizeof bytes + bytes);
}

CharsMap::Rule CharsMap::find(std::string_view text, bool first) const {
  Rule rule;
  const auto offset = [](uint32_t unit) { return unit >> 10 << ((unit & 1u << 9) >> 6); };
  size_t node = offset(units_[0]);
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    node ^= byte;
    if (node >= units_.size()) break;
    const uint32_t unit = units_[node];
    if ((unit & (1u << 31 | 0xFF)) != byte) break;
    node ^= offset(unit);
    const bool is_end = (unit >> 8 & 1) != 0;
    if (!is_end || node >= units_.size()) continue;
    const uint32_t place = units_[node] & ~(1u << 31);
    if (place >= replacements_.size()) continue;
    rule = {i + 1, replacements_.data() + place};
    if (first) break;
  }
  return rule;
}

}  // namespace sinkbench
