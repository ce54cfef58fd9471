// What a config.json says about rotary embeddings: a theta, and a dictionary of how the frequencies
// that follow from it are scaled.
#pragma once

#include <optional>

#include "models/config.h"
#include "models/config_reader.h"

namespace sinkbench {

/// The dictionary: `rope_parameters` (transformers 5) or `rope_scaling`, which may both be there
/// where they are equal. Nothing where there is none. InputError where it is nested by kind of
/// layer.
std::optional<ConfigReader> rope_dictionary(const ConfigReader& config);
/// That of `layer_type` ("full_attention") where dictionaries are nested by kind of layer; nothing
/// where they aren't.
std::optional<ConfigReader> rope_dictionary(const ConfigReader& config, const char* layer_type);

/// Fields that the dictionary may have, too, and which count where it hasn't.
struct BesideDictionary {
  double theta = 10000.0;
  double fraction = 1.0;  ///< of each head that is rotated
};
/// As most families have them: `rope_theta`, `partial_rotary_factor`.
BesideDictionary beside_rope_dictionary(const ConfigReader& config, double default_theta = 10000.0,
                                        double default_fraction = 1.0);

/// Inverse frequencies theta^(-2i/dims), i = 0 .. dims/2 - 1, scaled as the dictionary has it.
/// Types: default, linear, llama3 (Llama 3.1), yarn (Peng et al. 2023, arXiv 2309.00071); dynamic
/// (NTK) and longrope (Ding et al. 2024, arXiv 2402.13753) up to the original context, where they
/// don't depend on the length yet. Defaults are those of transformers 5. InputError names what is
/// wrong, and every field of the dictionary that its type gives no meaning to.
RotaryConfig read_rotary(const ConfigReader& config, const std::optional<ConfigReader>& dictionary,
                         const BesideDictionary& beside, int64_t head_dim, int64_t context);

/// The usual case: one flat dictionary, the usual fields beside it.
RotaryConfig read_rotary(const ConfigReader& config, int64_t head_dim, int64_t context);

}  // namespace sinkbench
