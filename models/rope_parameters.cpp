#include "models/rope_parameters.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/error.h"

namespace sinkbench {
namespace {

bool is_nested(const nlohmann::json& dictionary) {
  return std::any_of(dictionary.begin(), dictionary.end(),
                     [](const nlohmann::json& value) { return value.is_object(); });
}

/// Its name, for messages, and the dictionary, flat or nested.
std::optional<std::pair<std::string, ConfigReader>> find_dictionary(const ConfigReader& config) {
  const auto scaling = config.object({"rope_scaling"});
  const auto parameters = config.object({"rope_parameters"});
  if (scaling && parameters && scaling->json() != parameters->json()) {
    config.fail("rope_scaling", "is given beside other rope_parameters; expected one of them");
  }
  if (parameters) return {{"rope_parameters", *parameters}};
  if (scaling) return {{"rope_scaling", *scaling}};
  return std::nullopt;
}

/// Scales the frequencies of `rotary`, whose dims and theta are there, as one kind of dictionary
/// does.
class Scaling {
 public:
  Scaling(const ConfigReader& config, const ConfigReader& dictionary, int64_t context,
          RotaryConfig& rotary)
      : config_(config), dictionary_(dictionary), context_(context), rotary_(rotary) {}

  void apply(const std::string& type) {
    if (type == "longrope" || type == "su") return longrope();
    if (type == "dynamic") return dynamic();
    if (type == "yarn") return yarn();
    if (type == "llama3") return llama3();
    if (type != "linear") {
      dictionary_.fail("rope_type", fmt::format("'{}' is not supported; expected default, linear, "
                                                "dynamic, llama3, yarn or longrope",
                                                type));
    }
    const double by = factor(type);
    for (double& frequency : rotary_.inverse_frequencies) frequency /= by;
    dictionary_.has("original_max_position_embeddings");  // which may be there, and means nothing
  }

 private:
  std::optional<int64_t> stated_context() const {
    return context_ > 0 ? std::optional(context_) : std::nullopt;
  }

  int64_t original(std::optional<int64_t> fallback) const {
    // Phi-3 has it beside the dictionary, which it then overrules.
    const char* field = "original_max_position_embeddings";
    const int64_t inside = dictionary_.integer({field}, 1, config_.integer({field}, 1, fallback));
    return config_.integer({field}, 1, inside);
  }

  double factor(const std::string& type, std::optional<double> fallback = {}) {
    const double factor = dictionary_.number({"factor"}, fallback);
    if (factor < 1.0) {
      dictionary_.fail("factor", fmt::format("is {}; expected 1 or more", factor));
    }
    rotary_.scaling = fmt::format("{}, factor {:g}", type, factor);
    return factor;
  }

  /// A factor for each frequency; cosine and sine grow with the context's extension
  /// (_compute_longrope_parameters of transformers).
  void longrope() {
    const int64_t pairs = rotary_.dims / 2;
    rotary_.limit = original(stated_context());
    const std::vector<double> factors = dictionary_.numbers("short_factor", pairs);
    dictionary_.numbers("long_factor", pairs);
    for (int64_t i = 0; i < pairs; ++i) {
      if (factors[i] <= 0.0) dictionary_.fail("short_factor", "expected positive numbers");
      rotary_.inverse_frequencies[i] /= factors[i];
    }
    const double extension = dictionary_.number(
        {"factor"}, static_cast<double>(context_) / static_cast<double>(rotary_.limit));
    rotary_.magnitude = dictionary_.number(
        {"attention_factor"},
        extension <= 1.0 ? 1.0 : std::sqrt(1.0 + std::log(extension) / std::log(rotary_.limit)));
    rotary_.scaling = fmt::format("longrope, up to {} positions", rotary_.limit);
  }

  void dynamic() {
    factor("dynamic");
    rotary_.limit = dictionary_.integer({"original_max_position_embeddings"}, 1, stated_context());
    rotary_.scaling = fmt::format("dynamic, up to {} positions", rotary_.limit);
  }

  /// Long wavelengths are slowed down by the factor, short ones kept, between them a ramp
  /// (_compute_llama3_parameters of transformers).
  void llama3() {
    const double by = factor("llama3");
    const double low = dictionary_.number({"low_freq_factor"}, 1.0);
    const double high = dictionary_.number({"high_freq_factor"}, 4.0);
    const double context_before = static_cast<double>(original(stated_context()));
    if (high <= low) dictionary_.fail("high_freq_factor", "expected more than low_freq_factor");
    for (double& frequency : rotary_.inverse_frequencies) {
      const double wavelength = 2.0 * std::numbers::pi / frequency;
      const double ramp = std::clamp((context_before / wavelength - low) / (high - low), 0.0, 1.0);
      frequency = (1.0 - ramp) * frequency / by + ramp * frequency;
    }
  }

  /// NTK by parts: interpolated below beta_slow turns over the original context, kept above
  /// beta_fast (_compute_yarn_parameters of transformers).
  void yarn() {
    const double context_before = static_cast<double>(original(stated_context()));
    const double by = factor("yarn", static_cast<double>(context_) / context_before);
    const double beta_fast = dictionary_.number({"beta_fast"}, 32.0);
    const double beta_slow = dictionary_.number({"beta_slow"}, 1.0);
    const double dims = static_cast<double>(rotary_.dims);
    const auto dimension_of_turns = [&](double turns) {
      return dims * std::log(context_before / (turns * 2.0 * std::numbers::pi)) /
             (2.0 * std::log(rotary_.theta));
    };
    double low = dimension_of_turns(beta_fast);
    double high = dimension_of_turns(beta_slow);
    if (dictionary_.boolean({"truncate"}, true)) {
      low = std::floor(low);
      high = std::ceil(high);
    }
    low = std::max(low, 0.0);
    high = std::min(high, dims - 1);
    if (low == high) high += 0.001;
    for (size_t i = 0; i < rotary_.inverse_frequencies.size(); ++i) {
      double& frequency = rotary_.inverse_frequencies[i];
      const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
      frequency = ramp * frequency / by + (1.0 - ramp) * frequency;
    }
    const auto magnitude = [&](double scale) {
      return by <= 1.0 ? 1.0 : 0.1 * scale * std::log(by) + 1.0;
    };
    const double mscale = dictionary_.number({"mscale"}, 0.0);
    const double mscale_all = dictionary_.number({"mscale_all_dim"}, 0.0);
    rotary_.magnitude =
        dictionary_.number({"attention_factor"}, mscale != 0.0 && mscale_all != 0.0
                                                     ? magnitude(mscale) / magnitude(mscale_all)
                                                     : magnitude(1.0));
  }

  const ConfigReader& config_;
  const ConfigReader& dictionary_;
  int64_t context_;
  RotaryConfig& rotary_;
};

}  // namespace

std::optional<ConfigReader> rope_dictionary(const ConfigReader& config) {
  const auto found = find_dictionary(config);
  if (!found) return std::nullopt;
  if (is_nested(found->second.json())) {
    config.fail(found->first,
                "holds dictionaries by kind of layer, which this family doesn't have");
  }
  return found->second;
}

std::optional<ConfigReader> rope_dictionary(const ConfigReader& config, const char* layer_type) {
  const auto found = find_dictionary(config);
  if (!found || !is_nested(found->second.json())) return std::nullopt;
  found->second.has("full_attention");  // each of the two is read by a call of its own
  found->second.has("sliding_attention");
  found->second.refuse_unread({}, ", which is no kind of layer that is supported");
  const auto dictionary = found->second.object({layer_type});
  if (!dictionary && found->second.json().contains(layer_type)) {
    found->second.fail(layer_type, "is null: layers without positions are not supported here");
  }
  return dictionary;
}

BesideDictionary beside_rope_dictionary(const ConfigReader& config, double default_theta,
                                        double default_fraction) {
  return {.theta = config.number({"rope_theta"}, default_theta),
          .fraction = config.number({"partial_rotary_factor"}, default_fraction)};
}

RotaryConfig read_rotary(const ConfigReader& config, const std::optional<ConfigReader>& dictionary,
                         const BesideDictionary& beside, int64_t head_dim, int64_t context) {
  double theta = beside.theta, fraction = beside.fraction;
  if (dictionary) {
    theta = dictionary->number({"rope_theta"}, theta);
    fraction = dictionary->number({"partial_rotary_factor"}, fraction);
  }
  if (fraction <= 0.0 || fraction > 1.0) {
    config.fail("partial_rotary_factor",
                fmt::format("is {}; expected more than 0 and at most 1", fraction));
  }
  const auto dims = static_cast<int64_t>(static_cast<double>(head_dim) * fraction);
  if (dims < 2 || dims % 2 != 0) {
    config.fail("rotary", fmt::format("{} rotated dimensions; expected an even number", dims));
  }
  if (theta <= 1.0) config.fail("rope_theta", fmt::format("is {}; expected more than 1", theta));
  RotaryConfig rotary{.dims = dims, .inverse_frequencies = {}, .theta = theta};
  for (int64_t i = 0; i < dims; i += 2) {
    rotary.inverse_frequencies.push_back(
        std::pow(theta, -static_cast<double>(i) / static_cast<double>(dims)));
  }
  if (!dictionary) return rotary;
  const std::string type = dictionary->text({"rope_type", "type"}, "default");
  if (type != "default") Scaling(config, *dictionary, context, rotary).apply(type);
  const bool stated = dictionary->has("rope_type") || dictionary->has("type");
  dictionary->refuse_unread(
      {"finetuned"}, stated ? fmt::format(", which means nothing where rope_type is '{}'", type)
                            : ", but there is no rope_type to give it a meaning");
  return rotary;
}

RotaryConfig read_rotary(const ConfigReader& config, int64_t head_dim, int64_t context) {
  return read_rotary(config, rope_dictionary(config), beside_rope_dictionary(config), head_dim,
                     context);
}

}  // namespace sinkbench
