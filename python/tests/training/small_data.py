# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Small stand-ins for what the commands read: a folder as `ee.data` writes it and a checkpoint with another tokenizer."""

import json

import numpy as np
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers

from ee.checkpoint import LlamaConfig

WORDS = 40  # ids of the text; 0 ends a document


def word_tokenizer(vocab: int, step: int) -> Tokenizer:
    """Words w1, w2 ... as single tokens; `step` permutes the ids, so that two of them disagree."""
    table = {f"w{i}" if i else "<unk>": i * step % vocab for i in range(vocab)}
    tokenizer = Tokenizer(models.WordLevel(table, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


def write_text(folder, documents: int = 12, tokens: int = 300):
    """Documents that count upwards from a random word, so that there is something to learn."""
    folder.mkdir()
    rng, parts, entries = np.random.default_rng(1), [], []
    for i in range(documents):
        entries.append({"name": f"d{i}", "domain": "b", "offset": i * (tokens + 1), "tokens": tokens, "bytes": 3 * tokens})
        parts += [1 + (rng.integers(0, WORDS) + np.arange(tokens)) % (WORDS - 1), [0]]
    for split in ("train", "valid"):
        np.concatenate(parts).astype("<u2").tofile(folder / f"{split}.bin")
        (folder / f"{split}.index.json").write_text(json.dumps({"documents": entries}))
    word_tokenizer(WORDS, 1).save(str(folder / "tokenizer.json"))
    return folder


def write_checkpoint(folder, model, vocab: int, tied: bool = True):
    """`model`, a dense decoder, as a Hugging Face folder with a word tokenizer of `vocab` ids."""
    folder.mkdir()
    c = model.config
    config = LlamaConfig(c.depth, c.hidden, c.heads, c.kv_heads, c.head_dim, c.ffn, c.vocab, c.rope_theta, c.eps, 64, tied)
    tensors = {k: v.contiguous() for k, v in model.state_dict().items()}
    if not tied:
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", **config.hf_fields()}))
    word_tokenizer(vocab, 7).save(str(folder / "tokenizer.json"))
    return folder
