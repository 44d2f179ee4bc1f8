# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The rules of `ai.adaptive` row by row in plain Python, written from docs/AdaptiveOnnx.md and not from the bodies.

Rows are Python numbers; float32 only where the page says so. `RULES[name](*inputs, **attributes)` returns the outputs.
"""

import math

import numpy as np

F = np.float32


def by_row(rule, *arrays):
    """Apply `rule` to every row of arrays [...] or [..., D], the first one [...]; results are stacked."""
    shape = arrays[0].shape
    rows = [rule(*(a[i] for a in arrays)) for i in np.ndindex(shape)]
    return np.array(rows).reshape(shape + np.shape(rows[0])) if rows else np.zeros(shape)


def exit_(exit_value, rest_value, score, hidden, enabled, threshold, name, criterion):
    return by_row(lambda s, e, a, b: a if e and s >= F(threshold) else b, score, enabled, exit_value, rest_value)


def keep(active, h, f_h):
    return by_row(lambda a, x, y: y if a else x, active, h, f_h)


def route_threshold(score, active, theta):
    return by_row(lambda s, a: bool(a and s > F(theta)), score, active)


def route_top_k(score, active, capacity):
    length = score.shape[-1]
    k = min(length, max(1, int(F(capacity) * F(length))))
    out = np.zeros(score.shape, bool)
    for i in np.ndindex(score.shape[:-1]):
        finite = [-3.4028234663852886e38 if math.isnan(s) or s == -math.inf else float(s) for s in score[i]]
        rows = sorted((j for j in range(length) if active[i][j]), key=lambda j: (-finite[j], j))
        out[i][rows[:k]] = True
    return out


def route_token_choice(scores, depth):
    def choose(row):
        best = 0
        for r, s in enumerate(row):
            if s > row[best] or (math.isnan(row[best]) and s > -math.inf):
                best = r
        # NaN counts as -inf: among rows of -inf and NaN only, the first entry wins.
        return best if row[best] > -math.inf else 0

    e = np.apply_along_axis(choose, -1, scores)
    return depth <= e, depth == e


def gate_weighted(active, gate, h, f_h, alpha):
    return by_row(lambda a, g, x, y: x + (F(g) * F(alpha)).astype(x.dtype) * y if a else x, active, gate, h, f_h)


def gate_additive(active, h, f_h):
    return by_row(lambda a, x, y: x + y if a else x, active, h, f_h)


def active_mask(mask, active):
    mask = mask.reshape((1,) * (4 - mask.ndim) + mask.shape)
    batch, heads, queries, keys = len(active), *mask.shape[1:]
    out = np.zeros((batch, heads, queries, keys), bool)
    for b, n, q, k in np.ndindex(out.shape):
        out[b, n, q, k] = mask[b if len(mask) > 1 else 0, n, q, k] and active[b, k]
    return out


def halt_threshold(score, running, theta):
    return by_row(lambda s, r: bool(r and not s >= F(theta)), score, running)


def log_one_minus_sigmoid(z: float) -> float:
    """log(1 - sigmoid(z)) in float64 by the definition, with log1p where exp is small."""
    if math.isnan(z):
        return math.nan
    if z == math.inf:
        return -math.inf
    return -math.log1p(math.exp(z)) if z < 30 else -z - math.log1p(math.exp(-z))


def halt_cdf(gate_logit, log_survival, running, theta):
    new = by_row(lambda z, s, r: float(s) + log_one_minus_sigmoid(float(z)) if r else float(s), gate_logit, log_survival, running)
    bound = log_one_minus_sigmoid(float(F(theta)))
    return running & ~(new <= bound), new


def halt_delta(h, previous, running, epsilon):
    def rule(r, x, y):
        x, y = x.astype(np.float64), y.astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            return bool(r and not np.sqrt(((x - y) ** 2).sum()) / np.sqrt((x * x).sum()) < F(epsilon))

    return by_row(rule, running, h, previous)


def halt_patience(agrees, count, running, patience):
    new = by_row(lambda a, c, r: (int(c) + 1 if a else 0) if r else int(c), agrees, count, running)
    return running & ~(new >= patience), new


RULES = {
    "Exit": exit_,
    "Keep": keep,
    "RouteThreshold": route_threshold,
    "RouteTopK": route_top_k,
    "RouteTokenChoice": route_token_choice,
    "GateWeighted": gate_weighted,
    "GateAdditive": gate_additive,
    "ActiveMask": active_mask,
    "HaltThreshold": halt_threshold,
    "HaltCdf": halt_cdf,
    "HaltDelta": halt_delta,
    "HaltPatience": halt_patience,
}
