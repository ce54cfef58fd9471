// Attention sinks as tables and pictures.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "eval/results/sink_results.h"
#include "reports/picture.h"
#include "reports/text_table.h"

namespace sinkbench {

/// For people: what was measured, the sink metric, alpha_0 by layer and head (the strongest heads
/// where there are more than fit side by side), value norms, and the mass that goes to trained
/// sinks where the model has any.
std::string format_sinks(const SinkResults& results);

/// Layers of which maps are drawn: 0, 1, 2 and others evenly to the last, `most` (4 or more)
/// altogether, or all where there are no more.
std::vector<int64_t> drawn_layers(int64_t layers, int64_t most);

/// A row for each measurement: model, what was fed, Sink_0 and the strongest layer, beside what
/// others have published of a model of that name; and as CSV.
Columns sink_summary(std::span<const SinkResults> measurements);
std::string sink_summary_csv(std::span<const SinkResults> measurements);

/// By layer, a line for each measurement: the mean of alpha_0, and what the last query gives to
/// position 0 with its deviation over the heads (figure 12 of the StreamingLLM paper).
std::vector<Picture> sink_pictures(std::span<const SinkResults> measurements);

/// Of each model that has natural samples among the measurements and, among the results, a window
/// and sinks of the same capacity on one text: Sink_0 beside what losing the first tokens costs.
Columns sinks_beside_costs(std::span<const SinkResults> measurements,
                           std::span<const Results> results);

/// sinks (alpha_0 by layer and head) and attention-maps (by layer, over query and key) and, where
/// there are any, logits (by layer and head, over query and key), as NAME.svg and NAME.png, with
/// what gnuplot draws them from. InputError, where gnuplot is missing for one.
void draw_sinks(const SinkResults& results, const std::filesystem::path& folder);

}  // namespace sinkbench
