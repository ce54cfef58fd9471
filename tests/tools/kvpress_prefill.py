#!/usr/bin/env python3
"""NVIDIA's kvpress 0.5.5 in its prefill form, beside sinkbench's `prompt: N`.

The prompt (the first N ids) is read in one pass inside `with press(model):`, which cuts the cache; the
other ids are then fed one at a time with their true positions, without the press (but for
PrefillDecodingPress, which goes on). Everything of kvpress is as installed. What transformers does in
float32 in a float64 model (RMSNorm, angles of rotary embeddings, softmax of eager attention) is done in
float64, unless --stock is given.

    kvpress_prefill.py [--stock] [--out FILE] [--compare PROGRAM] [--only TEXT]

Needs kvpress 0.5.5, transformers 5.2 and torch. --compare runs sinkbench on each and prints a table. Attention is eager, but for AdaKVPress and
DuoAttentionPress, which refuse it: sdpa. `evicted` is what the prompt's round evicted."""
import argparse, array, json, logging, os, subprocess, sys, tempfile, types
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
import torch
import kvpress
from kvpress import (AdaKVPress, DecodingPress, DuoAttentionPress, ExpectedAttentionPress, KeyDiffPress,
                     KeyRerotationPress, KnormPress, LagKVPress, ObservedAttentionPress,
                     PerLayerCompressionPress, PrefillDecodingPress, PyramidKVPress, SnapKVPress,
                     StreamingLLMPress, TOVAPress)
from transformers import AutoModelForCausalLM, DynamicCache
from transformers.models.llama import modeling_llama
from transformers.models.qwen2 import modeling_qwen2

logging.disable(logging.WARNING)
torch.set_num_threads(2)
DATA = Path(__file__).resolve().parents[1] / "data"
IDS, N = 136, 96
LONG = 100000  # `every` that brings no further round


# ---- transformers in float64 throughout ---------------------------------------------------------------
def in_float64():
    def norm(self, x):
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))

    def rotary(self, x, position_ids):
        rope = self.config.rope_parameters
        dim = getattr(self.config, "head_dim", None) or self.config.hidden_size // self.config.num_attention_heads
        inv = 1.0 / rope["rope_theta"] ** (torch.arange(0, dim, 2, dtype=torch.float64) / dim)
        freqs = position_ids[..., None].double() * inv
        emb = torch.cat((freqs, freqs), dim=-1)
        return emb.cos(), emb.sin()

    def eager(module, query, key, value, attention_mask, scaling, dropout=0.0, **kwargs):
        key = modeling_llama.repeat_kv(key, module.num_key_value_groups)
        value = modeling_llama.repeat_kv(value, module.num_key_value_groups)
        weights = query @ key.transpose(2, 3) * scaling
        if attention_mask is not None:
            weights = weights + attention_mask
        weights = weights.softmax(-1)
        return (weights @ value).transpose(1, 2).contiguous(), weights

    for m, name in ((modeling_llama, "Llama"), (modeling_qwen2, "Qwen2")):
        getattr(m, name + "RMSNorm").forward = norm
        getattr(m, name + "RotaryEmbedding").forward = rotary
        m.eager_attention_forward = eager


# ---- presses that must be told something ---------------------------------------------------------------
class Duo(DuoAttentionPress):
    """With a pattern that is given, in place of one that is downloaded."""
    def post_init_from_model(self, model):
        self.sink_size, self.recent_size = 4, 20
        mask = torch.zeros(model.config.num_hidden_layers, model.config.num_key_value_heads, dtype=bool)
        mask[0, 1] = mask[1, 0] = mask[-1, 1] = True
        self.streaming_mask = mask


def ratio(kept):
    r = 1 - kept / N
    assert int(N * (1 - r)) == kept, (kept, r)
    return r


def name_of(press):
    return "DuoAttentionPress" if isinstance(press, Duo) else type(press).__name__


def named(press):
    """As JSON."""
    if isinstance(press, Duo):
        return {"sink_size": press.sink_size, "recent_size": press.recent_size,
                "streaming_mask": press.streaming_mask.int().tolist()}
    result = {}
    for key, value in vars(press).items():
        if isinstance(value, kvpress.presses.base_press.BasePress):
            value = {"press": name_of(value), "press_arguments": named(value)}
        elif not isinstance(value, (int, float, str, bool, list)):
            continue
        if key in ("layer_step_counts", "hidden_states_buffer", "streaming_mask", "compression_ratio_"):
            continue
        result[key] = value
    return result


class Case:
    def __init__(self, press, policy, attn="eager", positions="original", equal=True, note="not in the file"):
        self.press, self.attn, self.positions, self.equal, self.note = press, attn, positions, equal, note
        # Keys that are masked keep a trace of weight; angles of re-rotation are float32 in kvpress.
        self.tolerance = 1e-5 if positions == "cache" else 1e-7 if attn == "sdpa" else 1e-8
        (name, own), = policy.items()
        self.policy = {name: {"prompt": N, "every": LONG, "positions": positions, **own}}


def cases(layers):
    none = {"sinks": 0, "recent": 0}
    r = ratio(48)
    all_ = []
    add = lambda *a, **k: all_.append(Case(*a, **k))
    add(lambda: KnormPress(r), {"knorm": {"capacity": 48, **none}})
    add(lambda: KnormPress(ratio(24)), {"knorm": {"capacity": 24, **none}}, equal=False)
    add(lambda: KeyDiffPress(r), {"keydiff": {"capacity": 48, **none}})
    add(lambda: TOVAPress(r), {"tova": {"capacity": 48, "sinks": 0, "recent": 1}})
    add(lambda: TOVAPress(r), {"tova": {"capacity": 48, "sinks": 0, "recent": 1}}, attn="sdpa", equal=False,
        note="sdpa: weights computed anew")
    add(lambda: SnapKVPress(r, window_size=8, kernel_size=5),
        {"snapkv": {"capacity": 48, **none, "rows": 8, "pool": 5}})
    add(lambda: SnapKVPress(ratio(24), window_size=1, kernel_size=1),
        {"snapkv": {"capacity": 24, **none, "rows": 1, "pool": 1}}, equal=False)
    add(lambda: SnapKVPress(ratio(72)), {"snapkv": {"capacity": 72, "preset": "paper", "every": LONG}}, equal=False,
        note="defaults of kvpress, preset: paper")
    add(lambda: SnapKVPress(r, window_size=8, kernel_size=5),
        {"snapkv": {"capacity": 48, **none, "rows": 8, "pool": 5}}, attn="sdpa", equal=False,
        note="sdpa: weights computed anew")
    add(lambda: ObservedAttentionPress(r), {"h2o": {"capacity": 48, **none, "score": "mean"}})
    add(lambda: ObservedAttentionPress(ratio(24)), {"h2o": {"capacity": 24, **none, "score": "mean"}}, equal=False)
    add(lambda: LagKVPress(r, n_sink=4, lag_size=16),
        {"lagkv": {"capacity": 48, "sinks": 4, "recent": 0, "lag": 16}})
    add(lambda: LagKVPress(1 - 46.5 / N, n_sink=4, lag_size=16),
        {"lagkv": {"capacity": 46, "sinks": 4, "recent": 0, "lag": 16}}, equal=False, note="ranks tie at the cut")
    add(lambda: LagKVPress(r, n_sink=4, lag_size=16, cross_scoring=True),
        {"lagkv": {"capacity": 48, "sinks": 4, "recent": 0, "lag": 16, "score": "share"}})
    add(lambda: LagKVPress(r), {"lagkv": {"capacity": 48, "sinks": 4, "recent": 0}}, equal=False,
        note="shorter than 4 + 2 x 128: the oldest go")
    ea = lambda **k: {"expected_attention": {"capacity": 48, "sinks": 4, "recent": 0, **k}}
    add(lambda: ExpectedAttentionPress(r), ea())
    add(lambda: ExpectedAttentionPress(r, n_future_positions=32, epsilon=0.01), ea(future=32, epsilon=0.01))
    add(lambda: ExpectedAttentionPress(r, use_covariance=False), ea(moments="mean"))
    add(lambda: ExpectedAttentionPress(r, use_vnorm=False), ea(), equal=False, note="no vnorm")
    add(lambda: StreamingLLMPress(r, n_sink=4), {"latest": {"capacity": 48, "sinks": 4, "recent": 0}})
    # Budgets.
    add(lambda: PyramidKVPress(r, window_size=4, kernel_size=5, beta=4),
        {"snapkv": {"budget": {"by_layer": pyramid(layers, 48, 4, 4)}, **none, "rows": 4, "pool": 5}})
    for c in (48, 52):
        add(lambda: PyramidKVPress(r, window_size=4, kernel_size=5, beta=4),
            {"snapkv": {"capacity": c, "budget": {"pyramid": {"beta": 4}}, **none, "rows": 4, "pool": 5}},
            equal=False, note=f"sinkbench's own pyramid at capacity {c}")
    add(lambda: PyramidKVPress(ratio(24), window_size=8, kernel_size=5, beta=20),
        {"snapkv": {"capacity": 24, **none, "rows": 8, "pool": 5}}, equal=False,
        note="24 / 20 is less than the window: kvpress falls back to SnapKV")
    ratios = ([0.25, 0.5, 0.75] if layers == 3 else [0.25, 0.75])
    add(lambda: PerLayerCompressionPress(KnormPress(), ratios),
        {"knorm": {"budget": {"by_layer": [int(N * (1 - x)) for x in ratios]}, **none}}, equal=False)
    snap = lambda: SnapKVPress(r, window_size=8, kernel_size=5)
    snapp = lambda **k: {"snapkv": {"capacity": 48, **none, "rows": 8, "pool": 5, **k}}
    adaptive = lambda f: {"budget": {"adaptive": {"floor": f}}}
    add(lambda: AdaKVPress(snap(), alpha_safeguard=0.0), snapp(**adaptive(0)), attn="sdpa")
    add(lambda: AdaKVPress(snap(), alpha_safeguard=0.2), snapp(**adaptive(0)), attn="sdpa", equal=False,
        note="no head is at its floor in kvpress")
    add(lambda: AdaKVPress(snap(), alpha_safeguard=0.2), snapp(**adaptive(0.2)), attn="sdpa", equal=False)
    add(lambda: AdaKVPress(snap(), alpha_safeguard=1.0), snapp(**adaptive(1)), attn="sdpa", equal=False)
    add(lambda: AdaKVPress(ExpectedAttentionPress(r, epsilon=0.01), alpha_safeguard=0.0),
        ea(epsilon=0.01, **adaptive(0)), attn="sdpa")
    add(lambda: AdaKVPress(ExpectedAttentionPress(r, epsilon=0.01), alpha_safeguard=0.2),
        ea(epsilon=0.01, **adaptive(0.2)), attn="sdpa", equal=False)
    add(lambda: AdaKVPress(LagKVPress(r, n_sink=4, lag_size=16, cross_scoring=True), alpha_safeguard=0.0),
        {"lagkv": {"capacity": 48, "sinks": 4, "recent": 0, "lag": 16, "score": "share", **adaptive(0)}}, attn="sdpa",
        equal=False)
    add(lambda: AdaKVPress(KnormPress(r), alpha_safeguard=0.0), {"knorm": {"capacity": 48, **none, **adaptive(0)}},
        attn="sdpa", equal=False)
    duo = {0: [N * 9, 24], 1: [24, N * 9], layers - 1: [N * 9, 24]}
    if layers == 2:
        duo[1] = [24, 24]
    add(lambda: Duo(head_compression_ratio=0.5),
        {"latest": {"budget": {"by_head": [duo[i] for i in range(layers)]}, "sinks": 4, "recent": 20}}, attn="sdpa")
    # Positions.
    add(lambda: KeyRerotationPress(KnormPress(r)), {"knorm": {"capacity": 48, **none}}, positions="cache")
    add(lambda: KeyRerotationPress(snap()), snapp(), positions="cache", equal=False)
    # Going on while decoding.
    def both(press, every):
        return PrefillDecodingPress(press(), DecodingPress(press(), compression_interval=every, target_size=48))
    add(lambda: both(lambda: KnormPress(r), 8), {"knorm": {"capacity": 48, **none, "every": 8}})
    add(lambda: both(lambda: KeyDiffPress(r), 1), {"keydiff": {"capacity": 48, **none, "every": 1}})
    add(lambda: both(lambda: TOVAPress(r), 8), {"tova": {"capacity": 48, "sinks": 0, "recent": 1, "every": 8}})
    return all_


def pyramid(layers, kept, window, beta):
    """PyramidKVPress.get_layer_budget, where nothing is clamped."""
    low, high = kept / beta, 2 * kept - kept / beta
    if high >= N - window:
        high = N - window
        low = 2 * kept - high
    assert N >= high >= low >= window
    return [round(high - i * (high - low) / (layers - 1)) for i in range(layers)]


# ---- running kvpress ------------------------------------------------------------------------------------
@torch.no_grad()
def run(model, press, ids, positions):
    layers, heads = model.config.num_hidden_layers, model.config.num_key_value_heads
    evicted = [[[] for _ in range(heads)] for _ in range(layers)]
    prefill = press.prefilling_press if isinstance(press, PrefillDecodingPress) else press
    full = {}

    # Which places are kept is seen on the values, whose rows differ.
    def watch(module, args, kwargs, output):
        if kwargs["hidden_states"].shape[1] == N:
            full[module.layer_idx] = kwargs["past_key_values"].layers[module.layer_idx].values.clone()

    hooks = [layer.self_attn.register_forward_hook(watch, with_kwargs=True) for layer in model.model.layers]
    cache = DynamicCache()
    x = torch.tensor(ids)[None]
    nll = []

    def note(logits, targets):
        p = logits.double().log_softmax(-1)
        nll.extend((-p[0, range(len(targets)), targets]).tolist())

    def decode():
        start = N if positions == "original" else cache.get_seq_length()
        for t in range(N, len(ids) - 1):
            place = torch.tensor([start + t - N])
            mask = torch.zeros(1, 1, 1, 1, dtype=torch.float64) if model.config._attn_implementation == "eager" else None
            out = model(input_ids=x[:, t:t + 1], past_key_values=cache, position_ids=place[None],
                        cache_position=place, attention_mask=mask)
            note(out.logits, [ids[t + 1]])

    place = torch.arange(N)
    with press(model):
        out = model(input_ids=x[:, :N], past_key_values=cache, position_ids=place[None], cache_position=place)
        note(out.logits, ids[1:N + 1])
        for h in hooks:
            h.remove()
        for l in range(layers):
            masked = getattr(model.model.layers[l].self_attn, "masked_key_indices", None)
            for h in range(heads):
                if masked is not None:
                    evicted[l][h] = sorted(masked[2][masked[1] == h].tolist())
                    continue
                kept = cache.layers[l].values[0, h]
                same = (full[l][0, h][:, None, :] == kept[None]).all(-1)
                assert (same.sum(0) == 1).all() and (same.sum(1) <= 1).all()
                evicted[l][h] = (~same.any(1)).nonzero()[:, 0].tolist()
        if prefill is not press:
            decode()
    if prefill is press:
        decode()
    for layer in model.model.layers:
        layer.self_attn.masked_key_indices = None
    return evicted, nll


# ---- running sinkbench ----------------------------------------------------------------------------------
def sinkbench(program, folder, ids, policy):
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        (work / "ids.json").write_text(json.dumps(ids))
        (work / "e.yaml").write_text(json.dumps({
            "name": "e", "model": str(folder), "dataset": {"tokens_file": "ids.json"}, "policies": [policy],
            "dtype": "float64", "metrics": ["perplexity"], "decisions": True}))
        done = subprocess.run([program, "run", "e.yaml", "--out", "r", "--no-plots", "--quiet", "--threads", "1"],
                              cwd=work, capture_output=True, text=True)
        if done.returncode:
            return None, done.stderr.strip().splitlines()[-1]
        nll = array.array("d", next((work / "r/nll").glob("*.f64")).read_bytes()).tolist()
        log = subprocess.run(["zstdcat", next((work / "r/nll").glob("*.zst"))], capture_output=True, text=True).stdout
        return [json.loads(line) for line in log.splitlines()], nll


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--stock", action="store_true")
    parser.add_argument("--compare", metavar="PROGRAM")
    parser.add_argument("--only", default="")
    parser.add_argument("--out")
    options = parser.parse_args()
    if not options.stock:
        in_float64()
    goldens = json.loads((DATA / "policies/kvpress.json").read_text())
    result = {}
    for family in ("llama_gqa", "qwen2"):
        folder = DATA / "families" / family
        ids = goldens[family]["ids"][:IDS]
        assert len(set(ids)) == len(ids)
        models = {a: AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64, attn_implementation=a).eval()
                  for a in ("eager", "sdpa")}
        runs = []
        for case in cases(models["eager"].config.num_hidden_layers):
            press = case.press()
            press.post_init_from_model(models[case.attn])
            arguments = named(press)
            label = name_of(press) + json.dumps(arguments)
            if options.only not in label:
                continue
            evicted, nll = run(models[case.attn], press, ids, case.positions)
            if case.equal:
                runs.append({"press": name_of(press), "press_arguments": arguments, "policy": case.policy,
                             "tolerance": case.tolerance, "evicted": evicted, "nll": [float(f"{x:.10g}") for x in nll]})
            if options.compare:
                log, theirs = sinkbench(options.compare, folder, ids, case.policy)
                if log is None:
                    print(family, label, case.policy, "ERROR", theirs)
                    continue
                mine = [[[] for _ in e] for e in evicted]
                for t, layer, head, places in log:
                    if t == N - 1:
                        mine[layer][head] = places
                differ = sum(len(set(a) ^ set(b)) for x, y in zip(mine, evicted) for a, b in zip(x, y)) // 2
                total = sum(len(b) for y in evicted for b in y)
                d = [abs(a - b) for a, b in zip(nll, theirs)]
                assert len(nll) == len(theirs)
                print(f"{family} {label} [{case.attn}] {case.policy} {'' if case.equal else '(' + case.note + ')'}\n"
                      f"    evictions that differ {differ} of {total}; NLL prompt {max(d[:N]):.2g}, after {max(d[N:]):.2g}")
        result[family] = {"ids": ids, "prompt": N, "runs": runs}
    if options.out:
        def dump(r):
            return "{" + ",\n ".join(f'"{k}": {json.dumps(v, separators=(",", ":"))}' for k, v in r.items()) + "}"
        text = "{" + ",\n".join(
            f'"{f}": {{"ids": {json.dumps(v["ids"], separators=(",", ":"))}, "prompt": {v["prompt"]}, "runs": [\n'
            + ",\n".join(dump(r) for r in v["runs"]) + "]}" for f, v in result.items()) + "}\n"
        json.loads(text)
        Path(options.out).write_text(text)
        print(options.out, len(text), "bytes")


main()
