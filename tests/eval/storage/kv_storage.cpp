// Caches of quantised keys and values: by engines, by policies, by bytes.
#include "eval/storage/kv_storage.h"

#include <ATen/ATen.h>

#include "base/error.h"
#include "eval/engines/method.h"
#include "policies/registry.h"
#include "tests/catch.h"
#include "tests/data.h"
#include "tests/eval/engines/score.h"

using namespace sinkbench;

namespace {

struct Case {
  const char* policy;
  PolicyArguments arguments;
  Positions positions = Positions::cache;
};

const std::vector<Case> cases = {
    {"dense", {}},
    {"window", {{"window", 12}}},
    {"sinks", {{"sinks", 2}, {"window", 9}}},
    {"sinks", {{"sinks", 2}, {"window", 9}}, Positions::original},
    {"strided", {{"window", 8}, {"stride", 3}, {"kept", 4}}},  // keys at their ranks
    {"strided", {{"window", 8}, {"stride", 3}, {"kept", 4}}, Positions::original},
    {"h2o", {{"capacity", 14}, {"sinks", 2}, {"recent", 4}, {"every", 3}}},
    {"knorm", {{"capacity", 14}, {"sinks", 2}, {"recent", 4}}},
    {"sinks", {{"sinks", 2}, {"window", 9}}, Positions::frozen}};

std::vector<double> score(const std::string& engine, const Decoder& decoder, const Policy& policy,
                          const std::vector<int32_t>& ids, const StorageSpec& storage,
                          int64_t chunk = 0) {
  std::vector<double> result;
  make_engine(engine, decoder, policy, {.chunk = chunk, .storage = storage})
      ->score(ids, [&](std::span<const double> nll) {
        result.insert(result.end(), nll.begin(), nll.end());
      });
  return result;
}

double apart(const std::vector<double>& a, const std::vector<double>& b) {
  REQUIRE(a.size() == b.size());
  double most = 0;
  for (size_t i = 0; i < a.size(); ++i) most = std::max(most, std::abs(a[i] - b[i]));
  return most;
}

}  // namespace

TEST_CASE("both engines store the same, in any blocks, under every kind of policy") {
  // In float64, where no number is so near to the border of two steps that engines part there.
  const StorageSpec stored[] = {{"q8_0", "q4_0"},          {"q4_0", "q4_0", true},
                                {"int8", "float16"},       {"turboquant3", "native"},
                                {"native", "float8_e4m3"}, {"q4_0", "q8_0", true, true}};
  for (const char* family : {"llama_gqa", "phi3_v5", "mpt", "gemma3"}) {
    const Decoder decoder = Decoder::load(test::data("families") / family, {.dtype = at::kDouble});
    const std::vector<int32_t> ids = test::random_ids(40, decoder.config().vocab_size, 3);
    for (const Case& of : cases) {
      const auto policy = make_policy(of.policy, of.arguments, of.positions);
      for (const StorageSpec& storage : stored) {
        INFO(family << " " << policy->label() << " " << to_string(of.positions) << " "
                    << storage_label(storage));
        try {
          make_method(*policy, decoder.config(), storage)->check(39);
        } catch (const InputError&) {
          continue;  // heads that can't have it, or a window of the model's own
        }
        const std::vector<double> steps = score("stepwise", decoder, *policy, ids, storage);
        CHECK(apart(steps, score("chunked", decoder, *policy, ids, storage)) < 1e-9);
        CHECK(apart(steps, score("chunked", decoder, *policy, ids, storage, 7)) < 1e-9);
        CHECK(apart(steps, score("stepwise", decoder, *policy, ids, {})) > 1e-6);
      }
    }
  }
}

TEST_CASE("the finer the form, the nearer to what isn't quantised") {
  const Decoder decoder = Decoder::load(test::data("../../models/tiny"), {.dtype = at::kDouble});
  const auto policy = make_policy("sinks", {{"sinks", 4}, {"window", 28}});
  const std::vector<int32_t> ids = test::random_ids(160, decoder.config().vocab_size, 3);
  const std::vector<double> exact = score("chunked", decoder, *policy, ids, {});
  double last = 0;
  for (const char* format : {"float16", "q8_0", "q5_1", "q4_1", "turboquant3", "turboquant2"}) {
    const std::vector<double> stored = score("chunked", decoder, *policy, ids, {format, format});
    double sum = 0;
    for (size_t i = 0; i < exact.size(); ++i) sum += std::pow(stored[i] - exact[i], 2);
    INFO(format);
    CHECK(sum > last);
    last = sum;
  }
}

TEST_CASE("bytes by formula are those held") {
  const Decoder decoder = Decoder::load(test::data("../../models/tiny"), {});
  const DecoderConfig& config = decoder.config();
  const std::pair<const char*, int64_t> row_bytes[] = {// of 32 numbers
                                                       {"float16", 64},
                                                       {"q8_0", 34},
                                                       {"q5_1", 24},
                                                       {"q5_0", 22},
                                                       {"q4_1", 20},
                                                       {"q4_0", 18},
                                                       {"int8", 34},
                                                       {"int4", 18},
                                                       {"float8_e4m3", 32},
                                                       {"turboquant3", 14},
                                                       {"turboquant2_wht32", 10}};
  const auto policy = make_policy("sinks", {{"sinks", 4}, {"window", 60}});
  for (const auto& [format, bytes] : row_bytes) {
    INFO(format);
    const auto method = make_method(*policy, config, {format, "native"});
    const int64_t rows = 64 * config.layers * config.kv_heads;
    CHECK(method->kv_bytes(500, 4) == rows * (bytes + 4 * config.head_dim));
    CHECK(method->decoding(decoder)->kv_bytes_held(500) == method->kv_bytes(500, 4));
    const auto both = make_method(*policy, config, {format, format, true});
    CHECK(both->kv_bytes(500, 4) == rows * 2 * bytes);
    CHECK(both->decoding(decoder)->kv_bytes_held(500) == both->kv_bytes(500, 4));
  }
}

TEST_CASE("a cache of quantised numbers can be filled for timings, and its state taken up again") {
  const Decoder decoder = Decoder::load(test::data("families/llama_gqa"), {});
  const std::vector<int32_t> ids = test::random_ids(40, decoder.config().vocab_size, 3);
  for (const char* policy_name : {"dense", "window"}) {
    const auto policy = make_policy(policy_name, policy_name == std::string("dense")
                                                     ? PolicyArguments{}
                                                     : PolicyArguments{{"window", 12}});
    const EngineOptions options = {.storage = {"int8", "float16"}};
    const auto decoding =
        make_method(*policy, decoder.config(), options.storage)->decoding(decoder);
    decoding->fill(std::nullopt, 30, 4);
    for (int i = 0; i < 4; ++i) CHECK(decoding->step(5).isfinite().all().item<bool>());

    for (const char* name : {"stepwise", "chunked"}) {
      auto engine = make_engine(name, decoder, *policy, {.chunk = 10, .storage = options.storage});
      std::vector<double> whole, parts;
      const auto to = [](std::vector<double>& nll) {
        return [&nll](std::span<const double> more) {
          nll.insert(nll.end(), more.begin(), more.end());
        };
      };
      engine->score(ids, to(whole));
      engine->begin(ids);
      while (engine->next() < 20) engine->advance(to(parts));
      std::vector<at::Tensor> state;
      for (const at::Tensor& tensor : engine->state()) state.push_back(tensor.clone());
      const int64_t next = engine->next();
      engine = make_engine(name, decoder, *policy, {.chunk = 10, .storage = options.storage});
      engine->begin(ids);
      engine->resume(next, state);
      while (!engine->done()) engine->advance(to(parts));
      CHECK(parts == whole);
    }
  }
}

TEST_CASE("what has no cache to store, or heads of another size, is refused") {
  const Decoder decoder = Decoder::load(test::data("families/llama_gqa"), {});
  const auto recompute = make_policy("recompute", {{"window", 12}});
  CHECK_THROWS_WITH(make_method(*recompute, decoder.config(), {"q8_0", "q8_0"})->check(30),
                    ContainsSubstring("keeps no cache from one token to the next"));
  CHECK_NOTHROW(make_method(*recompute, decoder.config(), {})->check(30));
}
