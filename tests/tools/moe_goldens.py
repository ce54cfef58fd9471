"""Tiny checkpoints of mixtures of experts, in the format in which each family is saved, and what
transformers' modeling code gives on them: tests/data/families/{mixtral,qwen2_moe,qwen3_moe,olmoe,glm4_moe,gpt_oss}, and
gpt_oss_mxfp4, whose experts are stored in MXFP4 and were decoded by transformers' own code. All layers of qwen2_moe_all
and qwen3_moe_all have experts, since a GGUF file can't say that some have none.

    pip install transformers torch
    python3 tests/tools/moe_goldens.py tests/data/families
"""
import json
import pathlib
import sys

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers.integrations.mxfp4 import convert_moe_packed_tensors
from transformers import (Glm4MoeConfig, Glm4MoeForCausalLM, GptOssConfig, GptOssForCausalLM, MixtralConfig,
                          MixtralForCausalLM, OlmoeConfig, OlmoeForCausalLM, Qwen2MoeConfig, Qwen2MoeForCausalLM,
                          Qwen3MoeConfig, Qwen3MoeForCausalLM)

torch.set_grad_enabled(False)
torch.set_num_threads(2)  # last digits depend on it
common = dict(vocab_size=80, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
              max_position_embeddings=256, bos_token_id=78, eos_token_id=78, pad_token_id=None)
models = {
    "mixtral": (MixtralForCausalLM, MixtralConfig(
        **common, intermediate_size=24, num_local_experts=5, num_experts_per_tok=2, sliding_window=None,
        rope_theta=1e6)),
    # A layer of the first kind, then every second with experts; a gated shared expert; no normalisation.
    "qwen2_moe": (Qwen2MoeForCausalLM, Qwen2MoeConfig(
        **{**common, "num_hidden_layers": 4}, intermediate_size=40, moe_intermediate_size=24,
        shared_expert_intermediate_size=48, num_experts=6, num_experts_per_tok=3, norm_topk_prob=False,
        decoder_sparse_step=2, mlp_only_layers=[])),
    "qwen2_moe_all": (Qwen2MoeForCausalLM, Qwen2MoeConfig(
        **common, intermediate_size=40, moe_intermediate_size=24, shared_expert_intermediate_size=48, num_experts=6,
        num_experts_per_tok=3, norm_topk_prob=False, mlp_only_layers=[])),
    "qwen3_moe": (Qwen3MoeForCausalLM, Qwen3MoeConfig(
        **common, head_dim=16, intermediate_size=40, moe_intermediate_size=24, num_experts=8,
        num_experts_per_tok=3, norm_topk_prob=True, mlp_only_layers=[1])),
    "qwen3_moe_all": (Qwen3MoeForCausalLM, Qwen3MoeConfig(
        **common, head_dim=16, intermediate_size=40, moe_intermediate_size=24, num_experts=8,
        num_experts_per_tok=3, norm_topk_prob=True, mlp_only_layers=[])),
    "olmoe": (OlmoeForCausalLM, OlmoeConfig(
        **{**common, "num_key_value_heads": 4}, intermediate_size=24, num_experts=6, num_experts_per_tok=2)),
    # A sigmoid's scores with a correction for the choice, a shared expert without a gate, a first layer without any.
    "glm4_moe": (Glm4MoeForCausalLM, Glm4MoeConfig(
        **common, head_dim=16, intermediate_size=40, moe_intermediate_size=24, n_routed_experts=6, n_shared_experts=2,
        num_experts_per_tok=2, first_k_dense_replace=1, routed_scaling_factor=1.5, norm_topk_prob=True, n_group=1,
        topk_group=1, attention_bias=True, use_qk_norm=True,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6, "partial_rotary_factor": 0.5})),
    "gpt_oss": (GptOssForCausalLM, GptOssConfig(
        **{**common, "num_hidden_layers": 4}, head_dim=16, intermediate_size=24, num_local_experts=5,
        num_experts_per_tok=2, sliding_window=20,
        rope_parameters={"rope_type": "yarn", "rope_theta": 150000.0, "factor": 32.0, "beta_fast": 32.0,
                         "beta_slow": 1.0, "truncate": False, "original_max_position_embeddings": 64})),
}


yarn = models["gpt_oss"][1].rope_parameters
models["gpt_oss_mxfp4"] = (GptOssForCausalLM, GptOssConfig(
    **{**common, "hidden_size": 64, "num_hidden_layers": 2}, head_dim=16, intermediate_size=96, num_local_experts=3,
    num_experts_per_tok=2, sliding_window=20, rope_parameters=dict(yarn)))


def store_in_mxfp4(folder, model):
    """Random blocks in place of the experts' matrices, in the model and in its files."""
    tensors = load_file(folder / "model.safetensors")
    for index, layer in enumerate(model.model.layers):
        for name in ("gate_up_proj", "down_proj"):
            matrices = getattr(layer.mlp.experts, name)  # [experts, in, out]
            experts, rows, out = matrices.shape
            blocks = torch.randint(0, 256, (experts, out, rows // 32, 16), dtype=torch.uint8)
            scales = torch.randint(122, 126, (experts, out, rows // 32), dtype=torch.uint8)
            decoded = convert_moe_packed_tensors(blocks, scales, dtype=torch.bfloat16)
            assert decoded.shape == matrices.shape
            matrices.copy_(decoded)
            key = f"model.layers.{index}.mlp.experts.{name}"
            del tensors[key]
            tensors[key + "_blocks"], tensors[key + "_scales"] = blocks, scales
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "mxfp4", "modules_to_not_convert": [
        "model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]}
    (folder / "config.json").write_text(json.dumps(config, indent=2))


def nll(model, ids):
    logits = model(torch.tensor([ids[:-1]]), use_cache=False).logits[0].double()
    logs = torch.log_softmax(logits, -1)
    return [-logs[i, ids[i + 1]].item() for i in range(len(ids) - 1)]


def recompute(model, ids, window):
    """The token t + 1 after a pass over the last `window` tokens, t among them."""
    result = []
    for t in range(len(ids) - 1):
        part = ids[max(0, t - window + 1):t + 1]
        logits = model(torch.tensor([part]), use_cache=False).logits[0, -1].double()
        result.append(-torch.log_softmax(logits, -1)[ids[t + 1]].item())
    return result


def streaming(model, ids, sinks, window):
    """The loop of mit-han-lab/streaming-llm: feed a token, score the next, then evict down to the first `sinks` and the
    last `window`. Keys are cached as they come and rotated for each query at their places within the cache. A layer
    with a window of its own sees what of the cache lies within it, at the places of the stream."""
    code = sys.modules[type(model).__module__]
    rotate, attend = code.apply_rotary_pos_emb, code.eager_attention_forward
    cache, kept = transformers.DynamicCache(), []  # the places in the stream of what is cached

    def attend_to_cache(module, query, key, value, mask, sliding_window=None, **more):
        places = torch.arange(len(kept))
        if sliding_window is not None:
            places = torch.tensor(kept)
            near = places > places[-1] - sliding_window
            places, key, value = places[near], key[:, :, near], value[:, :, near]
        cos, sin = model.model.rotary_emb(value, position_ids=places[None])
        _, key = rotate(key, key, cos, sin)
        query, _ = rotate(query, query, cos[:, -1:], sin[:, -1:])
        return attend(module, query, key, value, None, **more)

    code.apply_rotary_pos_emb = lambda query, key, cos, sin: (query, key)
    code.eager_attention_forward = attend_to_cache
    result = []
    for t in range(len(ids) - 1):
        kept.append(t)
        logits = model(torch.tensor([[ids[t]]]), past_key_values=cache).logits[0, -1].double()
        result.append(-torch.log_softmax(logits, -1)[ids[t + 1]].item())
        if len(kept) > sinks + window:
            del kept[sinks]
            for layer in cache.layers:
                layer.keys, layer.values = (torch.cat([x[:, :, :sinks], x[:, :, sinks + 1:]], 2)
                                            for x in (layer.keys, layer.values))
    code.apply_rotary_pos_emb, code.eager_attention_forward = rotate, attend
    return result


def in_float64():
    """From here on float32 stands for float64 in the modeling code, which names it in norms, softmax and
    positions."""
    softmax = torch.nn.functional.softmax
    torch.nn.functional.softmax = lambda x, dim=None, dtype=None, **more: softmax(x, dim=dim, dtype=torch.float64)
    torch.Tensor.float = torch.Tensor.double
    torch.float32 = torch.float = torch.float64
    torch.set_default_dtype(torch.float64)


root = pathlib.Path(sys.argv[1])
made = {}
for name, (kind, config) in models.items():
    torch.manual_seed(7)
    config._attn_implementation = "eager"
    model = kind(config).eval()
    for parameter_name, parameter in model.named_parameters():
        if parameter.dim() == 1 and "norm" in parameter_name:
            parameter.normal_(1, 0.2)
        else:
            parameter.normal_(0, 0.6 if "gate.weight" in parameter_name or "router" in parameter_name else 0.25)
        parameter.copy_(parameter.to(torch.bfloat16))  # what is stored is what is computed with
    for buffer_name, buffer in model.named_buffers():
        if buffer_name.endswith("e_score_correction_bias"):
            buffer.normal_(0, 0.3)
            buffer.copy_(buffer.to(torch.bfloat16))
    folder = root / name
    folder.mkdir(exist_ok=True)
    model.to(torch.bfloat16).save_pretrained(folder)
    for extra in folder.glob("generation_config.json"):
        extra.unlink()
    if name.endswith("mxfp4"):
        store_in_mxfp4(folder, model)
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(0, 80, (64,), generator=generator).tolist()
    ids[20:30] = ids[3:13]
    (folder / "tokens.json").write_text(json.dumps(ids))
    made[name] = (folder, model, ids)


def write(file, precision):
    for name, (folder, model, ids) in made.items():
        config = models[name][1]
        config._attn_implementation, config._experts_implementation = "eager", "eager"
        exact = models[name][0](config).eval()  # anew, for its table of positions
        exact.load_state_dict(model.state_dict())
        exact.to(torch.get_default_dtype())
        window = 15
        versions = f"transformers {transformers.__version__}, torch {torch.__version__}"
        result = {"computed_by": f"{versions}, eager, {precision}",
                  "tokens": len(ids), "dense_nll": nll(exact, ids),
                  "recompute": {"window": window, "nll": recompute(exact, ids, window)}}
        caches = [{"sinks": 4, "window": 12}, {"sinks": 0, "window": 16}]
        if name == "gpt_oss":
            caches.append({"sinks": 2, "window": 40})  # more than its layers' windows
        if "sliding_attention" in (getattr(config, "layer_types", None) or []):
            result["policies"] = [{"policy": "sinks", "arguments": cache, "nll": streaming(exact, ids, **cache)}
                                  for cache in caches]
        else:
            result["streaming"] = [{**cache, "nll": streaming(exact, ids, **cache)} for cache in caches]
        (folder / file).write_text(json.dumps(result, indent=1))
        print(name, sum(result["dense_nll"]) / len(result["dense_nll"]), sum(p.numel() for p in model.parameters()))


write("expected.json", "float32")
in_float64()
write("expected_f64.json", "float64")
