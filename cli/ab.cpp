// sinkbench ab: two programs in turn, and an exit status that says whether the second is worse.
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <random>
#include <string_view>

#include "base/console.h"
#include "base/error.h"
#include "cli/commands.h"
#include "cli/gate.h"
#include "cli/interruption.h"
#include "eval/experiment/experiment.h"

extern char** environ;

namespace sinkbench {
namespace {

namespace fs = std::filesystem;

struct AbOptions {
  std::string baseline, config, out;
  std::vector<std::string> only;
  Overrides overrides;
  bool quiet = false;
  GateOptions gate;
};

/// One of the two programs, and what it has asked for (eval/run/turns.h has the protocol).
class Contestant {
 public:
  Contestant(std::vector<std::string> command, const std::string& session) : name_(command[0]) {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
      throw std::runtime_error(std::string("no socket: ") + std::strerror(errno));
    }
    socket_ = ends[0];
    std::string turns = fmt::format("SINKBENCH_TURNS={}:{}", ends[1], session);
    std::string bound = "OMP_PROC_BIND=true";
    std::vector<char*> words, environment;
    for (std::string& word : command) words.push_back(word.data());
    words.push_back(nullptr);
    for (char** variable = environ; *variable != nullptr; ++variable) {
      if (!std::string_view(*variable).starts_with("SINKBENCH_TURNS=")) {
        environment.push_back(*variable);
      }
    }
    environment.push_back(turns.data());
    // Threads that are woken by turns of two programs may be put on one core, for milliseconds.
    if (std::getenv("OMP_PROC_BIND") == nullptr) environment.push_back(bound.data());
    environment.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], ends[1]);  // it alone inherits this end
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    const int error = ::posix_spawnp(&pid_, command[0].c_str(), &actions, nullptr, words.data(),
                                     environment.data());
    posix_spawn_file_actions_destroy(&actions);
    ::close(ends[1]);
    if (error != 0) {
      pid_ = -1;
      throw InputError::format("{}: cannot be run: {}; expected a program sinkbench", name_,
                               std::strerror(error));
    }
  }
  ~Contestant() {
    if (pid_ > 0) send(SIGKILL);
    leave();
    end();
  }
  Contestant(const Contestant&) = delete;
  Contestant& operator=(const Contestant&) = delete;

  const std::string& name() const { return name_; }
  int socket() const { return socket_; }
  bool is_gone() const { return socket_ < 0; }
  /// 't', 'm', or 0 while it works.
  char asked() const { return asked_; }
  bool has_started() const { return started_; }

  /// Reads what it asks for.
  void hear() {
    const ssize_t n = ::recv(socket_, &asked_, 1, 0);
    if (n == 1) {
      started_ = true;
    } else if (n == 0 || errno != EINTR) {
      leave();
    }
  }
  void give(int64_t turn) {
    asked_ = 0;
    // One that has just gone is heard of next.
    (void)::send(socket_, &turn, sizeof turn, MSG_NOSIGNAL);
  }
  /// The other one has got there, too.
  void meet() {
    if (asked_ == 'm') asked_ = 't';
  }
  /// There is no turn any more; a program that waits for one ends.
  void leave() {
    if (socket_ >= 0) ::close(socket_);
    socket_ = -1;
    asked_ = 0;
  }
  void send(int signal) const { ::kill(pid_, signal); }
  /// Waits for its end: its exit status, or 128 + the signal that ended it.
  int end() {
    while (pid_ > 0) {
      int status = 0;
      if (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) continue;
      status_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
      pid_ = -1;
    }
    return status_;
  }

 private:
  std::string name_;
  pid_t pid_ = -1;
  int socket_ = -1, status_ = 0;
  char asked_ = 0;
  bool started_ = false;
};

/// Waits until each one waits or is gone.
void hear(std::array<Contestant, 2>& both) {
  while (!Interruption::asked()) {
    std::vector<pollfd> sockets;
    std::vector<Contestant*> working;
    for (Contestant& one : both) {
      if (one.is_gone() || one.asked() != 0) continue;
      sockets.push_back({.fd = one.socket(), .events = POLLIN, .revents = 0});
      working.push_back(&one);
    }
    if (working.empty()) return;
    if (::poll(sockets.data(), sockets.size(), -1) < 0) continue;  // a signal
    for (size_t i = 0; i < working.size(); ++i) {
      if (sockets[i].revents != 0) working[i]->hear();
    }
  }
}

/// Until both are gone, or this program is to end.
void hand_out_turns(std::array<Contestant, 2>& both) {
  hear(both);
  // Without the other one there is nothing to compare.
  if (!both[0].has_started() || !both[1].has_started()) return;
  size_t last = 1;
  for (int64_t turn = 1; !Interruption::asked() && !(both[0].is_gone() && both[1].is_gone());
       ++turn) {
    const auto is_ready = [](const Contestant& one) { return one.asked() == 't'; };
    if (!is_ready(both[0]) && !is_ready(both[1])) {
      for (Contestant& one : both) one.meet();
    }
    const size_t next = is_ready(both[1 - last]) ? 1 - last : last;
    both[next].give(turn);
    last = next;
    hear(both);
  }
}

std::string new_session() {
  std::random_device random;
  return fmt::format("{:08x}{:08x}", random(), random());
}

/// What either program is told to do.
std::vector<std::string> command_of(const AbOptions& options, const std::string& program,
                                    const fs::path& out, bool quiet) {
  std::vector<std::string> words = {program,      "run",   options.config, "--fresh",
                                    "--no-plots", "--out", out.string()};
  const auto add = [&](const char* option, const std::string& value) {
    words.insert(words.end(), {option, value});
  };
  for (const std::string& value : options.overrides.set) add("--set", value);
  for (const std::string& pattern : options.only) add("--only", pattern);
  for (const fs::path& plugin : options.overrides.plugins) add("--plugin", plugin.string());
  if (options.overrides.threads) add("--threads", std::to_string(*options.overrides.threads));
  if (options.overrides.limit) add("--limit", std::to_string(*options.overrides.limit));
  if (options.overrides.device) add("--device", *options.overrides.device);
  if (quiet) words.push_back("--quiet");
  return words;
}

void run(const AbOptions& options) {
  if (options.config == "-") {
    throw InputError(
        "-: standard input can be read only once, and two programs are to read it; "
        "expected a file");
  }
  const Gate gate(options.gate);
  const Experiment experiment = load_experiment(options.config, options.overrides);
  const fs::path out =
      options.out.empty() ? fs::path("results") / ("ab-" + experiment.name) : fs::path(options.out);
  const std::array folders = {out / "baseline", out / "candidate"};
  const std::string session = new_session();
  {
    const Interruption interruption;
    std::array both = {Contestant(command_of(options, options.baseline, folders[0], true), session),
                       Contestant(command_of(options, fs::read_symlink("/proc/self/exe"),
                                             folders[1], options.quiet),
                                  session)};
    hand_out_turns(both);
    const bool started = both[0].has_started() && both[1].has_started();
    for (Contestant& one : both) {
      if (Interruption::asked()) {
        one.send(SIGTERM);  // the signal may have come to this program alone
      } else if (!started && !one.is_gone()) {
        one.send(SIGKILL);  // it waits for its first turn, with nothing to lose
      }
      one.leave();
    }
    const std::array statuses = {both[0].end(), both[1].end()};
    if (Interruption::asked()) throw Exit{exit_interrupted};
    for (size_t i = 0; i < both.size(); ++i) {
      if (!started && both[i].has_started()) continue;
      if (statuses[i] == exit_bad_input) throw Exit{exit_bad_input};  // it has said why
      if (!started && statuses[i] == exit_ok) {
        throw InputError::format(
            "{}: takes no turns: it is older than `sinkbench ab`, or another program",
            both[i].name());
      }
      if (statuses[i] == exit_ok || statuses[i] == exit_incomplete) continue;
      remark("sinkbench: {}: ended with status {}\n", both[i].name(), statuses[i]);
      throw Exit{exit_incomplete};
    }
  }
  const MeasuredRun baseline = read_run(folders[0]), candidate = read_run(folders[1]);
  const Comparison comparison = gate.compare(baseline, candidate);
  print_out("results: {}\n", out.string());
  gate.close(comparison, candidate.results);
}

}  // namespace

void add_ab(CommandLine app) {
  auto options = std::make_shared<AbOptions>();
  CommandLine command =
      app.add_subcommand("ab",
                         "Run an experiment by another sinkbench and by this one, in turn, "
                         "and say whether this one is worse");
  command
      .add_option("baseline", options->baseline, "The other program, such as ../before/sinkbench")
      .required();
  command.add_option("config", options->config, "The experiment, a YAML file").required();
  command.add_option("--out", options->out,
                     "Folder for the results, in baseline and candidate (default: "
                     "results/ab-NAME)");
  add_grid_options(command, options->overrides, options->only);
  add_overrides(command, options->overrides, "Threads (default: all cores)");
  add_plugins(command, options->overrides.plugins);
  add_gate_options(command, options->gate);
  command.add_flag("--quiet", options->quiet, "No progress");
  command.footer(
      std::string(gate_statuses) +
      "Example: sinkbench ab ../before/sinkbench configs/ci.yaml --export junit=report.xml");
  command.callback([options] { run(*options); });
}

}  // namespace sinkbench
