// All policies by name. Each file of index/, score/ and bounds/ defines one, NAME.cpp the function
// NAME_policy(); the build finds it, the property tests run over it, and experiments can use it.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <variant>

#include "policies/arguments.h"
#include "policies/score_policy.h"

namespace sinkbench {

/// A parameter of a policy as users write it: an integer unless it says otherwise.
struct PolicyParameter {
  struct Bounds {
    double least, most;
  };
  std::string name;
  std::string meaning;                       ///< one line
  int64_t minimum = 0;                       ///< of integers, those of a list too
  std::optional<PolicyValue> fallback = {};  ///< the value where none is given; nothing: it must be
  bool size = false;  ///< the cache's size: along it, results of one policy are one line
  bool odd = false;   ///< an odd integer
  std::optional<Bounds> real = {};            ///< a real number within these
  bool list = false;                          ///< a list of integers, one for each layer
  bool optional = false;                      ///< may be left out though there is no fallback
  std::vector<std::string> words = {};        ///< a word, one of these
  int64_t maximum = largest_policy_argument;  ///< of integers
  /// Has a meaning, and its fallback, only where another parameter has this value.
  struct Condition {
    std::string name, word;
  };
  std::optional<Condition> only_with = {};
};

/// A named choice of a policy's parameters, such as a paper's own.
struct PolicyPreset {
  std::string name;
  std::string meaning;                       ///< one line
  std::function<void(PolicySpec&)> fill_in;  ///< what the user has not given
};

/// "paper": nothing is protected and distances are those of the stream, as papers and their codes
/// have it; and these arguments.
PolicyPreset paper_preset(std::string meaning, PolicyArguments arguments = {});

using MakePolicy = std::function<std::unique_ptr<Policy>(const PolicyArguments&)>;
using MakeScorePolicy =
    std::function<std::unique_ptr<ScorePolicy>(const Retention&, const PolicyArguments&)>;

struct PolicyEntry {
  std::string name;
  std::string summary;  ///< one line
  std::string source;   ///< the paper or code it comes from
  /// A score policy's own; the registry puts those of every score policy before them.
  std::vector<PolicyParameter> parameters = {};
  std::vector<PolicyPreset> presets = {};
  /// Those that make a difference from Positions::cache.
  std::vector<Positions> positions = {Positions::original, Positions::frozen, Positions::capped};
  /// Of a score policy, whether it looks at attention weights.
  bool weights = false;
  /// Of an upper bound, which is no policy to be ranked with others: what it has before them.
  std::string bound = {};
  /// Whether its scores are shares of the attention, so that they may be combined with values.
  bool shares = false;
  bool prompt = true;  ///< whether a prompt may be read before it evicts anything
  /// Of a policy by weights: what users get who don't say; nothing where each head must choose for
  /// itself, since it reads keys.
  std::optional<Retention::Scope> scope = Retention::Scope::head;
  /// Builds the policy from arguments that are complete and within bounds.
  std::variant<MakePolicy, MakeScorePolicy> make;
  PolicyPlugin plugin = {};  ///< that it comes from

  bool is_score_policy() const { return std::holds_alternative<MakeScorePolicy>(make); }
};

/// Every policy, by name.
const std::vector<PolicyEntry>& policy_registry();
/// One more, which a plug-in brings; references to entries are no longer good.
void add_policy(PolicyEntry entry);
/// Names that a score policy's own parameters can't have.
std::vector<std::string> common_parameter_names();
/// The entries as files define them, with the parameters of every score policy before each one's.
std::vector<PolicyEntry> with_common_parameters(std::vector<PolicyEntry> entries);

/// Throws InputError naming the nearest policy where there is none of this name.
const PolicyEntry& find_policy(std::string_view name);
/// Null where there is none.
const PolicyEntry* policy_named(std::string_view name);

/// What a parameter takes: "an integer from 1 to 64", "mean or max".
std::string values_of(const PolicyParameter& parameter);

/// The arguments and, where one isn't given, its default; one that has none stays missing.
PolicyArguments with_defaults(const PolicyEntry& entry, PolicyArguments arguments);

/// Of the smallest cache that the policy can have, with its defaults where they don't matter.
PolicyArguments smallest_arguments(const PolicyEntry& entry);

/// Fills in defaults and builds. Throws InputError naming the policy, the parameter, its value
/// and what was expected: unknown, missing, of another type, below its minimum, or without meaning
/// beside others.
std::unique_ptr<Policy> make_policy(const PolicySpec& spec);
std::unique_ptr<Policy> make_policy(std::string_view name, PolicyArguments arguments,
                                    Positions positions = Positions::cache, int64_t cap = 0);

}  // namespace sinkbench
