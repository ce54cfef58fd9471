// Results as one HTML page that needs nothing beside it: no network, no other file; its own script
// sorts tables, without which it is as complete.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "eval/results/results.h"
#include "eval/results/sink_results.h"

namespace sinkbench {

/// What one experiment adds to a page.
struct HtmlSection {
  std::string title;
  Results results = {};
  /// Where the NLL files are; empty: unknown, and without what is made of them.
  std::filesystem::path folder;
  std::string provenance = {};   ///< of merged results: format_provenance
  std::string description = {};  ///< what the experiment is for
  /// Of an experiment that measured sinks, in the place of `results`, and the folder below `folder`
  /// of each.
  std::vector<SinkResults> sinks = {};
  std::vector<std::string> sink_folders = {};
};

/// The page: for each section what was run, its tables, its pictures and, where a model is one of
/// the paper's, the published values beside the measured ones; then the conventions and machines.
/// Pictures are drawn of these results. An NLL file that can't be read is said where the picture of
/// it would stand.
std::string html_page(const std::string& title, std::span<const HtmlSection> sections);

}  // namespace sinkbench
