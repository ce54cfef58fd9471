#include "base/gguf.h"

#include <cstring>
#include <fstream>

#include "base/error.h"
#include "base/placeholder.h"
#include "base/sha256.h"
#include "base/text.h"

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

constexpr GgmlType types[] = {
    {GgmlType::f32, "F32", 1, 4},
    {GgmlType::f16, "F16", 1, 2},
    {GgmlType::q4_0, "Q4_0", 32, 18},
    {GgmlType::q4_1, "Q4_1", 32, 20},
    {GgmlType::q5_0, "Q5_0", 32, 22},
    {GgmlType::q5_1, "Q5_1", 32, 24},
    {GgmlType::q8_0, "Q8_0", 32, 34},
    {9, "Q8_1", 32, 36},
    {GgmlType::q2_k, "Q2_K", 256, 84},
    {GgmlType::q3_k, "Q3_K", 256, 110},
    {GgmlType::q4_k, "Q4_K", 256, 144},
    {GgmlType::q5_k, "Q5_K", 256, 176},
    {GgmlType::q6_k, "Q6_K", 256, 210},
    {15, "Q8_K", 256, 292},
    {16, "IQ2_XXS", 256, 66},
    {17, "IQ2_XS", 256, 74},
    {18, "IQ3_XXS", 256, 98},
    {19, "IQ1_S", 256, 50},
    {GgmlType::iq4_nl, "IQ4_NL", 32, 18},
    {21, "IQ3_S", 256, 110},
    {22, "IQ2_S", 256, 82},
    {GgmlType::iq4_xs, "IQ4_XS", 256, 136},
    {24, "I8", 1, 1},
    {25, "I16", 1, 2},
    {26, "I32", 1, 4},
    {27, "I64", 1, 8},
    {28, "F64", 1, 8},
    {29, "IQ1_M", 256, 56},
    {GgmlType::bf16, "BF16", 1, 2},
    {GgmlType::tq1_0, "TQ1_0", 256, 54},
    {GgmlType::tq2_0, "TQ2_0", 256, 66},
    {GgmlType::mxfp4, "MXFP4", 32, 17},
    {40, "NVFP4", 64, 36},
    {41, "Q1_0", 128, 18},
};

constexpr std::string_view magic = "GGUF";

/// Reads one file into `out`: its tensors beside those that are there, its metadata where it is the
/// first.
void add_file(const std::filesystem::path& path, GgufFile& out, json& metadata) {
  const auto file = std::make_shared<MappedFile>(path);
  out.files.push_back(file);
  const std::string name = path.string();
  const std::string_view bytes = file->text();
  if (!bytes.starts_with(magic)) refuse_placeholder(path, bytes);
  Reader reader(name, bytes);
  if (reader.number<uint32_t>() != 0x46554747) reader.fail("it doesn't begin with GGUF");
  const auto version = reader.number<uint32_t>();
  if (version != 0 && version % (1 << 16) == 0) {
    throw InputError::format("{}: a big-endian GGUF file; expected a little-endian one", name);
  }
  if (version != 2 && version != 3) {
    throw InputError::format("{}: GGUF of version {}; expected 2 or 3", name, version);
  }
  const auto tensors = reader.number<uint64_t>();
  const auto keys = reader.number<uint64_t>();
  metadata = json::object();
  for (uint64_t i = 0; i < keys; ++i) {
    const std::string key = reader.string();
    const auto type = reader.number<uint32_t>();
    if (metadata.contains(key)) reader.fail(fmt::format("key {} stands twice", key));
    metadata[key] = reader.value(type);
  }
  struct Place {
    std::string name;
    uint64_t offset, size;
  };
  std::vector<Place> places;
  for (uint64_t i = 0; i < tensors; ++i) {
    const std::string tensor_name = reader.string();
    const auto fail = [&](const std::string& text) {
      throw InputError::format("{}: tensor {}: {}", name, tensor_name, text);
    };
    GgufFile::Tensor tensor;
    tensor.file = file.get();
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
    const auto type = reader.number<uint32_t>();
    tensor.type = find_ggml_type(type);
    if (tensor.type == nullptr) {
      fail(
          fmt::format("stored in ggml's type {}, which is not known: it may be newer, or one that "
                      "ggml has given up; convert the model anew",
                      type));
    }
    if (row % tensor.type->numbers != 0) {
      fail(fmt::format("rows of {} numbers in {}; expected a multiple of {}", row,
                       tensor.type->name, tensor.type->numbers));
    }
    uint64_t size = 0;
    if (__builtin_mul_overflow(elements / tensor.type->numbers, uint64_t{tensor.type->bytes},
                               &size)) {
      fail("more bytes than can be counted");
    }
    if (!out.tensors.emplace(tensor_name, tensor).second) fail("stands twice");
    places.push_back({tensor_name, reader.number<uint64_t>(), size});
  }
  uint64_t alignment = 32;
  if (const auto it = metadata.find("general.alignment"); it != metadata.end()) {
    if (!it->is_number_unsigned() || *it == 0) reader.fail("general.alignment is no size");
    alignment = it->get<uint64_t>();
  }
  const uint64_t header = bytes.size() - reader.left();
  const uint64_t padding = (alignment - header % alignment) % alignment;
  const uint64_t begin = header + padding;
  for (const auto& [tensor, offset, size] : places) {
    if (begin > bytes.size() || offset > bytes.size() - begin ||
        size > bytes.size() - begin - offset) {
      throw InputError::format("{}: tensor {}: its {} bytes at {} go beyond the file: truncated",
                               name, tensor, size, offset);
    }
    out.tensors.at(tensor).data = {file->bytes().data() + begin + offset, size};
  }
}

/// A count in a part's metadata.
int64_t split_key(const std::filesystem::path& path, const json& metadata, const char* key,
                  int64_t fallback) {
  const auto it = metadata.find(key);
  if (it == metadata.end()) return fallback;
  if (!it->is_number_integer() || *it < 0 || *it > 100000) {
    throw InputError::format("{}: {}: is {}; expected a count", path.string(), key, it->dump());
  }
  return it->get<int64_t>();
}

}  // namespace

const GgmlType* find_ggml_type(uint32_t id) {
  for (const GgmlType& type : types) {
    if (type.id == id) return &type;
  }
  return nullptr;
}

std::span<const GgmlType> ggml_types() {
  return types;
}

std::string GgufFile::sha256() const {
  return sha256_of(files);
}

bool is_gguf(const std::filesystem::path& path) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) return false;
  if (lower_case(path.extension().string()) == ".gguf") return true;
  if (!std::filesystem::is_regular_file(path, error)) return false;  // reading a pipe would eat it
  char begin[magic.size()] = {};
  std::ifstream(path, std::ios::binary).read(begin, sizeof begin);
  return std::string_view(begin, sizeof begin) == magic;
}

GgufFile read_gguf(const std::filesystem::path& path) {
  GgufFile out;
  add_file(path, out, out.metadata);
  const int64_t count = split_key(path, out.metadata, "split.count", 1);
  if (count <= 1) return out;
  // llama.cpp's names of parts: the same prefix, then -00001-of-00003.gguf.
  const auto suffix = [&](int64_t part) {
    return fmt::format("-{:05}-of-{:05}.gguf", part + 1, count);
  };
  const int64_t number = split_key(path, out.metadata, "split.no", 0);
  const std::string name = path.filename().string();
  const std::string prefix =
      name.ends_with(suffix(number)) ? name.substr(0, name.size() - suffix(number).size()) : "NAME";
  if (number != 0) {
    throw InputError::format("{}: part {} of a model in {} files; give the first, {}",
                             path.string(), number + 1, count, prefix + suffix(0));
  }
  if (!name.ends_with(suffix(0))) {
    throw InputError::format(
        "{}: the first of {} files that make a model; expected a name that ends in {}, by which "
        "the "
        "others are found",
        path.string(), count, suffix(0));
  }
  for (int64_t part = 1; part < count; ++part) {
    const std::filesystem::path next = path.parent_path() / (prefix + suffix(part));
    if (!std::filesystem::exists(next)) {
      throw InputError::format("{}: is missing: {} says that the model has {} parts", next.string(),
                               name, count);
    }
    json metadata;
    add_file(next, out, metadata);
    const int64_t stated = split_key(next, metadata, "split.no", -1);
    if (stated != part || split_key(next, metadata, "split.count", -1) != count) {
      throw InputError::format("{}: split.no: says part {}; expected part {} of {}", next.string(),
                               stated + 1, part + 1, count);
    }
  }
  const int64_t tensors = split_key(path, out.metadata, "split.tensors.count",
                                    static_cast<int64_t>(out.tensors.size()));
  if (tensors != static_cast<int64_t>(out.tensors.size())) {
    throw InputError::format("{}: split.tensors.count: is {}, but the parts hold {} tensors",
                             path.string(), tensors, out.tensors.size());
  }
  return out;
}

}  // namespace sinkbench
