#include "eval/engines/decisions.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

namespace sinkbench {

Decisions::Decisions(const DecisionOptions& options, int64_t layers, int64_t heads)
    : options_(options),
      heads_(heads),
      pending_(layers * heads),
      disagreements_(layers * heads),
      followed_(layers * heads) {
  if (options_.follow == nullptr) return;
  for (const Decision& decision : *options_.follow) {
    followed_.at(decision.layer * heads + decision.head)[{decision.piece, decision.t}] = &decision;
  }
}

std::vector<int64_t> Decisions::decide(const ScorePolicy& policy, const Round& round,
                                       int64_t copies) {
  if (std::ssize(round.place) <= round.keep) return {};
  std::vector<double> scores(round.place.size());
  score_entries(policy, round, scores);
  std::vector<int64_t> indices = evicted(policy.retention(), round, scores);
  if (options_.follow != nullptr) indices = follow(round, scores, indices);
  if (options_.sink) {
    Decision decision = {.piece = piece_, .t = round.next - 1, .layer = round.layer};
    for (const int64_t i : indices) decision.places.push_back(round.place[i]);
    for (decision.head = round.head; decision.head < round.head + copies; ++decision.head) {
      pending_[round.layer * heads_ + decision.head].push_back(decision);
    }
  }
  return indices;
}

std::vector<int64_t> Decisions::follow(const Round& round, std::span<const double> scores,
                                       const std::vector<int64_t>& own) {
  const int64_t at = round.layer * heads_ + round.head;
  const auto found = followed_[at].find({piece_, round.next - 1});
  std::vector<int64_t> indices;
  if (found != followed_[at].end()) {
    for (const int64_t place : found->second->places) {
      const auto it = std::lower_bound(round.place.begin(), round.place.end(), place);
      if (it != round.place.end() && *it == place) indices.push_back(it - round.place.begin());
    }
  }
  if (indices.size() != own.size()) {
    throw std::runtime_error(fmt::format(
        "the decisions that are followed don't fit: after token {}, in layer {}, head {}, {} "
        "entries are to be evicted, and {} of theirs are there",
        round.next - 1, round.layer, round.head, own.size(), indices.size()));
  }
  if (indices != own && !disagreements_[at]) {
    std::vector<int64_t> only;
    std::set_symmetric_difference(indices.begin(), indices.end(), own.begin(), own.end(),
                                  std::back_inserter(only));
    Disagreement difference;
    difference.own = {
        .piece = piece_, .t = round.next - 1, .layer = round.layer, .head = round.head};
    for (const int64_t i : own) difference.own.places.push_back(round.place[i]);
    difference.followed = found->second->places;
    const auto [low, high] = std::minmax_element(
        only.begin(), only.end(), [&](int64_t a, int64_t b) { return scores[a] < scores[b]; });
    difference.gap = scores[*high] - scores[*low];
    disagreements_[at] = std::move(difference);
  }
  return indices;
}

void Decisions::flush() {
  if (!options_.sink) return;
  std::vector<Decision> block;
  for (std::vector<Decision>& pending : pending_) {
    std::move(pending.begin(), pending.end(), std::back_inserter(block));
    pending.clear();
  }
  std::sort(block.begin(), block.end());
  options_.sink(block);
}

std::optional<Disagreement> Decisions::disagreement() const {
  const std::optional<Disagreement>* first = nullptr;
  for (const auto& candidate : disagreements_) {
    if (candidate && (first == nullptr || candidate->own < (*first)->own)) first = &candidate;
  }
  return first == nullptr ? std::nullopt : *first;
}

}  // namespace sinkbench
