// The text between what a task is about.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "eval/tasks/rendering.h"
#include "eval/tasks/task.h"

namespace sinkbench {

/// Sentences that are put one after the other: of a text, from a place that is drawn, or five that
/// are repeated ("The grass is green. ..."), as in the passkey task (Mohtashami and Jaggi 2023,
/// arXiv 2305.16300) and RULER's first (Hsieh et al. 2024, arXiv 2404.06654).
class Filler {
 public:
  /// `texts` empty: the repeated ones. Of a text the first 4 MiB are taken; lines are joined, and
  /// what has no end within 40 words is cut there.
  Filler(const std::vector<std::filesystem::path>& texts, const Tokenizer& tokenizer);

  /// Sentences of about `tokens` tokens, and no more, where spaces stand between them.
  std::vector<std::string> draw(int64_t tokens, Draw& draw) const;

 private:
  struct Sentence {
    std::string text;
    int64_t tokens;  ///< with a space before it
  };
  std::vector<Sentence> sentences_;
  bool repeated_;
};

/// A sample of given length: a head, filler in which insertions stand, and a question. About so
/// many tokens long, up to 63 fewer, which are drawn: so a round of a policy that comes every few
/// tokens falls anywhere before the question.
struct Haystack {
  struct Insertion {
    int64_t per_mille;               ///< of the filler's sentences that stand before it
    std::vector<std::string> parts;  ///< whose places in the ids are known; all but the first with
                                     ///< the space that is before them
  };
  std::string head;                   ///< a line of its own, without the line's end
  std::vector<Insertion> insertions;  ///< by place; those of one place in their order
  std::string question;               ///< begins a line
};

/// A sample under way: what stands before it and head, filler, insertions and question are there;
/// the answers are to come.
class HaystackSample {
 public:
  /// The answers have to take up `rest` tokens. InputError where there is no room.
  HaystackSample(const Haystack& haystack, const Filler& filler, int64_t length, int64_t rest,
                 Draw& draw, const TaskSource& source, TaskStream& stream);

  /// Text between answers.
  void add(std::string_view text) { rendering_.add(text); }
  /// The answer to a question, which is part `part` of an insertion, without its `of`.
  TaskQuestion answer(std::string_view text, size_t insertion, size_t part);
  /// Adds the sample's ids to the stream.
  void finish();

 private:
  Rendering rendering_;
  TaskStream& stream_;
  int64_t first_, asked_;
  std::vector<std::vector<int64_t>>
      places_;  // [insertions][parts + 1] where they begin, and the end
};

}  // namespace sinkbench
