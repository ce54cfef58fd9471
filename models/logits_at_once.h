// How many logits exist at a time.
#pragma once

#include <cstdint>

namespace sinkbench {

/// Elements, whatever the vocabulary. More rows than these make a block of a large vocabulary's
/// head no faster; with a quarter of them (27 rows of 151,936) its weights are packed so often that
/// a model of 0.5B parameters takes 1.4 times as long. A GPU would wait between few of them.
constexpr int64_t logits_at_once(bool on_gpu) {
  return int64_t{1} << (on_gpu ? 26 : 24);
}

}  // namespace sinkbench
