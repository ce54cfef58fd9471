#include "eval/storage/codec.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>
#include <random>

#include "base/error.h"
#include "base/file.h"
#include "eval/experiment/storage_spec.h"
#include "tests/catch.h"
#include "tests/data.h"

using namespace sinkbench;

namespace {

std::vector<std::byte> encoded(const Codec& codec, const std::vector<float>& row) {
  std::vector<std::byte> bytes(codec.row_bytes());
  codec.encode(row.data(), bytes.data());
  return bytes;
}

std::vector<float> decoded(const Codec& codec, const std::vector<float>& row) {
  std::vector<float> result(row.size());
  codec.decode(encoded(codec, row).data(), result.data());
  return result;
}

std::string hex(const std::vector<std::byte>& bytes) {
  std::string text;
  for (const std::byte byte : bytes) text += fmt::format("{:02x}", static_cast<int>(byte));
  return text;
}

/// These, and zeros up to so many.
std::vector<float> padded(std::vector<float> row, size_t numbers = 32) {
  row.resize(numbers, 0);
  return row;
}

std::vector<float> normal(int64_t numbers, uint64_t seed) {
  std::mt19937_64 bits(seed);
  std::normal_distribution<float> draw;
  std::vector<float> row(numbers);
  for (float& x : row) x = draw(bits);
  return row;
}

double squares(const std::vector<float>& row) {
  return std::inner_product(row.begin(), row.end(), row.begin(), 0.0);
}

}  // namespace

TEST_CASE("bytes are those of the packages gguf and ml_dtypes") {
  const auto golden = nlohmann::json::parse(read_file(test::data("storage/blocks.json")));
  int rows = 0;
  for (const auto& [name, expected] : golden.at("bytes").items()) {
    const auto codec = make_codec(name, 64);
    for (size_t i = 0; i < expected.size(); ++i) {
      INFO(name << ", row " << i);
      const auto row = golden.at("rows").at(i).get<std::vector<float>>();
      CHECK(hex(encoded(*codec, row)) == expected[i].get<std::string>());
      ++rows;
    }
  }
  CHECK(rows == 8 * 6);
}

TEST_CASE("worked blocks") {
  const auto check = [](const char* format, const std::vector<float>& row,
                        const std::vector<float>& expected) {
    INFO(format);
    const std::vector<float> values = decoded(*make_codec(format, 32), padded(row));
    for (size_t i = 0; i < expected.size(); ++i) {
      CHECK(values[i] == Approx(expected[i]).margin(1e-6));
    }
    for (size_t i = expected.size(); i < values.size(); ++i) CHECK(values[i] == 0);
  };
  check("q8_0", {1, -2, .5F, .3F}, {1.0078125F, -1.9998779F, .50390625F, .29919434F});
  check("q4_0", {1, -2, .5F, .3F}, {1, -2, .5F, .25F});
  check("q4_0", {.7F, -.1F, .25F, 1}, {.75F, -.125F, .25F, 1});
  // One scale for the row: 2 / 127 as float16 .01574707; 2 / 7 as float16 .28564453.
  check("int8", {1, -2, .5F, .3F},
        {64 * .015747070F, -127 * .015747070F, 32 * .015747070F, 19 * .015747070F});
  check("int4", {1, -2, .5F, .3F},
        {4 * .28564453F, -7 * .28564453F, 2 * .28564453F, 1 * .28564453F});
  // Steps of 1/8 from 1 to 2, of 2^-9 below 2^-6; ties to even; 448 is the most.
  check("float8_e4m3", {1.0625F, 1.1875F, -1000, .001953125F, .0009765625F, 448, .3F},
        {1, 1.25F, -448, .001953125F, 0, 448, .3125F});
}

TEST_CASE("KIVI's groups are those of its definition") {
  const auto golden = nlohmann::json::parse(read_file(test::data("storage/blocks.json")));
  for (const auto& [bits, expected] : golden.at("kivi").items()) {
    const auto codec = make_grouped_codec(std::stoi(bits), 16, 64);
    CHECK(codec->row_bytes() == 4 * (4 + 2 * std::stoi(bits)));
    for (size_t i = 0; i < expected.size(); ++i) {
      INFO(bits << " bits, row " << i);
      CHECK(decoded(*codec, golden.at("rows").at(i).get<std::vector<float>>()) ==
            expected[i].get<std::vector<float>>());
    }
  }
  // 10 / 3 as float16 is 3.333984; a group of equals, and one of zeros.
  const auto codec = make_grouped_codec(2, 4, 12);
  CHECK(decoded(*codec, {0, 1, 2, 10, 5, 5, 5, 5, 0, 0, 0, 0}) ==
        std::vector<float>{0, 0, 3.333984375F, 10.001953125F, 5, 5, 5, 5, 0, 0, 0, 0});
}

TEST_CASE("bits of a number, scales included") {
  const auto bits = [](const char* format) {
    return 8.0 * static_cast<double>(make_codec(format, 128)->row_bytes()) / 128;
  };
  CHECK(bits("float16") == 16);
  CHECK(bits("float8_e4m3") == 8);
  CHECK(bits("q8_0") == 8.5);
  CHECK(bits("q5_1") == 6);
  CHECK(bits("q5_0") == 5.5);
  CHECK(bits("q4_1") == 5);
  CHECK(bits("q4_0") == 4.5);
  CHECK(bits("int8") == 8.125);
  CHECK(bits("int4") == 4.125);
  CHECK(bits("turboquant3") == 3.125);
  CHECK(bits("turboquant3_wht32") == 3.5);
}

TEST_CASE("levels are those of Max for normal numbers, where there are many dimensions") {
  // J. Max 1960, Quantizing for Minimum Distortion, table I.
  const std::map<int, std::vector<double>> table = {
      {2, {0.4528, 1.510}},
      {3, {0.2451, 0.7560, 1.344, 2.152}},
      {4, {0.1284, 0.3881, 0.6568, 0.9424, 1.256, 1.618, 2.069, 2.733}}};
  constexpr int64_t n = 100'000;
  for (const auto& [bits, positive] : table) {
    const std::vector<double> levels = sphere_levels(bits, n);
    REQUIRE(levels.size() == 2 * positive.size());
    for (size_t k = 0; k < positive.size(); ++k) {
      CHECK(levels[positive.size() + k] * std::sqrt(n) == Approx(positive[k]).margin(0.002));
      CHECK(levels[positive.size() - 1 - k] == -levels[positive.size() + k]);
    }
  }
}

TEST_CASE("TurboQuant loses what its paper says, of any vector") {
  // Theorem 1 and the text after it: a share of about 0.117, 0.03 and 0.009 of the squared norm.
  const std::map<int, double> loss = {{2, 0.117}, {3, 0.0345}, {4, 0.0095}};
  for (const auto& [bits, expected] : loss) {
    for (const char* rotation : {"", "_wht32"}) {
      const auto codec = make_codec(fmt::format("turboquant{}{}", bits, rotation), 128);
      double lost = 0, all = 0;
      for (uint64_t seed = 0; seed < 200; ++seed) {
        std::vector<float> row = normal(128, seed);
        if (*rotation == '\0')
          row[seed % 128] += 50;  // one large number: that is what rotating is for
        const std::vector<float> back = decoded(*codec, row);
        for (size_t i = 0; i < row.size(); ++i) lost += std::pow(row[i] - back[i], 2);
        all += squares(row);
      }
      INFO(bits << rotation);
      CHECK(lost / all == Approx(expected).epsilon(*rotation == '\0' ? 0.06 : 0.1));
    }
  }
}

TEST_CASE("rotations keep lengths, and come back") {
  std::vector<float> row = normal(64, 1);
  const double before = squares(row);
  std::vector<float> turned = row;
  hadamard(turned.data(), 64);
  CHECK(squares(turned) == Approx(before));
  CHECK(turned[0] == Approx(std::accumulate(row.begin(), row.end(), 0.0) / 8).margin(1e-5));
  hadamard(turned.data(), 64);
  for (size_t i = 0; i < row.size(); ++i) CHECK(turned[i] == Approx(row[i]).margin(1e-5));
  std::vector<float> two = {3, 1};
  hadamard(two.data(), 2);
  CHECK(two[0] == Approx(4 / std::sqrt(2.0)));
  CHECK(two[1] == Approx(2 / std::sqrt(2.0)));
  const int64_t n = 24;
  const std::vector<double> rotation = random_rotation(n);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      double product = 0;
      for (int64_t k = 0; k < n; ++k) product += rotation[i * n + k] * rotation[j * n + k];
      CHECK(product == Approx(i == j ? 1 : 0).margin(1e-12));
    }
  }
  // What one large number spoils in a block is spread by the rotation.
  std::vector<float> outlier = normal(64, 2);
  outlier[7] = 60;
  const auto lost = [&](bool rotate) {
    const std::vector<float> back = decoded(*make_codec("q4_0", 64, rotate ? 64 : 0), outlier);
    double sum = 0;
    for (size_t i = 0; i < back.size(); ++i) sum += std::pow(back[i] - outlier[i], 2);
    return sum;
  };
  CHECK(lost(true) < lost(false));
}

TEST_CASE("every form takes zeros and numbers of any size, and refuses rows that it can't have") {
  for (const std::string& format : storage_formats()) {
    if (format == "native" || format.starts_with("kivi")) continue;  // no form of one row
    INFO(format);
    const auto codec = make_codec(format, 64, 32);
    for (const float x : decoded(*codec, std::vector<float>(64, 0))) CHECK(x == 0);
    for (const float size : {1e-6F, 1.0F, 100.0F}) {
      std::vector<float> row = normal(64, 3);
      for (float& x : row) x *= size;
      for (const float x : decoded(*codec, row)) CHECK(std::isfinite(x));
    }
  }
  CHECK_THROWS_WITH(
      make_codec("q4_0", 80),
      ContainsSubstring("its blocks are of 32 numbers, and the model's heads have 80"));
  CHECK_NOTHROW(make_codec("int8", 80, 16));
  CHECK_THROWS_WITH(make_codec("q3", 64), ContainsSubstring("there is no such form"));
}

TEST_CASE("interleaved rows are those whose halves stand in turns") {
  std::vector<float> row = normal(64, 5), ordered = row;
  for (size_t i = 0; i < 24; ++i) {
    ordered[2 * i] = row[i];
    ordered[2 * i + 1] = row[i + 24];
  }
  const auto codec = interleaved(make_codec("q4_0", 64), 64, 24);
  CHECK(hex(encoded(*codec, row)) == hex(encoded(*make_codec("q4_0", 64), ordered)));
  const std::vector<float> back = decoded(*codec, row),
                           plain = decoded(*make_codec("q4_0", 64), ordered);
  for (size_t i = 0; i < 24; ++i) {
    CHECK(back[i] == plain[2 * i]);
    CHECK(back[i + 24] == plain[2 * i + 1]);
  }
  CHECK(back[60] == plain[60]);
}

TEST_CASE("of rows of 32 numbers, too, the two rotations of TurboQuant are two") {
  const std::vector<float> row = normal(32, 6);
  CHECK(decoded(*make_codec("turboquant3", 32), row) !=
        decoded(*make_codec("turboquant3_wht32", 32), row));
}
