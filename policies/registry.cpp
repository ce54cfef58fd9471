#include "policies/registry.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace sinkbench {

/// Those of index/ and score/; the build writes it.
std::vector<PolicyEntry> built_in_policies();

namespace {

std::vector<PolicyEntry>& registry() {
  static std::vector<PolicyEntry> entries = with_common_parameters(built_in_policies());
  return entries;
}

const char* const by_layer = "budget.by_layer";
const char* const by_head = "budget.by_head";
const char* const pyramid = "budget.pyramid.beta";
const char* const adaptive = "budget.adaptive.floor";

PolicyParameter prompt_parameter() {
  return {.name = "prompt",
          .meaning =
              "first tokens of each piece that are read densely and cut once, before the "
              "policy streams",
          .minimum = 1,
          .optional = true};
}

/// An index policy that lets a prompt be read first.
class Prompted final : public IndexPolicy {
 public:
  Prompted(std::unique_ptr<IndexPolicy> policy, int64_t prompt)
      : policy_(std::move(policy)), prompt_(prompt) {}

  View view(int64_t layer, int64_t t) const override {
    return t < prompt_ ? View{{0, t}} : policy_->view(layer, t);
  }
  bool differs_by_layer() const override { return policy_->differs_by_layer(); }
  int64_t prompt() const override { return prompt_; }
  std::optional<int64_t> capacity() const override {
    const auto capacity = policy_->capacity();
    return capacity ? std::max(*capacity, prompt_ - 1) : capacity;
  }
  std::optional<int64_t> size() const override { return policy_->size(); }
  std::string label() const override { return marked(policy_->label()); }
  std::string cache() const override { return marked(policy_->cache()); }

 private:
  std::string marked(const std::string& label) const {
    return fmt::format("{}, prompt {}", label, prompt_);
  }
  std::unique_ptr<IndexPolicy> policy_;
  int64_t prompt_;
};

/// The parameters of every score policy.
std::vector<PolicyParameter> common_parameters(const PolicyEntry& entry) {
  std::vector<PolicyParameter> result = {
      {.name = "capacity",
       .meaning = "entries kept by a round, the token just fed included",
       .minimum = 1,
       .size = true,
       .optional = true},
      {.name = by_layer,
       .meaning = "in place of capacity: that of each layer",
       .minimum = 1,
       .list = true,
       .optional = true},
      {.name = by_head,
       .meaning = "in place of capacity: that of each key head, layer by layer",
       .minimum = 1,
       .list = true,
       .optional = true},
      {.name = pyramid,
       .meaning =
           "the capacity is a mean, and falls from layer to layer; the last has about one in "
           "beta of what isn't protected",
       .minimum = 1,
       .optional = true},
      {.name = adaptive,
       .meaning = "the capacity is a mean that the heads of a layer share by their scores, but for "
                  "this share of it",
       .real = PolicyParameter::Bounds{0, 1},
       .optional = true},
      {.name = "sinks", .meaning = "first tokens of the stream, never evicted", .fallback = 4},
      {.name = "recent", .meaning = "last entries, never evicted", .fallback = 16},
      {.name = "every",
       .meaning = "tokens from one round of eviction to the next",
       .minimum = 1,
       .fallback = 1}};
  if (entry.weights) {
    PolicyParameter reduce = {.name = "reduce",
                              .meaning = "of the weights of the query heads that share a key head",
                              .fallback = "mean",
                              .words = {"mean", "max"}};
    if (entry.scope) {
      result.push_back({.name = "scope",
                        .meaning = "head: each key head for itself; layer: all heads keep the same "
                                   "tokens, by the mean of the weights of all query heads",
                        .fallback = *entry.scope == Retention::Scope::layer ? "layer" : "head",
                        .words = {"head", "layer"}});
      reduce.only_with = PolicyParameter::Condition{"scope", "head"};
    }
    result.push_back(std::move(reduce));
  }
  if (entry.shares) {
    result.push_back({.name = "values",
                      .meaning = "what the score is combined with: nothing, the norm of the value, "
                                 "or how far it is from the head's output (caote; fast_caote: from "
                                 "the mean value)",
                      .fallback = "none",
                      .words = {"none", "norm", "caote", "fast_caote"}});
  }
  result.push_back({.name = "seed", .meaning = "of what is drawn", .fallback = 0});
  result.push_back(prompt_parameter());
  return result;
}

bool takes(const PolicyParameter& parameter, const PolicyValue& value) {
  if (!parameter.words.empty()) {
    const auto& words = parameter.words;
    return value.is_word() && std::find(words.begin(), words.end(), value.word()) != words.end();
  }
  if (parameter.real) {
    return value.is_real() && value.real() >= parameter.real->least &&
           value.real() <= parameter.real->most;
  }
  const auto within = [&](int64_t x) { return x >= parameter.minimum && x <= parameter.maximum; };
  if (parameter.list) {
    return value.is_list() && !value.list().empty() &&
           std::all_of(value.list().begin(), value.list().end(), within);
  }
  return value.is_integer() && within(value.integer()) &&
         !(parameter.odd && value.integer() % 2 == 0);
}

bool has_meaning(const PolicyParameter& parameter, const PolicyArguments& arguments) {
  if (!parameter.only_with) return true;
  const auto it = arguments.find(parameter.only_with->name);
  return it != arguments.end() && it->second == PolicyValue(parameter.only_with->word);
}

/// "512, recent 64, every 16": the capacity and what departs from the defaults.
std::string cache_label(const PolicyEntry& entry, const PolicyArguments& arguments) {
  std::string label;
  if (const auto it = arguments.find("capacity"); it != arguments.end()) {
    label = to_string(it->second);
  } else {
    const bool heads = arguments.contains(by_head);
    const std::vector<int64_t>& list = arguments.at(heads ? by_head : by_layer).list();
    const auto [least, most] = std::minmax_element(list.begin(), list.end());
    const auto shown = [](int64_t n) {
      return n == largest_policy_argument ? std::string("all") : std::to_string(n);
    };
    label = !heads && list.size() <= 4 ? fmt::format("{}", fmt::join(list, "/"))
                                       : fmt::format("{} to {} by {}", shown(*least), shown(*most),
                                                     heads ? "head" : "layer");
  }
  if (const auto it = arguments.find(pyramid); it != arguments.end()) {
    label += fmt::format(", pyramid {}", to_string(it->second));
  }
  if (const auto it = arguments.find(adaptive); it != arguments.end()) {
    label += fmt::format(", adaptive {}", to_string(it->second));
  }
  for (const PolicyParameter& parameter : entry.parameters) {
    const auto it = arguments.find(parameter.name);
    if (parameter.size || parameter.list || parameter.optional || it == arguments.end() ||
        it->second == parameter.fallback) {
      continue;
    }
    const bool plain = it->second.is_word() && parameter.name == "score";
    label += plain ? ", " + it->second.word()
                   : fmt::format(", {} {}", parameter.name, to_string(it->second));
  }
  if (const auto it = arguments.find("prompt"); it != arguments.end()) {
    label += fmt::format(", prompt {}", to_string(it->second));
  }
  return label;
}

Retention retention_of(const PolicyEntry& entry, const PolicyArguments& arguments) {
  const auto integer = [&](const char* name) { return arguments.at(name).integer(); };
  const bool one = arguments.contains("capacity"), layers = arguments.contains(by_layer),
             heads = arguments.contains(by_head), falls = arguments.contains(pyramid),
             shared = arguments.contains(adaptive);
  if ((one && (layers || heads)) || (layers && heads)) {
    throw InputError::format("policy {}: {} and {} are both given; expected one of them",
                             entry.name, one ? "capacity" : by_layer,
                             layers && one ? by_layer : by_head);
  }
  if (falls && shared) {
    throw InputError::format("policy {}: {} and {} are both given; expected one of them",
                             entry.name, pyramid, adaptive);
  }
  if ((falls || shared) && !one) {
    throw InputError::format("policy {}: budget: {} is of a capacity; expected one beside it",
                             entry.name, falls ? "pyramid" : "adaptive");
  }
  if (!one && !layers && !heads) {
    throw InputError::format(
        "policy {}: parameter 'capacity' is missing (or {}: {{by_layer: "
        "[one for each layer]}})",
        entry.name, "budget");
  }
  Retention retention;
  retention.name = entry.name;
  using Kind = Budget::Kind;
  Budget& budget = retention.budget;
  budget.kind = layers   ? Kind::by_layer
                : heads  ? Kind::by_head
                : falls  ? Kind::pyramid
                : shared ? Kind::adaptive
                         : Kind::uniform;
  if (one) budget.capacity = integer("capacity");
  if (!one) budget.each = arguments.at(layers ? by_layer : by_head).list();
  if (falls) budget.beta = integer(pyramid);
  if (shared) budget.floor = arguments.at(adaptive).real();
  retention.sinks = integer("sinks");
  retention.recent = integer("recent");
  retention.every = integer("every");
  if (arguments.contains("prompt")) retention.prompt = integer("prompt");
  retention.seed = static_cast<uint64_t>(integer("seed"));
  if (entry.weights) {
    const bool layer = entry.scope && arguments.at("scope").word() == "layer";
    retention.scope = layer ? Retention::Scope::layer : Retention::Scope::head;
    if (!layer && arguments.at("reduce").word() == "max") {
      retention.reduce = Retention::Reduce::max;
    }
  }
  if (entry.shares) {
    const std::string& word = arguments.at("values").word();
    retention.values = word == "norm"         ? Retention::Values::norm
                       : word == "caote"      ? Retention::Values::caote
                       : word == "fast_caote" ? Retention::Values::fast_caote
                                              : Retention::Values::none;
  }
  if ((heads || shared) && retention.scope == Retention::Scope::layer) {
    throw InputError::format(
        "policy {}: with a budget by head each keeps tokens of its own; expected scope: head",
        entry.name);
  }
  retention.cache = cache_label(entry, arguments);
  return retention;
}

}  // namespace

struct PolicyMaker {
  static std::unique_ptr<Policy> make(const PolicyEntry& entry, const PolicyArguments& arguments,
                                      Positions positions, int64_t cap) {
    std::unique_ptr<Policy> policy;
    if (const auto* make_score = std::get_if<MakeScorePolicy>(&entry.make)) {
      std::unique_ptr<ScorePolicy> made = (*make_score)(retention_of(entry, arguments), arguments);
      const Retention& retention = made->retention();
      const int64_t least = retention.budget.least();
      if (retention.sinks + retention.recent > least) {
        throw InputError::format(
            "policy {}: {} first tokens and {} last entries are protected, and the capacity is {}; "
            "expected a larger capacity, or less of sinks and recent",
            entry.name, retention.sinks, retention.recent, least);
      }
      policy = std::move(made);
    } else {
      policy = std::get<MakePolicy>(entry.make)(arguments);
      if (const auto prompt = arguments.find("prompt"); prompt != arguments.end()) {
        auto* const index = dynamic_cast<IndexPolicy*>(policy.release());
        policy = std::make_unique<Prompted>(std::unique_ptr<IndexPolicy>(index),
                                            prompt->second.integer());
      }
    }
    policy->positions_ = positions;
    policy->cap_ = cap;
    return policy;
  }
};

PolicyPreset paper_preset(std::string meaning, PolicyArguments arguments) {
  arguments.merge(PolicyArguments{{"sinks", 0}, {"recent", 0}});
  return {.name = "paper", .meaning = std::move(meaning), .fill_in = [arguments](PolicySpec& spec) {
            for (const auto& [name, value] : arguments) spec.arguments.try_emplace(name, value);
            spec.positions = Positions::original;
          }};
}

std::vector<PolicyEntry> with_common_parameters(std::vector<PolicyEntry> entries) {
  for (PolicyEntry& entry : entries) {
    if (!entry.is_score_policy()) {
      if (entry.prompt) entry.parameters.push_back(prompt_parameter());
      continue;
    }
    std::vector<PolicyParameter> parameters = common_parameters(entry);
    parameters.insert(parameters.end(), entry.parameters.begin(), entry.parameters.end());
    entry.parameters = std::move(parameters);
  }
  std::sort(entries.begin(), entries.end(),
            [](const PolicyEntry& a, const PolicyEntry& b) { return a.name < b.name; });
  return entries;
}

const std::vector<PolicyEntry>& policy_registry() {
  return registry();
}

void add_policy(PolicyEntry entry) {
  std::vector<PolicyEntry> all = with_common_parameters({std::move(entry)});
  const auto at =
      std::lower_bound(registry().begin(), registry().end(), all.front(),
                       [](const PolicyEntry& a, const PolicyEntry& b) { return a.name < b.name; });
  registry().insert(at, std::move(all.front()));
}

std::vector<std::string> common_parameter_names() {
  PolicyEntry any;
  any.weights = any.shares = true;
  std::vector<std::string> names = {"positions", "cap", "preset", "budget"};
  for (const PolicyParameter& parameter : common_parameters(any)) names.push_back(parameter.name);
  return names;
}

const PolicyEntry* policy_named(std::string_view name) {
  for (const PolicyEntry& entry : policy_registry()) {
    if (entry.name == name) return &entry;
  }
  return nullptr;
}

const PolicyEntry& find_policy(std::string_view name) {
  if (const PolicyEntry* entry = policy_named(name)) return *entry;
  std::vector<std::string> names;
  bool plugins = false;
  for (const PolicyEntry& entry : policy_registry()) {
    names.push_back(entry.name);
    plugins = plugins || !entry.plugin.file.empty();
  }
  throw InputError::format("unknown policy '{}'{}{}", name, suggestion(name, names),
                           plugins ? ""
                                   : "; one of a plug-in needs --plugin FILE, in an experiment "
                                     "`plugins: [FILE]`");
}

std::string values_of(const PolicyParameter& parameter) {
  if (!parameter.words.empty()) return fmt::format("{}", fmt::join(parameter.words, " or "));
  if (parameter.real) {
    return fmt::format("a number from {} to {}", parameter.real->least, parameter.real->most);
  }
  const std::string bounds =
      parameter.maximum == largest_policy_argument
          ? fmt::format("of {} or more", parameter.minimum)
          : fmt::format("from {} to {}", parameter.minimum, parameter.maximum);
  if (parameter.list) {
    return fmt::format("a list of integers {}, one for each {}", bounds,
                       parameter.name == by_head ? "key head of each layer" : "layer");
  }
  return fmt::format("an {}integer {}", parameter.odd ? "odd " : "", bounds);
}

PolicyArguments with_defaults(const PolicyEntry& entry, PolicyArguments arguments) {
  for (const PolicyParameter& parameter : entry.parameters) {
    if (parameter.fallback && has_meaning(parameter, arguments)) {
      arguments.try_emplace(parameter.name, *parameter.fallback);
    }
  }
  return arguments;
}

PolicyArguments smallest_arguments(const PolicyEntry& entry) {
  PolicyArguments arguments;
  for (const PolicyParameter& parameter : entry.parameters) {
    const bool integer = parameter.words.empty() && !parameter.list && !parameter.real &&
                         !parameter.only_with && (!parameter.optional || parameter.size);
    if (integer) arguments[parameter.name] = parameter.minimum;
  }
  return arguments;
}

std::unique_ptr<Policy> make_policy(std::string_view name, PolicyArguments arguments,
                                    Positions positions, int64_t cap) {
  const PolicyEntry& entry = find_policy(name);
  std::vector<std::string> names;
  for (const PolicyParameter& parameter : entry.parameters) names.push_back(parameter.name);
  for (const auto& [key, value] : arguments) {
    if (std::find(names.begin(), names.end(), key) != names.end()) continue;
    if (names.empty()) {
      throw InputError::format("policy {}: unknown parameter '{}'; it takes none", name, key);
    }
    if (entry.weights && !entry.scope && key == "scope") {
      throw InputError::format(
          "policy {}: it reads keys, which each head has of its own, so that 'scope' has no "
          "meaning; leave it out",
          name);
    }
    if (entry.is_score_policy() && (key == "scope" || key == "reduce")) {
      throw InputError::format(
          "policy {}: it doesn't look at attention weights, so that '{}' has no meaning; leave it "
          "out",
          name, key);
    }
    throw InputError::format("policy {}: unknown parameter '{}'{}", name, key,
                             suggestion(key, names));
  }
  for (const PolicyParameter& parameter : entry.parameters) {
    const auto it = arguments.find(parameter.name);
    if (parameter.real && it != arguments.end() && it->second.is_integer()) {
      it->second = static_cast<double>(it->second.integer());
    }
  }
  arguments = with_defaults(entry, std::move(arguments));
  for (const PolicyParameter& parameter : entry.parameters) {
    const auto it = arguments.find(parameter.name);
    const bool given = it != arguments.end();
    if (!has_meaning(parameter, arguments)) {
      if (!given) continue;
      throw InputError::format("policy {}: {} has a meaning only with {}: {}", name, parameter.name,
                               parameter.only_with->name, parameter.only_with->word);
    }
    if (given) {
      if (!takes(parameter, it->second)) {
        throw InputError::format("policy {}: {} is {}; expected {}", entry.name, parameter.name,
                                 to_string(it->second), values_of(parameter));
      }
    } else if (!parameter.optional) {
      throw InputError::format("policy {}: parameter '{}' is missing ({})", name, parameter.name,
                               parameter.meaning);
    }
  }
  const auto& different = entry.positions;
  if (positions != Positions::cache &&
      std::find(different.begin(), different.end(), positions) == different.end()) {
    throw InputError::format("policy {}: 'positions: {}' makes no difference here; leave it out",
                             name, to_string(positions));
  }
  if ((positions == Positions::capped) != (cap > 0)) {
    throw InputError::format(
        "policy {}: cap is the largest distance of positions: capped; expected {}", name,
        cap > 0 ? "'positions: capped' beside it" : "'cap: D' beside 'positions: capped'");
  }
  return PolicyMaker::make(entry, arguments, positions, cap);
}

std::unique_ptr<Policy> make_policy(const PolicySpec& spec) {
  return make_policy(spec.name, spec.arguments, spec.positions, spec.cap);
}

}  // namespace sinkbench
