/* Heavy hitters (Zhang et al. 2023, arXiv 2306.14048): what has received the most attention stays.
 */
#include <sinkbench/policy.h>

static void needs(const void* self, sb_needs* needs) {
  (void)self;
  needs->sum = 1;
}

static int32_t score(const void* self, const sb_round* round, double* scores) {
  int64_t i;
  (void)self;
  for (i = 0; i < round->n; ++i) scores[i] = round->sum[i];
  return 0;
}

const sb_plugin* sinkbench_policies_v1(void) {
  static sb_policy h2o;
  static const sb_policy* const policies[] = {&h2o};
  static sb_plugin plugin;
  h2o.size = sizeof h2o;
  h2o.kind = SB_BY_SCORE;
  h2o.flags = SB_WEIGHTS | SB_SHARES;
  h2o.name = "my_h2o";
  h2o.summary = "keeps what has received the most attention";
  h2o.source = "Zhang et al. 2023, arXiv 2306.14048";
  h2o.needs = needs;
  h2o.score = score;
  plugin.size = sizeof plugin;
  plugin.abi = SINKBENCH_POLICY_ABI;
  plugin.version = "1.0";
  plugin.policies = policies;
  plugin.n_policies = 1;
  return &plugin;
}
