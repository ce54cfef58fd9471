#include "training/checkpoint.h"

#include <c10/core/GradMode.h>
#include <torch/serialize/archive.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"

namespace sinkbench {
namespace {

namespace fs = std::filesystem;
using json = nlohmann::ordered_json;

/// The safetensors format: the length of a JSON header as 8 bytes, the header, the tensors' bytes.
std::string safetensors(const std::vector<TrainedModel::Parameter>& weights, bool bfloat16) {
  json header{{"__metadata__", {{"format", "pt"}}}};
  std::string data;
  for (const auto& [name, value] : weights) {
    const at::Tensor stored =
        value.to(at::kCPU, bfloat16 ? at::kBFloat16 : at::kFloat).contiguous();
    const size_t begin = data.size();
    data.append(static_cast<const char*>(stored.data_ptr()), stored.nbytes());
    header[name] = {{"dtype", bfloat16 ? "BF16" : "F32"},
                    {"shape", stored.sizes().vec()},
                    {"data_offsets", {begin, data.size()}}};
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  std::string bytes;
  for (int byte = 0; byte < 8; ++byte) {
    bytes.push_back(static_cast<char>(static_cast<uint64_t>(text.size()) >> (8 * byte)));
  }
  return bytes + text + data;
}

/// "training.seed: 1 there, 2 here" for all that differs between two identities.
std::string differences(const std::string& there, const std::string& here) {
  const json other = parse_json(there).flatten(), own = parse_json(here).flatten();
  std::string text;
  for (const auto& [path, value] : own.items()) {
    const auto found = other.find(path);
    if (found != other.end() && *found == value) continue;
    std::string name = path.substr(1);
    std::replace(name.begin(), name.end(), '/', '.');
    text += fmt::format("{}{}: {} there, {} here", text.empty() ? "" : ", ", name,
                        found == other.end() ? "nothing" : found->dump(), value.dump());
  }
  return text;
}

json llama_config(const TrainConfig& config, int64_t bos) {
  const ModelShape& shape = config.model;
  json result{{"architectures", {"LlamaForCausalLM"}},
              {"model_type", "llama"},
              {"vocab_size", shape.vocab},
              {"hidden_size", shape.hidden},
              {"intermediate_size", shape.mlp},
              {"num_hidden_layers", shape.layers},
              {"num_attention_heads", shape.heads},
              {"num_key_value_heads", shape.heads},
              {"head_dim", shape.hidden / shape.heads},
              {"max_position_embeddings", config.schedule.sample_tokens},
              {"rope_theta", shape.rope_theta},
              {"rms_norm_eps", shape.norm_eps},
              {"hidden_act", "silu"},
              {"attention_bias", false},
              {"mlp_bias", false},
              {"tie_word_embeddings", true},
              {"bos_token_id", bos},
              {"initializer_range", 0.02},
              {"torch_dtype", config.export_bfloat16 ? "bfloat16" : "float32"}};
  if (shape.zero_sink) result["constant_sink_logit"] = 0;
  if (shape.learned_sink_logits) result["learned_sink_logits"] = true;
  return result;
}

}  // namespace

void save_state(const TrainingState& state, const fs::path& file) {
  torch::serialize::OutputArchive archive;
  archive.write("step", c10::IValue(state.step));
  archive.write("identity", c10::IValue(state.identity));
  for (size_t i = 0; i < state.weights.size(); ++i) {
    archive.write(fmt::format("weight{}", i), state.weights[i].detach().cpu());
    archive.write(fmt::format("mean{}", i), state.means[i].cpu());
    archive.write(fmt::format("square{}", i), state.squares[i].cpu());
  }
  std::ostringstream bytes;
  archive.save_to(bytes);
  write_file_atomically(file, bytes.str());
}

void load_state(const fs::path& file, TrainingState& state) {
  const at::NoGradGuard no_gradients;
  torch::serialize::InputArchive archive;
  try {
    archive.load_from(file.string());
    c10::IValue step, identity;
    archive.read("step", step);
    archive.read("identity", identity);
    if (identity.toStringRef() != state.identity) {
      throw InputError::format(
          "{}: a checkpoint of another training ({}); choose another --out, or remove the file to "
          "begin anew",
          file.string(), differences(identity.toStringRef(), state.identity));
    }
    for (size_t i = 0; i < state.weights.size(); ++i) {
      for (const auto& [name, tensor] :
           {std::pair{"weight", &state.weights[i]}, std::pair{"mean", &state.means[i]},
            std::pair{"square", &state.squares[i]}}) {
        at::Tensor saved;
        archive.read(fmt::format("{}{}", name, i), saved);
        tensor->copy_(saved);
      }
    }
    state.step = step.toInt();
  } catch (const c10::Error& error) {
    throw InputError::format("{}: not a checkpoint of a training: {}", file.string(),
                             error.what_without_backtrace());
  }
}

void export_huggingface(const TrainedModel& model, const TrainConfig& config,
                        const fs::path& tokenizer_json, int64_t bos, const fs::path& folder) {
  fs::create_directories(folder);
  write_file_atomically(folder / "tokenizer.json", read_file(tokenizer_json));
  write_file_atomically(folder / "model.safetensors",
                        safetensors(model.huggingface_weights(), config.export_bfloat16));
  write_file_atomically(folder / "config.json", llama_config(config, bos).dump(2) + "\n");
}

}  // namespace sinkbench
