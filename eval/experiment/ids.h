// Names of cells and of their parts, fit for files.
#pragma once

#include <filesystem>
#include <string>

#include "eval/experiment/experiment.h"

namespace sinkbench {

/// Letters, digits, '.', '_' and '+' as they are, of whatever script, and '-' for runs of all else.
std::string slug(const std::string& text);
/// The last part of a path that says something: not "" of "models/tiny/", not the extension.
std::string path_slug(const std::filesystem::path& path);
/// The name of a checkpoint's folder or file.
std::string model_slug(const std::filesystem::path& path);
/// Of a SHA-256 the first eight digits.
std::string short_hash(const std::string& text);

std::string policy_label(const PolicySpec& policy);
/// A policy's part of an id: "sinks-4+124", "window-0+128-original".
std::string policy_id(const PolicySpec& policy);
/// What the paths' last parts, which an id shows, leave unsaid.
std::string sources_of(const Cell& cell);
std::string cell_id(const Cell& cell);

}  // namespace sinkbench
