// Windows in one pass against a pass for each window.
#include "policies/registry.h"
#include "tests/catch.h"
#include "tests/data.h"
#include "tests/eval/score.h"

using namespace sinkbench;

TEST_CASE("batched recomputation equals a pass for every token") {
  for (const char* family : {"llama_gqa", "gpt_neox_sequential"}) {
    const Decoder decoder = Decoder::load(test::data("families") / family, {});
    const auto ids = test::random_ids(300, decoder.config().vocab_size, 5);
    for (const auto& [window, stride] : std::vector<std::pair<int64_t, int64_t>>{
             {1, 1}, {2, 3}, {33, 1}, {33, 50}, {64, 7}, {299, 1}, {300, 4}, {5000, 1}}) {
      const auto policy = make_policy("recompute", {{"window", window}, {"stride", stride}});
      INFO(family << " " << policy->label());
      CHECK(test::largest_difference(test::score("chunked", decoder, *policy, ids),
                                     test::score("stepwise", decoder, *policy, ids)) < 1e-4);
    }
  }
}
