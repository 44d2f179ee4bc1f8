# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""python -m ee.train.probes MODEL DATA OUT: exit probes, halting gates, and with --k k-row heads, fitted on a frozen model.

A probe is score = w . h + b per exit point, at most a thousandth of the parameters.

Two labels. `agreement`: logistic regression on "this exit's likeliest token is full depth's"; the score is a log-odds.
`saved`: least squares on the loss that full depth saves, loss(exit) - loss(full) in nats; the score is minus that, so
that high still means "leave". The latter asks what a policy that bounds the loss needs to know: a token on which both
depths are equally wrong may leave.
"""

import argparse
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..data.reader import Windows, validation_windows
from ..errors import UserError, run_main
from ..folders import TOKENIZER, whole_folder
from ..models import Decoder
from ..models.folder import CONFIG
from ..regression import PROBE, logistic, ridge
from . import few_rows, flags, gates
from .collect import Collected, collect
from .data import spread, text_of

LABELS = ("agreement", "saved")
RIDGE = 1e-3  # of the regression on what full depth saves


def fit(collected: Collected, label: str) -> list[tuple[np.ndarray, float]]:
    """(w, b) per exit point."""
    if label not in LABELS:
        raise UserError(f"label '{label}' is not one of {', '.join(LABELS)}")
    result = []
    for i, states in enumerate(collected.states):
        if label == "agreement":
            result.append(logistic(states, collected.agreement()[:, i], PROBE))
        else:
            saved = (collected.losses[:, i] - collected.losses[:, -1]).astype(np.float64)
            weight, bias = ridge(states, -saved[:, None], RIDGE)
            result.append((weight[:, 0], float(bias[0])))
    return result


def install(model: Decoder, fitted: list[tuple[np.ndarray, float]]) -> None:
    """Put the probes into `model`'s exit points."""
    for depth, (weight, bias) in zip(model.config.exits, fitted):
        probe = model.exits[str(depth)]["probe"]
        with torch.no_grad():
            probe.weight.copy_(torch.from_numpy(weight).reshape(1, -1))
            probe.bias.fill_(bias)


@dataclass(frozen=True)
class Fitted:
    """What was fitted on `sample`: `probes` by label, k-row `heads` by depth (empty where none were asked for)."""

    sample: Collected
    probes: dict[str, list[tuple[np.ndarray, float]]]
    heads: dict[int, few_rows.FewRows]


def fit_exits(model: Decoder, text: Windows, labels=LABELS, k: int | None = None, stream: np.ndarray | None = None, criteria=()) -> Fitted:
    """Probes with each of `labels` for the exits of `model`, and with `k` k-row heads, whose candidates are counted in the
    tokens `stream`; `criteria` are collected besides."""
    sample = collect(model, text, criteria, with_states=True)
    fitted = {label: fit(sample, label) for label in labels}
    heads = few_rows.fit(model, sample, text.inputs[text.mask], few_rows.successors(stream, model.config.vocab, k)) if k else {}
    return Fitted(sample, fitted, heads)


def ranking(score: np.ndarray, label: np.ndarray) -> float:
    """The share of pairs (a row with the label, one without) in which the former scores higher; NaN without such pairs."""
    ranks = np.empty(len(score))
    ranks[np.argsort(score, kind="stable")] = np.arange(len(score))
    yes = int(label.sum())
    pairs = yes * (len(score) - yes)
    return float((ranks[label].sum() - yes * (yes - 1) / 2) / pairs) if pairs else float("nan")


def report(model: Decoder, fitted: Fitted, label: str, text: Windows) -> list[str]:
    """A line per exit: how well the scores order rows of `text` by whether they agree with full depth."""
    held, tokens, lines = collect(model, text, (), with_states=True), torch.from_numpy(text.inputs[text.mask]), []
    for i, depth in enumerate(model.config.exits):
        agrees, states = held.agreement()[:, i], held.states[i]
        weight, bias = fitted.probes[label][i]
        line = f"exit after {depth} of {model.config.depth}: agreement {agrees.mean():.3f}, ordered by the probe {ranking(states @ weight + bias, agrees):.3f}"
        if fitted.heads:
            parts = zip(torch.from_numpy(states).split(few_rows.PIECE), tokens.split(few_rows.PIECE), strict=True)
            device = next(model.parameters()).device
            with torch.no_grad():
                scores = torch.cat([fitted.heads[depth].score(model, h.to(device), t.to(device)).cpu() for h, t in parts])
            line += f", by the k-row head {ranking(scores.numpy(), agrees):.3f}"
        lines.append(line)
    return lines


def main(argv) -> None:
    parser = argparse.ArgumentParser(prog="python -m ee.train.probes", description=__doc__.split("\n\n")[0])
    parser.add_argument("model", type=Path, help="folder of a trained model with exits")
    parser.add_argument("data", help="folder written by python -m ee.data")
    parser.add_argument("out", type=Path, help="folder that gets the model with its probes, and the k-row heads")
    parser.add_argument("--label", default="saved", help=f"{' or '.join(LABELS)} (default saved)")
    parser.add_argument("--k", type=int, help="also fit k-row heads: an exit judged by this many rows of the LM head")
    parser.add_argument("--windows", type=int, default=512, help="windows of 128 tokens to fit on, spread over the documents (default 512)")
    parser.add_argument("--narrow", action="store_true", help="round matrices to bfloat16 before fitting, and store them so")
    flags.add_machine(parser)
    args = parser.parse_args(argv)
    flags.take_flags(args)
    if args.label not in LABELS:
        raise UserError(f"--label '{args.label}' is not one of {', '.join(LABELS)}")
    model = Decoder.load(args.model).to(args.device).eval()
    c = model.config
    if not c.exits:
        raise UserError(f"{args.model}: the model has no exits; probes are fitted at its config's `exits`")
    if args.k is not None and not 2 <= args.k <= c.vocab:
        raise UserError(f"--k is {args.k}; it must lie in 2..{c.vocab}")
    if args.narrow:
        model.round_matrices()
    training, held = text_of(model, args.model, args.data), text_of(model, args.model, args.data, "valid")
    text, held = (spread(validation_windows(tokens, 128), args.windows) for tokens in (training, held))
    fitted = fit_exits(model, text, (args.label,), args.k, training.ids)
    install(model, fitted.probes[args.label])
    if c.gates:
        gates.install(model, gates.fit(fitted.sample, gates.costs(c)))
    for line in report(model, fitted, args.label, held):
        print(line, flush=True)
    # Heads that an earlier call left there would not belong to these probes.
    with whole_folder(args.out, owned=(few_rows.FILE,), seal=CONFIG) as partial:
        model.save(partial, args.narrow)
        if fitted.heads:
            few_rows.save(fitted.heads, partial)
        for name in TOKENIZER:
            if (args.model / name).exists():
                shutil.copyfile(args.model / name, partial / name)


if __name__ == "__main__":
    sys.exit(run_main(main))
