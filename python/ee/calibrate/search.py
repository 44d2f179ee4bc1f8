# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Leave thresholds from a trace: shared grids, separate ones by coordinate search, and those of given capacities.

None of these makes a promise on unseen text by itself; `ltt` tests what is found here on other documents.
"""

import math

import numpy as np

from ..errors import UserError
from ..reference.free_threshold import fitted_threshold
from .outcome import NEVER, leaving, token_cost
from .trace_file import TraceFile

RISKS = ("agreement", "loss")


def risk_by_point(trace: TraceFile, risk: str, bound: float = 1.0) -> np.ndarray:
    """[tokens, points + 1] float64 in [0, 1]: a token's risk when it leaves at each point, or nowhere.

    "agreement": 1 where another token than full depth's is emitted, else 0.
    "loss": the loss above full depth, cut to [-bound, bound] nats and mapped to [0, 1]: (excess + bound) / (2 bound).
    """
    columns = np.append(trace.point_depth, len(trace.depths) - 1)
    return token_risk(trace.agrees[:, columns], trace.loss[:, columns].astype(np.float64) - trace.loss[:, -1:], risk, bound)


def token_risk(agrees: np.ndarray, excess: np.ndarray, risk: str, bound: float = 1.0) -> np.ndarray:
    """float64 in [0, 1], the shape of the arguments: agrees bool, excess nats above full depth."""
    if risk == "agreement":
        return 1.0 - agrees
    if risk != "loss":
        raise UserError(f"risk {risk!r} is not one of {', '.join(RISKS)}")
    return (np.clip(excess.astype(np.float64), -bound, bound) + bound) / (2 * bound)


def between(below: float, above: float) -> float:
    """A float32 threshold t with below < t <= above, in the middle so that float noise in scores moves no token."""
    middle = float(np.float32((np.float64(below) + np.float64(above)) / 2))
    return middle if below < middle <= above else float(above)


def shared_grid(trace: TraceFile, size: int = 64) -> np.ndarray:
    """[m, points]: one threshold for all points, from conservative to bold: falling quantiles of all leave scores."""
    scores = np.sort(trace.leave_scores, axis=None).astype(np.float64)
    levels = np.unique(scores[np.round(np.linspace(0, len(scores) - 1, size)).astype(int)])[::-1]
    return np.repeat(levels[:, None], len(trace.names), axis=1)


def best_threshold(order: np.ndarray, score: np.ndarray, here: np.ndarray, gain: np.ndarray, fee: float) -> float:
    """The leave threshold of one point with the largest sum of `gain` [tokens] over the tokens that then leave.

    `order` sorts `score` falling, `here` marks the tokens that reach the point. Every cut is tried, in one pass: tokens
    of equal score leave together. The boldest of equally good cuts is taken; NEVER when none gains more than `fee`.
    """
    rows = order[here[order]]
    if not len(rows):
        return NEVER
    total, value = np.cumsum(gain[rows]), score[rows].astype(np.float64)
    last = np.append(value[1:] < value[:-1], True)  # a cut lies after the last of equal scores
    total = np.where(last, total, -np.inf)
    cut = len(total) - 1 - int(np.argmax(total[::-1]))
    if total[cut] <= fee:
        return NEVER
    return float(value[cut]) if cut == len(value) - 1 else between(value[cut + 1], value[cut])


def coordinate_search(trace: TraceFile, risk: np.ndarray, price: float, start: np.ndarray, passes: int = 12) -> np.ndarray:
    """Leave thresholds [points] at a local minimum of mean(cost + price * risk), from `start`.

    One point at a time, from the last to the first, gets its best threshold given the others, until nothing changes;
    each step is exact, so the sum never rises. `risk` as from `risk_by_point`.
    """
    scores, points = trace.leave_scores, len(trace.names)
    orders = [np.argsort(-scores[:, p], kind="stable") for p in range(points)]
    thresholds, rows = np.array(start, np.float64), np.arange(len(scores))
    for _ in range(passes):
        before = thresholds.copy()
        for p in reversed(range(points)):
            # What the tokens that reach point p would cost if they left there, and if nobody could.
            here = leaving(trace, thresholds[:p]) == p if p else np.ones(len(scores), bool)
            others = np.where(np.arange(points) == p, NEVER, thresholds)
            stay = token_cost(trace, others) + price * risk[rows, leaving(trace, others)]
            checks = float((trace.check_cost[:p] * (thresholds[:p] < NEVER)).sum())
            leave = trace.cost[trace.point_depth[p]] + checks + price * risk[:, p]
            thresholds[p] = best_threshold(orders[p], scores[:, p], here, stay - leave, trace.check_cost[p] * here.sum())
        if np.array_equal(before, thresholds):
            break
    return thresholds


def halfway(trace: TraceFile, a: np.ndarray, b: np.ndarray, share: float) -> np.ndarray:
    """Leave thresholds between `a` and `b`: at each point the share of scores above is `share` of the way from a's to
    b's. Thresholds themselves cannot be averaged where one is NEVER or score scales differ."""
    result = np.empty(len(a))
    for p, column in enumerate(np.sort(trace.leave_scores, axis=0)[::-1].T.astype(np.float64)):
        above = [int(np.searchsorted(-column, -t, side="right")) for t in (a[p], b[p])]
        count = round(above[0] + share * (above[1] - above[0]))
        result[p] = column[count - 1] if count else NEVER
    return result


def frontier(trace: TraceFile, risk: np.ndarray, candidates: list[np.ndarray]) -> list[tuple[float, float, np.ndarray]]:
    """(mean risk, mean cost, thresholds) of the candidates that no other one beats in both, by rising risk."""
    rows, keep, cheapest = np.arange(len(risk)), [], np.inf
    facts = [(float(risk[rows, leaving(trace, t)].mean()), float(token_cost(trace, t).mean()), tuple(t)) for t in candidates]
    for mean_risk, cost, key in sorted(facts):
        if cost < cheapest and min(key) < NEVER:
            keep.append((mean_risk, cost, np.array(key)))
            cheapest = cost
    return keep


def separate_path(trace: TraceFile, risk: np.ndarray, steps: int = 32, gap: float = 0.004) -> np.ndarray:
    """[m, points]: a threshold of its own for each point, from conservative to bold, none better in both cost and risk
    than another on this trace.

    Local minima for falling prices of risk give the convex part of the frontier; policies between neighbours fill it so
    that risk rises by about `gap` at a time, since a test that walks the path must not have to jump.
    """
    never = np.full(len(trace.names), NEVER)
    found, start = list(shared_grid(trace)), never
    for price in float(trace.cost[-1]) * np.geomspace(200, 0.05, steps):
        for begin in (never, start):
            start = coordinate_search(trace, risk, price, begin)
            found.append(start)
    best = frontier(trace, risk, found)
    for (low, _, a), (high, _, b) in zip([(0.0, 0.0, never), *best], best):
        parts = min(32, math.ceil((high - low) / gap))
        found += [halfway(trace, a, b, i / parts) for i in range(1, parts)]
    return np.array([t for _, _, t in frontier(trace, risk, found)]).reshape(-1, len(trace.names))


def capacity_thresholds(trace: TraceFile, capacities: list[float]) -> np.ndarray:
    """Leave thresholds [points] at which the share capacities[p] of ALL tokens goes on past point p.

    One point after the other, over the tokens that are still there; in logit space, where float32 does not saturate as
    a sigmoid does. Tokens of equal score cannot be told apart: the count nearest to the wanted one is taken, the
    smaller of two equally near. Source: Mixture-of-Recursions' capacities, turned into causal thresholds.
    """
    points = len(trace.names)
    if len(capacities) != points or any(not 0 <= c <= 1 for c in capacities):
        raise UserError(f"--capacity: needs {points} shares in 0..1, one for each of {', '.join(trace.names)}")
    here, thresholds = np.ones(len(trace.document), bool), np.full(points, NEVER)
    for p, capacity in enumerate(capacities):
        score = np.sort(trace.leave_scores[here, p]).astype(np.float64)
        wanted = capacity * len(here)
        cuts = np.flatnonzero(np.append(True, score[1:] > score[:-1])) if len(score) else np.zeros(0, int)
        cuts = np.append(cuts, len(score))  # so many go on
        stay = int(cuts[np.argmin(np.abs(cuts - wanted))])
        if stay < len(score):
            thresholds[p] = between(score[stay - 1], score[stay]) if stay else score[0]
        here &= trace.leave_scores[:, p] < thresholds[p]
    return thresholds


def free_threshold(trace: TraceFile) -> np.ndarray:
    """FREE's estimate of the one leave threshold, from the whole trace as evidence (see ee.reference.free_threshold).

    FREE has two depths, its confidence is the margin q in [0, 1], and a row leaves when q > lambda. Here the score is the
    margin's log-odds, so lambda becomes its log-odds, and the strict comparison the next float32 above.
    """
    if len(trace.names) != 1 or trace.rule != "exit":
        given = f"{len(trace.names)} of rule {trace.rule}"
        raise UserError(f"--method free: takes a trace with one decision point of rule exit, this has {given}")
    confidence = 1 / (1 + np.exp(-np.clip(trace.scores[:, 0].astype(np.float64), -700, 700)))
    value = fitted_threshold(confidence, trace.agrees[:, trace.point_depth[0]])
    return np.array([np.nextafter(np.float32(np.log(value / (1 - value))), np.float32(np.inf))], np.float64)
