#include "eval/tasks/answers.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <sstream>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/record_field.h"

namespace sinkbench {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr double z = 1.959963984540054;  // of 95 %

/// The mean of what all of them have.
std::optional<double> mean_of(const std::vector<const Answer*>& answers, auto value) {
  double sum = 0;
  for (const Answer* answer : answers) {
    const auto here = value(*answer);
    if (!here) return std::nullopt;
    sum += *here;
  }
  return sum / static_cast<double>(answers.size());
}

AnswerBin bin_of(const std::vector<const Answer*>& answers) {
  AnswerBin bin{.of = {}, .answers = std::ssize(answers)};
  std::vector<double> correct, log_probability;
  std::vector<int64_t> groups, distances;
  for (const Answer* answer : answers) {
    correct.push_back(answer->correct() ? 1 : 0);
    log_probability.push_back(answer->log_probability());
    groups.push_back(answer->question.group);
    distances.push_back(answer->question.distance);
  }
  const auto [least, most] = std::minmax_element(distances.begin(), distances.end());
  bin.least = *least;
  bin.most = *most;
  const GroupedMean accuracy = grouped_mean(correct, groups);
  const GroupedMean likely = grouped_mean(log_probability, groups);
  std::sort(groups.begin(), groups.end());
  bin.groups = std::unique(groups.begin(), groups.end()) - groups.begin();
  bin.accuracy = accuracy.mean;
  std::tie(bin.low, bin.high) = wilson_interval(accuracy, bin.answers, bin.groups);
  bin.log_probability = likely.mean;
  bin.error = likely.error;
  bin.chosen = mean_of(answers, [](const Answer& a) { return a.chosen; });
  bin.held_some = mean_of(answers, [](const Answer& a) { return a.held_some; });
  bin.held_all = mean_of(answers, [](const Answer& a) { return a.held_all; });
  return bin;
}

json to_json(const Answer& answer) {
  const TaskQuestion& question = answer.question;
  const auto optional = [](const auto& value) { return value ? json(*value) : json(nullptr); };
  return {{"sample", answer.sample},
          {"group", question.group},
          {"asked", question.asked},
          {"begin", question.begin},
          {"end", question.end},
          {"fact", {question.fact_begin, question.fact_end}},
          {"distance", question.distance},
          {"of", question.of},
          {"choices", question.choices},
          {"ids", answer.ids},
          {"nll", answer.nll},
          {"top", answer.top},
          {"correct", answer.correct()},
          {"chosen", optional(answer.chosen)},
          {"held_some", optional(answer.held_some)},
          {"held_all", optional(answer.held_all)}};
}

std::vector<int32_t> token_ids(const RecordField& list) {
  const std::vector<int64_t> ids = list.integers(0, std::numeric_limits<int32_t>::max());
  return {ids.begin(), ids.end()};
}

Answer answer_from_json(const RecordField& line) {
  const auto share = [&](const char* name) {
    const RecordField field = line.at(name);
    return field.is_null() ? std::nullopt : std::optional(field.number(0, 1));
  };
  const std::vector<int64_t> fact = line.at("fact").integers();
  if (fact.size() != 2) line.at("fact").refuse("where it begins and ends");
  Answer answer{.question = {.group = line.at("group").integer(),
                             .asked = line.at("asked").integer(),
                             .begin = line.at("begin").integer(0),
                             .end = line.at("end").integer(0),
                             .fact_begin = fact[0],
                             .fact_end = fact[1],
                             .distance = line.at("distance").integer(),
                             .of = line.at("of").integer_map(),
                             .choices = token_ids(line.at("choices"))},
                .sample = line.at("sample").integer(0),
                .ids = token_ids(line.at("ids")),
                .nll = line.at("nll").numbers(),
                .top = {}};
  for (const RecordField& top : line.at("top").elements()) answer.top.push_back(top.flag());
  if (const RecordField chosen = line.at("chosen"); !chosen.is_null())
    answer.chosen = chosen.flag();
  answer.held_some = share("held_some");
  answer.held_all = share("held_all");
  const auto length = static_cast<size_t>(answer.question.end - answer.question.begin);
  if (answer.ids.empty() || answer.ids.size() != length || answer.nll.size() != length ||
      answer.top.size() != length) {
    throw JsonError("ids, nll and top are not as many as begin and end say");
  }
  return answer;
}

}  // namespace

bool Answer::correct() const {
  return std::all_of(top.begin(), top.end(), [](bool is) { return is; });
}

double Answer::log_probability() const {
  return -std::accumulate(nll.begin(), nll.end(), 0.0);
}

std::vector<AnswerBin> bins_of(std::span<const Answer> answers) {
  std::vector<const Answer*> all;
  std::map<std::map<std::string, int64_t>, std::vector<const Answer*>> by;
  for (const Answer& answer : answers) {
    all.push_back(&answer);
    by[answer.question.of].push_back(&answer);
  }
  std::vector<AnswerBin> bins;
  if (all.empty()) return bins;
  bins.push_back(bin_of(all));
  if (by.size() == 1) return bins;
  for (const auto& [of, some] : by) {
    bins.push_back(bin_of(some));
    bins.back().of = of;
  }
  return bins;
}

GroupedMean grouped_mean(std::span<const double> values, std::span<const int64_t> groups) {
  GroupedMean result;
  const auto n = static_cast<double>(values.size());
  result.mean = std::accumulate(values.begin(), values.end(), 0.0) / n;
  std::map<int64_t, double> sums;
  for (size_t i = 0; i < values.size(); ++i) sums[groups[i]] += values[i] - result.mean;
  const auto count = static_cast<double>(sums.size());
  if (count < 2) return result;
  double squares = 0;
  for (const auto& [group, sum] : sums) squares += sum * sum;
  result.error = std::sqrt(count / (count - 1) * squares) / n;
  return result;
}

std::pair<double, double> wilson_interval(const GroupedMean& share, int64_t values,
                                          int64_t groups) {
  const double p = share.mean, spread = p * (1 - p);
  const auto least = static_cast<double>(groups), most = static_cast<double>(values);
  const double n = spread == 0 || share.error == 0
                       ? least
                       : std::clamp(spread / (share.error * share.error), least, most);
  const double middle = (p + z * z / (2 * n)) / (1 + z * z / n);
  const double half = z / (1 + z * z / n) * std::sqrt(spread / n + z * z / (4 * n * n));
  return {std::max(0.0, middle - half), std::min(1.0, middle + half)};
}

fs::path answers_path(const fs::path& nll_file) {
  return fs::path(nll_file).replace_extension(".answers.jsonl");
}

void write_answers(const fs::path& path, std::span<const Answer> answers) {
  std::string text;
  for (const Answer& answer : answers) text += to_json(answer).dump() + "\n";
  write_file_atomically(path, text);
}

std::vector<Answer> read_answers(const fs::path& path) {
  std::vector<Answer> answers;
  std::istringstream lines(read_file(path));
  int64_t number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    try {
      answers.push_back(answer_from_json(RecordField(parse_json(line))));
    } catch (const json::exception& error) {
      throw InputError::format("{}:{}: no answer of a task: {}", path.string(), number,
                               json_reason(error));
    }
  }
  return answers;
}

std::vector<Answer> read_answers(const fs::path& path, std::span<const AnswerBin> bins) {
  std::vector<Answer> answers = read_answers(path);
  const std::vector<AnswerBin> found = bins_of(answers);
  const auto refuse = [&](const char* what, auto is, auto expected) {
    throw InputError::format("{}: {} {}; expected {}, as results.json has it", path.string(), what,
                             is, expected);
  };
  if (found.empty() || bins.empty() || found.front().answers != bins.front().answers) {
    refuse("answers:", answers.size(), bins.empty() ? 0 : bins.front().answers);
  }
  const auto differ = [](double a, double b) {
    return std::isfinite(a) != std::isfinite(b) || std::abs(a - b) > 1e-9 * (1 + std::abs(b));
  };
  if (differ(found.front().accuracy, bins.front().accuracy)) {
    refuse("the share of right answers is", found.front().accuracy, bins.front().accuracy);
  }
  if (differ(found.front().log_probability, bins.front().log_probability)) {
    refuse("their mean log-probability is", found.front().log_probability,
           bins.front().log_probability);
  }
  return answers;
}

}  // namespace sinkbench
