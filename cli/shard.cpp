#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <charconv>
#include <system_error>

#include "base/error.h"
#include "cli/run_experiment.h"

namespace sinkbench {

Shard Shard::parse(const std::string& text) {
  Shard shard;
  const char* const end = text.data() + text.size();
  const auto [slash, error] = std::from_chars(text.data(), end, shard.index);
  const auto [last, error_after] = std::from_chars(std::min(slash + 1, end), end, shard.count);
  if (error != std::errc() || slash == end || *slash != '/' || error_after != std::errc() ||
      last != end || shard.index < 1 || shard.index > shard.count) {
    throw InputError::format("--shard is '{}'; expected I/N with I from 1 to N, such as 2/4", text);
  }
  return shard;
}

std::vector<Cell> cells_of(const Experiment& experiment, const std::optional<Shard>& shard) {
  const Shard part = shard.value_or(Shard{});
  std::vector<Cell> cells;
  for (size_t i = part.index - 1; i < experiment.cells.size(); i += part.count) {
    cells.push_back(experiment.cells[i]);
  }
  return cells;
}

bool is_chosen(const std::string& id, const std::vector<std::string>& only) {
  return only.empty() || std::any_of(only.begin(), only.end(), [&](const std::string& pattern) {
           return ::fnmatch(pattern.c_str(), id.c_str(), 0) == 0;
         });
}

bool uses_cuda(const std::vector<Cell>& cells) {
  return std::any_of(cells.begin(), cells.end(),
                     [](const Cell& cell) { return cell.device != "cpu"; });
}

}  // namespace sinkbench
