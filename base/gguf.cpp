#include "base/gguf.h"

#include <cstring>

#include "base/error.h"

namespace sinkbench {
namespace {

using nlohmann::json;

/// Takes little-endian values one after the other.
class Reader {
 public:
  Reader(const std::string& file, std::string_view bytes) : file_(file), bytes_(bytes) {}

  template <typename T>
  T number() {
    T value;
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }

  std::string string() { return std::string(take(number<uint64_t>())); }

  json value(uint32_t type, int depth = 0) {
    switch (type) {
      case 0:
        return number<uint8_t>();
      case 1:
        return number<int8_t>();
      case 2:
        return number<uint16_t>();
      case 3:
        return number<int16_t>();
      case 4:
        return number<uint32_t>();
      case 5:
        return number<int32_t>();
      case 6:
        return number<float>();
      case 7:
        return number<uint8_t>() != 0;
      case 8:
        return string();
      case 9: {
        const auto element = number<uint32_t>();
        const auto count = number<uint64_t>();
        if (depth > 0 || count > bytes_.size()) fail("an array that is too long, or of arrays");
        json array = json::array();
        for (uint64_t i = 0; i < count; ++i) array.push_back(value(element, depth + 1));
        return array;
      }
      case 10:
        return number<uint64_t>();
      case 11:
        return number<int64_t>();
      case 12:
        return number<double>();
      default:
        fail(fmt::format("a value of type {}", type));
    }
  }

  size_t left() const { return bytes_.size(); }

  [[noreturn]] void fail(const std::string& what) const {
    throw InputError::format("{}: no GGUF file, or a damaged one: {}", file_, what);
  }

 private:
  std::string_view take(uint64_t size) {
    if (size > bytes_.size()) {
      fail(fmt::format("{} bytes are expected where {} are left", size, bytes_.size()));
    }
    const std::string_view taken = bytes_.substr(0, size);
    bytes_.remove_prefix(size);
    return taken;
  }

  const std::string& file_;
  std::string_view bytes_;
};

/// Numbers in a block of a type, and its bytes; none for a type that isn't supported.
std::pair<uint64_t, uint64_t> block_of(uint32_t type) {
  switch (type) {
    case GgufFile::f32:
      return {1, 4};
    case GgufFile::f16:
    case GgufFile::bf16:
      return {1, 2};
    case GgufFile::q4_0:
      return {32, 2 + 16};
    case GgufFile::q8_0:
      return {32, 2 + 32};
  }
  return {0, 0};
}

}  // namespace

bool is_gguf(const std::filesystem::path& path) {
  return path.extension() == ".gguf";
}

GgufFile read_gguf(const std::filesystem::path& path) {
  GgufFile out;
  out.file = std::make_shared<MappedFile>(path);
  const std::string name = path.string();
  const std::string_view bytes = out.file->text();
  Reader reader(name, bytes);
  if (reader.number<uint32_t>() != 0x46554747) reader.fail("it doesn't begin with GGUF");
  const auto version = reader.number<uint32_t>();
  if (version != 2 && version != 3) {
    throw InputError::format("{}: GGUF of version {}; expected 2 or 3", name, version);
  }
  const auto tensors = reader.number<uint64_t>();
  const auto keys = reader.number<uint64_t>();
  out.metadata = json::object();
  for (uint64_t i = 0; i < keys; ++i) {
    const std::string key = reader.string();
    const auto type = reader.number<uint32_t>();
    out.metadata[key] = reader.value(type);
  }
  std::vector<std::pair<std::string, uint64_t>> offsets;
  for (uint64_t i = 0; i < tensors; ++i) {
    const std::string tensor_name = reader.string();
    const auto fail = [&](const std::string& text) {
      throw InputError::format("{}: tensor {}: {}", name, tensor_name, text);
    };
    GgufFile::Tensor tensor;
    const auto dimensions = reader.number<uint32_t>();
    if (dimensions > 4) fail(fmt::format("{} dimensions; expected 4 at the most", dimensions));
    uint64_t elements = 1, row = 1;
    for (uint32_t d = 0; d < dimensions; ++d) {
      const auto size = reader.number<uint64_t>();
      if (size > uint64_t{1} << 40 || __builtin_mul_overflow(elements, size, &elements)) {
        fail("more elements than can be counted");
      }
      if (d == 0) row = size;
      tensor.shape.insert(tensor.shape.begin(), static_cast<int64_t>(size));
    }
    tensor.type = reader.number<uint32_t>();
    const auto [numbers, size] = block_of(tensor.type);
    if (numbers == 0) {
      fail(fmt::format("stored in ggml's type {}; expected F32, F16, BF16, Q8_0 or Q4_0",
                       tensor.type));
    }
    if (row % numbers != 0) {
      fail(fmt::format("rows of {} numbers; expected a multiple of {}", row, numbers));
    }
    if (__builtin_mul_overflow(elements / numbers, size, &tensor.bytes)) {
      fail("more bytes than can be counted");
    }
    offsets.emplace_back(tensor_name, reader.number<uint64_t>());
    if (!out.tensors.emplace(tensor_name, tensor).second) fail("stands twice");
  }
  uint64_t alignment = 32;
  if (out.metadata.contains("general.alignment")) {
    const json& stated = out.metadata["general.alignment"];
    if (!stated.is_number_unsigned() || stated == 0) reader.fail("general.alignment is no size");
    alignment = stated.get<uint64_t>();
  }
  const uint64_t header = bytes.size() - reader.left();
  const uint64_t padding = (alignment - header % alignment) % alignment;
  const uint64_t begin = header + padding;
  for (const auto& [tensor_name, offset] : offsets) {
    GgufFile::Tensor& tensor = out.tensors.at(tensor_name);
    if (begin > bytes.size() || offset > bytes.size() - begin ||
        tensor.bytes > bytes.size() - begin - offset) {
      throw InputError::format("{}: tensor {}: its {} bytes at {} go beyond the file: truncated",
                               name, tensor_name, tensor.bytes, offset);
    }
    tensor.data = out.file->bytes().data() + begin + offset;
  }
  return out;
}

}  // namespace sinkbench
