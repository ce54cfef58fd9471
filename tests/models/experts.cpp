// Mixtures of experts: the router and the sum by their definitions, and what is refused.
#include "models/experts.h"

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "models/decoder.h"
#include "tests/catch.h"
#include "tests/data.h"
#include "tests/files.h"

using namespace sinkbench;
namespace fs = std::filesystem;

namespace {

at::Tensor random(at::IntArrayRef sizes) {
  return at::randn(sizes, at::kDouble);
}

ExpertsWeights random_weights(const ExpertsConfig& config, int64_t hidden) {
  const auto bias = [&](int64_t size) { return config.bias ? random({size}) : at::Tensor(); };
  ExpertsWeights weights;
  weights.router = {random({config.experts, hidden}),
                    config.router_bias ? random({config.experts}) : at::Tensor()};
  if (config.sigmoid) weights.correction = random({config.experts});
  for (int64_t e = 0; e < config.experts; ++e) {
    weights.experts.push_back(
        {.gate_up = {random({2 * config.size, hidden}), bias(2 * config.size)},
         .down = {random({hidden, config.size}), bias(hidden)}});
  }
  if (config.shared_size > 0) {
    weights.shared_gate_up.weight = random({2 * config.shared_size, hidden});
    weights.shared_down.weight = random({hidden, config.shared_size});
    if (config.shared_gated) weights.shared_gate.weight = random({1, hidden});
  }
  return weights;
}

/// One row, expert by expert.
at::Tensor by_definition(const ExpertsConfig& config, const ExpertsWeights& weights,
                         const at::Tensor& x) {
  const auto through = [&](const Linear& linear, const at::Tensor& input) {
    const at::Tensor y = at::mv(linear.weight, input);
    return linear.bias.defined() ? y + linear.bias : y;
  };
  const auto gated = [&](const at::Tensor& inner, bool clamped) {
    const int64_t size = inner.size(0) / 2;
    at::Tensor gate = inner.narrow(0, 0, size), up = inner.narrow(0, size, size);
    if (!clamped) return gate * at::sigmoid(gate) * up;
    gate = at::clamp_max(gate, config.limit);
    up = at::clamp(up, -config.limit, config.limit);
    return gate * at::sigmoid(1.702 * gate) * (up + 1);
  };
  at::Tensor logits = at::mv(weights.router.weight, x);
  if (weights.router.bias.defined()) logits = logits + weights.router.bias;
  const at::Tensor shares = config.sigmoid ? at::sigmoid(logits) : at::softmax(logits, 0);
  std::vector<std::pair<double, int64_t>> order;  // by what they are chosen by, falling
  for (int64_t e = 0; e < config.experts; ++e) {
    const double correction = config.sigmoid ? weights.correction[e].item<double>() : 0;
    order.emplace_back(-shares[e].item<double>() - correction, e);
  }
  std::sort(order.begin(), order.end());
  double chosen = 0;
  for (int64_t i = 0; i < config.chosen; ++i) chosen += shares[order[i].second].item<double>();
  at::Tensor sum = at::zeros_like(x);
  for (int64_t i = 0; i < config.chosen; ++i) {
    const int64_t e = order[i].second;
    const at::Tensor inner = gated(through(weights.experts[e].gate_up, x), config.limit > 0);
    const double share = config.scale * shares[e].item<double>() / (config.normalised ? chosen : 1);
    sum = sum + through(weights.experts[e].down, inner) * share;
  }
  if (config.shared_size == 0) return sum;
  const at::Tensor inner = gated(at::mv(weights.shared_gate_up.weight, x), false);
  const at::Tensor given = at::mv(weights.shared_down.weight, inner);
  if (!config.shared_gated) return sum + given;
  return sum + given * at::sigmoid(at::mv(weights.shared_gate.weight, x));
}

std::string refusal(const fs::path& folder) {
  try {
    Decoder::check(folder);
  } catch (const InputError& error) {
    return error.what();
  }
  return "accepted";
}

}  // namespace

TEST_CASE("experts give what their definition gives, in any blocks of rows") {
  at::manual_seed(5);
  const int64_t hidden = 12;
  for (const ExpertsConfig& config :
       {ExpertsConfig{.experts = 5, .chosen = 2, .size = 7},
        ExpertsConfig{.experts = 6, .chosen = 3, .size = 7, .shared_size = 10, .normalised = false},
        ExpertsConfig{.experts = 4, .chosen = 4, .size = 3, .normalised = false},
        ExpertsConfig{
            .experts = 5, .chosen = 2, .size = 8, .router_bias = true, .bias = true, .limit = 0.5},
        ExpertsConfig{.experts = 6,
        .chosen = 3,
        .size = 7,
        .shared_size = 10,
        .shared_gated = false,
        .sigmoid = true,
        .scale = 2.5},
        ExpertsConfig{.experts = 5, .chosen = 2, .size = 4, .sigmoid = true, .normalised = false},
        ExpertsConfig{.experts = 5, .chosen = 2, .size = 4, .normalised = false, .scale = 0.5},
        ExpertsConfig{.experts = 1, .chosen = 1, .size = 5}}) {
    const ExpertsWeights weights = random_weights(config, hidden);
    const at::Tensor x = random({40, hidden});
    const at::Tensor all = mix_experts(config, Activation::silu, weights, x, at::kDouble);
    for (int64_t i = 0; i < x.size(0); ++i) {
      INFO(config.experts << " experts, row " << i);
      const at::Tensor one =
          mix_experts(config, Activation::silu, weights, x.narrow(0, i, 1), at::kDouble)[0];
      const at::Tensor expected = by_definition(config, weights, x[i]);
      CHECK((one - expected).abs().max().item<double>() < 1e-11);
      CHECK((all[i] - expected).abs().max().item<double>() < 1e-11);
    }
  }
}

TEST_CASE("a router by sigmoids is more exact than the model") {
  // Logits of 4 and 4.0078, between which bfloat16 has no number; the second expert alone adds.
  const ExpertsConfig config{.experts = 2, .chosen = 1, .size = 1, .sigmoid = true};
  const auto matrix = [](std::vector<float> numbers, int64_t columns) {
    return Linear{at::tensor(numbers).to(at::kBFloat16).view({-1, columns}), {}};
  };
  ExpertsWeights weights;
  weights.router = matrix({4, 0, 4, 1}, 2);
  weights.correction = at::zeros({2});
  for (const float down : {0.0f, 1.0f}) {
    weights.experts.push_back({matrix({1, 0, 1, 0}, 2), matrix({down, down}, 1)});
  }
  const at::Tensor x = at::tensor({1.0f, 0.0078125f}).to(at::kBFloat16).view({1, 2});
  const at::Tensor given = mix_experts(config, Activation::silu, weights, x, at::kFloat);
  CHECK(given[0][0].item<float>() > 0.5f);  // 1 / (1 + exp(-1)), of the weight 1
}

TEST_CASE("parameters at work for a token are those of the experts that it has chosen") {
  const Decoder decoder = Decoder::check(test::data("families/qwen2_moe"));
  // 3 of 6 experts of 24 in layers 1 and 3, 3 matrices of 32 columns each.
  CHECK(decoder.idle_parameters() == 2 * 3 * 3 * 24 * 32);
  CHECK(decoder.config().mlp_size == 3 * 24 + 48);
  CHECK(decoder.config().experts->is_dense(0));
  CHECK_FALSE(decoder.config().experts->is_dense(1));
  CHECK(Decoder::check(test::data("families/llama_gqa")).idle_parameters() == 0);
}

TEST_CASE("experts that don't match the configuration are refused by name") {
  const auto changed = [&](const char* family, const nlohmann::json& changes) {
    const test::TemporaryFolder folder;
    fs::copy(test::data("families") / family, folder.path() / "model");
    auto config = nlohmann::json::parse(read_file(folder.path() / "model/config.json"));
    config.merge_patch(changes);
    folder.write("model/config.json", config.dump());
    return refusal(folder.path() / "model");
  };
  CHECK(changed("mixtral", nlohmann::json::object()) == "accepted");
  CHECK_THAT(changed("mixtral", {{"num_local_experts", 6}}),
             ContainsSubstring("block_sparse_moe.gate.weight has shape [5, 32]; expected [6, 32]"));
  CHECK_THAT(changed("glm4_moe", {{"n_group", 2}}),
             ContainsSubstring("n_group: is 2, which is not supported; expected 1"));
  CHECK_THAT(changed("glm4_moe", {{"first_k_dense_replace", 0}}),
             ContainsSubstring("layers.0.mlp.gate.weight is missing"));
  CHECK_THAT(changed("mixtral", {{"num_experts_per_tok", 6}}),
             ContainsSubstring("num_experts_per_tok: is 6, and there are 5 experts"));
  CHECK_THAT(changed("qwen3_moe", {{"mlp_only_layers", {1, 2}}}),
             ContainsSubstring("tensor model.layers.2.mlp.gate_proj.weight is missing"));
  CHECK_THAT(changed("qwen3_moe", {{"mlp_only_layers", {3}}}),
             ContainsSubstring("mlp_only_layers: has 3; expected layers from 0 to 2"));
  CHECK_THAT(changed("qwen2_moe", {{"shared_expert_intermediate_size", 40}}),
             ContainsSubstring("shared_expert.gate_proj.weight has shape [48, 32]"));
  CHECK_THAT(changed("gpt_oss_mxfp4", {{"intermediate_size", 64}}),
             ContainsSubstring("gate_up_proj_blocks has shape [3, 192, 2, 16]; expected [3, 128, "
                               "2, 16]"));
  CHECK_THAT(changed("gpt_oss", {{"swiglu_limit", -1}}), ContainsSubstring("swiglu_limit"));
  // In other families such tensors are another method's.
  CHECK_THAT(changed("gpt_oss_mxfp4", {{"model_type", "llama"}}), ContainsSubstring("mxfp4"));
}
