// Every width against the same lane by lane in float64, on a machine that has its instructions.
#include "base/simd.h"

#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "tests/catch.h"

#pragma GCC diagnostic ignored "-Wpsabi"

using namespace sinkbench;

namespace {

template <typename T>
T stored(float x) {
  T result;
  simd::store_one(&result, x);
  return result;
}

/// Rows of n numbers times a vector of as many, and what the first lanes of each sum to.
template <int bytes, typename T>
SINKBENCH_INLINE void dot_rows(const T* a, const float* b, int64_t n, int64_t count, float* y) {
  std::vector<float> ordered(n);
  simd::in_order_of_two<bytes, T>(n, [&](int64_t i, int64_t j) { ordered[i] = b[j]; });
  simd::dot_rows<bytes, 64>(a, ordered.data(), n, count, [&](int64_t i, auto sums) {
    if constexpr (std::is_same_v<decltype(sums), float>) {
      y[i] = sums;
    } else {
      simd::store<bytes>(y + i, sums);
    }
  });
}

/// exp, and the sum and the largest of a vector.
template <int bytes>
SINKBENCH_INLINE void of_vector(const float* x, float* exponentials, float& sum, float& largest) {
  const auto v = simd::load<bytes>(x);
  simd::store<bytes>(exponentials, simd::exp<bytes>(v));
  sum = simd::sum<bytes>(v);
  largest = simd::largest<bytes>(v);
}

template <int bytes>
struct Width;
template <>
struct Width<16> {
  static bool is_there() { return true; }
  template <typename T>
  static void rows(const T* a, const float* b, int64_t n, int64_t count, float* y) {
    dot_rows<16>(a, b, n, count, y);
  }
  static void vector(const float* x, float* e, float& sum, float& largest) {
    of_vector<16>(x, e, sum, largest);
  }
};
#if defined(__x86_64__)
template <>
struct Width<32> {
  static bool is_there() { return simd::level() >= simd::Level::avx2; }
  template <typename T>
  SINKBENCH_AVX2 static void rows(const T* a, const float* b, int64_t n, int64_t count, float* y) {
    dot_rows<32>(a, b, n, count, y);
  }
  SINKBENCH_AVX2 static void vector(const float* x, float* e, float& sum, float& largest) {
    of_vector<32>(x, e, sum, largest);
  }
};
template <>
struct Width<64> {
  static bool is_there() { return simd::level() >= simd::Level::avx512; }
  template <typename T>
  SINKBENCH_AVX512 static void rows(const T* a, const float* b, int64_t n, int64_t count,
                                    float* y) {
    dot_rows<64>(a, b, n, count, y);
  }
  SINKBENCH_AVX512 static void vector(const float* x, float* e, float& sum, float& largest) {
    of_vector<64>(x, e, sum, largest);
  }
};
#endif

template <int bytes, typename T>
void check_rows() {
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  for (const int64_t n : {1, 7, 16, 31, 32, 33, 63, 64, 80, 96, 128, 129, 576}) {
    for (const int64_t count : {1, 3, 4, 8, 16, 19, 40}) {
      std::vector<T> a(n * count);
      std::vector<float> b(n), y(count), alone(1);
      for (T& x : a) x = stored<T>(normal(random));
      for (float& x : b) x = normal(random);
      Width<bytes>::rows(a.data(), b.data(), n, count, y.data());
      for (int64_t i = 0; i < count; ++i) {
        double exact = 0, size = 0;
        for (int64_t j = 0; j < n; ++j) {
          const double product = static_cast<double>(simd::as_float(a[i * n + j])) * b[j];
          exact += product;
          size += std::abs(product);
        }
        REQUIRE(std::abs(y[i] - exact) <= 1e-6 * size);
        // To the bit, whichever rows are beside it.
        Width<bytes>::rows(a.data() + i * n, b.data(), n, 1, alone.data());
        REQUIRE(std::bit_cast<uint32_t>(alone[0]) == std::bit_cast<uint32_t>(y[i]));
      }
    }
  }
}

template <int bytes>
void check_vectors() {
  constexpr int width = bytes / sizeof(float);
  constexpr float infinity = std::numeric_limits<float>::infinity();
  float x[width], e[width], sum, largest;
  for (int start = 0; start < 40000; ++start) {
    double exact_sum = 0;
    float exact_largest = -infinity;
    for (int i = 0; i < width; ++i) {
      x[i] = -87.0f * static_cast<float>((start * 7919 + i * 104729) % 40001) / 40000.0f;
      exact_sum += x[i];
      exact_largest = std::max(exact_largest, x[i]);
    }
    Width<bytes>::vector(x, e, sum, largest);
    REQUIRE(std::abs(sum - exact_sum) <= 1e-6 * std::abs(exact_sum));
    REQUIRE(largest == exact_largest);
    for (int i = 0; i < width; ++i) {
      const double exact = std::exp(static_cast<double>(x[i]));
      REQUIRE(std::abs(e[i] - exact) <= 1e-7 * exact);
    }
  }
  for (const float low : {-87.01f, -1e30f, -std::numeric_limits<float>::max(), -infinity}) {
    std::fill(x, x + width, low);
    Width<bytes>::vector(x, e, sum, largest);
    for (int i = 0; i < width; ++i) REQUIRE(e[i] == 0.0f);
  }
  // Whatever is in a NaN's lower bits.
  for (const char* payload : {"", "1", "511", "4194303"}) {
    std::fill(x, x + width, std::nanf(payload));
    Width<bytes>::vector(x, e, sum, largest);
    for (int i = 0; i < width; ++i) REQUIRE(std::isnan(e[i]));
    REQUIRE(std::isnan(sum));
  }
}

template <int bytes>
void check() {
  if (!Width<bytes>::is_there()) return;
  check_rows<bytes, float>();
  check_rows<bytes, uint16_t>();
  check_vectors<bytes>();
}

}  // namespace

TEST_CASE("vectors of every width have products, sums, largest numbers and exponentials right") {
  check<16>();
#if defined(__x86_64__)
  check<32>();
  check<64>();
#endif
}
