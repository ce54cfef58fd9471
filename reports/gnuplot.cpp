#include "reports/gnuplot.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <sstream>

#include "base/error.h"
#include "base/file.h"

extern char** environ;

namespace sinkbench {
namespace {

namespace fs = std::filesystem;

/// Runs gnuplot on a script, in the script's folder. Throws InputError with what it said.
void run_gnuplot(const fs::path& gnuplot, const fs::path& gp) {
  const fs::path log = gp.parent_path() / "log";
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, log.c_str(),
                                   O_WRONLY | O_CREAT | O_TRUNC, 0600);
  posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
  posix_spawn_file_actions_addchdir_np(&actions, gp.parent_path().c_str());
  std::string program = gnuplot.string(), file = gp.filename().string();
  char* argv[] = {program.data(), file.data(), nullptr};
  pid_t pid = 0;
  int status = posix_spawn(&pid, program.c_str(), &actions, nullptr, argv, environ);
  posix_spawn_file_actions_destroy(&actions);
  if (status == 0) ::waitpid(pid, &status, 0);
  if (status == 0) return;
  // It repeats the line and points at the place; what is wrong stands last.
  std::string line, last;
  std::error_code error;
  if (fs::exists(log, error)) {
    std::istringstream lines(read_file(log));
    while (std::getline(lines, line)) {
      if (!line.empty()) last = line;
    }
  }
  throw InputError::format("{}: gnuplot ended with status {}: {}", file, status, last);
}

/// A folder within another one, for as long as it is needed.
class Workshop {
 public:
  explicit Workshop(const fs::path& parent) {
    std::string name = (fs::absolute(parent) / ".drawing-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw_write_error(parent, "written");
    path_ = name;
  }
  ~Workshop() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  Workshop(const Workshop&) = delete;
  Workshop& operator=(const Workshop&) = delete;
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

}  // namespace

fs::path find_gnuplot() {
  const char* path = std::getenv("PATH");
  std::istringstream folders(path == nullptr ? "" : path);
  for (std::string folder; std::getline(folders, folder, ':');) {
    const fs::path program = fs::path(folder) / "gnuplot";
    if (::access(program.c_str(), X_OK) == 0) return fs::absolute(program);
  }
  return {};
}

fs::path require_gnuplot() {
  const fs::path gnuplot = find_gnuplot();
  if (gnuplot.empty()) {
    throw InputError(
        "gnuplot is not installed (not found in PATH); on Debian: apt-get install gnuplot-nox");
  }
  return gnuplot;
}

std::string gnuplot_quoted(const std::string& text) {
  std::string result = "'";
  for (const char c : text) {
    if (c == '\'')
      result += "''";
    else
      result += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
  }
  return result + "'";
}

std::string gnuplot_header(const std::string& name) {
  return fmt::format(
      "# Draws {0}.svg and {0}.png from {0}.csv: gnuplot {0}.gp\n"
      "set encoding utf8\n"
      "set datafile separator ','\n",
      name);
}

std::string gnuplot_on_terminals(const std::string& name, int64_t width, int64_t height,
                                 const std::string& commands) {
  return fmt::format(
      "do for [kind in \"svg png\"] {{\n"
      "if (kind eq \"svg\") {{\n"
      "set terminal svg noenhanced size {0},{1} dynamic font 'sans-serif,13' "
      "background '#ffffff' name 'sinkbench'\n"
      "}} else {{\n"
      "set terminal pngcairo noenhanced size {2},{3} font 'sans,13' fontscale 1.8 linewidth 1.8 "
      "background '#ffffff'\n"
      "}}\n"
      "set output {4}.'.'.kind\n"
      "{5}"
      "unset output\n"
      "}}\n",
      width, height, 2 * width, 2 * height, gnuplot_quoted(name), commands);
}

void draw_with_gnuplot(std::span<const GnuplotPicture> pictures, const fs::path& folder) {
  const fs::path gnuplot = require_gnuplot();
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) {
    throw InputError::format("{}: cannot create the folder: {}", folder.string(), error.message());
  }
  const Workshop workshop(folder);
  for (const GnuplotPicture& picture : pictures) {
    write_file_atomically(workshop.path() / (picture.name + ".csv"), picture.csv);
    const fs::path gp = workshop.path() / (picture.name + ".gp");
    write_file_atomically(gp, picture.script);
    run_gnuplot(gnuplot, gp);
    for (const char* extension : picture_extensions) {
      const std::string file = picture.name + extension;
      fs::rename(workshop.path() / file, folder / file, error);
      if (error) throw InputError::format("{}: not written: {}", file, error.message());
    }
  }
}

}  // namespace sinkbench
