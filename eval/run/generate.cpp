#include "eval/run/generate.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>
#include <utility>

#include "base/error.h"
#include "datasets/tokenizer.h"
#include "eval/engines/method.h"
#include "eval/run/run.h"
#include "policies/registry.h"
#include "policies/score_policy.h"

namespace sinkbench {
namespace {

constexpr int64_t part_tokens = 64;
constexpr std::string_view replacement = "\xEF\xBF\xBD";

/// Texts of tokens.
class Texts {
 public:
  explicit Texts(const Tokenizer& tokenizer)
      : tokenizer_(tokenizer), special_(tokenizer.special_tokens()) {}

  /// Special tokens stand within brackets that tell them from text that spells the same.
  std::string of(std::span<const int32_t> ids) const {
    std::string text;
    const auto is_special = [&](int32_t id) {
      return special_.contains(id) || id >= tokenizer_.vocab_size();
    };
    for (size_t i = 0, end; i < ids.size(); i = end) {
      end = i;
      while (end < ids.size() && !is_special(ids[end])) ++end;
      if (end == i) {  // a model may have ids that its tokenizer hasn't
        const auto found = special_.find(ids[i]);
        text +=
            found != special_.end() ? "⟦" + found->second + "⟧" : fmt::format("⟦token {}⟧", ids[i]);
        ++end;
        continue;
      }
      text += tokenizer_.decode(ids.subspan(i, end - i));
    }
    return text;
  }

 private:
  const Tokenizer& tokenizer_;
  std::map<int32_t, std::string> special_;
};

/// The text of tokens as they come after a prompt. Decoded are the last ones alone: those that are
/// no whole character yet and, as spaces may hang on what is before, the ones before them.
class Incoming {
 public:
  Incoming(const Texts& texts, std::span<const int32_t> prompt)
      : texts_(texts),
        ids_(prompt.begin(), prompt.end()),
        read_(ids_.size()),
        before_(ids_.size() - std::min(ids_.size(), most_unread)) {}

  /// What is new with this token; "" where it ends within a character.
  std::string add(int32_t id) {
    ids_.push_back(id);
    return take(ids_.size() - read_ > most_unread);
  }
  /// What is left at the end, whole or not.
  std::string rest() { return take(true); }
  /// Whether all of it has been handed out.
  bool is_whole() const { return read_ == ids_.size(); }

 private:
  static constexpr size_t most_unread = 8;  // a character has four bytes

  std::string take(bool all) {
    const std::span<const int32_t> last = std::span(ids_).subspan(before_);
    std::string known = texts_.of(last.first(read_ - before_)), text = texts_.of(last);
    while (known.ends_with(replacement)) known.resize(known.size() - replacement.size());
    if (!all && text.ends_with(replacement)) return "";
    before_ = std::exchange(read_, ids_.size());
    return text.size() > known.size() ? text.substr(known.size()) : "";
  }

  const Texts& texts_;
  std::vector<int32_t> ids_;
  size_t read_, before_;  // tokens that were handed out, and those of them before the last piece
};

/// Throws where nothing can be written under the policy.
void require_decoding(const Method& method, const Policy& policy) {
  if (method.decodes()) return;
  throw InputError::format(
      "policy {}: it sees queries before they come, so that nothing can be written under it",
      policy.label());
}

std::vector<double> dense_nll(const Decoder& decoder, std::span<const int32_t> prompt,
                              const std::vector<int32_t>& written,
                              std::vector<std::string>& notes) {
  const auto dense = make_policy("dense", {});
  std::vector<int32_t> ids(prompt.begin(), prompt.end());
  ids.insert(ids.end(), written.begin(), written.end());
  std::vector<double> all;
  try {
    const auto engine = make_engine("chunked", decoder, *dense, {});
    engine->score(
        ids, [&](std::span<const double> nll) { all.insert(all.end(), nll.begin(), nll.end()); });
  } catch (const InputError& error) {
    notes.push_back(std::string("no NLL under dense attention: ") + error.what());
    return {};
  }
  return {all.end() - std::ssize(written), all.end()};
}

}  // namespace

int32_t sample(const at::Tensor& logits, const Sampling& sampling, int64_t step) {
  const at::Tensor exact = logits.view({-1}).to(at::kCPU, at::kDouble).contiguous();
  const double* const score = exact.data_ptr<double>();
  const int64_t vocab = exact.numel();
  const auto largest = std::max_element(score, score + vocab);
  if (sampling.temperature == 0) return static_cast<int32_t>(largest - score);
  std::vector<double> probability(vocab);
  double total = 0;
  for (int64_t i = 0; i < vocab; ++i) {
    total += probability[i] = std::exp((score[i] - *largest) / sampling.temperature);
  }
  std::vector<int32_t> order(vocab);
  std::iota(order.begin(), order.end(), 0);
  if (sampling.top_p < 1) {
    std::stable_sort(order.begin(), order.end(),
                     [&](int32_t a, int32_t b) { return probability[a] > probability[b]; });
  }
  size_t count = 0;
  double mass = 0;
  while (count < order.size() && (count == 0 || mass < sampling.top_p * total)) {
    mass += probability[order[count++]];
  }
  double rest = uniform(sampling.seed, 0, 0, step, 0) * mass;
  for (size_t i = 0; i + 1 < count; ++i) {
    rest -= probability[order[i]];
    if (rest < 0) return order[i];
  }
  return order[count - 1];
}

Generated generate(const Decoder& decoder, const Policy& policy, std::span<const int32_t> prompt,
                   int64_t tokens, const Sampling& sampling, std::span<const int32_t> stop,
                   const std::function<bool(int32_t)>& written, const StorageSpec& storage) {
  const c10::InferenceMode inference;
  using Clock = std::chrono::steady_clock;
  const auto method = make_method(policy, decoder.config(), storage);
  require_decoding(*method, policy);
  const int64_t vocab = decoder.config().vocab_size;
  for (const int32_t id : prompt) {
    if (id >= 0 && id < vocab) continue;
    throw InputError::format("the prompt has the token {}; expected 0 to {}, the model's", id,
                             vocab - 1);
  }
  const int64_t given = std::ssize(prompt);
  const auto decoding = method->decoding(decoder);
  decoding->start(given + tokens);
  Generated text;
  int64_t fed = 0;
  const auto feed = [&](int32_t id) {
    const at::Tensor logits = decoding->step(id);
    ++fed;
    if (!text.first_eviction && decoding->entries() < fed) text.first_eviction = fed;
    return logits;
  };
  at::Tensor logits;
  for (const int32_t id : prompt) logits = feed(id);
  for (;;) {
    const int32_t id = sample(logits, sampling, std::ssize(text.ids));
    text.ids.push_back(id);
    text.stopped = std::find(stop.begin(), stop.end(), id) != stop.end();
    if (!written(id) || text.stopped || std::ssize(text.ids) == tokens) break;
    const auto begin = Clock::now();
    logits = feed(id);
    decoder.synchronize();
    text.seconds += std::chrono::duration<double>(Clock::now() - begin).count();
    ++text.steps;
  }
  return text;
}

Generation run_generation(const std::vector<Cell>& cells, const std::string& prompt,
                          const GenerationOptions& options, const TextSink& sink) {
  const Cell& first = cells.front();
  Runner runner(Progress::Style::silent);
  const DecoderConfig& config = runner.config(first);
  const Tokenizer tokenizer = Tokenizer::load(first.model.path);
  const std::vector<int32_t> ids = tokenizer.encode(prompt);
  if (ids.empty()) {
    throw InputError("--prompt: it has no tokens; expected some text");
  }
  std::vector<int32_t> stop;
  for (const std::string& name : options.stop) {
    stop.push_back(tokenizer.named_token(name, "--stop"));
  }
  std::vector<std::unique_ptr<Policy>> policies;
  for (const Cell& cell : cells) {
    policies.push_back(make_policy(cell.policy));
    const auto method = make_method(*policies.back(), config, cell.kv);
    method->check(std::ssize(ids) + options.tokens);
    require_decoding(*method, *policies.back());
  }
  const Runner::Model model = runner.load(first);
  Generation result{.model = first.model.path.string(),
                    .prompt = prompt,
                    .prompt_tokens = std::ssize(ids),
                    .context = config.context,
                    .options = options,
                    .dtype = first.dtype,
                    .device = first.device,
                    .threads = model.threads};
  const Texts texts(tokenizer);
  for (size_t i = 0; i < cells.size(); ++i) {
    std::string label = named_label(cells[i].policy.name, policies[i]->label());
    if (cells[i].policy.positions != Positions::cache) {
      label += ", " + positions_label(cells[i].policy);
    }
    if (!cells[i].kv.is_native()) label += ", kv " + storage_label(cells[i].kv);
    if (const std::string& bound = find_policy(cells[i].policy.name).bound; !bound.empty()) {
      label += "†";
      result.notes.push_back(fmt::format("†: an upper bound and no policy to be ranked: {} {}",
                                         cells[i].policy.name, bound));
    }
    sink(label, "");
    Incoming incoming(texts, ids);
    std::vector<int64_t> cuts = {0};
    std::vector<std::string> parts;
    std::string part;
    const auto show = [&](const std::string& piece) {
      if (!piece.empty()) sink(label, piece);
      part += piece;
    };
    const auto cut = [&](int64_t at) {
      parts.push_back(std::exchange(part, ""));
      cuts.push_back(at);
    };
    int64_t count = 0;
    const auto written = [&](int32_t id) {
      show(incoming.add(id));
      ++count;
      // Parts end where characters do.
      if (count - cuts.back() >= part_tokens && incoming.is_whole()) cut(count);
      return true;
    };
    Generated text = generate(model.decoder, *policies[i], ids, options.tokens, options.sampling,
                              stop, written, cells[i].kv);
    show(incoming.rest());
    if (cuts.back() != count) cut(count);
    text.label = label;
    text.dense_nll = dense_nll(model.decoder, ids, text.ids, result.notes);
    text.cuts = std::move(cuts);
    text.parts = std::move(parts);
    result.texts.push_back(std::move(text));
  }
  if (config.context > 0 && std::ssize(ids) + options.tokens > config.context) {
    result.notes.push_back(fmt::format(
        "the NLL is that of dense attention, which this model was trained on over {} tokens: "
        "beyond them it is lost itself",
        config.context));
  }
  return result;
}

}  // namespace sinkbench
