#include "models/quantised.h"

#include <algorithm>

#include "base/error.h"
#include "models/supported.h"

namespace sinkbench {
namespace {

/// What shows that the weights are quantised: a tensor, and a guess at the method.
/// `mxfp4`: whether the family reads that form of its experts.
std::optional<std::pair<std::string, std::string>> sign(const SafetensorsCheckpoint& checkpoint,
                                                        bool mxfp4) {
  for (const auto& [name, type] : checkpoint.types()) {
    const bool of_experts = name.find(".experts.") != name.npos;
    if (mxfp4 && of_experts && (name.ends_with("_blocks") || name.ends_with("_scales"))) continue;
    for (const auto& [ending, method] : quantised_endings()) {
      if (name.ends_with(ending)) return {{name, method}};
    }
    if (name.ends_with(".weight") && type.starts_with("F8")) return {{name, "FP8"}};
    if (name.ends_with(".weight") && (type == "U8" || type == "U32" || type == "I8")) {
      return {{name, "a method that packs integers"}};
    }
  }
  return std::nullopt;
}

}  // namespace

void refuse_quantised(const ConfigReader& config, const SafetensorsCheckpoint& checkpoint) {
  const bool mxfp4 = config.has("model_type") && config.text({"model_type"}) == "gpt_oss";
  const auto found = sign(checkpoint, mxfp4);
  if (!found) return;
  std::string method = found->second;
  const auto stated = config.object({"quantization_config"});
  if (stated && stated->has("quant_method")) {
    method = stated->text({"quant_method"});
  } else if (config.has("quantization")) {  // MLX's own field
    method = "MLX";
  }
  throw InputError::format(
      "{}: the weights are quantized by {} (tensor {} is of type {}), which is not supported; take "
      "the model that they were made of, or a GGUF file of it",
      config.path().parent_path().string(), method, found->first,
      checkpoint.types().at(found->first));
}

}  // namespace sinkbench
