// Two runs side by side: what has become better, worse or stayed the same. docs/ci.md describes the
// rules for those who use them.
#pragma once

#include <array>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "eval/results/results.h"

namespace sinkbench {

/// The NLLs of a cell's scored tokens, in nats: their means over blocks, and each of them where
/// they are known.
struct NllSeries {
  std::vector<double> block_means;
  std::vector<double> tokens = {};
};

/// One side of a comparison.
struct MeasuredRun {
  std::string name;  ///< how to speak of it: the folder
  Results results;
  std::function<NllSeries(const CellResult&)> nll;  ///< of a cell that has perplexity
  /// Of a cell with a task; empty where they aren't kept.
  std::function<std::vector<Answer>(const CellResult&)> answers = {};
};

/// The series of a cell whose tokens are all there. Throws InputError, naming `place`, where they
/// aren't as many as were scored.
NllSeries nll_series(const CellResult& cell, std::vector<double> tokens, const std::string& place);

/// What defines a cell and makes it comparable: hashes of the model and of the token ids, policy
/// with arguments and positions, engine, chunk, dtype and device.
std::string identity_text(const CellResult& cell);

/// A results folder with its NLL files, which are read when they are asked for. Throws InputError.
MeasuredRun read_run(const std::filesystem::path& folder);

enum class Quantity {
  perplexity,        ///< of the mean NLL, in nats
  token_nll,         ///< the largest difference of one token's NLL, in nats, either way
  accuracy,          ///< of a task's answers, the share that is right
  log_probability,   ///< of a task's answer, the mean, in nats
  latency,           ///< as a share of the baseline's
  cache_entries,     ///< either way: the policy says how many it keeps
  kv_bytes_formula,  ///< this and what follows as shares of the baseline's
  kv_bytes_held,
  weight_bytes,
  peak_rss_bytes
};
inline constexpr std::array all_quantities = {Quantity::perplexity,       Quantity::token_nll,
                                              Quantity::accuracy,         Quantity::log_probability,
                                              Quantity::latency,          Quantity::cache_entries,
                                              Quantity::kv_bytes_formula, Quantity::kv_bytes_held,
                                              Quantity::weight_bytes,     Quantity::peak_rss_bytes};
std::string to_string(Quantity quantity);

/// How large a change must be to count, by quantity and by pattern of the cells' ids.
class Thresholds {
 public:
  /// The defaults: perplexity 0.001 nats, accuracy 0.02, log_probability 0.02 nats, 20 answers,
  /// latency 0.05, exact memory, token_nll and peak_rss_bytes
  /// off, confidence 0.99.
  Thresholds();
  /// Adds those of a YAML file. Throws InputError with file and line.
  void read(const std::filesystem::path& yaml);
  /// Adds one from the command line: "latency=0.2", "*-dense-*:latency=off".
  void set(std::string_view assignment);

  /// Nothing where it is off: the change is shown and has no verdict.
  std::optional<double> limit(Quantity quantity, const std::string& cell) const;
  /// Of the intervals of perplexity, latency and log-probability, and of the test of accuracy.
  double confidence(const std::string& cell) const;
  /// Of a task, the fewest independent groups of answers that a change is told from.
  int64_t answers(const std::string& cell) const;
  /// Patterns that none of the cells has.
  std::vector<std::string> idle(const std::vector<std::string>& cells) const;

 private:
  struct Rule {
    std::string pattern;  // a glob
    std::string name;
    std::optional<double> value;
  };
  void add(std::string pattern, std::string name, const std::string& value,
           const std::string& place);
  std::optional<double> find(const std::string& name, const std::string& cell) const;
  std::vector<Rule> rules_;  // later ones win
};

enum class Verdict {
  same,
  better,
  worse,
  unsure,   ///< too few measurements, or too unsteady a machine; the note says which
  shown,    ///< there is no threshold for it
  refused,  ///< can't be compared; the note says why
  missing   ///< the candidate has not measured it
};
std::string to_string(Verdict verdict);

struct QuantityComparison {
  Quantity quantity;
  int64_t cache_entries = 0;                  ///< of latency: at which length
  double baseline = 0, candidate = 0;         ///< perplexity, milliseconds (median), entries, bytes
  double change = 0;                          ///< in the threshold's unit
  std::optional<double> low = {}, high = {};  ///< the change's confidence interval
  std::optional<double> limit = {};
  Verdict verdict = Verdict::same;
  std::string note = {};
};

struct CellComparison {
  std::string id;      ///< the candidate's
  double seconds = 0;  ///< that the candidate's cell took
  std::vector<QuantityComparison> quantities;
};

/// A cell of one run that has no counterpart, or no measurement, and why.
struct LeftOut {
  std::string id;
  std::string reason;
};

/// As the program's exit status says it.
enum class Outcome { fine, regression, nothing_comparable, incomplete, unsure };

struct Comparison {
  std::string baseline, candidate;  ///< the runs' names
  RunInfo baseline_info, candidate_info;
  std::vector<CellComparison> cells = {};       ///< in the candidate's order
  std::vector<LeftOut> failed = {};             ///< in the candidate
  std::vector<LeftOut> failed_in_both = {};     ///< nothing has become worse
  std::vector<LeftOut> missing = {};            ///< in the baseline alone
  std::vector<LeftOut> added = {};              ///< in the candidate alone; no reason to worry
  std::vector<std::string> notes = {};          ///< what else has changed between the runs
  std::vector<std::string> idle_patterns = {};  ///< thresholds of no cell: not what was meant
  int64_t count(Verdict verdict) const;
  Outcome outcome() const;
};

/// Joins cells on what defines them, whatever their names are: hashes of the model and of the
/// token ids, policy with arguments and positions, engine, chunk, dtype and device.
Comparison compare(const MeasuredRun& baseline, const MeasuredRun& candidate,
                   const Thresholds& thresholds);

/// For reading: tables, what was left out, and the outcome in one line.
std::string format_comparison(const Comparison& comparison, bool markdown);
/// That line.
std::string summary(const Comparison& comparison);

}  // namespace sinkbench
