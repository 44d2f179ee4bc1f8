# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""python -m ee.train.traces MODEL DATA OUT.npz: the depth trace of a trained decoder, for `ee.calibrate` or `ee.train.execute`.

Exits and loops: every token at every exit, K,V of full depth, with the score of one criterion (`probe`, or one of the
exit's logits). Routed models: losses with every row forced to each number of recursions, and the router scores of the
run in which all rows go on; recursion 0 is no decision.
"""

import argparse
import sys

import numpy as np
import torch

from ..calibrate.trace_file import TraceFile
from ..criteria import ON_LOGITS
from ..data.reader import Windows
from ..errors import UserError, run_main
from ..models import Decoder
from . import policies
from .collect import collect
from .cost import cost
from .data import sample_text
from .flags import add_threads, take_flags


def decision_names(config) -> tuple[str, ...]:
    """A routed model decides after each recursion but the last, any other one at its exits."""
    return tuple(f"r{r}" for r in range(1, config.recursions)) if config.router else tuple(f"e{d}" for d in config.exits)


def check_criterion(name: str) -> None:
    if name not in ("probe", *ON_LOGITS):
        raise UserError(f"--criterion '{name}' is not one of probe, {', '.join(ON_LOGITS)}")


def _costs(model: Decoder, depths) -> np.ndarray:
    return np.array([cost(model.config, np.array([d])).weights for d in depths])


def exit_trace(model: Decoder, text: Windows, criterion: str = "probe") -> TraceFile:
    """Rule "exit": one decision per exit of the model."""
    c = model.config
    if not c.exits:
        raise UserError("the model has no exits; a trace needs decisions")
    check_criterion(criterion)
    on_logits = criterion != "probe"
    got = collect(model, text, (criterion,) if on_logits else (), with_states=not on_logits)
    if on_logits:
        scores = got.scores[criterion]
    else:
        with torch.no_grad():
            probed = [model.exits[str(d)]["probe"](torch.from_numpy(s)).squeeze(-1).numpy() for d, s in zip(c.exits, got.states, strict=True)]
        scores = np.stack(probed, 1)
    check, costs = (c.head_macs() if on_logits else c.hidden) / c.layer_macs(), _costs(model, got.depths)
    if on_logits:
        # The logits that were checked are the output of a row that leaves there.
        costs[:-1] -= check
    return TraceFile(
        decision_names(c), np.arange(len(c.exits)), "exit", np.array(got.depths), costs,
        np.full(len(c.exits), check), scores.astype(np.float32), got.losses.astype(np.float32), got.tokens.astype(np.int32), got.document,
        exact=c.kv_fill == "exact",
    )  # fmt: skip


def route_trace(model: Decoder, text: Windows) -> TraceFile:
    """Rule "route": one decision per recursion but the first."""
    c = model.config
    counts = range(1, c.recursions + 1)
    runs = [policies.run_forced(model, text, r) for r in counts]
    depths = c.depth_after(np.array(counts))
    return TraceFile(
        decision_names(c), np.arange(c.recursions - 1), "route", depths, _costs(model, depths),
        np.full(c.recursions - 1, c.hidden / c.layer_macs()), runs[-1].scores[:, 1:], np.stack([r.losses for r in runs], 1),
        np.stack([r.tokens for r in runs], 1).astype(np.int32), runs[0].document,
    )  # fmt: skip


def trace(model: Decoder, text: Windows, criterion: str = "probe") -> TraceFile:
    return route_trace(model, text) if model.config.router else exit_trace(model, text, criterion)


def main(argv) -> None:
    parser = argparse.ArgumentParser(prog="python -m ee.train.traces", description=__doc__.split("\n\n")[0])
    parser.add_argument("model", help="folder of a trained model")
    parser.add_argument("data", help="folder written by python -m ee.data")
    parser.add_argument("out", help="the trace, .npz")
    parser.add_argument("--criterion", default="probe", help=f"probe (default) or one of {', '.join(ON_LOGITS)}")
    parser.add_argument("--split", choices=("valid", "train"), default="valid", help="text to trace: held out (default), or trained on")
    parser.add_argument("--windows", type=int, default=512, help="windows of 128 tokens, spread over the documents (default 512)")
    add_threads(parser)
    args = parser.parse_args(argv)
    take_flags(args)
    model = Decoder.load(args.model).eval()
    made = trace(model, sample_text(args.data, args.split, model.config.vocab, 128, args.windows), args.criterion)
    made.save(args.out)
    print(f"{args.out}: {len(made.document)} tokens of {len(np.unique(made.document))} documents, decisions {', '.join(made.names)}")


if __name__ == "__main__":
    sys.exit(run_main(main))
