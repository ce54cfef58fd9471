// Plug-ins that are wrong in one way each: the environment says which.
#include <sinkbench/policy.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>

namespace {

const std::string fault = [] {
  const char* name = std::getenv("SINKBENCH_TEST_FAULT");
  return std::string(name == nullptr ? "" : name);
}();
bool is(const char* name) {
  return fault == name;
}

sb_policy policy = {};
const sb_policy* const policies[] = {&policy, &policy};
sb_plugin plugin = {};
sb_parameter parameters[2] = {};
const char* const no_words[] = {nullptr};

void* make(const sb_cache*, const sb_argument* const*, char* error, size_t room) {
  if (is("exception in make")) throw std::runtime_error("out of ideas");
  if (is("crash in make")) std::raise(SIGSEGV);
  if (is("no reason")) return nullptr;
  if (is("make refuses")) {
    std::strncpy(error, "not on a\nMonday", room - 1);
    return nullptr;
  }
  return &policy;
}

void needs(const void*, sb_needs* needs) {
  if (is("too many rows")) needs->rows = -1;
  if (is("no observe")) needs->own = 2;
}

int32_t score(const void*, const sb_round* round, double* scores) {
  static int64_t calls = 0;
  if (is("exception in score")) throw 7;
  if (is("crash in score")) std::raise(SIGSEGV);
  if (is("score fails")) return 3;
  for (int64_t i = 0; i < round->n; ++i) scores[i] = static_cast<double>(round->place[i]);
  if (is("not a number") && round->n > 2) scores[2] = std::numeric_limits<double>::quiet_NaN();
  if (is("scores left out")) scores[round->n - 1] = std::numeric_limits<double>::quiet_NaN();
  if (is("too many scores")) scores[round->n] = 1;
  if (is("far too many scores")) std::fill_n(scores + round->n, 30, 1.0);
  if (is("negative share")) scores[0] = -0.5;
  if (is("not pure")) scores[0] = static_cast<double>(++calls);
  return 0;
}

int64_t view(const void*, int32_t, int64_t t, int64_t* ranges, int64_t room) {
  if (is("too many ranges")) return int64_t{1} << 40;
  if (is("more ranges than room")) {
    for (int64_t i = 0; i < room + 8; ++i) ranges[2 * i] = ranges[2 * i + 1] = 0;
    return room + 8;
  }
  if (is("grows late") && t > 1000) return ranges[0] = 0, ranges[1] = 5, 1;
  ranges[0] = is("comes back") && t % 3 == 0 ? 0 : (t > 4 ? t - 4 : 0);
  ranges[1] = is("sees the future") ? t + 1 : t;
  if (is("nothing recent")) ranges[0] = 0, ranges[1] = t < 3 ? t : 3;
  return 1;
}

}  // namespace

#ifndef NO_SYMBOL
const sb_plugin* sinkbench_policies_v1(void) {
  if (is("crash at load")) std::abort();
  if (is("exception at load")) throw std::runtime_error("no");
  const bool by_index = is("too many ranges") || is("comes back") || is("sees the future") ||
                        is("nothing recent") || is("no view") || is("more ranges than room") ||
                        is("grows late");
  policy.size = is("no size") ? 0 : sizeof policy;
  policy.kind = by_index ? SB_BY_INDEX : SB_BY_SCORE;
  policy.name = is("existing name") ? "h2o" : is("odd name") ? "my policy" : "faulty";
  policy.summary = is("no summary") ? nullptr : "is wrong";
  policy.source = "a test";
  policy.flags = is("negative share") ? SB_SHARES : 0;
  policy.make = make;
  if (!is("no score")) policy.score = score;
  policy.needs = needs;
  if (!is("no view")) policy.view = view;
  policy.capacity = [](const void*) -> int64_t { return is("comes back") ? 1000 : 4; };
  parameters[0].size = sizeof(sb_parameter);
  parameters[0].kind = is("parameter of no kind") ? 9 : is("no words") ? SB_WORD : SB_INTEGER;
  parameters[0].name = is("common parameter") ? "capacity" : "strength";
  parameters[0].meaning = "how much";
  parameters[0].least = 1;
  parameters[0].most = is("bounds") ? 0 : 9;
  parameters[0].fallback = is("fallback") ? 10 : 1;
  parameters[0].words = no_words;
  policy.parameters = parameters;
  policy.n_parameters = is("parameters missing") ? -1 : 1;
  plugin.size = sizeof plugin;
  plugin.abi = is("other version") ? 2 : SINKBENCH_POLICY_ABI;
  plugin.version = "0.1";
  plugin.policies = policies;
  plugin.n_policies = is("twice") ? 2 : is("none") ? 0 : 1;
  return is("nothing") ? nullptr : &plugin;
}
#endif
