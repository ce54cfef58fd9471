#include "eval/run/cell_checkpoint.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/environment.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/sha256.h"
#include "eval/results/decision_file.h"
#include "eval/results/nll_file.h"

namespace sinkbench {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::string_view magic = "sinkbench checkpoint 1\n";
constexpr size_t hash_size = 64;  // hexadecimal digits
constexpr double seconds_between = 15.0;
constexpr double largest_share = 0.02;  // of the time, for writing

const std::vector<at::ScalarType> state_dtypes = {at::kFloat, at::kDouble, at::kBFloat16,
                                                  at::kHalf,  at::kLong,   at::kByte};

}  // namespace

CellIdentity cell_identity(const CellResult& result, const RunInfo& info) {
  CellIdentity identity = {{"model", result.model_sha256},
                           {"tokenizer", result.tokenizer_sha256},
                           {"text", result.dataset_sha256},
                           {"threads", std::to_string(result.threads)},
                           {"processor", info.machine.at("cpu")}};
  for (const auto& [name, value] : info.versions) {
    // The digest of the sources says more: these change with what no number hangs on.
    if (name != "sinkbench" && name != "commit") identity[name] = value;
  }
  CellResult bare;
  bare.cell = result.cell;
  json settings = to_json(Results{.info = {}, .cells = {bare}}).at("cells").at(0);
  settings.erase("threads");  // what was asked for; what there were is above
  json& policy = settings["policy"];
  if (const json& plugin = policy["plugin"]; !plugin.is_null()) {
    identity["plug-in"] = plugin["sha256"].get<std::string>();
  }
  policy.erase("plugin");
  identity["settings"] = settings.dump(-1, ' ', false, json::error_handler_t::replace);
  return identity;
}

std::string differences(const CellIdentity& a, const CellIdentity& b) {
  std::string names;
  const auto add = [&](const std::string& name) { names += (names.empty() ? "" : ", ") + name; };
  for (const auto& [name, value] : a) {
    const auto it = b.find(name);
    if (it == b.end() || it->second != value) add(name);
  }
  for (const auto& [name, value] : b) {
    if (!a.contains(name)) add(name);
  }
  return names;
}

fs::path checkpoint_path(const fs::path& nll_file) {
  return fs::path(nll_file).replace_extension(".checkpoint");
}

void write_checkpoint(const CellCheckpoint& checkpoint, const fs::path& path) {
  json tensors = json::array();
  std::vector<at::Tensor> all = checkpoint.state;
  all.insert(all.end(), checkpoint.answers.begin(), checkpoint.answers.end());
  all.insert(all.end(), checkpoint.divergence.begin(), checkpoint.divergence.end());
  for (const at::Tensor& tensor : all) {
    tensors.push_back(
        {{"dtype", at::toString(tensor.scalar_type())}, {"shape", tensor.sizes().vec()}});
  }
  const std::string header = json({{"identity", checkpoint.identity},
                                   {"next", checkpoint.next},
                                   {"scored", checkpoint.scored},
                                   {"nll_mean", checkpoint.nll_mean},
                                   {"seconds", checkpoint.seconds},
                                   {"decision_bytes", checkpoint.decision_bytes},
                                   {"state_tensors", checkpoint.state.size()},
                                   {"answer_tensors", checkpoint.answers.size()},
                                   {"tensors", tensors}})
                                 .dump(-1, ' ', false, json::error_handler_t::replace);
  AtomicFile file(path);
  Sha256 hash;
  const auto put = [&](std::span<const std::byte> bytes) {
    hash.update(bytes);
    file.write(bytes);
  };
  const uint64_t header_size = header.size();
  put(std::as_bytes(std::span(magic)));
  put(std::as_bytes(std::span(&header_size, 1)));
  put(std::as_bytes(std::span(header)));
  for (const at::Tensor& tensor : all) {
    const at::Tensor plain = tensor.cpu().contiguous();
    put({static_cast<const std::byte*>(plain.data_ptr()), plain.nbytes()});
  }
  file.write(hash.hex());
  file.commit();
}

CellCheckpoint read_checkpoint(const fs::path& path) {
  const MappedFile file(path);
  const auto damaged = [&] {
    return InputError::format("{}: the checkpoint is damaged", path.string());
  };
  uint64_t header_size = 0;
  const size_t begin = magic.size() + sizeof header_size;
  std::string_view rest = file.text();
  if (rest.size() < begin + hash_size || !rest.starts_with(magic)) throw damaged();
  const std::string_view hash = rest.substr(rest.size() - hash_size);
  rest.remove_suffix(hash_size);
  if (sha256_hex(rest) != hash) throw damaged();
  std::memcpy(&header_size, rest.data() + magic.size(), sizeof header_size);
  rest.remove_prefix(begin);
  if (header_size > rest.size()) throw damaged();
  const auto count = [&](const json& value) {
    const int64_t number = integer(value);
    if (number < 0) throw damaged();
    return number;
  };
  try {
    const json header = parse_json(rest.substr(0, header_size));
    rest.remove_prefix(header_size);
    CellCheckpoint checkpoint = {.identity = header.at("identity").get<CellIdentity>(),
                                 .next = count(header.at("next")),
                                 .state = {},
                                 .scored = count(header.at("scored")),
                                 .nll_mean = header.at("nll_mean").get<double>(),
                                 .divergence = {},
                                 .answers = {},
                                 .seconds = header.at("seconds").get<double>(),
                                 .decision_bytes = count(header.at("decision_bytes"))};
    const auto state_tensors = header.at("state_tensors").get<size_t>();
    const auto answer_tensors = header.at("answer_tensors").get<size_t>();
    for (const json& entry : header.at("tensors")) {
      const auto name = entry.at("dtype").get<std::string>();
      const auto dtype =
          std::find_if(state_dtypes.begin(), state_dtypes.end(),
                       [&](at::ScalarType candidate) { return name == at::toString(candidate); });
      if (dtype == state_dtypes.end()) throw damaged();
      std::vector<int64_t> shape;
      uint64_t bytes = at::elementSize(*dtype);
      uint64_t strides = bytes;  // the product without zeros, which LibTorch computes too
      for (const json& element : entry.at("shape")) {
        const int64_t size = count(element);
        shape.push_back(size);
        const auto factor = static_cast<uint64_t>(std::max<int64_t>(size, 1));
        if (__builtin_mul_overflow(strides, factor, &strides) || strides > uint64_t{1} << 62) {
          throw damaged();
        }
        bytes *= static_cast<uint64_t>(size);
      }
      if (bytes > rest.size()) throw damaged();
      const at::Tensor tensor = at::empty(shape, at::TensorOptions().dtype(*dtype));
      if (bytes > 0) std::memcpy(tensor.data_ptr(), rest.data(), bytes);
      rest.remove_prefix(bytes);
      (checkpoint.state.size() < state_tensors      ? checkpoint.state
       : checkpoint.answers.size() < answer_tensors ? checkpoint.answers
                                                    : checkpoint.divergence)
          .push_back(tensor);
    }
    return checkpoint;
  } catch (const json::exception&) {
    throw damaged();
  }
}

void forget_cell(const fs::path& nll_file) {
  std::error_code error;
  // In this order: a checkpoint must never meet the NLLs of another run of its cell.
  if (fs::remove(checkpoint_path(nll_file), error)) sync_folder(nll_file.parent_path());
  fs::remove(nll_part(nll_file), error);
  fs::remove(decision_path(nll_file).string() + ".part", error);
}

CheckpointClock::CheckpointClock() : interval_(seconds_between) {
  if (const auto seconds = number_from_environment("SINKBENCH_CHECKPOINT_SECONDS")) {
    interval_ = std::chrono::duration<double>(*seconds);
  }
  next_ = Clock::now() + std::chrono::duration_cast<Clock::duration>(interval_);
}

void CheckpointClock::written(Clock::time_point begin) {
  const auto now = Clock::now();
  const std::chrono::duration<double> took = now - begin;
  next_ =
      now + std::chrono::duration_cast<Clock::duration>(std::max(interval_, took / largest_share));
}

}  // namespace sinkbench
