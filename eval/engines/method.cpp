#include "eval/engines/method.h"

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <stdexcept>

#include "base/error.h"
#include "eval/attention/parts.h"
#include "eval/engines/batched_recompute.h"
#include "eval/engines/chunked.h"
#include "eval/engines/kivi_engines.h"
#include "eval/engines/limits.h"
#include "eval/engines/recompute.h"
#include "eval/engines/scan_engine.h"
#include "eval/engines/scored_stepwise.h"
#include "eval/engines/stepwise.h"
#include "eval/experiment/engine_names.h"
#include "models/logits_at_once.h"

namespace sinkbench {
namespace {

bool is_chunked(const std::string& engine) {
  if (engine == "chunked") return true;
  if (engine == "stepwise") return false;
  throw InputError::format("unknown engine '{}'{}", engine, suggestion(engine, engine_names()));
}

double element_size(at::ScalarType dtype) {
  return static_cast<double>(at::elementSize(dtype));
}

/// Of the residual stream, norms and softmax.
double exact_size(at::ScalarType dtype) {
  return dtype == at::kDouble ? 8 : 4;
}
/// Of a copy in the precision of sums.
double widened_size(at::ScalarType dtype) {
  return exact_size(dtype) > element_size(dtype) ? exact_size(dtype) : 0;
}
/// Of a logit, with what is made of it.
double logit_size(at::ScalarType dtype) {
  return element_size(dtype) + widened_size(dtype) + 2 * exact_size(dtype);
}

/// Plain attention has no more scores at once.
constexpr double most_pairs = 1 << 26;
/// Scores, the same of all ranges in one, and their softmax: measured.
constexpr double copies_of_scores = 2.5;

/// Elements of one entry's key and value, in one layer.
double entry_elements(const DecoderConfig& config) {
  return 2.0 * static_cast<double>(config.kv_heads * config.head_dim);
}

using LastSeen = std::vector<std::vector<std::vector<int64_t>>>;

/// What has left a view never comes back: of each token the last query whose view has it.
std::vector<int64_t> last_seen_in_views(int64_t tokens,
                                        const std::function<View(int64_t t)>& view) {
  std::vector<int64_t> last(tokens);
  std::iota(last.begin(), last.end(), 0);  // its own
  for (int64_t t = 0; t < tokens; ++t) {
    for (const Range& range : view(t))
      std::fill(last.begin() + range.begin, last.begin() + range.end, t);
  }
  return last;
}

/// Bytes of a key and a value of one key head, stored so.
int64_t stored_bytes(const StorageSpec& spec, const DecoderConfig& config, int64_t element) {
  const KvStorage storage(spec, config);
  return storage.key_bytes(element) + storage.value_bytes(element);
}

class IndexMethod : public Method {
 public:
  IndexMethod(const IndexPolicy& policy, const DecoderConfig& config, const StorageSpec& storage)
      : policy_(policy), config_(config), views_(policy, config), storage_(storage) {}

  void check(int64_t fed) const override {
    check_views(views_, config_, fed);
    KvStorage(storage_, config_);
  }
  std::unique_ptr<Engine> engine(const std::string& name, const Decoder& decoder,
                                 const EngineOptions& options) const override {
    if (is_chunked(name)) {
      return std::make_unique<ChunkedEngine>(decoder, policy_, options.chunk, false, storage_);
    }
    return std::make_unique<StepwiseEngine>(decoder, policy_, false, storage_);
  }
  std::unique_ptr<Decoding> decoding(const Decoder& decoder) const override {
    return std::make_unique<StepwiseEngine>(decoder, policy_, false, storage_);
  }
  bool grows() const override { return !views_.capacity(views_.widest()); }
  LastSeen last_seen(const Decoder&, std::span<const int32_t> ids) const override {
    LastSeen result;
    for (int64_t layer = 0; layer < config_.layers; ++layer) {
      result.push_back({last_seen_in_views(static_cast<int64_t>(ids.size()), [&](int64_t t) {
        return views_.view(views_.kind(layer), t);
      })});
    }
    return result;
  }
  int64_t kept(int64_t fed) const override { return views_.kept(views_.widest(), fed); }
  int64_t kv_bytes(int64_t fed, int64_t element) const override {
    return static_cast<int64_t>(entries_of_layers(fed)) * config_.kv_heads *
           stored_bytes(storage_, config_, element);
  }
  Footprint scoring(const std::string& engine, at::ScalarType dtype, const EngineOptions& options,
                    int64_t fed) const override {
    const double exact = exact_size(dtype);
    const double vectors = entry_elements(config_) / 2;  // of all key heads
    if (!is_chunked(engine)) {
      return {.cache = entries_of_layers(fed) * entry_elements(config_) * element_size(dtype),
              .scratch = step_scratch(dtype, fed)};
    }
    const int64_t block = ChunkedEngine::block_size(config_, options.chunk, fed, options.device);
    const bool in_parts = storage_.is_native() &&
                          attends_in_parts(config_, {.dtype = dtype, .device = options.device});
    const double kept_size = in_parts ? element_size(dtype) : exact;
    const double rows = static_cast<double>(block);
    const double heads = static_cast<double>(config_.heads);
    Footprint need;
    for (int64_t kind = 0; kind < views_.kinds(); ++kind) {
      const double room = std::min<double>(static_cast<double>(views_.kept(kind, fed)) + rows,
                                           static_cast<double>(fed) + rows);
      const bool by_rank = is_scattered(kind, fed) &&
                           config_.rotary(views_.example(kind)) != nullptr &&
                           views_.positions(kind) == Positions::cache;
      need.cache +=
          static_cast<double>(views_.layers(kind)) * room * vectors * kept_size * (by_rank ? 3 : 2);
      // The kernel packs a layer's buffer; plain attention has the scores of many pairs at once,
      // or of one span of queries.
      const double packed = 2 * room * vectors * exact;
      const double keys = std::min(static_cast<double>(fed), room);
      const double pairs = is_scattered(kind, fed) ? std::min(rows, keys) * keys / 4 : rows * keys;
      const bool plain = dtype == at::kDouble || (options.device.is_cuda() && !in_parts);
      double attention =
          plain ? std::min(most_pairs, heads * pairs) * exact * copies_of_scores : packed;
      if (config_.alibi) {
        attention += heads * static_cast<double>(bias_places(views_, kind, fed)) * exact;
      }
      need.scratch = std::max(need.scratch, attention);
    }
    need.scratch += block_scratch(dtype, rows);
    return need;
  }
  Footprint timing(at::ScalarType dtype, std::optional<int64_t> entries, int64_t fed,
                   int64_t steps) const override {
    return scoring("stepwise", dtype, {}, views_.tokens_to_fill(entries, fed) + steps);
  }

 private:
  /// What the engines find out, without going through the longest of streams.
  bool is_scattered(int64_t kind, int64_t fed) const {
    return views_.scattered(kind, std::min(fed, int64_t{1} << 20));
  }
  double entries_of_layers(int64_t fed) const {
    double entries = 0;
    for (int64_t kind = 0; kind < views_.kinds(); ++kind) {
      entries += static_cast<double>(views_.layers(kind) * views_.kept(kind, fed));
    }
    return entries;
  }
  double step_scratch(at::ScalarType dtype, int64_t fed) const {
    double scratch = block_scratch(dtype, 1);
    for (int64_t kind = 0; kind < views_.kinds(); ++kind) {
      const double kept = static_cast<double>(views_.kept(kind, fed));
      if (config_.alibi) {
        scratch +=
            static_cast<double>(config_.heads * bias_places(views_, kind, fed)) * exact_size(dtype);
      }
      if (is_scattered(kind, fed) && views_.positions(kind) == Positions::cache) {
        scratch += kept * entry_elements(config_) / 2 * exact_size(dtype);
      }
    }
    return scratch;
  }
  double block_scratch(at::ScalarType dtype, double rows) const {
    return activations(config_, dtype, rows);
  }

  const IndexPolicy& policy_;
  const DecoderConfig config_;
  const LayerViews views_;
  const StorageSpec storage_;

 public:
  /// Of the rows of one layer and of their logits: what the allocator has given out for one is not
  /// all of use for the other.
  static double activations(const DecoderConfig& config, at::ScalarType dtype, double rows) {
    const double exact = exact_size(dtype), element = element_size(dtype);
    const double widened = widened_size(dtype);
    const double heads = static_cast<double>(config.heads * config.head_dim);
    const double projected = heads + entry_elements(config);
    const double mlp = static_cast<double>(config.mlp_size) * (config.gated_mlp ? 3 : 2);
    const double hidden = static_cast<double>(config.hidden_size);
    const double vocabulary = static_cast<double>(config.vocab_size);
    const double residual = hidden * (2 * exact + element);
    const double attention = projected * (element + widened) + 1.5 * heads * exact;
    const double attended = heads * (exact + (widened > 0 ? element : 0));
    const double logits = rows < fewest_rows_of_tile
                              ? rows * vocabulary
                              : std::min(rows, static_cast<double>(rows_of_tile)) *
                                    std::min(vocabulary, static_cast<double>(columns_of_tile));
    return rows * (residual + attention + attended + mlp * element) + logits * logit_size(dtype);
  }
};

/// All tokens kept, in KIVI's form.
class KiviMethod final : public IndexMethod {
 public:
  KiviMethod(const IndexPolicy& policy, const DecoderConfig& config, const StorageSpec& storage)
      : IndexMethod(policy, config, {}), policy_(policy), config_(config), storage_(storage) {}

  void check(int64_t fed) const override {
    const Kivi kivi(storage_, config_);
    IndexMethod::check(fed);
    check_keeps_all(LayerViews(policy_, config_), storage_, fed);
  }
  std::unique_ptr<Engine> engine(const std::string& name, const Decoder& decoder,
                                 const EngineOptions& options) const override {
    if (is_chunked(name)) {
      return std::make_unique<KiviChunkedEngine>(decoder, policy_, storage_, options.chunk);
    }
    return std::make_unique<KiviStepwiseEngine>(decoder, policy_, storage_);
  }
  std::unique_ptr<Decoding> decoding(const Decoder& decoder) const override {
    return std::make_unique<KiviStepwiseEngine>(decoder, policy_, storage_);
  }
  int64_t kv_bytes(int64_t fed, int64_t element) const override {
    return config_.layers * config_.kv_heads * Kivi(storage_, config_).bytes(fed, element);
  }
  Footprint scoring(const std::string& engine, at::ScalarType dtype, const EngineOptions& options,
                    int64_t fed) const override {
    Footprint need = IndexMethod::scoring(engine, dtype, options, fed);
    // A layer's keys and values once more, laid side by side.
    need.scratch += static_cast<double>(fed) * entry_elements(config_) * exact_size(dtype);
    if (is_chunked(engine)) {
      need.cache *= 1.5;  // values twice
    } else {
      need.cache = static_cast<double>(kv_bytes(fed, static_cast<int64_t>(element_size(dtype))));
    }
    return need;
  }

 private:
  const IndexPolicy& policy_;
  const DecoderConfig config_;
  const StorageSpec storage_;
};

class RecomputeMethod final : public Method {
 public:
  RecomputeMethod(const RecomputePolicy& policy, const DecoderConfig& config,
                  const StorageSpec& storage)
      : policy_(policy), config_(config), storage_(storage) {}

  void check(int64_t) const override {
    check_passes(policy_, config_, *policy_.capacity() + 1);
    if (storage_.is_native()) return;
    throw InputError::format(
        "policy {}: keeps no cache from one token to the next, so that there is nothing to store "
        "as "
        "{}; expected kv: native, or another policy",
        policy_.label(), storage_label(storage_));
  }
  std::unique_ptr<Engine> engine(const std::string& name, const Decoder& decoder,
                                 const EngineOptions&) const override {
    if (is_chunked(name)) return std::make_unique<BatchedRecomputeEngine>(decoder, policy_);
    return std::make_unique<RecomputeEngine>(decoder, policy_);
  }
  std::unique_ptr<Decoding> decoding(const Decoder& decoder) const override {
    return std::make_unique<RecomputeEngine>(decoder, policy_);
  }
  int64_t stride() const override { return policy_.stride(); }
  bool grows() const override { return false; }
  LastSeen last_seen(const Decoder&, std::span<const int32_t> ids) const override {
    const auto one = last_seen_in_views(static_cast<int64_t>(ids.size()),
                                        [&](int64_t t) { return policy_.view(t); });
    return LastSeen(config_.layers, {one});
  }
  /// The keys and values of a whole pass, the query's among them.
  int64_t kept(int64_t fed) const override { return std::min(fed, *policy_.capacity() + 1); }
  int64_t kv_bytes(int64_t fed, int64_t element) const override {
    return kept(fed) * config_.kv_bytes_per_token(element);
  }
  Footprint scoring(const std::string& engine, at::ScalarType dtype, const EngineOptions&,
                    int64_t fed) const override {
    const double pass = static_cast<double>(kept(fed));
    if (!is_chunked(engine)) return {.cache = 0, .scratch = pass_scratch(dtype, pass, true)};
    const double rows =
        std::max<double>(static_cast<double>(BatchedRecomputeEngine::rows_at_once), pass);
    return {.cache = 0, .scratch = pass_scratch(dtype, rows, dtype == at::kDouble)};
  }
  Footprint timing(at::ScalarType dtype, std::optional<int64_t>, int64_t fed,
                   int64_t) const override {
    return scoring("stepwise", dtype, {}, std::max(fed, *policy_.capacity() + 1));
  }

 private:
  double pass_scratch(at::ScalarType dtype, double rows, bool plain) const {
    const double heads = static_cast<double>(config_.heads), exact = exact_size(dtype);
    const double pass = std::min(rows, static_cast<double>(*policy_.capacity() + 1));
    // Queries, keys and values laid out window by window stand beside those of the rows.
    double scratch = IndexMethod::activations(config_, dtype, rows) +
                     2.5 * rows * heads * static_cast<double>(config_.head_dim) * exact;
    if (plain) scratch += std::min(most_pairs, heads * pass * pass) * exact * copies_of_scores;
    if (config_.alibi) scratch += heads * pass * exact;
    return scratch;
  }

  const RecomputePolicy& policy_;
  const DecoderConfig config_;
  const StorageSpec storage_;
};

/// What a scan inside each layer is needed for: eviction by score, or by index where positions need
/// it, and reading of a part.
class ScanMethod final : public Method {
 public:
  ScanMethod(const Policy& policy, const DecoderConfig& config, const StorageSpec& storage)
      : policy_(policy), config_(config), rules_(policy, config_), storage_(storage) {}

  void check(int64_t fed) const override {
    if (rules_.ahead() > 0 && storage_.zero_values > 0) {
      throw InputError::format(
          "policy {}: sees queries before they come, a whole piece at once; expected another "
          "policy, or "
          "no kv.zero_values",
          policy_.label());
    }
    check_rules(rules_, config_, fed);
    KvStorage(storage_, config_);
  }
  std::unique_ptr<Engine> engine(const std::string& name, const Decoder& decoder,
                                 const EngineOptions& options) const override {
    EngineOptions stored = options;
    stored.storage = storage_;
    if (is_chunked(name)) return std::make_unique<ScanEngine>(decoder, policy_, stored);
    return std::make_unique<ScoredStepwiseEngine>(decoder, policy_, stored);
  }
  std::unique_ptr<Decoding> decoding(const Decoder& decoder) const override {
    return std::make_unique<ScanEngine>(decoder, policy_,
                                        EngineOptions{.chunk = 1, .storage = storage_});
  }
  bool decodes() const override { return rules_.ahead() == 0; }
  bool grows() const override { return !policy_.capacity(); }
  LastSeen last_seen(const Decoder& decoder, std::span<const int32_t> ids) const override {
    const int64_t tokens = static_cast<int64_t>(ids.size());
    LastSeen result;
    bool by_score = false;
    for (int64_t layer = 0; layer < config_.layers; ++layer) {
      if (rules_.score(layer) != nullptr) {
        by_score = true;
        result.emplace_back(config_.kv_heads, std::vector<int64_t>(tokens, tokens));
      } else {
        result.push_back(
            {last_seen_in_views(tokens, [&](int64_t t) { return rules_.view(layer, t); })});
      }
    }
    if (!by_score) return result;
    const DecisionSink sink = [&](std::span<const Decision> decisions) {
      for (const Decision& decision : decisions) {
        for (const int64_t place : decision.places) {
          result[decision.layer][decision.head][place] = decision.t;
        }
      }
    };
    ScanEngine engine(decoder, policy_, {.decisions = {.sink = sink}, .storage = storage_});
    engine.begin(ids);
    while (!engine.done()) engine.advance_rows([](const QueryRows&) {});
    return result;
  }
  int64_t kept(int64_t fed) const override { return rules_.most(rules_.widest(fed), fed); }
  double mean_kept(int64_t fed) const override { return rules_.mean(fed); }
  /// The scan keeps them in the precision of sums, whatever the weights have.
  int64_t kv_bytes(int64_t fed, int64_t element) const override {
    const at::ScalarType exact = element > 4 ? at::kDouble : at::kFloat;
    const ScanBytes bytes = scan_bytes(rules_, config_, exact, fed, 1, 1);
    if (KvStorage(storage_, config_).keeps_all()) return bytes.keys_and_values;
    // What the form takes; the scan works on what is decoded of it, once.
    return bytes.entries *
           stored_bytes(storage_, config_, static_cast<int64_t>(at::elementSize(exact)));
  }
  Footprint scoring(const std::string& engine, at::ScalarType dtype, const EngineOptions& options,
                    int64_t fed) const override {
    const int64_t block =
        is_chunked(engine) ? ChunkedEngine::block_size(config_, options.chunk, fed) : 1;
    const ScanBytes bytes = scan_bytes(rules_, config_, dtype, fed, block, at::get_num_threads());
    const double keys_and_values = static_cast<double>(bytes.keys_and_values);
    // The oracle makes its tensors anew with every token.
    const double copies = is_chunked(engine) ? 1 : 2;
    return {.cache = copies * (keys_and_values + bytes.statistics),
            .scratch = bytes.scratch + whole_piece(dtype, fed) +
                       IndexMethod::activations(config_, dtype, static_cast<double>(block))};
  }
  Footprint timing(at::ScalarType dtype, std::optional<int64_t> entries, int64_t fed,
                   int64_t steps) const override {
    return holding(dtype, rules_.full(entries, fed) + steps);
  }
  Footprint holding(at::ScalarType dtype, int64_t fed) const override {
    return scoring("chunked", dtype, {.chunk = 1}, fed);
  }
  Footprint seeing(at::ScalarType dtype, int64_t tokens) const override {
    return scoring("chunked", dtype, {}, tokens);
  }

 private:
  /// Where rounds look ahead, the residual stream of a piece and what was embedded.
  double whole_piece(at::ScalarType dtype, int64_t fed) const {
    if (rules_.ahead() == 0) return 0;
    return 2.0 * static_cast<double>(fed * config_.hidden_size) * exact_size(dtype);
  }

  const Policy& policy_;
  const DecoderConfig config_;
  const LayerRules rules_;
  const StorageSpec storage_;
};

}  // namespace

double whole_logits(const DecoderConfig& config, at::ScalarType dtype, int64_t fed) {
  const int64_t rows = std::max<int64_t>(1, logits_at_once(false) / config.vocab_size);
  return static_cast<double>(std::min(rows, fed) * config.vocab_size) * logit_size(dtype);
}

std::unique_ptr<Method> make_method(const Policy& policy, const DecoderConfig& config,
                                    const StorageSpec& storage) {
  const bool by_range =
      policy.positions() == Positions::cache || policy.positions() == Positions::original;
  if (dynamic_cast<const ScorePolicy*>(&policy) != nullptr ||
      dynamic_cast<const ReadPolicy*>(&policy) != nullptr ||
      (dynamic_cast<const IndexPolicy*>(&policy) != nullptr && !by_range)) {
    return std::make_unique<ScanMethod>(policy, config, storage);
  }
  if (const auto* index = dynamic_cast<const IndexPolicy*>(&policy)) {
    if (storage.is_kivi() && !policy.capacity()) {
      return std::make_unique<KiviMethod>(*index, config, storage);
    }
    return std::make_unique<IndexMethod>(*index, config, storage);
  }
  if (const auto* recompute = dynamic_cast<const RecomputePolicy*>(&policy)) {
    return std::make_unique<RecomputeMethod>(*recompute, config, storage);
  }
  throw std::logic_error("a policy of a kind that no engine runs: " + policy.label());
}

std::unique_ptr<Engine> make_engine(const std::string& name, const Decoder& decoder,
                                    const Policy& policy, const EngineOptions& options) {
  return make_method(policy, decoder.config(), options.storage)->engine(name, decoder, options);
}

void check_policy(const Policy& policy, const DecoderConfig& config, int64_t fed) {
  make_method(policy, config)->check(fed);
}

}  // namespace sinkbench
