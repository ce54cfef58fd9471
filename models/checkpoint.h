// Tensors of a checkpoint by name. Format: https://huggingface.co/docs/safetensors
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "models/weights.h"

namespace sinkbench {

/// Where a family takes its tensors from: a checkpoint on disk, or random numbers of the same
/// shapes. Each tensor is handed out in the precision and on the device that were asked for.
class TensorSource {
 public:
  TensorSource() = default;
  TensorSource(at::ScalarType dtype, at::Device device, KeptForm kept)
      : dtype_(dtype), device_(device), kept_(std::move(kept)) {}
  virtual ~TensorSource() = default;
  /// The tensor of this name. Throws InputError where it is missing or its shape is another.
  virtual at::Tensor get(const std::string& name, at::IntArrayRef shape) = 0;
  /// The same in the precision that sums have: float32, or float64 where that was asked for. (As it
  /// is here, for sources that have no other.)
  virtual at::Tensor get_exact(const std::string& name, at::IntArrayRef shape) {
    return get(name, shape);
  }
  /// A matrix for each expert, `shape` [experts, out, in], stored in MXFP4 (OCP Microscaling 1.0)
  /// as NAME_blocks, uint8 [experts, out, in / 32, 16], two numbers of E2M1 in each byte, the lower
  /// four bits first, and NAME_scales, uint8 [experts, out, in / 32], powers of two less 127.
  /// `turns`: the rows of two halves are stored in turns, and handed out one half after the other.
  virtual std::vector<Linear> get_mxfp4(const std::string& name, at::IntArrayRef shape,
                                        bool turns) {
    throw std::logic_error("a source that has no MXFP4 was asked for it");
  }
  virtual bool has(const std::string& name) const = 0;
  /// Whether two tensors that are there hold the same numbers.
  virtual bool same(const std::string& name, const std::string& other) const { return false; }
  /// Nobody will ask for tensors whose names begin so.
  virtual void pass_over(const std::string& prefix) {}
  /// Throws InputError where a tensor is left that nobody asked for and that is no known buffer:
  /// a model that is not what its configuration says must not be run as if it were.
  virtual void check_all_used() const = 0;

 protected:
  /// A matrix of what is stored, decoded or not.
  Linear hold(std::vector<StoredMatrix::Part> parts, int64_t columns) const;

  const at::ScalarType dtype_ = at::kFloat;
  const at::Device device_ = at::kCPU;
  const KeptForm kept_ = {};
};

/// Tensors on disk.
class Checkpoint : public TensorSource {
 public:
  using TensorSource::TensorSource;
  /// SHA-256 over the files' contents, in name order.
  virtual std::string sha256() const = 0;
  virtual int64_t file_bytes() const = 0;  ///< of all its files
  /// How many numbers are stored in each precision, by its name in the format ("BF16").
  virtual std::map<std::string, int64_t> stored() const = 0;
  /// What lies beside the model and was not read, for people.
  virtual std::vector<std::string> passed_over() const { return {}; }
};

/// model.safetensors, or the shards that model.safetensors.index.json lists, memory-mapped.
class SafetensorsCheckpoint final : public Checkpoint {
 public:
  /// Throws InputError naming the file and what is wrong: no checkpoint in the folder, a header
  /// that is truncated, no JSON, or lies about types, shapes or offsets. On the meta device tensors
  /// are handed out without contents, for checking a folder.
  SafetensorsCheckpoint(const std::filesystem::path& folder, at::ScalarType dtype,
                        at::Device device, KeptForm kept = {});

  at::Tensor get(const std::string& name, at::IntArrayRef shape) override;
  at::Tensor get_exact(const std::string& name, at::IntArrayRef shape) override;
  std::vector<Linear> get_mxfp4(const std::string& name, at::IntArrayRef shape,
                                bool turns) override;
  bool has(const std::string& name) const override { return tensors_.contains(name); }
  bool same(const std::string& name, const std::string& other) const override;
  void pass_over(const std::string& prefix) override;
  void check_all_used() const override;

  /// Of every tensor, the name of its type in the format.
  std::map<std::string, std::string> types() const;
  std::vector<std::string> passed_over() const override;
  int64_t file_bytes() const override;
  std::map<std::string, int64_t> stored() const override;
  std::string sha256() const override;

 private:
  struct Entry {
    std::shared_ptr<const class MappedFile> file;
    std::string type;                     ///< its name in the format
    std::optional<at::ScalarType> dtype;  ///< nothing: LibTorch has no such type
    std::vector<int64_t> shape;
    std::span<const std::byte> data;  ///< in the file's map
    bool used = false;
  };
  void add_file(const std::filesystem::path& path);
  [[noreturn]] void fail_without_weights() const;
  at::Tensor read(const std::string& name, at::IntArrayRef shape, at::ScalarType dtype);
  /// InputError where it is missing or its shape is another.
  Entry& find(const std::string& name, at::IntArrayRef shape);
  /// The same of one of type U8.
  const Entry& bytes(const std::string& name, at::IntArrayRef shape);

  std::filesystem::path folder_;
  std::map<std::string, Entry> tensors_;
  std::vector<std::string> zeros_;  // matrices that were read and hold nothing else
  std::vector<std::shared_ptr<const class MappedFile>> files_;
};

/// Random weights: normal with standard deviation 0.02 for matrices, 1 for vectors and 0 for
/// biases, drawn per tensor from the seed and the tensor's name, so that a tensor does not depend
/// on the order in which they are asked for.
class RandomWeights final : public TensorSource {
 public:
  RandomWeights(uint64_t seed, at::ScalarType dtype, at::Device device, KeptForm kept = {})
      : TensorSource(dtype, device, std::move(kept)), seed_(seed) {}
  at::Tensor get(const std::string& name, at::IntArrayRef shape) override;
  at::Tensor get_exact(const std::string& name, at::IntArrayRef shape) override;
  /// In their file's form, gpt-oss's experts.
  std::vector<Linear> get_mxfp4(const std::string& name, at::IntArrayRef shape,
                                bool turns) override;
  bool has(const std::string& name) const override {
    return kept_.as_stored && name.ends_with("_blocks");
  }
  void check_all_used() const override {}

 private:
  uint64_t seed_of(const std::string& name) const;
  uint64_t seed_;
};

}  // namespace sinkbench
