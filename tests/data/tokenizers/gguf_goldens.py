#!/usr/bin/env python3
"""Writes gguf_goldens.json: what the reference makes of texts with the pre-tokenizers that GGUF
names, put together here as the models' own tokenizer.json have them.

    pip install tokenizers==0.22.2 && python3 gguf_goldens.py

The vocabulary is trained on made-up text that is not cut into words, so that its merges reach over
the ends of words and every cut shows in the ids.
"""
import json, os, random

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

here = os.path.dirname(os.path.abspath(__file__))
GPT2 = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
CASED = (r"[^\r\n\p{L}\p{N}]?U*L+%s|[^\r\n\p{L}\p{N}]?U+L*%s|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
         .replace("U", UPPER).replace("L*", LOWER + "*").replace("L+", LOWER + "+"))
SUFFIX = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"


def split(pattern):
    return pre_tokenizers.Split(Regex(pattern), "isolated")


def sequence(*steps):
    return pre_tokenizers.Sequence(list(steps))


NFC = normalizers.NFC()
STARCODER = sequence(pre_tokenizers.Digits(individual_digits=True), GPT2)
LLAMA3, QWEN2 = sequence(split(WORDS % "{1,3}"), BYTES), sequence(split(WORDS % ""), BYTES)
PRE = {
    "command-r": (NFC, STARCODER),
    "dbrx": (None, LLAMA3),
    "deepseek-coder": (None, sequence(split("[\r\n]"), split(r"\s?\p{L}+"), split(r"\s?\p{P}+"),
                                      split("[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"),
                                      pre_tokenizers.Digits(individual_digits=True), BYTES)),
    "deepseek-r1-qwen": (NFC, QWEN2),
    "falcon": (None, sequence(pre_tokenizers.Punctuation("contiguous"), GPT2, pre_tokenizers.Digits(individual_digits=False),
                              split("[0-9][0-9][0-9]"))),
    "gpt-2": (None, GPT2),
    "gpt-4o": (None, sequence(split(CASED % (SUFFIX, SUFFIX, "{1,3}")), BYTES)),
    "gpt-neox": (NFC, GPT2),
    "llama-bpe": (None, LLAMA3),
    "mpt": (NFC, GPT2),
    "olmo": (NFC, GPT2),
    "phi-2": (None, GPT2),
    "qwen2": (NFC, QWEN2),
    "refact": (None, STARCODER),
    "smaug-bpe": (None, LLAMA3),
    "smollm": (None, STARCODER),
    "starcoder": (None, STARCODER),
    "tekken": (None, sequence(split(CASED % ("", "", "")), BYTES)),
}

rng = random.Random(7)
PARTS = ["ka", "lo", "Mi", "REN", "st", " a", " b", "  ", "12", "345", " 6", "'s", "'LL", "'t ", ".", "...", " (", ")\n", "\n",
         "\r\n", "\t", "é", "e\u0301", "ß", " до", "猫", "の", "한", "$", "`", "/", "-", "_", "²", "½", "١", "\u00a0", "🎉", "x"]


def text(parts):
    return "".join(rng.choice(PARTS) for _ in range(parts))


bpe = Tokenizer(models.BPE())
bpe.pre_tokenizer = BYTES
bpe.train_from_iterator([text(30) for _ in range(3000)],
                        trainers.BpeTrainer(vocab_size=900, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
model = json.loads(bpe.to_str())["model"]
tokens = sorted(model["vocab"], key=model["vocab"].get)
# Some tokens that merges don't reach, as Llama 3 has them.
used = {half for merge in model["merges"] for half in merge}
merges = [" ".join(m) for i, m in enumerate(model["merges"]) if "".join(m) in used or i % 3]
texts = [text(n) for n in (1, 2, 3, 5, 8, 13, 21, 34, 55) for _ in range(3)]
golden = {"tokens": tokens, "merges": merges, "texts": texts, "ids": {}}
for name, (normalizer, pre) in PRE.items():
    ignore = name in ("gpt-4o", "llama-bpe", "tekken")
    reference = Tokenizer(models.BPE(dict(model["vocab"]), [tuple(m.split(" ")) for m in merges], ignore_merges=ignore))
    if normalizer:
        reference.normalizer = normalizer
    reference.pre_tokenizer = pre
    golden["ids"][name] = [reference.encode(t).ids for t in texts]
with open(f"{here}/gguf_goldens.json", "w") as file:
    file.write("{\n" + ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in golden.items() if k != "ids") + ',\n"ids": {\n')
    file.write(",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in golden["ids"].items()) + "\n}}\n")
