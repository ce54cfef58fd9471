// \p{...}: the properties of characters that regular expressions name.
#pragma once

#include <optional>
#include <string_view>

#include "datasets/code_point_set.h"

namespace sinkbench {

/// The characters of a property in Oniguruma 6.9.10 (Unicode 16), by any of its names: general
/// categories ("Lu", "Letter"), scripts ("Han", "Hani": the property Script, not
/// Script_Extensions), POSIX's classes ("Alpha") and a few others ("Emoji"). Case, spaces, - and _
/// don't matter. Nothing where the name is not known.
std::optional<CodePointSet> unicode_property(std::string_view name);

/// [:name:] within a bracket, which is \p{name} but for punct and word.
std::optional<CodePointSet> posix_bracket(std::string_view name);

/// \w and \h of Oniguruma.
CodePointSet word_characters();
CodePointSet hexadecimal_digits();

}  // namespace sinkbench
