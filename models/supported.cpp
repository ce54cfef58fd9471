#include "models/supported.h"

namespace sinkbench {

const std::vector<SupportedFamily>& supported_families() {
  static const std::vector<SupportedFamily> families = {
      {"llama", "llama",
       "Llama 1 to 3, TinyLlama, SmolLM, Yi, Vicuna and others of LlamaForCausalLM"},
      {"mistral", "", "Mistral 7B, Zephyr and others of MistralForCausalLM"},
      {"qwen2", "qwen2", "Qwen2, Qwen2.5 and others of Qwen2ForCausalLM"},
      {"qwen3", "qwen3", "Qwen3's dense models (Qwen3ForCausalLM)"},
      {"phi3", "phi3", "Phi-3 and Phi-4 mini, Phi-3 medium (Phi3ForCausalLM)"},
      {"gpt_neox", "gptneox", "GPT-NeoX, Pythia, RedPajama and others of GPTNeoXForCausalLM"},
      {"falcon", "falcon", "Falcon 7B, 40B, 180B, RW and Falcon 2 (FalconForCausalLM)"},
      {"mpt", "mpt", "MPT 7B and 30B (MptForCausalLM)"},
      {"gpt2", "gpt2", "GPT-2 and DistilGPT2 (GPT2LMHeadModel); policies dense and recompute only"},
      {"gemma2", "gemma2", "Gemma 2 (Gemma2ForCausalLM)"},
      {"gemma3_text", "gemma3", "Gemma 3 (Gemma3ForCausalLM)"},
      {"gemma3", "", "the text part of Gemma 3 with images (Gemma3ForConditionalGeneration)"},
      {"smollm3", "smollm3", "SmolLM3 (SmolLM3ForCausalLM)"},
      {"granite", "granite", "Granite 3's dense models (GraniteForCausalLM)"},
      {"olmo2", "olmo2", "OLMo 2 (Olmo2ForCausalLM)"},
      {"olmo3", "", "OLMo 3 (Olmo3ForCausalLM)"},
      {"phi", "phi2", "Phi-1, Phi-1.5 and Phi-2 (PhiForCausalLM)"},
      {"starcoder2", "starcoder2", "StarCoder 2 (Starcoder2ForCausalLM)"},
      {"opt", "", "OPT (OPTForCausalLM); policies dense and recompute only"},
      {"mixtral", "llama", "Mixtral 8x7B and 8x22B (MixtralForCausalLM)"},
      {"qwen2_moe", "qwen2moe", "Qwen1.5-MoE and Qwen2-MoE (Qwen2MoeForCausalLM)"},
      {"qwen3_moe", "qwen3moe", "Qwen3's mixtures of experts (Qwen3MoeForCausalLM)"},
      {"olmoe", "olmoe", "OLMoE (OlmoeForCausalLM)"},
      {"glm4_moe", "", "GLM-4.5, 4.6 and 4.7 (Glm4MoeForCausalLM)"},
      {"gpt_oss", "gpt-oss", "gpt-oss, its experts in MXFP4 or bfloat16 (GptOssForCausalLM)"},
  };
  return families;
}

const std::vector<Unsupported>& unsupported_families() {
  static const std::vector<Unsupported> families = {
      {"granitemoe", "mixtures of experts"},
      {"phimoe", "mixtures of experts"},
      {"llama4", "mixtures of experts, attention in chunks"},
      {"deepseek_v2", "mixtures of experts, latent attention"},
      {"deepseek_v3", "mixtures of experts, latent attention"},
      {"gemma3n", "inputs of their own for each layer, layers that share keys and values"},
      {"mamba", "layers without attention"},
      {"mamba2", "layers without attention"},
      {"qwen3_next", "layers without attention, mixtures of experts"},
      {"gptj", "queries and keys whose neighbouring dimensions are rotated together"},
      {"bloom", "a norm of the embedding"},
      {"chatglm", "two-dimensional positions"},
      {"mistral3", "images; its text part is saved as mistral"},
      {"llava", "images"},
  };
  return families;
}

namespace {

constexpr std::pair<const char*, const char*> endings[] = {
    {".qweight", "GPTQ or AWQ"},
    {".qzeros", "GPTQ or AWQ"},
    {".g_idx", "GPTQ or AWQ"},
    {".absmax", "bitsandbytes"},
    {".quant_map", "bitsandbytes"},
    {".nested_absmax", "bitsandbytes"},
    {".quant_state.bitsandbytes__nf4", "bitsandbytes"},
    {".quant_state.bitsandbytes__fp4", "bitsandbytes"},
    {".SCB", "bitsandbytes"},
    {".weight_packed", "compressed-tensors or FP8"},
    {".weight_scale", "compressed-tensors or FP8"},
    {".weight_scale_inv", "FP8"},
    {".input_scale", "FP8"},
    {".weight_scale_2", "NVFP4"},
    {".scales", "MLX"},
    {".biases", "MLX"},
    {"_blocks", "MXFP4"},
    {"_scales", "MXFP4"},
};

}  // namespace

std::span<const std::pair<const char*, const char*>> quantised_endings() {
  return endings;
}

std::string quantised_methods() {
  std::string names;
  for (const auto& [ending, method] : endings) {
    if (names.find(method) == std::string::npos) {
      names += (names.empty() ? "" : ", ") + std::string(method);
    }
  }
  return names;
}

}  // namespace sinkbench
