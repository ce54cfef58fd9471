// The model in training and the decoder that reads its Hugging Face folder are one model.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <unistd.h>

#include <cmath>
#include <numeric>

#include "base/error.h"
#include "base/file.h"
#include "datasets/tokenizer.h"
#include "models/decoder.h"
#include "models/rotary.h"
#include "tests/catch.h"
#include "training/bpe_trainer.h"
#include "training/checkpoint.h"
#include "training/model.h"

using namespace sinkbench;
namespace fs = std::filesystem;

namespace {

/// Mean NLL of `targets` after `ids`, both [tokens]: full attention, as the definition has it.
double decoder_loss(const Decoder& decoder, const at::Tensor& ids, const at::Tensor& targets) {
  const DecoderConfig& config = decoder.config();
  const int64_t tokens = ids.size(0);
  std::vector<int64_t> positions(static_cast<size_t>(tokens));
  std::iota(positions.begin(), positions.end(), 0);
  const RotaryTable table = rotary_table(config.rotaries.front(), positions, at::kFloat, at::kCPU);
  const at::Tensor later = at::ones({tokens, tokens}, at::kBool).triu(1);
  at::Tensor x = decoder.embed(ids);
  for (int64_t l = 0; l < config.layers; ++l) {
    const Projection p = decoder.project(l, x);
    const at::Tensor q = rotate(config.rotaries.front(), p.query, table).transpose(0, 1);
    const at::Tensor k = rotate(config.rotaries.front(), p.key, table).transpose(0, 1);
    const at::Tensor scores =
        (at::matmul(q, k.transpose(1, 2)) * config.attention_scale).masked_fill(later, -INFINITY);
    at::Tensor weights = scores.exp();
    const at::Tensor& sink = decoder.sink_logit(l);
    weights /=
        weights.sum(-1, true) + (sink.defined() ? sink.exp().view({-1, 1, 1}) : at::zeros(1));
    const at::Tensor mixed = at::matmul(weights, p.value.transpose(0, 1));
    x = decoder.finish(l, x, mixed.transpose(0, 1).reshape({tokens, -1}));
  }
  return at::cross_entropy_loss(decoder.logits(x), targets).item<double>();
}

}  // namespace

TEST_CASE("the exported model has the losses of the one in training") {
  TrainConfig config;
  config.model = {3, 48, 3, 80, kBpeBaseTokens};
  config.model.rope_theta = 5000;
  config.export_bfloat16 = GENERATE(false, true);
  const std::string sink = GENERATE("none", "zero", "learned");
  config.model.zero_sink = sink == "zero";
  config.model.learned_sink_logits = sink == "learned";
  const TrainedModel model(config.model, 70, /*bfloat16=*/false, 11);
  {
    // Away from the start, where attention is nearly even and norms do nothing.
    const at::NoGradGuard no_gradients;
    at::Generator generator = at::detail::createCPUGenerator(12);
    for (const auto& [name, value] : model.parameters()) {
      if (value.dim() > 1) {
        value.mul_(8);
      } else {
        value.uniform_(0.5, 1.5, generator);
      }
      // The weights that will be stored, so that both sides have the same.
      if (config.export_bfloat16) value.copy_(value.to(at::kBFloat16));
    }
  }

  const fs::path folder =
      fs::temp_directory_path() / fmt::format("sinkbench-export-{}", ::getpid());
  fs::create_directories(folder);
  write_file_atomically(folder / "bytes.json", bpe_tokenizer_json({}));
  export_huggingface(model, config, folder / "bytes.json", 0, folder / "model");
  const Decoder decoder = Decoder::load(folder / "model", {});
  CHECK(Tokenizer::load(folder / "model").prefix() == std::vector<int32_t>{0});
  fs::remove_all(folder);

  CHECK(decoder.config().constant_sink_logit.has_value() == config.model.zero_sink);
  CHECK(decoder.config().learned_sink_logits == config.model.learned_sink_logits);
  CHECK(decoder.config().context == config.schedule.sample_tokens);
  const at::NoGradGuard no_gradients;
  at::Generator generator = at::detail::createCPUGenerator(13);
  const at::Tensor ids = at::empty({70}, at::kLong).random_(0, kBpeBaseTokens, generator);
  const at::Tensor targets = at::empty({70}, at::kLong).random_(0, kBpeBaseTokens, generator);
  const double expected = model.loss(ids.unsqueeze(0), targets.unsqueeze(0)).item<double>();
  CHECK(expected > std::log(double(kBpeBaseTokens)) + 0.4);  // it isn't a model that says nothing
  CHECK(std::abs(decoder_loss(decoder, ids, targets) - expected) < 1e-4);
}

TEST_CASE("attention to the first position is a mean over the queries behind it") {
  // With all weights zero every query attends evenly: query i gives 1 / (i + 1).
  ModelShape shape{2, 32, 2, 64, 50};
  const TrainedModel model(shape, 9, false, 1);
  const at::NoGradGuard no_gradients;
  for (const auto& [name, value] : model.parameters()) value.zero_();
  double expected = 0;
  for (int i = 1; i < 9; ++i) expected += 1.0 / (i + 1) / 8;
  const at::Tensor first = model.attention_to_first(at::ones({3, 9}, at::kLong));
  REQUIRE(first.sizes() == at::IntArrayRef{2, 2});
  CHECK((first - expected).abs().max().item<double>() < 1e-6);
}
