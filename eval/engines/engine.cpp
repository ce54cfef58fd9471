#include "eval/engines/engine.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>

#include "base/error.h"
#include "models/logits_at_once.h"

namespace sinkbench {

int64_t Stream::piece_end(size_t piece) const {
  return piece + 1 < pieces.size() ? pieces[piece + 1] : static_cast<int64_t>(ids.size());
}

int64_t Stream::fed() const {
  return static_cast<int64_t>(ids.size()) - static_cast<int64_t>(pieces.size());
}

int64_t Stream::longest() const {
  int64_t longest = 0;
  for (size_t i = 0; i < pieces.size(); ++i) {
    longest = std::max(longest, piece_end(i) - pieces[i] - 1);
  }
  return longest;
}

int64_t Stream::scored(int64_t stride) const {
  int64_t scored = 0;
  for (size_t i = 0; i < pieces.size(); ++i) {
    scored += (piece_end(i) - pieces[i] - 1 + stride - 1) / stride;
  }
  return scored;
}

void Engine::score(const Stream& stream, const NllSink& sink) {
  begin(stream);
  while (!done()) advance(sink);
}

void Engine::begin(const Stream& stream) {
  check_ids(stream.ids, decoder_.config());
  check(stream.longest());
  stream_ = stream;
  begin_piece(0);
}

void Engine::begin_piece(size_t piece) {
  const int64_t begin = stream_.pieces[piece], end = stream_.piece_end(piece);
  if (end - begin < 2) throw std::logic_error("a piece of a stream has fewer than two tokens");
  piece_ = piece;
  ids_ = stream_.ids.subspan(begin, end - begin);
  next_ = 0;
  prepare();
}

void Engine::advance_rows(const RowSink& sink) {
  const int64_t offset = piece_begin();
  advance_piece([&](QueryRows rows) {
    rows.first += offset;
    sink(rows);
  });
  if (next_ < fed()) return;
  if (piece_ + 1 == stream_.pieces.size()) {
    ++piece_;
  } else {
    begin_piece(piece_ + 1);
  }
}

void Engine::advance(const NllSink& sink) {
  advance_rows([&](const QueryRows& rows) {
    score_rows(rows, /*with_logits=*/false, [&](const ScoredRows& scored) { sink(scored.nll); });
  });
}

void Engine::score_rows(const QueryRows& rows, bool with_logits, const ScoreSink& sink) const {
  const c10::InferenceMode inference;
  const int64_t count = rows.x.size(0);
  const int64_t at_once =
      with_logits ? std::clamp<int64_t>(
                        logits_at_once(rows.x.is_cuda()) / decoder_.config().vocab_size, 1, count)
                  : count;
  for (int64_t row = 0; row < count; row += at_once) {
    const int64_t n = std::min(at_once, count - row);
    const int64_t first = rows.first + row * rows.step;
    std::vector<int64_t> next(n);
    for (int64_t i = 0; i < n; ++i) next[i] = stream_.ids[first + i * rows.step + 1];
    const at::Tensor x = rows.x.narrow(0, row, n);
    const at::Tensor targets =
        at::tensor(next, at::kLong).to(x.device(), at::kLong, /*non_blocking=*/true);
    const at::Tensor logits = with_logits ? decoder_.logits(x) : at::Tensor();
    const at::Tensor nll =
        (with_logits ? decoder_.nll_of_logits(logits, targets) : decoder_.nll(x, targets))
            .to(at::TensorOptions().dtype(at::kDouble).device(at::kCPU))
            .contiguous();
    sink({.logits = logits,
          .nll = {nll.data_ptr<double>(), static_cast<size_t>(n)},
          .first = first,
          .step = rows.step});
  }
}

void Engine::resume(int64_t next, const std::vector<at::Tensor>& state) {
  const auto after = std::upper_bound(stream_.pieces.begin(), stream_.pieces.end(), next);
  const size_t piece = after == stream_.pieces.begin() ? 0 : after - stream_.pieces.begin() - 1;
  if (next < 0 || next >= stream_.piece_end(piece)) {
    throw InputError::format("the state is that after {} tokens; the stream has {}", next,
                             stream_.ids.size() - 1);
  }
  const c10::InferenceMode inference;
  begin_piece(piece);
  next_ = next - stream_.pieces[piece];
  if (next_ < fed()) {
    restore(state);
  } else {
    piece_ = stream_.pieces.size();
  }
}

Projection Engine::project(int64_t layer, const at::Tensor& x, int64_t begin) const {
  const Projection projection = decoder_.project(layer, x);
  if (storage_.keeps_all()) return projection;
  return storage_.stored(projection, decoder_.config().rotary(layer), begin);
}

void copy_state(const std::vector<at::Tensor>& from, const std::vector<at::Tensor>& to) {
  bool same = from.size() == to.size();
  for (size_t i = 0; same && i < to.size(); ++i) {
    same = from[i].sizes() == to[i].sizes() && from[i].scalar_type() == to[i].scalar_type();
  }
  if (!same) throw InputError("the state is that of another model or policy");
  for (size_t i = 0; i < to.size(); ++i) to[i].copy_(from[i]);
}

int64_t longest_sequence(const DecoderConfig& config) {
  const int64_t window =
      config.every_layer_is_local()
          ? *std::min_element(config.local_windows.begin(), config.local_windows.end())
          : 0;
  int64_t limit = 0;
  std::vector<int64_t> bounds = {config.learned_positions, window};
  for (const RotaryConfig& rotary : config.rotaries) bounds.push_back(rotary.limit);
  for (const int64_t bound : bounds) {
    if (bound > 0) limit = limit > 0 ? std::min(limit, bound) : bound;
  }
  return limit;
}

void check_ids(std::span<const int32_t> ids, const DecoderConfig& config) {
  if (ids.size() < 2) {
    throw InputError::format(
        "the stream has {} token{}; expected at least 2 (one to feed, one to "
        "score)",
        ids.size(), ids.size() == 1 ? "" : "s");
  }
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= config.vocab_size) {
      throw InputError::format(
          "token {} of the stream is {}; expected an id from 0 to {}, the "
          "model's vocabulary",
          i, ids[i], config.vocab_size - 1);
    }
  }
}

}  // namespace sinkbench
