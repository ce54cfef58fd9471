#include "datasets/vocabulary.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <utility>

#include "base/error.h"

namespace sinkbench {
namespace {

uint32_t hash_of(std::string_view token) {
  return static_cast<uint32_t>(std::hash<std::string_view>()(token));
}

}  // namespace

Vocabulary::Vocabulary(TokenizerJson& json)
    : tokens_(std::move(json.tokens)), ids_(std::move(json.ids)) {
  slots_.resize(std::bit_ceil(2 * tokens_.size() + 2));
  if (!ids_.empty()) index_of_id_.assign(*std::max_element(ids_.begin(), ids_.end()) + 1, -1);
  for (size_t i = 0; i < tokens_.size(); ++i) {
    const std::string_view token = tokens_[i];
    const uint32_t hash = hash_of(token);
    Slot& free = slots_[slot(token, hash)];
    if (free.index >= 0) {
      throw InputError::format("{}: model.vocab[{}]: given twice", json.file, in_quotes(token));
    }
    int32_t& holder = index_of_id_[ids_[i]];
    if (holder >= 0) {
      throw InputError::format("{}: model.vocab[{}]: {}: already the id of {}", json.file,
                               in_quotes(token), ids_[i], in_quotes(tokens_[holder]));
    }
    free = {hash, static_cast<int32_t>(i)};
    holder = static_cast<int32_t>(i);
  }
}

size_t Vocabulary::slot(std::string_view token, uint32_t hash) const {
  const size_t mask = slots_.size() - 1;
  for (size_t i = hash & mask;; i = (i + 1) & mask) {
    const Slot& s = slots_[i];
    if (s.index < 0 || (s.hash == hash && tokens_[s.index] == token)) return i;
  }
}

int32_t Vocabulary::find(std::string_view token) const {
  const Slot& s = slots_[slot(token, hash_of(token))];
  return s.index < 0 ? -1 : ids_[s.index];
}

}  // namespace sinkbench
