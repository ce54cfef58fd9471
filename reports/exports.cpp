#include "reports/exports.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "eval/metrics/batch_means.h"

namespace sinkbench {
namespace {

using nlohmann::json;

constexpr double ns_per_ms = 1e6;

/// JSON in which bytes that are no UTF-8 (of a path) are replaced.
std::string dump(const json& value) {
  return value.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

/// Text inside an element or an attribute. XML has no control characters; line breaks in attributes
/// would be read as spaces.
std::string escaped(const std::string& text) {
  // JSON's replacement of invalid UTF-8, without its quotes and escapes.
  const std::string valid =
      json::parse(json(text).dump(-1, ' ', false, json::error_handler_t::replace));
  std::string result;
  for (size_t i = 0; i < valid.size(); ++i) {
    const char c = valid[i];
    // U+FFFE and U+FFFF are UTF-8 but no characters of XML.
    if (const std::string_view here = std::string_view(valid).substr(i, 3);
        here == "\xEF\xBF\xBE" || here == "\xEF\xBF\xBF") {
      result += "\xEF\xBF\xBD";
      i += 2;
      continue;
    }
    switch (c) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      case '"':
        result += "&quot;";
        break;
      default:
        result += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
    }
  }
  return result;
}

std::string test_name(const QuantityComparison& q) {
  return q.quantity == Quantity::latency
             ? fmt::format("{} at {} cached", to_string(q.quantity), q.cache_entries)
             : to_string(q.quantity);
}

std::string message(const QuantityComparison& q) {
  std::string text = fmt::format("{:g}, was {:g}; change {:+g}, limit {:g}", q.candidate,
                                 q.baseline, q.change, q.limit.value_or(0));
  if (q.low) text += fmt::format(", interval {:+g} to {:+g}", *q.low, *q.high);
  return q.note.empty() ? text : text + "; " + q.note;
}

std::string junit(const Comparison& comparison) {
  std::string cases;
  int tests = 0, failures = 0, errors = 0, skipped = 0;
  double total_seconds = 0;
  const auto add = [&](const std::string& cell, const std::string& name, double seconds,
                       const std::string& body) {
    ++tests;
    cases += fmt::format("    <testcase classname=\"{}\" name=\"{}\" time=\"{:.3f}\"",
                         escaped(cell), escaped(name), seconds);
    cases += body.empty() ? "/>\n" : ">" + body + "</testcase>\n";
  };
  const auto problem = [](const char* element, const std::string& type, const std::string& text) {
    return fmt::format("<{0} type=\"{1}\" message=\"{2}\">{2}</{0}>", element, type, escaped(text));
  };
  for (const CellComparison& cell : comparison.cells) {
    total_seconds += cell.seconds;
    add(cell.id, "run", cell.seconds, "");
    for (const QuantityComparison& q : cell.quantities) {
      std::string body;
      if (q.verdict == Verdict::worse) {
        ++failures;
        body = problem("failure", "worse", message(q));
      } else if (q.verdict == Verdict::missing) {
        ++errors;
        body = problem("error", "missing", "not measured in the candidate");
      } else if (q.verdict == Verdict::refused) {
        ++skipped;
        body = fmt::format("<skipped message=\"{}\"/>", escaped(q.note));
      } else if (q.verdict == Verdict::unsure) {
        ++errors;
        body = problem("error", "unsure", "can't tell: " + message(q));
      }
      add(cell.id, test_name(q), 0, body);
    }
  }
  for (const LeftOut& cell : comparison.failed) {
    ++errors;
    add(cell.id, "run", 0, problem("error", "failed", cell.reason));
  }
  for (const LeftOut& cell : comparison.failed_in_both) {
    ++skipped;
    add(cell.id, "run", 0,
        fmt::format("<skipped message=\"failed in both: {}\"/>", escaped(cell.reason)));
  }
  for (const std::string& pattern : comparison.idle_patterns) {
    ++errors;
    add(pattern, "thresholds", 0, problem("error", "unsure", "no cell matches this pattern"));
  }
  for (const LeftOut& cell : comparison.missing) {
    ++errors;
    add(cell.id, "run", 0, problem("error", "missing", cell.reason));
  }
  if (comparison.outcome() == Outcome::nothing_comparable) {
    ++errors;
    add("compare", "baseline", 0, problem("error", "nothing comparable", summary(comparison)));
  }
  return fmt::format(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n"
      "  <testsuite name=\"sinkbench compare\" package=\"{}\" id=\"0\" timestamp=\"{}\" "
      "hostname=\"localhost\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" "
      "time=\"{:.3f}\">\n"
      "    <properties>\n"
      "      <property name=\"baseline\" value=\"{}\"/>\n"
      "      <property name=\"candidate\" value=\"{}\"/>\n"
      "    </properties>\n{}"
      "    <system-out>{}</system-out>\n    <system-err></system-err>\n"
      "  </testsuite>\n</testsuites>\n",
      escaped(comparison.candidate_info.name),
      comparison.candidate_info.started.substr(0, 19),  // Ant's schema has no time zone
      tests, failures, errors, skipped, total_seconds, escaped(comparison.baseline),
      escaped(comparison.candidate), cases, escaped(summary(comparison)));
}

/// "ID", or "ID/8191" where a policy is timed at several cache lengths.
std::string timing_name(const CellResult& cell, const LatencyResult& timing) {
  return cell.latency.size() == 1 ? cell.cell.id
                                  : fmt::format("{}/{}", cell.cell.id, timing.cache_entries);
}

/// The numbers of a cell's memory, by their names in results.json.
std::vector<std::pair<std::string, int64_t>> memory_of(const CellResult& cell) {
  if (!cell.memory) return {};
  return {{"kv_bytes_held", cell.memory->kv_bytes_held},
          {"weight_bytes", cell.memory->weight_bytes},
          {"peak_rss_bytes", cell.memory->peak_rss_bytes}};
}

std::string bencher(const Results& candidate) {
  json root = json::object();
  for (const CellResult& cell : candidate.cells) {
    if (!cell.error.empty()) continue;
    // What overflows is no number in JSON, and readers take null for 0: the best there is.
    if (cell.perplexity && std::isfinite(cell.perplexity->token)) {
      json& perplexity = root[cell.cell.id]["perplexity"];
      perplexity["value"] = cell.perplexity->token;
      if (std::isfinite(cell.perplexity->token_stderr)) {
        perplexity["lower_value"] = cell.perplexity->token - cell.perplexity->token_stderr;
        perplexity["upper_value"] = cell.perplexity->token + cell.perplexity->token_stderr;
      }
    }
    // The measure of this name is built in, in nanoseconds.
    for (const LatencyResult& timing : cell.latency) {
      root[timing_name(cell, timing)]["latency"] = {
          {"value", timing.p50_ms * ns_per_ms},
          {"lower_value", quantile(timing.samples_ms, 0.1) * ns_per_ms},
          {"upper_value", timing.p90_ms * ns_per_ms}};
    }
    for (auto [name, bytes] : memory_of(cell)) {
      std::replace(name.begin(), name.end(), '_', '-');  // a slug
      root[cell.cell.id][name] = {{"value", bytes}};
    }
  }
  return dump(root);
}

std::string github_benchmark(const Results& candidate) {
  json entries = json::array();
  for (const CellResult& cell : candidate.cells) {
    if (!cell.error.empty()) continue;
    if (cell.perplexity && std::isfinite(cell.perplexity->token)) {
      json entry = {{"name", cell.cell.id + " perplexity"},
                    {"unit", "perplexity"},
                    {"value", cell.perplexity->token},
                    {"extra", fmt::format("{} tokens scored", cell.perplexity->scored)}};
      if (std::isfinite(cell.perplexity->token_stderr)) {
        entry["range"] = fmt::format("± {:.4g}", cell.perplexity->token_stderr);
      }
      entries.push_back(entry);
    }
    for (const LatencyResult& timing : cell.latency) {
      entries.push_back(
          {{"name", timing_name(cell, timing) + " latency"},
           {"unit", "ms"},
           {"value", timing.p50_ms},
           {"range", fmt::format("p90 {:.4g}, p99 {:.4g}", timing.p90_ms, timing.p99_ms)},
           {"extra",
            fmt::format("{} steps, {} entries cached", timing.samples, timing.cache_entries)}});
    }
    for (const auto& [name, bytes] : memory_of(cell)) {
      entries.push_back({{"name", cell.cell.id + " " + name}, {"unit", "bytes"}, {"value", bytes}});
    }
  }
  return dump(entries);
}

std::string google_benchmark(const Results& candidate) {
  const auto fact = [](const std::map<std::string, std::string>& facts, const char* name) {
    const auto found = facts.find(name);
    return found == facts.end() ? std::string() : found->second;
  };
  const RunInfo& info = candidate.info;
  json benchmarks = json::array();
  int64_t family = 0;
  for (const CellResult& cell : candidate.cells) {
    if (!cell.error.empty()) continue;
    for (const LatencyResult& timing : cell.latency) {
      json base = {{"name", timing_name(cell, timing)},
                   {"run_name", timing_name(cell, timing)},
                   {"family_index", family++},
                   {"per_family_instance_index", 0},
                   {"run_type", "iteration"},
                   {"repetitions", timing.samples_ms.size()},
                   {"threads", cell.threads},
                   {"iterations", 1},
                   {"time_unit", "ms"}};
      // Counters of one's own stand among the other fields.
      if (cell.perplexity && std::isfinite(cell.perplexity->token)) {
        base["perplexity"] = cell.perplexity->token;
      }
      std::vector<double> processor_ms;  // of each sample: its round's
      for (const TimingRound& round : timing.rounds) {
        processor_ms.insert(processor_ms.end(), static_cast<size_t>(round.samples),
                            round.processor_ms);
      }
      // Older results have none.
      if (processor_ms.size() != timing.samples_ms.size()) processor_ms = timing.samples_ms;
      for (const auto& [name, bytes] : memory_of(cell)) base[name] = bytes;
      for (size_t i = 0; i < timing.samples_ms.size(); ++i) {
        json sample = base;
        sample["repetition_index"] = i;
        sample["real_time"] = timing.samples_ms[i];
        sample["cpu_time"] = processor_ms[i];
        benchmarks.push_back(sample);
      }
    }
  }
  const std::string cores = fact(info.machine, "cores"), build = fact(info.versions, "build_type");
  int64_t core_count = 0;  // where that is no number
  std::from_chars(cores.data(), cores.data() + cores.size(), core_count);
  return dump({{"context",
                {{"date", info.started},
                 {"host_name", fact(info.machine, "cpu")},
                 {"executable", "sinkbench"},
                 {"num_cpus", core_count},
                 {"mhz_per_cpu", 0},
                 {"cpu_scaling_enabled", false},
                 {"caches", json::array()},
                 {"load_avg", json::array()},
                 {"library_build_type", build == "Debug" ? "debug" : "release"},
                 {"json_schema_version", 1}}},
               {"benchmarks", benchmarks}});
}

}  // namespace

const std::vector<std::string>& export_formats() {
  static const std::vector<std::string> formats = {"junit", "markdown", "bencher",
                                                   "github-benchmark", "google-benchmark"};
  return formats;
}

Export parse_export(const std::string& assignment) {
  const size_t equals = assignment.find('=');
  if (equals == std::string::npos || equals + 1 == assignment.size()) {
    throw InputError::format("--export {}: expected FORMAT=FILE", assignment);
  }
  const std::string format = assignment.substr(0, equals);
  const auto& formats = export_formats();
  if (std::find(formats.begin(), formats.end(), format) == formats.end()) {
    throw InputError::format("--export {}: unknown format '{}'{}", assignment, format,
                             suggestion(format, formats));
  }
  return {.format = format, .file = assignment.substr(equals + 1)};
}

std::string export_text(const std::string& format, const Comparison& comparison,
                        const Results& candidate) {
  if (format == "junit") return junit(comparison);
  if (format == "markdown") return format_comparison(comparison, /*markdown=*/true);
  if (format == "bencher") return bencher(candidate);
  if (format == "github-benchmark") return github_benchmark(candidate);
  return google_benchmark(candidate);
}

void write_export(const Export& to, const Comparison& comparison, const Results& candidate) {
  write_file_atomically(to.file, export_text(to.format, comparison, candidate));
}

}  // namespace sinkbench
