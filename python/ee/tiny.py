# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Tiny random Llama models for tests: same writer, same ONNX form, bit-identical on every machine.

    python -m ee.tiny OUT_DIR --layers 2 --hidden 64 --heads 4 --kv-heads 2 --ffn 128 --vocab 320 --seed 0
                      [--exits 1,3 --criterion max_prob --threshold median --fill exact]

OUT_DIR gets what `ee.write_llama --oracle` writes. With --exits, model.onnx and model.nocache.onnx have exits, and
there are also exits.toml (the same exits as a spec for the file without them, which the same seed without --exits
gives), oracle.onnx (model.nocache.onnx with the output exit_depth) and scripted.onnx (with exit_depth, and inputs
script.NAME in place of scores).

Weights come from raw PCG64 bits by integer and power-of-two steps, so they do not depend on numpy's version.
They are scaled so that greedy text wanders: what the layers add outweighs the embedding (otherwise a tied head
repeats the last token), and logits have a spread of about 3 (otherwise top-2 gaps drown in rounding).
"""

import argparse
import json
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from .checkpoint import Checkpoint, LlamaConfig, check_positive
from .criteria import CRITERIA
from .errors import UserError, run_main
from .exit_spec import FILLS, ExitSpec, check_specs, save_spec
from .folders import whole_folder, write_json
from .insert_exits import write_exits
from .numpy_llama import NumpyLlama
from .tokenizer_files import build_tokenizer, digits_byte_level
from .write_llama import MODEL, ORACLE, write_models

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
EMBED_STD, LAYER_GAIN, LOGIT_STD = 0.25, 1.0, 3.0

# What merges are learned from. Any text will do; it must not change, or test token ids change with it.
CORPUS = """
A token that is easy leaves the stack early and a token that is hard goes on to the last layer. The rows of a batch
need not agree: one leaves after the second layer, another after the fourth, and the launch that serves them both
reads each weight once. What the early row skipped is owed, and is paid back when the next row of the same sequence
comes by. There was a time when all rows ran all layers, and the answer was the same, only later. The reader of this
text is a small machine that learns which letters stand beside each other, such as th, he, in, er, an, and the rest.
def exit(score, threshold): return score >= threshold
for row in rows: print(row.sequence, row.position, row.depth)
"""


def byte_alphabet() -> list[str]:
    """GPT-2's printable stand-in for each byte value, index = byte."""
    keep = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(b) if b in keep else chr(next(others)) for b in range(256)]


def learn_merges(count: int) -> list[tuple[str, str]]:
    """Up to `count` BPE merges from CORPUS: most frequent pair first, ties by spelling."""
    words: dict[tuple[str, ...], int] = {}
    for word, _ in digits_byte_level().pre_tokenize_str(CORPUS):
        words[tuple(word)] = words.get(tuple(word), 0) + 1
    merges: list[tuple[str, str]] = []
    while len(merges) < count:
        pairs: dict[tuple[str, str], int] = {}
        for word, n in words.items():
            for pair in zip(word, word[1:]):
                pairs[pair] = pairs.get(pair, 0) + n
        if not pairs:
            break
        best = min(pairs, key=lambda p: (-pairs[p], p))
        merges.append(best)
        merged: dict[tuple[str, ...], int] = {}
        for word, n in words.items():
            parts, i = [], 0
            while i < len(word):
                step = 2 if word[i : i + 2] == best else 1
                parts.append("".join(word[i : i + step]))
                i += step
            merged[tuple(parts)] = merged.get(tuple(parts), 0) + n
        words = merged
    return merges


def tiny_tokenizer(vocab: int) -> dict[str, dict]:
    """tokenizer.json and tokenizer_config.json of exactly `vocab` tokens: specials, bytes, merges, then fillers."""
    if vocab < len(SPECIAL) + 256:
        raise UserError(f"--vocab {vocab} is too small: {len(SPECIAL)} special tokens and 256 bytes need {len(SPECIAL) + 256}")
    merges = learn_merges(vocab - len(SPECIAL) - 256)
    tokens = dict.fromkeys([*SPECIAL, *byte_alphabet()])
    kept = []
    for a, b in merges:
        if a + b not in tokens:
            kept.append((a, b))
            tokens[a + b] = None
    tokens.update(dict.fromkeys(f"filler{i}" for i in range(vocab - len(tokens))))
    tokenizer = build_tokenizer({t: i for i, t in enumerate(tokens)}, kept, digits_byte_level(), SPECIAL)
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "add_bos_token": False,
        "bos_token": SPECIAL[1],
        "eos_token": SPECIAL[2],
        "unk_token": SPECIAL[0],
        "pad_token": SPECIAL[2],
    }
    return {"tokenizer.json": json.loads(tokenizer.to_str()), "tokenizer_config.json": config}


def uniform(seed: int, name: str, shape: tuple[int, ...], std: float) -> np.ndarray:
    """float32 uniform values of the given standard deviation, a pure function of (seed, name, shape, std)."""
    raw = np.random.PCG64([seed, zlib.crc32(name.encode())]).random_raw(int(np.prod(shape)))
    unit = (raw >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-23) - np.float32(1)  # exact in float32
    return (unit * np.float32(std * 3**0.5)).reshape(shape)


def tiny_checkpoint(config: LlamaConfig, seed: int = 0) -> Checkpoint:
    """A random model of the given shape with its tokenizer. `eos` is <|im_end|>, which random models hardly emit."""
    check_positive(config)

    def read(name: str) -> np.ndarray:
        shape = config.tensor_shapes()[name]
        if name == "model.embed_tokens.weight":
            return uniform(seed, name, shape, EMBED_STD)
        if name == "lm_head.weight":
            return uniform(seed, name, shape, LOGIT_STD / config.hidden**0.5)
        if name.endswith(".bias"):
            return uniform(seed, name, shape, 0.1)
        if len(shape) == 1:
            level = LOGIT_STD / (EMBED_STD * config.hidden**0.5) if name == "model.norm.weight" and config.tied else 1.0
            return np.float32(level) * (1 + uniform(seed, name, shape, 0.1))
        # Attention averages values and the gate halves them: give both back what they lose.
        gain = {"o_proj": 2.0, "down_proj": 2.0, "q_proj": 2.0, "k_proj": 2.0}.get(name.split(".")[-2], 1.0)
        return uniform(seed, name, shape, LAYER_GAIN * gain / shape[1] ** 0.5)

    ids = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}
    document = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        **config.hf_fields(),
        "attention_bias": config.qkv_bias,
        "mlp_bias": config.mlp_bias,
        **ids,
    }
    files = {"config.json": document, "generation_config.json": ids, **tiny_tokenizer(config.vocab)}
    return Checkpoint(config, read, files)


def tiny_config(layers=2, hidden=64, heads=4, kv_heads=2, ffn=128, vocab=320, context=512, tied=True, bias=False) -> LlamaConfig:
    """The shape of a tiny model; raises `UserError` when `hidden` is not a multiple of `heads`."""
    if heads < 1 or hidden % heads:
        raise UserError(f"--hidden {hidden} is not a multiple of --heads {heads}")
    return LlamaConfig(layers, hidden, heads, kv_heads, hidden // heads, ffn, vocab, 10000.0, 1e-5, context, tied, bias, bias, bias)


def tiny_exits(checkpoint: Checkpoint, layers: list[int], criterion: str, threshold: float | None, seed: int = 0) -> list[ExitSpec]:
    """Exits that reuse the model's own head. `threshold` None takes the median score of each exit over 256 random
    rows, so that about half of the rows that reach it leave. Probes are random directions."""
    hidden = checkpoint.config.hidden
    specs = [
        ExitSpec(k, criterion, threshold or 0.0, probe=(uniform(seed, f"probe.{k}", (hidden,), hidden**-0.5), 0.0) if criterion == "probe" else None)
        for k in layers
    ]
    specs = check_specs(specs, "exact", checkpoint.config.layers, hidden)
    if threshold is not None:
        return specs
    ids = (np.random.PCG64([seed, 1]).random_raw(256) % np.uint64(checkpoint.config.vocab)).astype(np.int64)
    model = NumpyLlama(checkpoint)
    states = [model.states(row) for row in ids.reshape(4, 64)]
    median = [np.median(np.concatenate([model.score(s, h) for h in states])) for s in specs]
    return [replace(s, threshold=round(float(m), 2)) for s, m in zip(specs, median)]


def write_tiny(checkpoint: Checkpoint, out_dir, cache: bool = True, exits: list[ExitSpec] = (), fill: str = "exact") -> int:
    """Write a tiny model's folder (see the module's text); returns the size of the weights in bytes."""
    with whole_folder(Path(out_dir)) as folder:
        size = write_models(checkpoint, folder, cache, oracle=True)
        if exits:
            save_spec(folder / "exits.toml", exits, fill, dtype=np.float32)
            write_exits(folder / ORACLE, folder / "oracle.onnx", exits, fill, exit_depth=True)
            write_exits(folder / ORACLE, folder / "scripted.onnx", exits, fill, scripted=True, exit_depth=True)
            for name in (MODEL, ORACLE):
                write_exits(folder / name, folder / name, exits, fill)
        for name, document in checkpoint.files.items():
            write_json(folder / name, document)
    return size


def parse_layers(text: str, flag: str) -> list[int]:
    """'1,3' -> [1, 3]; `flag` is what the user wrote it behind."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"{flag} '{text}' is not a list of layer numbers such as 1,3") from None


def main(argv) -> int:
    parser = argparse.ArgumentParser(prog="python -m ee.tiny", description=__doc__.split("\n\n")[0])
    parser.add_argument("out_dir")
    for name, default in (("layers", 2), ("hidden", 64), ("heads", 4), ("kv-heads", 2), ("ffn", 128), ("vocab", 320), ("context", 512), ("seed", 0)):
        parser.add_argument("--" + name, type=int, default=default, help=f"default {default}")
    parser.add_argument("--untied", action="store_true", help="a separate LM head instead of the embedding")
    parser.add_argument("--bias", action="store_true", help="biases on every linear map")
    parser.add_argument("--no-cache", action="store_true", help="write model.onnx without past/present")
    parser.add_argument("--exits", help="layers after which rows may leave, such as 1,3")
    parser.add_argument("--criterion", choices=CRITERIA, default="max_prob")
    parser.add_argument("--threshold", default="median", help="in logit space; default median: about half of the rows leave")
    parser.add_argument("--fill", choices=FILLS, default="exact")
    args = parser.parse_args(argv)
    if args.seed < 0:
        raise UserError(f"--seed {args.seed} is negative")
    config = tiny_config(args.layers, args.hidden, args.heads, args.kv_heads, args.ffn, args.vocab, args.context, not args.untied, args.bias)
    checkpoint, exits = tiny_checkpoint(config, args.seed), []
    if args.exits:
        try:
            threshold = None if args.threshold == "median" else float(args.threshold)
        except ValueError:
            raise UserError(f"--threshold '{args.threshold}' is neither a number nor median") from None
        exits = tiny_exits(checkpoint, parse_layers(args.exits, "--exits"), args.criterion, threshold, args.seed)
    size = write_tiny(checkpoint, args.out_dir, not args.no_cache, exits, args.fill)
    print(f"{args.out_dir}: {config.layers} layers, hidden {config.hidden}, vocabulary {config.vocab}, {size} bytes of weights")
    for s in exits:
        print(f"  exit {s.label}: {s.criterion} >= {s.threshold:g}, fill {args.fill}")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_main(main))
