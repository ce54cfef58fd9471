#include "datasets/unigram.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/error.h"
#include "datasets/unicode_classes.h"

namespace sinkbench {

Unigram::Unigram(TokenizerJson& json)
    : vocabulary_(json),
      scores_(std::move(json.unigram->scores)),
      unknown_score_(json.unigram->unknown_score),
      single_precision_(json.unigram->single_precision),
      file_(json.file) {
  const JsonField model = json.field()["model"];
  byte_fallback_ = model.boolean("byte_fallback", false);
  if (model.has("unk_id")) {
    unk_id_ = static_cast<int32_t>(model["unk_id"].integer(max_token_id));
    if (!vocabulary_.contains(unk_id_)) model["unk_id"].fail("the id of a token");
  }
  for (size_t id = 0; id < scores_.size(); ++id) {
    const auto token = static_cast<int32_t>(id);
    if (std::isnan(scores_[id]) || vocabulary_.token(token).empty()) continue;
    trie_.add(vocabulary_.token(token), token);
  }
  for (int b = 0; b < 256; ++b) {
    byte_ids_[b] = byte_fallback_ ? vocabulary_.find(fmt::format("<0x{:02X}>", b)) : -1;
  }
}

void Unigram::encode(std::string_view text, Scratch& scratch, std::vector<int32_t>& ids) const {
  using Best = Scratch::Best;
  std::vector<Best>& best = scratch.best;  // by the byte where they end
  best.assign(text.size() + 1, Best{});
  const auto offer = [&](size_t begin, size_t end, double score, int32_t id) {
    double sum = best[begin].score + score;
    if (best[end].begin >= 0 && !(sum > best[end].score)) return;
    if (single_precision_) sum = static_cast<float>(sum);
    best[end] = {sum, id, static_cast<int64_t>(begin)};
  };
  for (size_t begin = 0; begin < text.size();) {
    const auto character = static_cast<size_t>(decode_utf8(text.data() + begin).length);
    bool known = false;  // whether the character is a token
    trie_.for_each_prefix(text.substr(begin), [&](size_t length, int32_t id) {
      offer(begin, begin + length, scores_[id], id);
      known = known || length == character;
    });
    if (!known) offer(begin, begin + character, unknown_score_, unk_id_);
    begin += character;
  }

  scratch.ends.clear();
  for (size_t end = text.size(); end > 0; end = static_cast<size_t>(best[end].begin)) {
    scratch.ends.push_back(end);
  }
  size_t unknown = 0;  // where a run of unknown characters begins, if `end` is behind it
  size_t done = 0;
  for (auto end = scratch.ends.rbegin(); end != scratch.ends.rend(); ++end) {
    if (best[*end].id != unk_id_) {
      if (unknown < done) append_unknown(text.substr(unknown, done - unknown), ids);
      ids.push_back(best[*end].id);
      unknown = *end;
    }
    done = *end;
  }
  if (unknown < done) append_unknown(text.substr(unknown, done - unknown), ids);
}

void Unigram::append_unknown(std::string_view text, std::vector<int32_t>& ids) const {
  // "<unk>" itself, where a text may hold it.
  const int32_t spelled = vocabulary_.find(text);
  if (spelled >= 0 && !std::isnan(scores_[spelled])) return ids.push_back(spelled);
  const size_t before = ids.size();
  if (byte_fallback_) {
    for (const char c : text) ids.push_back(byte_ids_[static_cast<unsigned char>(c)]);
    if (std::count(ids.begin() + before, ids.end(), -1) == 0) return;
    ids.resize(before);
  }
  if (unk_id_ < 0) {
    throw InputError::format(
        "{}: model.unk_id: there is none, and the text has {}, which no token stands for", file_,
        in_quotes(text));
  }
  ids.push_back(unk_id_);
}

}  // namespace sinkbench
