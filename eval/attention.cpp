#include "eval/attention.h"

#include <ATen/ATen.h>

namespace sinkbench {

at::Tensor attend(const std::vector<KeyGroup>& groups, double scale, at::ScalarType accumulate) {
  const int64_t heads = groups.front().query.size(0);
  const int64_t n = groups.front().query.size(1);
  const int64_t head_dim = groups.front().query.size(2);
  const int64_t kv_heads = groups.front().keys.size(0);
  const int64_t share = heads / kv_heads;  // query heads per key head

  // The query heads of one key head are laid below each other: keys are never repeated.
  std::vector<at::Tensor> scores;
  for (const KeyGroup& group : groups) {
    const at::Tensor query = group.query.reshape({kv_heads, share * n, head_dim});
    at::Tensor score = at::bmm(query, group.keys.transpose(1, 2)).to(accumulate).mul_(scale);
    if (group.mask.defined()) {
      score = (score.view({heads, n, -1}) + group.mask).view({kv_heads, share * n, -1});
    }
    scores.push_back(score);
  }
  const at::Tensor weights = at::softmax(at::cat(scores, -1), -1).to(groups.front().values.dtype());

  at::Tensor mixed;
  int64_t begin = 0;
  for (const KeyGroup& group : groups) {
    const int64_t m = group.keys.size(1);
    const at::Tensor part = at::bmm(weights.narrow(-1, begin, m), group.values);
    mixed = mixed.defined() ? mixed + part : part;
    begin += m;
  }
  return mixed.view({heads, n, head_dim}).transpose(0, 1).reshape({n, heads * head_dim});
}

}  // namespace sinkbench
