// Oniguruma's regular expressions as PCRE2's.
#pragma once

#include <string>

#include "datasets/tokenizer_json.h"

namespace sinkbench {

/// The pattern that `field` holds, written for Oniguruma in Ruby's syntax
/// (https://github.com/kkos/oniguruma/blob/master/doc/RE), as one for PCRE2 with UTF, UCP and
/// MULTILINE. Every class of characters becomes the list of its characters, so that the version of
/// Unicode that PCRE2 follows doesn't matter. InputError names the place where a pattern needs what
/// isn't translated: references, names, absent groups, and what ignores case beyond ASCII.
std::string translate_regex(const JsonField& field);

}  // namespace sinkbench
