# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""python -m ee.train.heads MODEL DATA OUT: KL-distilled exit heads for a frozen model, written as an exit spec.

Each exit gets a linear map in front of the model's own final norm and LM head, started at the identity and trained so that
the exit's distribution approaches full depth's: loss = KL(full || exit), mean over rows. A probe for each exit is then
fitted on agreement with full depth. The model itself does not change, so the exits can be taken off again.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ..data.reader import open_tokens, validation_windows, windows
from ..errors import UserError, run_main
from ..exit_spec import ExitSpec, Head, save_spec
from ..models import Decoder
from ..regression import logistic
from .data import pieces, spread
from .probes import STRENGTH


class MapHead(nn.Module):
    """x = h @ map + bias; then the model's norm and LM head."""

    def __init__(self, hidden: int):
        super().__init__()
        self.map, self.bias = nn.Parameter(torch.eye(hidden)), nn.Parameter(torch.zeros(hidden))

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        return h @ self.map + self.bias


def distil(model: Decoder, depths: tuple[int, ...], batches, minutes: float, rate: float = 1e-3, steps: int = 4000, say=print) -> dict[int, MapHead]:
    """Heads for exits after `depths` layers; AdamW, rate falling linearly to zero over the steps or the budget."""
    device = next(model.parameters()).device
    heads = nn.ModuleDict({str(d): MapHead(model.config.hidden) for d in depths}).to(device)
    optimiser = torch.optim.AdamW(heads.parameters(), lr=rate, betas=(0.9, 0.95), weight_decay=0.0)
    began, step, shown = time.monotonic(), 0, 0.0
    while (progress := max(step / steps, (time.monotonic() - began) / (60 * minutes))) < 1:
        x = batches(step)[:, :-1].to(device)
        with torch.no_grad():
            states = {d: h for d, h in model.states(x) if d in depths or d == model.config.depth}
            goal = model.head(states[model.config.depth]).log_softmax(-1).flatten(0, 1)
        distances = {d: F.kl_div(model.head(heads[str(d)](states[d])).log_softmax(-1).flatten(0, 1), goal, reduction="batchmean", log_target=True) for d in depths}
        sum(distances.values()).backward()
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 20) * (1 - progress)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        model.zero_grad(set_to_none=True)
        step += 1
        if time.monotonic() - shown > 10:
            shown = time.monotonic()
            left = (shown - began) * (1 - progress) / max(progress, 1e-6)
            say(f"step {step} {progress:4.0%}, {left / 60:.1f} min left: " + " ".join(f"exit{d} {v.item():.3f}" for d, v in distances.items()))
    return {d: heads[str(d)] for d in depths}


@torch.no_grad()
def measure(model: Decoder, heads: dict[int, MapHead | None], text, batch: int = 16) -> dict[int, dict]:
    """Per exit: loss in nats, KL(full || exit), agreement with full depth, states and agreement per row; None: the head as it is."""
    result = {d: {"loss": [], "distance": [], "agrees": [], "states": []} for d in heads}
    for x, y, mask in pieces(text, batch):
        states = {d: h[mask] for d, h in model.states(x) if d in heads or d == model.config.depth}
        goal = model.head(states[model.config.depth]).log_softmax(-1)
        for d, head in heads.items():
            z = model.head(states[d] if head is None else head(states[d])).log_softmax(-1)
            result[d]["loss"].append(F.nll_loss(z, y[mask], reduction="none"))
            result[d]["distance"].append((goal.exp() * (goal - z)).sum(-1))
            result[d]["agrees"].append(z.argmax(-1) == goal.argmax(-1))
            result[d]["states"].append(states[d])
    return {d: {k: torch.cat(v).numpy() for k, v in r.items()} for d, r in result.items()}


def main(argv) -> None:
    parser = argparse.ArgumentParser(prog="python -m ee.train.heads", description=__doc__.split("\n\n")[0])
    parser.add_argument("model", help="folder of a trained model (ee_config.json, model.safetensors)")
    parser.add_argument("data", help="folder written by python -m ee.data")
    parser.add_argument("out", help="folder that gets spec.toml and spec.safetensors")
    parser.add_argument("--depths", help="layers after which rows may leave, such as 2,4; default: the model's exits, else thirds")
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    model = Decoder.load(args.model).eval()
    c = model.config
    if c.router or c.loop_norm:
        raise UserError(f"{args.model}: exit heads are made for models without routers and without a norm after each loop")
    try:
        depths = tuple(int(d) for d in args.depths.split(",")) if args.depths else c.exits or (c.depth // 3, 2 * c.depth // 3)
    except ValueError:
        raise UserError(f"--depths '{args.depths}' is not a list of numbers such as 2,4") from None
    if not all(1 <= d < c.depth for d in depths):
        raise UserError(f"--depths {args.depths} must lie in 1..{c.depth - 1}")
    training = open_tokens(args.data, "train")
    heads = distil(model, depths, lambda step: torch.from_numpy(windows(training.ids, step, 8, 128, 1)), args.minutes, say=lambda s: print(s, flush=True))
    fit, held = (spread(validation_windows(open_tokens(args.data, split), 128), 256) for split in ("train", "valid"))
    before, after, fitted = measure(model, {d: None for d in depths}, held), measure(model, heads, held), measure(model, heads, fit)
    specs = []
    for d in depths:
        weight, bias = logistic(fitted[d]["states"], fitted[d]["agrees"], STRENGTH)
        head = Head("map", {"map": heads[d].map.detach().numpy(), "bias": heads[d].bias.detach().numpy()})
        specs.append(ExitSpec(d, "probe", 2.0, head, (weight, bias)))
        print(
            f"exit after {d} of {c.depth}: loss {before[d]['loss'].mean():.4f} -> {after[d]['loss'].mean():.4f}, KL to full depth {before[d]['distance'].mean():.4f} -> "
            f"{after[d]['distance'].mean():.4f}, agreement {np.mean(before[d]['agrees']):.3f} -> {np.mean(after[d]['agrees']):.3f}"
        )
    Path(args.out).mkdir(parents=True, exist_ok=True)
    save_spec(Path(args.out) / "spec.toml", specs, "exact", "Exit heads distilled by ee.train.heads; scores are log-odds of agreeing with full depth.", np.float32)


if __name__ == "__main__":
    sys.exit(run_main(main))
