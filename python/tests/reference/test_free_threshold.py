# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""FREE's threshold estimator against a second implementation: rational moments, densities by numerical integration."""

import math
from fractions import Fraction

import numpy as np
import pytest

pytest.importorskip("torch")
from ee.errors import UserError  # noqa: E402
from ee.reference.free_threshold import AdaptiveThreshold, beta_density, fit_beta, fitted_threshold  # noqa: E402

GRID = [0.3 + 0.6 * i / 9 for i in range(10)]


def oracle_moments(pairs, label):
    """alpha, beta with exact fractions: one-hot of 0.2, floored at 1e-4 (the common factor of the weights cancels)."""
    clip = Fraction(1, 10000)
    weights = [Fraction(1, 5) if same == label else Fraction(1, 10000) for _, same in pairs]
    values = [min(max(Fraction(float(c)), clip), 1 - clip) for c, _ in pairs]
    total = sum(weights)
    m = sum(w * c for w, c in zip(weights, values)) / total
    s2 = sum(w * (c - m) ** 2 for w, c in zip(weights, values)) / total
    if s2 == 0:
        return None
    alpha = m * (m * (1 - m) / s2 - 1)
    return float(alpha), float(alpha * (1 - m) / m)


def oracle_density(x, alpha, beta):
    """Beta density with the normaliser from tanh-sinh quadrature of t^(alpha-1) (1-t)^(beta-1), scaled by its value at x."""
    u = np.linspace(-8, 8, 6001)
    log_t = -np.logaddexp(0, -math.pi * np.sinh(u))  # t = 1/(1+e^(-pi sinh u)), dt = pi cosh(u) t (1-t) du
    log_1t = -np.logaddexp(0, math.pi * np.sinh(u))
    exponent = alpha * (log_t - math.log(x)) + beta * (log_1t - math.log(1 - x))
    with np.errstate(over="ignore"):  # far from a narrow peak the density is 1/inf = 0
        integral = (np.exp(exponent) * math.pi * np.cosh(u)).sum() * (u[1] - u[0])
    return 1 / (integral * x * (1 - x))


def oracle_threshold(pairs):
    laws = [oracle_moments(pairs, label) for label in (0, 1)]
    if None in laws:
        return GRID[9]
    mean = [a / (a + b) for a, b in laws]
    winner = laws[1] if mean[1] > mean[0] else laws[0]
    other = laws[0] if winner is laws[1] else laws[1]
    good = 0
    for x in GRID:
        f, g = oracle_density(x, *winner), oracle_density(x, *other)
        good += f / (f + g) > 0.4
    return GRID[9 if good == 0 else 10 - good]


def history(seed):
    """Confidences of agreeing rows lie higher than those of others, more or less so by seed."""
    rng = np.random.default_rng(seed)
    n, shift = int(rng.integers(4, 60)), rng.uniform(0.5, 4)
    same = rng.random(n) < rng.uniform(0.2, 0.9)
    c = np.where(same, rng.beta(1 + shift, 1.3, n), rng.beta(1.2, 1 + shift, n))
    return [(float(a), int(b)) for a, b in zip(c, same)]


def test_A4_fits_equal_the_second_implementation():
    got = []
    for seed in range(60):
        pairs = history(seed)
        value = fitted_threshold([c for c, _ in pairs], [bool(s) for _, s in pairs])
        assert value == pytest.approx(oracle_threshold(pairs), abs=1e-12), seed
        got.append(round(value, 9))
    assert len(set(got)) >= 6  # most of the grid is hit


def test_A4_moments_and_weights():
    # By hand, label 1: weights 0.2, 0.2, 1e-4; divided by 1e-4: 2000, 2000, 1.
    c = np.array([0.6, 0.8, 0.1])
    w = np.array([2000.0, 2000.0, 1.0])
    m = (2000 * 0.6 + 2000 * 0.8 + 0.1) / 4001
    s2 = (2000 * (0.6 - m) ** 2 + 2000 * (0.8 - m) ** 2 + (0.1 - m) ** 2) / 4001
    alpha = m * (m * (1 - m) / s2 - 1)
    assert fit_beta(c, w) == pytest.approx((alpha, alpha * (1 - m) / m), rel=1e-12)
    assert oracle_moments([(0.6, 1), (0.8, 1), (0.1, 0)], 1) == pytest.approx((alpha, alpha * (1 - m) / m), rel=1e-12)
    # The relative weights are 0.9995 and 0.0005.
    assert 0.2 / 0.2001 == pytest.approx(0.9995, abs=1e-5) and 1e-4 / 0.2001 == pytest.approx(0.0005, abs=1e-5)


@pytest.mark.parametrize("alpha, beta", [(1, 1), (2, 1), (0.4, 0.7), (5.5, 2.25), (300.0, 40.0), (0.02, 3.0)])
def test_A4_density(alpha, beta):
    for x in (0.3, 0.5, 0.9):
        assert beta_density(x, alpha, beta) == pytest.approx(oracle_density(x, alpha, beta), rel=1e-8)
    assert beta_density(0.25, 2, 1) == pytest.approx(0.5) and beta_density(0.5, 2, 2) == pytest.approx(1.5)


def test_A4_clipping():
    raw = [(0.0, 0), (1.0, 1), (1.0, 1), (0.2, 0), (0.9, 1)]
    clipped = [(1e-4, 0), (1 - 1e-4, 1), (1 - 1e-4, 1), (0.2, 0), (0.9, 1)]
    inner = [(1e-2, 0), (1 - 1e-2, 1), (1 - 1e-2, 1), (0.2, 0), (0.9, 1)]
    value = [fitted_threshold(*zip(*[(c, bool(s)) for c, s in pairs])) for pairs in (raw, clipped)]
    assert value[0] == value[1] == pytest.approx(oracle_threshold(raw))
    assert oracle_moments(raw, 1) != oracle_moments(inner, 1)


def test_A4_count_rule_is_a_count():
    """Where ok is not monotone (a narrow high component inside a wide one), lambda is still x[10 - count]."""
    pairs = [(c, 1) for c in (0.58, 0.6, 0.62) * 3] + [(c, 0) for c in (0.02, 0.1, 0.5, 0.9, 0.99)]
    winner, other = oracle_moments(pairs, 1), oracle_moments(pairs, 0)
    ok = [oracle_density(x, *winner) / (oracle_density(x, *winner) + oracle_density(x, *other)) > 0.4 for x in GRID]
    assert winner[0] / sum(winner) > other[0] / sum(other) and 0 < sum(ok) < 10 and not ok[-1] and not ok[0]
    assert fitted_threshold(*zip(*[(c, bool(s)) for c, s in pairs])) == pytest.approx(GRID[10 - sum(ok)])


def test_A4_without_variance():
    for same in (True, False):
        for c in (0.0, 0.37, 1.0):
            for n in (1, 2, 7):
                assert fitted_threshold([c] * n, [same] * n) == pytest.approx(0.9)
    assert fitted_threshold([0.4, 0.4, 0.4], [True, False, True]) == pytest.approx(0.9)
    # Numbers that differ only beyond the clip do not differ.
    assert fitted_threshold([1.0, 0.99995], [True, False]) == pytest.approx(0.9)
    # One row per class: each class alone has no variance, but the other one's 0.0005 gives it some.
    assert fitted_threshold([0.9, 0.1], [True, False]) == pytest.approx(oracle_threshold([(0.9, 1), (0.1, 0)]))


def test_A4_one_class_only():
    # Both components are then one law: the ratio is 1/2 > 0.4 everywhere.
    for same in (True, False):
        assert fitted_threshold([0.3, 0.5, 0.8], [same] * 3) == pytest.approx(0.3)


def test_A4_vanished_densities_are_not_ok():
    # Two laws so narrow that both densities underflow on the whole grid.
    pairs = [(0.99 + i * 1e-6, True) for i in range(4)] + [(0.98 + i * 1e-6, False) for i in range(4)]
    narrow = fit_beta(np.array([c for c, _ in pairs]), np.array([1.0 if s else 1e-9 for _, s in pairs]))
    assert beta_density(0.9, *narrow) == 0
    pairs = [(0.99 + i * 1e-9, True) for i in range(9)]
    assert fitted_threshold(*zip(*pairs)) == pytest.approx(0.9)


def test_A4_over_sequences():
    estimator = AdaptiveThreshold(0.77)
    assert estimator.next_sequence() == 0.77 and estimator.fits == 0  # nothing known, nothing fitted
    pairs = history(5)
    for c, same in pairs[:10]:
        estimator.observe(c, bool(same))
    assert estimator.value == 0.77  # evidence alone does not move it
    assert estimator.next_sequence() == pytest.approx(oracle_threshold(pairs[:10])) and estimator.fits == 1
    for c, same in pairs[10:]:
        estimator.observe(c, bool(same))
    assert estimator.next_sequence() == pytest.approx(oracle_threshold(pairs)) and estimator.fits == 2


def test_A4_at_most_300_fits():
    estimator = AdaptiveThreshold(0.5)
    for c in (0.9, 0.8, 0.2):
        estimator.observe(c, c > 0.5)
    for _ in range(300):
        last = estimator.next_sequence()
    for _ in range(200):
        estimator.observe(0.31, True)
        estimator.observe(0.29, False)
    pairs = list(zip(estimator.confidences, map(int, estimator.same)))
    assert oracle_threshold(pairs) != pytest.approx(last)  # a fit would move it
    assert estimator.next_sequence() == last and estimator.fits == 300


def test_a_bad_initial_threshold_is_refused():
    with pytest.raises(UserError, match="^initial: must be a margin"):
        AdaptiveThreshold(1.5)
