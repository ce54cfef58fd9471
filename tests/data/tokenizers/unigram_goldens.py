#!/usr/bin/env python3
"""Writes unigram_goldens.json: unigram models of our own as tokenizer.json, and what the reference makes of
texts with them.

    pip install tokenizers==0.22.2 sentencepiece==0.2.3 && python3 unigram_goldens.py
"""
import base64, io, json, os, random

import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Tokenizer

here = os.path.dirname(os.path.abspath(__file__))
rng = random.Random(5)
PARTS = ["ka", "lo", "mi", "ren", "st", " a", " b", " ", "  ", "42", "'s", ".", "\n", "é", "e\u0301", "ß", " до", "猫", "の", "①", "ﬁ",
         "１", "Ａ", "①\u0301", "o\u0308\u0301", "Å", "A\u030a", "\r\n", "\u200d", "x", "🎉", "q", "<unk>", "한", "ᄒ\u1161\u11ab"]
RULES = {"\u0065\u0301": "é", "①": "1", "ﬁ": "fi", "１": "1", "Ａ": "A", "A\u030a": "Å", "o\u0308": "ö", "\u200d": "", "\r": " ", "qu": "kw"}


def text(parts):
    return "".join(rng.choice(PARTS) for _ in range(parts))


with open("/tmp/rules.tsv", "w") as file:
    for old, new in sorted(RULES.items()):
        file.write(" ".join("%X" % ord(c) for c in old) + "\t" + " ".join("%X" % ord(c) for c in new) + "\n")
model = io.BytesIO()
sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter([text(30).replace("\n", " ") for _ in range(1000)]), model_writer=model, model_type="unigram", vocab_size=420,
    hard_vocab_limit=False, character_coverage=0.98, normalization_rule_tsv="/tmp/rules.tsv", byte_fallback=True, minloglevel=4)
proto = sentencepiece_model_pb2.ModelProto.FromString(model.getvalue())
vocab = [[piece.piece, piece.score] for piece in proto.pieces]
charsmap = base64.b64encode(proto.normalizer_spec.precompiled_charsmap).decode()
texts = [text(n) for n in (1, 2, 3, 5, 8, 13, 21, 34) for _ in range(4)]
metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
cases = []
for name, byte_fallback, normalizer, kept in [
    ("bytes", True, None, vocab),
    ("unknown", False, None, [v for v in vocab if not v[0].startswith("<0x")]),
    ("map", False, {"type": "Precompiled", "precompiled_charsmap": charsmap}, [v for v in vocab if not v[0].startswith("<0x")]),
]:
    file = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": normalizer,
            "pre_tokenizer": metaspace, "post_processor": None, "decoder": metaspace,
            "model": {"type": "Unigram", "unk_id": 0, "vocab": kept, "byte_fallback": byte_fallback}}
    reference = Tokenizer.from_str(json.dumps(file))
    cases.append({"name": name, "tokenizer": file, "texts": [[t, reference.encode(t).ids] for t in texts]})
with open(f"{here}/unigram_goldens.json", "w") as file:
    file.write("[\n" + ",\n".join(map(json.dumps, cases)) + "\n]\n")
