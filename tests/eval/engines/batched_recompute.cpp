// Windows in one pass against a pass for each window.
#include <algorithm>
#include <array>
#include <cmath>

#include "policies/registry.h"
#include "tests/catch.h"
#include "tests/data.h"
#include "tests/eval/engines/score.h"

using namespace sinkbench;

TEST_CASE("each pass of recomputation is a stream of its own, the sinks before the window") {
  const Decoder decoder = Decoder::load(test::data("families/llama_gqa"), {});
  const auto ids = test::random_ids(40, decoder.config().vocab_size, 6);
  const auto dense = make_policy("dense", {});
  for (const int64_t sinks : {0, 1, 4}) {
    const auto policy = make_policy("recompute", {{"sinks", sinks}, {"window", 7}});
    const std::vector<double> nll = test::score("chunked", decoder, *policy, ids);
    for (const size_t t : {3, 9, 20, 38}) {
      const size_t begin = std::max<size_t>(sinks, t < 6 ? 0 : t - 6);
      std::vector<int32_t> seen(ids.begin(), ids.begin() + std::min<size_t>(sinks, t + 1));
      for (size_t i = begin; i <= t + 1; ++i) seen.push_back(ids[i]);  // the last one is scored
      INFO(policy->label() << " at " << t);
      CHECK(std::abs(nll[t] - test::score("stepwise", decoder, *dense, seen).back()) < 1e-4);
    }
  }
}

TEST_CASE("batched recomputation equals a pass for every token") {
  for (const char* family : {"llama_gqa", "gpt_neox_sequential"}) {
    const Decoder decoder = Decoder::load(test::data("families") / family, {});
    const auto ids = test::random_ids(300, decoder.config().vocab_size, 5);
    for (const auto& [sinks, window, stride] : std::vector<std::array<int64_t, 3>>{{0, 1, 1},
                                                                                   {0, 2, 3},
                                                                                   {4, 2, 3},
                                                                                   {0, 33, 1},
                                                                                   {1, 32, 1},
                                                                                   {0, 33, 50},
                                                                                   {5, 64, 7},
                                                                                   {0, 299, 1},
                                                                                   {290, 5, 1},
                                                                                   {0, 300, 4},
                                                                                   {2, 5000, 1}}) {
      const auto policy =
          make_policy("recompute", {{"sinks", sinks}, {"window", window}, {"stride", stride}});
      INFO(family << " " << policy->label());
      CHECK(test::largest_difference(test::score("chunked", decoder, *policy, ids),
                                     test::score("stepwise", decoder, *policy, ids)) < 1e-4);
    }
  }
}
