// Matrices in their file's form: against their decoded numbers, which tests/models/gguf.cpp
// compares with ggml's own.
#include "models/stored_matrix.h"

#include <ATen/ATen.h>

#include <cmath>
#include <cstring>
#include <random>

#include "models/checkpoint.h"
#include "models/ggml_blocks.h"
#include "models/ggml_dot.h"
#include "tests/catch.h"

using namespace sinkbench;

namespace {

/// Random blocks; halves and floats in them are finite and not large.
std::vector<std::byte> random_blocks(const GgmlType& type, int64_t numbers,
                                     std::mt19937& generator) {
  std::vector<std::byte> bytes(numbers / type.numbers * type.bytes);
  for (std::byte& b : bytes) b = static_cast<std::byte>(generator() % 60);
  return bytes;
}

struct Random {
  std::vector<std::byte> memory;
  StoredMatrix::Part part;
};

std::unique_ptr<Random> random_part(const GgmlType& type, int64_t rows, int64_t columns,
                                    int64_t groups, std::mt19937& generator) {
  auto made = std::make_unique<Random>();
  made->memory = random_blocks(type, rows * columns, generator);
  made->part = {.type = &type, .numbers = made->memory, .rows = rows, .groups = groups};
  return made;
}

at::Tensor product(const at::Tensor& x, const at::Tensor& weight) {
  return at::linear(x.to(at::kDouble), weight.to(at::kDouble));
}

/// Of what is summed, row by row.
at::Tensor sizes(const at::Tensor& x, const at::Tensor& weight) {
  return product(x.abs(), weight.abs());
}

}  // namespace

TEST_CASE("products with stored blocks are those with the decoded numbers, for every type") {
  std::mt19937 generator(1);
  at::manual_seed(1);
  size_t types = 0;
  for (const GgmlType& type : ggml_types()) {
    if (!can_decode(type)) continue;
    ++types;
    INFO(type.name);
    for (const int64_t columns : {256, 768, 261}) {
      if (columns % type.numbers != 0) continue;
      const auto held = random_part(type, 5, columns, 0, generator);
      const StoredMatrix matrix({held->part}, columns);
      const at::Tensor weight = matrix.decode(at::kFloat);
      CHECK(matrix.bytes() == static_cast<int64_t>(held->memory.size()));
      CHECK(at::equal(matrix.decode(at::kDouble), weight.to(at::kDouble)));
      CHECK(at::equal(matrix.decode(at::kBFloat16), weight.to(at::kBFloat16)));
      CHECK(at::equal(matrix.decode(at::kHalf), weight.to(at::kHalf)));
      for (const int64_t n : {1, 3, 4, 20}) {
        const at::Tensor x = at::randn({n, columns}), bias = at::randn({5});
        const at::Tensor scale = sizes(x, weight) + bias.abs();
        const auto worst = [&](const at::Tensor& y) {
          return ((y - product(x, weight) - bias).abs() / scale).max().item<double>();
        };
        CHECK(worst(matrix.product(x, bias)) < 1e-6);
        CHECK(worst(matrix.product(x.to(at::kDouble), bias.to(at::kDouble))) < 1e-13);
      }
      // In bfloat16 few rows keep the weights exact; what is rounded is the result, and of many
      // rows the weights.
      const at::Tensor one = at::randn({1, columns}).to(at::kBFloat16);
      const at::Tensor off = (matrix.product(one, {}).to(at::kDouble) - product(one, weight)).abs();
      CHECK((off - product(one, weight).abs() / 256).max().item<double>() <
            1e-6 * sizes(one, weight).max().item<double>());
      const at::Tensor many = at::randn({9, columns}).to(at::kBFloat16);
      const at::Tensor rounded = product(many, weight.to(at::kBFloat16));
      CHECK(((matrix.product(many, {}).to(at::kDouble) - rounded).abs() - rounded.abs() / 128)
                .max()
                .item<double>() < 1e-6 * sizes(many, weight).max().item<double>());
    }
  }
  CHECK(types == 18);
}

TEST_CASE("dot products by a processor's own instructions are those by vectors") {
  std::mt19937 generator(5);
  std::uniform_real_distribution<float> uniform(-1, 1);
  constexpr int64_t n = 512, rows = 11;
  std::vector<const GgmlType*> types = {nullptr};  // MXFP4 with its powers apart
  for (const GgmlType& type : ggml_types()) {
    if (can_decode(type)) types.push_back(&type);
  }
  for (const GgmlType* type : types) {
    INFO((type != nullptr ? type->name : "MXFP4 apart"));
    const int64_t row_bytes = type != nullptr ? n / type->numbers * type->bytes : n / 2;
    std::vector<std::byte> blocks(rows * row_bytes), powers(rows * n / 32);
    for (std::byte& b : blocks) b = static_cast<std::byte>(generator() % 60);
    for (std::byte& p : powers) p = static_cast<std::byte>(120 + generator() % 12);
    std::vector<StoredRow> row;
    for (int64_t i = 0; i < rows; ++i) {
      row.push_back({type, blocks.data() + i * row_bytes, powers.data() + i * n / 32});
    }
    for (const bool bfloat16 : {true, false}) {
      std::vector<float> x(n);
      for (float& number : x) {
        number = uniform(generator);
        if (bfloat16) number = static_cast<float>(c10::BFloat16(number));
      }
      const DotOperand operand(x);
      CHECK(operand.parts == (bfloat16 ? 1 : 3));
      std::vector<float> y(rows), expected(rows), weights(n);
      dot_rows(row, operand, y.data());
      plain::dot_rows(row, operand, expected.data());
      for (int64_t i = 0; i < rows; ++i) {
        if (type != nullptr) {
          decode_blocks(*type, row[i].numbers, n, weights.data());
        } else {
          decode_mxfp4(row[i].numbers, row[i].powers, n, weights.data());
        }
        double exact = 0, size = 0;
        for (int64_t k = 0; k < n; ++k) {
          exact += static_cast<double>(weights[k]) * x[k];
          size += std::abs(static_cast<double>(weights[k]) * x[k]);
        }
        CHECK(std::abs(y[i] - exact) < 3e-7 * size);
        CHECK(std::abs(expected[i] - exact) < 3e-7 * size);
      }
    }
  }
}

TEST_CASE("rows of several tensors, in turns or not, whole or in part") {
  std::mt19937 generator(2);
  const GgmlType& q8 = *find_ggml_type(GgmlType::q8_0);
  const GgmlType& q4 = *find_ggml_type(GgmlType::q4_0);
  const auto first = random_part(q8, 12, 64, 2, generator);  // two heads of six rows
  const auto second = random_part(q4, 3, 64, 0, generator);
  const StoredMatrix matrix({first->part, second->part}, 64);
  const at::Tensor stored =
      StoredMatrix({{.type = &q8, .numbers = first->memory, .rows = 12}}, 64).decode(at::kFloat);
  const at::Tensor expected = at::cat({stored.view({2, 3, 2, 64}).transpose(1, 2).reshape({12, 64}),
                                       StoredMatrix({second->part}, 64).decode(at::kFloat)});
  CHECK(at::equal(matrix.decode(at::kFloat), expected));
  CHECK(at::equal(matrix.narrow(4, 9).narrow(1, 7).decode(at::kFloat), expected.narrow(0, 5, 7)));
  const at::Tensor ids = at::tensor({14, 0, 3, 3}, at::kLong);
  CHECK(at::equal(matrix.look_up(ids, at::kFloat), expected.index_select(0, ids)));
  CHECK(at::equal(matrix.narrow(2, 5).look_up(at::tensor({4}, at::kLong), at::kFloat)[0],
                  expected[6]));
  const at::Tensor x = at::randn({1, 64});
  CHECK(at::allclose(matrix.narrow(10, 5).product(x, {}), at::linear(x, expected.narrow(0, 10, 5)),
                     1e-5, 1e-3));
  // Wider than what is decoded at once.
  const auto wide = random_part(q4, 70000, 64, 0, generator);
  const StoredMatrix large({wide->part}, 64);
  const at::Tensor many = at::randn({5, 64});
  CHECK(at::allclose(large.product(many, {}), at::linear(many, large.decode(at::kFloat)), 1e-5,
                     1e-3));
}

TEST_CASE("the first matrices that a cache has room for stay decoded") {
  std::mt19937 generator(3);
  const GgmlType& type = *find_ggml_type(GgmlType::q4_k);
  const auto cache = make_decoded_cache(3 * 4 * 256 * 4);
  const auto a = random_part(type, 4, 256, 0, generator),
             b = random_part(type, 12, 256, 0, generator),
             c = random_part(type, 8, 256, 0, generator);
  const StoredMatrix small({a->part}, 256, cache), large({b->part}, 256, cache),
      last({c->part}, 256, cache);
  const auto address = [](const StoredMatrix& matrix) {
    return matrix.decode(at::kFloat).data_ptr();
  };
  const at::Tensor kept = small.decode(at::kFloat);
  CHECK(small.decode(at::kFloat).is_alias_of(kept));
  CHECK(small.narrow(1, 2).decode(at::kFloat).is_alias_of(kept));
  CHECK_FALSE(small.decode(at::kDouble).is_alias_of(kept));
  const at::Tensor unkept = large.decode(at::kFloat);  // there is no room for it
  CHECK_FALSE(large.decode(at::kFloat).is_alias_of(unkept));
  CHECK(address(last) == address(last));
  CHECK(at::equal(large.decode(at::kFloat), unkept));
}

TEST_CASE("MXFP4 with its powers apart is what the format says") {
  std::mt19937 generator(4);
  const int64_t rows = 4, columns = 96;
  std::vector<std::byte> numbers(rows * columns / 2), powers(rows * columns / 32);
  for (std::byte& b : numbers) b = static_cast<std::byte>(generator());
  for (std::byte& p : powers) p = static_cast<std::byte>(110 + generator() % 30);
  powers[0] = std::byte{0};  // numbers below the smallest normal one
  const StoredMatrix matrix({{.numbers = numbers, .powers = powers, .rows = rows}}, columns);
  const at::Tensor decoded = matrix.decode(at::kFloat);
  const double sizes[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
  for (int64_t i = 0; i < rows * columns; ++i) {
    const int bits = static_cast<int>(numbers[i / 2]) >> (i % 2 * 4) & 15;
    const double expected = std::ldexp((bits & 8) != 0 ? -sizes[bits & 7] : sizes[bits & 7],
                                       static_cast<int>(powers[i / 32]) - 127);
    REQUIRE(decoded.view({-1})[i].item<float>() == static_cast<float>(expected));
  }
  const at::Tensor x = at::randn({1, columns});
  CHECK(at::allclose(matrix.product(x, {}), at::linear(x, decoded), 1e-5, 1e-3));
  CHECK(matrix.bytes() == rows * (columns / 2 + columns / 32));
  powers[5] = std::byte{255};
  CHECK(at::isnan(matrix.decode(at::kFloat)).sum().item<int64_t>() == 32);
}

TEST_CASE("random experts in MXFP4 have whole blocks, and hold what they say") {
  RandomWeights source(1, at::kFloat, at::kCPU, {.as_stored = true});
  const std::vector<Linear> experts = source.get_mxfp4("a", {2, 6, 64}, true);
  REQUIRE(experts.size() == 2);
  const at::Tensor numbers = experts[1].stored.decode(at::kFloat);
  CHECK(numbers.sizes() == at::IntArrayRef{6, 64});
  CHECK(std::abs(numbers.std().item<double>() - 0.02) < 0.01);
  CHECK_FALSE(at::equal(numbers, experts[0].stored.decode(at::kFloat)));
  CHECK_THROWS_WITH(source.get_mxfp4("a", {2, 6, 48}, false),
                    ContainsSubstring("tensor a has rows of 48; blocks of MXFP4 are of 32"));
}
