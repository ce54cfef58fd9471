#include "models/fused.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "models/cpu/kernels.h"
#include "models/stored_numbers.h"

#ifdef SINKBENCH_CUDA
#include <c10/cuda/CUDAStream.h>

#include "models/cuda/kernels.h"
#endif

namespace sinkbench::fused {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

/// What sums of such elements are made in.
at::ScalarType exact(at::ScalarType dtype) {
  return dtype == at::kDouble ? at::kDouble : at::kFloat;
}

/// x [n, heads, head_dim] rotated in the table's precision, not rounded.
at::Tensor turned(const at::Tensor& x, int64_t dims, const RotaryTable& table) {
  const at::Tensor wide = x.to(exact(x.scalar_type()));
  return dims == 0 ? wide : rotate(RotaryConfig{.dims = dims}, wide, table);
}

/// As add_rms_norm; `part` undefined: sum stays so, and x is normed.
NormedSum norm_on_cpu(const at::Tensor& x, const at::Tensor& part, double scale,
                      const at::Tensor& weight, double epsilon, at::ScalarType dtype) {
  NormedSum result = {part.defined() ? at::empty_like(x) : at::Tensor(),
                      at::empty(x.sizes(), x.options().dtype(dtype))};
  with_stored_numbers(weight, [&](const auto* w) {
    with_stored_numbers(result.normed, [&](auto* y) {
      using T = std::remove_pointer_t<decltype(y)>;
      cpu::add_rms_norm(x.data_ptr<float>(),
                        part.defined() ? static_cast<const T*>(part.data_ptr()) : nullptr,
                        static_cast<float>(scale), w, static_cast<float>(epsilon), x.size(0),
                        x.size(1), part.defined() ? result.sum.data_ptr<float>() : nullptr, y);
    });
  });
  return result;
}

bool takes_norm_on_cpu(const at::Tensor& x, const at::Tensor& weight, at::ScalarType dtype) {
  return has_stored_numbers(x) && x.dim() == 2 && x.scalar_type() == at::kFloat &&
         has_stored_numbers(weight) && (dtype == at::kFloat || dtype == at::kBFloat16);
}

// Kernels of one row read 16 bytes at a time.
constexpr int64_t vector = 16;
bool aligned(const at::Tensor& x) {
  return x.is_contiguous() && reinterpret_cast<uintptr_t>(x.data_ptr()) % vector == 0;
}
/// Whether rows of so many numbers of the weight's type are whole vectors.
bool in_vectors(int64_t size, const at::Tensor& weight) {
  return size * static_cast<int64_t>(weight.element_size()) % vector == 0;
}

}  // namespace

#ifdef SINKBENCH_CUDA
namespace {

cuda::Type type_of(const at::Tensor& x) {
  switch (x.scalar_type()) {
    case at::kFloat:
      return cuda::Type::float32;
    case at::kHalf:
      return cuda::Type::float16;
    case at::kBFloat16:
      return cuda::Type::bfloat16;
    default:
      throw std::logic_error("no kernel has tensors of this type");
  }
}

cuda::Act act_of(std::optional<Activation> activation) {
  if (!activation) return cuda::Act::none;
  switch (*activation) {
    case Activation::silu:
      return cuda::Act::silu;
    case Activation::gelu:
      return cuda::Act::gelu;
    case Activation::gelu_tanh:
      return cuda::Act::gelu_tanh;
    case Activation::relu:
      return cuda::Act::relu;
  }
  throw std::logic_error("unknown activation");
}

cuda::Stream stream() {
  return c10::cuda::getCurrentCUDAStream().stream();
}

const float* floats(const at::Tensor& x) {
  return x.defined() ? x.data_ptr<float>() : nullptr;
}

void* data(const at::Tensor& x) {
  return x.defined() ? x.data_ptr() : nullptr;
}

/// Heads side by side, tokens at a stride.
at::Tensor side_by_side(const at::Tensor& x) {
  return x.stride(2) == 1 && x.stride(1) == x.size(2) ? x : x.contiguous();
}

/// The elements from one head to the next of a part of a buffer [kv_heads, room, head_dim].
int64_t room_of(const at::Tensor& buffer) {
  if (buffer.stride(2) != 1 || buffer.stride(1) != buffer.size(2)) {
    throw std::logic_error("keys of a head must lie side by side");
  }
  return buffer.stride(0) / buffer.size(2);
}

}  // namespace

bool takes(at::Device device, at::ScalarType dtype) {
  static const bool plain = [] {
    const char* text = std::getenv("SINKBENCH_CUDA_PLAIN");
    return text != nullptr && std::string(text) == "1";
  }();
  return device.is_cuda() && !plain &&
         (dtype == at::kFloat || dtype == at::kHalf || dtype == at::kBFloat16);
}
#else
bool takes(at::Device, at::ScalarType) {
  return false;
}
#endif

at::Tensor activate(const at::Tensor& x, Activation activation) {
  switch (activation) {
    case Activation::silu:
      return at::silu(x);
    case Activation::gelu:
      // In bfloat16 LibTorch asks oneDNN, which has none of it on arm64.
      if (x.is_cpu() && x.scalar_type() == at::kBFloat16) {
        return at::gelu(x.to(at::kFloat), "none").to(at::kBFloat16);
      }
      return at::gelu(x, "none");
    case Activation::gelu_tanh:
      return at::gelu(x, "tanh");
    case Activation::relu:
      return at::relu(x);
  }
  throw std::logic_error("unknown activation");
}

bool takes(const at::Tensor& x) {
  return takes(x.device(), x.scalar_type());
}

bool takes_row(const at::Tensor& x, const at::Tensor& weight) {
  if (!takes(x) || x.size(0) != 1 || x.dim() != 2 || weight.scalar_type() != x.scalar_type()) {
    return false;
  }
  return in_vectors(x.size(1), weight) && aligned(x) && aligned(weight);
}

#ifdef SINKBENCH_CUDA
bool takes_normed_row(const at::Tensor& x, const at::Tensor& norm, const at::Tensor& weight) {
  if (!norm.defined() || !takes(x) || !takes(weight) || x.dim() != 2 || x.size(0) != 1) {
    return false;
  }
  return x.scalar_type() == at::kFloat && norm.scalar_type() == weight.scalar_type() &&
         in_vectors(x.size(1), weight) && aligned(x) && aligned(norm) && aligned(weight) &&
         cuda::takes_norm(type_of(weight), x.size(1));
}
#else
bool takes_normed_row(const at::Tensor&, const at::Tensor&, const at::Tensor&) {
  return false;
}
#endif

bool takes_heads(int64_t head_dim, int64_t rotated) {
  return head_dim % 8 == 0 && head_dim <= 256 && rotated % 2 == 0;
}

bool takes_heads(const DecoderConfig& config) {
  return takes_heads(config.head_dim, 0) &&
         std::all_of(
             config.rotaries.begin(), config.rotaries.end(),
             [&](const RotaryConfig& rotary) { return takes_heads(config.head_dim, rotary.dims); });
}

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon,
                    at::ScalarType dtype) {
#ifdef SINKBENCH_CUDA
  if (takes(x) && x.scalar_type() == at::kFloat && takes(weight) && takes(x.device(), dtype)) {
    const at::Tensor rows = x.contiguous();
    at::Tensor y = at::empty(x.sizes(), x.options().dtype(dtype));
    cuda::rms_norm({.n = x.size(0),
                    .size = x.size(1),
                    .x = floats(rows),
                    .part = nullptr,
                    .scale = 1,
                    .sum = nullptr,
                    .weight = data(weight),
                    .weight_type = type_of(weight),
                    .y = data(y),
                    .y_type = type_of(y),
                    .epsilon = static_cast<float>(epsilon)},
                   stream());
    return y;
  }
#endif
  if (takes_norm_on_cpu(x, weight, dtype)) {
    return norm_on_cpu(x, {}, 1.0, weight, epsilon, dtype).normed;
  }
  return plain::rms_norm(x, weight, epsilon, dtype);
}

NormedSum add_rms_norm(const at::Tensor& x, const at::Tensor& part, double scale,
                       const at::Tensor& weight, double epsilon, at::ScalarType dtype) {
#ifdef SINKBENCH_CUDA
  if (takes(x) && x.scalar_type() == at::kFloat && takes(weight) &&
      part.scalar_type() == weight.scalar_type() && x.is_contiguous() && part.is_contiguous()) {
    NormedSum result = {at::empty_like(x), at::empty(x.sizes(), x.options().dtype(dtype))};
    cuda::rms_norm({.n = x.size(0),
                    .size = x.size(1),
                    .x = floats(x),
                    .part = data(part),
                    .scale = static_cast<float>(scale),
                    .sum = result.sum.data_ptr<float>(),
                    .weight = data(weight),
                    .weight_type = type_of(weight),
                    .y = data(result.normed),
                    .y_type = type_of(result.normed),
                    .epsilon = static_cast<float>(epsilon)},
                   stream());
    return result;
  }
#endif
  if (takes_norm_on_cpu(x, weight, dtype) && has_stored_numbers(part) &&
      part.scalar_type() == dtype) {
    return norm_on_cpu(x, part, scale, weight, epsilon, dtype);
  }
  return plain::add_rms_norm(x, part, scale, weight, epsilon, dtype);
}

at::Tensor add(const at::Tensor& x, const at::Tensor& part, double scale) {
#ifdef SINKBENCH_CUDA
  if (takes(x) && x.scalar_type() == at::kFloat && takes(part) && x.dim() == 2 &&
      x.sizes() == part.sizes() && x.is_contiguous() && part.is_contiguous()) {
    at::Tensor sum = at::empty_like(x);
    cuda::rms_norm({.n = x.size(0),
                    .size = x.size(1),
                    .x = floats(x),
                    .part = data(part),
                    .scale = static_cast<float>(scale),
                    .sum = sum.data_ptr<float>(),
                    .weight = nullptr,
                    .weight_type = type_of(part),
                    .y = nullptr,
                    .y_type = type_of(part),
                    .epsilon = 0},
                   stream());
    return sum;
  }
#endif
  if (has_stored_numbers(x) && x.scalar_type() == at::kFloat && has_stored_numbers(part) &&
      x.sizes() == part.sizes()) {
    const at::Tensor sum = at::empty_like(x);
    with_stored_numbers(part, [&](const auto* p) {
      cpu::add(x.data_ptr<float>(), p, static_cast<float>(scale), x.numel(), sum.data_ptr<float>());
    });
    return sum;
  }
  return at::add(x, part, scale);
}

at::Tensor gate(const at::Tensor& inner, Activation activation) {
#ifdef SINKBENCH_CUDA
  if (takes(inner) && inner.is_contiguous()) {
    const int64_t n = inner.size(0), size = inner.size(1) / 2;
    at::Tensor y = at::empty({n, size}, inner.options());
    cuda::gate(type_of(inner), act_of(activation), n, size, data(inner), data(y), stream());
    return y;
  }
#endif
  if (has_stored_numbers(inner) && cpu::has_gate(activation)) {
    const int64_t n = inner.size(0), size = inner.size(1) / 2;
    const at::Tensor y = at::empty({n, size}, inner.options());
    with_stored_numbers(inner, [&](const auto* in) {
      cpu::gate(in, n, size, activation,
                static_cast<std::remove_cv_t<std::remove_pointer_t<decltype(in)>>*>(y.data_ptr()));
    });
    return y;
  }
  return plain::gate(inner, activation);
}

at::Tensor row_product(const Row& row) {
#ifdef SINKBENCH_CUDA
  if (row.norm.defined() ? takes_normed_row(row.x, row.norm, row.linear.weight)
                         : takes_row(row.x, row.linear.weight)) {
    const int64_t rows = row.linear.weight.size(0) / (row.gated ? 2 : 1);
    at::Tensor y = at::empty(
        {1, rows}, row.residual.defined() ? row.residual.options() : row.linear.weight.options());
    cuda::row_product({.type = type_of(row.linear.weight),
                       .rows = rows,
                       .size = row.x.size(1),
                       .weight = data(row.linear.weight),
                       .bias = data(row.linear.bias),
                       .x = data(row.x),
                       .norm_weight = data(row.norm),
                       .epsilon = static_cast<float>(row.epsilon),
                       .act = act_of(row.activation),
                       .gated = row.gated,
                       .residual = floats(row.residual),
                       .scale = static_cast<float>(row.scale),
                       .y = data(y)},
                      stream());
    return y;
  }
#endif
  return plain::row_product(row);
}

at::Tensor negative_log_likelihood(const at::Tensor& logits, const at::Tensor& targets) {
#ifdef SINKBENCH_CUDA
  if (takes(logits) && logits.is_contiguous()) {
    at::Tensor nll = at::empty({logits.size(0)}, logits.options().dtype(at::kFloat));
    cuda::negative_log_likelihood(type_of(logits), logits.size(0), logits.size(1), data(logits),
                                  targets.data_ptr<int64_t>(), nll.data_ptr<float>(), stream());
    return nll;
  }
#endif
  if (has_stored_numbers(logits)) {
    TiledNll whole(targets);
    whole.add(logits, 0);
    return whole.nll();
  }
  return plain::negative_log_likelihood(logits, targets);
}

TiledNll::TiledNll(const at::Tensor& targets)
    : targets_(targets),
      top_(at::full(targets.sizes(), -INFINITY, at::kFloat)),
      sum_(at::zeros(targets.sizes(), at::kDouble)),
      target_(at::empty(targets.sizes(), at::kFloat)) {}

void TiledNll::add(const at::Tensor& logits, int64_t first) {
  with_stored_numbers(logits, [&](const auto* x) {
    cpu::add_logits(x, targets_.data_ptr<int64_t>(), logits.size(0), first, logits.size(1),
                    {.top = top_.data_ptr<float>(),
                     .sum = sum_.data_ptr<double>(),
                     .target = target_.data_ptr<float>()});
  });
}

at::Tensor TiledNll::nll() const {
  return (sum_.log() + top_ - target_).to(at::kFloat);
}

RotaryTable angles(const at::Tensor& places, const at::Tensor& frequencies, double magnitude,
                   at::ScalarType dtype) {
#ifdef SINKBENCH_CUDA
  if (takes(places.device(), dtype) && dtype == at::kFloat) {
    const int64_t n = places.size(0), pairs = frequencies.size(0);
    const auto options = places.options().dtype(at::kFloat);
    RotaryTable table = {at::empty({n, pairs}, options), at::empty({n, pairs}, options)};
    cuda::angles(n, pairs, places.data_ptr<int64_t>(), frequencies.data_ptr<double>(), magnitude,
                 table.cosine.data_ptr<float>(), table.sine.data_ptr<float>(), stream());
    return table;
  }
#endif
  return plain::angles(places, frequencies, magnitude, dtype);
}

at::Tensor place_block(const Heads& heads, const RotaryTable& of_queries,
                       const RotaryTable& of_keys, const at::Tensor& keys,
                       const at::Tensor& values) {
#ifdef SINKBENCH_CUDA
  if (takes(heads.query) && keys.scalar_type() == heads.query.scalar_type()) {
    const at::Tensor query = side_by_side(heads.query), key = side_by_side(heads.key);
    const at::Tensor value = side_by_side(heads.value);
    at::Tensor placed = at::empty(query.sizes(), query.options());
    cuda::place_block({.type = type_of(query),
                       .n = query.size(0),
                       .heads = query.size(1),
                       .kv_heads = key.size(1),
                       .head_dim = query.size(2),
                       .rotated = heads.rotated,
                       .query = data(query),
                       .key = data(key),
                       .value = data(value),
                       .query_stride = query.stride(0),
                       .key_stride = key.stride(0),
                       .value_stride = value.stride(0),
                       .query_cosine = floats(of_queries.cosine),
                       .query_sine = floats(of_queries.sine),
                       .key_cosine = floats(of_keys.cosine),
                       .key_sine = floats(of_keys.sine),
                       .placed = data(placed),
                       .keys = data(keys),
                       .values = data(values),
                       .room = room_of(keys)},
                      stream());
    return placed;
  }
#endif
  return plain::place_block(heads, of_queries, of_keys, keys, values);
}

Part join_few(const Part& part, const Few& few) {
#ifdef SINKBENCH_CUDA
  if (takes(part.output) && part.output.is_contiguous() && part.log_sum.is_contiguous()) {
    const at::Tensor& o = part.output;
    const at::Tensor query = few.query.defined() ? side_by_side(few.query) : at::Tensor();
    cuda::join_few({.type = type_of(o),
                    .n = o.size(0),
                    .heads = o.size(1),
                    .kv_heads = few.keys.size(0),
                    .head_dim = o.size(2),
                    .rotated = few.rotated,
                    .query = data(query),
                    .query_stride = query.defined() ? query.stride(0) : 0,
                    .cosine = floats(few.table.cosine),
                    .sine = floats(few.table.sine),
                    .keys = data(few.keys),
                    .values = data(few.values),
                    .room = room_of(few.keys),
                    .first = few.first.defined() ? few.first.data_ptr<int32_t>() : nullptr,
                    .last = few.first.defined() ? few.last.data_ptr<int32_t>() : nullptr,
                    .scale = static_cast<float>(few.scale),
                    .sink_logit = floats(few.sink_logit),
                    .output = data(o),
                    .log_sum = part.log_sum.data_ptr<float>()},
                   stream());
    return part;
  }
#endif
  return plain::join_few(part, few);
}

at::Tensor attend_step(const Step& step) {
#ifdef SINKBENCH_CUDA
  const Heads& heads = step.heads;
  if (takes(heads.query) && takes_heads(heads.query.size(2), heads.rotated)) {
    static_assert(step_ranges == cuda::step_ranges && free_slot == cuda::free_slot);
    const int64_t count = heads.query.size(1), head_dim = heads.query.size(2);
    const int64_t room = step.keys.size(1);
    const at::Tensor query = side_by_side(heads.query), key = side_by_side(heads.key);
    const at::Tensor value = side_by_side(heads.value);
    const at::Tensor scratch =
        at::empty({cuda::step_scratch(count, head_dim, room)}, query.options().dtype(at::kFloat));
    at::Tensor output = at::empty({1, count * head_dim}, query.options());
    const bool biased = step.slopes.defined();
    cuda::attend_step({.type = type_of(query),
                       .heads = count,
                       .kv_heads = key.size(1),
                       .head_dim = head_dim,
                       .rotated = heads.rotated,
                       .room = room,
                       .query = data(query),
                       .key = data(key),
                       .value = data(value),
                       .cosine = floats(step.table.cosine),
                       .sine = floats(step.table.sine),
                       .keys = data(step.keys),
                       .values = data(step.values),
                       .range_of_slot = step.range_of_slot.data_ptr<uint8_t>(),
                       .used = step.used.data_ptr<int64_t>(),
                       .slot = step.slot.data_ptr<int64_t>(),
                       .slopes = biased ? step.slopes.data_ptr<double>() : nullptr,
                       .tokens = biased ? step.tokens.data_ptr<int64_t>() : nullptr,
                       .places = biased ? step.places.data_ptr<int64_t>() : nullptr,
                       .scale = static_cast<float>(step.scale),
                       .score_cap = static_cast<float>(step.score_cap),
                       .sink_logit = floats(step.sink_logit),
                       .scratch = scratch.data_ptr<float>(),
                       .counters = reinterpret_cast<unsigned*>(step.counters.data_ptr<int32_t>()),
                       .output = data(output)},
                      stream());
    return output;
  }
#endif
  return plain::attend_step(step);
}

Part join(const Part& a, const Part& b) {
#ifdef SINKBENCH_CUDA
  const at::Tensor& o = a.output;
  const bool same = o.scalar_type() == b.output.scalar_type() && a.log_sum.is_contiguous() &&
                    b.log_sum.is_contiguous();
  if (takes(o) && same && o.size(2) % 8 == 0 && aligned(o) && aligned(b.output)) {
    cuda::join({.type = type_of(o),
                .n = o.size(0),
                .heads = o.size(1),
                .head_dim = o.size(2),
                .other = data(b.output),
                .other_log_sum = b.log_sum.data_ptr<float>(),
                .output = data(o),
                .log_sum = a.log_sum.data_ptr<float>()},
               stream());
    return a;
  }
#endif
  return plain::join(a, b);
}

namespace plain {

Part join(const Part& a, const Part& b) {
  const at::Tensor both = at::logaddexp(a.log_sum, b.log_sum);
  const auto weighed = [&](const Part& part) {
    // [heads, n] -> [n, heads, 1]
    const at::Tensor weight = at::exp(part.log_sum - both).transpose(0, 1).unsqueeze(-1);
    // A part that sees nothing has a weight of zero, and no numbers.
    return at::where(weight > 0, part.output.to(weight.scalar_type()) * weight,
                     at::zeros({1}, weight.options()));
  };
  return {(weighed(a) + weighed(b)).to(a.output.scalar_type()), both};
}

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon,
                    at::ScalarType dtype) {
  const at::Tensor inverse = (x.square().mean(-1, true) + epsilon).rsqrt_();
  return (x * inverse).mul_(weight.to(x.scalar_type())).to(dtype);
}

NormedSum add_rms_norm(const at::Tensor& x, const at::Tensor& part, double scale,
                       const at::Tensor& weight, double epsilon, at::ScalarType dtype) {
  const at::Tensor sum = at::add(x, part, scale);
  return {sum, rms_norm(sum, weight, epsilon, dtype)};
}

at::Tensor gate(const at::Tensor& inner, Activation activation) {
  const int64_t size = inner.size(1) / 2;
  return activate(inner.narrow(1, 0, size), activation).mul_(inner.narrow(1, size, size));
}

at::Tensor row_product(const Row& row) {
  if (row.norm.defined()) {
    Row normed = row;
    normed.norm = at::Tensor();
    normed.x = plain::rms_norm(row.x, row.norm, row.epsilon, row.linear.weight.scalar_type());
    return plain::row_product(normed);
  }
  const at::ScalarType wide = exact(row.x.scalar_type());
  const at::Tensor bias = row.linear.bias.defined() ? row.linear.bias.to(wide) : at::Tensor();
  at::Tensor y = at::linear(row.x.to(wide), row.linear.weight.to(wide), bias);
  if (row.gated) {
    y = row.activation ? gate(y, *row.activation) : throw std::logic_error("a gate without one");
  } else if (row.activation) {
    y = activate(y, *row.activation);
  }
  if (row.residual.defined()) return at::add(row.residual, y, row.scale);
  return y.to(row.x.scalar_type());
}

at::Tensor negative_log_likelihood(const at::Tensor& logits, const at::Tensor& targets) {
  const at::Tensor wide = logits.to(exact(logits.scalar_type()));
  return at::logsumexp(wide, {-1}) - wide.gather(-1, targets.unsqueeze(-1)).squeeze(-1);
}

RotaryTable angles(const at::Tensor& places, const at::Tensor& frequencies, double magnitude,
                   at::ScalarType dtype) {
  const at::Tensor angle = places.to(at::kDouble).unsqueeze(1) * frequencies;
  return {at::cos(angle).mul_(magnitude).to(dtype), at::sin(angle).mul_(magnitude).to(dtype)};
}

at::Tensor place_block(const Heads& heads, const RotaryTable& of_queries,
                       const RotaryTable& of_keys, const at::Tensor& keys,
                       const at::Tensor& values) {
  keys.copy_(turned(heads.key, heads.rotated, of_keys).transpose(0, 1));
  values.copy_(heads.value.transpose(0, 1));
  return turned(heads.query, heads.rotated, of_queries).to(heads.query.scalar_type());
}

Part join_few(const Part& part, const Few& few) {
  const at::Tensor& o = part.output;
  const int64_t n = o.size(0), heads = o.size(1), head_dim = o.size(2);
  const int64_t kv_heads = few.keys.size(0), m = few.keys.size(1), share = heads / kv_heads;
  const auto wide = exact(o.scalar_type());
  Part result = part;
  if (few.first.defined() && m > 0) {
    const at::Tensor query = turned(few.query, few.rotated, few.table).to(wide).transpose(0, 1);
    at::Tensor score =
        at::bmm(query.reshape({kv_heads, share * n, head_dim}), few.keys.to(wide).transpose(1, 2))
            .mul_(few.scale)
            .view({heads, n, m});
    const at::Tensor key = at::arange(m, few.first.options());
    const at::Tensor unseen =
        (key < few.first.unsqueeze(1)).logical_or(key >= few.last.unsqueeze(1));
    score.masked_fill_(unseen, -infinity);
    const at::Tensor weights = at::softmax(score, -1);  // no numbers where nothing is seen
    const at::Tensor mix = at::bmm(weights.view({kv_heads, share * n, m}), few.values.to(wide))
                               .view({heads, n, head_dim})
                               .transpose(0, 1);
    result = plain::join(part, {mix, at::logsumexp(score, {-1})});
  }
  if (few.sink_logit.defined()) {
    const at::Tensor logit = few.sink_logit.to(wide).unsqueeze(1).expand({heads, n});
    result = plain::join(result, {at::zeros_like(o, o.options().dtype(wide)), logit});
  }
  return result;
}

at::Tensor attend_step(const Step& step) {
  const Heads& h = step.heads;
  const int64_t heads = h.query.size(1), head_dim = h.query.size(2), kv_heads = h.key.size(1);
  const int64_t room = step.keys.size(1), share = heads / kv_heads, rows = step_ranges + 1;
  const auto type = h.query.scalar_type();
  const auto wide = exact(type);
  const at::Tensor queries = turned(h.query.expand({rows, heads, head_dim}), h.rotated, step.table);
  const RotaryTable own_row = h.rotated == 0 ? RotaryTable{}
                                             : RotaryTable{step.table.cosine.narrow(0, rows - 1, 1),
                                                           step.table.sine.narrow(0, rows - 1, 1)};
  const at::Tensor key = turned(h.key, h.rotated, own_row);  // [1, kv_heads, head_dim]
  const auto capped = [&](const at::Tensor& s) {
    return step.score_cap == 0.0 ? s : s.div(step.score_cap).tanh().mul(step.score_cap);
  };
  // [kv_heads, rows * share, head_dim]
  const at::Tensor by_key_head = queries.view({rows, kv_heads, share, head_dim})
                                     .permute({1, 0, 2, 3})
                                     .reshape({kv_heads, rows * share, head_dim});
  const auto scores = [&](const at::Tensor& keys) {  // [heads, rows, keys]
    return capped(at::bmm(by_key_head, keys.to(wide).transpose(1, 2)).mul_(step.scale))
        .view({kv_heads, rows, share, keys.size(1)})
        .transpose(1, 2)
        .reshape({heads, rows, keys.size(1)});
  };
  const at::Tensor range = step.range_of_slot.to(at::kLong);
  const at::Tensor unseen =
      (range == int64_t{free_slot}).logical_or(at::arange(room, range.options()) >= step.used);
  const at::Tensor row = range.masked_fill(unseen, 0);
  at::Tensor score = scores(step.keys).gather(1, row.expand({heads, 1, room})).squeeze(1);
  if (step.slopes.defined()) {
    const at::Tensor distance = step.places.index_select(0, row) - step.tokens;
    score = score - (step.slopes.unsqueeze(1) * distance).to(wide);
  }
  score = score.masked_fill(unseen, -infinity);
  const at::Tensor own = scores(key.transpose(0, 1)).select(1, rows - 1);  // [heads, 1]
  std::vector<at::Tensor> all = {score, own};
  if (step.sink_logit.defined()) all.push_back(step.sink_logit.to(wide).unsqueeze(1));
  const at::Tensor weights = at::softmax(at::cat(all, 1), 1);
  const at::Tensor seen = step.values.to(wide).masked_fill(unseen.view({1, room, 1}), 0);
  const at::Tensor output =
      at::bmm(weights.narrow(1, 0, room).reshape({kv_heads, share, room}), seen)
          .view({heads, head_dim}) +
      weights.narrow(1, room, 1) * h.value[0].to(wide).repeat_interleave(share, 0);
  // To its slot; a slot below zero is a copy of what a first slot holds already.
  if (room > 0) {
    const at::Tensor slot = step.slot.clamp_min(0);
    const at::Tensor kept = step.slot >= 0;
    const auto store = [&](const at::Tensor& buffer, const at::Tensor& rows_of_one) {
      const at::Tensor before = buffer.index_select(1, slot);
      buffer.index_copy_(
          1, slot, at::where(kept.view({1, 1, 1}), rows_of_one.transpose(0, 1).to(type), before));
    };
    store(step.keys, key);
    store(step.values, h.value);
  }
  return output.to(type).view({1, heads * head_dim});
}

}  // namespace plain
}  // namespace sinkbench::fused
