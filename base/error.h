// The one error type for what the user can mend: a path, a field, a file's content.
#pragma once

#include <fmt/format.h>

#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace sinkbench {

/// Bad input. The message names the file, the field, the value and what was expected, in one
/// line, without a trailing full stop; the command line prints it and exits with status 2.
class InputError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;

  template <typename... Args>
  static InputError format(fmt::format_string<Args...> text, Args&&... args) {
    return InputError(fmt::format(text, std::forward<Args>(args)...));
  }
};

/// The candidate nearest to `word` by edit distance, or "" where none is near enough to be what
/// was meant (more than a third of the letters differ).
std::string nearest(std::string_view word, std::span<const std::string> candidates);

/// "; did you mean 'window'?" where `nearest` finds one, else "; expected one of: a, b, c".
std::string suggestion(std::string_view word, std::span<const std::string> candidates);

}  // namespace sinkbench
