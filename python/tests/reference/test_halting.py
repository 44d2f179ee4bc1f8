# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A14: pdf, quantile exit, floor, delay and latent difference, against exact fractions and plain counting."""

import itertools
import math
from fractions import Fraction

import pytest
import torch

from ee.errors import UserError
from ee.reference.halting import Halting, cdf_score, gate_pdf, latent_difference, quantile_threshold

HAZARDS = [Fraction(1, 8), Fraction(1, 2), Fraction(4, 5)]


def logit(g):
    return math.log(g / (1 - g))


def test_A14_pdf_is_the_hazard_times_survival_and_sums_to_one():
    for g in itertools.product(HAZARDS, repeat=4):
        expected, left = [], Fraction(1)
        for hazard in g[:-1]:
            expected.append(hazard * left)
            left *= 1 - hazard
        expected.append(left)
        assert sum(expected) == 1
        got = gate_pdf(torch.tensor([logit(x) for x in g], dtype=torch.float64))
        assert got.tolist() == pytest.approx([float(x) for x in expected], abs=1e-15)
        assert float(got.sum()) == pytest.approx(1, abs=1e-15)
    assert gate_pdf(torch.tensor([[3.0]])).tolist() == [[1.0]]  # one loop: nothing to decide


def test_A14_score_is_the_log_odds_of_the_cdf():
    for g in itertools.product(HAZARDS, repeat=3):
        spent, survival = 0.0, Fraction(1)
        for hazard in g:
            spent += math.log1p(math.exp(logit(hazard)))
            survival *= 1 - hazard
            score = float(cdf_score(torch.tensor(spent, dtype=torch.float64)))
            assert score == pytest.approx(math.log((1 - survival) / survival), abs=1e-12)
    # Where the cdf itself is 1.0 or its odds vanish: gates of +-60, closed forms s and ln s.
    assert float(cdf_score(torch.tensor(60.0, dtype=torch.float64))) == pytest.approx(60.0)
    assert float(cdf_score(torch.tensor(1e-26, dtype=torch.float64))) == pytest.approx(math.log(1e-26))
    assert quantile_threshold(0.5) == 0 and quantile_threshold(0.8) == pytest.approx(math.log(4))
    assert quantile_threshold(1) == math.inf and quantile_threshold(0) == -math.inf


def depth_by_counting(cdf, q, loops, floor, delay):
    """1-based: first r >= floor with cdf_r >= q, then the delay, at most all loops."""
    first = next((r for r in range(floor, loops) if cdf[r - 1] >= q), loops)
    return min(loops, first + delay)


def depth_by_rule(scores, halting, loops):
    for at in range(1, loops):
        if halting.stops(scores[:at]):
            assert halting.may_stop(at)
            return at
    return loops


@pytest.mark.parametrize("floor, delay", list(itertools.product((1, 2, 3), (0, 1, 2))))
def test_A14_quantile_exit_floor_and_delay(floor, delay):
    loops, seen = 4, set()
    for g in itertools.product(HAZARDS, repeat=loops):
        cdf, left = [], Fraction(1)
        for hazard in g[:-1]:
            left *= 1 - hazard
            cdf.append(1 - left)
        scores = [math.log(c / (1 - c)) for c in cdf]
        for q in (Fraction(0), Fraction(1, 3), Fraction(3, 5), Fraction(19, 20), Fraction(1)):
            if any(c == q for c in cdf):
                continue  # equality is tested below, where the floats are exact
            expected = depth_by_counting(cdf, q, loops, floor, delay)
            seen.add(expected)
            assert depth_by_rule(scores, Halting("gate", quantile_threshold(float(q)), floor, delay), loops) == expected
    assert seen == set(range(min(loops, floor + delay), loops + 1))


def test_A14_comparisons_at_equality():
    """Ouro leaves at cdf = q, Huginn does not at delta = threshold."""
    assert Halting("gate", 0.75).stops([0.75]) and not Halting("gate", 0.75).stops([0.7499999])
    assert not Halting("difference", 0.75).stops([0.75]) and Halting("difference", 0.75).stops([0.7499999])
    assert not Halting("never").stops([math.inf])
    assert not Halting("gate", 0.0).stops([math.nan]) and not Halting("difference", 1.0).stops([math.nan])


def test_A14_lookahead_is_one_loop_later():
    """A gate that is used one loop late gives the immediate depth + 1, clipped, so never less than 2."""
    for first in range(1, 6):
        scores = [1.0 if r >= first else -1.0 for r in range(1, 5)]
        now = depth_by_rule(scores, Halting("gate", 0.0), 5)
        later = depth_by_rule(scores, Halting("gate", 0.0, delay=1), 5)
        assert (now, later) == (first, min(first + 1, 5))


def test_A14_a_delayed_decision_stands():
    """delta dips below the threshold once: the delayed exit follows although it has risen again; below the floor it does not count."""
    assert Halting("difference", 0.5, delay=1).stops([0.4, 0.9])
    assert not Halting("difference", 0.5, min_loops=2, delay=1).stops([0.4, 0.9])
    assert not Halting("difference", 0.5, min_loops=2).stops([0.4, 0.9])


def test_A14_latent_difference():
    s = torch.tensor([[3.0, 4.0], [0.0, 2.0], [1.0, 1.0]], dtype=torch.float64)
    previous = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
    assert latent_difference(s, previous).tolist() == [1.0, 0.5, 0.0]


@pytest.mark.parametrize(
    "call, named",
    [
        (lambda: Halting("sometimes"), "halting rule is 'sometimes'"),
        (lambda: Halting(min_loops=0), "min_loops is 0"),
        (lambda: quantile_threshold(1.5), "q is 1.5"),
    ],
)
def test_refusals(call, named):
    with pytest.raises(UserError, match=named):
        call()
