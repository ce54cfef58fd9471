// What happens to a text before it is cut into words: tokenizer.json's normalizer.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "datasets/replace.h"
#include "datasets/tokenizer_json.h"

namespace sinkbench {

/// The four normalization forms of Unicode (https://unicode.org/reports/tr15/).
enum class NormalizationForm { kNfc, kNfd, kNfkc, kNfkd };

/// `text`, valid UTF-8, in a normalization form; in time proportional to its length.
std::string normalize_unicode(std::string_view text, NormalizationForm form);

/// Lowercase, NFC, NFD, NFKC, NFKD, Prepend, Replace, Strip and any Sequence of these, or none.
class Normalizer {
 public:
  /// `field` is the file's normalizer, null for none.
  explicit Normalizer(const JsonField& field);

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
  using Step = std::variant<NormalizationForm, Lowercase, Prepend, Replace, Strip>;

  void add(const JsonField& field);

  static std::string apply(NormalizationForm form, std::string text);
  static std::string apply(const Lowercase&, std::string text);
  static std::string apply(const Prepend& step, std::string text);
  static std::string apply(const Replace& step, std::string text);
  static std::string apply(const Strip& step, std::string text);

  std::vector<Step> steps_;
};

}  // namespace sinkbench
