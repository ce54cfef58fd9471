// Base64 (RFC 4648, section 4), which tokenizers keep bytes in.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace sinkbench {

/// The bytes that `text` writes, or nothing where it isn't Base64 or is empty.
std::optional<std::string> from_base64(std::string_view text);

}  // namespace sinkbench
