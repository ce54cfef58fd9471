// Needles in a haystack: numbers under keys, somewhere in a long text, and a question for those of
// one key. The wording is RULER's.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "eval/tasks/filler.h"

namespace sinkbench {
namespace {

const std::vector<std::string> adjectives = {
    "amber", "brisk", "calm",  "dusty", "eager", "faint", "gentle", "hollow", "idle",  "jolly",
    "keen",  "lofty", "muddy", "noble", "olive", "plain", "quiet",  "rapid",  "sober", "tidy",
    "urban", "vivid", "warm",  "young", "zesty", "bold",  "crisp",  "dense",  "early", "fresh"};
const std::vector<std::string> nouns = {"anchor", "basket", "candle", "dragon", "engine", "forest",
                                        "garden", "hammer", "island", "jacket", "kettle", "ladder",
                                        "mirror", "needle", "orchid", "pencil", "quarry", "ribbon",
                                        "saddle", "temple", "umpire", "valley", "window", "yonder",
                                        "zipper", "bridge", "copper", "desert", "elbow",  "fiddle"};

TaskStream make_needle(const TaskSource& source) {
  const int64_t keys = source.arguments.at("keys").integer();
  const int64_t values = source.arguments.at("values").integer();
  const int64_t samples = source.arguments.at("samples").integer();
  const auto seed = static_cast<uint64_t>(source.arguments.at("seed").integer());
  const Filler filler(source.texts, *source.tokenizer);
  const bool one = values == 1;
  const std::string numbers = one ? "number" : "numbers";
  TaskStream stream;
  int64_t sample = 0;
  for (int64_t s = 0; s < samples; ++s) {
    for (const int64_t length : source.arguments.at("length").list()) {
      for (const int64_t depth : source.arguments.at("depth").list()) {
        Draw draw(seed, "needle", sample);
        std::vector<std::string> names;
        while (static_cast<int64_t>(names.size()) < keys) {
          std::string name = adjectives[draw.below(std::ssize(adjectives))] + "-" +
                             nouns[draw.below(std::ssize(nouns))];
          if (std::find(names.begin(), names.end(), name) == names.end()) {
            names.push_back(std::move(name));
          }
        }
        Haystack haystack;
        haystack.head = fmt::format(
            "{} special magic {} {} hidden within the following text. Make sure to memorize it. I "
            "will quiz you about the {} afterwards.",
            one ? "A" : "Some", numbers, one ? "is" : "are", numbers);
        // The first needle of the key that is asked stands at the chosen depth, others of the key
        // after it, those of other keys anywhere.
        struct Needle {
          std::string value;
          int64_t per_mille;
          bool asked;
          std::string key;
        };
        std::vector<Needle> needles;
        for (int64_t k = 0; k < keys; ++k) {
          for (int64_t v = 0; v < values; ++v) {
            const int64_t least = k == 0 ? 10 * depth : 0;
            const int64_t per_mille = k == 0 && v == 0 ? least : least + draw.below(1001 - least);
            needles.push_back(
                {std::to_string(1'000'000 + draw.below(9'000'000)), per_mille, k == 0, names[k]});
          }
        }
        std::stable_sort(needles.begin(), needles.end(), [](const Needle& a, const Needle& b) {
          return a.per_mille < b.per_mille;
        });
        for (const Needle& needle : needles) {
          haystack.insertions.push_back(
              {needle.per_mille,
               {fmt::format("One of the special magic numbers for {} is:", needle.key),
                " " + needle.value, "."}});
        }
        haystack.question = fmt::format(
            "What {} special magic {} for {} mentioned in the provided text? The special magic "
            "{} "
            "for {} mentioned in the provided text {}",
            one ? "is the" : "are all the", numbers, names[0], numbers, names[0],
            one ? "is" : "are");
        const int64_t rest = values * token_count(*source.tokenizer, " 1234567,");
        HaystackSample rendered(haystack, filler, length, rest, draw, source, stream);
        bool begun = false;
        for (size_t n = 0; n < needles.size(); ++n) {
          if (!needles[n].asked) continue;
          if (std::exchange(begun, true)) rendered.add(",");
          stream.questions.push_back(rendered.answer(" " + needles[n].value, n, 1));
          stream.questions.back().of = {{"length", length}, {"depth", depth}};
        }
        rendered.finish();
        ++sample;
      }
    }
  }
  return stream;
}

}  // namespace

TaskEntry needle_task() {
  return {.name = "needle",
          .summary = "a number under a key in a long text, which is asked at its end",
          .source =
              "Hsieh et al. 2024, RULER, arXiv 2404.06654: niah_single_1, with `text` "
              "niah_single_2, with `keys` niah_multikey_1, with `values` niah_multivalue",
          .parameters = {{"length", "tokens of a sample, about", std::vector<int64_t>{1024}, 64},
                         {"depth", "per cent of the text before the needle",
                          std::vector<int64_t>{0, 25, 50, 75, 100}, 0, 100},
                         {"keys", "under which there are numbers; one of them is asked", 1, 1, 100},
                         {"values", "of each key, all of which are answers", 1, 1, 100},
                         {"samples", "of each length and depth", 4},
                         {"seed", "of what is drawn", 0, 0, largest_policy_argument}},
          .texts = TaskTexts::filler,
          .make = make_needle};
}

}  // namespace sinkbench
