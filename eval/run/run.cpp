#include "eval/run/run.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <list>
#include <set>
#include <thread>

#include "base/error.h"
#include "base/gguf.h"
#include "datasets/tokenizer.h"
#include "eval/engines/method.h"
#include "eval/metrics/batch_means.h"
#include "eval/metrics/evicted_mass.h"
#include "eval/results/decision_file.h"
#include "eval/run/dtype.h"
#include "eval/run/machine.h"
#include "eval/run/memory_need.h"
#include "eval/run/turns.h"
#include "eval/run/yardstick.h"
#include "models/cuda/graph.h"
#include "models/family.h"
#include "policies/registry.h"

namespace sinkbench {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

/// Timing stops here even if fewer samples than asked for are there, so that a slow cell ends.
constexpr double latency_budget_seconds = 30.0;
constexpr size_t fewest_samples = 5;

// The samples after a warm-up are timed in rounds: short ones, some of which the machine leaves
// alone.
constexpr int64_t fewest_rounds = 5;
constexpr int64_t fewest_periods = 4;  // of steps in a round, where there are as many
constexpr double longest_round_ms = 15;
// Rounds of two programs in turn: so short that the machine is the same for both of a pair, and so
// long that their first steps, which find the other program's data in the caches, move no median.
constexpr double longest_turn_ms = 10;
constexpr double fast_share = 0.1;  // of a round's periods, for TimingRound::fast_ms
constexpr std::chrono::milliseconds pause_between_rounds(20);

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

DecoderOptions decoder_options(const Cell& cell) {
  DecoderOptions options;
  options.dtype = to_scalar_type(cell.dtype);
  options.device = use_device(cell.device);
  if (options.device.is_cpu() && options.dtype == at::kHalf) {
    throw InputError::format(
        "dtype float16 has no matrix products on the CPU; expected bfloat16 or "
        "float32, or device cuda");
  }
  return options;
}

/// Where a model's tokenizer is: the folder of its config.json, or a GGUF file.
fs::path model_folder(const ModelSpec& model) {
  return model.random ? model.path.parent_path() : model.path;
}

std::string how_to_get(const std::string& get) {
  return get.empty() ? "" : "; get it with: " + get;
}

fs::path config_path(const ModelSpec& model) {
  if (model.random) return model.path;
  if (!fs::exists(model.path)) {
    throw InputError::format("{}: no such model folder{}", model.path.string(),
                             how_to_get(model.get));
  }
  if (is_gguf(model.path)) return model.path;
  if (!fs::is_directory(model.path)) {
    throw InputError::format(
        "{}: expected a folder with config.json and model.safetensors, or a "
        "GGUF file",
        model.path.string());
  }
  return model.path / "config.json";
}

/// Nothing is there, not so much as a broken link, of which the reader has more to say.
bool is_missing(const fs::path& path) {
  std::error_code ignored;
  return fs::symlink_status(path, ignored).type() == fs::file_type::not_found;
}

InputError missing_text(const fs::path& text, const std::string& get) {
  std::string help = how_to_get(get);
  if (get.empty() && text.filename() == "king-james.txt") {
    help =
        "; make it with: bible -f -l100 gen1:1-rev22:21 > king-james.txt (Debian's package "
        "bible-kjv), or give another text with --set dataset.text=FILE";
  }
  return InputError::format("{}: no such text{}", text.string(), help);
}

/// Sets LibTorch's threads, which it would otherwise choose by itself; returns how many.
int64_t set_threads(const Cell& cell) {
  const int64_t threads = cell.threads > 0 ? cell.threads : available_cores().count;
  at::set_num_threads(static_cast<int>(threads));
  return threads;
}

LatencyResult summarize(const std::vector<double>& samples_ms, int64_t fewest_entries,
                        int64_t most_entries) {
  return {.p50_ms = quantile(samples_ms, 0.50),
          .p90_ms = quantile(samples_ms, 0.90),
          .p99_ms = quantile(samples_ms, 0.99),
          .max_ms = *std::max_element(samples_ms.begin(), samples_ms.end()),
          .samples = static_cast<int64_t>(samples_ms.size()),
          .cache_entries = most_entries,
          .fewest_entries = fewest_entries,
          .samples_ms = samples_ms};
}

}  // namespace

std::vector<std::string> missing_inputs(const Cell& cell) {
  std::vector<std::string> missing;
  try {
    config_path(cell.model);
  } catch (const InputError& error) {
    missing.push_back(error.what());
  }
  for (const fs::path& text : cell.dataset.texts) {
    if (is_missing(text)) missing.push_back(missing_text(text, cell.dataset.get).what());
  }
  return missing;
}

struct Runner::State {
  Progress::Style style;
  const std::atomic<bool>* stop;

  // The last of each, and what it was made from.
  std::optional<Decoder> decoder;
  std::tuple<ModelSpec, std::string, std::string> decoder_key;

  // The texts of late, the last one last: a grid reads no text twice, if they aren't long.
  struct LoadedText {
    DatasetSpec dataset;
    fs::path model;
    TokenStream stream = {};
    std::string tokenizer_sha256 = {};
    std::vector<int32_t> prefix = {};  // that the stream, or each sample of a task, begins with
    std::vector<TaskQuestion> questions = {};
  };
  std::list<LoadedText> texts;
  std::set<fs::path> pipes;  // that were read

  struct Shape {
    DecoderConfig config;
    int64_t weight_bytes;
  };
  // Models whose tensors have been looked through, in each precision and form.
  std::map<std::tuple<fs::path, std::string, bool>, Shape> checked;
  std::map<ModelSpec, std::string> model_hashes;

  static auto shape_key(const Cell& cell) {
    return std::make_tuple(config_path(cell.model), cell.dtype, cell.model.as_stored);
  }
  const Shape& shape(const Cell& cell) const { return checked.at(shape_key(cell)); }

  bool stopped() const { return stop != nullptr && stop->load(); }

  bool has_decoder(const Cell& cell) const {
    return decoder && decoder_key == std::make_tuple(cell.model, cell.dtype, cell.device);
  }

  static MemoryNeed need(const Cell& cell, const Shape& shape, const Policy& policy, int64_t fed) {
    const bool beside = cell.metrics.contains(Metric::divergence) && cell.reference != cell.id;
    const auto reference = beside ? make_policy(cell.reference_policy) : nullptr;
    return memory_need(cell, shape.config, shape.weight_bytes, policy, fed, reference.get());
  }

  /// Throws where a cell needs more memory than there is.
  void check_memory(const Cell& cell, const Shape& shape, const Policy& policy, int64_t fed) {
    if (cell.device != "cpu") return;  // the device's own memory is what counts
    if (!has_decoder(cell)) decoder.reset();
    ::malloc_trim(0);  // what the last cell had is free again
    MemoryNeed need = this->need(cell, shape, policy, fed);
    if (decoder) need.weights = 0;  // they are there
    const double available = available_memory();
    if (need.total() <= available) return;
    constexpr double mib = 1024 * 1024;
    throw std::runtime_error(fmt::format(
        "needs {:.0f} MiB of memory (weights {:.0f}, cache {:.0f}, scratch {:.0f}), and {:.0f} MiB "
        "are available",
        need.total() / mib, need.weights / mib, need.cache / mib, need.scratch / mib,
        available / mib));
  }

  const Decoder& load_decoder(const Cell& cell) {
    const auto key = std::make_tuple(cell.model, cell.dtype, cell.device);
    if (!has_decoder(cell)) {
      decoder.reset();  // before the next one takes memory
      DecoderOptions options = decoder_options(cell);
      options.as_stored = cell.model.as_stored;
      options.decoded_bytes = cell.model.decoded_mib << 20;
      config_path(cell.model);
      decoder.emplace(cell.model.random ? Decoder::random(cell.model.path, cell.model.seed, options)
                                        : Decoder::load(cell.model.path, options));
      decoder_key = key;
    }
    return *decoder;
  }

  const TokenStream& load_stream(const Cell& cell, const DecoderConfig& config) {
    return load_text(cell, config).stream;
  }

  const LoadedText& load_text(const Cell& cell, const DecoderConfig& config) {
    const auto found = std::find_if(texts.begin(), texts.end(), [&](const LoadedText& text) {
      return text.dataset == cell.dataset && text.model == cell.model.path;
    });
    if (found != texts.end()) {
      texts.splice(texts.end(), texts, found);
      return texts.back();
    }
    texts.push_back(read_text(cell, config));
    constexpr size_t most_ids = 64'000'000;  // beside the last text
    size_t ids = 0;
    for (const LoadedText& text : texts) ids += text.stream.ids.size();
    while (texts.size() > 1 && ids - texts.back().stream.ids.size() > most_ids) {
      ids -= texts.front().stream.ids.size();
      texts.pop_front();
    }
    return texts.back();
  }

  LoadedText read_text(const Cell& cell, const DecoderConfig& config) {
    LoadedText text{.dataset = cell.dataset, .model = cell.model.path};
    if (cell.dataset.is_task()) {
      read_task(text, cell, config);
    } else if (cell.dataset.texts.empty()) {
      text.stream = read_token_file(cell.dataset.tokens_file, config.vocab_size,
                                    cell.dataset.tokens, cell.dataset.reset);
    } else {
      for (const fs::path& path : cell.dataset.texts) check_text(path, cell.dataset.get);
      const Tokenizer tokenizer = Tokenizer::load(model_folder(cell.model));
      text.tokenizer_sha256 = tokenizer.sha256();
      if (cell.dataset.bos != BosPlacement::none) {
        const std::string& token = cell.dataset.bos_token;
        text.prefix = !token.empty()
                          ? std::vector{tokenizer.named_token(token, "dataset.bos_token")}
                      : config.sink_token ? std::vector{*config.sink_token}
                                          : tokenizer.prefix();
      }
      text.stream = read_text_stream({.paths = cell.dataset.texts,
                                      .documents = cell.dataset.documents,
                                      .bos = cell.dataset.bos,
                                      .prefix = text.prefix,
                                      .special_tokens = cell.dataset.special_tokens,
                                      .tokens = cell.dataset.tokens,
                                      .reset = cell.dataset.reset},
                                     tokenizer);
      std::vector<std::string>& notes = text.stream.facts.notes;
      notes.insert(notes.end(), tokenizer.notes().begin(), tokenizer.notes().end());
    }
    check_ids(text.stream.ids, config);
    return text;
  }

  void read_task(LoadedText& text, const Cell& cell, const DecoderConfig& config) {
    for (const fs::path& path : cell.dataset.texts) check_text(path, cell.dataset.get);
    const fs::path folder = model_folder(cell.model);
    std::optional<Tokenizer> tokenizer;
    if (Tokenizer::is_in(folder)) tokenizer = Tokenizer::load(folder);
    // Logits may have rows that stand for no token.
    int64_t ids = config.vocab_size;
    std::map<int32_t, std::string> special;
    if (tokenizer) {
      ids = std::min(ids, tokenizer->vocab_size());
      special = tokenizer->special_tokens();
      text.tokenizer_sha256 = tokenizer->sha256();
    }
    std::vector<int32_t> ordinary;
    for (int32_t id = 0; id < ids; ++id) {
      if (!special.contains(id) && id != config.sink_token) ordinary.push_back(id);
    }
    if (config.sink_token) {
      text.prefix = {*config.sink_token};
    } else if (tokenizer) {
      text.prefix = tokenizer->prefix();
    }
    TaskStream task = make_task(cell.dataset.task, {.arguments = cell.dataset.task.arguments,
                                                    .ordinary = ordinary,
                                                    .prefix = text.prefix,
                                                    .tokenizer = tokenizer ? &*tokenizer : nullptr,
                                                    .texts = cell.dataset.texts});
    text.stream.ids = std::move(task.ids);
    text.stream.pieces = std::move(task.pieces);
    text.stream.ids_sha256 = ids_sha256(text.stream.ids);
    text.stream.facts.files = cell.dataset.texts;
    text.questions = std::move(task.questions);
  }

  void check_text(const fs::path& path, const std::string& get) {
    if (is_missing(path)) throw missing_text(path, get);
    std::error_code ignored;
    const fs::file_status status = fs::status(path, ignored);
    if (fs::is_regular_file(status) || fs::is_directory(status)) return;
    if (pipes.insert(path).second) return;
    throw InputError::format(
        "{}: a pipe can be read only once, and is needed again for another model or another "
        "setting of the dataset; put its text into a file",
        path.string());
  }

  static PerplexityResult perplexity(const BatchMeans& means, int64_t stride,
                                     const TokenStream& stream) {
    PerplexityResult result;
    result.nll_mean = means.mean();
    result.nll_stderr = means.standard_error();
    result.token = std::exp(result.nll_mean);
    result.token_stderr = result.token * result.nll_stderr;
    result.scored = means.count();
    result.stride = stride;
    if (stream.scored_text) {
      // With a stride, the tokens in between are taken to be like those that were scored.
      const double total = result.nll_mean * static_cast<double>(as_stream(stream).fed());
      const double bytes = static_cast<double>(stream.scored_text->bytes);
      const auto words = stream.scored_text->sensible_words();
      if (words && *words > 0) result.word = std::exp(total / static_cast<double>(*words));
      if (bytes > 0) {
        result.byte = std::exp(total / bytes);
        result.bits_per_byte = total / bytes / std::log(2.0);
      }
    }
    return result;
  }

  struct Timing {
    std::vector<double> samples_ms = {};
    std::vector<TimingRound> rounds = {};
  };

  /// Times `step` after warm-up, over and over until the settings' seconds are in the samples, each
  /// time after `restart`; in rounds apart in time, each of whole periods of steps. The yardstick,
  /// where there is one, is laid on before and after each round.
  template <typename Restart, typename Step>
  Timing time(const std::string& id, const LatencySpec& spec, int64_t period, at::Device device,
              const Yardstick* yardstick, Restart restart, Step step) {
    Turns* const turns = Turns::taken();
    if (turns != nullptr) turns->meet();
    const auto begin = Clock::now();
    double waited = 0;
    const auto spent = [&] { return seconds_since(begin) - waited; };
    const auto next_turn = [&] {
      if (turns == nullptr) return;
      const auto then = Clock::now();
      turns->next();
      waited += seconds_since(then);
    };
    const int64_t periods = spec.samples / period;
    const int64_t fewest = turns != nullptr ? 1 : fewest_periods;
    const double longest_ms = turns != nullptr ? longest_turn_ms : longest_round_ms;
    const auto part_of = [&](int64_t p) { return p * fewest_rounds / periods; };
    Timing timing;
    double timed_ms = 0;
    bool in_time = true;
    do {
      restart();
      for (int64_t i = 0; i < spec.warmup && spent() < latency_budget_seconds / 2; ++i) step(i);
      next_turn();  // so that rounds are neighbours, however long this took
      WorkTime pace = yardstick != nullptr ? yardstick->measure() : WorkTime{};
      for (int64_t p = 0; p < periods && in_time;) {
        TimingRound round;
        if (turns != nullptr) round.turn = turns->number();
        std::vector<double> of_periods;  // a step's mean
        const Stopwatch stopwatch;
        const auto is_over = [&] {
          // A pass gives as many rounds as there must be; of later ones each is as long as it may.
          const bool is_part =
              std::ssize(timing.rounds) < fewest_rounds && part_of(p) != part_of(p - 1);
          return p == periods || is_part ||
                 (std::ssize(of_periods) >= fewest && stopwatch.elapsed().wall_ms > longest_ms);
        };
        do {
          in_time = timing.samples_ms.size() < fewest_samples || spent() <= latency_budget_seconds;
          if (!in_time) break;
          double period_ms = 0;
          for (int64_t i = p * period; i < (p + 1) * period; ++i) {
            if (stopped()) throw Interrupted("in " + id + ", while its steps were timed");
            timing.samples_ms.push_back(1e3 * seconds_of(device, [&] { step(spec.warmup + i); }));
            period_ms += timing.samples_ms.back();
            ++round.samples;
          }
          timed_ms += period_ms;
          of_periods.push_back(period_ms / static_cast<double>(period));
          ++p;
        } while (!is_over());
        if (round.samples == 0) break;
        round.fast_ms = quantile(of_periods, fast_share);
        round.processor_ms = stopwatch.elapsed().processor_ms / static_cast<double>(round.samples);
        if (yardstick != nullptr) {
          const WorkTime after = yardstick->measure();
          round.yardstick_ms = (pace.wall_ms + after.wall_ms) / 2;
          round.yardstick_processor_ms = (pace.processor_ms + after.processor_ms) / 2;
          pace = after;
        }
        timing.rounds.push_back(round);
        if (turns == nullptr) std::this_thread::sleep_for(pause_between_rounds);
        next_turn();
      }
    } while (in_time && timed_ms < 1e3 * spec.seconds);
    return timing;
  }

  std::vector<LatencyResult> latency(const Cell& cell, const Decoder& decoder, const Method& method,
                                     const Stream& stream) {
    const auto decoding = method.decoding(decoder);
    LatencySpec spec = cell.latency;
    spec.warmup = std::min(spec.warmup, decoding->enough_to_warm_up());
    const int64_t period = decoding->period(stream.longest());
    spec.samples = (spec.samples + period - 1) / period * period;
    const int64_t steps = spec.warmup + spec.samples;
    std::vector<std::optional<int64_t>> lengths = {std::nullopt};
    if (method.grows() && !spec.lengths.empty()) {
      lengths.assign(spec.lengths.begin(), spec.lengths.end());
    }
    const at::Device device = decoder.options().device;
    std::optional<Yardstick> yardstick;  // of the CPU
    if (device.is_cpu()) yardstick.emplace();
    std::vector<LatencyResult> results;
    for (const std::optional<int64_t>& length : lengths) {
      int64_t fewest = 0, most = 0;  // entries; where the cache grows, those that it begins with
      const auto restart = [&] {
        decoding->fill(length, stream.longest(), steps);
        fewest = most = decoding->entries();
      };
      const Yardstick* const laid_on = yardstick ? &*yardstick : nullptr;
      const Timing timing = time(cell.id, spec, period, device, laid_on, restart, [&](int64_t i) {
        fewest = std::min(fewest, decoding->entries());
        decoding->step(stream.ids[i % stream.ids.size()]);
      });
      results.push_back(summarize(timing.samples_ms, fewest, most));
      results.back().rounds = timing.rounds;
      results.back().by_events = device.is_cuda();
      if (const Turns* turns = Turns::taken()) results.back().session = turns->session();
    }
    return results;
  }

  EvictedMassResult evicted_mass(const Cell& cell, const Decoder& decoder, const Policy& policy,
                                 const Stream& stream) {
    const int64_t tokens = std::min(stream.piece_end(0) - 1, cell.evicted_mass_tokens);
    EvictedMass found = sinkbench::evicted_mass(
        decoder, policy, stream.ids.first(tokens),
        [&] {
          if (stopped()) throw Interrupted("in " + cell.id + ", while evicted mass was measured");
        },
        evicted_mass_pairs, cell.kv);
    EvictedMassResult result{.tokens = tokens,
                             .by_head = std::move(found.by_head),
                             .output_error = std::move(found.output_error),
                             .to_sink_logit = std::move(found.to_sink_logit)};
    double sum = 0;
    for (const std::vector<double>& heads : result.by_head) {
      for (const double share : heads) sum += share;
    }
    const DecoderConfig& config = decoder.config();
    result.mean = sum / static_cast<double>(config.layers * config.heads);
    return result;
  }

  static MemoryResult memory(const Decoder& decoder, const Method& method, const Stream& stream) {
    const int64_t fed = stream.longest();
    const auto decoding = method.decoding(decoder);
    const int64_t held = decoding->kv_bytes_held(fed);
    return {.cache_entries = method.kept(fed),
            .mean_entries = method.mean_kept(fed),
            .kv_bytes_formula = method.kv_bytes(
                fed, static_cast<int64_t>(at::elementSize(decoder.options().dtype))),
            .kv_bytes_held = held,
            .weight_bytes = decoder.weight_bytes(),
            .device_held_bytes = device_memory(decoder.options().device).held};
  }
};

Runner::Runner(Progress::Style progress, const std::atomic<bool>* stop)
    : state_(std::make_unique<State>()) {
  state_->style = progress;
  state_->stop = stop;
}

Runner::~Runner() = default;

const DecoderConfig& Runner::config(const Cell& cell) {
  DecoderOptions options = decoder_options(cell);
  options.device = at::kMeta;
  options.as_stored = cell.model.as_stored;
  const fs::path config_json = config_path(cell.model);
  const auto key = State::shape_key(cell);
  if (!state_->checked.contains(key)) {
    const Decoder decoder = cell.model.random ? Decoder::random(config_json, 0, options)
                                              : Decoder::load(cell.model.path, options);
    state_->checked.emplace(key, State::Shape{decoder.config(), decoder.weight_bytes()});
  }
  return state_->shape(cell).config;
}

Runner::Text Runner::text(const Cell& cell) {
  const State::LoadedText& text = state_->load_text(cell, config(cell));
  return {text.stream, text.tokenizer_sha256, text.prefix};
}

Runner::Model Runner::load(const Cell& cell) {
  const int64_t threads = set_threads(cell);
  return {state_->load_decoder(cell), threads};
}

void Runner::check(const Cell& cell) {
  const DecoderConfig& config = this->config(cell);
  const Stream stream = as_stream(state_->load_stream(cell, config));
  const int64_t fed = stream.longest();
  const auto check = [&](const PolicySpec& spec) {
    const auto policy = make_policy(spec);
    const auto method = make_method(*policy, config, cell.kv);
    method->check(fed);
    if (cell.dataset.is_task() && method->stride() > 1) {
      throw InputError::format(
          "policy {}: a stride leaves tokens of a task's answers out; expected stride 1",
          policy->label());
    }
    if (stream.pieces.size() > 1 && method->stride() > 1) {
      throw InputError::format(
          "policy {}: a stride leaves tokens of each piece out (dataset.reset); expected stride 1",
          policy->label());
    }
  };
  check(cell.policy);
  if (cell.metrics.contains(Metric::divergence)) check(cell.reference_policy);
  if (cell.metrics.contains(Metric::evicted_mass)) {
    try {
      check_policy(*make_policy("dense", {}), config,
                   std::min(stream.piece_end(0) - 1, cell.evicted_mass_tokens));
    } catch (const InputError& error) {
      throw InputError::format("evicted_mass, which is measured under dense attention: {}",
                               error.what());
    }
  }
}

CellResult Runner::describe(const Cell& cell) {
  check(cell);
  CellResult result;
  result.cell = cell;
  result.threads = set_threads(cell);
  const fs::path& path = cell.model.path;
  auto& hash = state_->model_hashes[cell.model];
  if (hash.empty()) {
    hash = cell.model.random
               ? Decoder::random(path, cell.model.seed, {.device = at::kMeta}).sha256()
               : Decoder::sha256_of(path);
  }
  result.model_sha256 = hash;
  const State::LoadedText& text = state_->texts.back();  // that was checked
  result.dataset_sha256 = text.stream.ids_sha256;
  result.tokenizer_sha256 = text.tokenizer_sha256;
  return result;
}

std::vector<double> Runner::score(const Cell& cell, const DecisionOptions& decisions,
                                  std::optional<Disagreement>* disagreement) {
  set_threads(cell);
  const auto policy = make_policy(cell.policy);
  const Decoder& decoder = state_->load_decoder(cell);
  const Stream stream = as_stream(state_->load_stream(cell, decoder.config()));
  const auto engine =
      make_engine(cell.engine, decoder, *policy,
                  {.chunk = cell.chunk, .decisions = decisions, .storage = cell.kv});
  Progress progress(state_->style, cell.id, stream.scored(engine->stride()), "tokens");
  std::vector<double> result;
  engine->score(stream, [&](std::span<const double> nll) {
    result.insert(result.end(), nll.begin(), nll.end());
    progress.update(static_cast<int64_t>(result.size()));
  });
  if (disagreement != nullptr) *disagreement = engine->disagreement();
  return result;
}

MemoryNeed Runner::memory(const Cell& cell) {
  check(cell);
  return state_->need(cell, state_->shape(cell), *make_policy(cell.policy),
                      as_stream(state_->texts.back().stream).longest());
}

CellResult Runner::run(const Cell& cell, const fs::path& nll_file, const RunInfo& info,
                       const std::string& place) {
  const auto begin = Clock::now();
  CellResult result;
  result.cell = cell;
  result.threads = set_threads(cell);
  const auto policy = make_policy(cell.policy);
  result.policy_label = policy->label();
  check(cell);
  state_->check_memory(cell, state_->shape(cell), *policy,
                       as_stream(state_->texts.back().stream).longest());
  reset_peak_rss();  // what the last cell had has been given back
  device_memory(decoder_options(cell).device, /*reset=*/true);
  const Decoder& decoder = state_->load_decoder(cell);
  const State::LoadedText& text = state_->load_text(cell, decoder.config());
  const Stream stream = as_stream(text.stream);
  const auto method = make_method(*policy, decoder.config(), cell.kv);
  result.cache_label = policy->cache();
  result.cache_size = policy->size();
  result.model_sha256 = decoder.sha256();
  result.parameters = decoder.parameters();
  result.context = decoder.config().context;
  result.local_layers = decoder.config().local_layers();
  result.dataset_sha256 = text.stream.ids_sha256;
  result.text = text.stream.facts;
  result.pieces = static_cast<int64_t>(stream.pieces.size());
  result.tokenizer_sha256 = text.tokenizer_sha256;
  if (cell.metrics.contains(Metric::perplexity)) {
    const auto reference =
        cell.metrics.contains(Metric::divergence) ? make_policy(cell.reference_policy) : nullptr;
    const CellIdentity identity = cell_identity(result, info);
    const std::string label = place + cell.id;
    const Scored scored =
        score_to_file({.cell = cell,
                       .decoder = decoder,
                       .policy = *policy,
                       .reference = reference.get(),
                       .stream = stream,
                       .questions = cell.dataset.is_task() ? &text.questions : nullptr,
                       .nll_file = nll_file,
                       .identity = identity,
                       .progress = state_->style,
                       .label = label,
                       .stop = state_->stop});
    result.perplexity = State::perplexity(scored.means, method->stride(), text.stream);
    result.divergence = scored.divergence;
    result.scoring_seconds = scored.seconds;
    result.seconds = scored.earlier_seconds;
    const auto in_results = [](const fs::path& file) {
      return (file.parent_path().filename() / file.filename()).string();
    };
    result.nll_file = in_results(nll_file);
    if (cell.dataset.is_task()) {
      write_answers(answers_path(nll_file), scored.answers);
      result.answers_file = in_results(answers_path(nll_file));
      result.answers = bins_of(scored.answers);
    }
    if (cell.decisions && fs::exists(decision_path(nll_file))) {
      result.decisions_file = in_results(decision_path(nll_file));
    }
  }
  if (cell.metrics.contains(Metric::evicted_mass)) {
    result.evicted_mass = state_->evicted_mass(cell, decoder, *policy, stream);
  }
  if (cell.metrics.contains(Metric::memory)) {
    result.memory = State::memory(decoder, *method, stream);
  }
  if (cell.metrics.contains(Metric::latency) && method->decodes()) {
    result.latency = state_->latency(cell, decoder, *method, stream);
  }
  if (result.memory) {
    result.memory->peak_rss_bytes = peak_rss_bytes();
    result.memory->device_peak_bytes = device_memory(decoder.options().device).peak;
  }
  result.seconds += seconds_since(begin);
  return result;
}

}  // namespace sinkbench
