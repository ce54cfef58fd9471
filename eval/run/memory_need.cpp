#include "eval/run/memory_need.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>
#include <utility>

#include "eval/engines/engine.h"

namespace sinkbench {
namespace {

namespace fs = std::filesystem;

constexpr double unlimited = std::numeric_limits<double>::infinity();

/// As in the engines: blocks and passes have no more rows, logits no more elements, plain
/// attention no more scores at once.
constexpr double most_rows = 2048;
constexpr double most_logits = 1 << 22;
constexpr double most_scores = 1 << 26;
constexpr double most_evicted_scores = 1 << 22;

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

MemoryNeed memory_need(const Cell& cell, const DecoderConfig& config, int64_t parameters,
                       const Policy& policy, int64_t fed, const Policy* reference) {
  const double element = cell.dtype == "float64" ? 8 : cell.dtype == "float32" ? 4 : 2;
  const double exact = cell.dtype == "float64" ? 8 : 4;
  const double cached_token = static_cast<double>(config.kv_bytes_per_token(1));  // elements
  const bool chunked = cell.engine == "chunked";
  const auto kept = [&](int64_t tokens) {
    return static_cast<double>(kept_entries(policy, tokens));
  };
  const double block = std::min<double>(
      static_cast<double>(fed), cell.chunk > 0 ? static_cast<double>(cell.chunk) : most_rows);
  MemoryNeed need;
  need.weights = static_cast<double>(parameters) * element;
  if (reference != nullptr) {  // its engine runs beside the cell's
    Cell scored = cell;
    scored.metrics = {Metric::perplexity};
    need = memory_need(scored, config, parameters, *reference, fed);
  }
  const double reference_cache = std::exchange(need.cache, 0);

  double rows = 1;    // of the tallest matrix of activations
  double scores = 0;  // of plain attention, which the kernels do without
  int64_t farthest = fed;
  if (cell.metrics.contains(Metric::perplexity)) {
    if (chunked) {
      rows = policy.recomputes() ? std::max(most_rows, kept(fed)) : block;
      need.cache = (kept(fed) + block) * cached_token * exact;
    } else if (!policy.recomputes()) {
      need.cache = kept(fed) * cached_token * element;
    }
  }
  if (cell.metrics.contains(Metric::memory) && !policy.recomputes()) {
    need.cache = std::max(need.cache, kept(fed) * cached_token * element);
  }
  if (policy.recomputes()) rows = std::max(rows, kept(fed));
  if (cell.metrics.contains(Metric::latency) && !policy.recomputes()) {
    int64_t length = policy.capacity().value_or(fed);
    if (!policy.capacity() && !cell.latency.lengths.empty()) {
      length = *std::max_element(cell.latency.lengths.begin(), cell.latency.lengths.end());
    }
    farthest = std::max(farthest, length + cell.latency.warmup + cell.latency.samples);
    need.cache = std::max(need.cache, kept(farthest) * cached_token * element);
  }
  need.cache += reference_cache;
  const double heads = static_cast<double>(config.heads);
  if (policy.recomputes()) {
    scores = std::min(most_scores, heads * kept(fed) * kept(fed));
  } else if (exact == 8) {
    scores = std::min(most_scores, heads * rows * (kept(fed) + rows));
  }

  const double projected =
      static_cast<double>((config.heads + 2 * config.kv_heads) * config.head_dim);
  const double mlp = static_cast<double>(config.mlp_size) * (config.gated_mlp ? 2 : 1);
  const double hidden = static_cast<double>(config.hidden_size);
  const double vocabulary = static_cast<double>(config.vocab_size);
  need.scratch +=
      rows * (4 * hidden + 2 * projected + 2 * mlp) * exact +
      std::min(std::max(most_logits, vocabulary), rows * vocabulary) * (element + 2 * exact) +
      3 * scores * exact;
  if (config.alibi) {
    need.scratch += heads * static_cast<double>(bias_places(policy, farthest)) * exact;
  }
  if (cell.metrics.contains(Metric::evicted_mass)) {
    const double tokens = static_cast<double>(std::min(fed, cell.evicted_mass_tokens));
    need.scratch += tokens * (4 * hidden + 3 * projected) * exact +
                    4 * std::max(most_evicted_scores, heads * tokens) * exact;
  }
  return need;
}

double available_memory() {
  double available = read_entry("/proc/meminfo", "MemAvailable:", unlimited) * 1024;
  available = std::min({available, left_in_control_groups(), left_of_address_space()});
  if (const char* text = std::getenv("SINKBENCH_MEMORY_MIB")) {
    available = std::min(available, std::strtod(text, nullptr) * 1024 * 1024);
  }
  return available;
}

}  // namespace sinkbench
