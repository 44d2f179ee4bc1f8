# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""python -m ee.train.execute MODEL DATA FIT.npz OUT.npz: runs candidate policies on held-out text, for `ee.calibrate`.

FIT is a trace of other text (`python -m ee.train.traces MODEL DATA FIT.npz --split train`): candidates and their order are
read off it. Needed where K,V of rows that left are not exact, because a trace then does not say what a policy does.
"""

import argparse
import sys

import numpy as np

from ..calibrate.executed import Executed
from ..calibrate.ltt import Target, policies as candidates
from ..calibrate.outcome import outcome
from ..calibrate.trace_file import TraceFile
from ..criteria import ON_LOGITS
from ..data.reader import Windows
from ..errors import UserError, run_main
from ..models import Decoder
from . import policies
from .cost import cost
from .data import sample_text
from .flags import add_threads, take_flags
from .policies import Outcome
from .traces import check_criterion, decision_names


def path(fit: TraceFile, target: Target, count: int) -> np.ndarray:
    """[<= count, points] leave thresholds in testing order: candidates of `fit`, evenly spread over their cost."""
    found = candidates(fit, target)
    costs = np.array([outcome(fit, t).cost for t in found])
    wanted = np.linspace(costs[0], costs[-1], count) if len(found) else []
    return found[sorted({int(np.abs(costs - c).argmin()) for c in wanted})]


def _check(model: Decoder, fit: TraceFile) -> None:
    c = model.config
    names = decision_names(c)
    if fit.names != names or fit.rule != ("route" if c.router else "exit"):
        raise UserError(f"the trace decides at {', '.join(fit.names)} by rule {fit.rule}; the model at {', '.join(names) or 'no point'}")


def run_one(model: Decoder, text: Windows, thresholds: np.ndarray, criterion: str) -> Outcome:
    """One policy, given as leave thresholds."""
    if model.config.router:
        # A row leaves where -score >= t, so it goes on where score > -t; the first recursion is everyone's.
        return policies.run_routed(model, text, [float("-inf"), *(-thresholds).tolist()])
    at = dict(zip(model.config.exits, thresholds.tolist(), strict=True))
    return policies.run(model, text, policies.probe(at) if criterion == "probe" else policies.criterion(criterion, at))


def execute(model: Decoder, text: Windows, fit: TraceFile, target: Target, count: int, criterion: str = "probe", say=print) -> Executed:
    """Runs `path(fit, target, count)` on `text`; `criterion` is the one that `fit` was made with (routers: their own)."""
    c = model.config
    _check(model, fit)
    thresholds = path(fit, target, count)
    if not len(thresholds):
        raise UserError("the trace gives no candidate that is cheaper than full depth")
    full = policies.full_depth(model, text)
    on_logits = criterion != "probe" and not c.router
    price = lambda depths: cost(c, depths, on_logits, 0 if c.router or on_logits else 1).weights  # noqa: E731
    made = []
    for i, t in enumerate(thresholds):
        made.append(run_one(model, text, t, criterion))
        agree = float((made[-1].tokens == full.tokens).mean())
        say(f"policy {i + 1} of {len(thresholds)}: layers {made[-1].depths.mean():.3f}, cost {price(made[-1].depths):.3f}, agreement {agree:.4f}")
    return Executed(
        fit.names, fit.rule, thresholds, np.array([price(o.depths) for o in made]), cost(c, full.depths).weights, np.array([o.depths.mean() for o in made]),
        np.stack([o.tokens == full.tokens for o in made]), np.stack([o.losses - full.losses for o in made]).astype(np.float32), full.document,
    )  # fmt: skip


def main(argv) -> None:
    parser = argparse.ArgumentParser(prog="python -m ee.train.execute", description=__doc__.split("\n\n")[0])
    parser.add_argument("model", help="folder of a trained model")
    parser.add_argument("data", help="folder written by python -m ee.data")
    parser.add_argument("fit", help="trace of other text, .npz")
    parser.add_argument("out", help="the executed policies, .npz")
    parser.add_argument("--criterion", default="probe", help=f"the trace's: probe (default) or one of {', '.join(ON_LOGITS)}; routers have their own")
    parser.add_argument("--risk", choices=("agreement", "loss"), default="agreement", help="what the candidates trade against cost")
    parser.add_argument("--policies", type=int, default=12, help="how many candidates to run (default 12)")
    parser.add_argument("--windows", type=int, default=512, help="windows of 128 tokens, spread over the held-out documents (default 512)")
    add_threads(parser)
    args = parser.parse_args(argv)
    take_flags(args)
    check_criterion(args.criterion)
    model = Decoder.load(args.model).eval()
    text = sample_text(args.data, "valid", model.config.vocab, 128, args.windows)
    made = execute(model, text, TraceFile.load(args.fit), Target(0.1, risk=args.risk), args.policies, args.criterion)
    made.save(args.out)
    print(f"{args.out}: {len(made.thresholds)} policies on {len(made.document)} tokens of {len(np.unique(made.document))} documents")


if __name__ == "__main__":
    sys.exit(run_main(main))
