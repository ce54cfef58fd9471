// Copying: random tokens, a gap of other random tokens, and the same ones again. What the second
// copy's tokens are is known to whoever still has the first one.
#include "base/error.h"
#include "eval/tasks/task.h"

namespace sinkbench {
namespace {

TaskStream make_copy(const TaskSource& source) {
  const int64_t tokens = source.arguments.at("tokens").integer();
  const int64_t samples = source.arguments.at("samples").integer();
  const auto seed = static_cast<uint64_t>(source.arguments.at("seed").integer());
  const auto vocabulary = static_cast<int64_t>(source.ordinary.size());
  if (vocabulary < 2) throw InputError::format("the vocabulary has {} tokens", vocabulary);
  TaskStream stream;
  int64_t sample = 0;
  for (int64_t s = 0; s < samples; ++s) {
    for (const int64_t gap : source.arguments.at("gap").list()) {
      Draw draw(seed, "copy", sample);
      const int64_t first = stream.begin_sample(source.prefix);
      for (int64_t i = 0; i < tokens + gap; ++i) {
        stream.ids.push_back(source.ordinary[draw.below(vocabulary)]);
      }
      const auto second = static_cast<int64_t>(stream.ids.size());
      for (int64_t i = 0; i < tokens; ++i) {
        stream.ids.push_back(stream.ids[first + i]);
        if (i == 0) continue;  // nothing says that the copy begins
        stream.questions.push_back({.group = sample,
                                    .asked = second,
                                    .begin = second + i,
                                    .end = second + i + 1,
                                    .fact_begin = first + i,
                                    .fact_end = first + i + 1,
                                    .distance = tokens + gap,
                                    .of = {{"gap", gap}}});
      }
      ++sample;
    }
  }
  return stream;
}

}  // namespace

TaskEntry copy_task() {
  return {.name = "copy",
          .summary = "random tokens, a gap, the same tokens again; each is an answer",
          .source = "Olsson et al. 2022, In-context Learning and Induction Heads, arXiv 2209.11895",
          .parameters = {{"tokens", "that are copied", 64, 2},
                         {"gap", "tokens between the two copies", std::vector<int64_t>{0}, 0},
                         {"samples", "of each gap", 16},
                         {"seed", "of what is drawn", 0, 0, largest_policy_argument}},
          .tokenizer = false,
          .make = make_copy};
}

}  // namespace sinkbench
