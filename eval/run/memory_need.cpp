#include "eval/run/memory_need.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>
#include <vector>

#include "base/environment.h"
#include "eval/engines/method.h"
#include "eval/experiment/engine_names.h"
#include "eval/run/dtype.h"

namespace sinkbench {
namespace {

namespace fs = std::filesystem;

constexpr double unlimited = std::numeric_limits<double>::infinity();

constexpr double most_evicted_scores = 1 << 22;  // at once, as in metrics/evicted_mass.h

/// The number in a file of one, or infinity for "max" or where there is no such file.
double read_number(const fs::path& file) {
  std::ifstream in(file);
  double value = 0;
  return in >> value ? value : unlimited;
}

/// The number after a word in a file of such lines, or `otherwise`.
double read_entry(const fs::path& file, const std::string& name, double otherwise) {
  std::ifstream in(file);
  std::string word;
  double value = 0;
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with(name) && std::sscanf(line.c_str() + name.size(), "%lf", &value) == 1) {
      return value;
    }
  }
  return otherwise;
}

/// What the limits of this process's control group and of those that it is in leave. File pages
/// that aren't in use count as used there, but are given back when memory is asked for.
double left_in_groups(const fs::path& mount, const fs::path& group, const char* limit,
                      const char* usage, const char* inactive) {
  double left = unlimited;
  fs::path path = mount / group.relative_path();
  for (; path.string().size() >= mount.string().size(); path = path.parent_path()) {
    const double most = read_number(path / limit);
    if (most == unlimited) continue;
    const double used = read_number(path / usage) - read_entry(path / "memory.stat", inactive, 0);
    left = std::min(left, std::max(0.0, most - used));
  }
  return left;
}

double left_in_control_groups() {
  double left = unlimited;
  std::ifstream in("/proc/self/cgroup");
  for (std::string line; std::getline(in, line);) {  // "0::/path" or "4:memory:/path"
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    const fs::path group = line.substr(second + 1);
    if (controllers == ",,") {
      left = std::min(left, left_in_groups("/sys/fs/cgroup", group, "memory.max", "memory.current",
                                           "inactive_file"));
    } else if (controllers.find(",memory,") != std::string::npos) {
      left = std::min(left, left_in_groups("/sys/fs/cgroup/memory", group, "memory.limit_in_bytes",
                                           "memory.usage_in_bytes", "total_inactive_file"));
    }
  }
  return left;
}

double left_of_address_space() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return unlimited;
  const double used = read_number("/proc/self/statm") * static_cast<double>(::getpagesize());
  return std::max(0.0, static_cast<double>(limit.rlim_cur) - used);
}

}  // namespace

MemoryNeed memory_need(const Cell& cell, const DecoderConfig& config, int64_t weight_bytes,
                       const Policy& policy, int64_t fed, const Policy* reference) {
  const at::ScalarType dtype = to_scalar_type(cell.dtype);
  const at::Device device = is_cuda(cell.device) ? at::kCUDA : at::kCPU;
  const EngineOptions options{.chunk = cell.chunk, .device = device};
  const auto method = make_method(policy, config, cell.kv);
  MemoryNeed need;
  need.weights = static_cast<double>(weight_bytes) + std::ldexp(cell.model.decoded_mib, 20);
  // What is measured one after the other never is there together.
  const auto at_least = [&](const Footprint& footprint) {
    need.cache = std::max(need.cache, footprint.cache);
    need.scratch = std::max(need.scratch, footprint.scratch);
  };
  if (cell.metrics.contains(Metric::perplexity)) {
    Footprint scoring = method->scoring(cell.engine, dtype, options, fed);
    if (reference != nullptr) {  // its engine runs beside the cell's
      const Footprint beside =
          make_method(*reference, config)->scoring(cell.engine, dtype, options, fed);
      scoring.cache += beside.cache;
      scoring.scratch += beside.scratch;
    }
    if (reference != nullptr || cell.dataset.is_task() || dtype == at::kDouble ||
        !device.is_cpu()) {
      scoring.scratch += whole_logits(config, dtype, cell.engine == "stepwise" ? 1 : fed);
    }
    at_least(scoring);
  }
  if (cell.metrics.contains(Metric::memory)) {
    at_least(method->holding(dtype, fed));
  }
  if (cell.metrics.contains(Metric::latency) && method->decodes()) {
    std::vector<std::optional<int64_t>> lengths = {std::nullopt};
    if (method->grows() && !cell.latency.lengths.empty()) {
      lengths.assign(cell.latency.lengths.begin(), cell.latency.lengths.end());
    }
    for (const auto& length : lengths) {
      at_least(method->timing(dtype, length, fed, cell.latency.warmup + cell.latency.samples));
    }
  }
  if (cell.metrics.contains(Metric::evicted_mass)) {
    const double exact = dtype == at::kDouble ? 8 : 4;
    at_least(method->seeing(dtype, std::min(fed, cell.evicted_mass_tokens)));
    const double tokens = static_cast<double>(std::min(fed, cell.evicted_mass_tokens));
    const double heads = static_cast<double>(config.heads);
    const double projected =
        static_cast<double>((config.heads + 2 * config.kv_heads) * config.head_dim);
    at_least(
        {.cache = 0,
         .scratch = tokens * (4 * static_cast<double>(config.hidden_size) + 3 * projected) * exact +
                    4 * std::max(most_evicted_scores, heads * tokens) * exact});
  }
  return need;
}

double available_memory() {
  double available = read_entry("/proc/meminfo", "MemAvailable:", unlimited) * 1024;
  available = std::min({available, left_in_control_groups(), left_of_address_space()});
  if (const auto mib = number_from_environment("SINKBENCH_MEMORY_MIB")) {
    available = std::min(available, *mib * 1024 * 1024);
  }
  return available;
}

}  // namespace sinkbench
