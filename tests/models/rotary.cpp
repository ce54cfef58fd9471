#include "models/rotary.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>

#include "models/family.h"
#include "tests/catch.h"

using namespace sinkbench;

namespace {

RotaryConfig plain(int64_t dims) {
  RotaryConfig config{.dims = dims, .inverse_frequencies = {}};
  for (int64_t i = 0; i < dims; i += 2) {
    config.inverse_frequencies.push_back(std::pow(10000.0, -static_cast<double>(i) / dims));
  }
  return config;
}

/// A model of 16 rotated dimensions, theta 10000, 2048 positions, with this rope_scaling.
RotaryConfig scaled(const nlohmann::json& scaling,
                    const nlohmann::json& changes = nlohmann::json::object()) {
  nlohmann::json config = {{"model_type", "llama"},  {"vocab_size", 8},
                           {"hidden_size", 32},      {"intermediate_size", 8},
                           {"num_hidden_layers", 1}, {"num_attention_heads", 2},
                           {"rope_theta", 10000.0},  {"max_position_embeddings", 2048},
                           {"rope_scaling", scaling}};
  config.merge_patch(changes);
  return read_decoder_config(ConfigReader("config.json", config, "")).rotaries.at(0);
}

/// The unscaled frequency of pair i of 8.
double frequency(int i) {
  return std::pow(10000.0, -i / 8.0);
}

void check_frequencies(const RotaryConfig& config, const std::function<double(int)>& expected) {
  REQUIRE(config.inverse_frequencies.size() == 8);
  for (int i = 0; i < 8; ++i) {
    INFO("pair " << i);
    CHECK(config.inverse_frequencies[i] == Approx(expected(i)).epsilon(1e-12));
  }
}

}  // namespace

TEST_CASE("linear scaling divides every frequency") {
  for (const char* key : {"type", "rope_type"}) {
    const RotaryConfig config = scaled({{key, "linear"}, {"factor", 4.0}});
    check_frequencies(config, [](int i) { return frequency(i) / 4; });
    CHECK(config.limit == 0);
    CHECK(config.scaling == "linear, factor 4");
  }
}

TEST_CASE("dynamic scaling is none up to the original context") {
  const RotaryConfig config = scaled({{"type", "dynamic"}, {"factor", 2.0}});
  check_frequencies(config, frequency);
  CHECK(config.magnitude == 1.0);
  CHECK(config.limit == 2048);
}

TEST_CASE("Llama 3's scaling slows long wavelengths and keeps short ones") {
  const RotaryConfig config = scaled({{"rope_type", "llama3"},
                                      {"factor", 8.0},
                                      {"low_freq_factor", 1.0},
                                      {"high_freq_factor", 4.0},
                                      {"original_max_position_embeddings", 1024}});
  check_frequencies(config, [](int i) {
    const double turns = 1024 * frequency(i) / (2 * M_PI);  // over the original context
    if (turns < 1) return frequency(i) / 8;
    if (turns > 4) return frequency(i);
    const double smooth = (turns - 1) / (4 - 1);
    return (1 - smooth) * frequency(i) / 8 + smooth * frequency(i);
  });
  // All three kinds are there.
  CHECK(config.inverse_frequencies[0] == frequency(0));
  CHECK(config.inverse_frequencies[7] == frequency(7) / 8);
  CHECK(config.inverse_frequencies[4] < frequency(4));
  CHECK(config.inverse_frequencies[4] > frequency(4) / 8);
}

TEST_CASE("YaRN interpolates by parts and scales the products") {
  const auto check = [](const RotaryConfig& config, double original, double low, double high) {
    // The pair that turns r times over the original context is number
    // d ln(original / 2 pi r) / (2 ln theta); d = 16.
    const auto pair_of = [&](double turns) {
      return 16 * std::log(original / (2 * M_PI * turns)) / (2 * std::log(10000.0));
    };
    CHECK(low == std::max(0.0, std::floor(pair_of(32))));
    CHECK(high == std::min(15.0, std::ceil(pair_of(1))));
    check_frequencies(config, [&](int i) {
      const double interpolated = std::clamp((i - low) / (high - low), 0.0, 1.0);
      return interpolated * frequency(i) / 4 + (1 - interpolated) * frequency(i);
    });
  };
  const RotaryConfig plain =
      scaled({{"type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 512}});
  check(plain, 512, 0, 4);
  CHECK(plain.magnitude == Approx(0.1 * std::log(4.0) + 1));
  CHECK(plain.limit == 0);
  // Without the original context, the model's is taken to be it.
  check(scaled({{"type", "yarn"}, {"factor", 4.0}}), 2048, 2, 6);
  CHECK(scaled({{"type", "yarn"}, {"factor", 4.0}, {"attention_factor", 1.5}}).magnitude == 1.5);
  CHECK(scaled({{"type", "yarn"}, {"factor", 4.0}, {"mscale", 2.0}, {"mscale_all_dim", 0.5}})
            .magnitude == Approx((0.2 * std::log(4.0) + 1) / (0.05 * std::log(4.0) + 1)));
}

TEST_CASE("longrope divides each frequency by its short factor, up to the original context") {
  std::vector<double> longs(8, 9.0), shorts = {1, 1.1, 1.2, 1.5, 2, 3, 4, 5};
  const nlohmann::json scaling = {
      {"type", "longrope"}, {"short_factor", shorts}, {"long_factor", longs}};
  // Phi-3 says the original context beside rope_scaling.
  const RotaryConfig config = scaled(scaling, {{"original_max_position_embeddings", 256}});
  check_frequencies(config, [&](int i) { return frequency(i) / shorts[i]; });
  CHECK(config.limit == 256);
  CHECK(config.magnitude == Approx(std::sqrt(1 + std::log(2048.0 / 256) / std::log(256.0))));
  nlohmann::json within = scaling;
  within["original_max_position_embeddings"] = 256;
  CHECK(scaled(within).limit == 256);
}

TEST_CASE("a fraction of each head is rotated") {
  const RotaryConfig config = scaled(nullptr, {{"partial_rotary_factor", 0.75}});
  CHECK(config.dims == 12);
  CHECK(config.inverse_frequencies[1] == Approx(std::pow(10000.0, -2.0 / 12)));
  const RotaryConfig nested =
      scaled(nullptr,
             {{"rope_parameters",
               {{"rope_type", "default"}, {"rope_theta", 500.0}, {"partial_rotary_factor", 0.5}}}});
  CHECK(nested.dims == 8);
  CHECK(nested.theta == 500.0);
}

TEST_CASE("rotation turns pairs of dimensions by position times frequency") {
  const RotaryConfig config = plain(4);  // of 6: the last two stay
  const std::vector<int64_t> positions = {0, 3};
  const at::Tensor x = at::arange(1, 13, at::kDouble).view({2, 1, 6});
  const at::Tensor y = rotate(config, x, rotary_table(config, positions, at::kDouble, at::kCPU));
  CHECK(at::equal(y[0], x[0]));
  for (int i = 0; i < 2; ++i) {
    const double angle = 3.0 * std::pow(10000.0, -i / 2.0);
    const double a = x[1][0][i].item().toDouble(), b = x[1][0][i + 2].item().toDouble();
    CHECK(y[1][0][i].item().toDouble() == Approx(a * std::cos(angle) - b * std::sin(angle)));
    CHECK(y[1][0][i + 2].item().toDouble() == Approx(b * std::cos(angle) + a * std::sin(angle)));
    CHECK(y[1][0][i + 4].item().toDouble() == x[1][0][i + 4].item().toDouble());
  }
}

TEST_CASE("the four-millionth token is as exact as the fourth") {
  const RotaryConfig config = plain(64);
  at::manual_seed(1);
  const at::Tensor query = at::randn({1, 1, 64}), key = at::randn({1, 1, 64});
  const auto product = [&](int64_t place, at::ScalarType dtype) {
    const auto at_place = [&](const at::Tensor& x, int64_t position) {
      const std::vector<int64_t> positions = {position};
      return rotate(config, x.to(dtype), rotary_table(config, positions, dtype, at::kCPU));
    };
    return (at_place(query, place + 100) * at_place(key, place)).sum().item().toDouble();
  };
  const double exact = product(0, at::kDouble);
  for (const int64_t place : {4, 4'000'000, 400'000'000}) {
    CHECK(std::abs(product(place, at::kFloat) - exact) < 1e-5);
  }
}
