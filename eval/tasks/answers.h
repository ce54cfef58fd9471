// What became of a task's questions.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "eval/tasks/task.h"

namespace sinkbench {

/// A question, and what the model made of it.
struct Answer {
  TaskQuestion question;
  int64_t sample = 0;        ///< the piece of the stream that it stands in
  std::vector<int32_t> ids;  ///< of the right answer
  std::vector<double> nll;   ///< of each of them, in nats
  std::vector<bool> top;  ///< whether each was the most likely token (of equal ones the lowest id)
  /// Of a choice: whether the answer's last token was the likeliest of the choices'.
  std::optional<bool> chosen = {};
  /// Shares of layers and key heads whose cache, when the question came, still had some of the
  /// fact's tokens, and all of them; nothing where it isn't known.
  std::optional<double> held_some = {}, held_all = {};

  /// What greedy decoding would have written.
  bool correct() const;
  double log_probability() const;  ///< of the whole answer, nats
};

/// Answers of the same `TaskQuestion::of`.
struct AnswerBin {
  std::map<std::string, int64_t> of = {};  ///< empty: all of them
  int64_t answers = 0, groups = 0;
  int64_t least = 0, most = 0;  ///< distance, tokens
  double accuracy = 0;          ///< share that is correct
  double low = 0, high = 0;     ///< its interval, 95 %, as wilson_interval has it
  double log_probability = 0;   ///< mean, nats
  double error = 0;             ///< standard error of it
  std::optional<double> chosen = {}, held_some = {}, held_all = {};  ///< means
};

/// All answers, and then those of each `of` apart where there are several, in its order. Standard
/// errors are those of groups (Liang and Zeger 1986), which are independent of each other.
std::vector<AnswerBin> bins_of(std::span<const Answer> answers);

/// A share's mean and standard error, of which the groups are independent.
struct GroupedMean {
  double mean = 0, error = 0;
};
GroupedMean grouped_mean(std::span<const double> values, std::span<const int64_t> groups);

/// Wilson's interval (1927) of a share, 95 %, of as many independent draws as its standard error
/// says there were: no fewer than there are groups, no more than values.
std::pair<double, double> wilson_interval(const GroupedMean& share, int64_t values, int64_t groups);

/// Beside a cell's NLL file: ID.answers.jsonl, an answer a line.
std::filesystem::path answers_path(const std::filesystem::path& nll_file);
/// Replaced as a whole.
void write_answers(const std::filesystem::path& path, std::span<const Answer> answers);
/// InputError naming file and line.
std::vector<Answer> read_answers(const std::filesystem::path& path);
/// The same, whose bins are these of a result; InputError where they aren't.
std::vector<Answer> read_answers(const std::filesystem::path& path,
                                 std::span<const AnswerBin> bins);

}  // namespace sinkbench
