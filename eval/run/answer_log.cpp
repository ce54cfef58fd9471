#include "eval/run/answer_log.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>

#include "base/error.h"
#include "policies/score_policy.h"

namespace sinkbench {
namespace {

constexpr int64_t never = std::numeric_limits<int64_t>::max();

bool sees(const View& view, int64_t place) {
  return std::any_of(view.begin(), view.end(),
                     [&](const Range& range) { return range.begin <= place && place < range.end; });
}

}  // namespace

AnswerLog::AnswerLog(const Stream& stream, const std::vector<TaskQuestion>& questions,
                     const Policy& policy, const DecoderConfig& config)
    : stream_(stream),
      questions_(questions),
      policy_(policy),
      layers_(config.layers),
      heads_(config.kv_heads),
      windows_(config.local_windows),
      rules_(dynamic_cast<const RecomputePolicy*>(&policy) == nullptr
                 ? std::optional<LayerRules>(std::in_place, policy, config)
                 : std::nullopt) {
  for (const TaskQuestion& question : questions_) {
    for (int64_t place = question.begin; place < question.end; ++place) {
      answer_tokens_.try_emplace(place, std::ssize(answer_tokens_));
    }
    for (int64_t place = question.fact_begin; place < question.fact_end; ++place) {
      facts_.try_emplace(place, std::ssize(facts_));
    }
    if (!question.choices.empty()) choices_[question.end - 1] = &question;
  }
  top_ = at::zeros({std::ssize(answer_tokens_)}, at::kLong);
  const bool logs = dynamic_cast<const ScorePolicy*>(&policy) != nullptr;
  evicted_ = at::full({logs ? std::ssize(facts_) : 0, layers_, heads_}, never, at::kLong);
}

void AnswerLog::add(const ScoredRows& scored) {
  std::vector<int64_t> rows, places;
  for (int64_t i = 0; i < scored.logits.size(0); ++i) {
    const int64_t place = scored.first + i + 1;  // what the row predicts
    if (!answer_tokens_.contains(place)) continue;
    rows.push_back(i);
    places.push_back(place);
  }
  if (rows.empty()) return;
  const at::Tensor logits =
      scored.logits.index_select(0, at::tensor(rows, at::kLong).to(scored.logits.device()));
  const at::Tensor likeliest = logits.argmax(1).cpu();
  for (size_t i = 0; i < rows.size(); ++i) {
    int64_t& top = top_.data_ptr<int64_t>()[answer_tokens_.at(places[i])];
    const int64_t right = stream_.ids[places[i]];
    top = likeliest[static_cast<int64_t>(i)].item<int64_t>() == right ? 1 : 0;
    const auto choice = choices_.find(places[i]);
    if (choice == choices_.end()) continue;
    const at::Tensor row = logits[static_cast<int64_t>(i)].cpu().to(at::kDouble);
    const auto likely = [&](int64_t id) { return row[id].item<double>(); };
    const std::vector<int32_t>& ids = choice->second->choices;
    const bool best = std::all_of(ids.begin(), ids.end(), [&](int64_t id) {
      return id == right || likely(id) < likely(right);
    });
    if (best) top += 2;
  }
}

void AnswerLog::add(const Decision& decision) {
  const int64_t begin = stream_.pieces[decision.piece];
  for (const int64_t place : decision.places) {
    const auto fact = facts_.find(begin + place);
    if (fact == facts_.end()) continue;
    evicted_
        .data_ptr<int64_t>()[(fact->second * layers_ + decision.layer) * heads_ + decision.head] =
        begin + decision.t;
  }
}

std::vector<at::Tensor> AnswerLog::state() const {
  return {top_, evicted_};
}

void AnswerLog::resume(const std::vector<at::Tensor>& state) {
  const bool fits = state.size() == 2 && state[0].scalar_type() == at::kLong &&
                    state[1].scalar_type() == at::kLong && state[0].sizes() == top_.sizes() &&
                    state[1].sizes() == evicted_.sizes();
  if (!fits) throw InputError("its checkpoint has not the answers of this task");
  top_.copy_(state[0]);
  evicted_.copy_(state[1]);
}

size_t AnswerLog::piece_of(int64_t place) const {
  const auto after = std::upper_bound(stream_.pieces.begin(), stream_.pieces.end(), place);
  return static_cast<size_t>(after - stream_.pieces.begin()) - 1;
}

View AnswerLog::seen_in_pass(int64_t layer, int64_t t) const {
  View view = dynamic_cast<const RecomputePolicy&>(policy_).view(t);
  const int64_t window = windows_.empty() ? 0 : windows_[layer];  // it counts the query
  if (window == 0) return view;
  int64_t beyond = std::max<int64_t>(0, size(view) + 1 - window);  // in the pass, from its begin
  for (Range& range : view) {
    const int64_t left_out = std::min(beyond, range.size());
    range.begin += left_out;
    beyond -= left_out;
  }
  return view;
}

std::vector<int64_t> AnswerLog::held(const TaskQuestion& question, int64_t piece) const {
  std::vector<int64_t> counts(layers_ * heads_, 0);
  const int64_t* const evicted = evicted_.numel() > 0 ? evicted_.data_ptr<int64_t>() : nullptr;
  const int64_t asked = question.asked - piece;
  for (int64_t layer = 0; layer < layers_; ++layer) {
    const bool by_log = rules_ && rules_->score(layer) != nullptr;
    const View view = by_log   ? View{}
                      : rules_ ? rules_->view(layer, asked)
                               : seen_in_pass(layer, asked);
    for (int64_t place = question.fact_begin; place < question.fact_end; ++place) {
      for (int64_t head = 0; head < heads_; ++head) {
        const int64_t at = layer * heads_ + head;
        counts[at] += by_log ? evicted[facts_.at(place) * layers_ * heads_ + at] >= question.asked
                             : sees(view, place - piece);
      }
    }
  }
  return counts;
}

std::vector<Answer> AnswerLog::answers(std::span<const double> nll) const {
  std::vector<Answer> answers;
  for (const TaskQuestion& question : questions_) {
    const size_t piece = piece_of(question.begin);
    Answer answer{.question = question,
                  .sample = static_cast<int64_t>(piece),
                  .ids = {},
                  .nll = {},
                  .top = {}};
    for (int64_t place = question.begin; place < question.end; ++place) {
      answer.ids.push_back(stream_.ids[place]);
      // The first token of each piece up to here is not scored.
      answer.nll.push_back(nll[place - 1 - static_cast<int64_t>(piece)]);
      const int64_t top = top_.data_ptr<int64_t>()[answer_tokens_.at(place)];
      answer.top.push_back((top & 1) != 0);
      if (choices_.contains(place)) answer.chosen = (top & 2) != 0;
    }
    const int64_t tokens = question.fact_end - question.fact_begin;
    if (tokens == 0) {
      answers.push_back(std::move(answer));
      continue;
    }
    int64_t some = 0, all = 0;
    for (const int64_t count : held(question, stream_.pieces[piece])) {
      some += count > 0;
      all += count == tokens;
    }
    const auto caches = static_cast<double>(layers_ * heads_);
    answer.held_some = static_cast<double>(some) / caches;
    answer.held_all = static_cast<double>(all) / caches;
    answers.push_back(std::move(answer));
  }
  return answers;
}

}  // namespace sinkbench
