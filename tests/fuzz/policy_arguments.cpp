// Policies in words, as --policy has them: the arguments of built-in ones and of a plug-in's.
#include "base/error.h"
#include "eval/experiment/experiment.h"
#include "policies/include/sinkbench/policy.h"
#include "policies/plugin.h"

using namespace sinkbench;

namespace {

const char* const words[] = {"low", "high", nullptr};
const sb_parameter parameters[] = {
    {sizeof(sb_parameter), SB_INTEGER, SB_REQUIRED | SB_SIZE, "width", "a number", 1, 1 << 20, 0,
     nullptr},
    {sizeof(sb_parameter), SB_REAL, 0, "strength", "another", -1, 1, .5, nullptr},
    {sizeof(sb_parameter), SB_WORD, 0, "level", "a word", 0, 0, 0, words}};

/// Reads each of its arguments.
void* make(const sb_cache* cache, const sb_argument* const* given, char*, size_t) {
  static double sum = 0;
  sum =
      static_cast<double>(given[0]->integer + cache->capacity) + given[1]->real + given[2]->word[0];
  return &sum;
}

void load_plugin_in_memory() {
  static sb_policy policy = {};
  static const sb_policy* const policies[] = {&policy};
  policy.size = sizeof policy;
  policy.kind = SB_BY_SCORE;
  policy.name = "plugged";
  policy.summary = policy.source = "a test";
  policy.parameters = parameters;
  policy.n_parameters = 3;
  policy.make = make;
  policy.needs = [](const void*, sb_needs*) {};
  policy.score = [](const void*, const sb_round*, double*) { return 0; };
  static const sb_plugin plugin = {sizeof(sb_plugin), SINKBENCH_POLICY_ABI, "1", policies, 1};
  add_plugin(&plugin, {.file = "memory", .sha256 = "", .version = ""});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const bool loaded = (load_plugin_in_memory(), true);
  if (!loaded) return 0;
  QuickExperiment quick = {.model = "model", .text = "text", .policies = {}, .tokens = 64};
  quick.policies.emplace_back(reinterpret_cast<const char*>(data), size);
  try {
    quick_experiment(quick, {});
  } catch (const InputError&) {
  }
  return 0;
}
