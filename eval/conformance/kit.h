// A conformance kit: the token ids of a stream and, for each of some policies, the NLL of each
// token that an exact cache gives, in one small file, for whoever writes a cache of their own.
// docs/conformance.md documents the JSON.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "eval/results/decision_file.h"
#include "policies/arguments.h"

namespace sinkbench {

struct KitPolicy {
  std::string id;     ///< "sinks-4+124", "window-0+128-original"
  std::string label;  ///< "sinks 4+124"
  PolicySpec policy;
  std::optional<int64_t> cached;  ///< entries beside the query, at the most; nothing: all
  /// Which of the NLLs, from 1 on, is the first whose query didn't see all earlier tokens; nothing:
  /// there is none, and dense attention gives the same.
  std::optional<int64_t> first = {};
  /// [ids - 1] of token i + 1 given those before it, in nats.
  std::vector<double> nll;
  std::optional<std::vector<EvictionRecord>> decisions;  ///< of a policy by score, if asked for
};

struct Kit {
  std::map<std::string, std::string> versions;  ///< of the program that made it
  std::filesystem::path model;                  ///< where it was then
  std::string model_name, model_sha256, tokenizer_sha256;
  std::string text;  ///< what was read, for people
  std::string dtype = "float32";
  bool as_stored = false;
  int64_t prefix = 0;  ///< first ids that were put before the text: a BOS
  std::vector<int32_t> ids;
  std::vector<KitPolicy> policies;

  /// InputError naming the nearest where there is none of this id or label.
  const KitPolicy& policy(const std::string& name) const;
};

inline constexpr int kit_version = 1;

/// Replaces the file as a whole. InputError where it can't be written.
void write_kit(const Kit& kit, const std::filesystem::path& file);

/// InputError naming the file, and what of it isn't as write_kit writes it.
Kit read_kit(const std::filesystem::path& file);

/// exp of the mean of NLLs in nats.
double perplexity_of(std::span<const double> nll);

/// NLLs that anything has made: a JSON array, numbers parted by white space (one a line), NumPy's
/// file of one array, or raw float32 (a file named .f64: float64), little-endian; what it is is
/// seen by its beginning. Not a number (NaN, null) is a value that departs from every other.
/// InputError naming the file, and the line or place, where it is none of these, or empty.
std::vector<double> read_nlls(const std::filesystem::path& file);

}  // namespace sinkbench
