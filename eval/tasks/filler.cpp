#include "eval/tasks/filler.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cctype>
#include <utility>

#include "base/error.h"
#include "datasets/documents.h"

namespace sinkbench {
namespace {

constexpr size_t most_text = size_t{4} << 20;
constexpr int64_t longest_sentence = 40;  // words
constexpr int64_t phases = 64;            // of a policy's rounds

const std::vector<std::string> repeated_sentences = {"The grass is green.", "The sky is blue.",
                                                     "The sun is yellow.", "Here we go.",
                                                     "There and back again."};

std::vector<std::string> sentences_of(const std::string& text) {
  std::vector<std::string> sentences;
  std::string sentence;
  int64_t words = 0;
  const auto end = [&] {
    if (!sentence.empty()) sentences.push_back(std::exchange(sentence, {}));
    words = 0;
  };
  const auto is_space = [](char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; };
  for (size_t begin = 0; begin < text.size();) {
    while (begin < text.size() && is_space(text[begin])) ++begin;
    size_t stop = begin;
    while (stop < text.size() && !is_space(text[stop])) ++stop;
    if (stop == begin) break;
    if (words > 0) sentence += ' ';
    sentence.append(text, begin, stop - begin);
    ++words;
    const char last = text[stop - 1];
    if (last == '.' || last == '?' || last == '!' || words == longest_sentence) end();
    begin = stop;
  }
  end();
  return sentences;
}

}  // namespace

Filler::Filler(const std::vector<std::filesystem::path>& texts, const Tokenizer& tokenizer)
    : repeated_(texts.empty()) {
  std::vector<std::string> sentences = repeated_sentences;
  if (!texts.empty()) {
    std::string text;
    DocumentReader reader(texts);
    while (text.size() < most_text) {
      const std::optional<Document> document = reader.next();
      if (!document) break;
      text += document->text.substr(0, most_text - text.size()) + "\n";
    }
    sentences = sentences_of(text);
    if (text.size() >= most_text && !sentences.empty()) sentences.pop_back();  // which is cut
    if (sentences.empty()) {
      throw InputError::format("{}: there is no sentence in it to fill a sample with",
                               texts.front().string());
    }
  }
  for (std::string& sentence : sentences) {
    const int64_t tokens = token_count(tokenizer, " " + sentence);
    sentences_.push_back({std::move(sentence), tokens});
  }
}

std::vector<std::string> Filler::draw(int64_t tokens, Draw& draw) const {
  std::vector<std::string> drawn;
  auto next =
      static_cast<size_t>(repeated_ ? 0 : draw.below(static_cast<int64_t>(sentences_.size())));
  for (int64_t left = tokens;; ++next) {
    const Sentence& sentence = sentences_[next % sentences_.size()];
    left -= sentence.tokens;
    if (left < 0) return drawn;
    drawn.push_back(sentence.text);
  }
}

HaystackSample::HaystackSample(const Haystack& haystack, const Filler& filler, int64_t length,
                               int64_t rest, Draw& draw, const TaskSource& source,
                               TaskStream& stream)
    : rendering_(*source.tokenizer), stream_(stream) {
  const Tokenizer& tokenizer = *source.tokenizer;
  int64_t needed = rest + token_count(tokenizer, haystack.head) +
                   token_count(tokenizer, "\n" + haystack.question);
  for (const Haystack::Insertion& insertion : haystack.insertions) {
    needed += token_count(tokenizer, fmt::format(" {}", fmt::join(insertion.parts, "")));
  }
  if (length < needed + phases) {
    throw InputError::format("length {} is too short; a sample without filler takes {}", length,
                             needed + phases);
  }
  const std::vector<std::string> sentences =
      filler.draw(length - needed - draw.below(phases), draw);
  const auto count = static_cast<int64_t>(sentences.size());

  first_ = stream.begin_sample(source.prefix);
  // Line ends belong to what stands before them: some tokenizers join them with a full stop, and
  // none with the letter after them.
  rendering_.add(haystack.head + "\n");
  std::string space;
  int64_t next = 0;
  const auto fill_to = [&](int64_t end, const char* after) {
    std::string part;
    for (; next < end; ++next) part += std::exchange(space, " ") + sentences[next];
    part += after;
    if (!part.empty()) rendering_.add(part);
  };
  for (size_t i = 0; i < haystack.insertions.size(); ++i) {
    const Haystack::Insertion& insertion = haystack.insertions[i];
    fill_to((insertion.per_mille * count + 500) / 1000, "");
    const bool ends = i + 1 == haystack.insertions.size() && next == count;
    places_.emplace_back();
    for (size_t p = 0; p < insertion.parts.size(); ++p) {
      places_.back().push_back(first_ + rendering_.size());
      const bool last = ends && p + 1 == insertion.parts.size();
      rendering_.add((p == 0 ? std::exchange(space, " ") : "") + insertion.parts[p] +
                     (last ? "\n" : ""));
    }
    places_.back().push_back(first_ + rendering_.size());
  }
  if (next < count) fill_to(count, "\n");
  asked_ = first_ + rendering_.size();
  rendering_.add(haystack.question);
}

TaskQuestion HaystackSample::answer(std::string_view text, size_t insertion, size_t part) {
  const int64_t begin = first_ + rendering_.size();
  rendering_.add(text);
  const std::vector<int64_t>& places = places_[insertion];
  return {.group = static_cast<int64_t>(stream_.pieces.size()) - 1,
          .asked = asked_,
          .begin = begin,
          .end = first_ + rendering_.size(),
          .fact_begin = places.front(),
          .fact_end = places.back(),
          .distance = begin - places[part]};
}

void HaystackSample::finish() {
  const std::vector<int32_t> ids = rendering_.finish();
  stream_.ids.insert(stream_.ids.end(), ids.begin(), ids.end());
}

}  // namespace sinkbench
