#include "eval/metrics/divergence.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <numeric>

#include "base/error.h"

namespace sinkbench {
namespace {

/// Elements of the logits that are widened to float64 at once; small enough for a cache.
constexpr int64_t elements_at_once = int64_t{1} << 18;

int64_t stride_of(const Policy* policy, const Decoder& decoder) {
  return policy == nullptr ? 1 : make_method(*policy, decoder.config())->stride();
}

template <typename T>
at::Tensor tensor_of(const std::vector<T>& values, at::ScalarType dtype) {
  return at::tensor(at::ArrayRef<T>(values), at::TensorOptions().dtype(dtype));
}

template <typename T>
std::vector<T> values_of(const at::Tensor& tensor, at::ScalarType dtype) {
  if (tensor.scalar_type() != dtype || tensor.dim() != 1) {
    throw InputError("the state is not that of a divergence");
  }
  const at::Tensor plain = tensor.contiguous();
  return {plain.data_ptr<T>(), plain.data_ptr<T>() + plain.numel()};
}

}  // namespace

at::Tensor kl_divergence(const at::Tensor& p_logits, const at::Tensor& q_logits) {
  const int64_t n = p_logits.size(0);
  const int64_t rows = std::clamp<int64_t>(elements_at_once / p_logits.size(1), 1, n);
  std::vector<at::Tensor> parts;
  for (int64_t row = 0; row < n; row += rows) {
    const int64_t count = std::min(rows, n - row);
    const at::Tensor p = p_logits.narrow(0, row, count).to(at::kDouble);
    const at::Tensor q = q_logits.narrow(0, row, count).to(at::kDouble);
    // log p - log q = (a - b) - (log sum exp a - log sum exp b) for logits a and b.
    const at::Tensor sums = at::logsumexp(p, {-1}) - at::logsumexp(q, {-1});
    // Rounding may leave a little less than nothing.
    parts.push_back(((at::softmax(p, -1) * (p - q)).sum(-1) - sums).clamp_min(0));
  }
  return at::cat(parts).to(at::kCPU);
}

Divergence::Divergence(const Decoder& decoder, const Policy& policy, const Policy* reference,
                       const std::string& engine, const EngineOptions& options,
                       const Stream& stream)
    : decoder_(decoder),
      reference_stride_(stride_of(reference, decoder)),
      kl_(stream.scored(std::lcm(stride_of(&policy, decoder), reference_stride_))),
      same_top_(kl_) {
  if (reference == nullptr) return;
  engine_ = make_engine(engine, decoder, *reference, options);
  engine_->begin(stream);
}

void Divergence::add(const ScoredRows& scored) {
  const c10::InferenceMode inference;
  const auto begin = std::chrono::steady_clock::now();
  std::vector<int64_t> rows, places;
  for (int64_t row = 0; row < scored.logits.size(0); ++row) {
    const int64_t place = scored.first + row * scored.step;
    if (place % reference_stride_ != 0) continue;
    rows.push_back(row);
    places.push_back(place);
  }
  if (!engine_) {
    compare(scored.logits, scored.logits);
  } else if (!rows.empty()) {
    const bool all = static_cast<int64_t>(rows.size()) == scored.logits.size(0);
    compare(
        decoder_.logits(reference_rows(places)),
        all ? scored.logits
            : scored.logits.index_select(0, tensor_of(rows, at::kLong).to(scored.logits.device())));
  }
  seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

at::Tensor Divergence::reference_rows(const std::vector<int64_t>& places) {
  std::vector<at::Tensor> parts;
  for (size_t i = 0; i < places.size();) {
    while (waiting_.empty()) {
      engine_->advance_rows([&](const QueryRows& rows) { waiting_.push_back(rows); });
    }
    QueryRows& front = waiting_.front();
    const int64_t size = front.x.size(0);
    std::vector<int64_t> rows;
    for (; i < places.size(); ++i) {
      const int64_t row = (places[i] - front.first) / front.step;
      if (row >= size) break;
      rows.push_back(row);
    }
    if (!rows.empty()) {
      parts.push_back(front.x.index_select(0, tensor_of(rows, at::kLong).to(front.x.device())));
    }
    // Queries come in order: what is before the last one is done with.
    const int64_t used = i < places.size() ? size : rows.back() + 1;
    if (used == size) {
      waiting_.pop_front();
    } else {
      front.x = front.x.narrow(0, used, size - used);
      front.first += used * front.step;
    }
  }
  return parts.size() == 1 ? parts.front() : at::cat(parts);
}

void Divergence::compare(const at::Tensor& reference_logits, const at::Tensor& logits) {
  const at::Tensor kl = kl_divergence(reference_logits, logits);
  const at::Tensor same =
      (reference_logits.argmax(-1) == logits.argmax(-1)).to(at::kCPU, at::kDouble);
  for (int64_t i = 0; i < kl.size(0); ++i) {
    const double value = kl.data_ptr<double>()[i];
    kl_.add(value);
    kl_max_ = std::max(kl_max_, value);
    same_top_.add(same.data_ptr<double>()[i]);
  }
}

DivergenceResult Divergence::result(const std::string& reference) const {
  return {.reference = reference,
          .kl_mean = kl_.mean(),
          .kl_stderr = kl_.standard_error(),
          .kl_max = kl_max_,
          .same_top = same_top_.mean(),
          .same_top_stderr = same_top_.standard_error(),
          .tokens = kl_.count(),
          .seconds = seconds_};
}

std::vector<at::Tensor> Divergence::state() const {
  // Places; sums; the rows that wait; the reference engine's own.
  std::vector<int64_t> places = {engine_ ? engine_->next() : 0};
  std::vector<at::Tensor> rows;
  for (const QueryRows& waiting : waiting_) {
    places.push_back(waiting.first);
    places.push_back(waiting.step);
    rows.push_back(waiting.x);
  }
  std::vector<at::Tensor> state = {tensor_of(places, at::kLong),
                                   tensor_of(kl_.state(), at::kDouble),
                                   tensor_of(same_top_.state(), at::kDouble),
                                   tensor_of(std::vector<double>{kl_max_, seconds_}, at::kDouble)};
  state.insert(state.end(), rows.begin(), rows.end());
  if (engine_) {
    for (const at::Tensor& tensor : engine_->state()) state.push_back(tensor);
  }
  return state;
}

void Divergence::resume(const std::vector<at::Tensor>& state) {
  const c10::InferenceMode inference;
  if (state.size() < 4) throw InputError("the state is not that of a divergence");
  const auto places = values_of<int64_t>(state[0], at::kLong);
  const auto others = values_of<double>(state[3], at::kDouble);
  const size_t waiting = places.size() / 2;  // (first, step) of each after the engine's place
  if (places.size() != 2 * waiting + 1 || others.size() != 2 || state.size() < 4 + waiting) {
    throw InputError("the state is not that of a divergence");
  }
  kl_.restore(values_of<double>(state[1], at::kDouble));
  same_top_.restore(values_of<double>(state[2], at::kDouble));
  kl_max_ = others[0];
  seconds_ = others[1];
  for (size_t i = 0; i < waiting; ++i) {
    waiting_.push_back({.x = state[4 + i].to(decoder_.options().device),
                        .first = places[1 + 2 * i],
                        .step = places[2 + 2 * i]});
  }
  if (engine_) {
    engine_->resume(places[0], {state.begin() + 4 + static_cast<ptrdiff_t>(waiting), state.end()});
  }
}

}  // namespace sinkbench
