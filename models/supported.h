// What is read and what is refused, for people: what `sinkbench list` shows, without tensors.
#pragma once

#include <span>
#include <string>
#include <utility>
#include <vector>

namespace sinkbench {

struct SupportedFamily {
  std::string name;     ///< model_type in config.json
  std::string gguf;     ///< general.architecture; "": the family is not read from GGUF
  std::string summary;  ///< one line: which models
};
/// The families of models/family.h's registry.
const std::vector<SupportedFamily>& supported_families();

/// Families that are refused, with what the decoder lacks for them.
struct Unsupported {
  std::string name, lacking;
};
const std::vector<Unsupported>& unsupported_families();

/// Endings of tensors that no plain checkpoint has, and what writes them: "GPTQ or AWQ".
std::span<const std::pair<const char*, const char*>> quantised_endings();

/// The methods among them: "GPTQ or AWQ, ...".
std::string quantised_methods();

}  // namespace sinkbench
