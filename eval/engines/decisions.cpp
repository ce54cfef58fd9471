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

std::vector<std::vector<int64_t>> Decisions::decide(const ScorePolicy& policy,
                                                    std::span<Round> rounds, int64_t copies) {
  const Retention& retention = policy.retention();
  const bool adaptive = retention.budget.adaptive();
  std::vector<std::vector<double>> scores;
  for (const Round& round : rounds) {
    scores.emplace_back(round.place.size());
    score_entries(policy, round, scores.back());
  }
  if (adaptive) {
    std::vector<std::span<const double>> free;
    std::vector<std::span<const int64_t>> places;
    for (size_t i = 0; i < rounds.size(); ++i) {
      const auto [first, last] = unprotected(retention, rounds[i]);
      check_numbers(retention, rounds[i], scores[i]);
      free.push_back(std::span(scores[i]).subspan(first, last - first));
      places.push_back(rounds[i].place.subspan(first, last - first));
    }
    const std::vector<int64_t> keep =
        share_out(retention.budget, retention.guarded(), free, places);
    for (size_t i = 0; i < rounds.size(); ++i) rounds[i].keep = keep[i];
  }
  std::vector<std::vector<int64_t>> result;
  for (size_t i = 0; i < rounds.size(); ++i) {
    const Round& round = rounds[i];
    result.push_back(evicted(retention, round, scores[i]));
    std::vector<int64_t>& indices = result.back();
    if (options_.follow != nullptr) indices = follow(round, scores[i], indices, adaptive);
    if (!options_.sink || indices.empty()) continue;
    Decision decision = {.piece = piece_, .t = round.next - 1, .layer = round.layer};
    for (const int64_t j : indices) decision.places.push_back(round.place[j]);
    for (decision.head = round.head; decision.head < round.head + copies; ++decision.head) {
      pending_[round.layer * heads_ + decision.head].push_back(decision);
    }
  }
  return result;
}

std::vector<int64_t> Decisions::follow(const Round& round, std::span<const double> scores,
                                       const std::vector<int64_t>& own, bool counts_differ) {
  const int64_t at = round.layer * heads_ + round.head;
  const auto found = followed_[at].find({piece_, round.next - 1});
  std::vector<int64_t> indices, places;
  if (found != followed_[at].end()) places = found->second->places;
  for (const int64_t place : places) {
    const auto it = std::lower_bound(round.place.begin(), round.place.end(), place);
    if (it != round.place.end() && *it == place) indices.push_back(it - round.place.begin());
  }
  if (indices.size() != (counts_differ ? places.size() : own.size())) {
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
    difference.followed = places;
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
