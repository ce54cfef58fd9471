#!/usr/bin/env python3
"""Writes datasets/unicode_tables.inc: what the reference tokenizers make of every character.

    pip install tokenizers==0.22.2 && python3 scripts/unicode-tables.py

Each table is asked of the reference itself, since it follows several versions of Unicode at once:
its regular expressions (Oniguruma) one, its normalization forms an old one, its lower case that of
Rust. Only the values of combining classes, which never change, come from Python's unicodedata.
"""
import os, unicodedata

import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

assert tokenizers.__version__ == "0.22.2", "another version may give other tables"

SCALARS = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]
EVERYTHING = "".join(map(chr, SCALARS))

CATEGORIES = "Cn Cc Cf Co Cs Ll Lm Lo Lt Lu Mc Me Mn Nd Nl No Pc Pd Pe Pf Pi Po Ps Sc Sk Sm So Zl Zp Zs".split()
SCRIPTS = """Adlam Ahom Anatolian_Hieroglyphs Arabic Armenian Avestan Balinese Bamum Bassa_Vah Batak Bengali Bhaiksuki
    Bopomofo Brahmi Braille Buginese Buhid Canadian_Aboriginal Carian Caucasian_Albanian Chakma Cham Cherokee Chorasmian
    Common Coptic Cuneiform Cypriot Cypro_Minoan Cyrillic Deseret Devanagari Dives_Akuru Dogra Duployan
    Egyptian_Hieroglyphs Elbasan Elymaic Ethiopic Garay Georgian Glagolitic Gothic Grantha Greek Gujarati Gunjala_Gondi
    Gurmukhi Gurung_Khema Han Hangul Hanifi_Rohingya Hanunoo Hatran Hebrew Hiragana Imperial_Aramaic Inherited
    Inscriptional_Pahlavi Inscriptional_Parthian Javanese Kaithi Kannada Katakana Kawi Kayah_Li Kharoshthi
    Khitan_Small_Script Khmer Khojki Khudawadi Kirat_Rai Lao Latin Lepcha Limbu Linear_A Linear_B Lisu Lycian Lydian
    Mahajani Makasar Malayalam Mandaic Manichaean Marchen Masaram_Gondi Medefaidrin Meetei_Mayek Mende_Kikakui
    Meroitic_Cursive Meroitic_Hieroglyphs Miao Modi Mongolian Mro Multani Myanmar Nabataean Nag_Mundari Nandinagari
    New_Tai_Lue Newa Nko Nushu Nyiakeng_Puachue_Hmong Ogham Ol_Chiki Ol_Onal Old_Hungarian Old_Italic Old_North_Arabian
    Old_Permic Old_Persian Old_Sogdian Old_South_Arabian Old_Turkic Old_Uyghur Oriya Osage Osmanya Pahawh_Hmong
    Palmyrene Pau_Cin_Hau Phags_Pa Phoenician Psalter_Pahlavi Rejang Runic Samaritan Saurashtra Sharada Shavian Siddham
    SignWriting Sinhala Sogdian Sora_Sompeng Soyombo Sundanese Sunuwar Syloti_Nagri Syriac Tagalog Tagbanwa Tai_Le
    Tai_Tham Tai_Viet Takri Tamil Tangsa Tangut Telugu Thaana Thai Tibetan Tifinagh Tirhuta Todhri Toto Tulu_Tigalari
    Ugaritic Unknown Vai Vithkuqi Wancho Warang_Citi Yezidi Yi Zanabazar_Square""".split()
SHORT = {  # of the scripts that patterns are likely to abbreviate (ISO 15924)
    "Arab": "Arabic", "Armn": "Armenian", "Beng": "Bengali", "Bopo": "Bopomofo", "Cyrl": "Cyrillic",
    "Deva": "Devanagari", "Ethi": "Ethiopic", "Geor": "Georgian", "Grek": "Greek", "Gujr": "Gujarati",
    "Guru": "Gurmukhi", "Hang": "Hangul", "Hani": "Han", "Hebr": "Hebrew", "Hira": "Hiragana", "Kana": "Katakana",
    "Khmr": "Khmer", "Knda": "Kannada", "Laoo": "Lao", "Latn": "Latin", "Mlym": "Malayalam", "Mong": "Mongolian",
    "Mymr": "Myanmar", "Orya": "Oriya", "Sinh": "Sinhala", "Syrc": "Syriac", "Taml": "Tamil", "Telu": "Telugu",
    "Tibt": "Tibetan", "Yiii": "Yi", "Zinh": "Inherited", "Qaai": "Inherited", "Zyyy": "Common", "Zzzz": "Unknown"}


def matches(pattern, text=EVERYTHING):
    split = pre_tokenizers.Split(Regex(f"(?:{pattern})+"), "removed", invert=True)
    return {ord(c) for word, _ in split.pre_tokenize_str(text) for c in word}


def pieces(pre_tokenizer):
    return [word for word, _ in pre_tokenizer.pre_tokenize_str(EVERYTHING)]


def changed(normalizer):
    """The characters that it doesn't leave as they are, and what they become."""
    made = {}
    for c in SCALARS:
        text = normalizer.normalize_str(chr(c))
        if text != chr(c):
            made[c] = text
    return made


def runs(value_of):
    result, last = [], None
    for c in range(0x110000):
        value = value_of(c)
        if value != last:
            result.append((c, value))
            last = value
    return result


def partition(names):
    """Which of the properties each character has; each has one."""
    any_run = "|".join(rf"\p{{{name}}}+" for name in names)
    same = pieces(pre_tokenizers.Split(Regex(any_run), "isolated"))
    assert sum(map(len, same)) == len(EVERYTHING)
    firsts = "".join(run[0] for run in same)
    of_first = {}
    for i, name in enumerate(names):
        for c in matches(rf"\p{{{name}}}", firsts):
            assert c not in of_first, (hex(c), name, names[of_first[c]])
            of_first[c] = i
    return {ord(c): of_first[ord(run[0])] for run in same for c in run}


out = []


def table(name, kind, values, comment):
    out.append(f"// {comment}")
    out.append(f"constexpr {kind} {name}[] = {{")
    line = "   "
    for value in values:
        if len(line) + len(value) > 98:
            out.append(line)
            line = "   "
        line += f" {value},"
    out.append(line)
    out.append("};")


def run_table(name, value_of, shift, comment):
    table(name, "uint32_t", [f"{start << shift | value:#x}" for start, value in runs(value_of)],
          f"{comment}: start << {shift} | value of each run of characters.")


def ranges_table(name, members, comment):
    edges = [c for c in range(0x110001) if (c in members) != (c - 1 in members)]
    table(name, "uint32_t", [f"{c:#x}" for c in edges], f"{comment}: where it begins and ends, in turn.")


def single_word_blockers():
    """What \\w is to the reference's added tokens: Rust's regular expressions, not Oniguruma."""
    token = "\U0010FFFD!"
    tokenizer = Tokenizer(models.WordLevel({"?": 0}, unk_token="?"))
    tokenizer.add_tokens([AddedToken(token, single_word=True, normalized=False)])
    found = tokenizer.token_to_id(token)
    members = set()
    for begin in range(0, len(SCALARS), 4096):
        part = [c for c in SCALARS[begin:begin + 4096] if c != 0x10FFFD]
        encoding = tokenizer.encode("".join(f"{token}{chr(c)}\n" for c in part))
        free = {start // 4 for i, (start, _) in zip(encoding.ids, encoding.offsets) if i == found}
        members |= {c for i, c in enumerate(part) if i not in free}
    return members


def bits_of_classes():
    bits = {}

    def put(members, bit):
        for c in members:
            bits[c] = bits.get(c, 0) | bit

    for category, bit in (("Lu", 1), ("Lt", 2), ("Ll", 4), ("Lm", 8), ("Lo", 16), ("M", 32), ("N", 64)):
        put(matches(rf"\p{{{category}}}"), bit)
    put(matches(r"\s"), 128)
    put((ord(w) for w in pieces(pre_tokenizers.Punctuation("isolated"))
         if len(w) == 1 and pre_tokenizers.Punctuation("removed").pre_tokenize_str(w) == []), 256)
    put((ord(w) for w in pieces(pre_tokenizers.Digits(individual_digits=True))
         if len(w) == 1 and len(pre_tokenizers.Digits(individual_digits=True).pre_tokenize_str(f"\u0001{w}")) == 2), 512)
    put(single_word_blockers(), 1024)
    return bits


bits = bits_of_classes()
run_table("kClasses", lambda c: bits.get(c, 0), 11, "CharClass")
category = partition(CATEGORIES)
run_table("kCategories", lambda c: category.get(c, CATEGORIES.index("Cs")), 5,
          "General category in Oniguruma, by place in kCategoryNames")
script = partition(SCRIPTS)
run_table("kScripts", lambda c: script.get(c, SCRIPTS.index("Unknown")), 8,
          "Script in Oniguruma, by place in kScriptNames")
for name in ("Alphabetic", "Uppercase", "Lowercase", "White_Space", "Emoji", "Ideographic", "Extended_Pictographic"):
    ranges_table(f"k{name.replace('_', '')}", matches(rf"\p{{{name}}}"), f"Oniguruma's {name}")
table("kCategoryNames", "std::string_view", [f'"{name}"' for name in CATEGORIES], "By number.")
table("kScriptNames", "std::string_view", [f'"{name}"' for name in SCRIPTS], "By number.")
table("kShortScriptNames", "std::pair<std::string_view, std::string_view>",
      [f'{{"{short}", "{name}"}}' for short, name in SHORT.items()], "ISO 15924's.")

# ---- normalization
nfd, nfkd = changed(normalizers.NFD()), changed(normalizers.NFKD())
HANGUL = range(0xAC00, 0xD7A4)  # by arithmetic


def decompositions(made):
    for c, text in made.items():
        if c not in HANGUL:
            yield f"{c:#x}"
            yield str(len(text))
            yield from (f"{ord(t):#x}" for t in text)


table("kCanonical", "uint32_t", decompositions(nfd), "NFD: a character, how many it becomes, and these.")
compatible = {c: text for c, text in nfkd.items() if text != nfd.get(c, chr(c))}
table("kCompatible", "uint32_t", decompositions(compatible), "NFKD, where it isn't NFD.")
nfc = normalizers.NFC().normalize_str
pairs = []
for c, text in nfd.items():
    if c in HANGUL or len(text) < 2 or nfc(text) != chr(c):
        continue
    first = nfc(text[:-1])
    assert len(first) == 1, hex(c)
    pairs += [f"{ord(first):#x}", f"{ord(text[-1]):#x}", f"{c:#x}"]
table("kComposed", "uint32_t", pairs, "NFC: two characters and what they become.")
classes = {}
for c in SCALARS:
    value = unicodedata.combining(chr(c))
    order = normalizers.NFD().normalize_str
    known = order(chr(c) + "\u0334")[0] == "\u0334" if value > 1 else value == 1 and order("\u0301" + chr(c))[1] == "\u0301"
    if known:
        classes[c] = value
run_table("kCombining", lambda c: classes.get(c, 0), 8, "Combining class")
lower = changed(normalizers.Lowercase())
assert {c for c, text in lower.items() if len(text) > 1} == {0x130}
table("kLower", "uint32_t", (f"{x:#x}" for c, text in lower.items() if len(text) == 1 for x in (c, ord(text))),
      "A character and its lower case.")
ranges_table("kAccents", set(changed(normalizers.StripAccents())), "What StripAccents leaves out")
bert = {name: normalizers.BertNormalizer(False, False, False, False) for name in ("accents", "clean")}
bert["accents"].strip_accents = True
bert["clean"].clean_text = True
ranges_table("kBertAccents", {c for c, text in changed(bert["accents"]).items() if text == "" and c not in nfd},
             "What BertNormalizer's strip_accents leaves out")
clean = changed(bert["clean"])
ranges_table("kBertControls", {c for c, text in clean.items() if text == ""}, "What its clean_text leaves out")
ranges_table("kBertSpaces", {c for c, text in clean.items() if text == " "} | {0x20}, "What it makes a space of")
nmt = changed(normalizers.Nmt())
ranges_table("kNmtControls", {c for c, text in nmt.items() if text == ""}, "What Nmt leaves out")
ranges_table("kNmtSpaces", {c for c, text in nmt.items() if text == " "} | {0x20}, "What it makes a space of")
assert set(nmt.values()) <= {"", " "} and set(clean.values()) <= {"", " "}

path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "datasets", "unicode_tables.inc")
with open(path, "w") as file:
    file.write("// Made by scripts/unicode-tables.py: what tokenizers 0.22.2 makes of every character.\n")
    file.write("// clang-format off\n" + "\n".join(out) + "\n")
