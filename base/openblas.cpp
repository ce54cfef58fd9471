#include "base/openblas.h"

#include <algorithm>
#include <array>

namespace sinkbench {

VectorLevel processor_vectors() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512cd") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl")) {
    return VectorLevel::avx512;
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return VectorLevel::avx2;
#endif
  return VectorLevel::none;
}

VectorLevel openblas_vectors(std::string_view core) {
  constexpr std::array avx512 = {"SkylakeX", "SKYLAKEX", "Cooperlake", "COOPERLAKE", "SapphireRapids", "SAPPHIRERAPIDS"};
  constexpr std::array avx2 = {"Haswell", "HASWELL", "Zen", "ZEN", "Excavator", "EXCAVATOR"};
  if (std::find(avx512.begin(), avx512.end(), core) != avx512.end()) return VectorLevel::avx512;
  if (std::find(avx2.begin(), avx2.end(), core) != avx2.end()) return VectorLevel::avx2;
  return VectorLevel::none;
}

std::string better_openblas_core(std::string_view core, VectorLevel processor) {
  if (openblas_vectors(core) >= processor) return "";
  return processor == VectorLevel::avx512 ? "SKYLAKEX" : "HASWELL";
}

}  // namespace sinkbench
