// Work for a CUDA device that is the same each time but for what lies in its tensors, recorded
// once: launching its kernels one by one takes the host longer than the device takes to run them.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <string>

namespace sinkbench {

class Graph {
 public:
  /// Whether this build and the device have graphs (SINKBENCH_CUDA_GRAPH=0 forbids them).
  static bool available(at::Device device);

  /// Runs `work` once, and once more to record it. It must read nothing back to the host; what it
  /// returns, and all else it made, stays allocated with the graph, and `replay` writes it anew.
  explicit Graph(const std::function<at::Tensor()>& work);
  ~Graph();
  Graph(Graph&&) noexcept;
  Graph& operator=(Graph&&) noexcept;

  const at::Tensor& replay();  ///< what `work` returned

 private:
  struct Recorded;
  std::unique_ptr<Recorded> recorded_;
};

/// The device of a name ("cpu", "cuda", which is the first card, "cuda:1"), made the one that work
/// of this thread goes to. InputError where it isn't there.
at::Device use_device(const std::string& name);
/// What it calls itself, "NVIDIA H100 80GB HBM3"; empty of the CPU.
std::string device_title(at::Device device);

/// Copies host tensors to where a graph's work reads them, in order with what was launched before,
/// without waiting for it.
void upload(const at::Tensor& from, const at::Tensor& to);

/// Waits until the device has done what was asked of it. Nothing to wait for on a CPU.
void synchronize(at::Device device);

/// Seconds that work takes, from its first kernel's turn to its last one's end by events of the
/// device; on a CPU by the clock.
double seconds_of(at::Device device, const std::function<void()>& work);

/// Bytes of a CUDA device's memory that tensors hold now and held at the most since the last call
/// with `reset`, by LibTorch's allocator; zeros on a CPU.
struct DeviceMemory {
  int64_t held = 0, peak = 0;
};
DeviceMemory device_memory(at::Device device, bool reset = false);

/// Does work; where a CUDA device has no memory for it, gives back what the allocator keeps for
/// reuse and throws a runtime_error of one line.
void within_device_memory(const std::function<void()>& work);

}  // namespace sinkbench
