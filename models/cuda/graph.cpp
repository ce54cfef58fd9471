#include "models/cuda/graph.h"

#include <ATen/ATen.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <fmt/format.h>

#include <chrono>
#include <cstdlib>
#include <stdexcept>
#include <string>

#include "base/error.h"

#ifdef SINKBENCH_CUDA
#include <ATen/cuda/CUDAContext.h>
#include <ATen/cuda/CUDAEvent.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#endif

namespace sinkbench {

#ifdef SINKBENCH_CUDA
struct Graph::Recorded {
  at::cuda::CUDAGraph graph;
  at::Tensor result;
};

bool Graph::available(at::Device device) {
  static const bool forbidden = [] {
    const char* text = std::getenv("SINKBENCH_CUDA_GRAPH");
    return text != nullptr && std::string(text) == "0";
  }();
  return device.is_cuda() && !forbidden;
}

Graph::Graph(const std::function<at::Tensor()>& work) : recorded_(std::make_unique<Recorded>()) {
  // Recording needs a stream of its own; the run before it makes what libraries make only once.
  const c10::cuda::CUDAStream current = c10::cuda::getCurrentCUDAStream();
  const c10::cuda::CUDAStream own = c10::cuda::getStreamFromPool();
  current.synchronize();
  {
    const c10::cuda::CUDAStreamGuard guard(own);
    work();
    own.synchronize();
    recorded_->graph.capture_begin();
    recorded_->result = work();
    recorded_->graph.capture_end();
  }
}

const at::Tensor& Graph::replay() {
  recorded_->graph.replay();
  return recorded_->result;
}
#else
struct Graph::Recorded {};

bool Graph::available(at::Device) {
  return false;
}

Graph::Graph(const std::function<at::Tensor()>&) {
  throw std::logic_error("this build has no graphs");
}

const at::Tensor& Graph::replay() {
  throw std::logic_error("this build has no graphs");
}
#endif

namespace {

double seconds_by_clock(const std::function<void()>& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace

#ifdef SINKBENCH_CUDA
void synchronize(at::Device device) {
  if (device.is_cuda()) c10::cuda::getCurrentCUDAStream().synchronize();
}

double seconds_of(at::Device device, const std::function<void()>& work) {
  if (!device.is_cuda()) return seconds_by_clock(work);
  at::cuda::CUDAEvent begin(cudaEventDefault), end(cudaEventDefault);
  begin.record();
  work();
  end.record();
  end.synchronize();
  return begin.elapsed_time(end) / 1e3;
}

DeviceMemory device_memory(at::Device device, bool reset) {
  if (!device.is_cuda()) return {};
  const auto index = c10::cuda::current_device();
  // The first statistic is that of all pools together.
  const auto bytes = c10::cuda::CUDACachingAllocator::getDeviceStats(index).allocated_bytes[0];
  if (reset) c10::cuda::CUDACachingAllocator::resetPeakStats(index);
  return {bytes.current, bytes.peak};
}

std::string device_title(at::Device device) {
  return device.is_cuda() ? at::cuda::getCurrentDeviceProperties()->name : "";
}

void within_device_memory(const std::function<void()>& work) {
  try {
    work();
  } catch (const c10::OutOfMemoryError&) {
    const DeviceMemory memory = device_memory(at::kCUDA);
    c10::cuda::CUDACachingAllocator::emptyCache();
    constexpr double gib = 1 << 30;
    throw std::runtime_error(fmt::format(
        "{} has too little memory: tensors held {:.2f} GiB at the most, of {:.2f}",
        device_title(at::kCUDA), static_cast<double>(memory.peak) / gib,
        static_cast<double>(at::cuda::getCurrentDeviceProperties()->totalGlobalMem) / gib));
  }
}
#else
void synchronize(at::Device device) {
  if (!device.is_cpu()) at::zeros({1}, at::TensorOptions().device(device)).cpu();
}

double seconds_of(at::Device device, const std::function<void()>& work) {
  return seconds_by_clock([&] {
    work();
    synchronize(device);
  });
}

DeviceMemory device_memory(at::Device, bool) {
  return {};
}

std::string device_title(at::Device) {
  return "";
}

void within_device_memory(const std::function<void()>& work) {
  work();
}
#endif

at::Device use_device(const std::string& name) {
  at::Device device(name);
  if (!device.is_cuda()) return device;
  if (!at::hasCUDA()) {
    throw InputError::format(
        "device is '{}', but this LibTorch or this machine has no CUDA; expected cpu", name);
  }
  const c10::impl::VirtualGuardImpl guard(device.type());
  if (!device.has_index()) device.set_index(0);
  if (device.index() >= guard.deviceCount()) {
    throw InputError::format("device is '{}', but the last of this machine's is 'cuda:{}'", name,
                             guard.deviceCount() - 1);
  }
  guard.setDevice(device);
  at::empty({1}, at::TensorOptions().device(device));  // the allocator begins with its first tensor
  return device;
}

Graph::~Graph() = default;
Graph::Graph(Graph&&) noexcept = default;
Graph& Graph::operator=(Graph&&) noexcept = default;

void upload(const at::Tensor& from, const at::Tensor& to) {
  // Of pageable memory the driver keeps a copy of its own before it returns.
  to.copy_(from, /*non_blocking=*/true);
}

}  // namespace sinkbench
