#include "eval/tasks/task.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/error.h"
#include "base/sha256.h"

namespace sinkbench {
namespace {

std::string plain(const PolicyValue& value) {
  return value.is_list() ? fmt::format("{}", fmt::join(value.list(), "+")) : to_string(value);
}

constexpr double most_tokens = 1e8;

/// About how many tokens such arguments ask for.
double tokens_of(const TaskArguments& arguments) {
  const auto number = [&](const char* name, double otherwise) {
    const auto it = arguments.find(name);
    return it == arguments.end() || !it->second.is_integer()
               ? otherwise
               : static_cast<double>(it->second.integer());
  };
  const auto list = [&](const char* name) {
    const auto it = arguments.find(name);
    return it == arguments.end() || !it->second.is_list() ? std::vector<int64_t>{}
                                                          : it->second.list();
  };
  constexpr double tokens_of_a_line = 25;
  double sample = 0;  // of each kind one
  if (const auto lines = list("lines"); !lines.empty()) {
    const auto farthest = static_cast<double>(*std::max_element(lines.begin(), lines.end()));
    sample = tokens_of_a_line * (number("queries", 1) * (number("every", 1) + 1) + farthest);
  }
  for (const int64_t gap : list("gap")) {
    sample += 2 * number("tokens", 0) + static_cast<double>(gap);
  }
  sample += number("length", 0) * static_cast<double>(list("pairs").size());
  const auto depths = static_cast<double>(std::max<size_t>(1, list("depth").size()));
  for (const int64_t length : list("length")) sample += depths * static_cast<double>(length);
  return sample * number("samples", 1);
}

}  // namespace

const std::vector<TaskEntry>& task_registry() {
  static const std::vector<TaskEntry> entries = {
      arc_stream_task(),       copy_task(),    mqar_task(),
      needle_task(),           passkey_task(), streameval_task(),
      variable_tracking_task()};
  return entries;
}

const TaskEntry* task_named(std::string_view name) {
  const auto& entries = task_registry();
  const auto it = std::find_if(entries.begin(), entries.end(),
                               [&](const TaskEntry& entry) { return entry.name == name; });
  return it == entries.end() ? nullptr : &*it;
}

TaskArguments with_defaults(const TaskEntry& entry, TaskArguments arguments) {
  for (const TaskParameter& parameter : entry.parameters) {
    arguments.try_emplace(parameter.name, parameter.fallback);
  }
  return arguments;
}

std::string task_label(const TaskSpec& spec) {
  std::string label = spec.name;
  const TaskEntry* entry = task_named(spec.name);
  for (const auto& [name, value] : spec.arguments) {
    const bool usual =
        entry != nullptr && std::any_of(entry->parameters.begin(), entry->parameters.end(),
                                        [&, &n = name, &v = value](const TaskParameter& parameter) {
                                          return parameter.name == n && parameter.fallback == v;
                                        });
    if (!usual) label += fmt::format(" {} {}", name, plain(value));
  }
  return label;
}

std::string values_of(const TaskParameter& parameter) {
  if (!parameter.words.empty()) return fmt::format("{}", fmt::join(parameter.words, " or "));
  return fmt::format("{} from {} to {}", parameter.fallback.is_list() ? "integers" : "an integer",
                     parameter.minimum, parameter.maximum);
}

int64_t TaskStream::begin_sample(const std::vector<int32_t>& prefix) {
  pieces.push_back(static_cast<int64_t>(ids.size()));
  ids.insert(ids.end(), prefix.begin(), prefix.end());
  return static_cast<int64_t>(ids.size());
}

TaskStream make_task(const TaskSpec& spec, const TaskSource& source) {
  const TaskEntry* entry = task_named(spec.name);
  if (entry == nullptr) throw InputError::format("unknown task '{}'", spec.name);
  if (const double tokens = tokens_of(spec.arguments); tokens > most_tokens) {
    throw InputError::format(
        "task {}: makes about {:.0f} million tokens; expected no more than {:.0f} million",
        spec.name, tokens / 1e6, most_tokens / 1e6);
  }
  if (entry->tokenizer && source.tokenizer == nullptr) {
    throw InputError::format("task {}: is made of text, and the model has no tokenizer", spec.name);
  }
  try {
    return entry->make(source);
  } catch (const InputError& error) {
    throw InputError::format("task {}: {}", spec.name, error.what());
  }
}

Draw::Draw(uint64_t seed, std::string_view task, int64_t sample) {
  const std::string digest = sha256_hex(fmt::format("{} {} {}", task, seed, sample));
  bits_.seed(std::stoull(digest.substr(0, 16), nullptr, 16));
}

int64_t Draw::below(int64_t n) {
  // The upper half of a product; what is not divided evenly is drawn again.
  const auto bound = static_cast<uint64_t>(n);
  const uint64_t uneven = (0 - bound) % bound;
  for (;;) {
    __extension__ const auto product = static_cast<unsigned __int128>(bits_()) * bound;
    if (static_cast<uint64_t>(product) >= uneven) return static_cast<int64_t>(product >> 64);
  }
}

}  // namespace sinkbench
