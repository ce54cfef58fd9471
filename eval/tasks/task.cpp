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

TaskStream make_task(const TaskSpec& spec, const TaskSource& source) {
  const TaskEntry* entry = task_named(spec.name);
  if (entry == nullptr) throw InputError::format("unknown task '{}'", spec.name);
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
