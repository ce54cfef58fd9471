// The program as users meet it: arguments in, exit status and two streams of text out.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "base/file.h"

namespace sinkbench::test {

struct Outcome {
  int status;  ///< exit status, or 128 + the signal that ended it
  std::string out, err;
};

/// A running command, its current folder `folder`.
class Process {
 public:
  Process(std::vector<std::string> command, const std::filesystem::path& folder)
      : out_(folder / "stdout"), err_(folder / "stderr") {
    std::vector<char*> argv;
    for (std::string& word : command) argv.push_back(word.data());
    argv.push_back(nullptr);
    pid_ = ::fork();
    if (pid_ != 0) return;
    constexpr int flags = O_WRONLY | O_CREAT | O_TRUNC;
    ::dup2(::open(out_.c_str(), flags, 0600), STDOUT_FILENO);
    ::dup2(::open(err_.c_str(), flags, 0600), STDERR_FILENO);
    if (::chdir(folder.c_str()) == 0) ::execvp(argv[0], argv.data());
    ::_exit(127);
  }

  void send(int signal) const { ::kill(pid_, signal); }

  Outcome wait() const {
    int status = 0;
    ::waitpid(pid_, &status, 0);
    return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), read_file(out_),
            read_file(err_)};
  }

 private:
  std::filesystem::path out_, err_;
  pid_t pid_;
};

/// A running sinkbench.
class Program : public Process {
 public:
  Program(std::vector<std::string> arguments, const std::filesystem::path& folder)
      : Process(with_program(std::move(arguments)), folder) {}

 private:
  static std::vector<std::string> with_program(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), SINKBENCH_PROGRAM);
    return arguments;
  }
};

}  // namespace sinkbench::test
