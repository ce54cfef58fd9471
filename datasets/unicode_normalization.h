// Unicode's normalization forms and lower case, with the tables of the reference tokenizers.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace sinkbench {

/// The four normalization forms of Unicode (https://unicode.org/reports/tr15/).
enum class NormalizationForm { kNfc, kNfd, kNfkc, kNfkd };

/// `text`, valid UTF-8, in a normalization form; in time proportional to its length, but for runs
/// of combining marks, which are sorted.
std::string normalize_unicode(std::string_view text, NormalizationForm form);

/// The one character that a character becomes in lower case; U+0130, which becomes two, stays.
uint32_t lower_case(uint32_t code_point);

}  // namespace sinkbench
