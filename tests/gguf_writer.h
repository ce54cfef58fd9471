// Writes GGUF files, version 3.
#pragma once

#include <cstdint>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace sinkbench::test {

class GgufWriter {
 public:
  /// A string, bool, unsigned integer, float, or a list of strings, of floats or of integers.
  void add(const std::string& key, const nlohmann::json& value) {
    string(keys_, key);
    this->value(value, /*typed=*/true);
    ++key_count_;
  }

  /// `shape` with its slowest dimension first; `bytes` as they are stored in ggml's type `type`.
  void add_tensor(const std::string& name, const std::vector<int64_t>& shape, uint32_t type,
                  const std::string& bytes) {
    string(tensors_, name);
    number<uint32_t>(tensors_, static_cast<uint32_t>(shape.size()));
    for (auto size = shape.rbegin(); size != shape.rend(); ++size) {
      number<uint64_t>(tensors_, static_cast<uint64_t>(*size));
    }
    number<uint32_t>(tensors_, type);
    number<uint64_t>(tensors_, data_.size());
    data_ += bytes;
    data_.resize((data_.size() + 31) / 32 * 32);
    ++tensor_count_;
  }

  std::string file() const {
    std::string out = "GGUF";
    number<uint32_t>(out, 3);
    number<uint64_t>(out, tensor_count_);
    number<uint64_t>(out, key_count_);
    out += keys_ + tensors_;
    out.resize((out.size() + 31) / 32 * 32);
    return out + data_;
  }

 private:
  template <typename T>
  static void number(std::string& out, T value) {
    out.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  static void string(std::string& out, const std::string& text) {
    number<uint64_t>(out, text.size());
    out += text;
  }
  void value(const nlohmann::json& value, bool typed) {
    const auto type = [&](uint32_t id) {
      if (typed) number<uint32_t>(keys_, id);
    };
    if (value.is_string()) {
      type(8);
      string(keys_, value.get<std::string>());
    } else if (value.is_boolean()) {
      type(7);
      number<uint8_t>(keys_, value.get<bool>());
    } else if (value.is_number_float()) {
      type(6);
      number<float>(keys_, value.get<float>());
    } else if (value.is_number()) {
      type(4);
      number<uint32_t>(keys_, value.get<uint32_t>());
    } else {
      type(9);
      const auto& first = value.at(0);
      number<uint32_t>(keys_, first.is_string() ? 8 : first.is_number_float() ? 6 : 4);
      number<uint64_t>(keys_, value.size());
      for (const auto& element : value) this->value(element, false);
    }
  }

  std::string keys_, tensors_, data_;
  uint64_t key_count_ = 0, tensor_count_ = 0;
};

}  // namespace sinkbench::test
