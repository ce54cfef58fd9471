// Two programs whose steps are timed in turn.
#pragma once

#include <cstdint>
#include <string>

namespace sinkbench {

/// What a program that `sinkbench ab` has started is told: when it has the machine. Turns are
/// counted over both programs, from 1, so that each one's neighbours are the other's.
///
/// Source: Bulej et al., "Duet Benchmarking" (ICPE 2020), https://arxiv.org/abs/2001.05811: what
/// disturbs two programs alike cancels out of the pairs. There they run at the same time, here one
/// after the other, so that neither disturbs the other.
///
/// The protocol, over a socket of which SINKBENCH_TURNS="DESCRIPTOR:SESSION" tells: the program
/// writes a byte, `t` for its next turn, which ends the one that it has, or `m` for one that comes
/// only when the other program has got to its own `m`; and reads the turn's number, 8 bytes of the
/// machine's order.
class Turns {
 public:
  /// Nullptr where the program has the machine for itself.
  static Turns* taken();

  /// The same for both programs, and for no others.
  const std::string& session() const { return session_; }
  /// Which one it is; 0 before the first.
  int64_t number() const { return number_; }

  /// Waits for the next one. Throws Interrupted where whoever hands them out is gone.
  void next() { ask('t'); }
  /// The same, and for the other program to have come as far.
  void meet() { ask('m'); }

 private:
  Turns(int descriptor, std::string session);
  void ask(char what);

  int descriptor_;
  std::string session_;
  int64_t number_ = 0;
};

}  // namespace sinkbench
