// What `sinkbench train` reads: a YAML file (configs/train/README.md lists the keys).
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace sinkbench {

struct ModelShape {
  int64_t layers = 4;
  int64_t hidden = 192;
  int64_t heads = 6;
  int64_t mlp = 512;
  int64_t vocab = 2048;  // the tokenizer's
  double rope_theta = 10000;
  double norm_eps = 1e-5;
  bool zero_sink = false;              // SoftMax-off-by-one in every head
  bool learned_sink_logits = false;    // a logit for each head in its softmax's denominator
  std::filesystem::path initial = {};  // a model of this shape to begin with; empty: random weights
};

struct CorpusConfig {
  std::vector<std::filesystem::path> text;  // as DocumentReader takes them
  std::string text_field = "text";
  std::vector<std::string> exclude_titles;  // parts of titles, in lower case, of documents left out
  double held_out = 0.02;                   // share of the documents that is never trained on
};

struct TokenizerConfig {
  std::filesystem::path path;         // a tokenizer.json; empty: a byte-level BPE is trained
  int64_t vocab = 2048;               // of the one that is trained
  int64_t sample_bytes = 32'000'000;  // text that it is trained on, from the corpus's start
};

struct ScheduleConfig {
  int64_t steps = 1000;
  int64_t batch = 12;           // samples a step
  int64_t sample_tokens = 256;  // what the model is fed, the BOS included
  double learning_rate = 4e-3;  // the peak
  double final_learning_rate = 4e-4;
  int64_t warmup_steps = 200;
  double weight_decay = 0.1;  // of matrices, not of norms
  double beta1 = 0.9;
  double beta2 = 0.95;
  double clip_norm = 1.0;         // of the whole gradient
  double bos_probability = 1;     // of a sample that begins with the BOS
  double repeat_probability = 0;  // of a sample that holds a passage twice in a row
  int64_t repeat_min_tokens = 16;
  int64_t repeat_max_tokens = 128;
  bool bfloat16 = false;  // matrix products in bfloat16; else float32
  uint64_t seed = 1;
};

struct TrainConfig {
  std::string name;
  CorpusConfig corpus;
  TokenizerConfig tokenizer;
  ModelShape model;
  ScheduleConfig schedule;
  at::Device device = at::kCPU;
  int64_t checkpoint_steps = 500;
  int64_t validation_steps = 500;  // between measurements of held-out loss and sinks
  int64_t validation_samples = 96;
  bool export_bfloat16 = true;  // the weights of the Hugging Face folder; else float32

  /// All that decides the numbers, as a JSON object: a training goes on only under the same.
  /// `corpus_key` stands for the corpus (Corpus::key).
  std::string identity(const std::string& corpus_key) const;
};

/// Whether the device has instructions for bfloat16 products, without which float32 is faster.
bool has_bfloat16_products(at::Device device);

/// Reads and checks a YAML file; relative paths in it are relative to its folder. `overrides` are
/// "section.key=value". InputError names the file, the line, the key, the value and what was
/// expected; of an unknown key also the nearest valid one. What the file leaves to the machine (the
/// device, the precision of products) is decided.
TrainConfig load_train_config(const std::filesystem::path& file,
                              const std::vector<std::string>& overrides = {});

}  // namespace sinkbench
