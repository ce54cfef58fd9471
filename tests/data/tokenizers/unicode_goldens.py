#!/usr/bin/env python3
"""Writes unicode_goldens.json: which characters properties, escapes and brackets match in the
reference's regular expressions, and what its normalizers make of all characters.

    pip install tokenizers==0.22.2 && python3 unicode_goldens.py

Each as a count and the SHA-256 of the UTF-8 of what matches, or comes out.
"""
import hashlib, json, os

from tokenizers import Regex, normalizers, pre_tokenizers

EVERYTHING = "".join(chr(c) for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF)
PATTERNS = r"""\p{Han} \p{Arabic} \p{Devanagari} \p{Latin} \p{Cyrillic} \p{Hangul} \p{Hira} \p{Katakana} \p{Common}
    \p{Inherited} \p{Unknown} \p{Thai} \p{Old_Hungarian} \p{garay} \p{P} \p{S} \p{Mn} \p{C} \p{Cn} \p{Z} \p{Nd} \p{So}
    \p{Emoji} \p{Alphabetic} \p{Upper} \p{Lowercase} \p{LC} \p{Graph} \p{Extended_Pictographic} \P{^Ideographic}
    \d \w \s \h \W [[:punct:]] [[:word:]] [[:print:]] [\p{L}&&[^\p{Han}]] [^\s\p{L}\p{N}] [\p{M}\p{Pc}\u200c]""".split()


def entry(text):
    return [len(text), hashlib.sha256(text.encode()).hexdigest()]


def matches(pattern):
    split = pre_tokenizers.Split(Regex(f"(?:{pattern})+"), "removed", invert=True)
    return "".join(word for word, _ in split.pre_tokenize_str(EVERYTHING))


result = {"patterns": {pattern: entry(matches(pattern)) for pattern in PATTERNS},
          "normalizers": {name: entry(getattr(normalizers, name)().normalize_str(EVERYTHING))
                          for name in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "Nmt", "StripAccents")}}
path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "unicode_goldens.json")
json.dump(result, open(path, "w"), indent=1)
