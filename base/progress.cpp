#include "base/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string_view>

#include "base/console.h"

namespace sinkbench {
namespace {

constexpr double redraw_seconds = 0.1;
constexpr double first_line_seconds = 10.0;
constexpr double longest_interval_seconds = 60.0;

int terminal_width() {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

}  // namespace

std::string format_duration(double seconds) {
  const int64_t s = std::llround(std::max(0.0, seconds));
  if (s < 3600) return fmt::format("{}:{:02}", s / 60, s % 60);
  return fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
}

Progress::Style Progress::detect() {
  const char* const terminal = std::getenv("TERM");
  const bool moves = terminal != nullptr && std::string_view(terminal) != "dumb";
  return isatty(STDERR_FILENO) && moves ? Style::bar : Style::log;
}

Progress::Progress(Style style, std::string label, int64_t total, std::string unit, int64_t done,
                   std::function<Clock::time_point()> now)
    : style_(style),
      label_(std::move(label)),
      total_(std::max<int64_t>(total, 1)),
      unit_(std::move(unit)),
      before_(done),
      done_(done),
      now_(std::move(now)),
      begin_(now_()),
      next_(begin_),
      interval_seconds_(style == Style::bar ? redraw_seconds : first_line_seconds) {
  if (style_ == Style::log) {
    next_ += std::chrono::duration_cast<Clock::duration>(
        std::chrono::duration<double>(first_line_seconds));
  }
  if (style_ == Style::bar) show(0);
}

Progress::~Progress() {
  if (style_ == Style::bar) {
    write_remark("\r\033[K");
  }
}

void Progress::update(int64_t done) {
  done_ = done;
  if (style_ == Style::silent) return;
  const Clock::time_point now = now_();
  if (now < next_) return;
  show(std::chrono::duration<double>(now - begin_).count());
  if (style_ == Style::log) {
    interval_seconds_ = std::min(2 * interval_seconds_, longest_interval_seconds);
  }
  next_ = now + std::chrono::duration_cast<Clock::duration>(
                    std::chrono::duration<double>(interval_seconds_));
}

void Progress::show(double seconds) {
  const double fraction =
      std::clamp(static_cast<double>(done_) / static_cast<double>(total_), 0.0, 1.0);
  std::string state =
      fmt::format("{:3.0f}% {}/{} {}", std::floor(100 * fraction), done_, total_, unit_);
  if (done_ > before_ && seconds > 0) {
    const double rate = static_cast<double>(done_ - before_) / seconds;
    state += fmt::format("  {:.{}f}/s  {} left", rate, rate < 10 ? 1 : 0,
                         format_duration(static_cast<double>(total_ - done_) / rate));
  }
  if (style_ == Style::log) {
    remark("{}: {}\n", label_, state);
    return;
  }
  // One column stays free: a full line would wrap on some terminals.
  const int room = terminal_width() - 1;
  constexpr int widest_bar = 30;
  constexpr int narrowest_bar = 8;
  const int free = room - static_cast<int>(label_.size() + state.size()) - 4;
  std::string line = label_ + " ";
  if (free >= narrowest_bar) {
    const int width = std::min(free, widest_bar);
    const int filled = static_cast<int>(fraction * width);
    line += fmt::format("[{:#<{}}{:.<{}}] ", "", filled, "", width - filled);
  }
  line += state;
  if (static_cast<int>(line.size()) > room) line = line.substr(line.size() - room);
  remark("\r\033[K{}", line);
}

}  // namespace sinkbench
