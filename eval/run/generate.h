// Texts that a model writes under policies: what a cache does to what comes out.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <span>
#include <vector>

#include "eval/experiment/experiment.h"
#include "eval/results/generation.h"
#include "models/decoder.h"
#include "policies/policy.h"

namespace sinkbench {

/// The next token of logits [1, vocab]. Draw number `step` of a seed is the same on every machine;
/// among equally likely tokens the one of the lowest id comes first.
int32_t sample(const at::Tensor& logits, const Sampling& sampling, int64_t step);

/// Writes after a prompt of one token or more: one token after the other through a cache that holds
/// what the policy keeps, the prompt's too, stored as `storage` says. `written` gets each token
/// that is written; where it returns false, the text ends. Fills in ids, first_eviction, stopped,
/// seconds and steps. InputError where the model can't be run under the policy on so many tokens,
/// or under one that sees queries before they come.
Generated generate(const Decoder& decoder, const Policy& policy, std::span<const int32_t> prompt,
                   int64_t tokens, const Sampling& sampling, std::span<const int32_t> stop,
                   const std::function<bool(int32_t)>& written, const StorageSpec& storage = {});

/// Generates under the policies of cells of one model, one after the other. InputError for what is
/// wrong with model, tokenizer, prompt or policies, before anything is written.
Generation run_generation(const std::vector<Cell>& cells, const std::string& prompt,
                          const GenerationOptions& options, const TextSink& sink);

}  // namespace sinkbench
