#include "training/samples.h"

#include <algorithm>
#include <numeric>

#include "tests/catch.h"

using namespace sinkbench;

namespace {

constexpr int64_t kBos = 60000;

/// Ids that say where they stand: 0, 1, 2, ...
std::vector<uint16_t> counting(size_t size) {
  std::vector<uint16_t> corpus(size);
  std::iota(corpus.begin(), corpus.end(), 0);
  return corpus;
}

ScheduleConfig schedule(double repeat_probability) {
  ScheduleConfig schedule;
  schedule.batch = 50;
  schedule.sample_tokens = 40;
  schedule.repeat_probability = repeat_probability;
  schedule.repeat_min_tokens = 3;
  schedule.repeat_max_tokens = 20;
  return schedule;
}

}  // namespace

TEST_CASE("a sample is a BOS and a piece of the corpus, its targets one token on") {
  const std::vector<uint16_t> corpus = counting(500);
  const ScheduleConfig plain = schedule(0);
  const Batch batch = training_batch(corpus, plain, kBos, 3);
  REQUIRE(batch.ids.size() == 50 * 40);
  REQUIRE(batch.targets.size() == 50 * 40);
  for (int64_t s = 0; s < 50; ++s) {
    const int64_t* ids = &batch.ids[s * 40];
    const int64_t* targets = &batch.targets[s * 40];
    CHECK(ids[0] == kBos);
    for (int64_t t = 0; t < 40; ++t) CHECK(targets[t] == targets[0] + t);
    CHECK(std::equal(ids + 1, ids + 40, targets));
  }
}

TEST_CASE("a corpus of one sample's length is enough") {
  const std::vector<uint16_t> corpus = counting(40);
  const Batch batch = training_batch(corpus, schedule(0), kBos, 0);
  CHECK(std::equal(corpus.begin(), corpus.end(), batch.targets.begin()));
}

TEST_CASE("a repeated passage stands twice in a row, and the text goes on behind it") {
  const std::vector<uint16_t> corpus = counting(5000);
  std::vector<int64_t> lengths;
  for (int64_t step = 0; step < 40; ++step) {
    const Batch batch = training_batch(corpus, schedule(1), kBos, step);
    for (int64_t s = 0; s < 50; ++s) {
      const int64_t* text = &batch.targets[s * 40];
      int64_t jumps = 0;
      for (int64_t t = 1; t < 40; ++t) {
        if (text[t] == text[t - 1] + 1) continue;
        ++jumps;
        // Back to the passage's start, which is as far as it is long.
        const int64_t length = text[t - 1] + 1 - text[t];
        lengths.push_back(length);
        CHECK(t - length >= 0);   // the passage's first copy is whole
        CHECK(t + length <= 40);  // and so is its second
      }
      CHECK(jumps == 1);
    }
  }
  const auto [shortest, longest] = std::minmax_element(lengths.begin(), lengths.end());
  CHECK(*shortest == 3);
  CHECK(*longest == 20);
}

TEST_CASE("as many samples have a repeated passage as asked for") {
  const std::vector<uint16_t> corpus = counting(5000);
  int64_t repeated = 0;
  for (int64_t step = 0; step < 40; ++step) {
    const Batch batch = training_batch(corpus, schedule(0.25), kBos, step);
    for (int64_t s = 0; s < 50; ++s) {
      repeated += batch.targets[s * 40 + 39] != batch.targets[s * 40] + 39;
    }
  }
  // 2000 draws of probability 0.25: four standard deviations are 78.
  CHECK(std::abs(repeated - 500) < 78);
}

TEST_CASE("as many samples begin with the BOS as asked for, the others with text") {
  const std::vector<uint16_t> corpus = counting(5000);
  ScheduleConfig config = schedule(0);
  config.bos_probability = 0.75;
  int64_t with_bos = 0;
  for (int64_t step = 0; step < 40; ++step) {
    const Batch batch = training_batch(corpus, config, kBos, step);
    REQUIRE(batch.ids.size() == 50 * 40);
    REQUIRE(batch.targets.size() == 50 * 40);
    for (int64_t s = 0; s < 50; ++s) {
      const int64_t* ids = &batch.ids[s * 40];
      const int64_t* targets = &batch.targets[s * 40];
      with_bos += ids[0] == kBos;
      CHECK(std::equal(ids + 1, ids + 40, targets));
      CHECK((ids[0] == kBos || targets[0] == ids[0] + 1));
      CHECK(targets[39] == targets[0] + 39);
    }
  }
  // 2000 draws of probability 0.75: four standard deviations are 78.
  CHECK(std::abs(with_bos - 1500) < 78);
}

TEST_CASE("a batch depends on seed and step alone") {
  const std::vector<uint16_t> corpus = counting(5000);
  ScheduleConfig config = schedule(0.5);
  const Batch batch = training_batch(corpus, config, kBos, 7);
  CHECK(training_batch(corpus, config, kBos, 7).ids == batch.ids);
  CHECK(training_batch(corpus, config, kBos, 8).ids != batch.ids);
  config.seed += uint64_t{1} << 32;
  CHECK(training_batch(corpus, config, kBos, 7).ids != batch.ids);
}

TEST_CASE("validation samples are spread over the held-out ids") {
  const std::vector<uint16_t> corpus = counting(1000);
  const Batch all = validation_batch(corpus, 100, kBos, 0, 4, 4);
  CHECK(all.targets[0] == 0);
  CHECK(all.targets[100] == 225);
  CHECK(all.targets[300] == 675);
  const Batch last = validation_batch(corpus, 100, kBos, 3, 1, 4);
  CHECK(std::equal(last.ids.begin(), last.ids.end(), all.ids.begin() + 300));
}
