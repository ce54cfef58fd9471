// UTF-8: the one rule by which every byte that reaches sinkbench becomes text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace sinkbench {

/// The number of leading bytes of `text` that are valid UTF-8 (Unicode, table 3-7): `text.size()`
/// where all of it is.
size_t valid_utf8_prefix(std::string_view text);

/// `text` with every maximal subpart of an ill-formed sequence replaced by one U+FFFD, as the
/// WHATWG's decoder and Python's errors="replace" do. Valid text comes back unchanged. The bytes in
/// whose place they stand are added to `replaced`.
std::string to_valid_utf8(std::string_view text, int64_t* replaced = nullptr);

/// The number of characters (code points) of valid UTF-8.
int64_t count_characters(std::string_view text);

/// Appends UTF-16 to `out` as UTF-8, a lone surrogate as the byte FF, which is no UTF-8. Returns
/// the bytes taken: all but an unfinished character at the end, which is taken (as FF) with `last`.
size_t append_utf16(std::string& out, std::string_view bytes, bool big_endian, bool last);

}  // namespace sinkbench
