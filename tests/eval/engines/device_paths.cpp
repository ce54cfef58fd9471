// What engines do on a CUDA device, run on the CPU by plain operators: attention in parts and
// planned steps against the plain way; and, where there is a device, the goldens on it.
#include <ATen/ATen.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "eval/attention/attention.h"
#include "eval/attention/parts.h"
#include "eval/engines/batched_recompute.h"
#include "eval/engines/chunked.h"
#include "eval/engines/method.h"
#include "eval/engines/recompute.h"
#include "eval/engines/stepwise.h"
#include "eval/experiment/engine_names.h"
#include "policies/registry.h"
#include "tests/catch.h"
#include "tests/data.h"
#include "tests/eval/engines/score.h"

using namespace sinkbench;
using test::largest_difference;
using test::score;

namespace {

std::vector<double> score_with(Engine& engine, const std::vector<int32_t>& ids) {
  std::vector<double> result;
  engine.score(ids, [&](std::span<const double> nll) {
    result.insert(result.end(), nll.begin(), nll.end());
  });
  return result;
}

std::vector<std::unique_ptr<Policy>> index_policies(const DecoderConfig& config) {
  std::vector<std::unique_ptr<Policy>> policies;
  policies.push_back(make_policy("dense", {}));
  if (config.learned_positions > 0) return policies;
  policies.push_back(make_policy("window", {{"window", 1}}));
  policies.push_back(make_policy("sinks", {{"sinks", 3}, {"window", 12}}));
  policies.push_back(make_policy("sinks", {{"sinks", 0}, {"window", 12}}));
  if (!config.every_layer_is_local()) {
    policies.push_back(make_policy("sinks", {{"sinks", 3}, {"window", 17}}, Positions::original));
  }
  return policies;
}

/// So many tokens, or as many as the model has positions for.
int64_t stream_size(const DecoderConfig& config, int64_t tokens) {
  if (config.learned_positions > 0) tokens = std::min(tokens, config.learned_positions);
  for (const RotaryConfig& rotary : config.rotaries) {
    if (rotary.limit > 0) tokens = std::min(tokens, rotary.limit);
  }
  return tokens;
}

template <typename Visit>
void for_each_family(Visit visit) {
  for (const auto& folder : std::filesystem::directory_iterator(test::data("families"))) {
    if (folder.is_directory()) visit(folder.path());
  }
}

}  // namespace

TEST_CASE("parts of an attention joined by log-sum-exp are one softmax") {
  at::manual_seed(11);
  const int64_t heads = 6, kv_heads = 2, head_dim = 16;
  for (const int64_t n : {1, 5, 40}) {
    for (const int64_t sinks : {0, 1, 4}) {
      for (const int64_t window : {1, 7, 100}) {
        for (const bool logit : {false, true}) {
          INFO(n << " queries, " << sinks << " + " << window << (logit ? ", a sink logit" : ""));
          const int64_t carried = sinks + window, m = carried + n;
          AttentionInput whole;
          whole.keys = at::randn({kv_heads, m, head_dim}, at::kDouble);
          whole.values = at::randn({kv_heads, m, head_dim}, at::kDouble);
          whole.scale = 0.4;
          if (logit) whole.sink_logit = at::randn({heads}, at::kDouble);
          RangeView few, band;
          few.query = at::randn({heads, n, head_dim}, at::kDouble);
          band.query = at::randn({heads, n, head_dim}, at::kDouble);
          for (int64_t i = 0; i < n; ++i) {
            few.first.push_back(0);
            few.last.push_back(sinks);
            band.first.push_back(carried + i - window);
            band.last.push_back(carried + i + 1);
          }
          whole.ranges = {few, band};
          const auto found = as_band(band.first, band.last, m);
          REQUIRE(found);
          PartsInput parts = {.query = band.query.transpose(0, 1).contiguous(),
                              .keys = whole.keys,
                              .values = whole.values,
                              .band = *found,
                              .ranges = {},
                              .scale = whole.scale,
                              .sink_logit = whole.sink_logit};
          parts.ranges.push_back({.query = few.query.transpose(0, 1).contiguous(),
                                  .table = {},
                                  .keys = whole.keys,
                                  .values = whole.values,
                                  .first = at::zeros({n}, at::kInt),
                                  .last = at::full({n}, sinks, at::kInt),
                                  .scale = whole.scale});
          CHECK((attend_in_parts(parts) - attend_in_tensors(whole)).abs().max().item().toDouble() <
                1e-12);
        }
      }
    }
  }
}

TEST_CASE("what is no band is known as none") {
  CHECK(as_band({0, 0, 0}, {1, 2, 3}, 3)->left == -1);
  CHECK(as_band({0, 0, 1}, {1, 2, 3}, 3)->left == 1);
  CHECK(as_band({2, 2, 3}, {4, 5, 6}, 6)->begin == 2);
  CHECK_FALSE(as_band({0, 1, 1}, {1, 2, 3}, 3));  // grows again
  CHECK_FALSE(as_band({0, 0, 0}, {1, 2, 2}, 3));  // the last query doesn't see itself
}

TEST_CASE("attention in parts gives the plain engine's numbers, whatever family and policy") {
  for_each_family([](const std::filesystem::path& folder) {
    const Decoder decoder = Decoder::load(folder, {.dtype = at::kDouble});
    const auto ids = test::random_ids(90, decoder.config().vocab_size, 6);
    for (const auto& policy : index_policies(decoder.config())) {
      const auto& index = dynamic_cast<const IndexPolicy&>(*policy);
      for (const int64_t chunk : {1, 7, 512}) {
        INFO(folder.filename() << " " << policy->label() << " chunk " << chunk);
        ChunkedEngine plain(decoder, index, chunk), parts(decoder, index, chunk, true);
        CHECK(largest_difference(score_with(parts, ids), score_with(plain, ids)) < 1e-9);
      }
    }
  });
}

TEST_CASE("planned steps give the plain step's numbers, whatever family and policy") {
  for_each_family([](const std::filesystem::path& folder) {
    for (const auto& [dtype, tolerance] :
         {std::pair{at::kDouble, 1e-5}, std::pair{at::kFloat, 1e-4}}) {
      const Decoder decoder = Decoder::load(folder, {.dtype = dtype});
      const auto ids = test::random_ids(60, decoder.config().vocab_size, 7);
      for (const auto& policy : index_policies(decoder.config())) {
        INFO(folder.filename() << " " << policy->label());
        const auto& index = dynamic_cast<const IndexPolicy&>(*policy);
        StepwiseEngine plain(decoder, index), planned(decoder, index, true);
        CHECK(largest_difference(score_with(planned, ids), score_with(plain, ids)) < tolerance);
      }
    }
  });
}

TEST_CASE("passes in parts give the plain pass's numbers") {
  for_each_family([](const std::filesystem::path& folder) {
    const Decoder decoder = Decoder::load(folder, {.dtype = at::kDouble});
    if (decoder.config().alibi || decoder.config().score_cap != 0.0) return;
    INFO(folder.filename());
    const auto ids = test::random_ids(60, decoder.config().vocab_size, 9);
    const auto policy = make_policy("recompute", {{"window", 13}, {"stride", 3}});
    const auto& passes = dynamic_cast<const RecomputePolicy&>(*policy);
    RecomputeEngine plain(decoder, passes), parts(decoder, passes, true);
    BatchedRecomputeEngine batched(decoder, passes, true);
    const auto oracle = score_with(plain, ids);
    CHECK(largest_difference(score_with(parts, ids), oracle) < 1e-9);
    CHECK(largest_difference(score_with(batched, ids), oracle) < 1e-9);
  });
}

TEST_CASE("a block's size follows from the device") {
  DecoderConfig config;
  config.mlp_size = 11008;
  config.heads = config.kv_heads = 32;
  config.head_dim = 128;
  CHECK(ChunkedEngine::block_size(config, 0, 1 << 20) == 190);
  CHECK(ChunkedEngine::block_size(config, 0, 1 << 20, at::kCUDA) == 4096);
  CHECK(ChunkedEngine::block_size(config, 0, 100, at::kCUDA) == 100);
  CHECK(ChunkedEngine::block_size(config, 64, 1 << 20, at::kCUDA) == 64);
}

TEST_CASE("on a CUDA device: the goldens of every family", "[cuda]") {
  if (!at::hasCUDA()) return;
  double worst = 0;
  int64_t series = 0;
  for_each_family([&](const std::filesystem::path& folder) {
    const auto golden = nlohmann::json::parse(std::ifstream(folder / "expected.json"));
    const auto ids =
        nlohmann::json::parse(std::ifstream(folder / "tokens.json")).get<std::vector<int32_t>>();
    const Decoder decoder = Decoder::load(folder, {.dtype = at::kFloat, .device = at::kCUDA});
    for (const std::string& engine : engine_names()) {
      const auto check = [&](const std::string& name, const PolicyArguments& arguments,
                             const nlohmann::json& nll) {
        const auto policy = make_policy(name, arguments);
        INFO(folder.filename() << ", engine " << engine << ", " << policy->label());
        const double difference = largest_difference(
            score(engine, decoder, *policy, ids, {.chunk = 48}), nll.get<std::vector<double>>());
        CHECK(difference < 1e-4);
        worst = std::max(worst, difference);
        ++series;
      };
      check("dense", {}, golden["dense_nll"]);
      for (const auto& entry : golden.value("streaming", nlohmann::json::array())) {
        check(
            "sinks",
            {{"sinks", entry["sinks"].get<int64_t>()}, {"window", entry["window"].get<int64_t>()}},
            entry["nll"]);
      }
      check("recompute", {{"window", golden["recompute"]["window"].get<int64_t>()}},
            golden["recompute"]["nll"]);
    }
  });
  WARN(series << " golden series on the device in float32, largest difference " << worst);
}

TEST_CASE("on a CUDA device: engines agree in 16 bits, and with the CPU", "[cuda]") {
  if (!at::hasCUDA()) return;
  for (const at::ScalarType dtype : {at::kBFloat16, at::kHalf}) {
    double worst = 0, worst_mean = 0;
    for_each_family([&](const std::filesystem::path& folder) {
      const Decoder exact = Decoder::load(folder, {.dtype = at::kFloat});
      const Decoder decoder = Decoder::load(folder, {.dtype = dtype, .device = at::kCUDA});
      const auto ids =
          test::random_ids(stream_size(exact.config(), 120), exact.config().vocab_size, 8);
      auto policies = index_policies(exact.config());
      if (dtype == at::kHalf) policies.resize(1);
      policies.push_back(make_policy("recompute", {{"window", 13}, {"stride", 3}}));
      for (const auto& policy : policies) {
        const auto oracle = score("chunked", exact, *policy, ids, {.chunk = 64});
        for (const std::string& engine : engine_names()) {
          INFO(folder.filename() << ", " << engine << ", " << policy->label() << ", " << dtype);
          const auto nll = score(engine, decoder, *policy, ids, {.chunk = 64});
          const double difference = largest_difference(nll, oracle);
          double mean = 0;
          for (size_t i = 0; i < nll.size(); ++i) mean += (nll[i] - oracle[i]) / nll.size();
          CHECK(difference < (dtype == at::kHalf ? 0.1 : 0.5));
          worst = std::max(worst, difference);
          worst_mean = std::max(worst_mean, std::abs(mean));
        }
      }
    });
    WARN(dtype << " on the device against float32 on the CPU: largest difference " << worst
               << ", largest of a mean " << worst_mean);
  }
}

TEST_CASE("on a CUDA device: a band over all keys and one with a window", "[cuda]") {
  if (!at::hasCUDA()) return;
  at::manual_seed(12);
  struct Shape {
    int64_t batch, n, m, heads, kv_heads, head_dim;
  };
  for (const at::ScalarType dtype : {at::kBFloat16, at::kHalf}) {
    for (const Shape& s :
         {Shape{1, 1024, 1024 + 4096, 8, 2, 128}, Shape{1, 1040, 1040 + 4000, 8, 8, 128},
          Shape{2, 2048, 2048, 8, 4, 64},  // so far by cuDNN, where left is -1
          Shape{1, 640, 1940, 4, 2, 64}, Shape{3, 700, 700, 2, 2, 64},
          Shape{1, 600, 607, 2, 2, 256}, Shape{3, 1, 700, 2, 2, 64}}) {
      for (const int64_t left : {int64_t{-1}, int64_t{100}}) {
        INFO(dtype << ", " << s.n << " queries, " << s.m << " keys, head_dim " << s.head_dim
                   << ", left " << left);
        const auto options = at::TensorOptions().dtype(dtype).device(at::kCUDA);
        const at::Tensor query = at::randn({s.batch, s.n, s.heads, s.head_dim}, options);
        const auto buffer = [&] {  // as an engine's, with room beyond what is seen
          return at::randn({s.kv_heads, s.batch * s.m + 9, s.head_dim}, options)
              .narrow(1, 0, s.batch * s.m)
              .view({s.kv_heads, s.batch, s.m, s.head_dim})
              .permute({1, 2, 0, 3});
        };
        const at::Tensor keys = buffer(), values = buffer();
        const double scale = 1 / std::sqrt(static_cast<double>(s.head_dim));
        const fused::Part found = attend_band(query, keys, values, left, scale);
        const auto wide = [](const at::Tensor& x) { return x.to(at::kCPU, at::kDouble); };
        const fused::Part plain = attend_band(wide(query), wide(keys), wide(values), left, scale);
        CHECK((wide(found.output) - plain.output).abs().max().item().toDouble() < 0.02);
        CHECK((wide(found.log_sum) - plain.log_sum).abs().max().item().toDouble() < 2e-3);
      }
    }
  }
}

TEST_CASE("on a CUDA device: policies by score, positions and stored forms", "[cuda]") {
  if (!at::hasCUDA()) return;
  double worst = 0;
  for (const char* family : {"llama_gqa", "gemma2", "mpt", "mistral_window"}) {
    const auto folder = std::filesystem::path(test::data("families")) / family;
    const Decoder exact = Decoder::load(folder, {.dtype = at::kDouble});
    const Decoder decoder = Decoder::load(folder, {.dtype = at::kDouble, .device = at::kCUDA});
    const auto ids =
        test::random_ids(stream_size(exact.config(), 90), exact.config().vocab_size, 8);
    std::vector<std::pair<std::unique_ptr<Policy>, StorageSpec>> cases;
    const auto add = [&](const std::string& name, const PolicyArguments& arguments,
                         Positions positions = Positions::cache, const StorageSpec& kv = {}) {
      cases.emplace_back(make_policy(name, arguments, positions), kv);
    };
    const PolicyArguments sinks = {{"sinks", 3}, {"window", 12}};
    for (const char* name : {"h2o", "tova", "knorm", "keydiff"}) {
      add(name, {{"capacity", 20}});
    }
    add("sinks", sinks, Positions::frozen);
    for (const char* form : {"float8_e4m3", "int8", "int4", "turboquant4"}) {
      add("sinks", sinks, Positions::cache, {.keys = form, .values = form});
      add("dense", {}, Positions::cache, {.keys = form, .values = "native"});
    }
    add("dense", {}, Positions::cache,
        {.keys = "kivi4", .values = "kivi4", .kivi = {.group = 4, .residual = 16}});
    for (const auto& [policy, kv] : cases) {
      try {
        make_method(*policy, exact.config(), kv)->check(std::ssize(ids) - 1);
      } catch (const InputError&) {
        continue;  // heads that can't have the form
      }
      for (const std::string& engine : engine_names()) {
        INFO(folder.filename() << ", " << engine << ", " << policy->label() << ", "
                               << storage_label(kv));
        const EngineOptions options = {.chunk = 32, .storage = kv};
        const double difference = largest_difference(score(engine, decoder, *policy, ids, options),
                                                     score(engine, exact, *policy, ids, options));
        CHECK(difference < (kv.is_native() ? 1e-8 : 1e-3));
        worst = std::max(worst, difference);
      }
    }
  }
  WARN("in float64, the device against the CPU: largest difference " << worst);
}
