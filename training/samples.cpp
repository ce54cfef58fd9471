#include "training/samples.h"

#include <algorithm>
#include <random>

namespace sinkbench {
namespace {

/// Uniform in [0, bound), the same on every standard library (std's distributions aren't). The
/// bias of the remainder is below bound / 2^64.
int64_t draw(std::mt19937_64& random, int64_t bound) {
  return static_cast<int64_t>(random() % static_cast<uint64_t>(bound));
}

bool happens(std::mt19937_64& random, double probability) {
  constexpr double kTwoTo64 = 18446744073709551616.0;
  return static_cast<double>(random()) < probability * kTwoTo64;
}

void append_sample(std::span<const uint16_t> text, int64_t bos, Batch& batch) {
  batch.ids.push_back(bos);
  batch.ids.insert(batch.ids.end(), text.begin(), text.end() - 1);
  batch.targets.insert(batch.targets.end(), text.begin(), text.end());
}

}  // namespace

Batch training_batch(std::span<const uint16_t> corpus, const ScheduleConfig& schedule, int64_t bos,
                     int64_t step) {
  std::seed_seq seed{static_cast<uint32_t>(schedule.seed),
                     static_cast<uint32_t>(schedule.seed >> 32), static_cast<uint32_t>(step),
                     static_cast<uint32_t>(step >> 32)};
  std::mt19937_64 random(seed);
  const int64_t tokens = schedule.sample_tokens;
  Batch batch;
  // A sample without a BOS is its text and the token after that, to be predicted.
  const int64_t longest = schedule.bos_probability < 1 ? tokens + 1 : tokens;
  std::vector<uint16_t> text;
  for (int64_t s = 0; s < schedule.batch; ++s) {
    const auto from =
        corpus.begin() + draw(random, static_cast<int64_t>(corpus.size()) - longest + 1);
    text.assign(from, from + longest);
    if (happens(random, schedule.repeat_probability)) {
      const int64_t length =
          schedule.repeat_min_tokens +
          draw(random, schedule.repeat_max_tokens - schedule.repeat_min_tokens + 1);
      const int64_t start = draw(random, longest - 2 * length + 1);
      // What stood behind the passage moves on by its length, and the end falls off.
      std::copy(from + start, from + longest - length, text.begin() + start + length);
    }
    if (schedule.bos_probability == 1 || happens(random, schedule.bos_probability)) {
      append_sample(std::span(text).first(tokens), bos, batch);
    } else {
      batch.ids.insert(batch.ids.end(), text.begin(), text.end() - 1);
      batch.targets.insert(batch.targets.end(), text.begin() + 1, text.end());
    }
  }
  return batch;
}

Batch validation_batch(std::span<const uint16_t> corpus, int64_t sample_tokens, int64_t bos,
                       int64_t first, int64_t count, int64_t total) {
  const int64_t places = static_cast<int64_t>(corpus.size()) - sample_tokens + 1;
  Batch batch;
  for (int64_t s = first; s < first + count; ++s) {
    append_sample(corpus.subspan(places * s / total, sample_tokens), bos, batch);
  }
  return batch;
}

}  // namespace sinkbench
