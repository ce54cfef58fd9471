#include "datasets/gguf_pre_tokenizers.h"

#include <fmt/format.h>

#include "datasets/split_patterns.h"

namespace sinkbench {
namespace {

using nlohmann::json;

// The letters of the scripts that have capitals, and punctuation, as DeepSeek's first models list
// them.
constexpr std::string_view kDeepSeekLetters =
    R"([A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ)"
    R"(-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ)"
    R"(-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃])";
constexpr std::string_view kDeepSeekPunctuation = R"([!-/:-~！-／：-～‘-‟　-。])";
constexpr std::string_view kEastAsian = "[一-龥ࠀ-一가-퟿]+";

// Mistral's Tekken: o200k's without contractions, digits one by one.
constexpr std::string_view kTekken =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

json byte_level(bool use_regex) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", use_regex}};
}

json split(std::string_view pattern) {
  return {{"type", "Split"},
          {"pattern", {{"Regex", pattern}}},
          {"behavior", "Isolated"},
          {"invert", false}};
}

json digits(bool individual) {
  return {{"type", "Digits"}, {"individual_digits", individual}};
}

json sequence(json steps) {
  return {{"type", "Sequence"}, {"pretokenizers", std::move(steps)}};
}

/// A text cut by one pattern.
json cut_by(std::string_view pattern) {
  return sequence({split(pattern), byte_level(false)});
}

std::vector<GgufPreTokenizer> make_all() {
  using namespace split_patterns;
  const json none = nullptr, nfc = {{"type", "NFC"}};
  const json gpt2 = byte_level(true);
  const json starcoder = sequence({digits(true), byte_level(true)});
  const json llama3 = cut_by(kCl100k), qwen2 = cut_by(kQwen2), o200k = cut_by(kO200k);
  const json falcon = sequence({{{"type", "Punctuation"}, {"behavior", "Contiguous"}},
                                byte_level(true),
                                digits(false),
                                split("[0-9][0-9][0-9]")});
  const json deepseek_llm =
      sequence({split("[\r\n]"), split(fmt::format("\\s?{}+", kDeepSeekLetters)),
                split(fmt::format("\\s?{}+", kDeepSeekPunctuation)), split("\\s+$"),
                split(kEastAsian), digits(true), byte_level(false)});
  const json deepseek_coder = sequence({split("[\r\n]"), split("\\s?\\p{L}+"), split("\\s?\\p{P}+"),
                                        split(kEastAsian), digits(true), byte_level(false)});
  const json llama_cpp = sequence({split("[\\p{P}$+<=>^~|]+"), split(kGpt2), split("\\p{N}+"),
                                   split("[0-9][0-9][0-9]"), byte_level(false)});
  std::vector<GgufPreTokenizer> all = {
      {"command-r", "Command R", nfc, starcoder},
      {"dbrx", "OLMo 2, Granite 4, Phi 4, DBRX", none, llama3},
      {"deepseek-coder", "DeepSeek Coder", none, deepseek_coder},
      {"deepseek-llm", "DeepSeek LLM", none, deepseek_llm},
      {"deepseek-r1-qwen", "DeepSeek R1's distilled Qwen 2", nfc, qwen2},
      {"default", "none in particular: llama.cpp's own", none, llama_cpp, false, false,
       "names no model's way to cut words; llama.cpp's is taken, which is right for few"},
      {"falcon", "Falcon", none, falcon},
      {"gpt-2", "GPT-2", none, gpt2},
      {"gpt-4o", "gpt-oss", none, o200k, true},
      {"gpt-neox", "GPT-NeoX, Pythia", nfc, gpt2},
      {"llama-bpe", "Llama 3", none, llama3, true, true},
      {"llama-v3", "Llama 3", none, llama3, true, true},
      {"llama3", "Llama 3", none, llama3, true, true},
      {"mpt", "MPT", nfc, gpt2},
      {"olmo", "OLMo 1, GPT-NeoX, Pythia", nfc, gpt2},
      {"phi-2", "Phi 1, 2", none, gpt2},
      {"qwen2", "Qwen 1.5, 2, 2.5, 3", nfc, qwen2},
      {"refact", "Granite 3, Refact", none, starcoder},
      {"smaug-bpe", "SmolLM3, Smaug", none, llama3, false, false,
       "SmolLM3's own ids may be others for some words beyond English, such as the Vietnamese"},
      {"smollm", "SmolLM 1, 2", none, starcoder},
      {"starcoder", "StarCoder 2", none, starcoder},
      {"tekken", "Mistral Nemo", none, cut_by(kTekken), true, true},
  };
  return all;
}

}  // namespace

const std::vector<GgufPreTokenizer>& gguf_pre_tokenizers() {
  static const std::vector<GgufPreTokenizer> all = make_all();
  return all;
}

}  // namespace sinkbench
