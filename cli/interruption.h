// Signals that ask a long piece of work to end.
#pragma once

#include <atomic>
#include <csignal>
#include <utility>
#include <vector>

namespace sinkbench {

/// For as long as it lives, SIGINT, SIGTERM and SIGHUP ask for an orderly end, where they weren't
/// ignored before (by nohup, by a shell's &); a second one ends the program at once. Writing beyond
/// a limit on files' sizes is an error like a full disk, no signal. One at a time.
class Interruption {
 public:
  Interruption();
  ~Interruption();
  Interruption(const Interruption&) = delete;
  Interruption& operator=(const Interruption&) = delete;

  /// Whether one of them came.
  static const std::atomic<bool>& asked();

 private:
  void set(int signal, void (*handler)(int));
  std::vector<std::pair<int, struct sigaction>> before_;
};

}  // namespace sinkbench
