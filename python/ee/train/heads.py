# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""python -m ee.train.heads MODEL DATA OUT: KL-distilled exit heads for a frozen model, written as an exit spec.

Each exit gets a linear map in front of the model's own final norm and LM head, started at the identity and trained so that
the exit's distribution approaches full depth's: loss = KL(full || exit), mean over rows. A probe for each exit is then
fitted on agreement with full depth. The model itself does not change, so the exits can be taken off again.
"""

import argparse
import functools
import sys
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ..data.reader import Windows, validation_windows, windows
from ..errors import UserError, run_main
from ..exit_spec import ExitSpec, Head, save_spec
from ..folders import whole_folder
from ..models import Decoder
from ..regression import PROBE, logistic
from . import flags
from .data import pieces, spread, text_of
from .loop import Run
from .recipes import Distilled, fingerprint

STEPS, BATCH, LENGTH, RATE = 4000, 8, 128, 1e-3


class MapHead(nn.Module):
    """x = h @ map + bias; then the model's norm and LM head."""

    def __init__(self, hidden: int):
        super().__init__()
        self.map, self.bias = nn.Parameter(torch.eye(hidden)), nn.Parameter(torch.zeros(hidden))

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        return h @ self.map + self.bias


def towards(model: Decoder) -> Callable:
    """The objective (as in `objectives.py`, with the heads in the model's place): the sum of the exits' distances to full depth."""

    def distil(heads: nn.ModuleDict, ids: torch.Tensor, step: int, options) -> tuple[torch.Tensor, dict]:
        # In float32: distances become smaller than what bfloat16 logits resolve.
        with torch.autocast(ids.device.type, enabled=False):
            with torch.no_grad():
                states = {d: h for d, h in model.states(ids[:, :-1]) if str(d) in heads or d == model.config.depth}
                goal = model.head(states[model.config.depth]).log_softmax(-1).flatten(0, 1)
            outputs = {d: model.head(head(states[int(d)])).log_softmax(-1).flatten(0, 1) for d, head in heads.items()}
            distances = {f"exit{d}": F.kl_div(z, goal, reduction="batchmean", log_target=True) for d, z in outputs.items()}
            return sum(distances.values()), distances

    return distil


def new_run(
    model: Decoder, depths: tuple[int, ...], batches, validate, folder, save,
    minutes: float, steps: int = STEPS, rate: float = RATE, device: str = "cpu", seed: int = 0, say=print,
) -> Run:  # fmt: skip
    """The training of heads for exits after `depths` layers; `batches(step)` are ids [BATCH, LENGTH + 1]."""
    model.to(device).eval().requires_grad_(False)
    recipe = Distilled(
        model.config, "distil", "exit heads", batch=BATCH, length=LENGTH, steps=steps, warmup=20, adam_rate=rate,
        teacher=fingerprint(model), made=f"heads after {', '.join(map(str, depths))}",
    )  # fmt: skip
    build = lambda: nn.ModuleDict({str(d): MapHead(model.config.hidden) for d in depths})  # noqa: E731
    return Run(recipe, folder, batches, validate, minutes, device, seed, say, build=build, objective=towards(model), save=save)


@torch.no_grad()
def measure(model: Decoder, heads: dict[int, MapHead | None], text, batch: int = 16) -> dict[int, dict]:
    """Per exit: loss in nats, KL(full || exit), agreement with full depth, states and agreement per row; None: the head as it is."""
    result = {d: {"loss": [], "distance": [], "agrees": [], "states": []} for d in heads}
    for x, y, mask in pieces(text, batch, next(model.parameters()).device):
        states = {d: h[mask] for d, h in model.states(x) if d in heads or d == model.config.depth}
        goal = model.head(states[model.config.depth]).log_softmax(-1)
        for d, head in heads.items():
            z = model.head(states[d] if head is None else head(states[d])).log_softmax(-1)
            result[d]["loss"].append(F.nll_loss(z, y[mask], reduction="none"))
            result[d]["distance"].append((goal.exp() * (goal - z)).sum(-1))
            result[d]["agrees"].append(z.argmax(-1) == goal.argmax(-1))
            result[d]["states"].append(states[d])
    return {d: {k: torch.cat(v).cpu().numpy() for k, v in r.items()} for d, r in result.items()}


def write_spec(model: Decoder, heads: nn.ModuleDict, fit: Windows, held: Windows, folder, say) -> None:
    """spec.toml and spec.safetensors with a probe per exit, fitted on `fit`; what the heads changed on `held` is said."""
    maps, c = {int(d): head for d, head in heads.items()}, model.config
    before, after, fitted = measure(model, dict.fromkeys(maps), held), measure(model, maps, held), measure(model, maps, fit)
    specs = []
    for d in maps:
        probe = logistic(fitted[d]["states"], fitted[d]["agrees"], PROBE)
        head = Head("map", {name: tensor.numpy() for name, tensor in maps[d].cpu().state_dict().items()})
        specs.append(ExitSpec(d, "probe", 2.0, head, probe))
        say(
            f"exit after {d} of {c.depth}: loss {before[d]['loss'].mean():.4f} -> {after[d]['loss'].mean():.4f}, KL to full depth {before[d]['distance'].mean():.4f} -> "
            f"{after[d]['distance'].mean():.4f}, agreement {np.mean(before[d]['agrees']):.3f} -> {np.mean(after[d]['agrees']):.3f}"
        )
    with whole_folder(folder, owned=(), seal="spec.toml") as partial:
        save_spec(partial / "spec.toml", specs, "exact", "Exit heads distilled by ee.train.heads; scores are log-odds of agreeing with full depth.", np.float32)


def exit_depths(text: str | None, config) -> tuple[int, ...]:
    """What `--depths` says; None: the model's exits, else thirds of its depth."""
    try:
        depths = tuple(sorted({int(d) for d in text.split(",")})) if text else config.exits or tuple(sorted({d for d in (config.depth // 3, 2 * config.depth // 3) if d}))
    except ValueError:
        raise UserError(f"--depths '{text}' is not a list of numbers such as 2,4") from None
    if not depths or not 1 <= depths[0] <= depths[-1] < config.depth:
        raise UserError(f"--depths {text or '(default)'} must lie in 1..{config.depth - 1}, the model has {config.depth} layers")
    return depths


def main(argv) -> None:
    parser = argparse.ArgumentParser(prog="python -m ee.train.heads", description=__doc__.split("\n\n")[0])
    parser.add_argument("model", help="folder of a trained model (ee_config.json, model.safetensors)")
    parser.add_argument("data", help="folder written by python -m ee.data")
    parser.add_argument("out", help="folder that gets spec.toml and spec.safetensors; a run that is there is resumed")
    parser.add_argument("--depths", help="layers after which rows may leave, such as 2,4; default: the model's exits, else thirds")
    flags.add_training(parser, 5, STEPS)
    args = parser.parse_args(argv)
    flags.take_flags(args)
    model = Decoder.load(args.model)
    if model.config.router or model.config.loop_norm:
        raise UserError(f"{args.model}: exit heads are made for models without routers and without a norm after each loop")
    depths, say = exit_depths(args.depths, model.config), functools.partial(print, flush=True)
    training, held = text_of(model, args.model, args.data), text_of(model, args.model, args.data, "valid")
    fit, held = (spread(validation_windows(tokens, LENGTH), 256) for tokens in (training, held))
    sample = spread(held, 64)

    def validate(heads: nn.ModuleDict) -> dict[str, float]:
        measured = measure(model, {int(d): head for d, head in heads.items()}, sample)
        return {f"exit{d}": float(m["distance"].mean()) for d, m in measured.items()}

    batches = lambda step: torch.from_numpy(windows(training.ids, step, BATCH, LENGTH, args.seed))  # noqa: E731
    batches(0)  # a text that is too short is refused before there is a folder
    save = lambda heads, folder: write_spec(model, heads, fit, held, folder, say)  # noqa: E731
    new_run(model, depths, batches, validate, args.out, save, args.minutes, args.steps, device=args.device, seed=args.seed, say=say).run()


if __name__ == "__main__":
    sys.exit(run_main(main))
