# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""tokenizer.json and tokenizer_config.json from GGUF metadata (byte-level BPE families).

GGUF keeps vocabulary and merges but only the *name* of the pre-tokeniser, so each known name has its Hugging Face
pre-tokeniser here. An unknown name is refused: a wrong split gives wrong ids without any error.
"""

import json

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

from .errors import UserError

_QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_LLAMA3 = _QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|")


def byte_level_split(regex: bool = True):
    """The byte-level pre-tokeniser without a prefix space; `regex` applies GPT-2's own split."""
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=regex)


def digits_byte_level():
    """SmolLM's split: every digit alone, then GPT-2's."""
    return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level_split()])


def _regex(pattern: str):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), behavior="isolated"), byte_level_split(False)])


PRE_TOKENIZERS = {
    "smollm": digits_byte_level,
    "gpt-2": byte_level_split,
    "qwen2": lambda: _regex(_QWEN2),
    "llama-bpe": lambda: _regex(_LLAMA3),
}
CONTROL, USER_DEFINED = 3, 4  # GGUF token types that are matched whole, before BPE


def build_tokenizer(vocab: dict[str, int], merges: list[tuple[str, str]], pre, special: list[str], added: list[str] = (), ignore_merges=False):
    """A byte-level BPE `tokenizers.Tokenizer`; `special` and `added` are tokens of the vocabulary matched whole."""
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=ignore_merges))
    tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in special])
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in added])
    return tokenizer


def tokenizer_from_gguf(md: dict) -> dict[str, dict]:
    """{'tokenizer.json': ..., 'tokenizer_config.json': ...} from GGUF metadata; {} when the file has no tokenizer."""
    kind = md.get("tokenizer.ggml.model")
    if kind in (None, "none"):
        return {}
    if kind != "gpt2":
        raise UserError(f"GGUF: tokenizer.ggml.model = {kind!r} is not supported; accepted: gpt2 (byte-level BPE), or --tokenizer FILE")
    pre = md.get("tokenizer.ggml.pre", "gpt-2")
    if pre not in PRE_TOKENIZERS:
        raise UserError(f"GGUF: tokenizer.ggml.pre = {pre!r} is not supported; accepted: {', '.join(PRE_TOKENIZERS)}, or --tokenizer FILE")
    tokens = md["tokenizer.ggml.tokens"]
    types = md.get("tokenizer.ggml.token_type") or [1] * len(tokens)
    merges = [tuple(m.split(" ", 1)) for m in md.get("tokenizer.ggml.merges", [])]
    tokenizer = build_tokenizer(
        {t: i for i, t in enumerate(tokens)},
        merges,
        PRE_TOKENIZERS[pre](),
        [t for t, k in zip(tokens, types) if k == CONTROL],
        [t for t, k in zip(tokens, types) if k == USER_DEFINED],
        ignore_merges=pre == "llama-bpe",
    )
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    for key, name in (("bos_token", "bos"), ("eos_token", "eos"), ("unk_token", "unknown"), ("pad_token", "padding")):
        index = md.get(f"tokenizer.ggml.{name}_token_id")
        if index is not None and 0 <= index < len(tokens):
            config[key] = tokens[index]
    config["add_bos_token"] = bool(md.get("tokenizer.ggml.add_bos_token", False))
    if "tokenizer.chat_template" in md:
        config["chat_template"] = md["tokenizer.chat_template"]
    return {"tokenizer.json": json.loads(tokenizer.to_str()), "tokenizer_config.json": config}
