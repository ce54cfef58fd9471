// What scoring sees of a task's answers as it goes through the stream.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "eval/cache/layer_rules.h"
#include "eval/engines/decisions.h"
#include "eval/engines/engine.h"
#include "eval/tasks/answers.h"

namespace sinkbench {

/// Fed with every row and every eviction of a cell, in any order; with both, its state can be
/// carried from one run to the next.
class AnswerLog {
 public:
  AnswerLog(const Stream& stream, const std::vector<TaskQuestion>& questions, const Policy& policy,
            const DecoderConfig& config);

  /// Rows with step 1.
  void add(const ScoredRows& scored);
  /// A score policy's.
  void add(const Decision& decision);

  std::vector<at::Tensor> state() const;
  /// InputError where the state is not one of these questions.
  void resume(const std::vector<at::Tensor>& state);

  /// `nll` of all tokens that a stream has scored.
  std::vector<Answer> answers(std::span<const double> nll) const;

 private:
  /// How many of a fact's tokens the caches had when the question came: [layers * heads]. `piece`:
  /// where it begins.
  std::vector<int64_t> held(const TaskQuestion& question, int64_t piece) const;
  /// What query t of a layer sees under recompute: a pass's own windows are the model's.
  View seen_in_pass(int64_t layer, int64_t t) const;
  size_t piece_of(int64_t place) const;

  const Stream& stream_;
  const std::vector<TaskQuestion>& questions_;
  const Policy& policy_;
  const int64_t layers_, heads_;
  const std::vector<int64_t> windows_;                  // of layers, as the model has them
  const std::optional<LayerRules> rules_;               // but for recompute
  std::unordered_map<int64_t, int64_t> answer_tokens_;  // place -> index in top_
  std::unordered_map<int64_t, const TaskQuestion*>
      choices_;                                 // by the place of the answer's last token
  std::unordered_map<int64_t, int64_t> facts_;  // place -> index in evicted_
  at::Tensor top_;      // [answer tokens] int64: 1 where it was the most likely, + 2 of its choices
  at::Tensor evicted_;  // [facts, layers, heads] int64: the round's token; largest where never
};

}  // namespace sinkbench
