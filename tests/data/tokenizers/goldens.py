#!/usr/bin/env python3
"""Writes goldens.json: what the reference makes of small changes to the tokenizers of this folder.

    pip install tokenizers==0.22.2 transformers==4.57.1 sentencepiece && python3 goldens.py

Each case says how it is made: `base` (byte_level.json or sentencepiece.json here), `patch` (a JSON
merge patch, RFC 7386, for it) and `files` (what lies beside it; a null leaves the tokenizer.json
out, true stands for the base's vocabulary and merges as files of their own); then each of `texts` with its ids. `spelled: text` stands for split_special_tokens. A case
with `files` is read by transformers' AutoTokenizer, one without by tokenizers alone.
"""
import copy, json, os, random, tempfile

here = os.path.dirname(os.path.abspath(__file__))
BASES = {name: json.load(open(f"{here}/{name}.json")) for name in ("byte_level", "sentencepiece")}


def merge_patch(target, patch):
    if not isinstance(patch, dict):
        return patch
    target = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        else:
            target[key] = merge_patch(target.get(key), value)
    return target


def made(case):
    return merge_patch(copy.deepcopy(BASES[case["base"]]), case["patch"])


def encode_all(case):
    import tokenizers

    if "files" not in case:
        tokenizer = tokenizers.Tokenizer.from_str(json.dumps(made(case)))
        tokenizer.encode_special_tokens = case.get("spelled") == "text"
        return [tokenizer.encode(text).ids for text in case["texts"]]
    from transformers import AutoTokenizer

    with tempfile.TemporaryDirectory() as folder:
        files = dict(case["files"])
        if files.pop("tokenizer.json", True) is not None:
            json.dump(made(case), open(f"{folder}/tokenizer.json", "w"))
        for name, content in files.items():
            if content is True:
                model = BASES[case["base"]]["model"]
                content = model["vocab"] if name == "vocab.json" else "\n".join(["#version: 0.2", *model["merges"], ""])
            with open(f"{folder}/{name}", "w") as file:
                file.write(content if isinstance(content, str) else json.dumps(content))
        tokenizer = AutoTokenizer.from_pretrained(folder)
        return [tokenizer(text)["input_ids"] for text in case["texts"]]


cases = []


def add(name, texts, patch=None, base="byte_level", **more):
    cases.append({"name": name, "base": base, "patch": patch or {}, "texts": texts, **more})


def token(content, **flags):
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    return {"id": 0, "content": content, **plain, **flags}


def added(*tokens):
    return {"added_tokens": list(tokens)}


# ---- added tokens
add("added: an id with a gap", ["a<x>b<y>"], added(token("<x>", id=280), token("<y>", id=281)))
add("added: a hole in the vocabulary", ["a<x>hello"],
    merge_patch(added(token("<x>", id=301)), {"model": {"vocab": {"zz": 300}}}))
add("added: special tokens of the vocabulary beyond a hole", ["a<|e|>b<x>"],
    merge_patch(added(token("<|e|>", id=300, special=True), token("<x>", id=301)),
                {"model": {"vocab": {"<|e|>": 300}}}))
add("added: the vocabulary's id", ["a he b"], added(token("he", id=5)))
add("added: twice, the last counts", ["a <x> b"], added(token("<x>", id=266), token("<x>", id=267, lstrip=True)))
add("added: an empty one", ["a<x>"], added(token("", id=266), token("<x>", id=267)))
add("added: white space that strips on both sides", ["a  b", "a b", " ", "a \t  b  "],
    added(token(" ", id=266, lstrip=True, rstrip=True), token("  ", id=267)))
for flags in ({"lstrip": True}, {"rstrip": True}, {"lstrip": True, "rstrip": True}):
    add(f"added: a space between tokens that strip {sorted(flags)}", ["<x>   <y>  a", "a  <y> <x> <x>  <y>b"],
        added(token("<x>", id=266, **flags), token(" ", id=267), token("<y>", id=268, rstrip=True)))
add("spelled: special tokens as text", ["a<|end|>b<|tool|>c", "<|end|><|end|><|tool|>"], spelled="text")
add("spelled: special tokens as text, the template's stay", ["<s>hello</s>"], base="sentencepiece", spelled="text")
add("spelled: a token that a special one hides", ["a<xy>b<x>"],
    added(token("<xy>", id=266, special=True), token("y>", id=267)), spelled="text")

# ---- model
add("model: a merge twice, the last counts", ["hello he"],
    {"model": {"merges": ["h e", "l l", "he ll", "hell o", "e l", "h e"], "vocab": {"el": 266, "hel": 267}},
     "added_tokens": []})
add("model: an unk_token that is no token and isn't needed", ["hello w"], {"model": {"unk_token": "<none>"}})

# ---- pre-tokenizers
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}


def words(*steps):
    return {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [*steps, BYTES]}}


TEXTS = ["hello wor  world!? x_y  12,12 a\u00a0b\u3000c\n\nd", " Ünï_Ⅷ²३ é̃a\u200bb —„“«$+<>^`|~ 東京タワー한국어\u1680x",
         "", "  ", "hello", "-a-b--", "ñ\u0345a\u200d\u200cb ⓐⒷ🄰ǅ߿"]
for kind in ("Whitespace", "WhitespaceSplit", "BertPreTokenizer"):
    add(f"pre-tokenizer: {kind}", TEXTS, words({"type": kind}))
add("pre-tokenizer: CharDelimiterSplit", TEXTS, words({"type": "CharDelimiterSplit", "delimiter": "-"}))
add("pre-tokenizer: FixedLength", TEXTS, words({"type": "FixedLength", "length": 3}))

# ---- normalizers
ACCENTS = ["é̃ça Ñ ǅ hello", "e\u0301\u0345 \u0903क्षि ü ﬁ Å", "\u0300a", "각 가\u0301"]
add("normalizer: StripAccents", ACCENTS, {"normalizer": {"type": "StripAccents"}})
add("normalizer: NFD, StripAccents", ACCENTS,
    {"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "StripAccents"}]}})
CONTROLS = "".join(map(chr, [*range(0, 34), *range(0x7E, 0xA1), 0xAD, 0x600, 0x1680, *range(0x2000, 0x2030),
                             0x205F, 0x2060, 0x3000, 0xFEFF, 0xFFF9, 0xFFFC, 0xFFFD, 0xE000, 0xE0001, 0x378]))
NMT = [c + "a" for c in CONTROLS]
add("normalizer: Nmt", ["".join(NMT), "hello\twor"], {"normalizer": {"type": "Nmt"}})
for clean, chinese, strip, lower in ((True, True, None, True), (True, False, True, False), (False, True, False, True),
                                     (False, False, None, False)):
    add(f"normalizer: BertNormalizer {clean} {chinese} {strip} {lower}",
        ["É東京タワーa\u0300 \u3007\U00020000x HELLO", "".join(NMT)[: 120]],
        {"normalizer": {"type": "BertNormalizer", "clean_text": clean, "handle_chinese_chars": chinese,
                        "lowercase": lower, **({} if strip is None else {"strip_accents": strip})}})
add("normalizer: ByteLevel", ["hé wor", " €"],
    {"normalizer": {"type": "ByteLevel"}, "pre_tokenizer": {"type": "Split", "pattern": {"String": "Ġ"},
                                                            "behavior": "MergedWithNext", "invert": False,
                                                            "add_prefix_space": None, "trim_offsets": None,
                                                            "use_regex": None}})

# ---- post-processors
for kind in ("RobertaProcessing", "BertProcessing"):
    add(f"post-processor: {kind}", ["hello", ""],
        {"post_processor": {"type": kind, "sep": ["<|end|>", 266], "cls": ["h", 104], "trim_offsets": True,
                            "add_prefix_space": False}})

# ---- regular expressions
SAMPLE = ["ab, cd (ef) …。x", "1234567 12 x123y 1,234", "Hello HELLO ſs Kk ÄÖ äö ﬁ ß straße", "東京タワー、。ab〇々 한국어 कखग। ـ،abc",
          "a\nb\r\n\n c_d-e  \t", "€²½①ⅧＡ１ \u00a0 \u200b\u2028 é̃ 😀👍🏽‍♂ ≈∑ ﷽"]
PATTERNS = {
    "nested bracket (Bloom)": r" ?[^(\s|[.,!?…。，、।۔،])]+",
    "possessive range": r"\p{N}{1,3}+|\s++",
    "word boundary": r"\d{1,3}(?=(?:\d{3})*\b)",
    "not a word boundary": r"\B.|\b",
    "intersection": r"[\p{L}&&[^\p{Han}]]+|\p{Han}+|[a-z&&[^b-d]]",
    "intersection of three": r"[\p{L}&&\p{Lu}&&[A-M]]+|[^a-z&&[^0-9]]",
    "flag (?i)": r"(?i)hello|[k]+|s",
    "flag (?i) within": r"a(?i)b|C|x",
    "flag (?i) in a group": r"(a(?i)b|c)d|E",
    "flag (?-i)": r"(?i:h(?-i:e)llo|(?-i)ab|S)",
    "fixed interval": r"\d{2}?|x{0}y",
    "interval from 0": r"\d{,2}x|[a-f]{1,}",
    "no interval": r"a{x|b{|c{1|\{,}",
    "posix brackets": r"[[:alpha:]]+|[[:digit:][:space:]]|[[:^punct:]]",
    "posix brackets 2": r"[[:upper:]]+|[[:lower:]]|[[:alnum:]]{2}|[[:xdigit:]]|[[:graph:]]|[[:blank:]]",
    "posix brackets 3": r"[[:word:]]+|[[:cntrl:]]|[[:print:]]|[[:ascii:]]",
    "word and digit classes": r"\w+|\d|\W",
    "hexadecimal class": r"\h+|\H",
    "bracket with classes": r"[\w\-]+|[\d,.]+|[^\W\d]|[\s\S]",
    "bracket with a hyphen": r"[a-c\-x]+|[-d]|[e-]|[+--]",
    "property names": r"\p{Letter}+|\p{decimal number}|\p{Other_Number}|\p{^L}|\P{^N}",
    "POSIX properties": r"\p{Alpha}+|\p{Digit}|\p{Punct}+|\p{Space}|\p{Any}",
    "binary properties": r"\p{Alphabetic}+|\p{Emoji}|\p{White_Space}|\p{Uppercase}",
    "case properties": r"\p{LC}+|\p{Lowercase}|\p{Ideographic}",
    "symbols": r"\p{S}+|\p{Sm}|\p{So}|\p{P}|\p{C}|\p{Cn}|\p{Z}",
    "greedy in brackets": r"[a-z]++[0-9]?+",
    "lookbehind": r"(?<=\d),(?=\d)|(?<!a)b",
    "anchors": r"^a|c$|\Ab|x\z|\Z",
    "free group of marks": r"\p{M}+|\p{Lm}|\p{Lo}{1,2}",
    "quantified group": r"(?:ab|cd){1,2}+|(?:1){2}?",
    "flag (?i) and classes": r"(?i)\p{Lu}+|\d|[a-z']",
    "scripts": r"\p{Latin}+|\p{Hiragana}|\p{Katakana}+|\p{Hangul}+|\p{Arabic}+|\p{Devanagari}+|\p{Common}|\p{Inherited}",
}
for name, pattern in PATTERNS.items():
    add(f"regex: {name}", SAMPLE,
        words({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}))

# ---- what lies beside a tokenizer.json
BOS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
END = {"bos_token": "<|end|>", "eos_token": "<|end|>", "unk_token": None}
HELLO = ["hello wor", "a<s>b<|im|>c <|end|> <unk>d"]


def folder(name, config, base="byte_level", patch=None, texts=HELLO, **files):
    files = {key.replace("_json", ".json").replace("_txt", ".txt"): value for key, value in files.items()}
    if config is not None:
        files["tokenizer_config.json"] = config
    add(f"folder: {name}", texts, patch, base, files=files)


for bos in (True, False, None):
    for eos in (True, False, None):
        keys = {k: v for k, v in (("add_bos_token", bos), ("add_eos_token", eos)) if v is not None}
        folder(f"LlamaTokenizerFast over no template {keys}", {"tokenizer_class": "LlamaTokenizerFast", **END, **keys})
        folder(f"LlamaTokenizer over a template {keys}", {"tokenizer_class": "LlamaTokenizer", **BOS, **keys},
               base="sentencepiece")
        folder(f"PreTrainedTokenizerFast {keys}", {"tokenizer_class": "PreTrainedTokenizerFast", **BOS, **keys},
               base="sentencepiece")
for name in ("GemmaTokenizerFast", "CohereTokenizerFast", "GPTNeoXTokenizerFast", "CodeLlamaTokenizerFast",
             "Qwen2Tokenizer", "GPT2TokenizerFast"):
    for bos in (True, None):
        folder(f"{name} {bos}", {"tokenizer_class": name, **BOS, **({"add_bos_token": bos} if bos else {})},
               base="sentencepiece")
folder("bos_token as an object",
       {"tokenizer_class": "LlamaTokenizerFast", "add_bos_token": True, "eos_token": "</s>", "unk_token": "<unk>",
        "bos_token": {"__type": "AddedToken", "content": "<s>", "lstrip": False, "normalized": True, "rstrip": False,
                      "single_word": False}})
folder("default tokens of the class", {"tokenizer_class": "LlamaTokenizerFast"}, base="sentencepiece")
for prefix in (True, False):
    folder(f"add_prefix_space {prefix} over a ByteLevel of {not prefix}",
           {"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": prefix}, texts=["wor wor"],
           patch={"pre_tokenizer": {"add_prefix_space": not prefix}})
IM = {"content": "<|im|>", "lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
folder("added_tokens_decoder",
       {"tokenizer_class": "PreTrainedTokenizerFast", "added_tokens_decoder": {"268": IM, "300": {**IM, "content": "c"}}})
folder("added_tokens_decoder with other flags",
       {"tokenizer_class": "PreTrainedTokenizerFast",
        "added_tokens_decoder": {"266": {**IM, "content": "<|end|>", "lstrip": True, "rstrip": True}}})
folder("added_tokens_decoder makes the other files count for nothing",
       {"tokenizer_class": "PreTrainedTokenizerFast", "added_tokens_decoder": {"268": IM}},
       special_tokens_map_json={"bos_token": "<s>"}, added_tokens_json={"d": 269})
folder("special_tokens_map.json",
       {"tokenizer_class": "LlamaTokenizerFast", "bos_token": "<|end|>", "unk_token": None, "eos_token": None},
       special_tokens_map_json={"bos_token": "<s>", "additional_special_tokens": ["<|im|>"]})
folder("added_tokens.json", {"tokenizer_class": "PreTrainedTokenizerFast"}, added_tokens_json={"<|im|>": 268, "c ": 269})
folder("added_tokens.json beside tokenizer.json's",
       {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<|im|>"},
       added_tokens_json={"<|im|>": 268, "<|end|>": 266, "<|tool|>": 300})
folder("additional_special_tokens",
       {"tokenizer_class": "PreTrainedTokenizerFast", "additional_special_tokens": ["<|im|>", "<s>"],
        "pad_token": "c", "mask_token": "<unk>"})
folder("none but special_tokens_map.json", None, special_tokens_map_json={"bos_token": "<s>"},
       config_json={"model_type": "opt"})
folder("the class of config.json", {"bos_token": "<s>"}, config_json={"model_type": "llama"})

# ---- vocab.json and merges.txt
LISTS = {"tokenizer_json": None, "vocab_json": True, "merges_txt": True}
GPT2 = ["hello world 123 é\n\n x", " a<|endoftext|>b<|im|> c"]
folder("vocab.json and merges.txt, model_type gpt2", None, config_json={"model_type": "gpt2"}, texts=GPT2, **LISTS)
folder("vocab.json and merges.txt, GPT2Tokenizer", {"tokenizer_class": "GPT2Tokenizer"}, texts=GPT2, **LISTS)
folder("vocab.json and merges.txt, add_prefix_space", {"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": True},
       texts=GPT2, **LISTS)
folder("vocab.json and merges.txt, add_bos_token",
       {"tokenizer_class": "GPT2Tokenizer", "add_bos_token": True, "bos_token": "h"}, texts=GPT2, **LISTS)
folder("vocab.json and merges.txt, tokens",
       {"tokenizer_class": "GPT2Tokenizer", "added_tokens_decoder": {"268": IM}}, texts=GPT2, **LISTS)
folder("vocab.json and merges.txt, added_tokens.json", {"tokenizer_class": "GPT2Tokenizer"}, texts=GPT2,
       added_tokens_json={"<|im|>": 266}, **LISTS)
folder("vocab.json and merges.txt, Qwen2Tokenizer", {"tokenizer_class": "Qwen2Tokenizer"},
       texts=GPT2 + ["e\u0301 12"], **LISTS)
folder("vocab.json and merges.txt, model_type qwen2", None, config_json={"model_type": "qwen2"}, texts=GPT2, **LISTS)
folder("vocab.json and merges.txt, CodeGenTokenizer", {"tokenizer_class": "CodeGenTokenizer"}, texts=GPT2, **LISTS)

if __name__ == "__main__":
    import sys

    only = sys.argv[1] if len(sys.argv) > 1 else ""
    kept = []
    for case in cases:
        if not case["name"].startswith(only):
            continue
        try:
            ids = encode_all(case)
        except BaseException as error:  # pyo3's panics are no Exception
            print(f"left out: {case['name']}: {type(error).__name__}: {str(error)[:150]}")
            continue
        case["texts"] = [list(pair) for pair in zip(case["texts"], ids)]
        kept.append(case)
    if not only:
        with open(f"{here}/goldens.json", "w") as file:
            file.write("[\n" + ",\n".join(json.dumps(c, ensure_ascii=False) for c in kept) + "\n]\n")
    print(len(kept), "cases")
