# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What a set of thresholds does to a trace: where tokens leave, what that costs and loses, and how sure that is."""

from dataclasses import dataclass

import numpy as np

from .trace_file import TraceFile

NEVER = np.inf  # leave threshold at which no row leaves; written as enabled = false


def leaving(trace: TraceFile, thresholds: np.ndarray) -> np.ndarray:
    """[tokens] int: the point each token leaves at, the number of points for those that run to full depth.

    `thresholds` [points] are leave thresholds: leave at the first point with leave score >= threshold. Fewer than there
    are points: only the first points count, and a token that leaves at none of them gets their number.
    """
    leaves = trace.leave_scores[:, : len(thresholds)] >= np.asarray(thresholds, np.float64)
    return np.where(leaves.any(1), leaves.argmax(1), leaves.shape[1])


def depth_of(trace: TraceFile, point: np.ndarray) -> np.ndarray:
    """[tokens] depth index for points as `leaving` gives them."""
    return np.append(trace.point_depth, len(trace.depths) - 1)[point]


def token_cost(trace: TraceFile, thresholds: np.ndarray) -> np.ndarray:
    """[tokens] cost units: the depth run, and the score of every point on the way that a row could leave at (where none
    may leave, nothing is scored)."""
    point = leaving(trace, thresholds)
    checks = np.cumsum(trace.check_cost * (np.asarray(thresholds) < NEVER))
    return trace.cost[depth_of(trace, point)] + np.append(checks, checks[-1])[point]


@dataclass(frozen=True)
class Outcome:
    """Means over tokens. `histogram` [depths]: share of tokens per depth. `excess`: loss above full depth, nats."""

    tokens: int
    mean_depth: float
    cost: float
    agreement: float
    loss: float
    excess: float
    histogram: tuple[float, ...]


def _mean(trace: TraceFile, weight: np.ndarray, cost: float) -> Outcome:
    """Outcome when a token gets depth d with probability `weight` [tokens or 1, depths]."""
    mean = lambda values: float((weight * values).sum(1).mean())  # noqa: E731
    loss = mean(trace.loss.astype(np.float64))
    histogram = np.broadcast_to(weight, trace.loss.shape).mean(0)
    excess = loss - float(trace.loss[:, -1].astype(np.float64).mean())
    return Outcome(len(trace.document), float(histogram @ trace.depths), cost, mean(trace.agrees), loss, excess, tuple(histogram.tolist()))


def outcome(trace: TraceFile, thresholds: np.ndarray) -> Outcome:
    """What leave thresholds do to the trace."""
    weight = np.eye(len(trace.depths))[depth_of(trace, leaving(trace, thresholds))]
    return _mean(trace, weight, float(token_cost(trace, thresholds).mean()))


def forced(trace: TraceFile, depth: int) -> Outcome:
    """Every token stops at depth index `depth`; nothing is checked."""
    return _mean(trace, np.eye(len(trace.depths))[[depth]], float(trace.cost[depth]))


def random_exits(trace: TraceFile, histogram: tuple[float, ...]) -> Outcome:
    """Expected outcome when depths with this histogram are dealt to tokens at random: the baseline a criterion must
    beat. Exact, no sampling: each token's expectation over the histogram. No checks are paid."""
    weight = np.asarray(histogram, np.float64)[None]
    return _mean(trace, weight, float(weight[0] @ trace.cost))


def token_values(trace: TraceFile, thresholds: np.ndarray) -> np.ndarray:
    """[tokens, 3] float64: agreement (0/1), loss in nats, excess over full depth, at each token's own depth."""
    depth = depth_of(trace, leaving(trace, thresholds))
    rows = np.arange(len(depth))
    loss = trace.loss[rows, depth].astype(np.float64)
    return np.stack([trace.agrees[rows, depth].astype(np.float64), loss, loss - trace.loss[:, -1]], 1)


def bootstrap(document: np.ndarray, values: np.ndarray, rounds: int = 1000, level: float = 0.95, seed: int = 0) -> np.ndarray:
    """[2, columns]: percentile interval of the token means of `values` [tokens, columns], documents resampled whole.

    Tokens of one document are not independent, so documents and not tokens are drawn with replacement (cluster
    bootstrap); a round's mean is the ratio of summed values to summed tokens.
    """
    ids, inverse = np.unique(document, return_inverse=True)
    sums = np.stack([np.bincount(inverse, column, len(ids)) for column in np.asarray(values, np.float64).T], 1)
    sizes = np.bincount(inverse, minlength=len(ids))
    drawn = np.random.default_rng(seed).multinomial(len(ids), np.full(len(ids), 1 / len(ids)), size=rounds)
    means = (drawn @ sums) / (drawn @ sizes)[:, None]
    return np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
