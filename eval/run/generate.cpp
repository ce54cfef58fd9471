#include "eval/run/generate.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>
#include <set>

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

/// Texts of beginnings of a sequence, up to where they are whole characters.
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

/// Bytes that `text` begins with and that more tokens can't change: those of a character that is
/// not yet whole are written as one that stands for it.
size_t settled(std::string_view text) {
  while (text.ends_with(replacement)) text.remove_suffix(replacement.size());
  return text.size();
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
                   const std::function<bool(int32_t)>& written) {
  const c10::InferenceMode inference;
  using Clock = std::chrono::steady_clock;
  const auto method = make_method(policy, decoder.config());
  if (!method->decodes()) {
    throw InputError::format(
        "policy {}: it sees queries before they come, so that nothing can be written under it",
        policy.label());
  }
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
    const auto method = make_method(*policies.back(), config);
    method->check(std::ssize(ids) + options.tokens);
    if (!method->decodes()) {
      throw InputError::format(
          "policy {}: it sees queries before they come, so that nothing can be written under it",
          policies.back()->label());
    }
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
  const std::string prompt_text = texts.of(ids);
  for (size_t i = 0; i < cells.size(); ++i) {
    std::string label = named_label(cells[i].policy.name, policies[i]->label());
    if (cells[i].policy.positions != Positions::cache) {
      label += ", " + positions_label(cells[i].policy);
    }
    if (const std::string& bound = find_policy(cells[i].policy.name).bound; !bound.empty()) {
      label += "†";
      result.notes.push_back(fmt::format("†: an upper bound and no policy to be ranked: {} {}",
                                         cells[i].policy.name, bound));
    }
    sink(label, "");
    std::vector<int32_t> all = ids;
    // What is written is what comes after the prompt, whose last token may end in a word.
    const size_t before = settled(prompt_text);
    size_t shown = before;
    const auto written = [&](int32_t id) {
      all.push_back(id);
      const std::string text = texts.of(all);
      const size_t end = settled(text);
      if (end > shown) {
        sink(label, std::string_view(text).substr(shown, end - shown));
        shown = end;
      }
      return true;
    };
    Generated text =
        generate(model.decoder, *policies[i], ids, options.tokens, options.sampling, stop, written);
    text.label = label;
    text.dense_nll = dense_nll(model.decoder, ids, text.ids, result.notes);
    // Parts end where characters do.
    const std::string whole = texts.of(all);
    size_t from = before;
    text.cuts = {0};
    for (int64_t cut = part_tokens; cut < std::ssize(text.ids); cut += part_tokens) {
      const std::string until = texts.of(std::span(all).first(ids.size() + cut));
      const size_t end = settled(until);
      if (end != until.size() || end < from) continue;  // the next one takes it in
      text.parts.push_back(whole.substr(from, end - from));
      text.cuts.push_back(cut);
      from = end;
    }
    text.parts.push_back(whole.substr(from));
    text.cuts.push_back(std::ssize(text.ids));
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
