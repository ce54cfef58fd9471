// The sink metric: against attention by its plain definition, and against a formula on paper.
#include <ATen/ATen.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <set>

#include "base/error.h"
#include "eval/metrics/sink_metric.h"
#include "models/checkpoint.h"
#include "models/family.h"
#include "models/rotary.h"
#include "tests/catch.h"
#include "tests/data.h"
#include "tests/eval/engines/score.h"

using namespace sinkbench;
using nlohmann::json;

namespace {

/// A golden's tensors, and sink logits of 1.5.
class WithSinks final : public TensorSource {
 public:
  explicit WithSinks(const std::string& golden)
      : checkpoint_(test::data("families") / golden, at::kDouble, at::kCPU) {}
  at::Tensor get(const std::string& name, at::IntArrayRef shape) override {
    return name.ends_with(".sinks") ? at::full(shape, 1.5, at::kDouble)
                                    : checkpoint_.get(name, shape);
  }
  std::vector<Linear> get_mxfp4(const std::string& name, at::IntArrayRef shape,
                                bool turns) override {
    return checkpoint_.get_mxfp4(name, shape, turns);
  }
  bool has(const std::string& name) const override { return checkpoint_.has(name); }
  void check_all_used() const override {}

 private:
  SafetensorsCheckpoint checkpoint_;
};

Decoder build(const std::string& golden, const json& changes, bool zero_queries = false) {
  json object = json::parse(std::ifstream(test::data("families") / golden / "config.json"));
  object.merge_patch(changes);
  const ConfigReader reader("config.json", object, "");
  const DecoderConfig config = read_decoder_config(reader);
  WithSinks source(golden);
  DecoderWeights weights = find_family(reader).read_weights(config, reader, source);
  if (zero_queries) {
    for (LayerWeights& layer : weights.layers) {
      layer.qkv.weight = layer.qkv.weight.clone();
      layer.qkv.weight.narrow(0, 0, config.heads * config.head_dim).zero_();
      if (!layer.qkv.bias.defined()) continue;
      layer.qkv.bias = layer.qkv.bias.clone();
      layer.qkv.bias.narrow(0, 0, config.heads * config.head_dim).zero_();
    }
  }
  return Decoder(config, std::move(weights), {.dtype = at::kDouble});
}

struct Attention {
  at::Tensor weights;      ///< A [layers, heads, T, T]
  at::Tensor logits;       ///< the same before the softmax, NaN where nothing is seen
  at::Tensor value_norms;  ///< [layers, heads, T]
};

/// Of one sample, number by number.
Attention attention_by_definition(const Decoder& decoder, const std::vector<int32_t>& ids) {
  const DecoderConfig& config = decoder.config();
  const int64_t n = static_cast<int64_t>(ids.size());
  at::Tensor result = at::zeros({config.layers, config.heads, n, n}, at::kDouble);
  at::Tensor norms = at::zeros({config.layers, config.heads, n}, at::kDouble);
  at::Tensor logits = at::full_like(result, NAN);
  at::Tensor x = decoder.embed(at::tensor(std::vector<int64_t>(ids.begin(), ids.end()), at::kLong),
                               at::arange(n, at::kLong));
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    const auto placed = [&](const at::Tensor& head, int64_t place) {
      const RotaryConfig* rotary = config.rotary(layer);
      if (rotary == nullptr) return head;
      return rotate(*rotary, head.view({1, 1, -1}),
                    rotary_table(*rotary, std::vector<int64_t>{place}, at::kDouble, at::kCPU))
          .flatten();
    };
    const int64_t window = config.local_windows.empty() ? 0 : config.local_windows[layer];
    const Projection p = decoder.project(layer, x);
    at::Tensor attended = at::zeros({n, config.heads, config.head_dim}, at::kDouble);
    const at::Tensor& sink = decoder.sink_logit(layer);
    for (int64_t head = 0; head < config.heads; ++head) {
      const int64_t kv_head = head * config.kv_heads / config.heads;
      for (int64_t i = 0; i < n; ++i) {
        const at::Tensor query = placed(p.query[i][head], i);
        std::vector<double> score;
        double sum = sink.defined() ? std::exp(sink[head].item<double>()) : 0;
        for (int64_t j = 0; j <= i; ++j) {
          const double product = query.dot(placed(p.key[j][kv_head], j)).item<double>();
          const double bias = config.alibi ? config.alibi->slopes[head] * (i - j) : 0;
          double scaled = config.attention_scale * product;
          if (config.score_cap > 0)
            scaled = config.score_cap * std::tanh(scaled / config.score_cap);
          const bool seen = window == 0 || i - j < window;
          if (seen) logits[layer][head][i][j] = scaled - bias;
          score.push_back(seen ? std::exp(scaled - bias) : 0.0);
          sum += score.back();
        }
        for (int64_t j = 0; j <= i; ++j) {
          result[layer][head][i][j] = score[j] / sum;
          attended[i][head] += score[j] / sum * p.value[j][kv_head];
        }
        double squares = 0;
        for (int64_t d = 0; d < config.head_dim; ++d) {
          squares += std::pow(p.value[i][kv_head][d].item<double>(), 2);
        }
        norms[layer][head][i] = std::sqrt(squares);
      }
    }
    x = decoder.finish(layer, x, attended.flatten(1));
  }
  return {result, logits, norms};
}

std::vector<double> numbers(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.contiguous();
  return {flat.data_ptr<double>(), flat.data_ptr<double>() + flat.numel()};
}

}  // namespace

TEST_CASE("the sink metric of every family is that of attention by its definition") {
  const double epsilon = 0.2;
  std::vector<std::pair<std::string, json>> cases = {{"llama_gqa", {{"learned_sink_logits", true}}},
                                                     {"mpt", {{"constant_sink_logit", 0}}}};
  for (const auto& folder : std::filesystem::directory_iterator(test::data("families"))) {
    if (folder.is_directory()) cases.emplace_back(folder.path().filename(), json::object());
  }
  REQUIRE(cases.size() >= 18);
  bool some_above = false, some_below = false;
  for (const auto& [golden, changes] : cases) {
    INFO(golden << " " << changes);
    const Decoder decoder = build(golden, changes);
    const DecoderConfig& config = decoder.config();
    const int64_t T = 9, K = 3, mapped = 5;
    std::vector<std::vector<int32_t>> samples;
    for (unsigned seed : {1, 2}) samples.push_back(test::random_ids(T, config.vocab_size, seed));
    const std::vector<int64_t> layers = {0, config.layers - 1}, heads = {config.heads - 1, 0};
    const SinkOptions options{.epsilon = epsilon,
                              .positions = K,
                              .mapped = mapped,
                              .logit_layers = layers,
                              .logit_heads = heads};
    const SinkStatistics found = measure_sinks(decoder, samples, options);
    std::vector<Attention> attention;
    for (const auto& sample : samples) {
      attention.push_back(attention_by_definition(decoder, sample));
    }
    std::vector<double> rate(K, 0), alpha, above, logit_mass;
    for (int64_t layer = 0; layer < config.layers; ++layer) {
      for (int64_t head = 0; head < config.heads; ++head) {
        for (int64_t k = 0; k < K; ++k) {
          double total = 0, count = 0;
          for (const Attention& a : attention) {
            double sum = 0;
            for (int64_t i = k; i < T; ++i) sum += a.weights[layer][head][i][k].item<double>();
            total += sum / (T - k) / 2;
            if (sum / (T - k) > epsilon) count += 1;
          }
          alpha.push_back(total);
          above.push_back(50 * count);
          rate[k] += 50 * count / static_cast<double>(config.layers * config.heads);
          (count > 0 ? some_above : some_below) = true;
        }
        double kept = 0;
        for (const Attention& a : attention) {
          kept += a.weights[layer][head].sum().item<double>() / T / 2;
        }
        logit_mass.push_back(1 - kept);
      }
    }
    CHECK(found.tokens == T);
    CHECK(found.samples == 2);
    CHECK(found.trained_sink == (!changes.empty() || golden.starts_with("gpt_oss")));
    CHECK((found.logit_mass[0] > 0.01) == found.trained_sink);
    CHECK(test::largest_difference(found.alpha, alpha) < 1e-12);
    CHECK(test::largest_difference(found.above, above) < 1e-9);
    CHECK(test::largest_difference(found.sink_rate, rate) < 1e-9);
    CHECK(test::largest_difference(found.logit_mass, logit_mass) < 1e-12);
    const at::Tensor map = (attention[0].weights + attention[1].weights).mean(1) / 2;
    CHECK(test::largest_difference(found.map,
                                   numbers(map.narrow(1, 0, mapped).narrow(2, 0, mapped))) < 1e-12);
    // What of a query's attention goes to no key goes to the logit.
    const at::Tensor left = 1 - map.narrow(1, 0, mapped).sum(2);
    CHECK(test::largest_difference(found.map_logit, numbers(left)) < 1e-12);
    const at::Tensor norms = (attention[0].value_norms + attention[1].value_norms) / 2;
    CHECK(test::largest_difference(found.value_norm_first, numbers(norms.select(2, 0))) < 1e-12);
    CHECK(test::largest_difference(found.value_norm_others,
                                   numbers(norms.narrow(2, 1, T - 1).mean(2))) < 1e-12);

    const at::Tensor weights = (attention[0].weights + attention[1].weights) / 2;
    CHECK(test::largest_difference(found.last_to_first,
                                   numbers(weights.select(2, T - 1).select(2, 0))) < 1e-12);
    for (int64_t layer = 0; layer < config.layers; ++layer) {
      const at::Tensor last = weights[layer].select(1, T - 1).select(1, 0);
      const auto [mean, deviation] = found.last_to_first_of(layer);
      CHECK(mean == Approx(last.mean().item<double>()));
      CHECK(deviation == Approx(last.std(/*unbiased=*/false).item<double>()).margin(1e-12));
    }
    REQUIRE(found.logits.size() == 4);
    for (size_t i = 0; i < 4; ++i) {
      const auto& [layer, head, mean] = found.logits[i];
      CHECK(layer == layers[i / 2]);
      CHECK(head == heads[i % 2]);
      const at::Tensor expected =
          (attention[0].logits[layer][head] + attention[1].logits[layer][head]) / 2;
      const std::vector<double> by_definition = numbers(expected);
      REQUIRE(mean.size() == by_definition.size());
      for (size_t place = 0; place < mean.size(); ++place) {
        CHECK(std::isnan(mean[place]) == std::isnan(by_definition[place]));
        if (std::isnan(mean[place])) continue;
        CHECK(std::abs(mean[place] - by_definition[place]) < 1e-11);
      }
    }

    // The same where the scores of two or three queries exist at a time, and in lower precision.
    SinkOptions few = options;
    few.pairs_at_once = 2 * config.heads * T;
    const SinkStatistics again = measure_sinks(decoder, samples, few);
    CHECK(test::largest_difference(again.alpha, found.alpha) < 1e-12);
    CHECK(test::largest_difference(again.map, found.map) < 1e-12);
    CHECK(test::largest_difference(again.map_logit, found.map_logit) < 1e-12);
    CHECK(test::largest_difference(again.logit_mass, found.logit_mass) < 1e-12);
    CHECK(test::largest_difference(again.last_to_first, found.last_to_first) < 1e-12);
    for (size_t place = 0; place < found.logits[1].mean.size(); ++place) {
      if (std::isnan(found.logits[1].mean[place])) continue;
      CHECK(std::abs(again.logits[1].mean[place] - found.logits[1].mean[place]) < 1e-12);
    }
  }
  CHECK(some_above);
  CHECK(some_below);
}

TEST_CASE("in lower precision the sink metric is nearly the same") {
  const auto folder = test::data("families/llama_gqa");
  const std::vector<std::vector<int32_t>> samples = {test::random_ids(20, 256, 1)};
  const SinkStatistics exact =
      measure_sinks(Decoder::load(folder, {.dtype = at::kDouble}), samples, {});
  for (const auto& [dtype, tolerance] :
       {std::pair{at::kFloat, 1e-5}, std::pair{at::kBFloat16, 0.02}}) {
    const SinkStatistics found =
        measure_sinks(Decoder::load(folder, {.dtype = dtype}), samples, {});
    CHECK(test::largest_difference(found.alpha, exact.alpha) < tolerance);
  }
}

TEST_CASE("options that make no sense for the sink metric are named") {
  const Decoder gpt2 = Decoder::load(test::data("families/gpt2"), {});
  const auto of = [&](int64_t tokens, const SinkOptions& options) {
    return measure_sinks(gpt2, std::vector<std::vector<int32_t>>{test::random_ids(tokens, 256, 1)},
                         options);
  };
  CHECK_NOTHROW(of(256, {}));
  CHECK_THROWS_WITH(of(257, {}),
                    "tokens is 257; expected no more than the 256 that this model takes at once");
  CHECK_THROWS_WITH(of(1, {.positions = 1}), "tokens is 1; expected 2 to 16777216, a BOS included");
  CHECK_THROWS_WITH(of(8, {.positions = 9}),
                    "positions is 9; expected 1 to the 8 tokens of a sample");
  CHECK_THROWS_WITH(of(8, {.positions = 0}),
                    "positions is 0; expected 1 to the 8 tokens of a sample");
  CHECK_THROWS_WITH(of(8, {.epsilon = 1}), "epsilon is 1; expected a number from 0 to below 1");
  CHECK_THROWS_WITH(of(8, {.epsilon = NAN}), ContainsSubstring("epsilon is nan; expected"));
  CHECK_THROWS_WITH(of(8, {.logit_layers = {2}, .logit_heads = {0}}),
                    "logits of layer 2; expected one of 0 to 1");
  CHECK_THROWS_WITH(of(8, {.logit_layers = {0}, .logit_heads = {4}}),
                    "logits of head 4; expected one of 0 to 3");
  CHECK_THROWS_WITH(of(8, {.logit_layers = {0}}),
                    "logits need both layers and heads; one of the two is missing");
  CHECK_THROWS_AS(measure_sinks(gpt2, {}, {}), InputError);
}

TEST_CASE("drawn samples are of one token or of many, and the seed's") {
  const SinkSampling random{.input = SinkInput::random, .samples = 50, .tokens = 40, .seed = 7};
  const auto samples = drawn_samples(random, 10, std::vector{3});
  REQUIRE(samples.size() == 50);
  std::vector<int> counts(10);
  for (const auto& sample : samples) {
    REQUIRE(sample.size() == 40);
    CHECK(sample.front() == 3);
    for (size_t i = 1; i < sample.size(); ++i) ++counts.at(sample[i]);
  }
  for (const int count : counts) CHECK(std::abs(count - 195) < 70);  // five deviations of 13.2
  CHECK(drawn_samples(random, 10, std::vector{3}) == samples);
  SinkSampling other = random;
  other.seed = 8;
  CHECK(drawn_samples(other, 10, std::vector{3}) != samples);

  const auto repeated = drawn_samples(
      {.input = SinkInput::repeated, .samples = 20, .tokens = 6, .seed = 1}, 1000, {});
  std::set<int32_t> first;
  for (const auto& sample : repeated) {
    first.insert(sample.front());
    CHECK(sample == std::vector<int32_t>(6, sample.front()));
  }
  CHECK(first.size() > 15);
  // The standard's own number: the 10000th of a generator of its default seed.
  std::mt19937_64 bits;
  bits.discard(9999);
  CHECK(bits() == 9981545732273789042ull);
}

TEST_CASE("one token over and over leaves a model with rotary positions no sink") {
  // All values, and so all states, are equal: keys differ by their places alone, and random weights
  // have no frequencies that prefer one.
  const Decoder decoder = Decoder::load(test::data("families/llama_gqa"), {.dtype = at::kDouble});
  const auto samples = drawn_samples({.input = SinkInput::repeated, .samples = 3, .tokens = 64},
                                     decoder.config().vocab_size, {});
  CHECK(measure_sinks(decoder, samples, {}).sink_rate[0] == 0);
}

TEST_CASE("queries of zero attend uniformly: alpha_k is the mean of 1 / (i + 1) from k on") {
  const Decoder decoder = build("llama_gqa", json::object(), /*zero_queries=*/true);
  const int64_t T = 20;
  const SinkStatistics found = measure_sinks(
      decoder,
      std::vector<std::vector<int32_t>>{test::random_ids(T, decoder.config().vocab_size, 3)},
      {.epsilon = 0.17, .positions = T});
  for (int64_t k = 0; k < T; ++k) {
    double mean = 0;
    for (int64_t i = k; i < T; ++i) mean += 1.0 / static_cast<double>((i + 1) * (T - k));
    for (int64_t row = 0; row < found.layers * found.heads; ++row) {
      CHECK(found.alpha[row * T + k] == Approx(mean).epsilon(1e-12));
    }
    CHECK(found.sink_rate[k] == (mean > 0.17 ? 100 : 0));
  }
  CHECK(found.sink_rate[0] == 100);  // the mean of 20 such numbers is 0.1799
  CHECK(found.sink_rate[1] == 0);
}

TEST_CASE("samples are disjoint pieces of the text, each after a BOS") {
  const std::vector<int32_t> ids = {1, 2, 3, 4, 5, 6, 7};
  CHECK(sink_samples(ids, std::vector{0}, 3, 2) ==
        std::vector<std::vector<int32_t>>{{0, 1, 2}, {0, 3, 4}});
  CHECK(sink_samples(ids, {}, 3, 2) == std::vector<std::vector<int32_t>>{{1, 2, 3}, {4, 5, 6}});
  CHECK_THROWS_WITH(sink_samples(ids, std::vector{0}, 3, 4),
                    "the text has 7 tokens, too few for 4 samples of 3 (the BOS is one of them); "
                    "expected 3 samples at the most");
}
