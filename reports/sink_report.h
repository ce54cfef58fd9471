// Attention sinks as tables and pictures.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "eval/results/sink_results.h"

namespace sinkbench {

/// For people: what was measured, the sink metric, alpha_0 by layer and head (the strongest heads
/// where there are more than fit side by side), value norms, and the mass that goes to trained
/// sinks where the model has any.
std::string format_sinks(const SinkResults& results);

/// Layers of which maps are drawn: 0, 1, 2 and others evenly to the last, `most` (4 or more)
/// altogether, or all where there are no more.
std::vector<int64_t> drawn_layers(int64_t layers, int64_t most);

/// sinks (alpha_0 by layer and head) and attention-maps (by layer, over query and key) as NAME.svg
/// and NAME.png, with what gnuplot draws them from. InputError, where gnuplot is missing for one.
void draw_sinks(const SinkResults& results, const std::filesystem::path& folder);

}  // namespace sinkbench
