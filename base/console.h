// What the user reads: a command's output and remarks beside it. Neither ever ends the work.
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <utility>

namespace sinkbench {

/// Standard output, for what a command was asked for. What can't be written is remembered for
/// `finish_output`: a run whose terminal is gone goes on.
void write_output(std::string_view text);

/// Standard error, for progress and remarks: one that can't be written is nobody's loss.
void write_remark(std::string_view text);

template <typename... Args>
void print_out(fmt::format_string<Args...> text, Args&&... args) {
  write_output(fmt::format(text, std::forward<Args>(args)...));
}

template <typename... Args>
void remark(fmt::format_string<Args...> text, Args&&... args) {
  write_remark(fmt::format(text, std::forward<Args>(args)...));
}

/// Whether standard output takes colours: a terminal, and neither NO_COLOR (https://no-color.org)
/// nor TERM=dumb is set.
bool has_colours();

/// Flushes standard output. The system's reason where not all of it could be written, else "".
std::string finish_output();

/// Gives standard streams that are closed something to stand for them, so that no file that is
/// opened later takes their numbers: what is written there fails as it would have.
void guard_standard_streams();

}  // namespace sinkbench
