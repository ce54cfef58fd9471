"""Peers and ceilings on the card, for scripts/device-check.sh: what a copy and a product reach, and transformers on the same shape (Llama-2-7B's, random weights, bfloat16): a decode step with a static cache, recorded as a CUDA graph, and one pass over 8192 tokens.

    python3 cuda-peers.py REPORT
"""
import sys, time
import torch

torch.set_grad_enabled(False)
device, dtype = 'cuda', torch.bfloat16
report = open(sys.argv[1], 'w')


def say(text):
    print(text, flush=True)
    print(text, file=report, flush=True)


def seconds(work, runs=10, warmup=3):
    for _ in range(warmup):
        work()
    samples = []
    for _ in range(runs):
        begin, end = torch.cuda.Event(True), torch.cuda.Event(True)
        begin.record()
        work()
        end.record()
        torch.cuda.synchronize()
        samples.append(begin.elapsed_time(end) / 1e3)
    return sorted(samples)[len(samples) // 2]


a = torch.empty(1 << 31, device=device, dtype=torch.uint8)
b = torch.empty_like(a)
say(f'ceilings: copy {2 * a.numel() / seconds(lambda: b.copy_(a)) / 1e12:.2f} TB/s (read and written)')
del a, b
n = 8192
x, y = torch.randn(n, n, device=device, dtype=dtype), torch.randn(n, n, device=device, dtype=dtype)
say(f'ceilings: product {2 * n**3 / seconds(lambda: x @ y.t()) / 1e12:.0f} TFLOP/s in bfloat16')
del x, y

from transformers import LlamaConfig, LlamaForCausalLM, StaticCache

config = LlamaConfig(hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32,
                     num_key_value_heads=32, vocab_size=32000, max_position_embeddings=8192)
config._attn_implementation = 'sdpa'
torch.set_default_dtype(dtype)
with torch.device('meta'):
    model = LlamaForCausalLM(config)
model = model.to_empty(device=device).eval()
for p in model.parameters():
    p.normal_(0, 0.02)
try:  # buffers that to_empty left without contents
    model.model.rotary_emb = type(model.model.rotary_emb)(config=config).to(device)
except Exception as error:
    print('rotary embeddings stay as they are:', error)

try:
    ids = torch.randint(0, 32000, (1, 8192), device=device)
    t = seconds(lambda: model(ids, use_cache=False, logits_to_keep=8192), runs=3, warmup=1)
    say(f'transformers, one pass over 8192 tokens: {8192 / t:.0f} tokens/s')
except Exception as error:
    say(f'transformers, one pass: {type(error).__name__}: {error}')

for capacity in (512, 4096):
    try:
        cache = StaticCache(config=config, max_batch_size=1, max_cache_len=capacity, device=device, dtype=dtype)
        token = torch.tensor([[11]], device=device)
        place = torch.tensor([capacity - 1], device=device)

        def step():
            return model(token, past_key_values=cache, cache_position=place, position_ids=place[None], use_cache=True).logits

        eager = seconds(step, runs=5)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            step()
        torch.cuda.current_stream().wait_stream(stream)
        try:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                step()
            recorded = f'{1e3 * seconds(graph.replay, runs=20):.2f} ms as a graph'
        except Exception as error:
            recorded = f'no graph ({type(error).__name__}: {str(error)[:80]})'
        say(f'transformers, a step with a static cache of {capacity}: {recorded}, {1e3 * eager:.2f} ms without')
    except Exception as error:
        say(f'transformers, a step with a static cache of {capacity}: {type(error).__name__}: {str(error)[:120]}')
report.close()
