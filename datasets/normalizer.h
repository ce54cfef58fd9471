// What happens to a text before it is cut into words: tokenizer.json's normalizer.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "datasets/chars_map.h"
#include "datasets/code_point_set.h"
#include "datasets/regex.h"
#include "datasets/replace.h"
#include "datasets/sentencepiece_normalizer.h"
#include "datasets/tokenizer_json.h"
#include "datasets/unicode_normalization.h"

namespace sinkbench {

/// BertNormalizer, ByteLevel, Lowercase, NFC, NFD, NFKC, NFKD, Nmt, Precompiled, Prepend, Replace,
/// Strip, StripAccents and any Sequence of these, or none.
class Normalizer {
 public:
  /// `field` is the file's normalizer, null for none.
  explicit Normalizer(const JsonField& field);
  explicit Normalizer(SentencePieceNormalizer whole) : steps_{std::move(whole)} {}

  /// Whether it leaves every text as it is.
  bool is_identity() const { return steps_.empty(); }

  std::string apply(std::string_view text) const;

 private:
  struct Lowercase {};
  struct Prepend {  // to what isn't empty
    std::string content;
  };
  struct Strip {
    bool left, right;
  };
  struct Filter {  // leaves characters out, makes others spaces
    CodePointSet dropped, spaces;
  };
  struct SpacedIdeographs {};  // Chinese characters between spaces
  struct ByteLevel {};
  struct Precompiled {  // SentencePiece's map as tokenizers reads it, by clusters of characters
    std::shared_ptr<const CharsMap> map;
    Regex clusters;
  };
  using Step = std::variant<NormalizationForm, Lowercase, Prepend, Replace, Strip, Filter,
                            SpacedIdeographs, ByteLevel, Precompiled, SentencePieceNormalizer>;

  void add(const JsonField& field);
  void add_bert(const JsonField& field);

  static std::string apply(NormalizationForm form, std::string text);
  static std::string apply(const Lowercase&, std::string text);
  static std::string apply(const Prepend& step, std::string text);
  static std::string apply(const Replace& step, std::string text);
  static std::string apply(const Strip& step, std::string text);
  static std::string apply(const Filter& step, std::string text);
  static std::string apply(const SpacedIdeographs&, std::string text);
  static std::string apply(const ByteLevel&, std::string text);
  static std::string apply(const Precompiled& step, std::string text);
  static std::string apply(const SentencePieceNormalizer& step, std::string text) {
    return step.apply(text);
  }

  std::vector<Step> steps_;
};

}  // namespace sinkbench
