// Tokens and their ids, both ways.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "datasets/tokenizer_json.h"

namespace sinkbench {

class Vocabulary {
 public:
  /// The model's vocabulary; InputError where a token or an id comes twice.
  explicit Vocabulary(TokenizerJson& json);

  /// The id of `token`, or -1.
  int32_t find(std::string_view token) const;
  /// Whether some token has this id.
  bool contains(int32_t id) const {
    return id >= 0 && static_cast<size_t>(id) < index_of_id_.size() && index_of_id_[id] >= 0;
  }
  /// The token of an id that the vocabulary contains.
  std::string_view token(int32_t id) const { return tokens_[index_of_id_[id]]; }

  size_t size() const { return tokens_.size(); }
  /// The highest id, or -1 where there are none.
  int32_t max_id() const { return static_cast<int32_t>(index_of_id_.size()) - 1; }

 private:
  /// Where `token` is in `slots_`, or the free slot where it belongs.
  size_t slot(std::string_view token, uint32_t hash) const;

  struct Slot {
    uint32_t hash;
    int32_t index = -1;  // in tokens_, -1 where free
  };
  StringList tokens_;
  std::vector<int32_t> ids_;          // of each of tokens_
  std::vector<int32_t> index_of_id_;  // in tokens_, -1 where no token has the id
  std::vector<Slot> slots_;           // open addressing, a power of two of them
};

}  // namespace sinkbench
