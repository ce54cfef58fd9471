// Variable tracking: a chain of assignments spread over a text; all names that have its value are
// the answer. The wording is RULER's.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "eval/tasks/filler.h"

namespace sinkbench {
namespace {

struct Chain {
  std::string value;
  std::vector<std::string> names;
  /// "VAR", " A", " = 12345."; "VAR", " B", " = VAR A."
  std::vector<std::string> assignment(size_t i) const {
    return {"VAR", " " + names[i], fmt::format(" = {}.", i == 0 ? value : "VAR " + names[i - 1])};
  }
};

Chain draw_chain(int64_t hops, std::set<std::string>& taken, Draw& draw) {
  Chain chain{.value = std::to_string(10'000 + draw.below(90'000)), .names = {}};
  while (static_cast<int64_t>(chain.names.size()) < hops + 1) {
    std::string name;
    for (int i = 0; i < 5; ++i) name += static_cast<char>('A' + draw.below(26));
    if (taken.insert(name).second) chain.names.push_back(name);
  }
  return chain;
}

std::string question_of(const Chain& chain) {
  return fmt::format(
      "Question: Find all variables that are assigned the value {0} in the text above. Answer: "
      "According to the chain(s) of variable assignment in the text above, {1} variables are "
      "assigned the value {0}, they are:",
      chain.value, chain.names.size());
}

constexpr const char* task_text =
    "Memorize and track the chain(s) of variable assignment hidden in the following text.";

TaskStream make_variable_tracking(const TaskSource& source) {
  const int64_t hops = source.arguments.at("hops").integer();
  const int64_t samples = source.arguments.at("samples").integer();
  const auto seed = static_cast<uint64_t>(source.arguments.at("seed").integer());
  const Filler filler(source.texts, *source.tokenizer);
  TaskStream stream;
  int64_t sample = 0;
  for (int64_t s = 0; s < samples; ++s) {
    for (const int64_t length : source.arguments.at("length").list()) {
      Draw draw(seed, "vt", sample);
      std::set<std::string> taken;
      const Chain shown = draw_chain(hops, taken, draw), chain = draw_chain(hops, taken, draw);
      Haystack haystack;
      haystack.head = fmt::format("{}\n\n", task_text);
      for (size_t i = 0; i < shown.names.size(); ++i) {
        haystack.head += fmt::format("{}{}", i == 0 ? "" : " ", fmt::join(shown.assignment(i), ""));
      }
      haystack.head += "\n" + question_of(shown) +
                       fmt::format(" {}\n\n{}", fmt::join(shown.names, " "), task_text);
      std::vector<int64_t> places_of;
      for (size_t i = 0; i < chain.names.size(); ++i) places_of.push_back(draw.below(1001));
      std::sort(places_of.begin(), places_of.end());
      for (size_t i = 0; i < chain.names.size(); ++i) {
        haystack.insertions.push_back({places_of[i], chain.assignment(i)});
      }
      haystack.question = question_of(chain);
      const int64_t rest =
          token_count(*source.tokenizer, fmt::format(" {}", fmt::join(chain.names, " ")));
      HaystackSample rendered(haystack, filler, length, rest, draw, source, stream);
      for (size_t i = 0; i < chain.names.size(); ++i) {
        stream.questions.push_back(rendered.answer(" " + chain.names[i], i, 1));
        stream.questions.back().of = {{"length", length}, {"hop", static_cast<int64_t>(i)}};
      }
      rendered.finish();
      ++sample;
    }
  }
  return stream;
}

}  // namespace

TaskEntry variable_tracking_task() {
  return {
      .name = "vt",
      .summary = "a chain of assignments spread over a text; all names with its value are asked",
      .source = "Hsieh et al. 2024, RULER, arXiv 2404.06654: vt, in the given order",
      .parameters = {{"length", "tokens of a sample, about", std::vector<int64_t>{1024}, 64},
                     {"hops", "from the first name to the last", 4, 0, 100},
                     {"samples", "of each length", 16},
                     {"seed", "of what is drawn", 0, 0, largest_policy_argument}},
      .texts = TaskTexts::filler,
      .make = make_variable_tracking};
}

}  // namespace sinkbench
