#include "base/machine_limits.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <sstream>

namespace sinkbench {
namespace {

namespace fs = std::filesystem;

std::string first_line(const fs::path& file) {
  std::ifstream in(file);
  std::string line;
  std::getline(in, line);
  return line;
}

/// Processors' worth of time that one control group has, by its folder.
std::optional<double> quota_of(const fs::path& group) {
  double quota = 0, period = 0;
  std::istringstream v2(first_line(group / "cpu.max"));  // "150000 100000" or "max 100000"
  if (!(v2 >> quota >> period)) {
    std::istringstream(first_line(group / "cpu.cfs_quota_us")) >> quota;  // -1: none
    std::istringstream(first_line(group / "cpu.cfs_period_us")) >> period;
  }
  if (quota <= 0 || period <= 0) return std::nullopt;
  return quota / period;
}

/// The least over the process's groups and those around them. Inside a container the group's name
/// may be the one that the host has for it, and its own folder the mount itself.
std::optional<double> cgroup_quota(const fs::path& root) {
  std::optional<double> least;
  const auto look = [&](const fs::path& mount, fs::path group) {
    for (;; group = group.parent_path()) {
      if (const auto quota = quota_of(mount / group))
        least = std::min(*quota, least.value_or(*quota));
      if (group.empty()) return;
    }
  };
  const fs::path mount = root / "sys/fs/cgroup";
  std::ifstream groups(root / "proc/self/cgroup");  // "0::/a/b", "4:cpu,cpuacct:/a/b"
  for (std::string line; std::getline(groups, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == line.npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const fs::path group = fs::path(line.substr(second + 1)).relative_path();
    if (controllers.empty()) {
      look(mount, group);
    } else if (("," + controllers + ",").find(",cpu,") != std::string::npos) {
      look(mount / "cpu", group);
      look(mount / "cpu,cpuacct", group);
    }
  }
  return least;
}

}  // namespace

Cores available_cores(const fs::path& root) {
  Cores cores;
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0) cores.count = CPU_COUNT(&set);
  const auto limit = [&](int64_t count, const char* by) {
    if (count >= 1 && count < cores.count) cores = {count, by};
  };
  if (const auto quota = cgroup_quota(root)) {
    limit(std::max<int64_t>(1, static_cast<int64_t>(std::ceil(*quota))), "cgroup quota");
  }
  // "4" or, for nested regions, "4,2".
  if (const char* threads = std::getenv("OMP_NUM_THREADS"))
    limit(std::atoll(threads), "OMP_NUM_THREADS");
  return cores;
}

}  // namespace sinkbench
