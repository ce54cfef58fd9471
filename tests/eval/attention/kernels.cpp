// The CPU kernels against plain tensor operations.
#include <ATen/ATen.h>

#include <random>

#include "eval/attention/attention.h"
#include "eval/attention/attention_kernel.h"
#include "tests/catch.h"

using namespace sinkbench;

namespace {

double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item().toDouble();
}

/// Random ranges on the terms of the interface: first and last never decrease, and every query sees
/// at least one key of the last range.
AttentionInput random_input(std::mt19937& random, int64_t ranges, int64_t n, int64_t heads,
                            int64_t kv_heads, int64_t head_dim) {
  const auto below = [&](int64_t bound) {
    return std::uniform_int_distribution<int64_t>(0, bound - 1)(random);
  };
  const int64_t each = 1 + below(300);  // keys that belong to one range
  const int64_t keys = ranges * each;
  AttentionInput input;
  input.keys = at::randn({kv_heads, keys + 5, head_dim}).narrow(1, 0, keys);    // room behind, as a
  input.values = at::randn({kv_heads, keys + 5, head_dim}).narrow(1, 0, keys);  // cache has
  input.scale = 0.3;
  for (int64_t r = 0; r < ranges; ++r) {
    RangeView range;
    range.query = at::randn({heads, n, head_dim});
    int64_t first = 0, last = r + 1 == ranges ? 1 : 0;
    for (int64_t i = 0; i < n; ++i) {
      last = std::min(each, last + below(3));
      first =
          std::min(std::max<int64_t>(first, below(last + 1)), r + 1 == ranges ? last - 1 : last);
      range.first.push_back(r * each + first);
      range.last.push_back(r * each + last);
    }
    input.ranges.push_back(std::move(range));
  }
  return input;
}

}  // namespace

TEST_CASE("attention in tiles equals masked attention, whatever the shapes and ranges") {
  at::manual_seed(7);
  std::mt19937 random(7);
  struct Shape {
    int64_t heads, kv_heads, head_dim;
  };
  for (const Shape& shape :
       {Shape{1, 1, 8}, Shape{4, 2, 12}, Shape{8, 1, 32}, Shape{3, 3, 80}, Shape{2, 2, 128}}) {
    for (const int64_t n : {1, 7, 8, 33, 200}) {
      for (int64_t ranges = 1; ranges <= 3; ++ranges) {
        AttentionInput input =
            random_input(random, ranges, n, shape.heads, shape.kv_heads, shape.head_dim);
        INFO(shape.heads << " heads of " << shape.head_dim << ", " << n << " queries, " << ranges
                         << " ranges, " << input.keys.size(1) << " keys");
        CHECK(largest_difference(attend(input), attend_in_tensors(input)) < 2e-5);

        input.sink_logit = at::randn({shape.heads});
        CHECK(largest_difference(attend(input), attend_in_tensors(input)) < 2e-5);

        const AlibiConfig alibi{.slopes = alibi_slopes(shape.heads)};
        const AlibiTable table(alibi, 2 * input.keys.size(1) + 1, at::kFloat, at::kCPU);
        input.bias = &table;
        for (RangeView& range : input.ranges) {
          for (int64_t i = 0; i < n; ++i) range.column.push_back(i % input.keys.size(1));
        }
        CHECK(largest_difference(attend(input), attend_in_tensors(input)) < 2e-5);
        CHECK(largest_difference(attend_in_tensors(input, 700), attend_in_tensors(input)) < 2e-5);
      }
    }
  }
}

TEST_CASE("attention over scattered entries equals masked attention, whatever the spans") {
  at::manual_seed(8);
  std::mt19937 random(8);
  const auto below = [&](int64_t bound) {
    return std::uniform_int_distribution<int64_t>(0, bound - 1)(random);
  };
  struct Shape {
    int64_t heads, kv_heads, head_dim, rotated;
  };
  for (const Shape& shape : {Shape{1, 1, 8, 8}, Shape{4, 2, 12, 6}, Shape{9, 3, 64, 64}}) {
    for (const int64_t n : {1, 9, 70}) {
      AttentionInput input =
          random_input(random, 1, n, shape.heads, shape.kv_heads, shape.head_dim);
      const int64_t keys = input.keys.size(1);
      const RotaryConfig rotary{.dims = shape.rotated,
                                .inverse_frequencies = std::vector<double>(shape.rotated / 2, 0.3)};
      ScatteredView& view = input.scattered;
      view.query = at::randn({shape.heads, n, shape.head_dim});
      view.keys = at::randn({shape.kv_heads, keys + 5, shape.head_dim}).narrow(1, 0, keys);
      std::vector<int64_t> ranks;
      for (int64_t begin = 0; begin < n;) {
        const int64_t end = begin + 1 + below(n - begin);
        view.spans.push_back({.begin = begin, .end = end, .entries = {}});
        for (int64_t key = below(3); key < keys; key += 1 + below(5)) {
          view.spans.back().entries.push_back(key);
        }
        begin = end;
      }
      for (int64_t rank = 0; rank < keys; ++rank) ranks.push_back(rank);
      const auto check = [&] {
        INFO(shape.heads << " heads of " << shape.head_dim << ", " << n << " queries, " << keys
                         << " keys, " << view.spans.size() << " spans");
        const at::Tensor expected = attend_in_tensors(input);
        CHECK(largest_difference(attend(input), expected) < 4e-5);
        CHECK(largest_difference(attend_in_tensors(input, 700), expected) < 4e-5);
        return expected;
      };
      // By the definition: query by query, the entries and the range as one set of keys.
      const at::Tensor plain = check();
      for (const ScatteredView::Span& span : view.spans) {
        const int64_t q = span.end - 1, m = static_cast<int64_t>(span.entries.size());
        const int64_t first = input.ranges[0].first[q], seen = input.ranges[0].last[q] - first;
        for (int64_t head = 0; head < shape.heads; ++head) {
          const int64_t kv = head / (shape.heads / shape.kv_heads);
          const at::Tensor index = at::tensor(span.entries, at::kLong);
          const at::Tensor scores = at::cat(
              {at::matmul(view.keys[kv].index_select(0, index), view.query[head][q]),
               at::matmul(input.keys[kv].narrow(0, first, seen), input.ranges[0].query[head][q])});
          const at::Tensor values = at::cat(
              {input.values[kv].index_select(0, index), input.values[kv].narrow(0, first, seen)});
          const at::Tensor out = at::matmul(at::softmax(scores * input.scale, 0), values);
          CHECK(largest_difference(plain[q].narrow(0, head * shape.head_dim, shape.head_dim), out) <
                2e-5);
        }
        CHECK(m <= keys);
      }
      view.rotary = &rotary;
      view.table = rotary_table(rotary, ranks, at::kFloat, at::kCPU);
      check();
      const AlibiTable table({.slopes = alibi_slopes(shape.heads)}, 3 * keys + 1, at::kFloat,
                             at::kCPU);
      input.bias = &table;
      for (int64_t i = 0; i < n; ++i) {
        input.ranges[0].column.push_back(i % keys);
        view.column.push_back((5 * i) % keys);
      }
      check();
      for (int64_t key = 0; key < keys; ++key) view.place.push_back(2 * key);
      check();
    }
  }
}

TEST_CASE("scores far apart neither overflow nor vanish") {
  AttentionInput input;
  input.keys = at::zeros({1, 300, 8});
  input.keys.select(1, 0).fill_(100.0f);  // score 800 against 0 and -800
  input.keys.select(1, 299).fill_(-100.0f);
  input.values = at::randn({1, 300, 8});
  input.ranges = {{.query = at::ones({1, 1, 8}), .first = {0}, .last = {300}, .column = {}}};
  CHECK(largest_difference(attend(input), input.values.select(1, 0)) < 1e-6);
}

TEST_CASE("exp is exact to float32's last digits where softmax uses it") {
  // Through the kernel: two keys whose scores differ by x have weights 1/(1+e^-x), e^-x/(1+e^-x).
  for (double x = 0.0; x < 80.0; x += 0.37) {
    AttentionInput input;
    input.keys = at::zeros({1, 2, 1});
    input.keys[0][1][0] = -x;
    input.values = at::tensor({1.0f, 0.0f}).view({1, 2, 1});
    input.ranges = {{.query = at::ones({1, 1, 1}), .first = {0}, .last = {2}, .column = {}}};
    const double weight = attend(input).item().toDouble();
    const double expected = 1.0 / (1.0 + std::exp(-static_cast<double>(static_cast<float>(x))));
    CHECK(std::abs(weight - expected) < 2e-7);
  }
}
