#include "eval/attention/place_keys.h"

#include <ATen/Parallel.h>

#include "base/simd.h"

#pragma GCC diagnostic ignored "-Wpsabi"

namespace sinkbench {
namespace {

template <int bytes, typename T>
SINKBENCH_INLINE void place_head(const PlaceKeys& k, int64_t head, int64_t from, int64_t to) {
  const int64_t half = k.rotated / 2;
  for (int64_t rank = from; rank < to; ++rank) {
    const int64_t offset = (head * k.slots + k.ranked[rank]) * k.head_dim;
    const T* key = static_cast<const T*>(k.key) + offset;
    float* out = k.placed + offset;
    simd::turn<bytes>(key, half, k.cosine + rank * half, k.sine + rank * half, out);
    for (int64_t c = k.rotated; c < k.head_dim; ++c) out[c] = simd::as_float(key[c]);
  }
}

using PlaceFunction = void (*)(const PlaceKeys&, int64_t head, int64_t from, int64_t to);

#if defined(__x86_64__)
template <typename T>
SINKBENCH_AVX512 void place_head_avx512(const PlaceKeys& k, int64_t head, int64_t from,
                                        int64_t to) {
  place_head<64, T>(k, head, from, to);
}
template <typename T>
SINKBENCH_AVX2 void place_head_avx2(const PlaceKeys& k, int64_t head, int64_t from, int64_t to) {
  place_head<32, T>(k, head, from, to);
}
#endif

template <typename T>
PlaceFunction best() {
#if defined(__x86_64__)
  if (simd::level() == simd::Level::avx512) return place_head_avx512<T>;
  if (simd::level() == simd::Level::avx2) return place_head_avx2<T>;
#endif
  return [](const PlaceKeys& k, int64_t head, int64_t from, int64_t to) {
    place_head<16, T>(k, head, from, to);
  };
}

}  // namespace

void place_keys(const PlaceKeys& k) {
  static const PlaceFunction float32 = best<float>(), bfloat16 = best<uint16_t>();
  const PlaceFunction function = k.bfloat16 ? bfloat16 : float32;
  constexpr int64_t keys_at_once = 256;
  const int64_t n = static_cast<int64_t>(k.ranked.size());
  const int64_t parts = (n + keys_at_once - 1) / keys_at_once;
  at::parallel_for(0, k.kv_heads * parts, 1, [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; ++i) {
      const int64_t first = i % parts * keys_at_once;
      function(k, i / parts, first, std::min(first + keys_at_once, n));
    }
  });
}

}  // namespace sinkbench
