// A model in llama.cpp's GGUF, as if it lay in a Hugging Face folder.
#pragma once

#include <set>

#include "base/gguf.h"
#include "models/checkpoint.h"
#include "models/config_reader.h"

namespace sinkbench {

/// Metadata as the config.json that says the same. Architectures: llama (Mistral among them), qwen2
/// and qwen3. InputError names a key that is missing or asks for what isn't supported.
ConfigReader gguf_config(const GgufFile& gguf);

/// Tensors under Hugging Face's names, F32, F16 or BF16 as they are, Q8_0 and Q4_0 decoded.
class GgufCheckpoint final : public Checkpoint {
 public:
  GgufCheckpoint(GgufFile gguf, at::ScalarType dtype, at::Device device);

  at::Tensor get(const std::string& name, at::IntArrayRef shape) override;
  bool has(const std::string& name) const override;
  void check_all_used() const override;
  std::string sha256() const override;
  int64_t file_bytes() const override;
  std::map<std::string, int64_t> stored() const override;

 private:
  std::string where() const { return gguf_.file->path().string(); }

  GgufFile gguf_;
  std::set<std::string> used_;  // by the file's names
  int64_t heads_ = 0, kv_heads_ = 0;
  bool interleaved_;  // whether the rows of queries and keys are llama.cpp's pairs
  at::ScalarType dtype_;
  at::Device device_;
};

}  // namespace sinkbench
