// How far a long piece of work has come: a bar on a terminal, a line now and then in a log.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

namespace sinkbench {

class Progress {
 public:
  enum class Style { bar, log, silent };
  using Clock = std::chrono::steady_clock;
  /// A bar where standard error is a terminal, else log lines.
  static Style detect();

  /// Announces `label` with `total` steps of `unit` ("tokens"), of which `done` have been made
  /// before; written to standard error. A log has a line after 10 seconds, then more and more
  /// seldom, at last one a minute. `now` is there for tests.
  Progress(Style style, std::string label, int64_t total, std::string unit, int64_t done = 0,
           std::function<Clock::time_point()> now = Clock::now);
  ~Progress();  ///< clears the bar
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void update(int64_t done);

 private:
  void show(double seconds);

  Style style_;
  std::string label_;
  int64_t total_;
  std::string unit_;
  int64_t before_;
  int64_t done_;
  std::function<Clock::time_point()> now_;
  Clock::time_point begin_;
  Clock::time_point next_;
  double interval_seconds_;
};

/// "0:07", "12:34", "3:04:05"
std::string format_duration(double seconds);

}  // namespace sinkbench
