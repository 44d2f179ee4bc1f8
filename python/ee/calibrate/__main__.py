# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""python -m ee.calibrate TRACE.npz [--agreement 0.95 | --excess 0.01] [--epsilon 0.05] [--method ltt] [-o policy.toml]

Documents are split in three: candidates are made on the first part, tested on the second, and the table printed is of
the third, which nothing was chosen on. A file of executed policies (`python -m ee.train.execute`) has its candidates;
its documents are split in two, to test and to report.
"""

import argparse
from pathlib import Path

import numpy as np

from ..errors import UserError, run_main
from ..folders import check_output_file
from .executed import Executed, is_executed
from .ltt import P_VALUES, UNITS, Resplits, Target, learn_then_test, policies, resplits
from .outcome import NEVER, Outcome, bootstrap, forced, leaving, outcome, random_exits, token_values
from .policy import point_thresholds, write_policy
from .search import capacity_thresholds, free_threshold, risk_by_point
from .trace_file import TraceFile

METHODS = ("ltt", "sweep", "free", "capacity")
SHARES = (0.3, 0.5, 0.2)  # of the documents: candidates, test, report
READ_OFF = "read off a trace: run, tokens that see earlier ones leave may do otherwise (python -m ee.train.execute)"


def sweep(trace: TraceFile, target: Target) -> np.ndarray | None:
    """The cheapest of the candidates whose risk on `trace` itself keeps the target; None: full depth. No promise."""
    best, cheapest, rows = None, float(trace.cost[-1]), np.arange(len(trace.document))
    risk = risk_by_point(trace, target.risk, target.bound)
    for thresholds in policies(trace, target):
        cost = outcome(trace, thresholds).cost
        if risk[rows, leaving(trace, thresholds)].mean() <= target.level and cost < cheapest:
            best, cheapest = thresholds, cost
    return best


def row(label: str, o: Outcome, interval: np.ndarray | None = None) -> str:
    """One line of the table; `interval` [2, 3] as from `bootstrap(token_values)`."""
    text = f"{label:<24} {o.mean_depth:7.3f} {o.cost:9.3f} {o.agreement:9.4f} {o.loss:8.4f} {o.excess:+8.4f}"
    if interval is not None:
        text += "   " + ", ".join(f"[{low:.4f}, {high:.4f}]" for low, high in interval.T[[0, 2]])
    return text


def table(trace: TraceFile, thresholds: np.ndarray, rounds: int, seed: int) -> list[str]:
    """Forced depths, the policy with its 95 % intervals (agreement, excess; documents resampled), random exits."""
    lines = [f"{'':<24} {'depth':>7} {'cost':>9} {'agreement':>9} {'loss':>8} {'excess':>8}   95 % of agreement, excess"]
    lines += [row(f"all at {d}", forced(trace, i)) for i, d in enumerate(trace.depths)]
    chosen = outcome(trace, thresholds)
    interval = bootstrap(trace.document, token_values(trace, thresholds), rounds, seed=seed)
    lines += [row("policy", chosen, interval), row("random, same histogram", random_exits(trace, chosen.histogram))]
    shares = " ".join(f"{d}:{share:.3f}" for d, share in zip(trace.depths, chosen.histogram))
    return [*lines, f"depths of the policy: {shares}"]


def promise(target: Target, documents: int, wish: str) -> str:
    return f"Learn-then-Test ({target.p_value}, {documents} documents): {wish} with probability {1 - target.epsilon:g}, by {target.unit}"


def print_resplits(r: Resplits) -> None:
    print(f"{r.n} resplits: {r.violations} broke the promise on all documents ({r.violations / r.n:.3f}, allowed {r.epsilon:g}),")
    print(f"{r.held_out} on the documents left out, {r.full_depth} kept full depth; mean cost {r.cost:.3f}")


def _executed(run: Executed, target: Target, wish: str, args) -> int:
    """The same for policies that were run: test on most documents, report on the others."""
    documents = np.random.default_rng(args.seed).permutation(np.unique(run.document))
    if len(documents) < 2:
        raise UserError(f"{args.trace}: {len(documents)} document cannot be split to test and to report; run the policies on more")
    tested = np.isin(run.document, documents[: min(len(documents) - 1, max(1, round(sum(SHARES[:2]) * len(documents))))])
    passed = run.passed(target, tested, args.seed)
    thresholds = run.thresholds[passed - 1] if passed else None
    what = promise(target, len(np.unique(run.document[tested])), wish)
    print(what + ("" if passed else ": only full depth keeps it"))
    for name, value in zip(run.names, point_thresholds(run, thresholds)):
        print(f"{name}: {'nobody leaves' if value is None else f'threshold {value:.6g}'}")
    print(f"run on {len(np.unique(run.document[~tested]))} other documents, {int((~tested).sum())} tokens (cost and layers of all):")
    if passed:
        agrees, excess = run.agrees[passed - 1, ~tested], run.excess[passed - 1, ~tested]
        print(f"layers {run.layers[passed - 1]:.3f}, cost {run.cost[passed - 1]:.3f} of {run.full_cost:.3f}, agreement {agrees.mean():.4f}, excess {excess.mean():+.4f}")
    if args.resplits:
        print_resplits(run.resplits(target, args.resplits, seed=args.seed))
    if args.output is not None:
        write_policy(Path(args.output), run, thresholds, what)
    return 0


def main(argv) -> int:
    parser = argparse.ArgumentParser(prog="python -m ee.calibrate", description="Thresholds from a depth trace")
    parser.add_argument("trace", help="TRACE.npz, see ee/calibrate/trace_file.py")
    parser.add_argument("-o", "--output", help="policy.toml to write")
    parser.add_argument("--method", choices=METHODS, default="ltt", help="default ltt, the only one with a promise")
    parser.add_argument("--agreement", type=float, help="share of tokens that must be full depth's; default 0.95")
    parser.add_argument("--excess", type=float, help="instead: nats of loss above full depth that are allowed")
    parser.add_argument("--bound", type=float, default=1.0, help="with --excess: a token's excess is cut to +- so many nats; default 1")
    parser.add_argument("--epsilon", type=float, default=0.05, help="ltt: chance that the promise fails; default 0.05")
    parser.add_argument("--p-value", choices=tuple(P_VALUES), help="ltt: default hb, with --excess betting")
    parser.add_argument("--unit", choices=UNITS, default="document", help="ltt: what is independent; default document")
    parser.add_argument("--shared", action="store_true", help="one threshold for all points")
    parser.add_argument("--capacity", help="capacity: share of all tokens that goes on past each point, such as 1,0.667,0.333")
    parser.add_argument("--resplits", type=int, default=0, metavar="N", help="ltt: also calibrate N times and count failed promises")
    parser.add_argument("--seed", type=int, default=0, help="splits the documents")
    args = parser.parse_args(argv)
    if args.agreement is not None and args.excess is not None:
        raise UserError("give either --agreement or --excess")
    loss = args.excess is not None
    agreement = 0.95 if args.agreement is None else args.agreement
    for flag, value in (("--agreement", agreement), ("--epsilon", args.epsilon)):
        if not 0 < value < 1:
            raise UserError(f"{flag} {value:g} must lie inside 0..1")
    if not 0 < args.bound < float("inf"):
        raise UserError(f"--bound {args.bound:g} must be a finite number above 0")
    if loss and not 0 < args.excess < args.bound:
        raise UserError(f"--excess must lie inside 0..--bound ({args.bound:g})")
    if args.seed < 0:
        raise UserError(f"--seed {args.seed} is negative; accepted: 0 and above")
    if (args.capacity is not None) != (args.method == "capacity"):
        raise UserError("--method capacity and --capacity belong together")
    if args.resplits < 0 or args.resplits and args.method != "ltt":
        raise UserError("--resplits must be a count, and belongs to --method ltt")
    if args.output is not None:
        check_output_file(args.output)
    p_value = args.p_value or ("betting" if loss else "hb")
    delta, risk = (args.excess, "loss") if loss else (1 - agreement, "agreement")
    target = Target(delta, args.epsilon, risk, args.bound, p_value, args.unit, args.shared)
    # The tested risk is the cut one: tokens that lose more than the bound count as losing the bound.
    wish = f"excess <= {args.excess:g} nats (cut at +-{args.bound:g} per token)" if loss else f"agreement >= {agreement:g}"
    if is_executed(args.trace):
        if args.method != "ltt" or args.shared:
            raise UserError("--method ltt without --shared is what executed policies are for; others choose thresholds from a trace")
        return _executed(Executed.load(args.trace), target, wish, args)
    trace = TraceFile.load(args.trace)
    fit, test, report = trace.split(SHARES, args.seed)
    both = trace.select(~np.isin(trace.document, np.unique(report.document)))
    if args.method == "ltt":
        thresholds = learn_then_test(fit, test, target, args.seed)
        what = promise(target, len(np.unique(test.document)), wish) + ("" if trace.exact else f"\n{READ_OFF}")
    elif args.method == "sweep":
        thresholds, what = sweep(both, target), f"Sweep: {wish} on the calibration text, no promise beyond"
    elif args.method == "free":
        thresholds, what = free_threshold(both), "FREE's estimator"
    else:
        try:
            capacities = [float(c) for c in args.capacity.split(",")]
        except ValueError:
            raise UserError(f"--capacity {args.capacity}: must be numbers separated by commas") from None
        thresholds, what = capacity_thresholds(both, capacities), f"Capacities {args.capacity}"
    print(what + ("" if thresholds is not None else ": only full depth keeps it"))
    for name, value in zip(trace.names, point_thresholds(trace, thresholds)):
        print(f"{name}: {'nobody leaves' if value is None else f'threshold {value:.6g}'}")
    used = np.full(len(trace.names), NEVER) if thresholds is None else thresholds
    print(f"on {len(np.unique(report.document))} other documents, {len(report.document)} tokens:")
    print("\n".join(table(report, used, 1000, args.seed)))
    if args.resplits:
        print_resplits(resplits(trace, target, args.resplits, seed=args.seed))
    if args.output is not None:
        write_policy(Path(args.output), trace, thresholds, what)
    return 0


if __name__ == "__main__":
    raise SystemExit(run_main(main))
