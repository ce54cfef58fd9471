// SmolLM3 (Hugging Face 2025) as in transformers' SmolLM3ForCausalLM: Llama with every fourth layer
// without positions.
#include "models/families/llama.h"

namespace sinkbench {
namespace {

DecoderConfig smollm3_config(const ConfigReader& reader) {
  DecoderConfig config = read_llama_config(reader, {.theta = 2e6, .tied = true});
  read_llama_biases(config, reader);
  const auto layers = static_cast<size_t>(config.layers);
  const int64_t interval = reader.integer({"no_rope_layer_interval"}, 1, 4);
  std::vector<double> rotated;  // 1 for a layer with positions, whatever the field's name says
  if (reader.has("no_rope_layers")) {
    rotated = reader.numbers("no_rope_layers", config.layers);
  } else {
    for (size_t i = 1; i <= layers; ++i) {
      rotated.push_back(i % static_cast<size_t>(interval) != 0 ? 1 : 0);
    }
  }
  for (const double layer : rotated) config.rotary_of_layer.push_back(layer != 0.0 ? 0 : -1);
  if (reader.boolean({"use_sliding_window"}, false)) {
    // transformers' windows are those of the layers without positions where no list says otherwise.
    read_local_windows(config, reader, 0,
                       [&](int64_t layer) { return rotated[static_cast<size_t>(layer)] == 0.0; });
  } else {
    reader.has("sliding_window");  // which may be there, and means nothing
  }
  return config;
}

}  // namespace

Family smollm3_family() {
  return {.name = "smollm3",
          .read_config = smollm3_config,
          .read_weights = read_llama_weights,
          .gguf = {.name = "smollm3", .paired = true}};
}

}  // namespace sinkbench
