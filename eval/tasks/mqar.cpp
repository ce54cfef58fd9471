// Multi-query associative recall: pairs of a key and a value, then each key once more at a place
// that is drawn, with its value after it.
#include <algorithm>
#include <utility>

#include "base/error.h"
#include "eval/tasks/task.h"

namespace sinkbench {
namespace {

/// `count` of `n` places without replacement: place i, counted from 0, in proportion to 1 / (i +
/// 1), so that keys come back soon, mostly (Zoology has the exponent -0.99).
std::vector<int64_t> draw_places(int64_t n, int64_t count, Draw& draw) {
  std::vector<int64_t> weights(n), places;
  int64_t total = 0;
  for (int64_t i = 0; i < n; ++i) total += weights[i] = (int64_t{1} << 32) / (i + 1);
  while (static_cast<int64_t>(places.size()) < count) {
    int64_t at = draw.below(total), i = 0;
    while (at >= weights[i]) at -= weights[i++];
    total -= std::exchange(weights[i], 0);
    places.push_back(i);
  }
  return places;
}

TaskStream make_mqar(const TaskSource& source) {
  const int64_t length = source.arguments.at("length").integer();
  const int64_t samples = source.arguments.at("samples").integer();
  const auto seed = static_cast<uint64_t>(source.arguments.at("seed").integer());
  // Keys are of the vocabulary's first half, values of the second, what fills of all of it.
  const auto vocabulary = static_cast<int64_t>(source.ordinary.size());
  const int64_t half = vocabulary / 2;
  TaskStream stream;
  int64_t sample = 0;
  for (int64_t s = 0; s < samples; ++s) {
    for (const int64_t pairs : source.arguments.at("pairs").list()) {
      if (4 * pairs > length) {
        throw InputError::format("{} pairs and their questions are {} tokens; length is {}", pairs,
                                 4 * pairs, length);
      }
      if (pairs > half) {
        throw InputError::format("{} pairs need as many keys; half the vocabulary has {}", pairs,
                                 half);
      }
      Draw draw(seed, "mqar", sample);
      const int64_t first = stream.begin_sample(source.prefix);
      for (int64_t i = 0; i < length; ++i) {
        stream.ids.push_back(source.ordinary[draw.below(vocabulary)]);
      }
      std::vector<int64_t> keys;
      while (static_cast<int64_t>(keys.size()) < pairs) {
        const int64_t key = draw.below(half);
        if (std::find(keys.begin(), keys.end(), key) == keys.end()) keys.push_back(key);
      }
      for (int64_t p = 0; p < pairs; ++p) {
        stream.ids[first + 2 * p] = source.ordinary[keys[p]];
        stream.ids[first + 2 * p + 1] = source.ordinary[half + draw.below(vocabulary - half)];
      }
      const std::vector<int64_t> places = draw_places((length - 2 * pairs) / 2, pairs, draw);
      std::vector<std::pair<int64_t, int64_t>> asked;
      for (int64_t p = 0; p < pairs; ++p) asked.emplace_back(2 * pairs + 2 * places[p], p);
      std::sort(asked.begin(), asked.end());
      for (const auto& [place, p] : asked) {
        const int64_t key = first + place, fact = first + 2 * p;
        stream.ids[key] = stream.ids[fact];
        stream.ids[key + 1] = stream.ids[fact + 1];
        stream.questions.push_back({.group = sample,
                                    .asked = key,
                                    .begin = key + 1,
                                    .end = key + 2,
                                    .fact_begin = fact,
                                    .fact_end = fact + 2,
                                    .distance = key - fact,
                                    .of = {{"pairs", pairs}}});
      }
      ++sample;
    }
  }
  return stream;
}

}  // namespace

TaskEntry mqar_task() {
  return {.name = "mqar",
          .summary = "pairs of random tokens, then each key again: its value is the answer",
          .source =
              "Arora et al. 2023, Zoology: Measuring and Improving Recall in Efficient Language "
              "Models, arXiv 2312.04927",
          .parameters = {{"pairs", "of a key and a value", std::vector<int64_t>{8}},
                         {"length", "tokens of a sample", 64, 4},
                         {"samples", "of each number of pairs", 16},
                         {"seed", "of what is drawn", 0, 0, largest_policy_argument}},
          .tokenizer = false,
          .make = make_mqar};
}

}  // namespace sinkbench
