#include "base/environment.h"

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <string_view>
#include <system_error>

#include "base/error.h"

namespace sinkbench {

std::optional<double> number_from_environment(const char* name) {
  const char* const value = std::getenv(name);
  if (value == nullptr) return std::nullopt;
  const std::string_view text = value;
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(number) ||
      number < 0) {
    throw InputError::format("{} is '{}'; expected a number of 0 or more", name, text);
  }
  return number;
}

}  // namespace sinkbench
