// Policies from shared libraries that people bring: see include/sinkbench/policy.h, the interface
// that these are written against.
#pragma once

#include <filesystem>
#include <span>
#include <string>

#include "policies/arguments.h"

struct sb_plugin;

namespace sinkbench {

/// Adds the policies of a plug-in to the registry; of one that has been loaded, nothing. It is
/// first tried in a process of its own, so that one that crashes is told of. Throws InputError
/// naming the file and what is wrong with it: it is none, it exports no policies, is of another
/// version, has a name that exists, a parameter that makes no sense.
/// @return as it stands in results
PolicyPlugin load_plugin(const std::filesystem::path& file);

/// The same of one that lies in memory; what `load_plugin` does once a file has been opened.
void add_plugin(const sb_plugin* plugin, const PolicyPlugin& of);

}  // namespace sinkbench
