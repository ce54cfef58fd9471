#!/usr/bin/env python3
"""Writes tekken.json, a small vocabulary of our own in Mistral's format, and tekken_goldens.json, what
tiktoken makes of texts with it.

    pip install tiktoken==0.14.0 && python3 tekken_goldens.py
"""
import base64, json, os, random

import tiktoken
from tiktoken._educational import bpe_train

here = os.path.dirname(os.path.abspath(__file__))
rng = random.Random(11)
PARTS = ["ka", "lo", "Mi", "REN", "st", " a", " b", "  ", "12", "345", " 6", "'s", ".", "...", " (", ")\n", "\n", "\r\n", "\t", "é",
         "e\u0301", "ß", " до", "猫", "の", "한", "$", "/", "-", "²", "½", "\u00a0", "🎉", "x", "<s>", "[INST]", "</s>"]


def text(parts):
    return "".join(rng.choice(PARTS) for _ in range(parts))


UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
pattern = (rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*|\p{{N}}"
           r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
extra = 12  # tokens beyond the size that the file gives, which don't count
ranks = bpe_train(data="".join(text(40) for _ in range(60)), vocab_size=400 + extra, pat_str=pattern, visualise=None)
specials, size = 30, 430
encoding = tiktoken.Encoding("small", pat_str=pattern, special_tokens={},
                             mergeable_ranks={token: rank for token, rank in ranks.items() if rank < size - specials})
texts = [text(n) for n in (1, 2, 3, 5, 8, 13, 21, 34, 55) for _ in range(3)]
with open(f"{here}/tekken.json", "w") as file:
    head = {"config": {"pattern": pattern, "num_vocab_tokens": len(ranks), "default_vocab_size": size,
                       "default_num_special_tokens": specials, "version": "v3"}}
    vocab = [json.dumps({"rank": rank, "token_bytes": base64.b64encode(token).decode()}) for token, rank in ranks.items()]
    file.write(json.dumps(head)[:-1] + ',\n"vocab": [\n' + ",\n".join(vocab) + "\n]}\n")
with open(f"{here}/tekken_goldens.json", "w") as file:
    cases = [json.dumps([t, [specials + token for token in encoding.encode(t)]]) for t in texts]
    file.write("[\n" + ",\n".join(cases) + "\n]\n")
