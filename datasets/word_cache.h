// What was encoded before and comes again: the ids of short words.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>

namespace sinkbench {

/// A table in which a word's place follows from its hash, so that a new word drives out the one
/// that was there: of fixed size, whatever the text. For one thread at a time.
class WordCache {
 public:
  static constexpr size_t kMaxWord = 34, kMaxIds = 7;

  struct Entry {  // one cache line
    char word[kMaxWord];
    uint8_t length = 0;  // 0 where the entry is free
    uint8_t count = 0;
    int32_t ids[kMaxIds];

    bool holds(std::string_view text) const {
      return length == text.size() && std::memcmp(word, text.data(), length) == 0;
    }
    std::span<const int32_t> value() const { return {ids, count}; }
    void set(std::string_view text, std::span<const int32_t> value) {
      length = static_cast<uint8_t>(text.size());
      count = static_cast<uint8_t>(value.size());
      std::memcpy(word, text.data(), text.size());
      std::ranges::copy(value, ids);  // of none, data() may be null, which memcpy doesn't take
    }
  };
  static_assert(sizeof(Entry) == 64);

  /// The place of a word of 1 to kMaxWord bytes: look whether it `holds` the word, else `set` it.
  Entry& entry(std::string_view word) { return entries_[hash(word) & (kEntries - 1)]; }

 private:
  static constexpr size_t kEntries = size_t{1} << 15;

  static uint64_t load(const char* p, size_t bytes) {
    uint64_t value = 0;
    std::memcpy(&value, p, bytes);
    return value;
  }
  static uint64_t mix(uint64_t h) { return (h ^ h >> 32) * 0x9E3779B97F4A7C15u; }

  static size_t hash(std::string_view word) {
    const char* p = word.data();
    size_t n = word.size();
    uint64_t h = n;
    for (; n > 8; p += 8, n -= 8) h = mix(h ^ load(p, 8));
    // The loads of fixed size overlap rather than ask for one of `n` bytes, which is slow.
    if (n == 8) {
      h ^= load(p, 8);
    } else if (n >= 4) {
      h ^= load(p, 4) | load(p + n - 4, 4) << 32;
    } else {
      h ^= load(p, 1) | load(p + n / 2, 1) << 8 | load(p + n - 1, 1) << 16;
    }
    h = mix(h);
    return h ^ h >> 32;
  }

  std::unique_ptr<Entry[]> entries_ = std::make_unique<Entry[]>(kEntries);
};

}  // namespace sinkbench
