// Divergence from a reference, computed block by block, against logits computed whole by the
// engines that feed one token at a time, in double precision, and the formula.
#include "eval/metrics/divergence.h"

#include <ATen/ATen.h>

#include <cmath>

#include "base/error.h"
#include "eval/engines/recompute.h"
#include "eval/engines/stepwise.h"
#include "policies/registry.h"
#include "tests/catch.h"
#include "tests/data.h"
#include "tests/eval/engines/score.h"

using namespace sinkbench;

namespace {

/// Of the pair over the stream. `in_pieces`: everything anew before each block, from the state that
/// was left, as if the process had ended.
DivergenceResult measure(const std::string& name, const Decoder& decoder, const Policy& policy,
                         const Policy* reference, const std::vector<int32_t>& ids,
                         bool in_pieces = false) {
  const EngineOptions options = {.chunk = 17};
  auto engine = make_engine(name, decoder, policy, options);
  engine->begin(ids);
  auto divergence =
      std::make_unique<Divergence>(decoder, policy, reference, name, options, Stream{ids});
  while (!engine->done()) {
    engine->advance_rows([&](const QueryRows& rows) {
      engine->score_rows(rows, /*with_logits=*/true,
                         [&](const ScoredRows& scored) { divergence->add(scored); });
    });
    if (!in_pieces) continue;
    std::vector<at::Tensor> state, own;
    for (const at::Tensor& tensor : divergence->state()) state.push_back(tensor.clone());
    for (const at::Tensor& tensor : engine->state()) own.push_back(tensor.clone());
    divergence =
        std::make_unique<Divergence>(decoder, policy, reference, name, options, Stream{ids});
    divergence->resume(state);
    if (engine->done()) break;
    const int64_t next = engine->next();
    engine = make_engine(name, decoder, policy, options);
    engine->begin(ids);
    engine->resume(next, own);
  }
  return divergence->result("r");
}

int64_t stride_of(const Policy& policy) {
  const auto* recompute = dynamic_cast<const RecomputePolicy*>(&policy);
  return recompute != nullptr ? recompute->stride() : 1;
}

/// Log-probabilities [vocab] after each token of the stream, in double precision.
std::vector<at::Tensor> log_probabilities(const Decoder& decoder, const Policy& policy,
                                          const std::vector<int32_t>& ids) {
  std::vector<at::Tensor> result;
  const int64_t fed = static_cast<int64_t>(ids.size()) - 1;
  const auto method = make_method(policy, decoder.config());
  const auto decoding = method->decoding(decoder);
  auto* afresh = dynamic_cast<RecomputeEngine*>(decoding.get());
  auto* stepwise = dynamic_cast<StepwiseEngine*>(decoding.get());
  if (stepwise != nullptr) stepwise->reset(fed);
  for (int64_t t = 0; t < fed; ++t) {
    std::vector<int32_t> seen;
    for (const Range& range : test::view_of(policy, decoder.config(), 0, t)) {
      seen.insert(seen.end(), ids.begin() + range.begin, ids.begin() + range.end);
    }
    seen.push_back(ids[t]);
    const at::Tensor logits = afresh != nullptr ? afresh->pass(seen) : stepwise->step(ids[t]);
    result.push_back(at::log_softmax(logits.to(at::kDouble), -1).flatten());
  }
  return result;
}

struct Expected {
  double kl = 0, largest = 0, same_top = 0;
  int64_t tokens = 0;
};

Expected by_formula(const Decoder& exact, const Policy& policy, const Policy& reference,
                    const std::vector<int32_t>& ids) {
  const auto p = log_probabilities(exact, reference, ids),
             q = log_probabilities(exact, policy, ids);
  Expected result;
  for (size_t t = 0; t < p.size(); ++t) {
    const auto place = static_cast<int64_t>(t);
    if (place % stride_of(policy) != 0 || place % stride_of(reference) != 0) continue;
    double kl = 0;
    for (int64_t v = 0; v < p[t].size(0); ++v) {
      const double a = p[t][v].item<double>();
      kl += std::exp(a) * (a - q[t][v].item<double>());
    }
    result.kl += kl;
    result.largest = std::max(result.largest, kl);
    result.same_top += p[t].argmax().item<int64_t>() == q[t].argmax().item<int64_t>() ? 1 : 0;
    ++result.tokens;
  }
  result.kl /= static_cast<double>(result.tokens);
  result.same_top /= static_cast<double>(result.tokens);
  return result;
}

using Policies = std::vector<std::unique_ptr<Policy>>;

Policies policies_of(const Decoder& decoder) {
  Policies policies;
  policies.push_back(make_policy("dense", {}));
  policies.push_back(make_policy("recompute", {{"window", 24}, {"stride", 3}}));
  policies.push_back(make_policy("recompute", {{"sinks", 2}, {"window", 22}, {"stride", 2}}));
  if (decoder.config().learned_positions == 0) {
    policies.push_back(make_policy("window", {{"window", 12}}));
    policies.push_back(make_policy("sinks", {{"sinks", 2}, {"window", 10}}));
  }
  return policies;
}

bool same(const DivergenceResult& a, const DivergenceResult& b) {
  return a.kl_mean == b.kl_mean && a.kl_stderr == b.kl_stderr && a.kl_max == b.kl_max &&
         a.same_top == b.same_top && a.same_top_stderr == b.same_top_stderr && a.tokens == b.tokens;
}

}  // namespace

TEST_CASE("KL divergence by hand") {
  // p = (1/2, 1/4, 1/4), q = (1/4, 1/2, 1/4): 1/2 log 2 - 1/4 log 2 = log(2) / 4.
  const at::Tensor p = at::log(at::tensor({0.5, 0.25, 0.25})).view({1, 3});
  const at::Tensor q = at::log(at::tensor({0.25, 0.5, 0.25})).view({1, 3});
  CHECK(kl_divergence(p, q).item<double>() == Approx(std::log(2) / 4).epsilon(1e-14));
  // Logits have no zero point; p = (1 - e, e) and q the other way round, e = exp(-500).
  CHECK(kl_divergence(p + 700, q - 700).item<double>() == Approx(std::log(2) / 4));
  const at::Tensor sharp = at::tensor({500.0, 0.0}).view({1, 2});
  CHECK(kl_divergence(sharp, sharp.flip(1)).item<double>() == Approx(500));
  // Next to nothing is not lost: with logits 0, h against 0, 0, KL = h^2 / 8 for small h.
  const at::Tensor near = at::tensor({0.0, 1e-4}).view({1, 2});
  CHECK(kl_divergence(near, at::zeros({1, 2}, at::kDouble)).item<double>() ==
        Approx(1e-8 / 8).epsilon(1e-3));
  // Many rows of many logits, in pieces: each as by itself; exactly nothing between equals.
  at::manual_seed(1);
  const at::Tensor a = 4 * at::randn({300, 3000}), b = 4 * at::randn({300, 3000});
  const at::Tensor all = kl_divergence(a, b);
  for (const int64_t row : {0, 86, 87, 88, 299}) {
    CHECK(all[row].item<double>() ==
          Approx(kl_divergence(a.narrow(0, row, 1), b.narrow(0, row, 1)).item<double>()));
  }
  CHECK(kl_divergence(a, a).max().item<double>() == 0);
}

TEST_CASE("divergence of every pair of policies is that of logits computed whole") {
  const std::string family = GENERATE("llama_gqa", "gpt_neox_parallel", "gpt2");
  const Decoder exact = Decoder::load(test::data("families/" + family), {.dtype = at::kDouble});
  const Decoder rounded = Decoder::load(test::data("families/" + family), {});
  const auto ids = test::random_ids(64, exact.config().vocab_size, 4);
  const Policies policies = policies_of(exact);
  bool differ = false;
  for (const auto& reference : policies) {
    for (const auto& policy : policies) {
      if (policy == reference) continue;
      const Expected expected = by_formula(exact, *policy, *reference, ids);
      differ = differ || (expected.kl > 1e-4 && expected.same_top < 1);
      std::vector<DivergenceResult> results;
      for (const std::string& engine : engine_names()) {
        INFO(family << " " << engine << ": " << policy->label() << " against "
                    << reference->label());
        const DivergenceResult result = measure(engine, exact, *policy, reference.get(), ids);
        CHECK(result.tokens == expected.tokens);
        CHECK(result.kl_mean == Approx(expected.kl).epsilon(1e-9).margin(1e-13));
        CHECK(result.kl_max == Approx(expected.largest).epsilon(1e-9).margin(1e-13));
        CHECK(result.same_top == Approx(expected.same_top).epsilon(1e-12));
        results.push_back(measure(engine, rounded, *policy, reference.get(), ids));
        CHECK(std::abs(results.back().kl_mean - expected.kl) < 1e-5);
      }
      CHECK(std::abs(results[0].kl_mean - results[1].kl_mean) < 1e-5);
      CHECK(std::abs(results[0].kl_max - results[1].kl_max) < 1e-5);
    }
  }
  CHECK(differ);
}

TEST_CASE("a cell against itself is exactly the same, by a second engine and by its own logits") {
  const auto dtype = GENERATE(at::kFloat, at::kBFloat16);
  const Decoder decoder = Decoder::load(test::data("families/llama_gqa"), {.dtype = dtype});
  const auto ids = test::random_ids(90, decoder.config().vocab_size, 4);
  for (const auto& policy : policies_of(decoder)) {
    for (const std::string& engine : engine_names()) {
      const std::vector<const Policy*> both = {policy.get(), nullptr};
      for (const Policy* reference : both) {
        INFO(policy->label() << " " << engine);
        const DivergenceResult result = measure(engine, decoder, *policy, reference, ids);
        CHECK(result.kl_mean == 0);
        CHECK(result.kl_max == 0);
        CHECK(result.kl_stderr == 0);
        CHECK(result.same_top == 1);
        CHECK(result.tokens == (89 + stride_of(*policy) - 1) / stride_of(*policy));
      }
    }
  }
}

TEST_CASE("divergence goes on from a state as if it had never stopped") {
  const auto dtype = GENERATE(at::kFloat, at::kBFloat16);
  const Decoder decoder = Decoder::load(test::data("families/llama_gqa"), {.dtype = dtype});
  const auto ids = test::random_ids(90, decoder.config().vocab_size, 4);
  const Policies policies = policies_of(decoder);
  for (const auto& policy : policies) {
    for (const auto& reference : policies) {
      for (const std::string& engine : engine_names()) {
        INFO(engine << ": " << policy->label() << " against " << reference->label());
        CHECK(same(measure(engine, decoder, *policy, reference.get(), ids, true),
                   measure(engine, decoder, *policy, reference.get(), ids)));
      }
    }
    CHECK(same(measure("chunked", decoder, *policy, nullptr, ids, true),
               measure("chunked", decoder, *policy, nullptr, ids)));
  }
}

TEST_CASE("a state of another divergence is refused") {
  const Decoder decoder = Decoder::load(test::data("families/llama_gqa"), {});
  const auto ids = test::random_ids(90, decoder.config().vocab_size, 4);
  const auto dense = make_policy("dense", {}), window = make_policy("window", {{"window", 12}});
  const auto fresh = [&](const Policy* reference) {
    return std::make_unique<Divergence>(decoder, *dense, reference, "chunked",
                                        EngineOptions{.chunk = 17}, Stream{ids});
  };
  const auto state = fresh(dense.get())->state();
  CHECK_NOTHROW(fresh(dense.get())->resume(state));
  CHECK_THROWS_AS(fresh(dense.get())->resume({}), InputError);
  CHECK_THROWS_AS(fresh(dense.get())->resume(fresh(nullptr)->state()), InputError);
  auto other = state;
  other[1] = at::zeros({70}, at::kDouble);
  CHECK_THROWS_AS(fresh(dense.get())->resume(other), InputError);
  other[1] = at::zeros({3});
  CHECK_THROWS_AS(fresh(dense.get())->resume(other), InputError);
}
