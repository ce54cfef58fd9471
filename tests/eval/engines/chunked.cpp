// The chunked engine against its slow twin, one token at a time.
#include "eval/engines/chunked.h"

#include "policies/registry.h"
#include "tests/catch.h"
#include "tests/data.h"
#include "tests/eval/engines/score.h"

using namespace sinkbench;
using test::largest_difference;
using test::random_ids;
using test::score;

namespace {

/// First tokens, a frozen passage from the middle, and a window: three ranges, two of them with
/// the query at places of their own.
class Passage final : public IndexPolicy {
 public:
  View view(int64_t, int64_t t) const override {
    const int64_t a = std::min<int64_t>(3, t);
    const int64_t b0 = std::min<int64_t>(20, t);
    const int64_t b1 = std::min<int64_t>(29, t);
    const int64_t recent = std::max<int64_t>(b1, t - 16);
    // Until token 29 the window holds what will be the passage.
    if (t <= 29) return {{0, a}, {a, a}, {a, t}};
    return {{0, a}, {b0, b1}, {recent, t}};
  }
  std::optional<int64_t> capacity() const override { return 29; }
  std::string label() const override { return "3+passage+16"; }
};

}  // namespace

TEST_CASE("chunked equals stepwise for every cached policy and chunk size") {
  for (const char* family : {"llama_gqa", "gpt_neox_parallel"}) {
    const Decoder decoder = Decoder::load(test::data("families") / family, {});
    const auto ids = random_ids(331, decoder.config().vocab_size, 3);
    std::vector<std::unique_ptr<Policy>> policies;
    policies.push_back(make_policy("dense", {}));
    policies.push_back(make_policy("window", {{"window", 1}}));
    policies.push_back(make_policy("window", {{"window", 31}}));
    policies.push_back(make_policy("sinks", {{"sinks", 1}, {"window", 1}}));
    policies.push_back(make_policy("sinks", {{"sinks", 4}, {"window", 28}}));
    policies.push_back(make_policy("sinks", {{"sinks", 40}, {"window", 5}}));
    policies.push_back(make_policy("sinks", {{"sinks", 4}, {"window", 28}}, Positions::original));
    for (const PolicyArguments& arguments :
         {PolicyArguments{{"window", 9}, {"stride", 1}, {"kept", 20}},
          PolicyArguments{{"sinks", 0}, {"window", 16}, {"stride", 5}, {"kept", 8}},
          PolicyArguments{{"window", 7}, {"stride", 4}}}) {
      policies.push_back(make_policy("strided", arguments));
      policies.push_back(make_policy("strided", arguments, Positions::original));
    }
    policies.push_back(std::make_unique<Passage>());
    for (const auto& policy : policies) {
      const std::vector<double> oracle = score("stepwise", decoder, *policy, ids);
      for (const int64_t chunk : {1, 7, 64, 512}) {
        INFO(family << " " << policy->label() << " chunk " << chunk);
        CHECK(largest_difference(score("chunked", decoder, *policy, ids, {.chunk = chunk}),
                                 oracle) < 1e-4);
      }
    }
  }
}

TEST_CASE("streams of ten times the capacity") {
  const Decoder decoder = Decoder::load(test::data("families") / "llama_tied", {});
  for (const auto& [sinks, window] :
       std::vector<std::pair<int64_t, int64_t>>{{0, 31}, {4, 252}, {4, 1020}}) {
    const auto policy = make_policy("sinks", {{"sinks", sinks}, {"window", window}});
    const auto ids = random_ids(10 * (sinks + window) + 1, decoder.config().vocab_size, 6);
    INFO(policy->label());
    CHECK(largest_difference(score("chunked", decoder, *policy, ids),
                             score("stepwise", decoder, *policy, ids)) < 1e-4);
  }
}

TEST_CASE("the end of a long stream is as exact as its beginning") {
  // What a token's NLL depends on reaches back one window for each layer, and to the sinks. So the
  // end of a stream equals that of a short one made of the sinks and enough tokens before the end.
  const auto folder = test::data("families") / "llama_gqa";
  const Decoder decoder = Decoder::load(folder, {});
  const Decoder exact = Decoder::load(folder, {.dtype = at::kDouble});
  const auto policy = make_policy("sinks", {{"sinks", 4}, {"window", 28}});
  const auto ids = random_ids(50'001, decoder.config().vocab_size, 8);
  constexpr size_t compared = 300;
  const size_t before = compared + 28 * (decoder.config().layers + 1);
  std::vector<int32_t> end(ids.begin(), ids.begin() + 4);
  end.insert(end.end(), ids.end() - static_cast<int64_t>(before) - 1, ids.end());
  const auto last = [](const std::vector<double>& nll) {
    return std::vector<double>(nll.end() - compared, nll.end());
  };
  CHECK(largest_difference(last(score("chunked", decoder, *policy, ids)),
                           last(score("stepwise", exact, *policy, end))) < 1e-4);
}

TEST_CASE("in double precision the two engines agree to rounding") {
  const Decoder decoder =
      Decoder::load(test::data("families") / "llama_mha", {.dtype = at::kDouble});
  const auto ids = random_ids(200, decoder.config().vocab_size, 4);
  const auto policy = make_policy("sinks", {{"sinks", 4}, {"window", 28}});
  // NLLs are handed out as float32: half a unit in the last place of 8 is 2.4e-7.
  CHECK(largest_difference(score("chunked", decoder, *policy, ids, {.chunk = 33}),
                           score("stepwise", decoder, *policy, ids)) < 1e-6);
}
