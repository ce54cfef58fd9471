// GGUF, the one-file format of llama.cpp: metadata and tensors.
// https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/file.h"

namespace sinkbench {

struct GgufFile {
  enum Type : uint32_t { f32 = 0, f16 = 1, q4_0 = 2, q8_0 = 8, bf16 = 30 };
  struct Tensor {
    std::vector<int64_t> shape;  ///< slowest dimension first, other than in the file
    uint32_t type = f32;
    const std::byte* data = nullptr;  ///< in the map
    size_t bytes = 0;
  };

  std::shared_ptr<const MappedFile> file;
  nlohmann::json metadata;  ///< an object; its keys have dots in them
  std::map<std::string, Tensor> tensors;
};

/// Reads everything but the tensors' contents. InputError names the file and what is wrong: cut
/// short, a version other than 2 or 3, a tensor of a type that isn't one of the above.
GgufFile read_gguf(const std::filesystem::path& path);

bool is_gguf(const std::filesystem::path& path);  ///< by its name

}  // namespace sinkbench
