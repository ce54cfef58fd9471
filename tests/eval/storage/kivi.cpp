// Caches in KIVI's form: engines against its definition, their bytes, what is refused.
#include "eval/storage/kivi.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <numeric>

#include "base/error.h"
#include "eval/attention/attention.h"
#include "eval/engines/method.h"
#include "models/alibi.h"
#include "models/rotary.h"
#include "policies/registry.h"
#include "tests/catch.h"
#include "tests/data.h"
#include "tests/eval/engines/score.h"

using namespace sinkbench;
using test::largest_difference;
using test::score;

namespace {

StorageSpec kivi(int bits, int64_t group, int64_t residual) {
  const std::string name = "kivi" + std::to_string(bits);
  return {.keys = name, .values = name, .kivi = {.group = group, .residual = residual}};
}

/// x as it is after a group was quantised: the group is the last dimension.
at::Tensor through(const at::Tensor& x, int bits) {
  const at::Tensor y = x.to(at::kFloat);
  const at::Tensor least = std::get<0>(y.min(-1, true)), most = std::get<0>(y.max(-1, true));
  const at::Tensor scale = (most - least) / ((1 << bits) - 1);
  const at::Tensor quants = at::where(scale > 0, ((y - least) / scale).round(), at::zeros({1}));
  const auto stored = [](const at::Tensor& z) { return z.to(at::kHalf).to(at::kFloat); };
  return (quants * stored(scale) + stored(least)).to(x.scalar_type());
}

/// Layer by layer over the whole stream, query by query: each sees every key and value in the form
/// that the definition gives it.
std::vector<double> by_definition(const Decoder& decoder, const std::vector<int32_t>& ids, int bits,
                                  int64_t group, int64_t residual) {
  const c10::InferenceMode inference;
  const DecoderConfig& config = decoder.config();
  const int64_t n = std::ssize(ids) - 1, d = config.head_dim,
                share = config.heads / config.kv_heads;
  std::vector<int64_t> places(n);
  std::iota(places.begin(), places.end(), 0);
  const std::vector<int64_t> wide(ids.begin(), ids.end() - 1);
  at::Tensor x = decoder.embed(at::tensor(wide, at::kLong), at::tensor(places, at::kLong));
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    const Projection projection = decoder.project(layer, x);
    const RotaryConfig* const rotary = config.rotary(layer);
    const auto placed = [&](const at::Tensor& y) {
      if (rotary == nullptr) return y;
      return rotate(*rotary, y, rotary_table(*rotary, places, at::kDouble, at::kCPU));
    };
    const at::Tensor query = placed(projection.query), keys = placed(projection.key);
    // Groups of tokens of one channel; only whole ones are ever asked for.
    const int64_t whole = n / residual * residual;
    const at::Tensor coarse_keys = keys.clone();
    coarse_keys.narrow(0, 0, whole)
        .copy_(through(keys.narrow(0, 0, whole).permute({1, 2, 0}).reshape({-1, group}), bits)
                   .view({config.kv_heads, d, whole})
                   .permute({2, 0, 1}));
    const at::Tensor coarse_values =
        through(projection.value.reshape({-1, group}), bits).view_as(projection.value);
    std::vector<at::Tensor> attended;
    for (int64_t t = 0; t < n; ++t) {
      for (int64_t head = 0; head < config.heads; ++head) {
        std::vector<at::Tensor> scores, mixed;
        for (int64_t p = 0; p <= t; ++p) {
          const bool coarse_key = p < t / residual * residual, coarse_value = p < t - residual;
          const at::Tensor key = (coarse_key ? coarse_keys : keys)[p][head / share];
          at::Tensor score = at::dot(query[t][head], key) * config.attention_scale;
          if (config.score_cap != 0) {
            score = at::tanh(score / config.score_cap) * config.score_cap;
          }
          if (config.alibi) score = score - config.alibi->slopes[head] * static_cast<double>(t - p);
          scores.push_back(score);
          mixed.push_back((coarse_value ? coarse_values : projection.value)[p][head / share]);
        }
        const at::Tensor weights = at::softmax(at::stack(scores), 0);
        attended.push_back(at::mv(at::stack(mixed).t(), weights));
      }
    }
    x = decoder.finish(layer, x, at::stack(attended).view({n, config.heads * d}));
  }
  const at::Tensor logs = at::log_softmax(decoder.logits(x), -1);
  std::vector<double> nll;
  for (int64_t t = 0; t < n; ++t) nll.push_back(-logs[t][ids[t + 1]].item<double>());
  return nll;
}

}  // namespace

TEST_CASE("both engines give KIVI's definition, in any blocks") {
  const auto dense = make_policy("dense", {});
  for (const char* family : {"llama_gqa", "mpt", "phi", "gpt2"}) {
    const Decoder decoder = Decoder::load(test::data("families") / family, {.dtype = at::kDouble});
    const int64_t group = decoder.config().head_dim % 8 == 0 ? 8 : 4;
    const std::vector<int32_t> ids = test::random_ids(50, decoder.config().vocab_size, 3);
    for (const auto& [bits, residual] : {std::pair{2, int64_t{8}}, {4, int64_t{16}}}) {
      const EngineOptions options = {.storage = kivi(bits, group, residual)};
      const auto expected = by_definition(decoder, ids, bits, group, residual);
      INFO(family << " " << storage_label(options.storage));
      CHECK(largest_difference(score("stepwise", decoder, *dense, ids, options), expected) < 1e-9);
      for (const int64_t chunk : {1, 7, 24, 64}) {
        INFO("blocks of " << chunk);
        CHECK(largest_difference(score("chunked", decoder, *dense, ids,
                                       {.chunk = chunk, .storage = options.storage}),
                                 expected) < 1e-9);
      }
      CHECK(largest_difference(score("chunked", decoder, *dense, ids, {}), expected) > 1e-6);
    }
  }
}

TEST_CASE("KIVI's bytes by formula are those held, and its state can be taken up again") {
  const Decoder decoder = Decoder::load(test::data("../../models/tiny"), {});
  const DecoderConfig& config = decoder.config();
  const auto dense = make_policy("dense", {});
  const StorageSpec storage = kivi(2, 32, 64);
  const auto method = make_method(*dense, config, storage);
  // After 500 tokens 7 blocks of 64 keys and 436 values are quantised, at 3 bits a number; there is
  // room for 64 of each in float32.
  const int64_t numbers = (7 * 64 + 436) * config.head_dim;
  CHECK(method->kv_bytes(500, 4) ==
        config.layers * config.kv_heads * (numbers * 3 / 8 + 2 * 64 * config.head_dim * 4));
  for (const int64_t fed : {1, 63, 64, 65, 500}) {
    CHECK(method->decoding(decoder)->kv_bytes_held(fed) == method->kv_bytes(fed, 4));
  }
  const auto decoding = method->decoding(decoder);
  CHECK(decoding->period(500) == 64);
  decoding->fill(100, 500, 130);
  CHECK(decoding->entries() == 100);
  for (int i = 0; i < 130; ++i) CHECK(decoding->step(5).isfinite().all().item<bool>());

  const std::vector<int32_t> ids = test::random_ids(300, config.vocab_size, 3);
  for (const char* name : {"stepwise", "chunked"}) {
    const EngineOptions options = {.chunk = 50, .storage = storage};
    auto engine = make_engine(name, decoder, *dense, options);
    std::vector<double> whole, parts;
    const auto to = [](std::vector<double>& nll) {
      return
          [&nll](std::span<const double> more) { nll.insert(nll.end(), more.begin(), more.end()); };
    };
    engine->score(ids, to(whole));
    engine->begin(ids);
    while (engine->next() < 150) engine->advance(to(parts));
    std::vector<at::Tensor> state;
    for (const at::Tensor& tensor : engine->state()) state.push_back(tensor.clone());
    const int64_t next = engine->next();
    engine = make_engine(name, decoder, *dense, options);
    engine->begin(ids);
    engine->resume(next, state);
    while (!engine->done()) engine->advance(to(parts));
    CHECK(parts == whole);
  }
}

TEST_CASE("KIVI is refused where something is evicted, and where heads can't have its groups") {
  const Decoder decoder = Decoder::load(test::data("families/llama_gqa"), {});
  const auto refusal = [&](const Policy& policy, const DecoderConfig& config, int64_t group) {
    try {
      make_method(policy, config, kivi(2, group, 64))->check(90);
    } catch (const InputError& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  const DecoderConfig& config = decoder.config();
  const auto dense = make_policy("dense", {});
  CHECK(refusal(*dense, config, 8) == "accepted");
  CHECK_THAT(refusal(*dense, config, 64), ContainsSubstring("groups of 64 do not divide"));
  for (const auto& policy :
       {make_policy("window", {{"window", 12}}), make_policy("h2o", {{"capacity", 40}}),
        make_policy("sinks", {{"sinks", 2}, {"window", 12}}, Positions::frozen)}) {
    INFO(policy->label());
    CHECK_THAT(refusal(*policy, config, 8), ContainsSubstring("expected a policy that keeps all"));
  }
  CHECK_THAT(refusal(*make_policy("recompute", {{"window", 12}}), config, 8),
             ContainsSubstring("keeps no cache"));
  const Decoder local = Decoder::load(test::data("families/gemma2"), {});
  CHECK_THAT(refusal(*dense, local.config(), 4),
             ContainsSubstring("a model without local windows"));
}
