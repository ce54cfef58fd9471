// A comparison, or the run that it judges, in the formats of others.
#pragma once

#include <filesystem>
#include <string>

#include "reports/compare.h"

namespace sinkbench {

struct Export {
  std::string format;  ///< one of `export_formats`
  std::filesystem::path file;
};

/// junit: a test case for each cell and each of its quantities, as Ant's schema has it.
/// markdown: the report for a pull request.
/// And what the candidate measured, for dashboards that keep their own history:
/// bencher: Bencher Metric Format. github-benchmark: github-action-benchmark's
/// customSmallerIsBetter. google-benchmark: Google Benchmark's JSON, a repetition for each timed
/// step, so that its compare.py can test them.
const std::vector<std::string>& export_formats();

/// "junit=report.xml". Throws InputError.
Export parse_export(const std::string& assignment);

std::string export_text(const std::string& format, const Comparison& comparison,
                        const Results& candidate);

/// Replaces the file as a whole.
void write_export(const Export& to, const Comparison& comparison, const Results& candidate);

}  // namespace sinkbench
