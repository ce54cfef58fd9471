// Results of two runs side by side.
#pragma once

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "base/file.h"
#include "eval/results/results.h"

namespace sinkbench::test {

/// What two runs of one experiment on one machine have in common to the last bit: results.json
/// without times (when it was started, how long cells took, latency, the load and what is warned of
/// it) and without the process's peak memory, and every NLL file.
struct Measured {
  nlohmann::json results;
  std::map<std::string, std::string> nll;
  bool operator==(const Measured&) const = default;
};

inline Measured read_measured(const std::filesystem::path& folder) {
  Measured measured;
  measured.results = nlohmann::json::parse(read_file(folder / "results.json"));
  for (const char* key : {"started", "warnings"}) measured.results.erase(key);
  measured.results["machine"].erase("load_average");
  for (auto& cell : measured.results["cells"]) {
    for (const char* key : {"scoring_seconds", "seconds", "latency"}) cell.erase(key);
    if (cell["memory"].is_object()) cell["memory"].erase("peak_rss_bytes");
    if (cell["divergence"].is_object()) cell["divergence"].erase("seconds");
    if (cell["nll_file"].is_string()) {
      const auto name = cell["nll_file"].get<std::string>();
      measured.nll[name] = read_file(folder / name);
    }
  }
  return measured;
}

}  // namespace sinkbench::test
