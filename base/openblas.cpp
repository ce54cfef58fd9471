#include "base/openblas.h"

#include <algorithm>
#include <array>

namespace sinkbench {

simd::Level openblas_level(std::string_view core) {
  constexpr std::array avx512 = {"SkylakeX",   "SKYLAKEX",       "Cooperlake",
                                 "COOPERLAKE", "SapphireRapids", "SAPPHIRERAPIDS"};
  constexpr std::array avx2 = {"Haswell", "HASWELL", "Zen", "ZEN", "Excavator", "EXCAVATOR"};
  if (std::find(avx512.begin(), avx512.end(), core) != avx512.end()) return simd::Level::avx512;
  if (std::find(avx2.begin(), avx2.end(), core) != avx2.end()) return simd::Level::avx2;
  return simd::Level::baseline;
}

std::string better_openblas_core(std::string_view core, simd::Level processor) {
  if (openblas_level(core) >= processor) return "";
  return processor == simd::Level::avx512 ? "SKYLAKEX" : "HASWELL";
}

}  // namespace sinkbench
