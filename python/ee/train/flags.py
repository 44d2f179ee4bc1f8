# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Flags that the training tools share, and what they may be: argparse takes any number, and torch and numpy either fail on
some of them in words of their own or run with a budget that never ends."""

import argparse
import math

import torch

from ..errors import UserError

# Seeds are multiplied by 1,000,003 and become 64-bit keys, so they have 32 bits.
RANGES = {"threads": (1, 1024), "steps": (1, math.inf), "windows": (1, math.inf), "policies": (1, math.inf), "seed": (0, 2**32 - 1)}
RANGES |= {"recursions": (1, math.inf), "rank": (0, math.inf)}


def add_threads(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")


def add_machine(parser: argparse.ArgumentParser) -> None:
    add_threads(parser)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda (default: cuda where there is one)")


def add_training(parser: argparse.ArgumentParser, minutes: float, steps: int | None) -> None:
    """`steps` None: the recipe says how many."""
    parser.add_argument("--minutes", type=float, default=minutes, help=f"wall-clock budget, over all resumptions (default {minutes:g})")
    parser.add_argument("--steps", type=int, default=steps, help=f"end earlier, after this many steps (default {'the recipe says' if steps is None else steps})")
    parser.add_argument("--seed", type=int, default=0)
    add_machine(parser)


def take_flags(args) -> None:
    """Checks `args` as argparse parsed them, then gives torch its threads; flags that a tool does not have, or that were not given
    (None), are passed over."""
    for name, (least, most) in RANGES.items():
        value = getattr(args, name, None)
        if value is not None and not least <= value <= most:
            raise UserError(f"--{name} {value} " + (f"is outside {least}..{most}" if most < math.inf else f"must be at least {least}"))
    minutes = getattr(args, "minutes", None)
    if minutes is not None and not (minutes > 0 and math.isfinite(minutes)):
        raise UserError(f"--minutes {minutes:g} must be a number above 0, such as 0.5")
    if getattr(args, "device", None) is not None:
        _check_device(args.device)
    torch.set_num_threads(args.threads)


def _check_device(device: str) -> None:
    there = ["cpu"] + (["cuda", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))] if torch.cuda.is_available() else [])
    if device not in there:
        raise UserError(f"--device '{device}' is not available; this machine has {', '.join(there)}")
