#include "datasets/bpe.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <limits>
#include <utility>

#include "base/error.h"

namespace sinkbench {
namespace {

/// Above so many symbols a queue finds the next merge; below, looking at all of them is faster.
constexpr size_t kShort = 40;

/// The queue's entries are rank << kPositionBits | position, so that the least is the next merge.
constexpr int kPositionBits = 40;
constexpr size_t kMaxMerges = size_t{1} << (64 - kPositionBits);

size_t hash_of(uint64_t pair) {
  return (pair * 0x9E3779B97F4A7C15u) >> 32;
}

uint64_t pair_of(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

}  // namespace

Bpe::Bpe(TokenizerJson& json) : vocabulary_(json) {
  const JsonField model = json.field()["model"];
  read_options(model);
  if (model.has("unk_token")) {
    unk_id_ = vocabulary_.find(model["unk_token"].string());
    if (unk_id_ < 0) {
      no_unk_ = fmt::format("{}: model.unk_token: {} is not in model.vocab", json.file,
                            in_quotes(model["unk_token"].string()));
    }
  }
  for (int b = 0; b < 256; ++b) {
    byte_ids_[b] = byte_fallback_ ? vocabulary_.find(fmt::format("<0x{:02X}>", b)) : -1;
  }
  read_merges(json);
  find_cuts(json);
}

void Bpe::read_options(const JsonField& model) {
  if (model.has("dropout") && !model["dropout"].is_zero()) {
    model["dropout"].fail("null: random merges are not supported");
  }
  for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (model.has(affix) && !model[affix].string().empty()) {
      model[affix].fail("null or \"\": others are not supported");
    }
  }
  fuse_unk_ = model.boolean("fuse_unk", false);
  byte_fallback_ = model.boolean("byte_fallback", false);
  ignore_merges_ = model.boolean("ignore_merges", false);
}

void Bpe::read_merges(const TokenizerJson& json) {
  merge_count_ = json.merges.size() / 2;
  if (merge_count_ > kMaxMerges) {
    throw InputError::format("{}: model.merges: {} of them; at most {} are supported", json.file,
                             merge_count_, kMaxMerges);
  }
  merges_.resize(std::bit_ceil(2 * merge_count_ + 2));
  std::string merged;
  for (size_t rank = 0; rank < merge_count_; ++rank) {
    const std::string_view left = json.merges[2 * rank], right = json.merges[2 * rank + 1];
    const auto id_of = [&](std::string_view token) {
      const int32_t id = vocabulary_.find(token);
      if (id < 0 || token.empty()) {
        throw InputError::format("{}: model.merges[{}]: {} + {}: {} is not in model.vocab",
                                 json.file, rank, in_quotes(left), in_quotes(right),
                                 in_quotes(token));
      }
      return id;
    };
    merged.assign(left).append(right);
    const Merge merge{
        pair_of(id_of(left), id_of(right)),
        json.merge_ranks.empty() ? static_cast<uint32_t>(rank) : json.merge_ranks[rank],
        id_of(merged)};
    const size_t mask = merges_.size() - 1;
    size_t slot = hash_of(merge.pair) & mask;
    while (merges_[slot].rank != kNoMerge) {
      if (merges_[slot].pair == merge.pair) break;  // the last one counts, as in the reference
      slot = (slot + 1) & mask;
    }
    merges_[slot] = merge;
  }
}

// Each symbol that merges is the text it covers, so a merge that joins what lies left and right of
// a boundary has a left token that ends with the character before it and a right token that starts
// with the one after it. Where no merge has these two, the boundary is in every outcome. That needs
// each character to give symbols of its own whatever its neighbours, which unknown ones don't:
// they are fused with their neighbours, or dropped.
void Bpe::find_cuts(const TokenizerJson& json) {
  if (ignore_merges_) return;  // a whole word may be a token that merges don't reach
  const bool all_bytes = std::count(byte_ids_.begin(), byte_ids_.end(), -1) == 0;
  const auto kind_of = [](const char* p) {
    const uint32_t c = decode_utf8(p).value;
    return c < 128 ? static_cast<int>(c) : c == 0x2581 ? kMetaspace : kOther;
  };
  std::array<bool, kKinds> known;
  for (int c = 0; c < 128; ++c) {
    const char character = static_cast<char>(c);
    known[c] = all_bytes || vocabulary_.find({&character, 1}) >= 0;
  }
  known[kMetaspace] = all_bytes || vocabulary_.find("\xE2\x96\x81") >= 0;
  known[kOther] = all_bytes;
  for (int left = 0; left < kKinds; ++left) {
    for (int right = 0; right < kKinds; ++right)
      may_cut_[left][right] = known[left] && known[right];
  }
  for (size_t i = 0; i < json.merges.size(); i += 2) {
    const std::string_view left = json.merges[i], right = json.merges[i + 1];
    for (const std::string_view operand : {left, right}) {
      const int32_t id = vocabulary_.find(operand);
      if (id == unk_id_ || std::count(byte_ids_.begin(), byte_ids_.end(), id) > 0) return;
    }
    may_cut_[kind_of(previous_utf8(left.data() + left.size()))][kind_of(right.data())] = false;
  }
  cuts_ = true;
}

const Bpe::Merge& Bpe::merge_of(int32_t left, int32_t right) const {
  const uint64_t pair = pair_of(left, right);
  const size_t mask = merges_.size() - 1;
  size_t slot = hash_of(pair) & mask;
  while (merges_[slot].pair != pair && merges_[slot].rank != kNoMerge) slot = (slot + 1) & mask;
  return merges_[slot];
}

void Bpe::append_symbols(std::string_view word, std::vector<int32_t>& symbols) const {
  bool unknown = false;  // whether an unknown character waits to be written
  for (size_t i = 0; i < word.size();) {
    const std::string_view character = word.substr(i, decode_utf8(word.data() + i).length);
    i += character.size();
    const int32_t id = vocabulary_.find(character);
    if (id >= 0) {
      if (std::exchange(unknown, false)) symbols.push_back(unk_id_);
      symbols.push_back(id);
      continue;
    }
    const auto byte_id = [&](char b) { return byte_ids_[static_cast<unsigned char>(b)]; };
    if (std::all_of(character.begin(), character.end(), [&](char b) { return byte_id(b) >= 0; })) {
      // The reference, too, leaves an unknown character waiting here.
      for (const char b : character) symbols.push_back(byte_id(b));
    } else if (!no_unk_.empty()) {  // which matters only now
      throw InputError::format("{}, and the text has {}, which no token stands for", no_unk_,
                               in_quotes(character));
    } else if (unk_id_ >= 0) {
      if (unknown && !fuse_unk_) symbols.push_back(unk_id_);
      unknown = true;
    }  // else it is dropped, as by the reference
  }
  if (unknown) symbols.push_back(unk_id_);
}

void Bpe::encode(std::string_view word, Scratch& scratch, std::vector<int32_t>& ids) const {
  if (ignore_merges_) {
    const int32_t id = vocabulary_.find(word);
    if (id >= 0) return ids.push_back(id);
  }
  scratch.ids.clear();
  append_symbols(word, scratch.ids);
  if (scratch.ids.size() <= kShort) {
    merge_short(scratch.ids);
  } else {
    merge_long(scratch);
  }
  ids.insert(ids.end(), scratch.ids.begin(), scratch.ids.end());
}

void Bpe::merge_short(std::vector<int32_t>& symbols) const {
  size_t count = symbols.size();
  if (count < 2) return;
  const Merge* merges[kShort];  // of each symbol with the next
  for (size_t i = 0; i + 1 < count; ++i) merges[i] = &merge_of(symbols[i], symbols[i + 1]);
  while (count > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < count; ++i) {
      if (merges[i]->rank < merges[best]->rank) best = i;
    }
    if (merges[best]->rank == kNoMerge) break;
    symbols[best] = merges[best]->id;
    --count;
    std::copy(symbols.begin() + best + 2, symbols.begin() + count + 1, symbols.begin() + best + 1);
    if (best + 1 < count) {
      std::copy(merges + best + 2, merges + count, merges + best + 1);
      merges[best] = &merge_of(symbols[best], symbols[best + 1]);
    }
    if (best > 0) merges[best - 1] = &merge_of(symbols[best - 1], symbols[best]);
  }
  symbols.resize(count);
}

void Bpe::merge_long(Scratch& scratch) const {
  std::vector<Scratch::Symbol>& symbols = scratch.symbols;
  std::vector<uint64_t>& queue = scratch.queue;
  const size_t count = scratch.ids.size();
  if (count > static_cast<size_t>(std::numeric_limits<int32_t>::max())) {
    throw InputError::format(
        "a text that this tokenizer takes as one word of {} characters; at most "
        "{} are supported",
        count, std::numeric_limits<int32_t>::max());
  }
  symbols.resize(count);
  queue.clear();
  const auto entry = [](uint32_t rank, int32_t position) {
    return static_cast<uint64_t>(rank) << kPositionBits | static_cast<uint32_t>(position);
  };
  const auto later = std::greater<>();
  for (size_t i = 0; i < count; ++i) {
    const auto at = static_cast<int32_t>(i);
    const bool last = i + 1 == count;
    const uint32_t rank = last ? kNoMerge : merge_of(scratch.ids[i], scratch.ids[i + 1]).rank;
    symbols[i] = {scratch.ids[i], at - 1, last ? -1 : at + 1, rank};
    if (rank != kNoMerge) queue.push_back(entry(rank, at));
  }
  std::make_heap(queue.begin(), queue.end(), later);

  // Sets the merge of the symbol at `at` with the next one and puts it into the queue.
  const auto offer = [&](int32_t at) {
    Scratch::Symbol& s = symbols[at];
    s.rank = s.next < 0 ? kNoMerge : merge_of(s.id, symbols[s.next].id).rank;
    if (s.rank == kNoMerge) return;
    queue.push_back(entry(s.rank, at));
    std::push_heap(queue.begin(), queue.end(), later);
  };
  while (!queue.empty()) {
    std::pop_heap(queue.begin(), queue.end(), later);
    const auto at = static_cast<int32_t>(queue.back() & 0xFFFFFFFFu);
    const auto rank = static_cast<uint32_t>(queue.back() >> kPositionBits);
    queue.pop_back();
    Scratch::Symbol& s = symbols[at];
    if (s.rank != rank) continue;  // merged since, alone or with another neighbour
    Scratch::Symbol& right = symbols[s.next];
    s.id = merge_of(s.id, right.id).id;
    s.next = right.next;
    right.rank = kNoMerge;
    if (s.next >= 0) symbols[s.next].previous = at;
    offer(at);
    if (s.previous >= 0) offer(s.previous);
  }
  scratch.ids.clear();
  for (int32_t at = 0; at >= 0; at = symbols[at].next) scratch.ids.push_back(symbols[at].id);
}

}  // namespace sinkbench
