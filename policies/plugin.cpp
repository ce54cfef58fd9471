#include "policies/plugin.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cctype>
#include <cerrno>
#include <cmath>
#include <csignal>
#include <cstddef>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <set>
#include <stdexcept>

#include "base/error.h"
#include "base/file.h"
#include "base/sha256.h"
#include "base/utf8.h"
#include "policies/include/sinkbench/policy.h"
#include "policies/registry.h"

namespace sinkbench {
namespace {

namespace fs = std::filesystem;

using GetPlugin = const sb_plugin*(void);

/// What both sides know of a struct of the plug-in's; the rest is 0.
template <typename T>
T shared_part(const T* theirs) {
  T ours{};
  std::memcpy(&ours, theirs, std::min<size_t>(theirs->size, sizeof(T)));
  return ours;
}

template <typename T>
T sized() {
  T value{};
  value.size = sizeof(T);
  return value;
}

// ---- what the plug-in says, checked ----

/// Errors of one plug-in's description.
class Description {
 public:
  explicit Description(const PolicyPlugin& of) : of_(of) {}

  template <typename... Args>
  [[noreturn]] void fail(fmt::format_string<Args...> text, Args&&... args) const {
    throw InputError::format("{}: {}", of_.file, fmt::format(text, std::forward<Args>(args)...));
  }

  std::string line(const char* text, const std::string& what) const {
    if (text == nullptr || *text == '\0') fail("{} is missing", what);
    const std::string result = to_valid_utf8(text);
    if (result.find('\n') != result.npos) fail("{} has more than one line", what);
    return result;
  }
  std::string name(const char* text, const std::string& what) const {
    const std::string result = line(text, what);
    const bool plain = std::all_of(result.begin(), result.end(), [](unsigned char c) {
      return std::isalnum(c) != 0 || c == '_';
    });
    if (!plain || std::isalpha(static_cast<unsigned char>(result[0])) == 0 || result.size() > 64) {
      fail("{} is '{}'; expected letters, digits and '_'", what, result);
    }
    return result;
  }

  PolicyParameter parameter(const sb_parameter& p, const std::string& policy,
                            std::set<std::string>& names) const {
    PolicyParameter result;
    result.name = name(p.name, fmt::format("the name of a parameter of policy {}", policy));
    const std::string what = fmt::format("parameter {} of policy {}", result.name, policy);
    if (!names.insert(result.name).second) {
      fail(
          "{}: every policy of its kind has a parameter of this name, or it stands twice; choose "
          "another name",
          what);
    }
    result.meaning = line(p.meaning, what + ": its meaning");
    const bool required = (p.flags & SB_REQUIRED) != 0;
    result.size = (p.flags & SB_SIZE) != 0;
    switch (p.kind) {
      case SB_INTEGER:
      case SB_REAL: {
        if (!std::isfinite(p.least) || !std::isfinite(p.most) || p.least > p.most) {
          fail("{} is from {} to {}; expected two numbers", what, p.least, p.most);
        }
        if (!required && !(p.fallback >= p.least && p.fallback <= p.most)) {
          fail("{}: its fallback is {}; expected a number from {} to {}", what, p.fallback, p.least,
               p.most);
        }
        if (p.kind == SB_REAL) {
          result.real = PolicyParameter::Bounds{p.least, p.most};
          if (!required) result.fallback = p.fallback;
          break;
        }
        const auto limit = static_cast<double>(largest_policy_argument);
        if (std::abs(p.least) > limit || std::abs(p.most) > limit ||
            std::floor(p.least) != p.least || std::floor(p.most) != p.most ||
            (!required && std::floor(p.fallback) != p.fallback)) {
          fail("{} is from {} to {}, by default {}; expected integers from -2^40 to 2^40", what,
               p.least, p.most, p.fallback);
        }
        result.minimum = static_cast<int64_t>(p.least);
        result.maximum = static_cast<int64_t>(p.most);
        if (!required) result.fallback = static_cast<int64_t>(p.fallback);
        break;
      }
      case SB_WORD:
        for (int i = 0; p.words != nullptr && p.words[i] != nullptr; ++i) {
          result.words.push_back(name(p.words[i], what + ": one of its words"));
        }
        if (result.words.empty()) fail("{} has no words", what);
        if (!required) result.fallback = result.words.front();
        break;
      default:
        fail("{} is of kind {}; expected SB_INTEGER, SB_REAL or SB_WORD", what, p.kind);
    }
    return result;
  }

 private:
  const PolicyPlugin& of_;
};

// ---- arguments, and what they make ----

/// What this thread calls, for a signal's handler.
struct Call {
  const char *policy = nullptr, *file = nullptr, *function = nullptr;
};
thread_local Call current;

/// Room for numbers of T that a plug-in writes, with some behind it in which they are found.
template <typename T>
class Guarded {
 public:
  Guarded(int64_t size, T value) : size_(size), numbers_(size + guard, mark) {
    std::fill_n(numbers_.begin(), size, value);
  }
  T* data() { return numbers_.data(); }
  bool overrun() const {
    return std::any_of(numbers_.begin() + size_, numbers_.end(), [](T x) { return x != mark; });
  }

 private:
  static constexpr int64_t guard = 64;
  static constexpr T mark = static_cast<T>(-0x5eed5eed5eed);
  int64_t size_;
  std::vector<T> numbers_;
};

/// While it lives, a plug-in's function is called.
class Calling {
 public:
  Calling(const char* policy, const char* file, const char* function) : before_(current) {
    current = {policy, file, function};
  }
  ~Calling() { current = before_; }
  Calling(const Calling&) = delete;
  Calling& operator=(const Calling&) = delete;

 private:
  Call before_;
};

/// Names the plug-in that crashed, then lets the signal do what it does. Of several threads that
/// crash at once the first speaks, in one piece.
extern "C" void say_who_crashed(int signal) {
  static std::atomic_flag said;
  if (current.policy != nullptr) {
    while (said.test_and_set()) ::pause();  // until the first has ended the program
    char line[512];
    size_t size = 0;
    for (const char* part :
         {"sinkbench: policy ", current.policy, " (", current.file, "): ", current.function,
          " crashed (what `needs` doesn't ask for is NULL)\n"}) {
      for (; *part != '\0' && size < sizeof line; ++part) line[size++] = *part;
    }
    [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, line, size);
  }
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

/// A plug-in's policy and the names that errors have.
struct Source {
  sb_policy policy;
  PolicyPlugin plugin;
  std::vector<PolicyParameter> parameters;  // the plug-in's own

  [[noreturn]] void fail(const std::string& what) const {
    throw std::runtime_error(fmt::format("policy {} ({}): {}", policy.name, plugin.file, what));
  }
  /// Calls the plug-in; an exception that comes out of it is an error of its own, a crash ends the
  /// program with a line that names it.
  template <typename Call>
  auto call(const char* function, const Call& call) const {
    const Calling calling(policy.name, plugin.file.c_str(), function);
    try {
      return call();
    } catch (const std::exception& exception) {
      fail(fmt::format("{} threw an exception: {}", function, exception.what()));
    } catch (...) {
      fail(fmt::format("{} threw an exception", function));
    }
  }
};

/// As sb_policy::make takes them.
class Arguments {
 public:
  Arguments(const Source& source, const PolicyArguments& arguments) {
    for (const PolicyParameter& parameter : source.parameters) {
      const PolicyValue& value = arguments.at(parameter.name);
      sb_argument argument = sized<sb_argument>();
      if (value.is_integer()) {
        argument.integer = value.integer();
        argument.real = static_cast<double>(value.integer());
      } else if (value.is_real()) {
        argument.real = value.real();
        argument.integer = static_cast<int64_t>(value.real());
      } else {
        words_.push_back(std::make_unique<std::string>(value.word()));
        argument.word = words_.back()->c_str();
      }
      arguments_.push_back(argument);
    }
    for (const sb_argument& argument : arguments_) pointers_.push_back(&argument);
  }
  const sb_argument* const* pointers() const { return pointers_.data(); }

 private:
  std::vector<std::unique_ptr<std::string>> words_;
  std::vector<sb_argument> arguments_;
  std::vector<const sb_argument*> pointers_;
};

/// Runs `work` in a process of its own. "" where that ends well, else the signal that ended it.
template <typename Work>
std::string signal_of(const Work& work) {
  const pid_t child = ::fork();
  if (child < 0) return "";  // untried
  if (child == 0) {
    for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT})
      std::signal(signal, SIG_DFL);
    const int devnull = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (devnull >= 0) ::dup2(devnull, 1), ::dup2(devnull, 2);
    try {
      work();
    } catch (...) {  // the process that asks will see it, too
    }
    ::_exit(0);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFSIGNALED(status) ? fmt::format("SIG{}", ::sigabbrev_np(WTERMSIG(status))) : "";
}

/// What `make` returned, and its end.
class Instance {
 public:
  Instance(std::shared_ptr<const Source> source, const sb_cache& cache,
           const PolicyArguments& arguments)
      : source_(std::move(source)) {
    const sb_policy& policy = source_->policy;
    if (policy.make == nullptr) return;
    const Arguments given(*source_, arguments);
    std::array<char, 512> error{};
    const auto make = [&] {
      return policy.make(&cache, given.pointers(), error.data(), error.size());
    };
    // A crash is found out once for each choice of arguments, beside this process.
    static std::map<std::pair<std::string, PolicyArguments>, std::string> tried;
    const auto [it, is_new] = tried.try_emplace({policy.name, arguments});
    if (is_new) it->second = signal_of(make);
    if (!it->second.empty()) refuse(fmt::format("make crashed ({})", it->second));
    try {
      self_ = source_->call("make", make);
    } catch (const std::runtime_error& exception) {
      throw InputError(exception.what());
    }
    error.back() = '\0';
    if (self_ != nullptr) return;
    std::string reason =
        to_valid_utf8(error[0] != '\0' ? error.data() : "make returned NULL and gave no reason");
    std::replace(reason.begin(), reason.end(), '\n', ' ');
    refuse(reason);
  }
  ~Instance() {
    if (self_ != nullptr && source_->policy.destroy != nullptr) source_->policy.destroy(self_);
  }
  Instance(const Instance&) = delete;
  Instance& operator=(const Instance&) = delete;

  const Source& source() const { return *source_; }
  const sb_policy& policy() const { return source_->policy; }
  void* self() const { return self_; }

 private:
  [[noreturn]] void refuse(const std::string& reason) const {
    throw InputError::format("policy {} ({}): {}", source_->policy.name, source_->plugin.file,
                             reason);
  }

  std::shared_ptr<const Source> source_;
  void* self_ = nullptr;
};

// ---- the two kinds ----

class PluginIndex final : public IndexPolicy {
 public:
  PluginIndex(std::shared_ptr<const Source> source, const PolicyArguments& arguments)
      : instance_(std::move(source), sized<sb_cache>(), arguments) {
    const sb_policy& policy = instance_.policy();
    const int64_t capacity =
        instance_.source().call("capacity", [&] { return policy.capacity(instance_.self()); });
    if (capacity >= 0) capacity_ = capacity;
    std::array<char, 128> text{};
    if (policy.label != nullptr) {
      instance_.source().call("label", [&] {
        policy.label(instance_.self(), text.data(), text.size());
        return 0;
      });
    }
    text.back() = '\0';
    label_ = to_valid_utf8(text.data());
    std::replace(label_.begin(), label_.end(), '\n', ' ');
    if (label_.empty()) {
      label_ = policy.name;
      for (const auto& [name, value] : arguments) {
        label_ += fmt::format(" {} {}", name, to_string(value));
      }
    }
    check_views();
  }

  std::optional<int64_t> capacity() const override { return capacity_; }
  std::string label() const override { return label_; }
  bool differs_by_layer() const override { return (instance_.policy().flags & SB_LAYERS) != 0; }

  View view(int64_t layer, int64_t t) const override {
    constexpr int64_t most = 1 << 24;
    const Source& source = instance_.source();
    for (int64_t room = 16;;) {
      Guarded<int64_t> ranges(2 * room, 0);
      const int64_t count = source.call("view", [&] {
        return instance_.policy().view(instance_.self(), static_cast<int32_t>(layer), t,
                                       ranges.data(), room);
      });
      if (count < 0 || count > most) {
        source.fail(fmt::format("view of layer {}, token {} has {} ranges", layer, t, count));
      }
      if (ranges.overrun()) {
        source.fail(
            fmt::format("view of layer {}, token {} writes more than the {} ranges that "
                        "there is room for",
                        layer, t, room));
      }
      if (count > room) {
        room = count;
        continue;
      }
      View view;
      int64_t end = 0;
      for (int64_t i = 0; i < count; ++i) {
        const Range range = {ranges.data()[2 * i], ranges.data()[2 * i + 1]};
        if (range.begin < end || range.end < range.begin || range.end > t) {
          source.fail(fmt::format(
              "view of layer {}, token {}: range {} is from {} to {}; expected ascending, disjoint "
              "ranges of tokens before {}",
              layer, t, i, range.begin, range.end, t));
        }
        end = range.end;
        view.push_back(range);
      }
      if (capacity_ && sinkbench::size(view) > *capacity_) {
        source.fail(fmt::format("view of layer {}, token {} has {} tokens; its capacity is {}",
                                layer, t, sinkbench::size(view), *capacity_));
      }
      return view;
    }
  }

 private:
  /// Of the first tokens, in a few layers: engines take it that what has left never comes back.
  void check_views() const {
    constexpr int64_t tokens = 4096, layers = 4;
    try {
      for (int64_t layer = 0; layer < (differs_by_layer() ? layers : 1); ++layer) {
        View before;
        for (int64_t t = 0; t < tokens; ++t) {
          View now = view(layer, t);
          if (const auto place = returned(before, now, t)) {
            instance_.source().fail(fmt::format(
                "view of layer {}, token {} has token {}, which had left", layer, t, *place));
          }
          before = std::move(now);
        }
      }
    } catch (const std::runtime_error& error) {
      throw InputError(error.what());
    }
  }

  Instance instance_;
  std::optional<int64_t> capacity_;
  std::string label_;
};

sb_cache cache_of(const Retention& retention) {
  sb_cache cache = sized<sb_cache>();
  cache.capacity = retention.budget.most();
  cache.sinks = retention.sinks;
  cache.recent = retention.recent;
  cache.every = retention.every;
  cache.by_layer = retention.scope == Retention::Scope::layer ? 1 : 0;
  cache.seed = retention.seed;
  return cache;
}

class PluginScore final : public ScorePolicy {
 public:
  PluginScore(const Retention& retention, std::shared_ptr<const Source> source,
              const PolicyArguments& arguments)
      : ScorePolicy(retention), instance_(std::move(source), cache_of(retention), arguments) {
    sb_needs needs = sized<sb_needs>();
    needs.decay = 1.0;
    instance_.source().call("needs", [&] {
      instance_.policy().needs(instance_.self(), &needs);
      return 0;
    });
    constexpr int64_t most = 1 << 20;
    const auto refuse = [&](const std::string& what) {
      throw InputError::format("policy {} ({}): {}", instance_.policy().name,
                               instance_.source().plugin.file, what);
    };
    if (needs.rows < 0 || needs.rows > most || needs.own < 0 || needs.own > most) {
      refuse(fmt::format("it needs {} rows and {} numbers of its own; expected from 0 to {}",
                         needs.rows, needs.own, most));
    }
    if (!(needs.decay > 0 && needs.decay <= 1)) {
      refuse(
          fmt::format("its sums decay by {}; expected a number above 0 and up to 1", needs.decay));
    }
    needs_ = {.sum = needs.sum != 0,
              .decay = needs.decay,
              .squares = needs.squares != 0,
              .last = needs.last != 0,
              .rows = needs.rows,
              .own = needs.own,
              .keys = needs.keys != 0,
              .values = needs.values != 0,
              .entry_score = needs.entry_score != 0,
              .queries = needs.queries != 0};
    if (needs_.own > 0 && instance_.policy().observe == nullptr) {
      refuse("it needs numbers of its own, and has no function observe");
    }
    if (needs_.entry_score && instance_.policy().enter == nullptr) {
      refuse("it needs scores of entries that come, and has no function enter");
    }
    if (needs_.weights() && (instance_.policy().flags & SB_WEIGHTS) == 0) {
      refuse("it needs weights, and its flags don't have SB_WEIGHTS");
    }
  }

  Needs needs() const override { return needs_; }

  double enter(const Entry& entry) const override {
    sb_entry theirs = sized<sb_entry>();
    theirs.layer = static_cast<int32_t>(entry.layer);
    theirs.head = static_cast<int32_t>(entry.head);
    theirs.place = entry.place;
    theirs.head_dim = std::ssize(entry.key);
    theirs.key = entry.key.data();
    theirs.rotated = entry.rotated.empty() ? nullptr : entry.rotated.data();
    return instance_.source().call(
        "enter", [&] { return instance_.policy().enter(instance_.self(), &theirs); });
  }

  void observe(const Observation& seen, Rows<double> own) const override {
    sb_observation theirs = sized<sb_observation>();
    theirs.layer = static_cast<int32_t>(seen.layer);
    theirs.head = static_cast<int32_t>(seen.head);
    theirs.t = seen.t;
    theirs.n = std::ssize(seen.weights);
    theirs.place = seen.place.data();
    theirs.weights = seen.weights.data();
    theirs.own = own.data;
    theirs.own_stride = own.stride;
    instance_.source().call("observe", [&] {
      instance_.policy().observe(instance_.self(), &theirs);
      return 0;
    });
  }

  void score(const Round& round, std::span<double> scores) const override {
    const auto data = [](std::span<const double> numbers) {
      return numbers.empty() ? nullptr : numbers.data();
    };
    sb_round theirs = sized<sb_round>();
    theirs.layer = static_cast<int32_t>(round.layer);
    theirs.head = static_cast<int32_t>(round.head);
    theirs.n = std::ssize(scores);
    theirs.keep = round.keep;
    theirs.next = round.next;
    theirs.place = round.place.data();
    theirs.sum = data(round.sum);
    theirs.squares = data(round.squares);
    theirs.last = data(round.last);
    theirs.entry_score = data(round.entry_score);
    theirs.rows = needs_.rows > 0 ? round.rows.data : nullptr;
    theirs.row_stride = round.rows.stride;
    theirs.row_count = round.row_count;
    theirs.own = needs_.own > 0 ? round.own.data : nullptr;
    theirs.own_stride = round.own.stride;
    theirs.keys = data(round.keys);
    theirs.head_dim = round.head_dim;
    theirs.values = needs_.values ? data(round.values) : nullptr;
    theirs.value_dim = round.value_dim;
    theirs.query_count = round.queries.count;
    theirs.group = round.head_dim > 0 ? std::ssize(round.queries.sum) / round.head_dim : 0;
    theirs.query_sum = data(round.queries.sum);
    theirs.query_products = data(round.queries.products);
    theirs.query_scale = round.queries.scale;
    theirs.frequencies = data(round.rotation.frequencies);
    theirs.n_frequencies = std::ssize(round.rotation.frequencies);
    theirs.magnitude = round.rotation.magnitude;
    // What it leaves out is no number, which is an error.
    Guarded<double> written(std::ssize(scores), std::numeric_limits<double>::quiet_NaN());
    const int32_t failed = instance_.source().call("score", [&] {
      return instance_.policy().score(instance_.self(), &theirs, written.data());
    });
    const auto fail = [&](const std::string& what) {
      instance_.source().fail(
          fmt::format("score {} for layer {}, head {}, in the round after token {}", what,
                      round.layer, round.head, round.next - 1));
    };
    if (written.overrun()) fail(fmt::format("writes more than {} scores", scores.size()));
    if (failed != 0) fail(fmt::format("returned {}", failed));
    std::copy_n(written.data(), scores.size(), scores.begin());
    if ((instance_.policy().flags & SB_SHARES) == 0) return;
    const auto negative =
        std::find_if(scores.begin(), scores.end(), [](double x) { return x < 0; });
    if (negative != scores.end()) {
      fail(fmt::format("gives entry {} {}, and SB_SHARES promises 0 or more,",
                       negative - scores.begin(), *negative));
    }
  }

 private:
  Instance instance_;
  Needs needs_;
};

PolicyEntry entry_of(const sb_policy& policy, const PolicyPlugin& of) {
  const Description says(of);
  PolicyEntry entry;
  entry.name = says.name(policy.name, "the name of a policy");
  const std::string what = "policy " + entry.name;
  if (const PolicyEntry* other = policy_named(entry.name)) {
    says.fail("{}: {} has a policy of this name; choose another name", what,
              other->plugin.file.empty() ? "the program" : other->plugin.file);
  }
  entry.summary = says.line(policy.summary, what + ": its summary");
  entry.source = says.line(policy.source, what + ": its source");
  entry.plugin = of;
  if (policy.kind != SB_BY_INDEX && policy.kind != SB_BY_SCORE) {
    says.fail("{} is of kind {}; expected SB_BY_INDEX or SB_BY_SCORE", what, policy.kind);
  }
  const bool by_score = policy.kind == SB_BY_SCORE;
  if (by_score && (policy.needs == nullptr || policy.score == nullptr)) {
    says.fail("{} is by score; expected functions needs and score", what);
  }
  if (!by_score && (policy.view == nullptr || policy.capacity == nullptr)) {
    says.fail("{} is by index; expected functions view and capacity", what);
  }
  constexpr int32_t most_parameters = 256;
  if (policy.n_parameters < 0 || policy.n_parameters > most_parameters ||
      (policy.n_parameters > 0 && policy.parameters == nullptr)) {
    says.fail("{} has {} parameters; expected a list of up to {}", what, policy.n_parameters,
              most_parameters);
  }
  std::set<std::string> names;
  if (by_score) {
    for (const std::string& name : common_parameter_names()) names.insert(name);
  } else {
    names = {"positions", "cap", "preset", "prompt"};
  }
  const char* at = reinterpret_cast<const char*>(policy.parameters);
  for (int32_t i = 0; i < policy.n_parameters; ++i) {
    const auto* parameter = reinterpret_cast<const sb_parameter*>(at);
    if (parameter->size < offsetof(sb_parameter, fallback) || parameter->size > 4096) {
      says.fail("{}: the size of parameter {} is {}; expected sizeof(sb_parameter)", what, i,
                parameter->size);
    }
    entry.parameters.push_back(says.parameter(shared_part(parameter), entry.name, names));
    at += parameter->size;
  }
  auto source = std::make_shared<const Source>(
      Source{.policy = policy, .plugin = of, .parameters = entry.parameters});
  if (!by_score) {
    entry.make = MakePolicy([source](const PolicyArguments& arguments) {
      return std::make_unique<PluginIndex>(source, arguments);
    });
    return entry;
  }
  entry.weights = (policy.flags & SB_WEIGHTS) != 0;
  entry.shares = (policy.flags & SB_SHARES) != 0;
  if ((policy.flags & SB_BY_LAYER) != 0) entry.scope = Retention::Scope::layer;
  entry.make =
      MakeScorePolicy([source](const Retention& retention, const PolicyArguments& arguments) {
        return std::make_unique<PluginScore>(retention, source, arguments);
      });
  return entry;
}

/// Opens the file and asks it for its policies. Null where it has no such function.
const sb_plugin* open_plugin(const fs::path& file, std::string& error) {
  void* library = ::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (library == nullptr) {
    error = ::dlerror();
    return nullptr;
  }
  auto* const get = reinterpret_cast<GetPlugin*>(::dlsym(library, "sinkbench_policies_v1"));
  if (get == nullptr) {
    error =
        "it exports no function sinkbench_policies_v1; expected a plug-in for sinkbench, such as "
        "examples/policy-plugin makes one";
    return nullptr;
  }
  const sb_plugin* plugin = get();
  if (plugin == nullptr) error = "sinkbench_policies_v1 returned nothing";
  return plugin;
}

}  // namespace

void add_plugin(const sb_plugin* plugin, const PolicyPlugin& of) {
  const Description says(of);
  if (plugin->size < offsetof(sb_plugin, n_policies) + sizeof(int32_t) || plugin->size > 4096) {
    says.fail("the size of its description is {}; expected sizeof(sb_plugin)", plugin->size);
  }
  const sb_plugin known = shared_part(plugin);
  if (known.abi != SINKBENCH_POLICY_ABI) {
    says.fail("it is made for version {} of the interface; expected {}", known.abi,
              SINKBENCH_POLICY_ABI);
  }
  constexpr int32_t most_policies = 1024;
  if (known.n_policies < 1 || known.n_policies > most_policies || known.policies == nullptr) {
    says.fail("it has {} policies; expected a list of 1 to {}", known.n_policies, most_policies);
  }
  PolicyPlugin plugin_of = of;
  plugin_of.version = says.line(known.version, "its version");
  std::vector<PolicyEntry> entries;
  std::set<std::string> names;
  for (int32_t i = 0; i < known.n_policies; ++i) {
    const sb_policy* policy = known.policies[i];
    if (policy == nullptr || policy->size < offsetof(sb_policy, score) + sizeof(policy->score) ||
        policy->size > 4096) {
      says.fail("the size of policy {} is {}; expected sizeof(sb_policy)", i,
                policy == nullptr ? 0 : policy->size);
    }
    entries.push_back(entry_of(shared_part(policy), plugin_of));
    if (!names.insert(entries.back().name).second) {
      says.fail("policy {} stands twice in it", entries.back().name);
    }
  }
  for (PolicyEntry& entry : entries) add_policy(std::move(entry));  // all, or none
  for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT}) {
    std::signal(signal, say_who_crashed);
  }
}

PolicyPlugin load_plugin(const fs::path& file) {
  static std::map<fs::path, PolicyPlugin> loaded;
  std::error_code code;
  const fs::path path = fs::canonical(file, code);
  if (code || !fs::is_regular_file(path)) {
    throw InputError::format("{}: {}; expected a plug-in, a shared library", file.string(),
                             code ? "there is no such file" : "it is no file");
  }
  if (const auto it = loaded.find(path); it != loaded.end()) return it->second;
  PolicyPlugin plugin = {.file = file.string(), .sha256 = sha256_hex(read_file(path))};
  std::string error;
  const std::string signal = signal_of([&] { open_plugin(path, error); });
  if (!signal.empty()) {
    throw InputError::format("{}: the plug-in crashes as it is loaded ({})", file.string(), signal);
  }
  const sb_plugin* description = nullptr;
  try {
    description = open_plugin(path, error);
  } catch (...) {
    error = "sinkbench_policies_v1 threw an exception";
  }
  if (description == nullptr) {
    std::replace(error.begin(), error.end(), '\n', ' ');
    const std::string prefix = path.string() + ": ";
    if (error.starts_with(prefix)) {
      error = error.substr(prefix.size()) + "; expected a plug-in, a shared library";
    }
    throw InputError::format("{}: {}", file.string(), to_valid_utf8(error));
  }
  plugin.version = description->size >= offsetof(sb_plugin, version) + sizeof(char*) &&
                           description->version != nullptr
                       ? to_valid_utf8(description->version)
                       : "";
  add_plugin(description, plugin);
  return loaded[path] = plugin;
}

}  // namespace sinkbench
