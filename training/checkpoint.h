// What a training leaves on disk: the state it goes on from, and the model in Hugging Face's form.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "training/model.h"

namespace sinkbench {

struct TrainingState {
  int64_t step = 0;                 // steps done
  std::string identity;             // TrainConfig::identity
  std::vector<at::Tensor> weights;  // as TrainedModel::parameters
  std::vector<at::Tensor> means;    // AdamW's first moments
  std::vector<at::Tensor> squares;  // and second
};

/// Written atomically: an interruption at any moment leaves the old checkpoint or the new one.
void save_state(const TrainingState& state, const std::filesystem::path& file);

/// Copies a checkpoint's tensors into those of `state` and sets its step. InputError where the file
/// isn't a checkpoint, or is one of another training: it names what differs in `identity`.
void load_state(const std::filesystem::path& file, TrainingState& state);

/// Writes config.json, model.safetensors and tokenizer.json into `folder`, each atomically.
void export_huggingface(const TrainedModel& model, const TrainConfig& config,
                        const std::filesystem::path& tokenizer_json, int64_t bos,
                        const std::filesystem::path& folder);

}  // namespace sinkbench
