#include "models/checkpoint.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/placeholder.h"
#include "base/sha256.h"

namespace sinkbench {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr int64_t mxfp4_block = 32;  // numbers with one power

void check_mxfp4_rows(const std::string& where, const std::string& name, int64_t in) {
  if (in % mxfp4_block == 0) return;
  throw InputError::format("{}: tensor {} has rows of {}; blocks of MXFP4 are of {}", where, name,
                           in, mxfp4_block);
}

/// safetensors' own limit on the header.
constexpr uint64_t longest_header = 100'000'000;

/// The format's names of types.
constexpr std::pair<const char*, at::ScalarType> types[] = {
    {"F64", at::kDouble}, {"F32", at::kFloat}, {"F16", at::kHalf},  {"BF16", at::kBFloat16},
    {"I64", at::kLong},   {"I32", at::kInt},   {"I16", at::kShort}, {"I8", at::kChar},
    {"U8", at::kByte},    {"BOOL", at::kBool}};

std::optional<at::ScalarType> scalar_type(const std::string& name) {
  for (const auto& [type_name, type] : types) {
    if (name == type_name) return type;
  }
  return std::nullopt;
}

/// What checkpoints carry beside weights: masks and tables that old versions of the modeling code
/// registered as buffers and that follow from the configuration.
bool is_buffer(const std::string& name) {
  for (const char* suffix :
       {".rotary_emb.inv_freq", ".attention.bias", ".attention.masked_bias", ".attn.bias",
        ".attn.masked_bias", ".rotary_emb.cos_cached", ".rotary_emb.sin_cached"}) {
    if (name.ends_with(suffix)) return true;
  }
  return false;
}

bool is_zero(std::span<const std::byte> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

/// Files in a folder that could hold weights, by name.
std::vector<std::string> weights_beside(const fs::path& folder) {
  std::vector<std::string> result;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    const std::string suffix = entry.path().extension();
    if (suffix == ".safetensors" || suffix == ".gguf") {
      result.push_back(entry.path().filename().string());
    }
  }
  std::sort(result.begin(), result.end());
  return result;
}

json parse_object(std::string_view text, const fs::path& path, const char* what) {
  // A callback that sees every key finds those given twice, which nlohmann would merge silently.
  std::vector<std::set<std::string>> keys;
  const auto callback = [&](int, json::parse_event_t event, json& value) {
    if (event == json::parse_event_t::object_start) keys.emplace_back();
    if (event == json::parse_event_t::object_end) keys.pop_back();
    if (event == json::parse_event_t::key && !keys.back().insert(value.get<std::string>()).second) {
      throw InputError::format("{}: {}: '{}' stands twice", path.string(), what,
                               value.get<std::string>());
    }
    return true;
  };
  json object;
  try {
    object = parse_json(text, callback);
  } catch (const json::exception& error) {
    throw InputError::format("{}: {} is not valid JSON: {}", path.string(), what,
                             json_reason(error));
  }
  if (!object.is_object()) {
    throw InputError::format("{}: {}: expected a JSON object", path.string(), what);
  }
  return object;
}

}  // namespace

Linear TensorSource::hold(std::vector<StoredMatrix::Part> parts, int64_t columns) const {
  if (device_.is_meta() && !kept_.as_stored) {
    int64_t rows = 0;
    for (const StoredMatrix::Part& part : parts) rows += part.rows;
    return {at::empty({rows, columns}, at::TensorOptions().dtype(dtype_).device(device_)), {}};
  }
  StoredMatrix matrix(std::move(parts), columns, kept_.as_stored ? kept_.cache : nullptr);
  if (kept_.as_stored) return {.weight = {}, .bias = {}, .stored = std::move(matrix)};
  return {matrix.decode(dtype_).to(device_), {}};
}

SafetensorsCheckpoint::SafetensorsCheckpoint(const fs::path& folder, at::ScalarType dtype,
                                             at::Device device, KeptForm kept)
    : Checkpoint(dtype, device, std::move(kept)), folder_(folder) {
  const fs::path single = folder / "model.safetensors";
  const fs::path index = folder / "model.safetensors.index.json";
  if (fs::exists(single)) {
    add_file(single);
    return;
  }
  if (!fs::exists(index)) fail_without_weights();
  const json object = parse_object(read_file(index), index, "index");
  const auto map = object.find("weight_map");
  if (map == object.end() || !map->is_object()) {
    throw InputError::format("{}: weight_map: expected an object of tensor names and files",
                             index.string());
  }
  std::set<std::string> shards;
  for (const auto& [name, shard] : map->items()) {
    if (!shard.is_string()) {
      throw InputError::format("{}: weight_map.{}: expected a file name", index.string(), name);
    }
    const std::string file = shard.get<std::string>();
    if (file.empty() || fs::path(file).filename() != file) {
      throw InputError::format(
          "{}: weight_map.{} is '{}'; expected the name of a file in the same folder",
          index.string(), name, file);
    }
    shards.insert(file);
  }
  for (const std::string& shard : shards) add_file(folder / shard);
  for (const auto& [name, shard] : map->items()) {
    const auto it = tensors_.find(name);
    if (it == tensors_.end() || it->second.file->path().filename() != shard.get<std::string>()) {
      throw InputError::format("{}: weight_map puts {} into {}, which does not hold it",
                               index.string(), name, shard.get<std::string>());
    }
  }
}

void SafetensorsCheckpoint::add_file(const fs::path& path) {
  const auto file = std::make_shared<MappedFile>(path);
  const std::span<const std::byte> bytes = file->bytes();
  refuse_placeholder(path, file->text());
  uint64_t header_size = 0;
  if (bytes.size() < sizeof header_size) {
    throw InputError::format(
        "{}: {} bytes long; expected a safetensors file, which begins with "
        "8 bytes of header size",
        path.string(), bytes.size());
  }
  std::memcpy(&header_size, bytes.data(), sizeof header_size);  // little-endian, as this machine
  const uint64_t after_size = bytes.size() - sizeof header_size;
  if (header_size > longest_header || header_size > after_size) {
    throw InputError::format(
        "{}: the header's size is given as {} bytes, but {} follow: truncated, or no safetensors",
        path.string(), header_size, after_size);
  }
  const size_t data_begin = sizeof header_size + header_size;
  const uint64_t data_size = bytes.size() - data_begin;
  const json header =
      parse_object(file->text().substr(sizeof header_size, header_size), path, "header");

  std::vector<std::pair<uint64_t, uint64_t>> extents;
  for (const auto& [name, value] : header.items()) {
    if (name == "__metadata__") continue;
    const auto fail = [&, name = name](const std::string& text) {
      throw InputError::format("{}: header: {}: {}", path.string(), name, text);
    };
    if (!value.is_object() || !value.contains("dtype") || !value.contains("shape") ||
        !value.contains("data_offsets")) {
      fail("expected an object with dtype, shape and data_offsets");
    }
    if (!value["dtype"].is_string()) fail("dtype: expected a string");
    Entry entry;
    entry.file = file;
    entry.type = value["dtype"].get<std::string>();
    entry.dtype = scalar_type(entry.type);
    if (!value["shape"].is_array()) fail("shape: expected an array of sizes");
    uint64_t elements = 1;
    for (const json& size : value["shape"]) {
      if (!size.is_number_unsigned() || size.get<uint64_t>() > (uint64_t{1} << 40)) {
        fail(fmt::format("shape is {}; expected sizes from 0 to 2^40", value["shape"].dump()));
      }
      if (__builtin_mul_overflow(elements, size.get<uint64_t>(), &elements)) {
        fail(fmt::format("shape {} has more elements than can be counted", value["shape"].dump()));
      }
      entry.shape.push_back(size.get<int64_t>());
    }
    const json& offsets = value["data_offsets"];
    if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() ||
        !offsets[1].is_number_unsigned()) {
      fail(fmt::format("data_offsets is {}; expected [begin, end]", offsets.dump()));
    }
    const uint64_t begin = offsets[0].get<uint64_t>();
    const uint64_t end = offsets[1].get<uint64_t>();
    if (begin > end || end > data_size) {
      fail(fmt::format("data_offsets is [{}, {}], but the file holds {} bytes of data{}", begin,
                       end, data_size, begin <= end ? ": truncated" : ""));
    }
    uint64_t size_bytes = 0;
    if (entry.dtype &&
        (__builtin_mul_overflow(elements, at::elementSize(*entry.dtype), &size_bytes) ||
         size_bytes != end - begin)) {
      fail(fmt::format("shape {} of {} does not take the {} bytes of data_offsets [{}, {}]",
                       value["shape"].dump(), value["dtype"].get<std::string>(), end - begin, begin,
                       end));
    }
    entry.data = bytes.subspan(data_begin + begin, end - begin);
    extents.emplace_back(begin, end);
    if (!tensors_.emplace(name, std::move(entry)).second) {
      fail("stands in two files of the checkpoint");
    }
  }
  std::sort(extents.begin(), extents.end());
  for (size_t i = 1; i < extents.size(); ++i) {
    if (extents[i].first < extents[i - 1].second) {
      throw InputError::format("{}: header: two tensors share bytes {} to {}", path.string(),
                               extents[i].first, extents[i - 1].second);
    }
  }
  files_.push_back(file);
}

at::Tensor SafetensorsCheckpoint::get(const std::string& name, at::IntArrayRef shape) {
  return read(name, shape, dtype_);
}

at::Tensor SafetensorsCheckpoint::get_exact(const std::string& name, at::IntArrayRef shape) {
  return read(name, shape, dtype_ == at::kDouble ? at::kDouble : at::kFloat);
}

bool SafetensorsCheckpoint::same(const std::string& name, const std::string& other) const {
  const Entry &a = tensors_.at(name), &b = tensors_.at(other);
  return a.type == b.type && a.shape == b.shape && std::ranges::equal(a.data, b.data);
}

SafetensorsCheckpoint::Entry& SafetensorsCheckpoint::find(const std::string& name,
                                                          at::IntArrayRef shape) {
  const auto it = tensors_.find(name);
  const std::string where = files_.empty() ? "" : files_.front()->path().parent_path().string();
  if (it == tensors_.end()) {
    throw InputError::format("{}: tensor {} is missing; expected shape [{}]", where, name,
                             fmt::join(shape, ", "));
  }
  Entry& entry = it->second;
  const std::string path = entry.file->path().string();
  if (at::IntArrayRef(entry.shape) != shape) {
    throw InputError::format("{}: tensor {} has shape [{}]; expected [{}] from config.json", path,
                             name, fmt::join(entry.shape, ", "), fmt::join(shape, ", "));
  }
  entry.used = true;
  return entry;
}

const SafetensorsCheckpoint::Entry& SafetensorsCheckpoint::bytes(const std::string& name,
                                                                 at::IntArrayRef shape) {
  const Entry& entry = find(name, shape);
  if (entry.type != "U8") {
    throw InputError::format("{}: tensor {} is of type {}; expected U8",
                             entry.file->path().string(), name, entry.type);
  }
  return entry;
}

std::vector<Linear> SafetensorsCheckpoint::get_mxfp4(const std::string& name, at::IntArrayRef shape,
                                                     bool turns) {
  const int64_t experts = shape[0], out = shape[1], in = shape[2];
  check_mxfp4_rows(folder_.string(), name, in);
  const int64_t blocks = in / mxfp4_block;
  const Entry& numbers = bytes(name + "_blocks", {experts, out, blocks, mxfp4_block / 2});
  const Entry& powers = bytes(name + "_scales", {experts, out, blocks});
  std::vector<Linear> result;
  for (int64_t expert = 0; expert < experts; ++expert) {
    const auto own = [&](std::span<const std::byte> all) {
      const size_t size = all.size() / static_cast<size_t>(experts);
      return all.subspan(static_cast<size_t>(expert) * size, size);
    };
    // The two may lie in two files; both live as long.
    const auto owner = std::make_shared<
        std::pair<std::shared_ptr<const MappedFile>, std::shared_ptr<const MappedFile>>>(
        numbers.file, powers.file);
    result.push_back(hold({{.owner = owner,
                            .numbers = own(numbers.data),
                            .powers = own(powers.data),
                            .rows = out,
                            .groups = turns ? 1 : 0}},
                          in));
  }
  return result;
}

at::Tensor SafetensorsCheckpoint::read(const std::string& name, at::IntArrayRef shape,
                                       at::ScalarType dtype) {
  Entry& entry = find(name, shape);
  if (!entry.dtype || !at::isFloatingType(*entry.dtype)) {
    throw InputError::format("{}: tensor {} is of type {}; expected F64, F32, F16 or BF16",
                             entry.file->path().string(), name, entry.type);
  }
  const std::byte* const data = entry.data.data();
  if (shape.size() == 2 && is_zero(entry.data)) zeros_.push_back(name);
  if (device_.is_meta()) return at::empty(shape, at::TensorOptions().dtype(dtype).device(device_));
  // The format does not promise that a tensor begins at a multiple of its element's size.
  const auto options = at::TensorOptions().dtype(*entry.dtype);
  if (reinterpret_cast<uintptr_t>(data) % at::elementSize(*entry.dtype) != 0) {
    at::Tensor copy = at::empty(shape, options);
    std::memcpy(copy.data_ptr(), data, copy.nbytes());
    return copy.to(at::TensorOptions().dtype(dtype).device(device_));
  }
  // The map stays alive as long as the tensor; it is read-only, and nothing writes to weights.
  const at::Tensor mapped = at::from_blob(
      const_cast<std::byte*>(data), shape, [file = entry.file](void*) {}, options);
  return mapped.to(at::TensorOptions().dtype(dtype).device(device_));
}

void SafetensorsCheckpoint::pass_over(const std::string& prefix) {
  for (auto& [name, entry] : tensors_) entry.used = entry.used || name.starts_with(prefix);
}

void SafetensorsCheckpoint::check_all_used() const {
  for (const auto& [name, entry] : tensors_) {
    if (entry.used || is_buffer(name)) continue;
    throw InputError::format(
        "{}: tensor {} has no place in the model that config.json describes: the two don't match, "
        "or the model has a part that is not supported",
        entry.file->path().string(), name);
  }
}

std::map<std::string, std::string> SafetensorsCheckpoint::types() const {
  std::map<std::string, std::string> result;
  for (const auto& [name, entry] : tensors_) result[name] = entry.type;
  return result;
}

std::vector<std::string> SafetensorsCheckpoint::passed_over() const {
  std::vector<std::string> notes;
  std::vector<std::string> others = weights_beside(folder_);
  std::erase_if(others, [&](const std::string& name) {
    return std::any_of(files_.begin(), files_.end(),
                       [&](const auto& file) { return file->path().filename() == name; });
  });
  const bool whole = files_.size() == 1 && files_[0]->path().filename() == "model.safetensors";
  if (whole && fs::exists(folder_ / "model.safetensors.index.json")) {
    others.push_back("model.safetensors.index.json");
  }
  if (!others.empty()) notes.push_back(fmt::format("not read: {}", fmt::join(others, ", ")));
  if (!zeros_.empty()) {
    notes.push_back(fmt::format("{} matri{} of zeros alone, as a broken download has them: {}{}",
                                zeros_.size(), zeros_.size() == 1 ? "x" : "ces", zeros_.front(),
                                zeros_.size() == 1 ? "" : ", ..."));
  }
  return notes;
}

void SafetensorsCheckpoint::fail_without_weights() const {
  for (const char* old : {"pytorch_model.bin", "pytorch_model.bin.index.json"}) {
    if (fs::exists(folder_ / old)) {
      throw InputError::format(
          "{}: PyTorch's pickle format can run code when it is read and is not supported; "
          "convert it once in Python: AutoModelForCausalLM.from_pretrained(\"{}\")"
          ".save_pretrained(OUT, safe_serialization=True)",
          (folder_ / old).string(), folder_.string());
    }
  }
  for (const char* name : {"model.safetensors", "model.safetensors.index.json"}) {
    refuse_broken_link(folder_ / name);
  }
  const std::vector<std::string> others = weights_beside(folder_);
  std::string help;
  if (!others.empty()) {
    const bool parts = others.front().find("-of-") != std::string::npos;
    help = fmt::format("; there is {}{}: ", others.front(),
                       others.size() > 1 ? fmt::format(" and {} more", others.size() - 1) : "");
    if (others.front().ends_with(".gguf")) {
      help += "give that file itself";
    } else if (parts) {
      help += "get the index, too, which says which parts there are";
    } else {
      help += "if that is the whole model, name it model.safetensors";
    }
  }
  throw InputError::format("{}: no model.safetensors and no model.safetensors.index.json{}",
                           folder_.string(), help);
}

int64_t SafetensorsCheckpoint::file_bytes() const {
  int64_t total = 0;
  for (const auto& file : files_) total += static_cast<int64_t>(file->bytes().size());
  return total;
}

std::map<std::string, int64_t> SafetensorsCheckpoint::stored() const {
  std::map<std::string, int64_t> result;
  for (const auto& [name, entry] : tensors_) {
    int64_t& elements = result[entry.type];
    elements += c10::multiply_integers(entry.shape);
  }
  return result;
}

std::string SafetensorsCheckpoint::sha256() const {
  return sha256_of(files_);
}

at::Tensor RandomWeights::get_exact(const std::string& name, at::IntArrayRef shape) {
  return get(name, shape).to(dtype_ == at::kDouble ? at::kDouble : at::kFloat);
}

uint64_t RandomWeights::seed_of(const std::string& name) const {
  // FNV-1a, so that the seed of a tensor doesn't hang on the standard library's hash.
  uint64_t seed = 14695981039346656037ULL ^ seed_;
  for (const char c : name) seed = (seed ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
  return seed;
}

at::Tensor RandomWeights::get(const std::string& name, at::IntArrayRef shape) {
  if (device_.is_meta()) return at::empty(shape, at::TensorOptions().dtype(dtype_).device(device_));
  if (name.ends_with("bias")) {
    return at::zeros(shape, at::TensorOptions().dtype(dtype_).device(device_));
  }
  if (shape.size() == 1) {
    return at::ones(shape, at::TensorOptions().dtype(dtype_).device(device_));
  }
  const uint64_t seed = seed_of(name);
  if (device_.is_cuda()) {  // made where it is used: billions of numbers are slow to bring there
    at::Generator generator = at::globalContext().defaultGenerator(device_).clone();
    generator.set_current_seed(seed);
    return at::empty(shape, at::TensorOptions().dtype(dtype_).device(device_))
        .normal_(0.0, 0.02, generator);
  }
  at::Generator generator = at::detail::createCPUGenerator(seed);
  return at::empty(shape, at::kFloat)
      .normal_(0.0, 0.02, generator)
      .to(at::TensorOptions().dtype(dtype_).device(device_));
}

std::vector<Linear> RandomWeights::get_mxfp4(const std::string& name, at::IntArrayRef shape,
                                             bool turns) {
  check_mxfp4_rows("random weights", name, shape[2]);
  // Powers that, with every number of E2M1 alike, give a standard deviation of about 0.02.
  constexpr auto power = std::byte{127 - 7};
  const int64_t experts = shape[0], out = shape[1], blocks = out * shape[2] / mxfp4_block;
  struct Memory {
    std::vector<std::byte> numbers, powers;
  };
  std::mt19937_64 generator(seed_of(name));
  std::vector<Linear> result;
  for (int64_t expert = 0; expert < experts; ++expert) {
    const auto memory = std::make_shared<Memory>();
    if (!device_.is_meta()) {
      memory->numbers.resize(blocks * mxfp4_block / 2);
      memory->powers.assign(blocks, power);
    }
    for (size_t i = 0; i + sizeof(uint64_t) <= memory->numbers.size(); i += sizeof(uint64_t)) {
      const uint64_t bits = generator();
      std::memcpy(memory->numbers.data() + i, &bits, sizeof bits);
    }
    result.push_back(hold({{.owner = memory,
                            .numbers = {memory->numbers.data(), static_cast<size_t>(blocks) * 16},
                            .powers = {memory->powers.data(), static_cast<size_t>(blocks)},
                            .rows = out,
                            .groups = turns ? 1 : 0}},
                          shape[2]));
  }
  return result;
}

}  // namespace sinkbench
