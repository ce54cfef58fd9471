// Evicted attention mass against attention computed query by query and key by key in double
// precision, and against what uniform attention must give.
#include "eval/metrics/evicted_mass.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "eval/engines/method.h"
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

/// Tensors whose name contains `name`, times a factor.
struct Scaled {
  std::string name;
  double factor = 1;
};

/// A golden's tensors but that some are scaled, and sink logits of 1.5.
class Changed final : public TensorSource {
 public:
  Changed(const std::string& golden, Scaled scaled, at::ScalarType dtype)
      : checkpoint_(test::data("families") / golden, dtype, at::kCPU),
        scaled_(std::move(scaled)),
        dtype_(dtype) {}
  at::Tensor get(const std::string& name, at::IntArrayRef shape) override {
    if (name.ends_with(".sinks")) return at::full(shape, 1.5, dtype_);
    const at::Tensor tensor = checkpoint_.get(name, shape);
    return name.find(scaled_.name) == name.npos ? tensor : tensor * scaled_.factor;
  }
  std::vector<Linear> get_mxfp4(const std::string& name, at::IntArrayRef shape,
                                bool turns) override {
    return checkpoint_.get_mxfp4(name, shape, turns);
  }
  bool has(const std::string& name) const override { return checkpoint_.has(name); }
  void check_all_used() const override { checkpoint_.check_all_used(); }

 private:
  SafetensorsCheckpoint checkpoint_;
  Scaled scaled_;
  at::ScalarType dtype_;
};

Decoder build(const std::string& golden, const json& changes, const Scaled& scaled,
              at::ScalarType dtype) {
  json object = json::parse(std::ifstream(test::data("families") / golden / "config.json"));
  object.merge_patch(changes);
  const ConfigReader reader("config.json", object, "");
  const DecoderConfig config = read_decoder_config(reader);
  Changed source(golden, scaled, dtype);
  DecoderWeights weights = find_family(reader).read_weights(config, reader, source);
  return Decoder(config, std::move(weights), {.dtype = dtype});
}

/// Attention by its definition, in double precision: of query t to key j
///   A = exp(s_j) / (exp(z) + sum over i <= t of exp(s_i)),  s_j = scale q.k_j - slope (t - j)
/// with the sink logit z where there is one. Sums, over t, of A over the keys not in view; and the
/// outputs' differences where these are left out of the softmax.
/// `keeps`: whether a key head of a layer still has token j when t is the query.
using Keeps = std::function<bool(int64_t layer, int64_t head, int64_t t, int64_t j)>;
EvictedMass by_definition(const Decoder& decoder, const std::vector<int32_t>& ids,
                          const Keeps& keeps) {
  const DecoderConfig& config = decoder.config();
  const int64_t n = static_cast<int64_t>(ids.size());
  const auto long_ids = at::tensor(std::vector<int64_t>(ids.begin(), ids.end()), at::kLong);
  at::Tensor x = decoder.embed(long_ids, at::arange(n, at::kLong));
  const auto placed = [&](const at::Tensor& head, int64_t place) {
    if (config.rotaries.empty()) return head;
    return rotate(
               config.rotaries[0], head.view({1, 1, -1}),
               rotary_table(config.rotaries[0], std::vector<int64_t>{place}, at::kDouble, at::kCPU))
        .flatten();
  };
  EvictedMass result;
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    const Projection p = decoder.project(layer, x);
    at::Tensor attended = at::zeros({n, config.heads, config.head_dim}, at::kDouble);
    at::Tensor without = at::zeros_like(attended);
    std::vector<double> evicted(config.heads, 0);
    std::vector<double> to_sink(config.heads, 0);
    for (int64_t head = 0; head < config.heads; ++head) {
      const int64_t kv_head = head / (config.heads / config.kv_heads);
      std::vector<at::Tensor> keys;
      for (int64_t j = 0; j < n; ++j) keys.push_back(placed(p.key[j][kv_head], j));
      for (int64_t t = 0; t < n; ++t) {
        const at::Tensor query = placed(p.query[t][head], t);
        const at::Tensor& sink = decoder.sink_logit(layer);
        double denominator = sink.defined() ? std::exp(sink[head].item<double>()) : 0;
        double of_kept = denominator;
        std::vector<double> powers;
        for (int64_t j = 0; j <= t; ++j) {
          double score = config.attention_scale * query.dot(keys[j]).item<double>();
          if (config.alibi) score -= config.alibi->slopes[head] * static_cast<double>(t - j);
          powers.push_back(std::exp(score));
          denominator += powers.back();
          if (j == t || keeps(layer, kv_head, t, j)) of_kept += powers.back();
        }
        if (sink.defined()) {
          to_sink[head] +=
              std::exp(sink[head].item<double>()) / denominator / static_cast<double>(n);
        }
        for (int64_t j = 0; j <= t; ++j) {
          if (j == t || keeps(layer, kv_head, t, j)) {
            without[t][head] += powers[j] / of_kept * p.value[j][kv_head];
          }
          attended[t][head] += powers[j] / denominator * p.value[j][kv_head];
          if (j < t && !keeps(layer, kv_head, t, j))
            evicted[head] += powers[j] / denominator / static_cast<double>(n);
        }
      }
    }
    result.by_head.push_back(evicted);
    double error = 0;
    for (int64_t t = 0; t < n; ++t) {
      error += ((without[t] - attended[t]).norm() / attended[t].norm()).item<double>();
    }
    result.output_error.push_back(error / static_cast<double>(n));
    if (decoder.sink_logit(layer).defined()) result.to_sink_logit.push_back(to_sink);
    x = decoder.finish(layer, x, attended.flatten(1));
  }
  return result;
}

/// `policy` and `config` must outlive it.
Keeps in_views(const Policy& policy, const DecoderConfig& config) {
  return [&](int64_t layer, int64_t, int64_t t, int64_t j) {
    const View view = test::view_of(policy, config, layer, t);
    return std::any_of(view.begin(), view.end(),
                       [&](const Range& range) { return range.begin <= j && j < range.end; });
  };
}

double apart(const EvictedMass& a, const EvictedMass& b) {
  if (a.by_head.size() != b.by_head.size()) return INFINITY;
  double largest = test::largest_difference(a.output_error, b.output_error);
  for (size_t l = 0; l < a.by_head.size(); ++l) {
    largest = std::max(largest, test::largest_difference(a.by_head[l], b.by_head[l]));
  }
  if (a.to_sink_logit.size() != b.to_sink_logit.size()) return INFINITY;
  for (size_t l = 0; l < a.to_sink_logit.size(); ++l) {
    largest = std::max(largest, test::largest_difference(a.to_sink_logit[l], b.to_sink_logit[l]));
  }
  return largest;
}

/// Two ranges beside the last one.
class Passage final : public IndexPolicy {
 public:
  View view(int64_t, int64_t t) const override {
    const int64_t recent = std::max<int64_t>(0, t - 3);
    return {{0, std::min<int64_t>(1, recent)},
            {std::min<int64_t>(4, recent), std::min<int64_t>(6, recent)},
            {recent, t}};
  }
  std::optional<int64_t> capacity() const override { return 6; }
  std::string label() const override { return "passage"; }
};

}  // namespace

TEST_CASE("evicted mass is what attention by its definition gives to evicted keys") {
  struct Case {
    const char* golden;
    json changes;
  };
  const std::vector<Case> cases = {{"llama_gqa", json::object()},
                                   {"gpt_neox_parallel", json::object()},
                                   {"falcon_7b_style", json::object()},
                                   {"falcon_rw_style_h6", json::object()},
                                   {"mpt", json::object()},
                                   {"gpt2", json::object()},
                                   {"llama_gqa", {{"learned_sink_logits", true}}},
                                   {"mpt", {{"constant_sink_logit", 0}}}};
  std::vector<std::unique_ptr<Policy>> policies;
  policies.push_back(make_policy("window", {{"window", 5}}));
  policies.push_back(make_policy("sinks", {{"sinks", 2}, {"window", 4}}, Positions::original));
  policies.push_back(make_policy("recompute", {{"window", 6}, {"stride", 3}}));
  policies.push_back(std::make_unique<Passage>());
  for (const auto& [golden, changes] : cases) {
    const Decoder exact = build(golden, changes, {}, at::kDouble);
    const Decoder rounded = build(golden, changes, {}, at::kFloat);
    const auto ids = test::random_ids(23, exact.config().vocab_size, 5);
    for (const auto& policy : policies) {
      INFO(golden << " " << changes << " " << policy->label());
      const auto expected = by_definition(exact, ids, in_views(*policy, exact.config()));
      CHECK(expected.by_head.back().front() > 0.01);
      CHECK(expected.output_error.back() > 0.01);
      CHECK(apart(evicted_mass(exact, *policy, ids), expected) < 1e-12);
      // A few queries at a time, and one.
      const int64_t row = exact.config().heads * 23;
      CHECK(apart(evicted_mass(exact, *policy, ids, {}, 7 * row), expected) < 1e-12);
      CHECK(apart(evicted_mass(exact, *policy, ids, {}, 1), expected) < 1e-12);
      CHECK(apart(evicted_mass(rounded, *policy, ids), expected) < 4e-5);
    }
    const EvictedMass nothing = evicted_mass(rounded, *make_policy("dense", {}), ids);
    for (const auto& heads : nothing.by_head) {
      CHECK(heads == std::vector<double>(exact.config().heads, 0.0));
    }
    CHECK(nothing.output_error == std::vector<double>(exact.config().layers, 0.0));
  }
}

TEST_CASE("the output error is right where nearly all attention goes to evicted keys") {
  // Of scores so far apart the keys in view have all or next to nothing of a query's attention.
  const auto policy = make_policy("window", {{"window", 2}});
  const Scaled steep = {"q_proj", 20};
  const Decoder exact = build("llama_gqa", json::object(), steep, at::kDouble);
  const Decoder rounded = build("llama_gqa", json::object(), steep, at::kFloat);
  const auto ids = test::random_ids(23, exact.config().vocab_size, 5);
  const auto expected = by_definition(exact, ids, in_views(*policy, exact.config()));
  CHECK(apart(evicted_mass(exact, *policy, ids), expected) < 1e-9);
  CHECK(apart(evicted_mass(rounded, *policy, ids), expected) < 0.01);
}

TEST_CASE("evicted mass of a score policy is that of its own decisions") {
  std::vector<std::vector<std::vector<double>>> of_h2o;
  for (const char* golden : {"llama_gqa", "mpt"}) {
    const Decoder exact = build(golden, json::object(), {}, at::kDouble);
    const auto ids = test::random_ids(40, exact.config().vocab_size, 5);
    for (const auto& [name, form] : std::vector<std::pair<const char*, const char*>>{
             {"h2o", "native"}, {"tova", "native"}, {"random", "native"}, {"h2o", "turboquant2"}}) {
      const auto policy =
          make_policy(name, {{"capacity", 9}, {"sinks", 1}, {"recent", 2}, {"every", 3}});
      const StorageSpec storage = {.keys = form, .values = form};
      INFO(golden << " " << name << " " << form);
      // The oracle's log: who of each head was evicted after which token.
      std::vector<Decision> log;
      EngineOptions options = {.storage = storage};
      options.decisions.sink = [&](std::span<const Decision> decisions) {
        log.insert(log.end(), decisions.begin(), decisions.end());
      };
      make_engine("stepwise", exact, *policy, options)->score(ids, [](std::span<const double>) {});
      const auto expected =
          by_definition(exact, ids, [&](int64_t layer, int64_t head, int64_t t, int64_t j) {
            return std::none_of(log.begin(), log.end(), [&](const Decision& d) {
              return d.layer == layer && d.head == head && d.t < t &&
                     std::count(d.places.begin(), d.places.end(), j) > 0;
            });
          });
      CHECK(expected.by_head.back().front() > 0.01);
      CHECK(expected.output_error.back() > 0.01);
      const EvictedMass found = evicted_mass(exact, *policy, ids, {}, evicted_mass_pairs, storage);
      CHECK(apart(found, expected) < 1e-12);
      if (name == std::string("h2o")) of_h2o.push_back(found.by_head);
    }
  }
  REQUIRE(of_h2o.size() == 4);
  CHECK((of_h2o[0] != of_h2o[1]));  // what is stored decides
  CHECK((of_h2o[2] != of_h2o[3]));
}

TEST_CASE(
    "of uniform attention the evicted share is that of the keys, a trained sink beside them") {
  // Queries of zero: every key, and a sink of logit z as exp(z) of them, has the same weight.
  constexpr int64_t n = 50, window = 8;
  const auto policy = make_policy("window", {{"window", window}});
  for (const bool sink : {false, true}) {
    const Decoder decoder =
        build("llama_gqa", sink ? json{{"learned_sink_logits", true}} : json::object(),
              {"q_proj", 0}, at::kDouble);
    const auto ids = test::random_ids(n, decoder.config().vocab_size, 5);
    double expected = 0;
    for (int64_t t = 0; t < n; ++t) {
      const double keys = static_cast<double>(t + 1) + (sink ? std::exp(1.5) : 0);
      expected += static_cast<double>(std::max<int64_t>(0, t - window)) / keys / n;
    }
    for (const auto& heads : evicted_mass(decoder, *policy, ids).by_head) {
      for (const double share : heads) CHECK(share == Approx(expected).epsilon(1e-12));
    }
  }
}

TEST_CASE("evicted mass can be left early, and knows where a model ends") {
  const Decoder decoder = Decoder::load(test::data("families/gpt2"), {});
  const auto policy = make_policy("recompute", {{"window", 6}});
  const auto ids = test::random_ids(30, decoder.config().vocab_size, 5);
  CHECK_THROWS_AS(evicted_mass(decoder, *policy, ids, [] { throw std::runtime_error("stop"); }),
                  std::runtime_error);
  const auto many = test::random_ids(static_cast<size_t>(decoder.config().learned_positions) + 1,
                                     decoder.config().vocab_size, 5);
  CHECK_THROWS_AS(evicted_mass(decoder, *policy, many), InputError);
}
