// What a model is and what can be done with it, without reading its weights.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <vector>

#include "models/config.h"

namespace sinkbench {

/// Of a checkpoint's folder, a GGUF file, or a config.json alone, as an object: path, family,
/// parameters, weights (null for a config.json alone), shape, attention, context, positions, sinks,
/// kv_bytes_per_token by precision, tokenizer (null where there is none; `error` where it can't be
/// used), policies (name, allowed, note), those of these plug-ins among them. InputError where the
/// model can't be run.
nlohmann::ordered_json inspect_model(const std::filesystem::path& path,
                                     const std::vector<std::filesystem::path>& plugins);

/// For each policy {name, allowed, note}: whether a model takes it at all, with the limit or the
/// reason in the note.
nlohmann::ordered_json inspect_policies(const DecoderConfig& config);

}  // namespace sinkbench
