// A family maps the names and quirks of one kind of checkpoint onto the one decoder.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "models/checkpoint.h"
#include "models/config.h"
#include "models/config_reader.h"
#include "models/weights.h"

namespace sinkbench {

struct Family {
  std::string name;     ///< model_type in config.json
  std::string summary;  ///< one line: what is supported
  /// Throws InputError naming a field that is missing, wrong, or asks for what isn't supported.
  DecoderConfig (*read_config)(const ConfigReader&);
  DecoderWeights (*read_weights)(const DecoderConfig&, const ConfigReader&, TensorSource&);
};

/// One entry per file of models/families.
Family llama_family();
Family mistral_family();
Family qwen2_family();
Family qwen3_family();
Family phi3_family();
Family gpt_neox_family();
Family falcon_family();
Family mpt_family();
Family gpt2_family();

const std::vector<Family>& family_registry();

/// The family of a config.json by its model_type; InputError where it is missing or unknown.
const Family& find_family(const ConfigReader& config);

/// Reads the configuration and checks what every family must satisfy (heads divisible by
/// key/value heads, ...).
DecoderConfig read_decoder_config(const ConfigReader& config);

// For the families' files:

/// What the names of a checkpoint's tensors begin with: `root`, as a model with its head is saved,
/// or
/// "", as the bare model is, which shows from the place of `tensor`.
std::string read_root(const TensorSource& source, const std::string& root,
                      const std::string& tensor);
/// weight [out, in] under `name`.weight, and `name`.bias where `bias`.
Linear read_linear(TensorSource& source, const std::string& name, int64_t out, int64_t in,
                   bool bias);
/// `name`.weight, and `name`.bias where `bias`.
NormWeights read_norm(TensorSource& source, const std::string& name, int64_t size, bool bias);
/// Embedding and output head. Where they are tied, the one matrix may be stored under either name
/// or both; where they aren't, both must be there.
void read_embedding_and_head(const DecoderConfig& config, const std::string& embedding,
                             const std::string& head, TensorSource& source,
                             DecoderWeights& weights);
/// One product in place of several that share their input: rows one below the other.
Linear stack(const std::vector<Linear>& parts);
/// Rows stored group by group, as [kv_heads, (its queries, key, value), head_dim], to all queries,
/// all keys, all values.
Linear ungroup(const Linear& rows, const DecoderConfig& config);
/// The learned sink logits [heads] of a layer, stored beside its attention's matrices as gpt-oss
/// has them: `attention`.sinks. Undefined where the configuration asks for none.
at::Tensor read_sink_logit(const DecoderConfig& config, const std::string& attention,
                           TensorSource& source);
/// hidden_size / heads; InputError naming `field` where it doesn't divide.
int64_t read_head_dim(const ConfigReader& config, const char* field, int64_t hidden_size,
                      int64_t heads);
/// InputError where `field`, which is false by default, is true: it asks for what isn't supported.
void refuse(const ConfigReader& config, const char* field);
/// Inverse frequencies theta^(-2i/dims), i = 0 .. dims/2 - 1, with the `rope_scaling` (or
/// `rope_parameters`) of the configuration applied. Supported types: default, linear, llama3
/// (Llama 3.1), yarn (Peng et al. 2023, arXiv 2309.00071); dynamic (NTK) and longrope (Ding et al.
/// 2024, arXiv 2402.13753) up to the original context, where they don't depend on the length yet.
RotaryConfig read_rotary(const ConfigReader& config, int64_t dims, double theta, int64_t context);
Activation read_activation(const ConfigReader& config, ConfigReader::Names names,
                           const std::string& fallback);

}  // namespace sinkbench
