#include "models/decoder.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <future>
#include <optional>

#include "base/error.h"
#include "base/file.h"
#include "base/placeholder.h"
#include "base/sha256.h"
#include "models/checkpoint.h"
#include "models/cuda/graph.h"
#include "models/experts.h"
#include "models/family.h"
#include "models/fused.h"
#include "models/gguf.h"
#include "models/linear.h"
#include "models/logits_at_once.h"
#include "models/quantised.h"

namespace sinkbench {
namespace {

/// Whether one row's norm is part of the product after it.
bool folds(const DecoderConfig& config, const NormWeights& norm, const at::Tensor& x,
           const Linear& linear) {
  return config.norm == NormKind::rms && fused::takes_normed_row(x, norm.weight, linear.weight);
}

/// Of a tensor, or of a matrix in its file's form.
struct Size {
  int64_t numbers = 0, bytes = 0;
  Size& operator+=(const Size& other) {
    numbers += other.numbers;
    bytes += other.bytes;
    return *this;
  }
};
Size size_of(const at::Tensor& tensor) {
  if (!tensor.defined()) return {};
  return {tensor.numel(), static_cast<int64_t>(tensor.nbytes())};
}
Size size_of(const StoredMatrix& matrix) {
  if (!matrix.defined()) return {};
  return {matrix.rows() * matrix.columns(), matrix.bytes()};
}
Size size_of(const Linear& linear) {
  Size size = size_of(linear.weight);
  size += size_of(linear.bias);
  size += size_of(linear.stored);
  return size;
}
Size size_of(const NormWeights& norm) {
  Size size = size_of(norm.weight);
  size += size_of(norm.bias);
  return size;
}

/// Of all experts of a layer.
Size size_of(const std::vector<ExpertWeights>& experts) {
  Size size;
  for (const ExpertWeights& expert : experts) {
    size += size_of(expert.gate_up);
    size += size_of(expert.down);
  }
  return size;
}

/// Whether the head is the embedding's matrix.
bool is_tied(const DecoderWeights& weights) {
  return weights.head.stored.defined() ? weights.head.stored.is_same(weights.stored_embedding)
                                       : weights.head.weight.is_same(weights.embedding);
}

/// Whether any expert's matrix is in its file's form.
bool keeps_stored(const DecoderWeights& weights) {
  for (const LayerWeights& layer : weights.layers) {
    for (const ExpertWeights& expert : layer.experts.experts) {
      if (expert.gate_up.stored.defined()) return true;
    }
  }
  return false;
}

/// Of the whole model, what is shared once.
Size size_of(const DecoderWeights& weights) {
  Size size = size_of(weights.embedding);
  size += size_of(weights.stored_embedding);
  size += size_of(weights.positions);
  for (const LayerWeights& layer : weights.layers) {
    size += size_of(layer.attention_norm);
    const bool shared = layer.mlp_norm.weight.defined() &&
                        layer.mlp_norm.weight.is_same(layer.attention_norm.weight);
    if (!shared) size += size_of(layer.mlp_norm);
    size += size_of(layer.attention_post_norm);
    size += size_of(layer.mlp_post_norm);
    for (const Linear* linear :
         {&layer.qkv, &layer.output, &layer.gate_up, &layer.down, &layer.experts.router,
          &layer.experts.shared_gate_up, &layer.experts.shared_down, &layer.experts.shared_gate}) {
      size += size_of(*linear);
    }
    size += size_of(layer.experts.experts);
    for (const at::Tensor* tensor : {&layer.query_norm, &layer.key_norm, &layer.sink_logit}) {
      size += size_of(*tensor);
    }
  }
  size += size_of(weights.final_norm);
  size += is_tied(weights) ? size_of(weights.head.bias) : size_of(weights.head);
  return size;
}

/// No config.json: says what the folder is, where that can be seen.
[[noreturn]] void fail_without_config(const std::filesystem::path& folder) {
  namespace fs = std::filesystem;
  std::error_code error;
  const fs::path file = folder / "config.json";
  if (!fs::exists(folder, error)) {
    throw InputError::format("{}: no such folder, and no .gguf file", folder.string());
  }
  refuse_broken_link(file);
  std::string help;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    if (entry.path().extension() == ".gguf") {
      help = fmt::format("; there is {}: give that file", entry.path().filename().string());
    }
  }
  if (fs::is_directory(folder / "snapshots", error)) {
    help = "; it is a folder of the hub's cache: give the one in its snapshots/";
    for (const fs::directory_entry& entry : fs::directory_iterator(folder / "snapshots", error)) {
      help = fmt::format("; it is a folder of the hub's cache: give {}", entry.path().string());
    }
  }
  throw InputError::format("{}: cannot open: no such file{}", file.string(), help);
}

KeptForm kept_form(const DecoderOptions& options) {
  if (!options.as_stored) return {};
  if (options.device.is_cuda()) {
    throw InputError::format("weights as-stored are decoded by the CPU; expected device cpu");
  }
  KeptForm kept{.as_stored = true};
  if (options.decoded_bytes > 0) kept.cache = make_decoded_cache(options.decoded_bytes);
  return kept;
}

/// A model on disk: a Hugging Face folder or a GGUF file.
class Opened {
 public:
  Opened(const std::filesystem::path& path, const DecoderOptions& options) {
    const KeptForm kept = kept_form(options);
    if (is_gguf(path)) {
      gguf_ =
          std::make_unique<GgufCheckpoint>(read_gguf(path), options.dtype, options.device, kept);
    } else {
      if (!std::filesystem::exists(path / "config.json")) fail_without_config(path);
      reader_.emplace(path / "config.json");
      folder_ = std::make_unique<SafetensorsCheckpoint>(path, options.dtype, options.device, kept);
      refuse_quantised(*reader_, *folder_);
    }
  }

  Decoder decoder(const DecoderOptions& options) {
    DecoderConfig config = gguf_ ? gguf_->config() : read_decoder_config(*reader_);
    DecoderWeights weights = gguf_ ? gguf_->weights(config)
                                   : find_family(*reader_).read_weights(config, *reader_, *folder_);
    checkpoint().check_all_used();
    if (config.tied_head && !is_tied(weights)) {
      config.tied_head = false;
      config.notes.push_back(
          "config.json says tie_word_embeddings, but the head that is stored differs from the "
          "embedding: the head counts");
    }
    if (options.as_stored && folder_ && !keeps_stored(weights)) {
      config.notes.push_back(
          "nothing of this model stays as it is stored: of a Hugging Face folder that is gpt-oss's "
          "experts in MXFP4 alone; all weights are decoded");
    }
    for (std::string& note : checkpoint().passed_over()) config.notes.push_back(std::move(note));
    return Decoder(std::move(config), std::move(weights), options);
  }

  std::string sha256() const {
    if (gguf_) return gguf_->sha256();
    Sha256 hash;
    hash.update(read_file(reader_->path()));
    hash.update(folder_->sha256());
    return hash.hex();
  }

 private:
  Checkpoint& checkpoint() {
    if (gguf_) return *gguf_;
    return *folder_;
  }

  std::optional<ConfigReader> reader_;             // of a folder
  std::unique_ptr<SafetensorsCheckpoint> folder_;  // one of the two
  std::unique_ptr<GgufCheckpoint> gguf_;
};

}  // namespace

Decoder Decoder::load(const std::filesystem::path& path, const DecoderOptions& options) {
  Opened opened(path, options);
  if (options.device.is_meta()) return opened.decoder(options);
  auto hash = std::async(std::launch::async, [&] { return opened.sha256(); });  // beside loading
  Decoder decoder = opened.decoder(options);
  decoder.sha256_ = hash.get();
  return decoder;
}

std::string Decoder::sha256_of(const std::filesystem::path& path) {
  return Opened(path, {.device = at::kMeta}).sha256();
}

Decoder Decoder::check(const std::filesystem::path& path) {
  return load(path, {.device = at::kMeta});
}

Decoder Decoder::random(const std::filesystem::path& config_json, uint64_t seed,
                        const DecoderOptions& options) {
  const ConfigReader reader(config_json);
  DecoderConfig config = read_decoder_config(reader);
  RandomWeights source(seed, options.dtype, options.device, kept_form(options));
  DecoderWeights weights = find_family(reader).read_weights(config, reader, source);
  Decoder decoder(std::move(config), std::move(weights), options);
  decoder.sha256_ =
      sha256_hex(read_file(config_json) + fmt::format("random weights, seed {}", seed));
  return decoder;
}

Decoder::Decoder(DecoderConfig config, DecoderWeights weights, const DecoderOptions& options)
    : config_(std::move(config)), weights_(std::move(weights)), options_(options) {
  const auto precision = at::TensorOptions().dtype(accumulate_dtype()).device(options_.device);
  for (const LayerWeights& layer : weights_.layers) {
    at::Tensor logit = layer.sink_logit;
    if (logit.defined()) logit = logit.to(precision).contiguous();
    if (config_.constant_sink_logit) {
      logit = at::full({config_.heads}, *config_.constant_sink_logit, precision);
    }
    sink_logits_.push_back(logit);
  }
}

at::ScalarType Decoder::accumulate_dtype() const {
  return options_.dtype == at::kDouble ? at::kDouble : at::kFloat;
}

void Decoder::synchronize() const {
  sinkbench::synchronize(options_.device);
}

int64_t Decoder::parameters() const {
  return size_of(weights_).numbers;
}

int64_t Decoder::weight_bytes() const {
  return size_of(weights_).bytes;
}

int64_t Decoder::idle_parameters() const {
  if (!config_.experts) return 0;
  const int64_t all = config_.experts->experts, unchosen = all - config_.experts->chosen;
  int64_t idle = 0;
  for (const LayerWeights& layer : weights_.layers) {
    idle += size_of(layer.experts.experts).numbers / all * unchosen;
  }
  return idle;
}

int64_t Decoder::step_bytes() const {
  Size size = size_of(weights_);
  if (config_.experts) {
    const int64_t all = config_.experts->experts, unchosen = all - config_.experts->chosen;
    for (const LayerWeights& layer : weights_.layers) {
      size.bytes -= size_of(layer.experts.experts).bytes / all * unchosen;
    }
  }
  if (is_tied(weights_)) return size.bytes;
  Size embedding = size_of(weights_.embedding);
  embedding += size_of(weights_.stored_embedding);
  return size.bytes - embedding.bytes + embedding.bytes / config_.vocab_size;
}

at::Tensor Decoder::embed(const at::Tensor& ids, const at::Tensor& positions) const {
  const at::Tensor rows = weights_.stored_embedding.defined()
                              ? weights_.stored_embedding.look_up(ids, options_.dtype)
                              : at::embedding(weights_.embedding, ids);
  at::Tensor x = rows.to(accumulate_dtype());
  if (config_.embedding_scale != 1.0) {
    at::Tensor scale = at::scalar_tensor(config_.embedding_scale, at::kDouble);
    if (config_.rounds_embedding_scale) scale = scale.to(options_.dtype);
    x = x * scale.item<double>();
  }
  if (config_.learned_positions == 0) return x;
  if (!positions.defined()) throw std::logic_error("learned positions, and ids without places");
  return x + at::embedding(weights_.positions, positions).to(accumulate_dtype());
}

at::Tensor Decoder::norm(const NormWeights& weights, const at::Tensor& x,
                         at::ScalarType dtype) const {
  if (!weights.weight.defined()) return x.to(dtype);
  // In the residual stream's precision; only the result is rounded.
  const at::Tensor exact = x.to(accumulate_dtype());
  if (config_.norm == NormKind::rms) {
    return fused::rms_norm(exact, weights.weight, config_.norm_epsilon, dtype);
  }
  const at::Tensor weight = weights.weight.to(exact.scalar_type());
  const at::Tensor bias =
      weights.bias.defined() ? weights.bias.to(exact.scalar_type()) : at::Tensor();
  return at::layer_norm(exact, {config_.hidden_size}, weight, bias, config_.norm_epsilon).to(dtype);
}

at::Tensor Decoder::attention_input(const LayerWeights& layer, const at::Tensor& x) const {
  if (config_.norm_placement == NormPlacement::residual) return x.to(options_.dtype);
  return norm(layer.attention_norm, x, options_.dtype);
}

at::Tensor Decoder::norm_heads(const at::Tensor& heads, const at::Tensor& weight) const {
  if (!weight.defined()) return heads;
  const at::Tensor x = heads.to(accumulate_dtype());
  // Rows as long as the weight: of one head, or of all together.
  return fused::rms_norm(x.reshape({-1, weight.size(0)}), weight, config_.norm_epsilon,
                         options_.dtype)
      .view(heads.sizes());
}

Projection Decoder::split(const LayerWeights& layer, const at::Tensor& query,
                          const at::Tensor& keys_and_values) const {
  const auto clipped = [&](const at::Tensor& x) {
    return config_.clip_qkv > 0.0 ? x.clamp(-config_.clip_qkv, config_.clip_qkv) : x;
  };
  const at::Tensor key = keys_and_values.narrow(1, 0, config_.kv_heads);
  const at::Tensor value = keys_and_values.narrow(1, config_.kv_heads, config_.kv_heads);
  return {.query = clipped(norm_heads(query, layer.query_norm)),
          .key = clipped(norm_heads(key, layer.key_norm)),
          .value = clipped(value)};
}

Projection Decoder::project(int64_t layer, const at::Tensor& x) const {
  const LayerWeights& weights = weights_.layers[layer];
  const bool folded = config_.norm_placement != NormPlacement::residual &&
                      folds(config_, weights.attention_norm, x, weights.qkv);
  const at::Tensor rows = (folded ? fused::row_product({.x = x,
                                                        .linear = weights.qkv,
                                                        .norm = weights.attention_norm.weight,
                                                        .epsilon = config_.norm_epsilon})
                                  : apply(weights.qkv, attention_input(weights, x)))
                              .view({x.size(0), -1, config_.head_dim});
  return split(weights, rows.narrow(1, 0, config_.heads),
               rows.narrow(1, config_.heads, 2 * config_.kv_heads));
}

Projection Decoder::project(int64_t layer, const at::Tensor& x, const at::Tensor& x_query) const {
  const LayerWeights& weights = weights_.layers[layer];
  const int64_t query_size = config_.heads * config_.head_dim;
  const int64_t key_size = config_.kv_heads * config_.head_dim;
  const auto rows = [&](const at::Tensor& input, int64_t begin, int64_t size) {
    return apply(narrow(weights.qkv, begin, size), attention_input(weights, input))
        .view({input.size(0), size / config_.head_dim, config_.head_dim});
  };
  return split(weights, rows(x_query, 0, query_size), rows(x, query_size, 2 * key_size));
}

at::Tensor Decoder::activated(const LayerWeights& layer, const at::Tensor& normed) const {
  if (fused::takes_row(normed, layer.gate_up.weight)) {
    return fused::row_product({.x = normed,
                               .linear = layer.gate_up,
                               .activation = config_.activation,
                               .gated = config_.gated_mlp});
  }
  const at::Tensor inner = apply(layer.gate_up, normed);
  if (!config_.gated_mlp) return fused::activate(inner, config_.activation);
  return fused::gate(inner, config_.activation);
}

at::Tensor Decoder::finish(int64_t layer, const at::Tensor& x, const at::Tensor& attended) const {
  const LayerWeights& weights = weights_.layers[layer];
  const bool last = config_.norm_placement == NormPlacement::residual;
  const auto plus = [&](const at::Tensor& stream, const Linear& linear, const at::Tensor& input,
                        const NormWeights& post) {
    if (!post.weight.defined() && fused::takes_row(input, linear.weight)) {
      return fused::row_product(
          {.x = input, .linear = linear, .residual = stream, .scale = config_.residual_scale});
    }
    const at::Tensor part = apply(linear, input);
    const at::Tensor& added = post.weight.defined() ? norm(post, part, accumulate_dtype()) : part;
    return fused::add(stream, added, config_.residual_scale);
  };
  const auto residual_norm = [&](const NormWeights& after, const at::Tensor& sum) {
    return last ? norm(after, sum, accumulate_dtype()) : sum;
  };
  const bool joined =
      !fused::takes_row(attended, weights.output.weight) && config_.norm == NormKind::rms &&
      config_.norm_placement == NormPlacement::before && !config_.parallel_residual &&
      weights.mlp_norm.weight.defined() && !weights.attention_post_norm.weight.defined();
  const bool experts = !weights.experts.experts.empty();
  const auto mixed = [&](const at::Tensor& normed) {
    return mix_experts(*config_.experts, config_.activation, weights.experts, normed,
                       accumulate_dtype());
  };
  if (joined) {  // the sum and its norm in one pass over memory
    const fused::NormedSum after =
        fused::add_rms_norm(x, apply(weights.output, attended), config_.residual_scale,
                            weights.mlp_norm.weight, config_.norm_epsilon, options_.dtype);
    if (experts) return fused::add(after.sum, mixed(after.normed), config_.residual_scale);
    return plus(after.sum, weights.down, activated(weights, after.normed), weights.mlp_post_norm);
  }
  const at::Tensor after_attention = residual_norm(
      weights.attention_norm, plus(x, weights.output, attended, weights.attention_post_norm));
  const at::Tensor& input = config_.parallel_residual ? x : after_attention;
  if (experts) {  // norms are before, as all families with experts have them
    return fused::add(after_attention, mixed(norm(weights.mlp_norm, input, options_.dtype)),
                      config_.residual_scale);
  }
  const bool folded = !last && folds(config_, weights.mlp_norm, input, weights.gate_up);
  const at::Tensor inner =
      folded ? fused::row_product({.x = input,
                                   .linear = weights.gate_up,
                                   .activation = config_.activation,
                                   .gated = config_.gated_mlp,
                                   .norm = weights.mlp_norm.weight,
                                   .epsilon = config_.norm_epsilon})
             : activated(weights, last ? input.to(options_.dtype)
                                       : norm(weights.mlp_norm, input, options_.dtype));
  return residual_norm(weights.mlp_norm,
                       plus(after_attention, weights.down, inner, weights.mlp_post_norm));
}

at::Tensor Decoder::logits(const at::Tensor& x) const {
  return scaled(folds(config_, weights_.final_norm, x, weights_.head)
                    ? fused::row_product({.x = x,
                                          .linear = weights_.head,
                                          .norm = weights_.final_norm.weight,
                                          .epsilon = config_.norm_epsilon})
                    : apply(weights_.head, norm(weights_.final_norm, x, options_.dtype)));
}

at::Tensor Decoder::scaled(const at::Tensor& products) const {
  if (config_.logit_scale == 1.0 && config_.logit_cap == 0.0) return products;
  at::Tensor scaled = products.to(accumulate_dtype()).mul_(config_.logit_scale);
  if (config_.logit_cap == 0.0) return scaled;
  return scaled.div_(config_.logit_cap).tanh_().mul_(config_.logit_cap);
}

at::Tensor Decoder::nll_of_logits(const at::Tensor& logits, const at::Tensor& targets) const {
  const bool exact = accumulate_dtype() == at::kDouble;
  return fused::negative_log_likelihood(exact ? logits.to(at::kDouble) : logits, targets);
}

at::Tensor Decoder::nll(const at::Tensor& x, const at::Tensor& targets) const {
  const int64_t vocabulary = config_.vocab_size;
  const bool tiles = x.is_cpu() && accumulate_dtype() == at::kFloat &&
                     x.size(0) >= fewest_rows_of_tile && vocabulary > columns_of_tile;
  const int64_t at_once =
      tiles ? rows_of_tile : std::max<int64_t>(1, logits_at_once(x.is_cuda()) / vocabulary);
  std::vector<at::Tensor> parts;
  for (int64_t row = 0; row < x.size(0); row += at_once) {
    const int64_t n = std::min(at_once, x.size(0) - row);
    const at::Tensor rows = x.narrow(0, row, n), of_rows = targets.narrow(0, row, n);
    if (!tiles) {
      parts.push_back(nll_of_logits(logits(rows), of_rows));
      continue;
    }
    const at::Tensor normed = norm(weights_.final_norm, rows, options_.dtype);
    fused::TiledNll sums(of_rows);
    for (int64_t first = 0; first < vocabulary; first += columns_of_tile) {
      const int64_t columns = std::min(columns_of_tile, vocabulary - first);
      sums.add(scaled(apply(narrow(weights_.head, first, columns), normed)), first);
    }
    parts.push_back(sums.nll());
  }
  return parts.size() == 1 ? parts.front() : at::cat(parts);
}

}  // namespace sinkbench
