#include "datasets/unicode_tables.h"

namespace sinkbench {
namespace {

#include "datasets/unicode_tables.inc"

}  // namespace

const UnicodeTables& unicode_tables() {
  static const UnicodeTables tables = {.classes = kClasses,
                                       .categories = kCategories,
                                       .scripts = kScripts,
                                       .combining = kCombining,
                                       .category_names = kCategoryNames,
                                       .script_names = kScriptNames,
                                       .short_script_names = kShortScriptNames,
                                       .alphabetic = kAlphabetic,
                                       .uppercase = kUppercase,
                                       .lowercase = kLowercase,
                                       .white_space = kWhiteSpace,
                                       .emoji = kEmoji,
                                       .ideographic = kIdeographic,
                                       .extended_pictographic = kExtendedPictographic,
                                       .accents = kAccents,
                                       .bert_accents = kBertAccents,
                                       .bert_controls = kBertControls,
                                       .bert_spaces = kBertSpaces,
                                       .nmt_controls = kNmtControls,
                                       .nmt_spaces = kNmtSpaces,
                                       .canonical = kCanonical,
                                       .compatible = kCompatible,
                                       .composed = kComposed,
                                       .lower = kLower};
  return tables;
}

}  // namespace sinkbench
