#include "base/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <sstream>
#include <thread>

#include "tests/catch.h"
#include "tests/files.h"

using namespace sinkbench;

namespace {

/// What `work` writes to standard error.
template <typename Work>
std::string written(Work work) {
  const test::TemporaryFolder folder;
  const std::string path = (folder.path() / "stderr").string();
  std::fflush(stderr);
  const int saved = ::dup(STDERR_FILENO);
  std::FILE* file = std::fopen(path.c_str(), "w");
  ::dup2(::fileno(file), STDERR_FILENO);
  work();
  std::fflush(stderr);
  ::dup2(saved, STDERR_FILENO);
  ::close(saved);
  std::fclose(file);
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

}  // namespace

TEST_CASE("durations read like a clock") {
  CHECK(format_duration(0) == "0:00");
  CHECK(format_duration(7.4) == "0:07");
  CHECK(format_duration(59.6) == "1:00");
  CHECK(format_duration(754) == "12:34");
  CHECK(format_duration(11045) == "3:04:05");
  CHECK(format_duration(360'000) == "100:00:00");
  CHECK(format_duration(-5) == "0:00");
}

TEST_CASE("a bar shows share, count, rate and time left, and clears itself") {
  const std::string text = written([] {
    Progress progress(Progress::Style::bar, "cell", 200, "tokens");
    std::this_thread::sleep_for(
        std::chrono::milliseconds(150));  // longer than between two drawings
    progress.update(50);
  });
  // Not a terminal, so 80 columns are taken for granted.
  CHECK_THAT(text,
             ContainsSubstring("\r\033[Kcell [..............................]   0% 0/200 tokens"));
  CHECK_THAT(text, ContainsSubstring("\r\033[Kcell ["));
  CHECK_THAT(text, ContainsSubstring("]  25% 50/200 tokens  "));
  CHECK_THAT(text, ContainsSubstring("/s  0:0"));
  CHECK_THAT(text, ContainsSubstring(" left"));
  CHECK_THAT(text, Catch::Matchers::EndsWith("\r\033[K"));
  CHECK_THAT(text, !ContainsSubstring("\n"));
}

TEST_CASE("a bar never takes more than the line") {
  const std::string text = written(
      [] { const Progress progress(Progress::Style::bar, std::string(300, 'x'), 200, "tokens"); });
  const size_t begin = text.find("\033[K") + 3;
  CHECK(text.find('\r', begin) - begin <= 79);
}

TEST_CASE("a log hears nothing of a short piece of work, and silence is silent") {
  for (const Progress::Style style : {Progress::Style::log, Progress::Style::silent}) {
    CHECK(written([style] {
            Progress progress(style, "cell", 3, "tokens");
            for (int i = 1; i <= 3; ++i) progress.update(i);
          }).empty());
  }
}

TEST_CASE("a log of a long run has a line a minute, with the time left") {
  const std::string text = written([] {
    Progress::Clock::time_point now{};
    // 7200 tokens at one in a second; 200 of them were there before.
    Progress progress(Progress::Style::log, "cell", 7200, "tokens", 200, [&] { return now; });
    for (int done = 201; done <= 600; ++done) {
      now += std::chrono::seconds(1);
      progress.update(done);
    }
  });
  std::string expected;
  for (const int second : {10, 30, 70, 130, 190, 250, 310, 370}) {
    expected += fmt::format("cell: {:3}% {}/7200 tokens  1.0/s  {} left\n", (200 + second) / 72,
                            200 + second, format_duration(7000 - second));
  }
  CHECK(text == expected);
}
