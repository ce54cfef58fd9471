// GGUF, the one-file format of llama.cpp: metadata and tensors.
// https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "base/file.h"

namespace sinkbench {

/// How ggml stores numbers: in blocks of `numbers` that take `bytes`.
/// https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h
struct GgmlType {
  enum Id : uint32_t {
    f32 = 0,
    f16 = 1,
    q4_0 = 2,
    q4_1 = 3,
    q5_0 = 6,
    q5_1 = 7,
    q8_0 = 8,
    q2_k = 10,
    q3_k = 11,
    q4_k = 12,
    q5_k = 13,
    q6_k = 14,
    iq4_nl = 20,
    iq4_xs = 23,
    bf16 = 30,
    tq1_0 = 34,
    tq2_0 = 35,
    mxfp4 = 39
  };
  uint32_t id;
  const char* name;  ///< as ggml prints it: "Q4_K"
  uint32_t numbers, bytes;
};

/// Of every type that files are written in, also those that models/ggml_blocks.h can't decode; null
/// for other numbers.
const GgmlType* find_ggml_type(uint32_t id);
std::span<const GgmlType> ggml_types();  ///< all of them, by id

struct GgufFile {
  struct Tensor {
    std::vector<int64_t> shape;  ///< slowest dimension first, other than in the file
    const GgmlType* type = nullptr;
    std::span<const std::byte> data;   ///< in a map
    const MappedFile* file = nullptr;  ///< that it lies in
  };

  /// Of a model in parts all of them, in order.
  std::vector<std::shared_ptr<const MappedFile>> files;
  nlohmann::json metadata;  ///< an object; its keys have dots in them
  std::map<std::string, Tensor> tensors;

  const std::filesystem::path& path() const { return files.front()->path(); }
  std::string sha256() const;  ///< of the contents of the files, one after the other
};

/// Reads everything but the tensors' contents, of a file or, where it says that it is the first of
/// several, of all of them (NAME-00001-of-00003.gguf). InputError names the file and what is wrong:
/// cut short, big-endian, a version other than 2 or 3, a tensor of an unknown type, a part missing.
GgufFile read_gguf(const std::filesystem::path& path);

/// Whether it is a file whose name ends in .gguf, or that begins as a GGUF file does.
bool is_gguf(const std::filesystem::path& path);

}  // namespace sinkbench
