// What of the machine this process may use.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace sinkbench {

struct Cores {
  int64_t count = 1;  ///< at least 1
  /// What allows no more: "affinity" (the processors that the system lets it run on; all of them,
  /// most often), "cgroup quota" (of processor time, rounded up; containers have one) or
  /// "OMP_NUM_THREADS".
  std::string limit = "affinity";
};

/// The least of the three. `root`: where /proc and /sys/fs/cgroup are looked for.
Cores available_cores(const std::filesystem::path& root = "/");

}  // namespace sinkbench
