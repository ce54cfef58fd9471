// The models and texts of an experiment's YAML.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "eval/experiment/experiment.h"
#include "eval/experiment/place.h"

namespace sinkbench {

std::vector<ModelSpec> read_models(const Place& place);

/// `limit`: no dataset is longer.
std::vector<DatasetSpec> read_datasets(const Place& place, const std::optional<int64_t>& limit);

/// Throws where cells name too many texts altogether.
void check_texts(size_t texts, const Place& place);

}  // namespace sinkbench
