#include "models/cuda/kernels.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>

namespace sinkbench::cuda {
namespace {

// ---- what kernels share
// --------------------------------------------------------------------------

__device__ inline float to_float(float x) {
  return x;
}
__device__ inline float to_float(__half x) {
  return __half2float(x);
}
__device__ inline float to_float(__nv_bfloat16 x) {
  return __bfloat162float(x);
}
template <typename T>
__device__ T from_float(float x);
template <>
__device__ inline float from_float<float>(float x) {
  return x;
}
template <>
__device__ inline __half from_float<__half>(float x) {
  return __float2half_rn(x);
}
template <>
__device__ inline __nv_bfloat16 from_float<__nv_bfloat16>(float x) {
  return __float2bfloat16_rn(x);
}

/// Neighbouring elements that are read and written together.
template <typename T, int count>
struct alignas(sizeof(T) * count < 16 ? sizeof(T) * count : 16) Pack {
  T x[count];
};

constexpr unsigned all_lanes = 0xffffffffu;

__device__ inline float warp_sum(float s) {
  for (int o = 16; o > 0; o >>= 1) s += __shfl_xor_sync(all_lanes, s, o);
  return s;
}
__device__ inline float warp_max(float s) {
  for (int o = 16; o > 0; o >>= 1) s = fmaxf(s, __shfl_xor_sync(all_lanes, s, o));
  return s;
}
/// Over a block of whole warps, 1024 threads at the most; every thread gets it.
__device__ inline float block_sum(float s) {
  __shared__ float part[32];
  s = warp_sum(s);
  __syncthreads();  // part may still be read from a call before
  if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = s;
  __syncthreads();
  const int warps = blockDim.x / 32;
  return warp_sum(threadIdx.x % 32 < warps ? part[threadIdx.x % 32] : 0.0f);
}

__device__ inline float activate(Act act, float x) {
  switch (act) {
    case Act::silu:
      return x / (1.0f + expf(-x));
    case Act::gelu:
      return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f));
    case Act::gelu_tanh:
      return 0.5f * x * (1.0f + tanhf(0.79788456080286536f * (x + 0.044715f * x * x * x)));
    case Act::relu:
      return fmaxf(x, 0.0f);
    default:
      return x;
  }
}

/// Element d of a head that is rotated by halves.
template <typename T>
__device__ inline float rotated(const T* head, int64_t d, int64_t dims, const float* cosine,
                                const float* sine) {
  const int64_t half = dims / 2;
  const float x = to_float(head[d]);
  if (d >= dims) return x;
  if (d < half) return x * cosine[d] - to_float(head[d + half]) * sine[d];
  return x * cosine[d - half] + to_float(head[d - half]) * sine[d - half];
}

// A kernel of a chain may begin before the one before it ends (programmatic dependent launch):
// until it waits, it reads weights only, which nothing writes.
__device__ inline void wait_for_chain() {
#if __CUDA_ARCH__ >= 900
  cudaGridDependencySynchronize();
#endif
}
__device__ inline void let_chain_begin() {
#if __CUDA_ARCH__ >= 900
  cudaTriggerProgrammaticLaunchCompletion();
#endif
}

void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  throw std::runtime_error(std::string("CUDA: ") + what + ": " + cudaGetErrorString(error));
}

/// Devices from compute capability 9.0 on can; SINKBENCH_CUDA_CHAIN=0 forbids it.
bool can_chain() {
  static const bool can = [] {
    const char* text = std::getenv("SINKBENCH_CUDA_CHAIN");
    int device = 0, major = 0;
    check(cudaGetDevice(&device), "cudaGetDevice");
    check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device),
          "cudaDeviceGetAttribute");
    return major >= 9 && (text == nullptr || std::string(text) != "0");
  }();
  return can;
}

int64_t processors() {
  static const int count = [] {
    int device = 0, processors = 0;
    check(cudaGetDevice(&device), "cudaGetDevice");
    check(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device),
          "cudaDeviceGetAttribute");
    return processors;
  }();
  return count;
}

/// Kernels stand on one multiprocessor together only where they share its first cache alike: half
/// of it is shared memory for all that is chained.
void carve(const void* kernel) {
  static std::mutex mutex;
  static std::set<const void*> done;
  const std::lock_guard lock(mutex);
  if (!done.insert(kernel).second) return;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout, 50),
        "cudaFuncSetAttribute");
}

template <typename... Parameters, typename... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), dim3 grid, int threads, size_t shared,
            Stream stream, bool chained, Arguments... arguments) {
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = shared;
  config.stream = static_cast<cudaStream_t>(stream);
  config.attrs = &attribute;
  config.numAttrs = chained && can_chain() ? 1 : 0;
  if (chained) carve(reinterpret_cast<const void*>(kernel));
  check(cudaLaunchKernelEx(&config, kernel, Parameters(arguments)...), name);
}

template <typename Call>
void by_type(Type type, Call call) {
  switch (type) {
    case Type::float32:
      return call(float{});
    case Type::float16:
      return call(__half{});
    case Type::bfloat16:
      return call(__nv_bfloat16{});
  }
}

unsigned blocks(int64_t items, int64_t each) {
  return static_cast<unsigned>((items + each - 1) / each);
}

bool aligned(const void* pointer) {
  return reinterpret_cast<uintptr_t>(pointer) % 16 == 0;
}

// ---- norm
// ----------------------------------------------------------------------------------------

template <typename W, typename Y, int width>
__global__ void rms_norm_kernel(RmsNorm a) {
  wait_for_chain();
  let_chain_begin();
  const int64_t offset = blockIdx.x * a.size;
  const float* x = a.x + offset;
  const W* weight = static_cast<const W*>(a.weight);
  Y* y = static_cast<Y*>(a.y) + offset;
  float squares = 0;
  if (a.part != nullptr) {
    const W* part = static_cast<const W*>(a.part) + offset;
    float* sum = a.sum + offset;
    for (int64_t i = threadIdx.x * width; i < a.size; i += blockDim.x * width) {
      auto v = *reinterpret_cast<const Pack<float, width>*>(x + i);
      const auto p = *reinterpret_cast<const Pack<W, width>*>(part + i);
#pragma unroll
      for (int j = 0; j < width; ++j) {
        v.x[j] = fmaf(a.scale, to_float(p.x[j]), v.x[j]);
        squares = fmaf(v.x[j], v.x[j], squares);
      }
      *reinterpret_cast<Pack<float, width>*>(sum + i) = v;
    }
    if (a.y == nullptr) return;
    x = sum;  // a thread reads again what it wrote itself
  } else {
    for (int64_t i = threadIdx.x * width; i < a.size; i += blockDim.x * width) {
      const auto v = *reinterpret_cast<const Pack<float, width>*>(x + i);
#pragma unroll
      for (int j = 0; j < width; ++j) squares = fmaf(v.x[j], v.x[j], squares);
    }
  }
  const float inverse = rsqrtf(block_sum(squares) / static_cast<float>(a.size) + a.epsilon);
  for (int64_t i = threadIdx.x * width; i < a.size; i += blockDim.x * width) {
    const auto v = *reinterpret_cast<const Pack<float, width>*>(x + i);
    const auto w = *reinterpret_cast<const Pack<W, width>*>(weight + i);
    Pack<Y, width> out;
#pragma unroll
    for (int j = 0; j < width; ++j) {
      out.x[j] = from_float<Y>(v.x[j] * inverse * to_float(w.x[j]));
    }
    *reinterpret_cast<Pack<Y, width>*>(y + i) = out;
  }
}

// ---- activation
// ----------------------------------------------------------------------------------

template <typename T, int width>
__global__ void gate_kernel(Act act, int64_t size, const T* inner, T* y) {
  const int64_t row = blockIdx.x;
  const int64_t column = (int64_t{blockIdx.y} * blockDim.x + threadIdx.x) * width;
  if (column >= size) return;
  const auto g = *reinterpret_cast<const Pack<T, width>*>(inner + 2 * row * size + column);
  const auto u = *reinterpret_cast<const Pack<T, width>*>(inner + (2 * row + 1) * size + column);
  Pack<T, width> out;
#pragma unroll
  for (int j = 0; j < width; ++j) {
    out.x[j] = from_float<T>(activate(act, to_float(g.x[j])) * to_float(u.x[j]));
  }
  *reinterpret_cast<Pack<T, width>*>(y + row * size + column) = out;
}

// ---- one-row products
// ----------------------------------------------------------------------------

constexpr int row_warps = 8;  // of a block
constexpr int ahead = 4;      // reads of a lane that are under way before the input is there

template <typename T>
__device__ inline float dot(uint4 a, uint4 b) {
  constexpr int count = 16 / sizeof(T);
  const T* p = reinterpret_cast<const T*>(&a);
  const T* q = reinterpret_cast<const T*>(&b);
  float s = 0;
#pragma unroll
  for (int j = 0; j < count; ++j) s = fmaf(to_float(p[j]), to_float(q[j]), s);
  return s;
}

/// The first reads of a lane's share of a row.
__device__ inline void begin_row(const uint4* w, int packs, uint4 (&first)[ahead]) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int j = 0; j < ahead; ++j) {
    const int i = lane + 32 * j;
    first[j] = i < packs ? __ldcs(w + i) : make_uint4(0, 0, 0, 0);
  }
}

template <typename T>
__device__ inline float row_dot(const uint4* w, const uint4* x, int packs,
                                const uint4 (&first)[ahead]) {
  const int lane = threadIdx.x % 32;
  float s = 0;
#pragma unroll
  for (int j = 0; j < ahead; ++j) {
    const int i = lane + 32 * j;
    if (i < packs) s += dot<T>(first[j], x[i]);
  }
#pragma unroll 4
  for (int i = lane + 32 * ahead; i < packs; i += 32) s += dot<T>(__ldcs(w + i), x[i]);
  return warp_sum(s);
}

/// A warp for each row, its input from memory: for inputs that shared memory has no room for.
template <typename T>
__global__ void row_product_kernel(RowProduct a) {
  const int64_t row = int64_t{blockIdx.x} * row_warps + threadIdx.x / 32;
  const int packs = static_cast<int>(a.size * sizeof(T) / 16);
  const bool there = row < a.rows;
  const uint4* weight = static_cast<const uint4*>(a.weight);
  uint4 first[ahead], second[ahead];
  if (there) {
    begin_row(weight + row * packs, packs, first);
    if (a.gated) begin_row(weight + (a.rows + row) * packs, packs, second);
  }
  let_chain_begin();
  wait_for_chain();
  if (!there) return;
  const uint4* x = static_cast<const uint4*>(a.x);
  const T* bias = static_cast<const T*>(a.bias);
  float result = row_dot<T>(weight + row * packs, x, packs, first);
  if (bias != nullptr) result += to_float(bias[row]);
  result = activate(a.act, result);
  if (a.gated) {
    float up = row_dot<T>(weight + (a.rows + row) * packs, x, packs, second);
    if (bias != nullptr) up += to_float(bias[a.rows + row]);
    result *= up;
  }
  if (threadIdx.x % 32 != 0) return;
  if (a.residual != nullptr) {
    static_cast<float*>(a.y)[row] = fmaf(a.scale, result, a.residual[row]);
  } else {
    static_cast<T*>(a.y)[row] = from_float<T>(result);
  }
}

constexpr size_t most_input = 48 * 1024;  // bytes of a row product's input in shared memory
constexpr int walk_ahead = 8;             // reads of a lane at a time
constexpr int walk_blocks = 2;            // on each multiprocessor

/// The input of a block's rows to shared memory, normed where that is asked for.
template <typename T, bool normed>
__device__ inline void take_input(const RowProduct& a, uint4* input, int packs) {
  if constexpr (!normed) {
    const uint4* x = static_cast<const uint4*>(a.x);
    for (int i = threadIdx.x; i < packs; i += blockDim.x) input[i] = x[i];
  } else {
    constexpr int width = 16 / sizeof(T);
    using In = Pack<float, width>;
    using Out = Pack<T, width>;
    const In* x = static_cast<const In*>(a.x);
    const Out* weight = static_cast<const Out*>(a.norm_weight);
    float squares = 0;
    for (int i = threadIdx.x; i < packs; i += blockDim.x) {
      const In v = x[i];
#pragma unroll
      for (int j = 0; j < width; ++j) squares = fmaf(v.x[j], v.x[j], squares);
    }
    const float inverse = rsqrtf(block_sum(squares) / static_cast<float>(a.size) + a.epsilon);
    for (int i = threadIdx.x; i < packs; i += blockDim.x) {
      const In v = x[i];
      const Out w = weight[i];
      Out out;
#pragma unroll
      for (int j = 0; j < width; ++j) {
        out.x[j] = from_float<T>(v.x[j] * inverse * to_float(w.x[j]));
      }
      reinterpret_cast<Out*>(input)[i] = out;
    }
  }
  __syncthreads();
}

/// Blocks that stay: a warp walks over its rows, some reads ahead, whatever row they are of.
template <typename T, bool normed>
__global__ void __launch_bounds__(32 * row_warps, walk_blocks) walk_rows_kernel(RowProduct a) {
  constexpr int u = walk_ahead;
  extern __shared__ uint4 input[];
  const int lane = threadIdx.x % 32;
  const int packs = static_cast<int>(a.size * sizeof(T) / 16);
  const int pieces = (packs + 32 * u - 1) / (32 * u);  // of a row
  const int rows = static_cast<int>(a.rows), warps = static_cast<int>(gridDim.x) * row_warps;
  const int first = blockIdx.x * row_warps + threadIdx.x / 32;
  const int twice = a.gated ? 2 : 1;
  const int count =
      first < rows ? (rows - first + warps - 1) / warps * twice : 0;  // rows of weight
  const uint4* weight = static_cast<const uint4*>(a.weight);
  const auto row_of = [&](int i) {
    const int64_t row = a.gated ? int64_t{i / 2} * warps + (i % 2) * rows : int64_t{i} * warps;
    return weight + (first + row) * packs;
  };
  const auto read = [&](int i, int piece, uint4(&to)[u]) {
    const uint4* row = row_of(i);
#pragma unroll
    for (int j = 0; j < u; ++j) {
      const int at = 32 * (piece * u + j) + lane;
      to[j] = at < packs ? __ldcs(row + at) : make_uint4(0, 0, 0, 0);
    }
  };
  uint4 now[u], next[u];
  if (count > 0) read(0, 0, now);
  let_chain_begin();
  wait_for_chain();
  take_input<T, normed>(a, input, packs);
  const T* bias = static_cast<const T*>(a.bias);
  float sum = 0, gated = 0;
  int piece = 0;
  for (int i = 0; i < count;) {
    const bool ends = piece + 1 == pieces;
    const int next_i = ends ? i + 1 : i, next_piece = ends ? 0 : piece + 1;
    if (next_i < count) read(next_i, next_piece, next);
#pragma unroll
    for (int j = 0; j < u; ++j) {
      const int at = 32 * (piece * u + j) + lane;
      if (at < packs) sum += dot<T>(now[j], input[at]);
    }
    if (ends) {
      const int64_t row = first + int64_t{i / twice} * warps;
      float result = warp_sum(sum);
      sum = 0;
      const bool up = i % twice == 1;
      if (bias != nullptr) result += to_float(bias[up ? rows + row : row]);
      if (a.gated && !up) {
        gated = activate(a.act, result);
      } else {
        result = a.gated ? gated * result : activate(a.act, result);
        if (lane == 0) {
          if (a.residual != nullptr) {
            static_cast<float*>(a.y)[row] = fmaf(a.scale, result, a.residual[row]);
          } else {
            static_cast<T*>(a.y)[row] = from_float<T>(result);
          }
        }
      }
    }
#pragma unroll
    for (int j = 0; j < u; ++j) now[j] = next[j];
    i = next_i;
    piece = next_piece;
  }
}

// ---- the loss
// ------------------------------------------------------------------------------------

template <typename T, int width>
__global__ void nll_kernel(int64_t vocab, const T* logits, const int64_t* targets, float* nll) {
  const T* row = logits + blockIdx.x * vocab;
  float most = -INFINITY, sum = 0;
  for (int64_t i = threadIdx.x * width; i < vocab; i += blockDim.x * width) {
    const auto v = *reinterpret_cast<const Pack<T, width>*>(row + i);
    float here = most;
#pragma unroll
    for (int j = 0; j < width; ++j) here = fmaxf(here, to_float(v.x[j]));
    if (here == -INFINITY) continue;
    sum *= expf(most - here);
#pragma unroll
    for (int j = 0; j < width; ++j) sum += expf(to_float(v.x[j]) - here);
    most = here;
  }
  __shared__ float largest[32];
  const float of_warp = warp_max(most);
  if (threadIdx.x % 32 == 0) largest[threadIdx.x / 32] = of_warp;
  __syncthreads();
  float top = -INFINITY;
  for (int w = 0; w < blockDim.x / 32; ++w) top = fmaxf(top, largest[w]);
  const float total = block_sum(most == -INFINITY ? 0.0f : sum * expf(most - top));
  if (threadIdx.x == 0) {
    nll[blockIdx.x] = top + logf(total) - to_float(row[targets[blockIdx.x]]);
  }
}

// ---- positions
// -----------------------------------------------------------------------------------

__global__ void angles_kernel(int64_t count, int64_t pairs, const int64_t* places,
                              const double* frequencies, double magnitude, float* cosine,
                              float* sine) {
  wait_for_chain();
  let_chain_begin();
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const double angle = static_cast<double>(places[i / pairs]) * frequencies[i % pairs];
  double s, c;
  sincos(angle, &s, &c);
  cosine[i] = static_cast<float>(c * magnitude);
  sine[i] = static_cast<float>(s * magnitude);
}

/// A head from one place to another, `width` elements of its pairs or its rest at a time.
template <typename T, int width>
__device__ void place_part(const T* from, T* to, int64_t part, int64_t rotated, const float* cosine,
                           const float* sine) {
  using P = Pack<T, width>;
  const int64_t half = rotated / 2, pair = part * width;
  if (pair >= half) {  // what is not rotated
    const int64_t d = rotated + pair - half;
    *reinterpret_cast<P*>(to + d) = *reinterpret_cast<const P*>(from + d);
    return;
  }
  const P x = *reinterpret_cast<const P*>(from + pair);
  const P y = *reinterpret_cast<const P*>(from + half + pair);
  P first, second;
#pragma unroll
  for (int j = 0; j < width; ++j) {
    const float c = cosine[pair + j], s = sine[pair + j];
    const float u = to_float(x.x[j]), v = to_float(y.x[j]);
    first.x[j] = from_float<T>(u * c - v * s);
    second.x[j] = from_float<T>(v * c + u * s);
  }
  *reinterpret_cast<P*>(to + pair) = first;
  *reinterpret_cast<P*>(to + half + pair) = second;
}

template <typename T, int width>
__global__ void place_block_kernel(PlaceBlock a) {
  using P = Pack<T, width>;
  const int64_t token = blockIdx.x, half = a.rotated / 2;
  const int head_dim = static_cast<int>(a.head_dim);  // divisions of 64 bits cost more than memory
  const int parts = static_cast<int>(half + a.head_dim - a.rotated) / width;  // if it is rotated
  const int copies = head_dim / width;                                        // if not
  const int queries = static_cast<int>(a.heads) * parts;
  const int keys = static_cast<int>(a.kv_heads) * parts;
  const int items = queries + keys + static_cast<int>(a.kv_heads) * copies;
  for (int i = threadIdx.x; i < items; i += blockDim.x) {
    if (i < queries) {
      const int64_t head = i / parts;
      place_part<T, width>(
          static_cast<const T*>(a.query) + token * a.query_stride + head * a.head_dim,
          static_cast<T*>(a.placed) + (token * a.heads + head) * a.head_dim, i % parts, a.rotated,
          a.query_cosine + token * half, a.query_sine + token * half);
    } else if (i < queries + keys) {
      const int64_t head = (i - queries) / parts;
      place_part<T, width>(static_cast<const T*>(a.key) + token * a.key_stride + head * a.head_dim,
                           static_cast<T*>(a.keys) + (head * a.room + token) * a.head_dim,
                           (i - queries) % parts, a.rotated, a.key_cosine + token * half,
                           a.key_sine + token * half);
    } else {
      const int64_t head = (i - queries - keys) / copies;
      const int d = (i - queries - keys) % copies * width;
      *reinterpret_cast<P*>(static_cast<T*>(a.values) + (head * a.room + token) * a.head_dim + d) =
          *reinterpret_cast<const P*>(static_cast<const T*>(a.value) + token * a.value_stride +
                                      head * a.head_dim + d);
    }
  }
}

// ---- attention
// -----------------------------------------------------------------------------------

/// A thread for every 8 numbers of a head.
template <typename T>
__global__ void join_kernel(Join a) {
  using P = Pack<T, 8>;
  const int parts = static_cast<int>(a.head_dim / 8);
  const int64_t index = int64_t{blockIdx.x} * blockDim.x + threadIdx.x, row = index / parts;
  if (row >= a.n * a.heads) return;
  const int64_t at = row % a.heads * a.n + row / a.heads;
  const float one = a.log_sum[at], two = a.other_log_sum[at];
  const float most = fmaxf(one, two), first = expf(one - most), second = expf(two - most);
  const float inverse = 1 / (first + second);
  P* out = reinterpret_cast<P*>(static_cast<T*>(a.output) + index * 8);
  const P x = *out, y = *reinterpret_cast<const P*>(static_cast<const T*>(a.other) + index * 8);
  P joined;
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    // A part that sees nothing has a weight of zero, and no numbers.
    const float u = first > 0 ? first * to_float(x.x[j]) : 0.0f;
    const float v = second > 0 ? second * to_float(y.x[j]) : 0.0f;
    joined.x[j] = from_float<T>((u + v) * inverse);
  }
  *out = joined;
}

/// After join_kernel, which reads them as they were.
__global__ void join_log_sums_kernel(int64_t count, const float* other, float* log_sum) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const float most = fmaxf(log_sum[i], other[i]);
  log_sum[i] = most + logf(expf(log_sum[i] - most) + expf(other[i] - most));
}

constexpr int join_warps = 8;
constexpr int most_pairs = 4;  // of a lane: head dimensions to 256

template <typename T>
__global__ void join_few_kernel(JoinFew a) {
  const int64_t index = int64_t{blockIdx.x} * join_warps + threadIdx.x / 32;
  if (index >= a.n * a.heads) return;
  const int64_t token = index / a.heads, head = index % a.heads;
  const int64_t half = a.rotated / 2, pairs = a.head_dim / 2;
  const int lane = threadIdx.x % 32;
  const T* query = static_cast<const T*>(a.query) + token * a.query_stride + head * a.head_dim;
  T* output = static_cast<T*>(a.output) + index * a.head_dim;

  int64_t one[most_pairs], two[most_pairs];  // the dimensions of this lane's pairs
  float q1[most_pairs], q2[most_pairs], o1[most_pairs], o2[most_pairs];
#pragma unroll
  for (int j = 0; j < most_pairs; ++j) {
    const int64_t pair = lane + 32 * j;
    one[j] = two[j] = 0;
    q1[j] = q2[j] = o1[j] = o2[j] = 0;
    if (pair >= pairs) continue;
    one[j] = pair < half ? pair : a.rotated + 2 * (pair - half);
    two[j] = pair < half ? pair + half : one[j] + 1;
    o1[j] = to_float(output[one[j]]);
    o2[j] = to_float(output[two[j]]);
    if (a.first == nullptr) continue;
    const float x = to_float(query[one[j]]), y = to_float(query[two[j]]);
    if (pair < half) {
      const float c = a.cosine[token * half + pair], s = a.sine[token * half + pair];
      q1[j] = (x * c - y * s) * a.scale;
      q2[j] = (y * c + x * s) * a.scale;
    } else {
      q1[j] = x * a.scale;
      q2[j] = y * a.scale;
    }
  }
  float* log_sum = a.log_sum + head * a.n + token;
  float most = *log_sum, total = 1;
  __syncwarp();  // before lane 0 writes it
  const int64_t of_head = head / (a.heads / a.kv_heads) * a.room;
  const int last = a.first == nullptr ? 0 : a.last[token];
  for (int key = a.first == nullptr ? 0 : a.first[token]; key < last; ++key) {
    const T* k = static_cast<const T*>(a.keys) + (of_head + key) * a.head_dim;
    const T* v = static_cast<const T*>(a.values) + (of_head + key) * a.head_dim;
    float s = 0;
#pragma unroll
    for (int j = 0; j < most_pairs; ++j) {
      if (lane + 32 * j >= pairs) continue;
      s = fmaf(q1[j], to_float(k[one[j]]), s);
      s = fmaf(q2[j], to_float(k[two[j]]), s);
    }
    s = warp_sum(s);
    const float now = fmaxf(most, s), old = expf(most - now), weight = expf(s - now);
    most = now;
    total = total * old + weight;
#pragma unroll
    for (int j = 0; j < most_pairs; ++j) {
      if (lane + 32 * j >= pairs) continue;
      o1[j] = o1[j] * old + weight * to_float(v[one[j]]);
      o2[j] = o2[j] * old + weight * to_float(v[two[j]]);
    }
  }
  if (a.sink_logit != nullptr) {
    const float s = a.sink_logit[head], now = fmaxf(most, s), old = expf(most - now);
    most = now;
    total = total * old + expf(s - now);
#pragma unroll
    for (int j = 0; j < most_pairs; ++j) {
      o1[j] *= old;
      o2[j] *= old;
    }
  }
  const float inverse = 1 / total;
#pragma unroll
  for (int j = 0; j < most_pairs; ++j) {
    if (lane + 32 * j >= pairs) continue;
    output[one[j]] = from_float<T>(o1[j] * inverse);
    output[two[j]] = from_float<T>(o2[j] * inverse);
  }
  if (lane == 0) *log_sum = most + logf(total);
}

constexpr int step_threads = 128;
constexpr int most_head_dim = 256;

/// Caches with room for more slots take two kernels: there the reading of slots outweighs the
/// launch that one kernel saves, and the two read faster.
constexpr int64_t one_kernel_room = 1024;
constexpr int step_chunk = 128;  // slots of a block of the two kernels

__device__ inline float capped(float s, float cap) {
  return cap == 0.0f ? s : cap * tanhf(s / cap);
}

/// Part of the slots for one head: scratch gets its largest score, sum and mix.
template <typename T>
__global__ void attend_slots_kernel(AttendStep a) {
  constexpr int chunk = step_chunk;
  wait_for_chain();
  let_chain_begin();
  using P = Pack<T, 8>;
  __shared__ alignas(16) float query[step_ranges * most_head_dim];
  __shared__ float score[chunk];
  __shared__ float part[step_threads * 8];
  const int thread = threadIdx.x, head_dim = static_cast<int>(a.head_dim);
  const int64_t head = blockIdx.x, begin = int64_t{blockIdx.y} * chunk;
  const int64_t used = min(a.room, *a.used);
  float* out = a.scratch + (head * gridDim.y + blockIdx.y) * (head_dim + 2);
  if (begin >= used) {
    if (thread == 0) out[0] = -INFINITY;
    return;
  }
  const int count = static_cast<int>(min(int64_t{chunk}, used - begin));
  const int64_t half = a.rotated / 2;
  const T* raw = static_cast<const T*>(a.query) + head * head_dim;
  for (int i = thread; i < step_ranges * head_dim; i += step_threads) {
    const int range = i / head_dim;
    query[i] = a.scale * rotated(raw, i % head_dim, a.rotated, a.cosine + range * half,
                                 a.sine + range * half);
  }
  __syncthreads();

  const int64_t of_head = head / (a.heads / a.kv_heads) * a.room + begin;
  const T* keys = static_cast<const T*>(a.keys) + of_head * head_dim;
  const T* values = static_cast<const T*>(a.values) + of_head * head_dim;
  constexpr int lanes = 8;                            // that share a key
  constexpr int each = chunk * lanes / step_threads;  // keys of a lane
  const int lane = thread % lanes, packs = head_dim / 8;
  int range[each];
  float s[each];
#pragma unroll
  for (int i = 0; i < each; ++i) {
    const int key = thread / lanes + i * (step_threads / lanes);
    range[i] = key < count ? a.range_of_slot[begin + key] : free_slot;
    s[i] = 0;
  }
  for (int p = lane; p < packs; p += lanes) {
    P k[each];  // all under way at once
#pragma unroll
    for (int i = 0; i < each; ++i) {
      const int key = min(thread / lanes + i * (step_threads / lanes), count - 1);
      k[i] = *reinterpret_cast<const P*>(keys + int64_t{key} * head_dim + 8 * p);
    }
#pragma unroll
    for (int i = 0; i < each; ++i) {
      const float* q = query + (range[i] == free_slot ? 0 : range[i]) * head_dim + 8 * p;
#pragma unroll
      for (int j = 0; j < 8; ++j) s[i] = fmaf(q[j], to_float(k[i].x[j]), s[i]);
    }
  }
#pragma unroll
  for (int i = 0; i < each; ++i) {
    for (int o = lanes / 2; o > 0; o >>= 1) s[i] += __shfl_xor_sync(all_lanes, s[i], o);
    if (lane != 0) continue;
    const int key = thread / lanes + i * (step_threads / lanes);
    if (range[i] == free_slot) {
      s[i] = -INFINITY;
    } else {
      s[i] = capped(s[i], a.score_cap);
      if (a.slopes != nullptr) {
        const int64_t distance = a.places[range[i]] - a.tokens[begin + key];
        s[i] += static_cast<float>(-a.slopes[head] * static_cast<double>(distance));
      }
    }
    score[key] = s[i];
  }
  __syncthreads();
  float most = -INFINITY;
  for (int i = thread % 32; i < chunk; i += 32) most = fmaxf(most, score[i]);
  most = warp_max(most);
  if (most == -INFINITY) {  // of every thread alike
    if (thread == 0) out[0] = -INFINITY;
    return;
  }
  __syncthreads();
  float sum = 0;
  if (thread < chunk) {
    const float weight = expf(score[thread] - most);
    score[thread] = weight;
    sum = weight;
  }
  sum = block_sum(sum);  // and waits for the weights of all

  const int groups = step_threads / packs, group = thread / packs, pack = thread % packs;
  float mix[8] = {};
  if (group < groups) {
#pragma unroll 4
    for (int key = group; key < count; key += groups) {
      P v = *reinterpret_cast<const P*>(values + int64_t{key} * head_dim + 8 * pack);
      if (score[key] == 0) v = P{};  // a slot that is not seen may hold anything
#pragma unroll
      for (int j = 0; j < 8; ++j) mix[j] = fmaf(score[key], to_float(v.x[j]), mix[j]);
    }
#pragma unroll
    for (int j = 0; j < 8; ++j) part[group * head_dim + 8 * pack + j] = mix[j];
  }
  __syncthreads();
  for (int d = thread; d < head_dim; d += step_threads) {
    float total = 0;
    for (int g = 0; g < groups; ++g) total += part[g * head_dim + d];
    out[2 + d] = total;
  }
  if (thread == 0) {
    out[0] = most;
    out[1] = sum;
  }
}

/// All parts of one head, the query's own key and value, and a sink logit; then the key and value
/// go to their slot, which no block reads any more.
template <typename T>
__global__ void join_step_kernel(AttendStep a, int parts) {
  wait_for_chain();
  let_chain_begin();
  const int64_t head = blockIdx.x, share = a.heads / a.kv_heads, kv_head = head / share;
  const int64_t head_dim = a.head_dim, half = a.rotated / 2;
  const float* cosine = a.cosine + step_ranges * half;
  const float* sine = a.sine + step_ranges * half;
  const T* query = static_cast<const T*>(a.query) + head * head_dim;
  const T* key = static_cast<const T*>(a.key) + kv_head * head_dim;
  const T* value = static_cast<const T*>(a.value) + kv_head * head_dim;
  float product = 0;
  for (int64_t d = threadIdx.x; d < head_dim; d += blockDim.x) {
    product +=
        rotated(query, d, a.rotated, cosine, sine) * rotated(key, d, a.rotated, cosine, sine);
  }
  const float own = capped(a.scale * block_sum(product), a.score_cap);
  const float* scratch = a.scratch + head * parts * (head_dim + 2);
  float most = own;
  if (a.sink_logit != nullptr) most = fmaxf(most, a.sink_logit[head]);
  for (int i = 0; i < parts; ++i) most = fmaxf(most, scratch[i * (head_dim + 2)]);
  float total = expf(own - most);
  if (a.sink_logit != nullptr) total += expf(a.sink_logit[head] - most);
  for (int i = 0; i < parts; ++i) {
    const float* part = scratch + i * (head_dim + 2);
    if (part[0] != -INFINITY) total += part[1] * expf(part[0] - most);
  }
  const float inverse = 1 / total;
  for (int64_t d = threadIdx.x; d < head_dim; d += blockDim.x) {
    float mix = expf(own - most) * to_float(value[d]);
    for (int i = 0; i < parts; ++i) {
      const float* part = scratch + i * (head_dim + 2);
      if (part[0] != -INFINITY) mix += part[2 + d] * expf(part[0] - most);
    }
    static_cast<T*>(a.output)[head * head_dim + d] = from_float<T>(mix * inverse);
  }
  const int64_t slot = *a.slot;
  if (slot < 0 || head % share != 0) return;
  T* to = static_cast<T*>(a.keys) + (kv_head * a.room + slot) * head_dim;
  T* value_to = static_cast<T*>(a.values) + (kv_head * a.room + slot) * head_dim;
  for (int64_t d = threadIdx.x; d < head_dim; d += blockDim.x) {
    to[d] = from_float<T>(rotated(key, d, a.rotated, cosine, sine));
    value_to[d] = value[d];
  }
}

constexpr int most_parts = 32;                    // of a head's slots
constexpr int step_blocks = 4;                    // on each multiprocessor, at the most
constexpr int64_t step_lanes(int64_t head_dim) {  // that share a key
  return head_dim <= 64 ? 8 : head_dim <= 128 ? 16 : 32;
}
constexpr int slots_of_lane = 8;
int64_t step_tiles(int64_t head_dim, int64_t room) {
  const int64_t tile = step_threads / step_lanes(head_dim) * slots_of_lane;
  return (room + tile - 1) / tile;
}

/// A part of one head's slots, a tile of them at a time; the block of a head that ends last joins
/// the parts, and the last one of a key head's heads stores the key and value.
template <typename T, int lanes>
__global__ void __launch_bounds__(step_threads) attend_kernel(AttendStep a, int tiles) {
  let_chain_begin();
  using P = Pack<T, 8>;
  constexpr int each = slots_of_lane, groups = step_threads / lanes, tile = groups * each;
  constexpr int widest = lanes * 8;  // head dimensions
  __shared__ alignas(16) float query[step_ranges * widest];
  __shared__ float mix[groups * widest];
  __shared__ float top[groups + 2], sum[groups + 2];  // and the query's own key, and a sink logit
  __shared__ float factor[most_parts];
  __shared__ bool last;
  const int thread = threadIdx.x, lane = thread % lanes, group = thread / lanes;
  const int head_dim = static_cast<int>(a.head_dim), parts = gridDim.y;
  const bool active = 8 * lane < head_dim;
  const int64_t head = blockIdx.x, share = a.heads / a.kv_heads, kv_head = head / share;
  const int used = static_cast<int>(min(a.room, *a.used));
  T* keys = static_cast<T*>(a.keys) + kv_head * a.room * head_dim;
  T* values = static_cast<T*>(a.values) + kv_head * a.room * head_dim;
  const auto slot_of = [&](int t, int i) { return t * tile + i * groups + group; };
  const auto read = [&](const T* from, int t, P(&to)[each]) {
#pragma unroll
    for (int i = 0; i < each; ++i) {
      const int slot = slot_of(t, i);
      if (active && slot < used) {
        to[i] = *reinterpret_cast<const P*>(from + int64_t{slot} * head_dim + 8 * lane);
      } else {
        to[i] = P{};
      }
    }
  };
  const auto read_ranges = [&](int t, int(&to)[each]) {
#pragma unroll
    for (int i = 0; i < each; ++i) {
      const int slot = slot_of(t, i);
      to[i] = slot < used ? a.range_of_slot[slot] : free_slot;
    }
  };
  P k[each], v[each];
  int range[each];
  const int begin = blockIdx.y;
  if (begin < tiles) {  // written long ago
    read(keys, begin, k);
    read_ranges(begin, range);
    read(values, begin, v);
  }
  wait_for_chain();
  const int64_t half = a.rotated / 2;
  const T* raw = static_cast<const T*>(a.query) + head * head_dim;
  for (int i = thread; i < step_ranges * head_dim; i += step_threads) {
    const int of = i / head_dim;
    query[i] =
        a.scale * rotated(raw, i % head_dim, a.rotated, a.cosine + of * half, a.sine + of * half);
  }
  const float* cosine = a.cosine + step_ranges * half;
  const float* sine = a.sine + step_ranges * half;
  const T* own_key = static_cast<const T*>(a.key) + kv_head * head_dim;
  const T* own_value = static_cast<const T*>(a.value) + kv_head * head_dim;
  const bool has_own = blockIdx.y == 0;
  if (has_own) {
    float product = 0;
    for (int d = thread; d < head_dim; d += step_threads) {
      product +=
          rotated(raw, d, a.rotated, cosine, sine) * rotated(own_key, d, a.rotated, cosine, sine);
    }
    product = block_sum(product);
    if (thread == 0) top[groups] = capped(a.scale * product, a.score_cap);
  }
  if (thread == 0) {
    if (!has_own) top[groups] = -INFINITY;
    top[groups + 1] = has_own && a.sink_logit != nullptr ? a.sink_logit[head] : -INFINITY;
    sum[groups] = sum[groups + 1] = 1;
  }
  __syncthreads();

  float most = -INFINITY, total = 0, out[8] = {};
  for (int t = begin; t < tiles; t += parts) {
    float s[each];
    float now = most;
#pragma unroll
    for (int i = 0; i < each; ++i) {
      s[i] = 0;
      if (active) {
        const float* q = query + (range[i] == free_slot ? 0 : range[i]) * head_dim + 8 * lane;
#pragma unroll
        for (int j = 0; j < 8; ++j) s[i] = fmaf(q[j], to_float(k[i].x[j]), s[i]);
      }
#pragma unroll
      for (int o = lanes / 2; o > 0; o >>= 1) s[i] += __shfl_xor_sync(all_lanes, s[i], o);
      if (range[i] == free_slot) {
        s[i] = -INFINITY;
        continue;
      }
      s[i] = capped(s[i], a.score_cap);
      if (a.slopes != nullptr) {
        const int64_t distance = a.places[range[i]] - a.tokens[slot_of(t, i)];
        s[i] += static_cast<float>(-a.slopes[head] * static_cast<double>(distance));
      }
      now = fmaxf(now, s[i]);
    }
    if (t + parts < tiles) {
      read(keys, t + parts, k);
      read_ranges(t + parts, range);
    }
    if (now != -INFINITY) {
      const float old = expf(most - now);
      most = now;
      total *= old;
#pragma unroll
      for (int j = 0; j < 8; ++j) out[j] *= old;
#pragma unroll
      for (int i = 0; i < each; ++i) {
        if (s[i] == -INFINITY) continue;  // the slot may hold anything
        const float weight = expf(s[i] - now);
        total += weight;
#pragma unroll
        for (int j = 0; j < 8; ++j) out[j] = fmaf(weight, to_float(v[i].x[j]), out[j]);
      }
    }
    if (t + parts < tiles) read(values, t + parts, v);
  }
  if (lane == 0) {
    top[group] = most;
    sum[group] = total;
  }
  if (active) {
#pragma unroll
    for (int j = 0; j < 8; ++j) mix[group * widest + 8 * lane + j] = out[j];
  }
  __syncthreads();
  const auto weight_of = [](float score, float most) {
    return score == -INFINITY ? 0.0f : expf(score - most);
  };
  float block_most = -INFINITY, block_total = 0;
  for (int g = 0; g < groups + 2; ++g) block_most = fmaxf(block_most, top[g]);
  for (int g = 0; g < groups + 2; ++g) block_total += sum[g] * weight_of(top[g], block_most);
  float* scratch = a.scratch + head * parts * (head_dim + 2);
  float* own_part = scratch + blockIdx.y * (head_dim + 2);
  for (int d = thread; d < head_dim; d += step_threads) {
    float x = has_own ? weight_of(top[groups], block_most) * to_float(own_value[d]) : 0;
#pragma unroll
    for (int g = 0; g < groups; ++g) {
      x = fmaf(weight_of(top[g], block_most), mix[g * widest + d], x);
    }
    own_part[2 + d] = x;
  }
  if (thread == 0) {
    own_part[0] = block_most;
    own_part[1] = block_total;
  }
  __threadfence();
  __syncthreads();
  if (thread == 0) last = atomicInc(a.counters + head, parts - 1) == parts - 1;
  __syncthreads();
  if (!last) return;
  __threadfence();

  float joined_most = -INFINITY, joined_total = 0;
  for (int p = thread % 32; p < parts; p += 32) {
    joined_most = fmaxf(joined_most, __ldcg(scratch + p * (head_dim + 2)));
  }
  joined_most = warp_max(joined_most);
  for (int p = thread % 32; p < parts; p += 32) {
    const float* part = scratch + p * (head_dim + 2);
    const float weight = weight_of(__ldcg(part), joined_most);
    joined_total += weight * __ldcg(part + 1);
    if (thread < 32) factor[p] = weight;
  }
  const float inverse = 1 / warp_sum(joined_total);
  __syncthreads();
  for (int d = thread; d < head_dim; d += step_threads) {
    float x = 0;
#pragma unroll 8
    for (int p = 0; p < parts; ++p) {
      x = fmaf(factor[p], __ldcg(scratch + p * (head_dim + 2) + 2 + d), x);
    }
    static_cast<T*>(a.output)[head * head_dim + d] = from_float<T>(x * inverse);
  }
  const int64_t slot = *a.slot;
  if (slot < 0) return;
  if (share > 1) {  // others of the key head's may still read the slot
    __syncthreads();
    const unsigned others = static_cast<unsigned>(share - 1);
    if (thread == 0) last = atomicInc(a.counters + a.heads + kv_head, others) == others;
    __syncthreads();
    if (!last) return;
    __threadfence();
  }
  for (int d = thread; d < head_dim; d += step_threads) {
    keys[slot * head_dim + d] = from_float<T>(rotated(own_key, d, a.rotated, cosine, sine));
    values[slot * head_dim + d] = own_value[d];
  }
}

}  // namespace

void rms_norm(const RmsNorm& a, Stream stream) {
  if (a.n == 0) return;
  const bool wide = a.size % 4 == 0 && aligned(a.x) && aligned(a.part) && aligned(a.sum) &&
                    aligned(a.weight) && aligned(a.y);
  const int threads = a.n == 1 ? 1024 : 256;
  by_type(a.weight_type, [&](auto weight) {
    by_type(a.y_type, [&](auto y) {
      using W = decltype(weight);
      using Y = decltype(y);
      launch("rms_norm", wide ? rms_norm_kernel<W, Y, 4> : rms_norm_kernel<W, Y, 1>,
             dim3(static_cast<unsigned>(a.n)), threads, 0, stream, a.n == 1, a);
    });
  });
}

void gate(Type type, Act act, int64_t n, int64_t size, const void* inner, void* y, Stream stream) {
  if (n == 0) return;
  const bool wide = size % 8 == 0 && aligned(inner) && aligned(y);
  by_type(type, [&](auto element) {
    using T = decltype(element);
    launch("gate", wide ? gate_kernel<T, 8> : gate_kernel<T, 1>,
           dim3(static_cast<unsigned>(n), blocks(size, wide ? 8 * 256 : 256)), 256, 0, stream,
           false, act, size, static_cast<const T*>(inner), static_cast<T*>(y));
  });
}

bool takes_norm(Type type, int64_t size) {
  const size_t bytes = static_cast<size_t>(size) * (type == Type::float32 ? 4 : 2);
  return bytes <= most_input;
}

void row_product(const RowProduct& a, Stream stream) {
  const unsigned whole = blocks(a.rows, row_warps);
  by_type(a.type, [&](auto element) {
    using T = decltype(element);
    const size_t bytes = static_cast<size_t>(a.size) * sizeof(T);
    if (bytes > most_input) {
      launch("row_product", row_product_kernel<T>, dim3(whole), 32 * row_warps, 0, stream, true, a);
      return;
    }
    const auto stay = static_cast<unsigned>(processors() * walk_blocks);
    launch("row_product",
           a.norm_weight != nullptr ? walk_rows_kernel<T, true> : walk_rows_kernel<T, false>,
           dim3(std::min(whole, stay)), 32 * row_warps, bytes, stream, true, a);
  });
}

void negative_log_likelihood(Type type, int64_t n, int64_t vocab, const void* logits,
                             const int64_t* targets, float* nll, Stream stream) {
  if (n == 0) return;
  const bool wide = vocab % 8 == 0 && aligned(logits);
  by_type(type, [&](auto element) {
    using T = decltype(element);
    launch("negative_log_likelihood", wide ? nll_kernel<T, 8> : nll_kernel<T, 1>,
           dim3(static_cast<unsigned>(n)), 256, 0, stream, false, vocab,
           static_cast<const T*>(logits), targets, nll);
  });
}

void angles(int64_t rows, int64_t pairs, const int64_t* places, const double* frequencies,
            double magnitude, float* cosine, float* sine, Stream stream) {
  if (rows * pairs == 0) return;
  launch("angles", angles_kernel, dim3(blocks(rows * pairs, 128)), 128, 0, stream, true,
         rows * pairs, pairs, places, frequencies, magnitude, cosine, sine);
}

void place_block(const PlaceBlock& a, Stream stream) {
  if (a.n == 0) return;
  bool wide = a.head_dim % 8 == 0 && a.rotated / 2 % 8 == 0;
  for (const int64_t stride : {a.query_stride, a.key_stride, a.value_stride}) {
    wide = wide && stride % 8 == 0;
  }
  for (const void* pointer :
       {a.query, a.key, a.value, static_cast<const void*>(a.placed),
        static_cast<const void*>(a.keys), static_cast<const void*>(a.values)}) {
    wide = wide && aligned(pointer);
  }
  by_type(a.type, [&](auto element) {
    using T = decltype(element);
    launch("place_block", wide ? place_block_kernel<T, 8> : place_block_kernel<T, 1>,
           dim3(static_cast<unsigned>(a.n)), 256, 0, stream, false, a);
  });
}

void join_few(const JoinFew& a, Stream stream) {
  if (a.n == 0) return;
  by_type(a.type, [&](auto element) {
    launch("join_few", join_few_kernel<decltype(element)>, dim3(blocks(a.n * a.heads, join_warps)),
           32 * join_warps, 0, stream, false, a);
  });
}

void join(const Join& a, Stream stream) {
  const int64_t rows = a.n * a.heads;
  if (rows == 0) return;
  by_type(a.type, [&](auto element) {
    launch("join", join_kernel<decltype(element)>, dim3(blocks(rows * (a.head_dim / 8), 256)), 256,
           0, stream, false, a);
  });
  launch("join", join_log_sums_kernel, dim3(blocks(rows, 256)), 256, 0, stream, false, rows,
         a.other_log_sum, a.log_sum);
}

int64_t step_scratch(int64_t heads, int64_t head_dim, int64_t room) {
  const int64_t parts = room <= one_kernel_room ? most_parts : blocks(room, step_chunk);
  return heads * parts * (head_dim + 2);
}

void attend_step(const AttendStep& a, Stream stream) {
  const auto heads = static_cast<unsigned>(a.heads);
  if (a.room <= one_kernel_room) {
    const int64_t tiles = step_tiles(a.head_dim, a.room);
    const int64_t fit = std::max<int64_t>(1, processors() * step_blocks / a.heads);
    const int64_t parts = std::clamp<int64_t>(tiles, 1, std::min<int64_t>(fit, most_parts));
    by_type(a.type, [&](auto element) {
      using T = decltype(element);
      const int64_t lanes = step_lanes(a.head_dim);
      launch("attend_step",
             lanes == 8    ? attend_kernel<T, 8>
             : lanes == 16 ? attend_kernel<T, 16>
                           : attend_kernel<T, 32>,
             dim3(heads, static_cast<unsigned>(parts)), step_threads, 0, stream, true, a,
             static_cast<int>(tiles));
    });
    return;
  }
  const unsigned parts = blocks(a.room, step_chunk);
  by_type(a.type, [&](auto element) {
    using T = decltype(element);
    launch("attend_step", attend_slots_kernel<T>, dim3(heads, parts), step_threads, 0, stream, true,
           a);
    launch("attend_step", join_step_kernel<T>, dim3(heads), 128, 0, stream, true, a,
           static_cast<int>(parts));
  });
}

}  // namespace sinkbench::cuda
