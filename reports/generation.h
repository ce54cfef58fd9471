// Texts that a model wrote under several policies, side by side.
#pragma once

#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "eval/results/generation.h"

namespace sinkbench {

/// For a terminal of `width` columns (0: 100): a table of what came out, then the texts in parts
/// beside each other, or below where there is no room; with each part its NLL under dense attention
/// and how much of it repeats what was there, and where the first entry left the cache.
std::string format_generation(const Generation& generation, size_t width);
/// The same as a document of Markdown, the texts in a table.
std::string generation_markdown(const Generation& generation);
/// The same as one HTML page that needs nothing beside it. The darker a part is shaded, the less
/// likely it is under dense attention.
std::string generation_html(const Generation& generation);
/// Everything, ids and NLLs too.
nlohmann::ordered_json generation_json(const Generation& generation);

}  // namespace sinkbench
