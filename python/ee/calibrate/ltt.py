# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Learn then Test: thresholds with a promise on unseen documents (Angelopoulos et al. 2021; used by CALM, Schuster et
al. 2022).

Policies lambda_1, lambda_2, ... stand in an order that was fixed on other documents. For each the hypothesis "its risk
is above delta" is tested on n independent units; the walk goes on while the p-value is <= epsilon and the last policy
passed is returned, none meaning full depth. Then P(risk <= delta) >= 1 - epsilon over the draw of the n units, whatever
the distribution, because the first true hypothesis of the order is rejected with probability at most epsilon.

A unit is a document (its risk: the mean over its tokens), because tokens of one document are not independent. Unit
"token" promises the token mean, and only if tokens were independent.
"""

import math
from dataclasses import dataclass

import numpy as np

from ..errors import UserError
from .outcome import leaving, outcome
from .search import risk_by_point, separate_path, shared_grid
from .trace_file import TraceFile

UNITS = ("document", "token")


def binomial_cdf(k: int, n: int, p: float) -> float:
    """P(Bin(n, p) <= k) by summing the terms in log space."""
    if k < 0:
        return 0.0
    if k >= n:
        return 1.0
    if p <= 0 or p >= 1:
        return 1.0 if p <= 0 else 0.0
    i = np.arange(k + 1, dtype=np.float64)
    steps = np.log(n - i[:-1]) - np.log(i[:-1] + 1) + math.log(p) - math.log1p(-p)
    terms = n * math.log1p(-p) + np.concatenate([[0.0], np.cumsum(steps)])
    top = terms.max()
    return min(1.0, float(np.exp(top) * np.exp(terms - top).sum()))


def hoeffding(risks: np.ndarray, delta: float) -> float:
    """p = exp(-2 n (delta - mean)_+^2) for risks [n] in [0, 1]."""
    return math.exp(-2 * len(risks) * max(0.0, delta - float(np.mean(risks))) ** 2)


def hoeffding_bentkus(risks: np.ndarray, delta: float) -> float:
    """min of exp(-n KL(min(mean, delta) || delta)) and e P(Bin(n, delta) <= ceil(n mean)) (Bates et al. 2021): much
    smaller than Hoeffding's where the mean is near 0."""
    n, total = len(risks), float(np.sum(risks))
    a = min(total / n, delta)
    kl = (a * math.log(a / delta) if a > 0 else 0.0) + ((1 - a) * math.log((1 - a) / (1 - delta)) if a < 1 else 0.0)
    return min(1.0, math.exp(-n * kl), math.e * binomial_cdf(math.ceil(total), n, delta))


def betting(risks: np.ndarray, delta: float) -> float:
    """1 / max over t of the capital prod_{i<=t} (1 - nu_i (x_i - delta)) of a gambler who bets that the mean is below
    delta (Waudby-Smith and Ramdas 2023): the smallest p-value where risks vary little between units, whatever their mean.

    nu_i = min(1, sqrt(2 ln(1/0.1) / (n s2_{i-1}))) with s2 the running variance of the units before i, so the stake never
    looks ahead; Ville's inequality makes 1 / max a p-value. It depends on the order of the units, which must be fixed or
    drawn without looking at them.
    """
    x = np.asarray(risks, np.float64)
    count = np.arange(1, len(x) + 1)
    mean = (0.5 + np.cumsum(x)) / (count + 1)
    variance = (0.25 + np.cumsum((x - mean) ** 2)) / (count + 1)
    before = np.concatenate([[0.25], variance[:-1]])
    stake = np.minimum(1.0, np.sqrt(2 * math.log(10) / (len(x) * before)))
    capital = np.cumsum(np.log1p(-stake * (x - delta)))
    return min(1.0, math.exp(-max(0.0, float(capital.max()))))


P_VALUES = {"hb": hoeffding_bentkus, "hoeffding": hoeffding, "betting": betting}


def fixed_sequence(risks: np.ndarray, delta: float, epsilon: float, p_value: str = "hb") -> int:
    """Number of policies passed before the first that fails: `risks` [policies, n] in [0, 1], in testing order."""
    if not 0 < delta < 1 or not 0 < epsilon < 1:
        raise UserError(f"delta {delta:g} and epsilon {epsilon:g} must lie inside 0..1")
    if p_value not in P_VALUES:
        raise UserError(f"p-value {p_value!r} is not one of {', '.join(P_VALUES)}")
    for passed, row in enumerate(risks):
        if P_VALUES[p_value](row, delta) > epsilon:
            return passed
    return len(risks)


def unit_risks(trace: TraceFile, path: np.ndarray, risk: str, bound: float, unit: str) -> tuple[np.ndarray, np.ndarray]:
    """([policies, units] risks, [units] document of each) of every policy of `path` [policies, points]."""
    if unit not in UNITS:
        raise UserError(f"unit {unit!r} is not one of {', '.join(UNITS)}")
    by_point, rows = risk_by_point(trace, risk, bound), np.arange(len(trace.document))
    token = np.array([by_point[rows, leaving(trace, t)] for t in path]).reshape(len(path), len(rows))
    return (token, trace.document) if unit == "token" else by_document(token, trace.document)


def by_document(token: np.ndarray, document: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[policies, tokens] risks -> ([policies, documents] means over each one's tokens, [documents] ids)."""
    ids, inverse, sizes = np.unique(document, return_inverse=True, return_counts=True)
    return np.array([np.bincount(inverse, row, len(ids)) / sizes for row in token]).reshape(len(token), len(ids)), ids


@dataclass(frozen=True)
class Target:
    """What is promised: risk "agreement" with `delta` = 1 - agreement, or "loss" with `delta` nats above full depth, cut
    at `bound`; `epsilon` the chance that the promise fails; how it is tested; `shared`: one threshold for all points."""

    delta: float
    epsilon: float = 0.05
    risk: str = "agreement"
    bound: float = 1.0
    p_value: str = "hb"
    unit: str = "document"
    shared: bool = False

    @property
    def level(self) -> float:
        """`delta` on the [0, 1] scale of `risk_by_point`."""
        return self.delta if self.risk == "agreement" else (self.delta + self.bound) / (2 * self.bound)


def policies(trace: TraceFile, target: Target) -> np.ndarray:
    """[m, points] leave thresholds in testing order, from documents that are not tested on."""
    return shared_grid(trace) if target.shared else separate_path(trace, risk_by_point(trace, target.risk, target.bound))


def learn_then_test(fit: TraceFile, calibrate: TraceFile, target: Target, seed: int = 0) -> np.ndarray | None:
    """Leave thresholds [points] that keep the promise, or None: full depth is all that can be promised.

    `fit` makes the candidates and their order, `calibrate` (other documents) tests them; `seed` orders the units.
    """
    common = np.intersect1d(fit.document, calibrate.document)
    if len(common):
        raise UserError(f"document {common[0]} is in both the fit and the calibration part; they must share none")
    path = policies(fit, target)
    risks, _ = unit_risks(calibrate, path, target.risk, target.bound, target.unit)
    order = np.random.default_rng(seed).permutation(risks.shape[1])
    passed = fixed_sequence(risks[:, order], target.level, target.epsilon, target.p_value)
    return path[passed - 1] if passed else None


@dataclass(frozen=True)
class Resplits:
    """Counts over `n` resplits. `violations`: the promise fails on the population that the calibration documents were
    drawn from; at most epsilon * n are promised on average. `held_out`: it fails on the documents left out, whose own
    sampling error comes on top. `full_depth`: nothing passed. `risk`, `cost`: mean on the population, risk as in
    Target.delta's unit (share of other tokens, or nats)."""

    n: int
    violations: int
    held_out: int
    full_depth: int
    risk: float
    cost: float
    epsilon: float

    @property
    def allowed(self) -> int:
        """Violations that epsilon explains with probability 0.999 if resplits were independent."""
        return next(k for k in range(self.n + 1) if binomial_cdf(k, self.n, self.epsilon) >= 0.999)


def repeated(
    risks: np.ndarray, owner: np.ndarray, costs: np.ndarray, full_cost: float, target: Target, n: int = 200, share: float = 0.5, seed: int = 0
) -> Resplits:  # fmt: skip
    """Test `n` times on a random `share` of the documents and count how often the promise fails.

    risks [policies, units] in testing order, owner [units] documents, costs [policies]. Documents are drawn without
    replacement, for which the p-values hold as well; the promise is compared with all of them and with those not drawn.
    """
    full_risk = 0.0 if target.risk == "agreement" else 0.5
    rng = np.random.default_rng([seed, 1])
    documents = np.unique(owner)
    take = max(1, min(len(documents) - 1, round(share * len(documents))))
    counts, total_risk, total_cost = [0, 0, 0], 0.0, 0.0
    for _ in range(n):
        chosen = np.isin(owner, rng.permutation(documents)[:take])
        drawn = rng.permutation(np.flatnonzero(chosen))
        passed = fixed_sequence(risks[:, drawn], target.level, target.epsilon, target.p_value)
        if not passed:
            counts[2] += 1
            total_risk, total_cost = total_risk + full_risk, total_cost + full_cost
            continue
        row = risks[passed - 1]
        counts[0] += row.mean() > target.level
        counts[1] += row[~chosen].mean() > target.level
        total_risk, total_cost = total_risk + row.mean(), total_cost + costs[passed - 1]
    scale = (lambda r: r) if target.risk == "agreement" else (lambda r: (2 * r - 1) * target.bound)
    return Resplits(n, int(counts[0]), int(counts[1]), counts[2], float(scale(total_risk / n)), float(total_cost / n), target.epsilon)


def resplits(trace: TraceFile, target: Target, n=200, fit_share=0.3, calibrate_share=0.5, seed=0) -> Resplits:
    """`repeated` on a trace: a fit part is set aside once and makes the candidates, all other documents are the population."""
    fit, rest = trace.split((fit_share, 1 - fit_share), seed)
    path = policies(fit, target)
    risks, owner = unit_risks(rest, path, target.risk, target.bound, target.unit)
    return repeated(risks, owner, np.array([outcome(rest, t).cost for t in path]), float(rest.cost[-1]), target, n, calibrate_share, seed)
