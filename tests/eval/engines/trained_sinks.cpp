// Sinks that are part of the model: every engine against the formula, written down below.
#include <ATen/ATen.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "models/checkpoint.h"
#include "models/family.h"
#include "models/rotary.h"
#include "policies/registry.h"
#include "tests/catch.h"
#include "tests/data.h"
#include "tests/eval/engines/score.h"

using namespace sinkbench;
using nlohmann::json;

namespace {

/// A golden's tensors, and sink logits from -2 to 4, others in every layer.
class WithSinks final : public TensorSource {
 public:
  WithSinks(const std::string& golden, at::ScalarType dtype)
      : checkpoint_(test::data("families") / golden, dtype, at::kCPU), dtype_(dtype) {}
  at::Tensor get(const std::string& name, at::IntArrayRef shape) override {
    if (!name.ends_with(".sinks")) return checkpoint_.get(name, shape);
    return (6 * at::rand(shape, at::kDouble) - 2).to(dtype_);
  }
  std::vector<Linear> get_mxfp4(const std::string& name, at::IntArrayRef shape,
                                bool turns) override {
    return checkpoint_.get_mxfp4(name, shape, turns);
  }
  bool has(const std::string& name) const override { return checkpoint_.has(name); }
  void check_all_used() const override { checkpoint_.check_all_used(); }

 private:
  SafetensorsCheckpoint checkpoint_;
  at::ScalarType dtype_;
};

Decoder build(const std::string& golden, const json& changes, at::ScalarType dtype) {
  json object = json::parse(std::ifstream(test::data("families") / golden / "config.json"));
  object.merge_patch(changes);
  const ConfigReader reader("config.json", object, "");
  const DecoderConfig config = read_decoder_config(reader);
  WithSinks source(golden, dtype);
  at::manual_seed(3);
  DecoderWeights weights = find_family(reader).read_weights(config, reader, source);
  return Decoder(config, std::move(weights), {.dtype = dtype});
}

/// With s_j = scale q.k_j - slope (i_q - i_j) over the keys j that the query sees, itself among
/// them, at places i counted within the cache, and the sink logit z:
///   attention = sum_j exp(s_j) v_j / (exp(z) + sum_j exp(s_j))
/// in double precision, key by key.
std::vector<double> nll_by_formula(const Decoder& decoder, const Policy& any,
                                   const std::vector<int32_t>& ids) {
  const auto& policy = dynamic_cast<const IndexPolicy&>(any);
  const DecoderConfig& config = decoder.config();
  const int64_t n = static_cast<int64_t>(ids.size()) - 1;
  const auto long_ids = at::tensor(std::vector<int64_t>(ids.begin(), ids.end()), at::kLong);
  at::Tensor x = decoder.embed(long_ids.narrow(0, 0, n), at::arange(n, at::kLong));
  const auto placed = [&](const at::Tensor& head, int64_t place) {
    if (config.rotaries.empty()) return head;
    return rotate(
               config.rotaries[0], head.view({1, 1, -1}),
               rotary_table(config.rotaries[0], std::vector<int64_t>{place}, at::kDouble, at::kCPU))
        .flatten();
  };
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    const Projection p = decoder.project(layer, x);
    at::Tensor attended = at::zeros({n, config.heads, config.head_dim}, at::kDouble);
    for (int64_t t = 0; t < n; ++t) {
      std::vector<int64_t> seen;
      for (const Range& range : policy.view(0, t)) {
        for (int64_t j = range.begin; j < range.end; ++j) seen.push_back(j);
      }
      seen.push_back(t);
      const int64_t place = static_cast<int64_t>(seen.size()) - 1;
      for (int64_t head = 0; head < config.heads; ++head) {
        const int64_t kv_head = head / (config.heads / config.kv_heads);
        const at::Tensor query = placed(p.query[t][head], place);
        double denominator = std::exp(decoder.sink_logit(layer)[head].item<double>());
        at::Tensor sum = at::zeros({config.head_dim}, at::kDouble);
        for (int64_t i = 0; i <= place; ++i) {
          const at::Tensor key = placed(p.key[seen[i]][kv_head], i);
          double score = config.attention_scale * query.dot(key).item<double>();
          if (config.alibi) score -= config.alibi->slopes[head] * static_cast<double>(place - i);
          sum += std::exp(score) * p.value[seen[i]][kv_head];
          denominator += std::exp(score);
        }
        attended[t][head] = sum / denominator;
      }
    }
    x = decoder.finish(layer, x, attended.flatten(1));
  }
  const at::Tensor log_probability = at::log_softmax(decoder.logits(x), -1);
  std::vector<double> nll;
  for (int64_t t = 0; t < n; ++t) nll.push_back(-log_probability[t][ids[t + 1]].item<double>());
  return nll;
}

}  // namespace

TEST_CASE("learned and constant sink logits, by every engine, as the formula has it") {
  const std::vector<json> kinds = {{{"learned_sink_logits", true}},
                                   {{"constant_sink_logit", 0}},
                                   {{"constant_sink_logit", 2.5}}};
  for (const char* golden : {"llama_gqa", "gpt_neox_parallel", "falcon_7b_style", "mpt", "gpt2"}) {
    for (const json& kind : kinds) {
      const Decoder exact = build(golden, kind, at::kDouble);
      const auto ids = test::random_ids(26, exact.config().vocab_size, 2);
      const auto dense = make_policy("dense", {});
      const std::vector<double> expected = nll_by_formula(exact, *dense, ids);
      std::vector<std::pair<std::unique_ptr<Policy>, std::vector<double>>> cases;
      if (exact.config().learned_positions == 0) {
        auto sinks = make_policy("sinks", {{"sinks", 2}, {"window", 7}});
        std::vector<double> nll = nll_by_formula(exact, *sinks, ids);
        cases.emplace_back(std::move(sinks), std::move(nll));
      }
      // A pass afresh on a window is dense attention on a stream of its own.
      auto recompute = make_policy("recompute", {{"window", 6}});
      std::vector<double> afresh;
      for (size_t t = 0; t + 1 < ids.size(); ++t) {
        const size_t begin = t < 6 ? 0 : t - 5;
        afresh.push_back(
            nll_by_formula(exact, *dense, {ids.begin() + begin, ids.begin() + t + 2}).back());
      }
      cases.emplace_back(std::move(recompute), std::move(afresh));
      cases.emplace_back(make_policy("dense", {}), expected);

      // The sinks make a difference at all.
      const Decoder none = build(golden, json::object(), at::kDouble);
      CHECK(test::largest_difference(test::score("stepwise", none, *dense, ids), expected) > 1e-3);

      const Decoder rounded = build(golden, kind, at::kFloat);
      for (const auto& [policy, nll] : cases) {
        for (const std::string& engine : engine_names()) {
          INFO(golden << " " << kind << " " << policy->label() << " " << engine);
          const EngineOptions options{.chunk = 9};
          // NLLs are handed out as float32.
          CHECK(test::largest_difference(test::score(engine, exact, *policy, ids, options), nll) <
                2e-6);
          CHECK(test::largest_difference(test::score(engine, rounded, *policy, ids, options), nll) <
                5e-5);
        }
      }
    }
  }
}

TEST_CASE("in bfloat16 sink logits act alike in both engines") {
  const Decoder decoder = build("llama_gqa", {{"learned_sink_logits", true}}, at::kBFloat16);
  const Decoder exact = build("llama_gqa", {{"learned_sink_logits", true}}, at::kDouble);
  const auto ids = test::random_ids(60, decoder.config().vocab_size, 2);
  const auto policy = make_policy("sinks", {{"sinks", 2}, {"window", 7}});
  const auto expected = test::score("stepwise", exact, *policy, ids);
  for (const std::string& engine : engine_names()) {
    CHECK(test::largest_difference(test::score(engine, decoder, *policy, ids), expected) < 0.1);
  }
}
