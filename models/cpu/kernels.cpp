#include "models/cpu/kernels.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "base/simd.h"

#pragma GCC diagnostic ignored "-Wpsabi"

namespace sinkbench::cpu {
namespace {

using simd::Float;

template <int bytes>
constexpr int64_t width = bytes / sizeof(float);

/// exp(-|x|), and from it the logistic function: simd::exp takes no positive numbers.
template <int bytes>
SINKBENCH_INLINE Float<bytes> sigmoid(Float<bytes> x) {
  const Float<bytes> e = simd::exp<bytes>(x < 0.0f ? x : -x);
  return (x < 0.0f ? e : 1.0f) / (1.0f + e);
}

template <int bytes, Activation activation>
SINKBENCH_INLINE Float<bytes> activate(Float<bytes> x) {
  if constexpr (activation == Activation::silu) return x * sigmoid<bytes>(x);
  if constexpr (activation == Activation::relu) return x < 0.0f ? Float<bytes>{} : x;
  // 0.5 x (1 + tanh(u)) = x sigmoid(2 u) (Hendrycks and Gimpel 2016, arXiv 1606.08415)
  const Float<bytes> u = 0.7978845608f * (x + 0.044715f * x * x * x);
  return x * sigmoid<bytes>(2.0f * u);
}

template <int bytes, Activation activation, typename T>
SINKBENCH_INLINE void gate_rows(const T* inner, int64_t size, int64_t from, int64_t to, T* out) {
  for (int64_t row = from; row < to; ++row) {
    const T* gate = inner + 2 * row * size;
    const T* up = gate + size;
    T* y = out + row * size;
    int64_t i = 0;
    for (; i + width<bytes> <= size; i += width<bytes>) {
      const Float<bytes> g = activate<bytes, activation>(simd::load_as_float<bytes>(gate + i));
      simd::store_rounded<bytes>(y + i, g * simd::load_as_float<bytes>(up + i));
    }
    for (; i < size; ++i) {  // in the first lane of a vector
      Float<bytes> g{};
      g[0] = simd::as_float(gate[i]);
      simd::store_one(y + i, activate<bytes, activation>(g)[0] * simd::as_float(up[i]));
    }
  }
}

template <int bytes, typename T, typename Weight>
SINKBENCH_INLINE void norm_rows(const float* x, const T* part, float scale, const Weight* weight,
                                float epsilon, int64_t size, int64_t from, int64_t to, float* sum,
                                T* normed) {
  for (int64_t row = from; row < to; ++row) {
    const float* in = x + row * size;
    float squares = 0.0f;
    if (part != nullptr) {
      const T* added = part + row * size;
      float* total = sum + row * size;
      Float<bytes> lanes{};
      int64_t i = 0;
      for (; i + width<bytes> <= size; i += width<bytes>) {
        const Float<bytes> v =
            simd::load<bytes>(in + i) + scale * simd::load_as_float<bytes>(added + i);
        simd::store<bytes>(total + i, v);
        lanes += v * v;
      }
      squares = simd::sum<bytes>(lanes);
      for (; i < size; ++i) {
        total[i] = in[i] + scale * simd::as_float(added[i]);
        squares += total[i] * total[i];
      }
      in = total;
    } else {
      squares = simd::dot<bytes>(in, in, size);
    }
    const float inverse = 1.0f / std::sqrt(squares / static_cast<float>(size) + epsilon);
    T* y = normed + row * size;
    int64_t i = 0;
    for (; i + width<bytes> <= size; i += width<bytes>) {
      simd::store_rounded<bytes>(
          y + i, simd::load<bytes>(in + i) * inverse * simd::load_as_float<bytes>(weight + i));
    }
    for (; i < size; ++i) simd::store_one(y + i, in[i] * inverse * simd::as_float(weight[i]));
  }
}

template <int bytes, typename T>
SINKBENCH_INLINE void add_row(const T* x, int64_t columns, float& top, double& sum) {
  for (int64_t begin = 0; begin < columns; begin += log_softmax_piece) {
    const int64_t end = std::min(columns, begin + log_softmax_piece);
    Float<bytes> tops = Float<bytes>{} - INFINITY;
    int64_t i = begin;
    for (; i + width<bytes> <= end; i += width<bytes>) {
      const Float<bytes> v = simd::load_as_float<bytes>(x + i);
      tops = v > tops ? v : tops;
    }
    float largest = simd::largest<bytes>(tops);
    for (; i < end; ++i) largest = std::max(largest, simd::as_float(x[i]));
    // A piece without a number keeps no less than NaN of what is in it.
    const float pivot = largest == -INFINITY ? 0.0f : largest;
    Float<bytes> lanes{};
    for (i = begin; i + width<bytes> <= end; i += width<bytes>) {
      lanes += simd::exp<bytes>(simd::load_as_float<bytes>(x + i) - pivot);
    }
    double of_piece = simd::sum<bytes>(lanes);
    for (; i < end; ++i) of_piece += std::exp(simd::as_float(x[i]) - pivot);
    if (largest > top) {
      sum = sum * std::exp(static_cast<double>(top) - largest) + of_piece;
      top = largest;
    } else {
      sum += largest == top ? of_piece : of_piece * std::exp(static_cast<double>(largest) - top);
    }
  }
}

template <int bytes, typename T>
SINKBENCH_INLINE void add_rows(const T* logits, const int64_t* target, int64_t first,
                               int64_t columns, int64_t from, int64_t to,
                               const LogSoftmaxSums& sums) {
  for (int64_t row = from; row < to; ++row) {
    const T* x = logits + row * columns;
    add_row<bytes>(x, columns, sums.top[row], sums.sum[row]);
    const int64_t column = target[row] - first;
    if (column >= 0 && column < columns) sums.target[row] = simd::as_float(x[column]);
  }
}

template <int bytes, typename T>
SINKBENCH_INLINE void turn_rows(const Turn& turn, const T* x, int64_t from, int64_t to,
                                float* out) {
  const int64_t half = turn.rotated / 2;
  for (int64_t t = from; t < to; ++t) {
    const float* cosine = turn.cosine + t * half;
    const float* sine = turn.sine + t * half;
    for (int64_t head = 0; head < turn.heads; ++head) {
      const T* in = x + t * turn.token_stride + head * turn.head_dim;
      float* y = out + head * turn.head_stride + t * turn.head_dim;
      simd::turn<bytes>(in, half, cosine, sine, y);
      int64_t i = turn.rotated;
      for (; i + width<bytes> <= turn.head_dim; i += width<bytes>) {
        simd::store<bytes>(y + i, simd::load_as_float<bytes>(in + i));
      }
      for (; i < turn.head_dim; ++i) y[i] = simd::as_float(in[i]);
    }
  }
}

// A version of a body for each instruction set: `body` is a generic callable that takes the number
// of bytes of a vector as its template argument and is inlined into a function that names its
// target.
#if defined(__x86_64__)
template <typename Body>
SINKBENCH_AVX512 void run_avx512(const Body& body, int64_t from, int64_t to) {
  body.template operator()<64>(from, to);
}
template <typename Body>
SINKBENCH_AVX2 void run_avx2(const Body& body, int64_t from, int64_t to) {
  body.template operator()<32>(from, to);
}
#endif
template <typename Body>
void run(const Body& body, int64_t from, int64_t to) {
#if defined(__x86_64__)
  if (simd::level() == simd::Level::avx512) return run_avx512(body, from, to);
  if (simd::level() == simd::Level::avx2) return run_avx2(body, from, to);
#endif
  body.template operator()<16>(from, to);
}

/// body(from, to) on all threads, for rows of so many elements.
template <typename Body>
void divide(int64_t n, int64_t elements, const Body& body) {
  constexpr int64_t worth_a_thread = int64_t{1} << 14;  // elements
  at::parallel_for(0, n, std::max<int64_t>(1, worth_a_thread / std::max<int64_t>(1, elements)),
                   [&](int64_t from, int64_t to) { run(body, from, to); });
}

#define SINKBENCH_BODY [&]<int bytes>(int64_t from, int64_t to) __attribute__((always_inline))

}  // namespace

template <Stored T>
void gate(const T* inner, int64_t n, int64_t size, Activation activation, T* out) {
  const auto call = [&]<Activation act>() {
    divide(
        n, 2 * size, SINKBENCH_BODY { gate_rows<bytes, act>(inner, size, from, to, out); });
  };
  switch (activation) {
    case Activation::silu:
      return call.template operator()<Activation::silu>();
    case Activation::gelu_tanh:
      return call.template operator()<Activation::gelu_tanh>();
    case Activation::relu:
      return call.template operator()<Activation::relu>();
    case Activation::gelu:
      break;
  }
  throw std::logic_error("cpu::gate: an activation that has_gate doesn't take");
}

template <Stored T, Stored Weight>
void add_rms_norm(const float* x, const T* part, float scale, const Weight* weight, float epsilon,
                  int64_t n, int64_t size, float* sum, T* normed) {
  divide(
      n, size, SINKBENCH_BODY {
        norm_rows<bytes>(x, part, scale, weight, epsilon, size, from, to, sum, normed);
      });
}

template <Stored T>
void add(const float* x, const T* part, float scale, int64_t n, float* sum) {
  divide(
      n, 1, SINKBENCH_BODY {
        int64_t i = from;
        for (; i + width<bytes> <= to; i += width<bytes>) {
          simd::store<bytes>(
              sum + i, simd::load<bytes>(x + i) + scale * simd::load_as_float<bytes>(part + i));
        }
        for (; i < to; ++i) sum[i] = x[i] + scale * simd::as_float(part[i]);
      });
}

template <Stored T>
void add_logits(const T* logits, const int64_t* target, int64_t n, int64_t first, int64_t columns,
                const LogSoftmaxSums& sums) {
  divide(
      n, columns,
      SINKBENCH_BODY { add_rows<bytes>(logits, target, first, columns, from, to, sums); });
}

template <Stored T>
void turn_heads(const Turn& turn, const T* x, float* out) {
  divide(
      turn.n, turn.heads * turn.head_dim,
      SINKBENCH_BODY { turn_rows<bytes>(turn, x, from, to, out); });
}

template void gate(const float*, int64_t, int64_t, Activation, float*);
template void gate(const uint16_t*, int64_t, int64_t, Activation, uint16_t*);
template void add_rms_norm(const float*, const float*, float, const float*, float, int64_t, int64_t,
                           float*, float*);
template void add_rms_norm(const float*, const float*, float, const uint16_t*, float, int64_t,
                           int64_t, float*, float*);
template void add_rms_norm(const float*, const uint16_t*, float, const float*, float, int64_t,
                           int64_t, float*, uint16_t*);
template void add_rms_norm(const float*, const uint16_t*, float, const uint16_t*, float, int64_t,
                           int64_t, float*, uint16_t*);
template void add(const float*, const float*, float, int64_t, float*);
template void add(const float*, const uint16_t*, float, int64_t, float*);
template void add_logits(const float*, const int64_t*, int64_t, int64_t, int64_t,
                         const LogSoftmaxSums&);
template void add_logits(const uint16_t*, const int64_t*, int64_t, int64_t, int64_t,
                         const LogSoftmaxSums&);
template void turn_heads(const Turn&, const float*, float*);
template void turn_heads(const Turn&, const uint16_t*, float*);

}  // namespace sinkbench::cpu
