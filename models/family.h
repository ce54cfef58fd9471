// A family maps the names and quirks of one kind of checkpoint onto the one decoder.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "base/gguf.h"
#include "models/checkpoint.h"
#include "models/config.h"
#include "models/config_reader.h"
#include "models/rope_parameters.h"
#include "models/supported.h"
#include "models/weights.h"

namespace sinkbench {

/// How llama.cpp's conversion to GGUF says what a family's config.json says, where it is not what
/// models/gguf_config.cpp has for all.
struct GgufArchitecture {
  std::string name;  ///< general.architecture; "": the family is not read from GGUF
  /// Rows of queries and keys are in pairs, as ggml's first kind of RoPE rotates them.
  bool paired = false;
  /// Its conversion states four times the hidden size as that of the MLP, whatever it is: the
  /// tensor counts.
  bool mlp_by_tensor = false;
  /// The norms' epsilon in config.json.
  const char* epsilon = "rms_norm_eps";
  /// Fields of config.json ("attn_config.alibi_bias_max") and the keys, after the architecture's
  /// name and a dot, that hold them.
  std::vector<std::pair<const char*, const char*>> keys = {};
  /// Changes the config.json that was made of the keys, where they don't say all.
  void (*adapt)(const GgufFile&, nlohmann::json& config) = nullptr;
};

struct Family {
  std::string name;  ///< model_type in config.json
  /// Throws InputError naming a field that is missing, wrong, or asks for what isn't supported.
  DecoderConfig (*read_config)(const ConfigReader&);
  DecoderWeights (*read_weights)(const DecoderConfig&, const ConfigReader&, TensorSource&);
  GgufArchitecture gguf = {};
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
Family gemma2_family();
Family gemma3_family();
Family gemma3_text_family();
Family smollm3_family();
Family granite_family();
Family olmo2_family();
Family olmo3_family();
Family phi_family();
Family starcoder2_family();
Family opt_family();
Family mixtral_family();
Family qwen2_moe_family();
Family qwen3_moe_family();
Family olmoe_family();
Family glm4_moe_family();
Family gpt_oss_family();

/// In the order of supported_families().
const std::vector<Family>& family_registry();

/// The family of a config.json by its model_type; InputError where it is missing or unknown.
const Family& find_family(const ConfigReader& config);

/// Reads the configuration and checks what every family must satisfy (heads divisible by
/// key/value heads, ...).
DecoderConfig read_decoder_config(const ConfigReader& config);

/// InputError naming a field that the family didn't ask for and that, in the configurations of some
/// families, changes what is computed. For parts of a configuration; read_decoder_config does it
/// for the whole.
void refuse_unread(const ConfigReader& config, const DecoderConfig& decoder);

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
/// or both, and a head that differs from the embedding is a head of its own, as in transformers 5;
/// where they aren't, both must be there.
void read_embedding_and_head(const DecoderConfig& config, const std::string& embedding,
                             const std::string& head, TensorSource& source,
                             DecoderWeights& weights);
/// One product in place of several that share their input: rows one below the other.
Linear stack(const std::vector<Linear>& parts);
/// Queries, keys and values of `attention`q_proj, k_proj and v_proj.
Linear read_qkv(TensorSource& source, const std::string& attention, const DecoderConfig& config);
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
Activation read_activation(const ConfigReader& config, ConfigReader::Names names,
                           const std::string& fallback);

}  // namespace sinkbench
