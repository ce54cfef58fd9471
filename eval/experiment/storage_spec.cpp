#include "eval/experiment/storage_spec.h"

#include <fmt/format.h>

namespace sinkbench {

const std::vector<std::string>& storage_formats() {
  static const std::vector<std::string> names = {"native",
                                                 "float16",
                                                 "bfloat16",
                                                 "float8_e4m3",
                                                 "q8_0",
                                                 "q5_1",
                                                 "q5_0",
                                                 "q4_1",
                                                 "q4_0",
                                                 "int8",
                                                 "int4",
                                                 "kivi8",
                                                 "kivi4",
                                                 "kivi2",
                                                 "turboquant4",
                                                 "turboquant3",
                                                 "turboquant2",
                                                 "turboquant4_wht32",
                                                 "turboquant3_wht32",
                                                 "turboquant2_wht32"};
  return names;
}

std::string storage_label(const StorageSpec& spec) {
  return (spec.keys == spec.values ? spec.keys : spec.keys + "/" + spec.values) +
         (spec.rotate ? " rotated" : "") + (spec.interleave ? " interleaved" : "") +
         (spec.is_kivi() ? fmt::format(" by {} but {}", spec.kivi.group, spec.kivi.residual) : "") +
         (spec.zero_values > 0 ? fmt::format(", zero values {}", spec.zero_values) : "");
}

}  // namespace sinkbench
