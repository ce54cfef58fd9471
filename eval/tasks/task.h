// Tasks: streams that are made, with answers in them that can be given only from what stood before.
// Prompt and right answer are fed as one stream. Where every token of an answer is the model's most
// likely one, greedy decoding would have written it: up to the first token that isn't, its context
// is the same, and so is the cache of any policy. So nothing is generated, and a task runs at the
// speed of scoring. docs/recall.md describes each task for those who use it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "datasets/tokenizer.h"
#include "policies/arguments.h"

namespace sinkbench {

/// By name; integers, words or lists of integers.
using TaskArguments = std::map<std::string, PolicyValue>;

/// What a user chooses of a task.
struct TaskSpec {
  std::string name = {};  ///< empty: there is none
  TaskArguments arguments = {};
  auto operator<=>(const TaskSpec&) const = default;
};

/// An answer within a stream. Places are those of the stream's ids.
struct TaskQuestion {
  int64_t group = 0;           ///< questions of one group are no independent draws
  int64_t asked = 0;           ///< where the question begins
  int64_t begin = 0, end = 0;  ///< the answer's ids
  /// What has the answer: a line, a sentence, a token. Empty where nothing before has it.
  int64_t fact_begin = 0, fact_end = 0;
  /// From the answer's first token back to the same one in the fact: a query that is to give it
  /// sees that token `distance - 1` tokens behind itself.
  int64_t distance = 0;
  /// What was varied: {"lines", 20}. Every question of a task has the same names.
  std::map<std::string, int64_t> of = {};
  /// Of a choice, the ids that the answer's last one is among; else none.
  std::vector<int32_t> choices = {};
};

struct TaskStream {
  std::vector<int32_t> ids;
  std::vector<int64_t> pieces;  ///< where samples begin, each run from an empty cache
  std::vector<TaskQuestion> questions;

  /// A sample begins, with what stands before each; the place of its own first id.
  int64_t begin_sample(const std::vector<int32_t>& prefix);
};

/// What a task is made from.
struct TaskSource {
  const TaskArguments& arguments;        ///< complete
  const std::vector<int32_t>& ordinary;  ///< ids of the vocabulary that are no special tokens
  const std::vector<int32_t>& prefix;    ///< before each sample
  const Tokenizer* tokenizer;            ///< null where the model has none
  const std::vector<std::filesystem::path>& texts;
};

/// A parameter as users write it; its fallback says of which kind it is.
struct TaskParameter {
  std::string name;
  std::string meaning;  ///< one line
  PolicyValue fallback;
  int64_t minimum = 1;
  int64_t maximum = 1'000'000;
  std::vector<std::string> words = {};  ///< a word, one of these
};

enum class TaskTexts { none, filler, required };

struct TaskEntry {
  std::string name;
  std::string summary;  ///< one line
  std::string source;   ///< the paper or code that it comes from
  std::vector<TaskParameter> parameters;
  TaskTexts texts = TaskTexts::none;  ///< whether `text` may, or must, be given
  bool tokenizer = true;              ///< whether it needs one
  /// InputError where the task can't be made of the source.
  std::function<TaskStream(const TaskSource&)> make;
};

/// Every task, by name.
const std::vector<TaskEntry>& task_registry();
/// Null where there is none.
const TaskEntry* task_named(std::string_view name);

/// The arguments and, where one isn't given, its default.
TaskArguments with_defaults(const TaskEntry& entry, TaskArguments arguments);
/// The task's name and the arguments that aren't the defaults: "copy gap 0+64 samples 8".
std::string task_label(const TaskSpec& spec);
/// What a parameter takes: "an integer, 1 or more", "letter or text".
std::string values_of(const TaskParameter& parameter);

/// The stream of a task whose arguments are complete: the same from run to run and machine to
/// machine. InputError, beginning with the task's name, where it can't be made.
TaskStream make_task(const TaskSpec& spec, const TaskSource& source);

/// Draws for a sample: of one seed, task and sample always the same, whatever else is drawn.
class Draw {
 public:
  Draw(uint64_t seed, std::string_view task, int64_t sample);
  /// 0 to n - 1, each as likely.
  int64_t below(int64_t n);
  template <typename T>
  void shuffle(std::vector<T>& values) {
    for (auto i = static_cast<int64_t>(values.size()) - 1; i > 0; --i) {
      std::swap(values[i], values[below(i + 1)]);
    }
  }

 private:
  std::mt19937_64 bits_;  // its numbers are laid down by the standard, distributions are not
};

// The tasks, each in its file.
TaskEntry arc_stream_task();
TaskEntry copy_task();
TaskEntry mqar_task();
TaskEntry needle_task();
TaskEntry passkey_task();
TaskEntry streameval_task();
TaskEntry variable_tracking_task();

}  // namespace sinkbench
