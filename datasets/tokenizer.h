// Text to token ids and back, as Hugging Face's `tokenizers` does it from a tokenizer.json.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sinkbench {

/// What the special tokens are that are spelled out in a text: themselves, as Hugging Face's
/// tokenizers have it, or text like any other (split_special_tokens there; llama.cpp's perplexity).
/// Added tokens that aren't special are themselves either way.
enum class SpecialTokens { parse, text };

/// A tokenizer of a published model: byte-level BPE (GPT-2, GPT-NeoX, Llama 3, Qwen, Falcon,
/// gpt-oss), SentencePiece-style BPE with byte fallback (Llama 2, Mistral), or a unigram model.
/// Read from a tokenizer.json, ids and decoded text equal those of
/// https://github.com/huggingface/tokenizers 0.22; from the makers' own files those of their
/// libraries (datasets/sentencepiece.h, datasets/tiktoken.h), where special tokens that are spelled
/// out in a text are always text.
///
/// Movable; the const functions may be called from several threads at once. Encoding takes time
/// proportional to the text's length; at worst, where a whole text is one word, n log n.
class Tokenizer {
 public:
  /// `path` is a tokenizer.json, a tokenizer.model or a tekken.json; a folder that holds one, or
  /// vocab.json and merges.txt (of several the first counts in the order tokenizer.json,
  /// tokenizer.model, vocab.json, tekken.json); or a GGUF file, whose own counts unless a
  /// tokenizer.json is beside it. Of a folder the files beside a tokenizer.json or a
  /// tokenizer.model count, too, as TokenizerConfig says; a tokenizer.json given by itself is taken
  /// by itself. InputError names the file and the field where it is missing, broken, or asks for
  /// what isn't supported. `truncation` and `padding` are passed over: transformers sets both anew.
  static Tokenizer load(const std::filesystem::path& path);
  /// Whether a folder, or a GGUF file, holds a tokenizer, good or bad.
  static bool is_in(const std::filesystem::path& folder);

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  /// The ids of `text`. `add_special_tokens` lets the post-processor add its own (a BOS); special
  /// tokens that are spelled out in the text, such as "<|endoftext|>", are what `spelled` says.
  /// Invalid UTF-8 is read as `to_valid_utf8` (base/utf8.h) writes it.
  std::vector<int32_t> encode(std::string_view text, bool add_special_tokens = true,
                              SpecialTokens spelled = SpecialTokens::parse) const;

  /// The text of `ids`: always valid UTF-8, with U+FFFD where the ids' bytes aren't. InputError on
  /// an id that no token has.
  std::string decode(std::span<const int32_t> ids, bool skip_special_tokens = false) const;

  /// The highest id + 1, added tokens included: what a model's logits must at least cover.
  int64_t vocab_size() const;

  /// The id of a token as tokenizer.json spells it ("Ġthe", "<s>"), if there is one.
  std::optional<int32_t> token_id(std::string_view token) const;
  /// The id that a user means: a number as it is, or else the id of the token that is spelled so.
  /// InputError, which begins with `where`, where there is no such token.
  int32_t named_token(std::string_view name, std::string_view where) const;

  /// The ids that stand before every text: a BOS, most often, several ("[gMASK]<sop>") or none.
  const std::vector<int32_t>& prefix() const;
  /// Where `prefix` was found, for people: "tokenizer.json (post_processor)".
  const std::string& prefix_rule() const;

  /// Tokens that decoding can leave out ("<s>"), by id.
  std::map<int32_t, std::string> special_tokens() const;

  /// For provenance: the SHA-256 of the file's bytes (of a GGUF file, of its keys of the
  /// tokenizer), 64 hexadecimal digits.
  const std::string& sha256() const;

  /// One line for people and records: "byte-level BPE, 50257 tokens".
  std::string description() const;
  /// The names of the files that it was read from, the most important first.
  const std::vector<std::string>& origin() const;
  /// How texts are cut into words, for people: "Digits, ByteLevel", or "none".
  std::string pre_tokenizer() const;
  /// What the user should be told once: where the files say another thing than is done.
  const std::vector<std::string>& notes() const;

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<const Impl> impl);
  std::unique_ptr<const Impl> impl_;
};

}  // namespace sinkbench
