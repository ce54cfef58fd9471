// How many entries each head of each layer keeps.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace sinkbench {

/// A model's layers, and the key heads of each.
struct Heads {
  int64_t layers = 1, heads = 1;
};

struct Budget {
  enum class Kind {
    uniform,   ///< all alike
    by_layer,  ///< one for each layer
    by_head,   ///< one for each head, layer by layer
    /// Falls in equal steps from the first layer to the last: with b the capacity without what is
    /// protected, from 2b - b/beta down to about b/beta, in whole numbers (PyramidKV, Cai et al.
    /// 2024, arXiv 2406.02069, which leaves some entries of the mean unused).
    pyramid,
    /// The heads of a layer share their layer's entries by their scores, anew at each round, but
    /// for a share that each has for itself (Ada-KV, Feng et al. 2024, arXiv 2407.11550).
    adaptive,
  } kind = Kind::uniform;
  int64_t capacity = 0;            ///< of a head; pyramid, adaptive: the mean
  std::vector<int64_t> each = {};  ///< by_layer, by_head
  int64_t beta = 20;               ///< pyramid
  double floor = 0.2;              ///< adaptive: the share, from 0 to 1

  /// What a head keeps; adaptive: the mean. `guarded`: entries of a head that are protected.
  int64_t of(int64_t layer, int64_t head, Heads model, int64_t guarded) const;
  /// The most that a head may ever keep.
  int64_t most_of(int64_t layer, int64_t head, Heads model, int64_t guarded) const;
  /// Of a uniform or named budget, the least and the most that stand in it.
  int64_t least() const;
  int64_t most() const;
  bool adaptive() const { return kind == Kind::adaptive; }
  /// Why the budget isn't one of this model, such as "has 3 numbers, and the model 4 layers", or
  /// "".
  std::string mismatch(Heads model) const;
};

/// Adaptive: what each head of a layer keeps at a round, of its entries' scores without those that
/// are protected, ascending in place. Of all heads' scores the highest count: for each head as many
/// as it has of them, less `floor` of that and with `floor` of the mean, rounded. Scores are
/// compared in float32; of equal ones, those of younger entries and then of later heads are the
/// higher. At least `guarded`.
/// @param places of the scores' entries
std::vector<int64_t> share_out(const Budget& budget, int64_t guarded,
                               std::span<const std::span<const double>> scores,
                               std::span<const std::span<const int64_t>> places);

}  // namespace sinkbench
