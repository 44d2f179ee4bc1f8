# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""FREE's adaptive threshold (Bae et al. 2023): two Beta laws of the shallow confidence, as the authors' code fits them.

Evidence is pairs (c, same): the shallow margin c in [0, 1] of a row and whether shallow and deep argmax agree. At the
start of a sequence, if there is evidence and fewer than 300 fits were made, one fit of the whole history:

  c <- clip(c, 1e-4, 1 - 1e-4)
  weight of a pair in component y: 0.2 if same == y else 1e-4, divided by the pair's sum: 0.9995 and 0.0005. The paper's
      soft E-step is computed and then overwritten in the code, so this is a pure function of the history
  m, s2 = weighted mean and variance of c;  alpha = m (m (1 - m) / s2 - 1);  beta = alpha (1 - m) / m
  i = the component with the larger mean alpha / (alpha + beta), the first on a tie (of no use if one is NaN)
  ok(x) = f_i(x) / (f_i(x) + f_other(x)) > 0.4 (strict; mixture weights are not used) on 10 points x from 0.3 to 0.9
  lambda = x[clamp(10 - number of ok, 0, 9)]   a count, not a position: it takes ok for monotone

Without variance there is no Beta law, nothing is ok, and lambda is 0.9; so it is where both densities vanish. With
evidence of one kind only, both components are the same law, everything is ok, and lambda is 0.3.
"""

import math
from collections.abc import Iterable

import numpy as np

from ..errors import UserError

CLIP, FLOOR, LABEL = 1e-4, 1e-4, 0.2
GRID = np.linspace(0.3, 0.9, 10)
RATIO, MOST_FITS = 0.4, 300


def fit_beta(c: np.ndarray, weight: np.ndarray) -> tuple[float, float]:
    """(alpha, beta) by moments; (NaN, NaN) where the weighted variance is 0."""
    mean = float((weight * c).sum() / weight.sum())
    variance = float((weight * (c - mean) ** 2).sum() / weight.sum())
    # Equal numbers may have a mean that is off by rounding; that is no variance either.
    if np.ptp(c) == 0 or variance == 0:
        return math.nan, math.nan
    alpha = mean * (mean * (1 - mean) / variance - 1)
    return alpha, alpha * (1 - mean) / mean


def beta_density(x: float, alpha: float, beta: float) -> float:
    """The Beta density at 0 < x < 1; may underflow to 0."""
    if math.isnan(alpha):
        return math.nan
    log_norm = math.lgamma(alpha) + math.lgamma(beta) - math.lgamma(alpha + beta)
    return math.exp((alpha - 1) * math.log(x) + (beta - 1) * math.log1p(-x) - log_norm)


def fitted_threshold(confidences: Iterable[float], same: Iterable[bool]) -> float:
    """lambda, one of the 10 grid points, from all evidence so far."""
    c = np.clip(np.asarray(list(confidences), np.float64), CLIP, 1 - CLIP)
    y = np.asarray(list(same), bool)
    fits = []
    for label in (False, True):
        weight = np.where(y == label, LABEL, FLOOR)
        fits.append(fit_beta(c, weight / (LABEL + FLOOR)))
    means = [a / (a + b) for a, b in fits]
    larger = 1 if means[1] > means[0] else 0
    count = 0
    for x in GRID:
        f, other = (beta_density(float(x), *fits[i]) for i in (larger, 1 - larger))
        count += f + other > 0 and f / (f + other) > RATIO
    return float(GRID[min(max(len(GRID) - count, 0), len(GRID) - 1)])


class AdaptiveThreshold:
    """lambda over sequences: `initial` until the first fit. All evidence is kept."""

    def __init__(self, initial: float):
        if not 0 <= initial <= 1:
            raise UserError(f"initial: must be a margin in [0, 1], but got {initial}")
        self.value, self.fits = float(initial), 0
        self.confidences: list[float] = []
        self.same: list[bool] = []

    def observe(self, confidence: float, same: bool) -> None:
        """One row of a deep pass that settled debts."""
        self.confidences.append(confidence)
        self.same.append(same)

    def next_sequence(self) -> float:
        """Fits again where it is due; lambda of the sequence that starts."""
        if self.confidences and self.fits < MOST_FITS:
            self.value, self.fits = fitted_threshold(self.confidences, self.same), self.fits + 1
        return self.value
