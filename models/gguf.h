// A model in llama.cpp's GGUF.
#pragma once

#include <set>

#include "base/gguf.h"
#include "models/checkpoint.h"
#include "models/config.h"
#include "models/config_reader.h"
#include "models/family.h"
#include "models/weights.h"

namespace sinkbench {

/// Metadata as the config.json that says the same, of the architectures that a family names.
/// InputError names a key that is missing, asks for what isn't supported, or is not known: a key of
/// the architecture that is passed over could change every number.
ConfigReader gguf_config(const GgufFile& gguf);

/// The numbers of a vector in F32, such as factors on rotary frequencies. InputError names the
/// tensor where it is missing or something else.
std::vector<float> gguf_factors(const GgufFile& gguf, const std::string& name);

/// Tensors under the file's own names, which are the same for all architectures
/// (https://github.com/ggml-org/llama.cpp/blob/master/gguf-py/gguf/constants.py).
class GgufCheckpoint final : public Checkpoint {
 public:
  GgufCheckpoint(GgufFile gguf, at::ScalarType dtype, at::Device device, KeptForm kept = {});

  const ConfigReader& config_reader() const { return reader_; }
  /// The family's configuration, with factors on frequencies that the file holds as a tensor.
  DecoderConfig config() const;
  DecoderWeights weights(const DecoderConfig& config);

  at::Tensor get(const std::string& name, at::IntArrayRef shape) override;
  at::Tensor get_exact(const std::string& name, at::IntArrayRef shape) override;
  bool has(const std::string& name) const override { return gguf_.tensors.contains(name); }
  bool same(const std::string& name, const std::string& other) const override;
  void check_all_used() const override;
  std::string sha256() const override { return gguf_.sha256(); }
  int64_t file_bytes() const override;
  std::map<std::string, int64_t> stored() const override;

 private:
  std::string where() const { return gguf_.path().string(); }
  /// InputError where it is missing, its shape is another or its type isn't decoded.
  const GgufFile::Tensor& find(const std::string& name, at::IntArrayRef shape);
  at::Tensor decode(const std::string& name, at::IntArrayRef shape, at::ScalarType dtype);
  /// Rows of a linear map that is made of several.
  struct Rows {
    std::string name;  ///< of the tensors, without .weight or .bias
    int64_t count;
    int64_t paired_heads = 0;  ///< not 0: rotated pairs are neighbours, of so many heads
    /// Where they are a part of the tensor's: all of them, as [rows] or [experts, rows of each],
    /// and the first.
    std::vector<int64_t> of = {};
    int64_t first = 0;
  };
  /// The maps below each other.
  Linear join(const std::vector<Rows>& parts, int64_t in, bool bias);
  ExpertsWeights experts(const DecoderConfig& config, const std::string& prefix);
  NormWeights norm(const std::string& name, const DecoderConfig& config);
  LayerWeights layer(const DecoderConfig& config, int64_t index);

  GgufFile gguf_;
  ConfigReader reader_;
  const Family& family_;
  std::set<std::string> used_;
};

}  // namespace sinkbench
