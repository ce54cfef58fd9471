// UTF-8: the one rule by which every byte that reaches sinkbench becomes text.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace sinkbench {

/// The number of leading bytes of `text` that are valid UTF-8 (Unicode, table 3-7): `text.size()`
/// where all of it is.
size_t valid_utf8_prefix(std::string_view text);

/// `text` with every maximal subpart of an ill-formed sequence replaced by one U+FFFD, as the
/// WHATWG's decoder and Python's errors="replace" do. Valid text comes back unchanged.
std::string to_valid_utf8(std::string_view text);

}  // namespace sinkbench
