#include "models/family.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numbers>

namespace sinkbench {

const std::vector<Family>& family_registry() {
  static const std::vector<Family> families = {llama_family(),  mistral_family(), qwen2_family(),
                                               qwen3_family(),  phi3_family(),    gpt_neox_family(),
                                               falcon_family(), mpt_family(),     gpt2_family()};
  return families;
}

const Family& find_family(const ConfigReader& config) {
  const std::string type = config.text({"model_type"});
  std::vector<std::string> names;
  for (const Family& family : family_registry()) {
    if (family.name == type) return family;
    names.push_back(family.name);
  }
  // What lacks in the decoder, where that can be said.
  static const std::map<std::string, const char*> lacking = {
      {"gemma2", "soft caps on scores and logits, norms after attention and MLP"},
      {"gemma3", "frequencies that differ from layer to layer, images"},
      {"gemma3_text", "frequencies that differ from layer to layer"},
      {"gpt_oss", "mixtures of experts, local windows in every other layer"},
      {"mixtral", "mixtures of experts"},
      {"qwen2_moe", "mixtures of experts"},
      {"qwen3_moe", "mixtures of experts"},
      {"deepseek_v2", "mixtures of experts, latent attention"},
      {"deepseek_v3", "mixtures of experts, latent attention"},
      {"mamba", "layers without attention"},
      {"opt", "positions that start at 2, projections around the embedding"},
  };
  if (const auto it = lacking.find(type); it != lacking.end()) {
    config.fail("model_type", fmt::format("'{}' is not supported: it has {}", type, it->second));
  }
  config.fail("model_type", fmt::format("'{}' is not supported{}", type, suggestion(type, names)));
}

DecoderConfig read_decoder_config(const ConfigReader& reader) {
  DecoderConfig config = find_family(reader).read_config(reader);
  config.family = reader.text({"model_type"});
  if (config.heads % config.kv_heads != 0) {
    reader.fail("num_key_value_heads", fmt::format("is {}; expected a divisor of the {} heads",
                                                   config.kv_heads, config.heads));
  }
  if (config.rotary && config.rotary->dims > config.head_dim) {
    reader.fail("rotary", fmt::format("{} rotated dimensions; a head has {}", config.rotary->dims,
                                      config.head_dim));
  }
  config.learned_sink_logits = reader.boolean({"learned_sink_logits"}, false);
  if (reader.has("constant_sink_logit")) {
    if (config.learned_sink_logits) {
      reader.fail("constant_sink_logit", "is set beside learned_sink_logits; expected one of them");
    }
    config.constant_sink_logit = reader.number({"constant_sink_logit"});
  }
  if (reader.has("sink_token_id")) {
    const int64_t id = reader.integer({"sink_token_id"}, 0);
    if (id >= config.vocab_size) {
      reader.fail("sink_token_id", fmt::format("is {}; expected an id from 0 to {}, the vocabulary",
                                               id, config.vocab_size - 1));
    }
    config.sink_token = static_cast<int32_t>(id);
  }
  if (config.attention_scale == 0.0) config.attention_scale = 1.0 / std::sqrt(config.head_dim);
  return config;
}

std::string read_root(const TensorSource& source, const std::string& root,
                      const std::string& tensor) {
  return source.has(tensor) ? "" : root;
}

Linear read_linear(TensorSource& source, const std::string& name, int64_t out, int64_t in,
                   bool bias) {
  Linear linear;
  linear.weight = source.get(name + ".weight", {out, in});
  if (bias) linear.bias = source.get(name + ".bias", {out});
  return linear;
}

NormWeights read_norm(TensorSource& source, const std::string& name, int64_t size, bool bias) {
  NormWeights norm;
  norm.weight = source.get(name + ".weight", {size});
  if (bias) norm.bias = source.get(name + ".bias", {size});
  return norm;
}

void read_embedding_and_head(const DecoderConfig& config, const std::string& embedding,
                             const std::string& head, TensorSource& source,
                             DecoderWeights& weights) {
  const std::string embedding_name = embedding + ".weight";
  const std::string head_name = head + ".weight";
  const int64_t vocab = config.vocab_size;
  const int64_t hidden = config.hidden_size;
  if (config.tied_head) {
    // The embedding is the one that counts; a head stored beside it is a copy, as transformers has
    // it, and read only so that its shape is checked.
    const bool only_head = !source.has(embedding_name) && source.has(head_name);
    weights.embedding = source.get(only_head ? head_name : embedding_name, {vocab, hidden});
    if (!only_head && source.has(head_name)) source.get(head_name, {vocab, hidden});
    weights.head.weight = weights.embedding;
  } else {
    weights.embedding = source.get(embedding_name, {vocab, hidden});
    weights.head.weight = source.get(head_name, {vocab, hidden});
  }
}

Linear stack(const std::vector<Linear>& parts) {
  std::vector<at::Tensor> weights, biases;
  for (const Linear& part : parts) {
    weights.push_back(part.weight);
    if (part.bias.defined()) biases.push_back(part.bias);
  }
  if (!biases.empty() && biases.size() != parts.size()) {
    throw std::logic_error("stack: either all parts have a bias or none");
  }
  Linear result{at::cat(weights, 0), {}};
  if (!biases.empty()) result.bias = at::cat(biases, 0);
  return result;
}

Linear ungroup(const Linear& rows, const DecoderConfig& config) {
  const int64_t share = config.heads / config.kv_heads;
  const auto by_kind = [&](const at::Tensor& x) {
    const at::Tensor groups = x.view({config.kv_heads, share + 2, config.head_dim, -1});
    const auto kind = [&](int64_t begin, int64_t size) {
      return groups.narrow(1, begin, size).reshape({-1, groups.size(3)});
    };
    return at::cat({kind(0, share), kind(share, 1), kind(share + 1, 1)}).view(x.sizes());
  };
  return {by_kind(rows.weight), rows.bias.defined() ? by_kind(rows.bias) : at::Tensor()};
}

at::Tensor read_sink_logit(const DecoderConfig& config, const std::string& attention,
                           TensorSource& source) {
  if (!config.learned_sink_logits) return {};
  return source.get(attention + ".sinks", {config.heads});
}

int64_t read_head_dim(const ConfigReader& config, const char* field, int64_t hidden_size,
                      int64_t heads) {
  if (hidden_size % heads != 0) {
    config.fail(field,
                fmt::format("is {}; expected a divisor of hidden_size {}", heads, hidden_size));
  }
  return hidden_size / heads;
}

void refuse(const ConfigReader& config, const char* field) {
  if (config.boolean({field}, false)) config.fail(field, "is true, which is not supported");
}

RotaryConfig read_rotary(const ConfigReader& config, int64_t dims, double theta, int64_t context) {
  if (dims < 2 || dims % 2 != 0) {
    config.fail("rotary", fmt::format("{} rotated dimensions; expected an even number", dims));
  }
  if (theta <= 1.0) config.fail("rope_theta", fmt::format("is {}; expected more than 1", theta));
  RotaryConfig rotary{.dims = dims, .inverse_frequencies = {}, .theta = theta};
  for (int64_t i = 0; i < dims; i += 2) {
    rotary.inverse_frequencies.push_back(std::pow(theta, -static_cast<double>(i) / dims));
  }
  const auto scaling = config.object({"rope_scaling", "rope_parameters"});
  if (!scaling) return rotary;
  const std::string type = scaling->text({"rope_type", "type"}, "default");
  if (type == "default") return rotary;
  const auto original = [&](std::optional<int64_t> fallback) {
    // Phi-3 has it beside rope_scaling, not in it.
    const char* field = "original_max_position_embeddings";
    return config.has(field) ? config.integer({field}, 1) : scaling->integer({field}, 1, fallback);
  };
  const std::optional<int64_t> stated = context > 0 ? std::optional(context) : std::nullopt;
  if (type == "longrope" || type == "su") {
    // A factor for each frequency; cosine and sine grow with the context's extension
    // (_compute_longrope_parameters of transformers).
    rotary.limit = original(stated);
    const std::vector<double> factors = scaling->numbers("short_factor", dims / 2);
    scaling->numbers("long_factor", dims / 2);
    for (int64_t i = 0; i < dims / 2; ++i) {
      if (factors[i] <= 0.0) scaling->fail("short_factor", "expected positive numbers");
      rotary.inverse_frequencies[i] /= factors[i];
    }
    const double extension = scaling->number(
        {"factor"}, static_cast<double>(context) / static_cast<double>(rotary.limit));
    rotary.magnitude = scaling->number(
        {"attention_factor"},
        extension <= 1.0 ? 1.0 : std::sqrt(1.0 + std::log(extension) / std::log(rotary.limit)));
    rotary.scaling = fmt::format("longrope, up to {} positions", rotary.limit);
    return rotary;
  }
  if (type != "linear" && type != "dynamic" && type != "llama3" && type != "yarn") {
    scaling->fail("rope_type", fmt::format("'{}' is not supported; expected default, linear, "
                                           "dynamic, llama3, yarn or longrope",
                                           type));
  }
  const double factor = scaling->number({"factor"});
  if (factor < 1.0) scaling->fail("factor", fmt::format("is {}; expected 1 or more", factor));
  rotary.scaling = fmt::format("{}, factor {:g}", type, factor);
  if (type == "dynamic") {
    rotary.limit = scaling->integer({"original_max_position_embeddings"}, 1, stated);
    rotary.scaling = fmt::format("dynamic, up to {} positions", rotary.limit);
  } else if (type == "linear") {
    for (double& frequency : rotary.inverse_frequencies) frequency /= factor;
  } else if (type == "llama3") {
    // Long wavelengths are slowed down by the factor, short ones kept, between them a ramp
    // (_compute_llama3_parameters of transformers).
    const double low = scaling->number({"low_freq_factor"}, 1.0);
    const double high = scaling->number({"high_freq_factor"}, 4.0);
    const double context_before = static_cast<double>(original({}));
    if (high <= low) scaling->fail("high_freq_factor", "expected more than low_freq_factor");
    for (double& frequency : rotary.inverse_frequencies) {
      const double wavelength = 2.0 * std::numbers::pi / frequency;
      const double ramp = std::clamp((context_before / wavelength - low) / (high - low), 0.0, 1.0);
      frequency = (1.0 - ramp) * frequency / factor + ramp * frequency;
    }
  } else {
    // NTK by parts: interpolated below beta_slow turns over the original context, kept above
    // beta_fast (_compute_yarn_parameters of transformers).
    const double context_before = static_cast<double>(original(stated));
    const double beta_fast = scaling->number({"beta_fast"}, 32.0);
    const double beta_slow = scaling->number({"beta_slow"}, 1.0);
    const auto dimension_of_turns = [&](double turns) {
      return dims * std::log(context_before / (turns * 2.0 * std::numbers::pi)) /
             (2.0 * std::log(theta));
    };
    double low = dimension_of_turns(beta_fast);
    double high = dimension_of_turns(beta_slow);
    if (scaling->boolean({"truncate"}, true)) {
      low = std::floor(low);
      high = std::ceil(high);
    }
    low = std::max(low, 0.0);
    high = std::min(high, static_cast<double>(dims - 1));
    if (low == high) high += 0.001;
    for (int64_t i = 0; i < dims / 2; ++i) {
      double& frequency = rotary.inverse_frequencies[i];
      const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
      frequency = ramp * frequency / factor + (1.0 - ramp) * frequency;
    }
    const auto magnitude = [&](double scale) {
      return factor <= 1.0 ? 1.0 : 0.1 * scale * std::log(factor) + 1.0;
    };
    const double mscale = scaling->number({"mscale"}, 0.0);
    const double mscale_all = scaling->number({"mscale_all_dim"}, 0.0);
    rotary.magnitude =
        scaling->number({"attention_factor"}, mscale != 0.0 && mscale_all != 0.0
                                                  ? magnitude(mscale) / magnitude(mscale_all)
                                                  : magnitude(1.0));
  }
  return rotary;
}

Activation read_activation(const ConfigReader& config, ConfigReader::Names names,
                           const std::string& fallback) {
  const std::string name = config.text(names, fallback);
  if (name == "silu" || name == "swish") return Activation::silu;
  if (name == "gelu") return Activation::gelu;
  if (name == "gelu_new" || name == "gelu_fast" || name == "gelu_pytorch_tanh") {
    return Activation::gelu_tanh;
  }
  if (name == "relu") return Activation::relu;
  config.fail(*names.begin(), fmt::format("'{}' is not supported; expected silu, gelu, gelu_new, "
                                          "gelu_fast, gelu_pytorch_tanh or relu",
                                          name));
}

}  // namespace sinkbench
