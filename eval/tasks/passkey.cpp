// Passkey retrieval: a number said twice among repeated sentences.
#include <fmt/format.h>

#include "eval/tasks/filler.h"

namespace sinkbench {
namespace {

constexpr int64_t largest_key = 50'000;

TaskStream make_passkey(const TaskSource& source) {
  const int64_t samples = source.arguments.at("samples").integer();
  const auto seed = static_cast<uint64_t>(source.arguments.at("seed").integer());
  const Filler filler(source.texts, *source.tokenizer);
  Haystack haystack;
  haystack.head =
      "There is an important info hidden inside a lot of irrelevant text. Find it and memorize "
      "them. I will quiz you about the important information there.";
  haystack.question = "What is the pass key? The pass key is";
  const int64_t rest = token_count(*source.tokenizer, " 50000");
  TaskStream stream;
  int64_t sample = 0;
  for (int64_t s = 0; s < samples; ++s) {
    for (const int64_t length : source.arguments.at("length").list()) {
      for (const int64_t depth : source.arguments.at("depth").list()) {
        Draw draw(seed, "passkey", sample);
        const std::string key = std::to_string(1 + draw.below(largest_key));
        haystack.insertions = {{depth * 10,
                                {"The pass key is", " " + key,
                                 fmt::format(". Remember it. {} is the pass key.", key)}}};
        HaystackSample rendered(haystack, filler, length, rest, draw, source, stream);
        stream.questions.push_back(rendered.answer(" " + key, 0, 1));
        stream.questions.back().of = {{"length", length}, {"depth", depth}};
        rendered.finish();
        ++sample;
      }
    }
  }
  return stream;
}

}  // namespace

TaskEntry passkey_task() {
  return {.name = "passkey",
          .summary = "a number said twice among repeated sentences, which is asked at the end",
          .source =
              "Mohtashami and Jaggi 2023, Landmark Attention, arXiv 2305.16300, of which the words "
              "are",
          .parameters = {{"length", "tokens of a sample, about", std::vector<int64_t>{1024}, 64},
                         {"depth", "per cent of the text before the key",
                          std::vector<int64_t>{0, 25, 50, 75, 100}, 0, 100},
                         {"samples", "of each length and depth", 4},
                         {"seed", "of what is drawn", 0, 0, largest_policy_argument}},
          .texts = TaskTexts::filler,
          .make = make_passkey};
}

}  // namespace sinkbench
