#include "eval/engines/planned_step.h"

#include <ATen/ATen.h>

namespace sinkbench {
namespace {

constexpr int64_t places_of_kind = fused::step_ranges + 1;
constexpr int64_t numbers_of_kind = 2 + places_of_kind;  // slot, used, places

int64_t offset(size_t kind) {
  return 1 + static_cast<int64_t>(kind) * numbers_of_kind;
}

}  // namespace

PlannedStep::PlannedStep(const Decoder& decoder, KvCache& cache, std::vector<Kind> kinds,
                         std::vector<int64_t> kind_of_layer)
    : decoder_(decoder),
      cache_(cache),
      kinds_(std::move(kinds)),
      kind_of_layer_(std::move(kind_of_layer)) {
  const at::Device device = decoder.options().device;
  int64_t slots = 0;
  for (const Kind& kind : kinds_) {
    slots += kind.room;
    frequencies_.emplace_back();
    if (kind.rotary == nullptr) continue;
    frequencies_.back() = at::tensor(kind.rotary->inverse_frequencies, at::kDouble).to(device);
  }
  const auto integers = at::TensorOptions().dtype(at::kLong).device(device);
  id_ = at::zeros({1}, integers);
  numbers_ = at::zeros({offset(kinds_.size())}, integers);
  ranges_ = at::full({slots}, int64_t{fused::free_slot}, integers.dtype(at::kByte));
  counters_ =
      at::zeros({decoder.config().heads + decoder.config().kv_heads}, integers.dtype(at::kInt));
  if (const auto& alibi = decoder.config().alibi) {
    slopes_ = at::tensor(alibi->slopes, at::kDouble).to(device);
    tokens_ = at::zeros({slots}, integers);
  }
}

void PlannedStep::plan(int64_t t, const std::vector<Seen>& seen, bool keep) {
  std::vector<int64_t> numbers = {t}, tokens;
  std::vector<uint8_t> ranges;
  for (const Seen& kind : seen) {
    numbers.push_back(keep ? kind.slot : -1);
    numbers.push_back(kind.used);
    numbers.insert(numbers.end(), kind.places.begin(), kind.places.end());
    ranges.insert(ranges.end(), kind.range_of_slot.begin(), kind.range_of_slot.end());
    tokens.insert(tokens.end(), kind.tokens.begin(), kind.tokens.end());
  }
  upload(at::tensor(numbers, at::kLong), numbers_);
  upload(at::tensor(ranges, at::kByte), ranges_);
  if (tokens_.defined()) upload(at::tensor(tokens, at::kLong), tokens_);
}

void PlannedStep::prepare(int64_t t, const std::vector<Seen>& seen) {
  if (!graph_ && Graph::available(decoder_.options().device)) {
    plan(t, seen, /*keep=*/false);  // recording runs it once: that must leave no trace
    graph_.emplace([this] { return step(); });
  }
  plan(t, seen, /*keep=*/true);
}

at::Tensor PlannedStep::run(int64_t id) {
  upload(at::full({1}, id, at::kLong), id_);
  return graph_ ? graph_->replay() : step();
}

at::Tensor PlannedStep::step() {
  const DecoderConfig& config = decoder_.config();
  struct Shared {  // by the layers of a kind
    at::Tensor slot, used, places, ranges, tokens;
    RotaryTable table;
  };
  std::vector<Shared> shared;
  int64_t slots = 0;
  for (size_t k = 0; k < kinds_.size(); ++k) {
    const Kind& kind = kinds_[k];
    Shared of{.slot = numbers_.narrow(0, offset(k), 1),
              .used = numbers_.narrow(0, offset(k) + 1, 1),
              .places = numbers_.narrow(0, offset(k) + 2, places_of_kind),
              .ranges = ranges_.narrow(0, slots, kind.room),
              .tokens = {},
              .table = {}};
    if (tokens_.defined()) of.tokens = tokens_.narrow(0, slots, kind.room);
    if (kind.rotary != nullptr) {
      of.table = fused::angles(of.places, frequencies_[k], kind.rotary->magnitude,
                               decoder_.accumulate_dtype());
    }
    slots += kind.room;
    shared.push_back(std::move(of));
  }
  at::Tensor x = decoder_.embed(id_, numbers_.narrow(0, 0, 1));
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    const Kind& kind = kinds_[kind_of_layer_[layer]];
    const Shared& of = shared[kind_of_layer_[layer]];
    const Projection projection = decoder_.project(layer, x);
    const at::Tensor attended =
        fused::attend_step({.heads = {projection.query, projection.key, projection.value,
                                      kind.rotary != nullptr ? kind.rotary->dims : 0},
                            .table = of.table,
                            .keys = cache_.keys(layer),
                            .values = cache_.values(layer),
                            .range_of_slot = of.ranges,
                            .used = of.used,
                            .slot = of.slot,
                            .slopes = slopes_,
                            .tokens = of.tokens,
                            .places = of.places,
                            .scale = config.attention_scale,
                            .score_cap = config.score_cap,
                            .sink_logit = decoder_.sink_logit(layer),
                            .counters = counters_});
    x = decoder_.finish(layer, x, attended);
  }
  return x;
}

}  // namespace sinkbench
