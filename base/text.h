// Text without an alphabet: file names, words of formats.
#pragma once

#include <string>
#include <string_view>

namespace sinkbench {

/// ASCII's capital letters made small, all else as it is.
std::string lower_case(std::string_view text);

}  // namespace sinkbench
