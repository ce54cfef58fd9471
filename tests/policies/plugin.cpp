// Plug-ins: the examples, one of an older header, and all that can be wrong with one.
#include "policies/plugin.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "policies/properties.h"
#include "policies/registry.h"
#include "tests/catch.h"
#include "tests/environment.h"
#include "tests/files.h"

using namespace sinkbench;

namespace {

const std::string folder = SINKBENCH_TEST_PLUGINS;

/// A copy of plugins/faulty.cpp's library, which is to have this fault.
std::string faulty(const std::string& fault) {
  static const test::TemporaryFolder here;
  static int copies = 0;
  const auto file = here.path() / (std::to_string(++copies) + ".so");
  std::filesystem::copy_file(folder + (fault == "no symbol" ? "/no_symbol.so" : "/faulty.so"),
                             file);
  return file.string();
}

std::string error_of(const std::string& fault) {
  const test::Variable variable("SINKBENCH_TEST_FAULT", fault.c_str());
  try {
    load_plugin(faulty(fault));
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("the examples of plug-ins keep the terms of the interface") {
  const size_t before = policy_registry().size();
  for (const char* name : {"my_h2o", "my_window"}) {
    const PolicyPlugin plugin = load_plugin(folder + "/" + name + ".so");
    CHECK(plugin.version == "1.0");
    CHECK(plugin.sha256.size() == 64);
    CHECK(load_plugin(folder + "/" + name + ".so") == plugin);  // nothing happens
    CHECK(find_policy(name).plugin == plugin);
    CHECK(broken_property(find_policy(name)) == "");
  }
  CHECK(policy_registry().size() == before + 2);
  CHECK(make_policy("my_window", {{"window", 8}, {"reach", 16}, {"stride", 4}})->label() ==
        "8+16/4");
  const auto window = make_policy("my_window", {{"window", 3}, {"reach", 8}, {"stride", 4}});
  CHECK(dynamic_cast<const IndexPolicy&>(*window).view(0, 14) == View{{4, 5}, {8, 9}, {11, 14}});
  CHECK_THROWS_WITH(
      make_policy("my_window", {{"window", 8}, {"reach", 2}, {"stride", 4}}),
      ContainsSubstring("my_window.so): stride is 4; expected no more than reach, 2"));
  CHECK_THROWS_WITH(make_policy("my_window", {{"window", 0}}),
                    ContainsSubstring("window is 0; expected an integer from 1 to 1073741824"));
  CHECK_THROWS_WITH(make_policy("my_window", {}), ContainsSubstring("'window' is missing"));
}

TEST_CASE("a plug-in that was compiled against an older header loads") {
  load_plugin(folder + "/older.so");
  const PolicyEntry& entry = find_policy("older");
  CHECK(broken_property(entry) == "");
  CHECK(entry.parameters.back().name == "sign");
  for (const int64_t sign : {1, -1}) {
    const auto made =
        make_policy("older", {{"capacity", 2}, {"sinks", 0}, {"recent", 0}, {"sign", sign}});
    const std::vector<int64_t> place = {0, 1, 2};
    const std::vector<double> sum = {3, 4, 1};
    std::vector<double> scores(3);
    dynamic_cast<const ScorePolicy&>(*made).score(
        {.layer = 0, .head = 0, .next = 4, .keep = 2, .place = place, .sum = sum}, scores);
    const auto s = static_cast<double>(sign);
    CHECK(scores == std::vector<double>{s * .75, s * 4 / 3, s * .5});
  }
}

TEST_CASE("what is wrong with a plug-in's description is said in a line") {
  const size_t before = policy_registry().size();
  const std::vector<std::pair<std::string, std::string>> faults = {
      {"no symbol", "it exports no function sinkbench_policies_v1"},
      {"other version", "it is made for version 2 of the interface; expected 1"},
      {"crash at load", "the plug-in crashes as it is loaded (SIGABRT)"},
      {"exception at load", "sinkbench_policies_v1 threw an exception"},
      {"nothing", "sinkbench_policies_v1 returned nothing"},
      {"none", "it has 0 policies; expected a list of 1 to 1024"},
      {"existing name", "policy h2o: the program has a policy of this name; choose another"},
      {"odd name", "the name of a policy is 'my policy'; expected letters, digits and '_'"},
      {"no summary", "policy faulty: its summary is missing"},
      {"no size", "the size of policy 0 is 0; expected sizeof(sb_policy)"},
      {"no score", "policy faulty is by score; expected functions needs and score"},
      {"no view", "policy faulty is by index; expected functions view and capacity"},
      {"common parameter",
       "parameter capacity of policy faulty: every policy of its kind has a parameter of this "
       "name"},
      {"parameter of no kind", "parameter strength of policy faulty is of kind 9"},
      {"no words", "parameter strength of policy faulty has no words"},
      {"bounds", "parameter strength of policy faulty is from 1 to 0; expected two numbers"},
      {"fallback", "its fallback is 10; expected a number from 1 to 9"},
      {"parameters missing", "policy faulty has -1 parameters; expected a list of up to 256"},
      {"twice", "policy faulty stands twice in it"}};
  for (const auto& [fault, expected] : faults) {
    INFO(fault);
    CHECK_THAT(error_of(fault), ContainsSubstring(expected));
    CHECK_THAT(error_of(fault), ContainsSubstring(".so: "));
  }
  CHECK(policy_registry().size() == before);  // all of a plug-in, or nothing
  CHECK_THROWS_WITH(load_plugin("/nowhere/x.so"),
                    ContainsSubstring("/nowhere/x.so: there is no such file"));
  CHECK_THROWS_WITH(load_plugin(folder), ContainsSubstring("it is no file; expected a plug-in"));
  CHECK_THROWS_WITH(load_plugin(__FILE__), ContainsSubstring("plugin.cpp: "));
}

namespace {

/// What comes of using the one policy of a plug-in with this fault: of making it, or else of its
/// properties. Each has the same name, so each is tried in a process of its own.
std::string use_of(const std::string& fault) {
  const test::Variable variable("SINKBENCH_TEST_FAULT", fault.c_str());
  const std::string file = faulty(fault);
  int pipe[2];
  REQUIRE(::pipe(pipe) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(pipe[1], STDERR_FILENO);  // which says what crashed
    std::string text;
    try {
      load_plugin(file);
      const PolicyEntry& entry = find_policy("faulty");
      make_policy("faulty",
                  entry.is_score_policy() ? PolicyArguments{{"capacity", 64}} : PolicyArguments{});
      text = broken_property(entry);
    } catch (const std::exception& exception) {
      text = exception.what();
    }
    if (::write(pipe[1], text.data(), text.size()) < 0) ::_exit(1);
    ::_exit(0);
  }
  ::close(pipe[1]);
  std::string text(4096, '\0');
  size_t size = 0;
  for (ssize_t n = 0; (n = ::read(pipe[0], text.data() + size, text.size() - size)) > 0;) {
    size += static_cast<size_t>(n);
  }
  text.resize(size);
  ::close(pipe[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  CHECK(status == (fault == "crash in score" ? SIGSEGV : 0));
  return text;
}

}  // namespace

TEST_CASE("what goes wrong in a plug-in's functions names the policy and its file") {
  const std::vector<std::pair<std::string, std::string>> faults = {
      {"exception in make", "make threw an exception: out of ideas"},
      {"crash in make", "make crashed (SIGSEGV)"},
      {"make refuses", "): not on a Monday"},
      {"too many rows", "it needs -1 rows and 0 numbers of its own"},
      {"no observe", "it needs numbers of its own, and has no function observe"},
      {"exception in score", "score threw an exception"},
      {"score fails", "score returned 3 for layer 1, head 0"},
      {"not a number", "the score of entry 2 of 40 is not a number"},
      {"scores left out", "the score of entry 0 of 1 is not a number"},
      {"too many scores", "score writes more than 1 scores for layer 1, head 0"},
      {"far too many scores", "score writes more than 1 scores"},
      {"negative share", "score gives entry 0 -0.5, and SB_SHARES promises 0 or more"},
      {"no reason", "make returned NULL and gave no reason"},
      {"more ranges than room", "token 0 writes more than the 16 ranges that there is room for"},
      {"grows late", "view of layer 0, token 1001 has 5 tokens; its capacity is 4"},
      {"not pure", "score gives other scores when it is asked again"},
      {"too many ranges", "view of layer 0, token 0 has 1099511627776 ranges"},
      {"sees the future", "range 0 is from 0 to 1; expected ascending, disjoint ranges"},
      {"comes back", "view of layer 0, token 6 has token 0, which had left"}};
  for (const auto& [fault, expected] : faults) {
    INFO(fault);
    CHECK_THAT(use_of(fault), ContainsSubstring(expected));
  }
  CHECK_THAT(use_of("crash in score"), ContainsSubstring("): score crashed"));
  CHECK(use_of("nothing at all") == "");
  CHECK(use_of("nothing recent") == "");
}
