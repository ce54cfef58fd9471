// Commands of the shell.
#pragma once

#include <string>

namespace sinkbench {

/// One word of a shell.
std::string shell_word(const std::string& text);

struct CommandOutput {
  int status;  ///< as it exited, or 128 + the signal that ended it; 127 where nothing could be run
  std::string text;
};
/// Runs a command and reads what it prints; what it says on standard error is dropped.
CommandOutput run_command(const std::string& command);

}  // namespace sinkbench
