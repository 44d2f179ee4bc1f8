# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What the flags of the training tools may be, in one place: argparse takes any number, and torch and numpy either fail on
some of them in words of their own or run with a budget that never ends."""

import math

import torch

from ..errors import UserError

# Seeds are multiplied by 1,000,003 and become 64-bit keys, so they have 32 bits.
RANGES = {"threads": (1, 1024), "steps": (1, math.inf), "windows": (1, math.inf), "policies": (1, math.inf), "seed": (0, 2**32 - 1)}


def check_flags(args) -> None:
    """`args` as argparse parsed them; flags that a tool does not have, or that were not given (None), are passed over."""
    for name, (least, most) in RANGES.items():
        value = getattr(args, name, None)
        if value is not None and not least <= value <= most:
            raise UserError(f"--{name} {value} " + (f"is outside {least}..{most}" if most < math.inf else f"must be at least {least}"))
    minutes = getattr(args, "minutes", None)
    if minutes is not None and not (minutes > 0 and math.isfinite(minutes)):
        raise UserError(f"--minutes {minutes:g} must be a number above 0, such as 0.5")
    if getattr(args, "device", None) is not None:
        _check_device(args.device)


def _check_device(device: str) -> None:
    there = ["cpu"] + (["cuda", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))] if torch.cuda.is_available() else [])
    if device not in there:
        raise UserError(f"--device '{device}' is not available; this machine has {', '.join(there)}")
