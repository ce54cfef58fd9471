// Vectors of floats through GCC's and Clang's vector extensions, for kernels that are compiled
// once per instruction set. Everything here is inlined into a function that names its target.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#define SINKBENCH_INLINE inline __attribute__((always_inline))

namespace sinkbench::simd {

// Wider than the baseline's registers on purpose; never passed across a call.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"

template <int bytes>
struct Vector;
template <>
struct Vector<16> {
  typedef float Float __attribute__((vector_size(16)));
  typedef double Double __attribute__((vector_size(16)));
  typedef int32_t Int __attribute__((vector_size(16)));
  typedef uint32_t Word __attribute__((vector_size(16)));
  typedef uint16_t Half __attribute__((vector_size(8)));
};
template <>
struct Vector<32> {
  typedef float Float __attribute__((vector_size(32)));
  typedef double Double __attribute__((vector_size(32)));
  typedef int32_t Int __attribute__((vector_size(32)));
  typedef uint32_t Word __attribute__((vector_size(32)));
  typedef uint16_t Half __attribute__((vector_size(16)));
};
template <>
struct Vector<64> {
  typedef float Float __attribute__((vector_size(64)));
  typedef double Double __attribute__((vector_size(64)));
  typedef int32_t Int __attribute__((vector_size(64)));
  typedef uint32_t Word __attribute__((vector_size(64)));
  typedef uint16_t Half __attribute__((vector_size(32)));
};

template <int bytes>
using Float = typename Vector<bytes>::Float;
template <int bytes>
using Int = typename Vector<bytes>::Int;
template <int bytes>
using Double = typename Vector<bytes>::Double;

template <int bytes>
SINKBENCH_INLINE Float<bytes> load(const float* p) {
  Float<bytes> v;
  std::memcpy(&v, p, bytes);
  return v;
}
template <int bytes>
SINKBENCH_INLINE Double<bytes> load(const double* p) {
  Double<bytes> v;
  std::memcpy(&v, p, bytes);
  return v;
}
template <int bytes>
SINKBENCH_INLINE Int<bytes> load(const int32_t* p) {
  Int<bytes> v;
  std::memcpy(&v, p, bytes);
  return v;
}

template <int bytes>
SINKBENCH_INLINE void store(float* p, Float<bytes> v) {
  std::memcpy(p, &v, bytes);
}
template <int bytes>
SINKBENCH_INLINE void store(double* p, Double<bytes> v) {
  std::memcpy(p, &v, bytes);
}

// The one instruction that GCC 12 makes six to ten of; it has none but the vector's own target.
#if defined(__x86_64__) && !defined(__clang__)
#define SINKBENCH_CONVERT(instruction, narrow, wide) \
  asm(instruction " %1, %0" : "=v"(wide) : "m"(narrow))
#else
#define SINKBENCH_CONVERT(instruction, narrow, wide) \
  wide = __builtin_convertvector(narrow, std::remove_cvref_t<decltype(wide)>)
#endif

/// Loads bytes / 4 numbers stored as float or as bfloat16 (its upper half of a float).
template <int bytes>
SINKBENCH_INLINE Float<bytes> load_as_float(const float* p) {
  return load<bytes>(p);
}
template <int bytes>
SINKBENCH_INLINE Float<bytes> load_as_float(const uint16_t* p) {
  using Half = typename Vector<bytes>::Half;
  using Word = typename Vector<bytes>::Word;
  Half half;
  std::memcpy(&half, p, sizeof half);
  Word word;
  if constexpr (bytes == 16) {
    word = __builtin_convertvector(half, Word);
  } else {
    SINKBENCH_CONVERT("vpmovzxwd", half, word);
  }
  word <<= 16;
  Float<bytes> v;
  std::memcpy(&v, &word, bytes);
  return v;
}
SINKBENCH_INLINE float as_float(float x) {
  return x;
}
SINKBENCH_INLINE float as_float(uint16_t x) {
  const uint32_t word = uint32_t{x} << 16;
  float v;
  std::memcpy(&v, &word, sizeof v);
  return v;
}

/// Stores as float, or as bfloat16: rounded to the nearest, to even at halves; NaN stays one.
template <int bytes>
SINKBENCH_INLINE void store_rounded(float* p, Float<bytes> v) {
  store<bytes>(p, v);
}
template <int bytes>
SINKBENCH_INLINE void store_rounded(uint16_t* p, Float<bytes> v) {
  using Half = typename Vector<bytes>::Half;
  using Word = typename Vector<bytes>::Word;
  Word word;
  std::memcpy(&word, &v, bytes);
  const Word rounded = (word + 0x7fff + ((word >> 16) & 1)) >> 16;
  const Half half = __builtin_convertvector(v == v ? rounded : 0x7fc0 + Word{}, Half);
  std::memcpy(p, &half, sizeof half);
}
SINKBENCH_INLINE void store_one(float* p, float x) {
  *p = x;
}
SINKBENCH_INLINE void store_one(uint16_t* p, float x) {
  uint32_t word;
  std::memcpy(&word, &x, sizeof word);
  *p = static_cast<uint16_t>(x == x ? (word + 0x7fff + ((word >> 16) & 1)) >> 16 : 0x7fc0);
}

/// The upper half of a vector.
template <int bytes>
SINKBENCH_INLINE Float<bytes / 2> upper(Float<bytes> v) {
  Float<bytes / 2> half;
  std::memcpy(&half, reinterpret_cast<const char*>(&v) + bytes / 2, bytes / 2);
  return half;
}
template <int bytes>
SINKBENCH_INLINE Float<bytes / 2> lower(Float<bytes> v) {
  Float<bytes / 2> half;
  std::memcpy(&half, &v, bytes / 2);
  return half;
}

// By halves: lane after lane would wait for each operation.
template <int bytes>
SINKBENCH_INLINE float sum(Float<bytes> v) {
  if constexpr (bytes == 16) {
    return (v[0] + v[2]) + (v[1] + v[3]);
  } else {
    return sum<bytes / 2>(lower<bytes>(v) + upper<bytes>(v));
  }
}
template <int bytes>
SINKBENCH_INLINE float largest(Float<bytes> v) {
  if constexpr (bytes == 16) {
    const float a = v[0] > v[2] ? v[0] : v[2], b = v[1] > v[3] ? v[1] : v[3];
    return a > b ? a : b;
  } else {
    const Float<bytes / 2> a = lower<bytes>(v), b = upper<bytes>(v);
    return largest<bytes / 2>(a > b ? a : b);
  }
}

/// Two vectors of numbers in the order in which they are had with the least work: of floats one
/// vector and then the next, of bfloat16, the upper halves of floats, those at even places and then
/// those at odd ones.
template <int bytes>
struct Two {
  Float<bytes> first, second;
};
template <int bytes>
SINKBENCH_INLINE Two<bytes> load_two(const float* p) {
  return {load<bytes>(p), load<bytes>(p + bytes / 4)};
}
template <int bytes>
SINKBENCH_INLINE Two<bytes> load_two(const uint16_t* p) {
  using Word = typename Vector<bytes>::Word;
  Word pairs;
  std::memcpy(&pairs, p, bytes);
  const Word even = pairs << 16, odd = pairs & 0xffff0000;
  Two<bytes> two;
  std::memcpy(&two.first, &even, bytes);
  std::memcpy(&two.second, &odd, bytes);
  return two;
}

/// Calls f(i, j) for the place i that load_two<bytes>(const T*) gives to the number at j; what is
/// left of n after whole pairs of vectors keeps its place.
template <int bytes, typename T, typename F>
SINKBENCH_INLINE void in_order_of_two(int64_t n, const F& f) {
  constexpr int64_t width = bytes / 4;
  int64_t i = 0;
  if constexpr (sizeof(T) == 2) {
    for (; i + 2 * width <= n; i += 2 * width) {
      for (int64_t lane = 0; lane < width; ++lane) {
        f(i + lane, i + 2 * lane);
        f(i + width + lane, i + 2 * lane + 1);
      }
    }
  }
  for (; i < n; ++i) f(i, i);
}

/// The sums of `bytes / 4` vectors' lanes, each added up as sum() does.
template <int bytes, int half = bytes / 8>
SINKBENCH_INLINE Float<bytes> sums(Float<bytes>* v) {
  constexpr int n = bytes / 4;
  if constexpr (half == 0) {
    return v[0];
  } else {
    // Lanes with the bit `half` are of v[i + half], the others of v[i]: what is there, and what
    // is in the lane that differs in that bit.
    const auto join =
        []<int... lane>(Float<bytes> a, Float<bytes> b, std::integer_sequence<int, lane...>)
            __attribute__((always_inline)) {
      return __builtin_shufflevector(a, b, ((lane & half) ? n + lane : lane)...) +
             __builtin_shufflevector(a, b, ((lane & half) ? n + lane - half : lane + half)...);
    };
    for (int i = 0; i < half; ++i) {
      v[i] = join(v[i], v[i + half], std::make_integer_sequence<int, n>());
    }
    return sums<bytes, half / 2>(v);
  }
}

/// Fetches `size` bytes that lie so many after p; they need not exist. To the second-level cache:
/// the first would wait for each line in one of its few buffers.
template <int size>
SINKBENCH_INLINE void fetch(const void* p, int64_t bytes_ahead) {
  constexpr int cache_line = 64, second_level = 2;
  for (int line = 0; line < size; line += cache_line) {
    __builtin_prefetch(static_cast<const char*>(p) + bytes_ahead + line, 0, second_level);
  }
}

/// a . b over n numbers, a as stored and b in the order that load_two gives to those; but for
/// dot_rest, it is the sum of the lanes. What lies so many bytes after a is fetched meanwhile, 0:
/// nothing; it need not exist.
template <int bytes, int bytes_ahead = 0, typename T>
SINKBENCH_INLINE Float<bytes> dot_lanes(const T* a, const float* b, int64_t n) {
  constexpr int64_t width = bytes / sizeof(float);
  // Several sums at once: one alone would wait for each multiply-add to finish.
  Float<bytes> s0{}, s1{}, s2{}, s3{};
  int64_t i = 0;
  for (; i + 4 * width <= n; i += 4 * width) {
    if constexpr (bytes_ahead > 0) fetch<4 * width * sizeof(T)>(a + i, bytes_ahead);
    const Two<bytes> p = load_two<bytes>(a + i), q = load_two<bytes>(a + i + 2 * width);
    s0 += p.first * load<bytes>(b + i);
    s1 += p.second * load<bytes>(b + i + width);
    s2 += q.first * load<bytes>(b + i + 2 * width);
    s3 += q.second * load<bytes>(b + i + 3 * width);
  }
  if (i + 2 * width <= n) {
    const Two<bytes> p = load_two<bytes>(a + i);
    s0 += p.first * load<bytes>(b + i);
    s1 += p.second * load<bytes>(b + i + width);
    i += 2 * width;
  }
  if (i + width <= n) s2 += load_as_float<bytes>(a + i) * load<bytes>(b + i);
  return (s0 + s1) + (s2 + s3);
}
template <int bytes, typename T>
SINKBENCH_INLINE float dot_rest(const T* a, const float* b, int64_t n) {
  constexpr int64_t width = bytes / sizeof(float);
  float total = 0.0f;
  for (int64_t i = n / width * width; i < n; ++i) total += as_float(a[i]) * b[i];
  return total;
}

template <int bytes, typename T>
SINKBENCH_INLINE float dot(const T* a, const float* b, int64_t n) {
  return sum<bytes>(dot_lanes<bytes>(a, b, n)) + dot_rest<bytes>(a, b, n);
}

/// y[i] = a[i] . b for `count` rows of n numbers, the same of each row whichever are its
/// neighbours; f(i, y) is called with the results of rows i, i + 1, ..., as many as a vector has
/// or, with a float, of one.
template <int bytes, int bytes_ahead = 0, typename T, typename F>
SINKBENCH_INLINE void dot_rows(const T* a, const float* b, int64_t n, int64_t count, const F& f) {
  constexpr int64_t width = bytes / sizeof(float);
  int64_t i = 0;
  for (; i + width <= count; i += width) {
    Float<bytes> lanes[width];
    for (int64_t row = 0; row < width; ++row) {
      lanes[row] = dot_lanes<bytes, bytes_ahead>(a + (i + row) * n, b, n);
    }
    Float<bytes> y = sums<bytes>(lanes);
    if (n % width != 0) {
      for (int64_t row = 0; row < width; ++row) y[row] += dot_rest<bytes>(a + (i + row) * n, b, n);
    }
    f(i, y);
  }
  for (; i < count; ++i) f(i, dot<bytes>(a + i * n, b, n));
}

/// A head whose first 2 * half numbers are turned by halves: pairs are half a head apart. What
/// follows them is left to the caller.
template <int bytes, typename T>
SINKBENCH_INLINE void turn(const T* x, int64_t half, const float* cosine, const float* sine,
                           float* out) {
  constexpr int64_t width = bytes / sizeof(float);
  int64_t i = 0;
  for (; i + width <= half; i += width) {
    const Float<bytes> a = load_as_float<bytes>(x + i), b = load_as_float<bytes>(x + half + i);
    const Float<bytes> c = load<bytes>(cosine + i), s = load<bytes>(sine + i);
    store<bytes>(out + i, a * c - b * s);
    store<bytes>(out + half + i, b * c + a * s);
  }
  for (; i < half; ++i) {
    const float a = as_float(x[i]), b = as_float(x[half + i]);
    out[i] = a * cosine[i] - b * sine[i];
    out[half + i] = b * cosine[i] + a * sine[i];
  }
}

/// exp(x) for x <= 0, relative error below 1e-7; 0 for x below -87.
template <int bytes>
SINKBENCH_INLINE Float<bytes> exp(Float<bytes> x) {
  using F = Float<bytes>;
  // x = n ln 2 + r with |r| <= ln(2)/2. Adding 1.5 * 2^23 rounds to the nearest integer, and 127
  // more leaves the exponent of 2^n in the lowest bits.
  constexpr float to_exponent = 12582912.0f + 127.0f;
  const F shifted = x * 1.44269504088896341f + to_exponent;
  const F n = shifted - to_exponent;
  const F r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
  F p = r * 1.9875691500e-4f + 1.3981999507e-3f;  // the polynomial of Cephes' expf
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  Int<bytes> exponent;
  std::memcpy(&exponent, &shifted, bytes);
  exponent <<= 23;
  F power;
  std::memcpy(&power, &exponent, bytes);
  return x < -87.0f ? F{} : p * power;
}

/// tanh(x), relative error below 1e-6.
template <int bytes>
SINKBENCH_INLINE Float<bytes> tanh(Float<bytes> x) {
  using F = Float<bytes>;
  const F size = x < 0.0f ? -x : x;
  const F e = exp<bytes>(-2.0f * size);
  const F large = (1.0f - e) / (1.0f + e);
  // Where that would cancel, the series.
  const F s = x * x;
  const F small = size * (1.0f + s * (-0.333333333f + s * (0.133333333f - s * 0.0539682540f)));
  const F result = size < 0.2f ? small : large;
  return x < 0.0f ? -result : result;
}

#pragma GCC diagnostic pop

/// Which of a kernel's versions this machine runs.
enum class Level { baseline, avx2, avx512 };
inline Level level() {
#if defined(__x86_64__)
  static const Level best = [] {
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512cd") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512bw")) {
      return Level::avx512;
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return Level::avx2;
    return Level::baseline;
  }();
  return best;
#else
  return Level::baseline;
#endif
}

/// Whether kernels that are bound by memory should fetch what lies `bytes_ahead` further on:
/// Intel's own prefetchers leave a quarter to half of what the memory gives (bfloat16 on Emerald
/// Rapids: 8.9 GB/s a core, and 11.9 so); on AMD's this costs a fifth.
inline bool fetches() {
#if defined(__x86_64__)
  return level() == Level::avx512 && __builtin_cpu_is("intel");
#else
  return false;
#endif
}
inline constexpr int bytes_ahead = 4096;

#if defined(__x86_64__)
#define SINKBENCH_AVX2 __attribute__((target("avx2,fma")))
#define SINKBENCH_AVX512 __attribute__((target("avx512f,avx512dq,avx512vl,avx512bw,avx2,fma")))
#endif

}  // namespace sinkbench::simd
