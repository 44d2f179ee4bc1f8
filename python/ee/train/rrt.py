# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""python -m ee.train.rrt SOURCE DATA RUN: a checkpoint as a Relaxed Recursive Transformer, uptrained from itself.

The source's layers become shared blocks with a low-rank term per depth (`recursive.py`); the loop of the other recipes then
trains them towards the source's distribution, on the text of DATA in the source's own tokens. RUN gets what every run has,
and the source's tokenizer.
"""

import argparse
import functools
import json
import sys
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

from ..checkpoint import Checkpoint, open_checkpoint
from ..data.reader import Windows
from ..errors import UserError, one_line, run_main
from ..folders import TOKENIZER, write_json
from ..models import Decoder
from ..reference.recursive import INITS
from . import flags
from .data import validation_losses
from .loop import STATE, Run
from .recipes import Distilled, fingerprint
from .recursive import PATTERNS, convert, distilled, recursive_config
from .retokenise import OtherTokens

STEPS, BATCH, LENGTH, RATE, HELD_OUT = 4000, 4, 128, 2e-4, 32


def source_weights(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(checkpoint.tensor(name)) for name in checkpoint.config.tensor_shapes()}


def source_tokenizer(checkpoint: Checkpoint, where: str) -> Tokenizer:
    if "tokenizer.json" not in checkpoint.files:
        raise UserError(f"{where}: has no tokenizer; uptraining needs the text in the source's tokens, so SOURCE must bring its tokenizer.json")
    try:
        tokenizer = Tokenizer.from_str(json.dumps(checkpoint.files["tokenizer.json"]))
    except Exception as e:  # the package raises nothing narrower
        raise UserError(f"{where}: tokenizer.json is not one of the `tokenizers` package: {one_line(e)}") from None
    most = max(tokenizer.get_vocab(with_added_tokens=True).values())
    if most >= checkpoint.config.vocab:
        raise UserError(f"{where}: tokenizer.json has token id {most}; ids must be below vocab_size {checkpoint.config.vocab}")
    return tokenizer


def held_out_windows(text: OtherTokens, count: int) -> Windows:
    ids = text.first(count).numpy()
    return Windows(ids[:, :-1], ids[:, 1:], np.ones_like(ids[:, 1:], bool), np.arange(len(ids)))


def uptrain(
    model: Decoder, teacher: Decoder, made: str, tokenizer: Tokenizer, data, folder,
    minutes: float, steps: int = STEPS, length: int = LENGTH, device: str = "cpu", seed: int = 0, say=print,
) -> Run:  # fmt: skip
    """The finished run in `folder`. `made` says how `model` came from `teacher`; a run resumes where that is the same."""
    teacher = teacher.to(device).eval().requires_grad_(False)
    training, held = OtherTokens(data, tokenizer, "train", length), held_out_windows(OtherTokens(data, tokenizer, "valid", length), HELD_OUT)
    training.batch(0, BATCH, seed)  # a text that is too short is refused before there is a folder
    recipe = Distilled(
        model.config, "recursive", "a checkpoint as a Relaxed Recursive Transformer", batch=BATCH, length=length, steps=steps, warmup=5, adam_rate=RATE,
        teacher=fingerprint(teacher), made=made,
    )  # fmt: skip
    run = Run(
        recipe, folder, lambda step: training.batch(step, BATCH, seed), functools.partial(validation_losses, sample=held), minutes, device, seed, say,
        build=lambda: model, objective=distilled(teacher),
    )  # fmt: skip
    run.run(log_every=4)  # a step of such a model takes seconds
    return run


def main(argv) -> None:
    parser = argparse.ArgumentParser(prog="python -m ee.train.rrt", description=__doc__.split("\n\n")[0])
    parser.add_argument("source", help="package:NAME, a .gguf file or a Hugging Face folder")
    parser.add_argument("data", help="folder written by python -m ee.data")
    parser.add_argument("run", type=Path, help="folder of this run; a run that is there is resumed")
    parser.add_argument("--recursions", type=int, default=2, help="loops over the shared layers (default 2)")
    parser.add_argument("--rank", type=int, default=64, help="of the term per depth and linear map, 0: none (default 64)")
    parser.add_argument("--pattern", default="middle_cycle", help=f"which layers share: {' or '.join(PATTERNS)} (default middle_cycle)")
    parser.add_argument("--init", default="average", help=f"what shared layers start from: {', '.join(INITS)} (default average)")
    flags.add_training(parser, 10, STEPS)
    args = parser.parse_args(argv)
    flags.take_flags(args)
    for name, known in (("pattern", PATTERNS), ("init", INITS)):
        if getattr(args, name) not in known:
            raise UserError(f"--{name} '{getattr(args, name)}' is not one of {', '.join(known)}")
    say = functools.partial(print, flush=True)
    checkpoint = open_checkpoint(args.source)
    source, tokenizer = checkpoint.config, source_tokenizer(checkpoint, args.source)
    if args.rank > (full := max(source.hidden, source.ffn, source.heads * source.head_dim)):
        raise UserError(f"--rank is {args.rank}; it must be at most {full}, where nothing is left of the differences")
    config, _ = recursive_config(source, args.recursions, args.rank, args.pattern)
    weights = source_weights(checkpoint)
    # The source itself: one recursion over all its layers.
    teacher = convert(weights, source, 1, 0, "cycle", "stepwise")
    if (args.run / STATE).exists():
        model = Decoder(config)  # the run's state has the weights; converting takes a decomposition per map
    else:
        say(f"converting {source.layers} layers to {config.physical_layers}, rank {args.rank}, from {args.init}")
        model = convert(weights, source, args.recursions, args.rank, args.pattern, args.init, args.seed)
    del weights
    uptrain(
        model, teacher, f"{args.pattern}, {args.init}", tokenizer, args.data, args.run,
        args.minutes, args.steps, min(LENGTH, source.context), args.device, args.seed, say,
    )  # fmt: skip
    for name in TOKENIZER:
        if name in checkpoint.files:
            write_json(args.run / name, checkpoint.files[name])


if __name__ == "__main__":
    sys.exit(run_main(main))
