// StreamEval: an endless record of lines with a number in each, and every few lines a question for
// the number of a line that stood so many lines before.
#include <fmt/format.h>

#include <algorithm>

#include "eval/tasks/rendering.h"
#include "eval/tasks/task.h"

namespace sinkbench {
namespace {

constexpr const char* header = "Below is a record of lines I want you to remember.\n";
constexpr int64_t largest_value = 49'999;

struct Line {
  std::string answer;    // " <1234>\n"
  int64_t begin, value;  // places of the ids of the line and of its answer
  bool asked = false;
};

TaskStream make_streameval(const TaskSource& source) {
  const std::vector<int64_t>& distances = source.arguments.at("lines").list();
  const int64_t every = source.arguments.at("every").integer();
  const int64_t queries = source.arguments.at("queries").integer();
  const int64_t samples = source.arguments.at("samples").integer();
  const auto seed = static_cast<uint64_t>(source.arguments.at("seed").integer());
  const int64_t farthest = *std::max_element(distances.begin(), distances.end());
  TaskStream stream;
  for (int64_t sample = 0; sample < samples; ++sample) {
    Draw draw(seed, "streameval", sample);
    const int64_t first = stream.begin_sample(source.prefix);
    Rendering rendering(*source.tokenizer);
    rendering.add(header);
    std::vector<Line> lines;
    // Each distance is asked as often as the others, in an order that is drawn; but a line once at
    // the most: asked again, its answer would stand nearer than the line, in the question before.
    std::vector<int64_t> order;
    for (int64_t asked = 0; asked < queries;) {
      const auto number = static_cast<int64_t>(lines.size());
      const std::string prompt = fmt::format("The REGISTER_CONTENT in line {} is", number);
      Line line{.answer = fmt::format(" <{}>\n", 1 + draw.below(largest_value)),
                .begin = first + rendering.size(),
                .value = 0};
      rendering.add(prompt);
      line.value = first + rendering.size();
      rendering.add(line.answer);
      lines.push_back(line);
      if ((number + 1) % every != 0 || number + 1 < farthest) continue;
      if (order.empty()) {
        order = distances;
        draw.shuffle(order);
      }
      const auto is_new = [&](int64_t back) { return !lines[number + 1 - back].asked; };
      const auto next = std::find_if(order.rbegin(), order.rend(), is_new);
      if (next == order.rend()) continue;  // a later line has one
      const int64_t back = *next;
      order.erase(std::prev(next.base()));
      const int64_t wanted = number + 1 - back;
      Line& fact = lines[wanted];
      fact.asked = true;
      TaskQuestion question{.group = static_cast<int64_t>(stream.questions.size()),
                            .asked = first + rendering.size(),
                            .fact_begin = fact.begin,
                            .of = {{"lines", back}}};
      rendering.add(fmt::format("Query: The REGISTER_CONTENT in line {} is", wanted));
      question.begin = first + rendering.size();
      rendering.add(fact.answer);
      question.end = first + rendering.size();
      question.fact_end = fact.value + question.end - question.begin;
      question.distance = question.begin - fact.value;
      stream.questions.push_back(std::move(question));
      ++asked;
    }
    const std::vector<int32_t> ids = rendering.finish();
    stream.ids.insert(stream.ids.end(), ids.begin(), ids.end());
  }
  return stream;
}

}  // namespace

TaskEntry streameval_task() {
  return {.name = "streameval",
          .summary = "an endless record of numbered lines; every few lines one of before is asked",
          .source = "Xiao et al. 2023, arXiv 2309.17453, section 4.3 (its data was not released)",
          .parameters = {{"lines", "back that is asked", std::vector<int64_t>{20}},
                         {"every", "so many lines a question", 10},
                         {"queries", "of a sample", 100},
                         {"samples", "each run from an empty cache", 1},
                         {"seed", "of what is drawn", 0, 0, largest_policy_argument}},
          .make = make_streameval};
}

}  // namespace sinkbench
