# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Exit criteria: streaming tiles against dense formulas in 250 decimal digits."""

import math
from decimal import Decimal, getcontext
from fractions import Fraction

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from ee.errors import UserError  # noqa: E402
from ee.reference.criteria import (  # noqa: E402
    CRITERIA,
    ON_LOGITS,
    CosineStatistics,
    LogitStatistics,
    check_criterion,
    confidence,
    exit_score,
    threshold,
)

from .dense import Dense, text, tiny  # noqa: E402

INF = math.inf


getcontext().prec = 250  # e^-500 beside 1


def log_ratio(a, b):
    """log(a / b) of Decimals >= 0."""
    return -INF if a == 0 else INF if b == 0 else float((a / b).ln())


def dense(z):
    """All statistics of one row from the textbook formulas, over the whole row, to 250 digits."""
    order = sorted(range(len(z)), key=lambda i: (-z[i], i))
    e = [Decimal(0) if x == -INF else Decimal(float(x)).exp() for x in z]
    total = sum(e)
    p = [x / total for x in e]
    h = -sum(x * x.ln() for x in p if x > 0)
    finite = [Decimal(float(x)) for x in z if x > -INF]
    mean = sum(finite) / len(finite)
    p1, p2 = p[order[0]], p[order[1]]
    others = sum(p[i] for i in order[1:])
    u = h / Decimal(len(z)).ln()
    return {
        "ids": order[:2],
        "values": [float(z[i]) for i in order[:2]],
        "max_prob": log_ratio(p1, others),
        "margin": log_ratio(p1 - p2, others + p2),
        "entropy": log_ratio(max(1 - u, Decimal(0)), u),
        "std": float((sum((x - mean) ** 2 for x in finite) / len(finite)).sqrt()),
        "H": float(h),
    }


def stream(z, sizes):
    """Statistics of rows z [rows, V] from tiles of the given sizes."""
    starts = np.cumsum([0, *sizes])
    assert starts[-1] == z.shape[1]
    return LogitStatistics.of_tiles((int(a), z[:, a:b]) for a, b in zip(starts, starts[1:]))


def splits(n, seed):
    rng = np.random.default_rng(seed)
    yield [n]
    yield [1] * n
    for _ in range(4):
        cuts = sorted(rng.choice(np.arange(1, n), size=min(3, n - 1), replace=False))
        yield list(np.diff([0, *cuts, n]))


ROWS = {
    "random": np.random.default_rng(0).standard_normal(23) * 3,
    "wide": np.random.default_rng(1).standard_normal(23) * 200,
    "large offset": np.random.default_rng(2).standard_normal(23) + 1e4,
    "two equal at the top": np.array([0.5, 3.0, -1.0, 3.0, 2.0, 3.0, 1.0]),
    "sure": np.array([0.0] * 10 + [60.0] + [0.1] * 9),
    "some -inf": np.array([-INF, 1.0, -INF, -INF, 0.25, 2.0, -INF]),
    "one-hot": np.array([-INF] * 6 + [1.5] + [-INF] * 4),
    "uniform": np.full(16, -7.25),
    "two ids": np.array([0.3, -0.2]),
}


@pytest.mark.parametrize("name", ROWS)
def test_A8_streaming_equals_dense_for_any_split(name):
    z = ROWS[name]
    want = dense(z)
    for sizes in splits(len(z), seed=len(name)):
        got = stream(torch.from_numpy(z)[None], sizes)
        assert [int(got.top_id[0]), int(got.second_id[0])] == want["ids"]
        assert [float(got.top[0]), float(got.second[0])] == want["values"]
        assert float(got.entropy()[0]) == pytest.approx(want["H"], rel=1e-12, abs=1e-13)
        for criterion in ON_LOGITS:
            if name == "uniform" and criterion == "entropy":
                continue  # below
            value = float(got.score(criterion)[0])
            # Equal means equal: -inf at a tie, +inf when one id is certain.
            assert value == pytest.approx(want[criterion], rel=1e-11, abs=1e-11), (criterion, sizes)


def test_A8_edges_by_hand():
    uniform = stream(torch.full((1, 16), -7.25, dtype=torch.float64), [5, 5, 6])
    assert float(uniform.score("max_prob")[0]) == pytest.approx(math.log((1 / 16) / (15 / 16)), abs=1e-14)
    assert float(uniform.score("margin")[0]) == -INF
    assert float(uniform.entropy()[0]) == pytest.approx(math.log(16), abs=1e-15)
    assert float(uniform.score("entropy")[0]) < -30  # log of what rounding leaves, or -inf
    assert float(uniform.score("std")[0]) == 0
    one_hot = stream(torch.tensor([[-INF, -INF, 4.0, -INF]], dtype=torch.float64), [1, 1, 2])
    assert [float(one_hot.score(c)[0]) for c in ("max_prob", "margin", "entropy")] == [INF] * 3
    assert float(one_hot.entropy()[0]) == 0 and float(one_hot.second[0]) == -INF and int(one_hot.second_id[0]) == 0
    for bad in ([math.nan, 1.0, 2.0], [INF, 1.0, 2.0], [-INF] * 3):
        for sizes in ([3], [1, 2], [2, 1], [1, 1, 1]):
            for order in (bad, bad[::-1]):
                got = stream(torch.tensor([order], dtype=torch.float64), sizes)
                assert all(math.isnan(float(got.score(c)[0])) for c in ON_LOGITS)


def test_A8_margin_and_max_prob_do_not_saturate():
    # p1 = 1 - 9e-40 has no float64, its log-odds has: rest = 2 e^-90, so 90 - log 2; margin: rest + a = 3 e^-90.
    got = stream(torch.tensor([[0.0, -90.0, -90.0]], dtype=torch.float64), [1, 1, 1])
    assert float(got.score("max_prob")[0]) == pytest.approx(90 - math.log(2), abs=1e-12)
    assert float(got.score("margin")[0]) == pytest.approx(90 - math.log(3), abs=1e-12)


def test_A8_rows_do_not_touch_each_other_and_tiles_come_in_any_order():
    rng = np.random.default_rng(9)
    z = torch.from_numpy(rng.standard_normal((5, 12)) * 4)
    z[1, 3] = math.nan
    z[2, :] = -INF
    forward = stream(z, [4, 5, 3])
    tiles = [(0, z[:, :4]), (4, z[:, 4:9]), (9, z[:, 9:])]
    for order in ((2, 0, 1), (1, 2, 0)):
        mixed = LogitStatistics.of_tiles(tiles[i] for i in order)
        for criterion in ON_LOGITS:
            a, b = forward.score(criterion), mixed.score(criterion)
            assert torch.equal(a.isnan(), torch.tensor([False, True, True, False, False])) and torch.equal(a.isnan(), b.isnan())
            assert torch.allclose(a[[0, 3, 4]], b[[0, 3, 4]], rtol=1e-12, atol=0)
    for row in (0, 3, 4):
        want = dense(z[row].numpy())
        assert float(forward.score("margin")[row]) == pytest.approx(want["margin"], rel=1e-12)
        assert [int(forward.top_id[row]), int(forward.second_id[row])] == want["ids"]


def cosine(h, g):
    """log((1+c)/(1-c)) with exact sums of the given floats; square roots to 250 digits."""
    exact = lambda a, b: sum(Fraction(float(x)) * Fraction(float(y)) for x, y in zip(a, b))  # noqa: E731
    as_decimal = lambda f: Decimal(f.numerator) / Decimal(f.denominator)  # noqa: E731
    c = as_decimal(exact(h, g)) / (as_decimal(exact(h, h)) * as_decimal(exact(g, g))).sqrt()
    return float(((1 + c) / (1 - c)).ln())


@pytest.mark.parametrize("distance", [1.0, 1e-3, 1e-6, -1e-6, -1e-3])
def test_A8_cosine_streaming_equals_exact(distance):
    rng = np.random.default_rng(4)
    h, noise = rng.standard_normal(24), rng.standard_normal(24)
    g = (1.3 * h if distance > 0 else -0.7 * h) + distance * noise
    want = cosine(h, g)
    for sizes in splits(24, seed=3):
        cuts = np.cumsum([0, *sizes])
        parts = [CosineStatistics.of_tile(torch.from_numpy(h[None, a:b]), torch.from_numpy(g[None, a:b])) for a, b in zip(cuts, cuts[1:])]
        total = parts[0]
        for part in parts[1:]:
            total = total.merge(part)
        # 1 - c is about distance^2; rounding of |h| - |g| costs about 1e-16 of it.
        assert float(total.score()[0]) == pytest.approx(want, abs=max(1e-12, 1e-15 / distance**2))


def test_A8_cosine_edges():
    h = torch.tensor([[1.0, 2.0], [1.0, 0.0], [1.0, -1.0], [0.0, 0.0]], dtype=torch.float64)
    g = torch.tensor([[2.0, 4.0], [0.0, 3.0], [-1.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    parallel, orthogonal, opposite, zero = (float(x) for x in CosineStatistics.of_tile(h, g).score())
    assert parallel > 34 and abs(orthogonal) < 1e-15 and opposite < -34 and math.isnan(zero)


def test_exit_score_of_a_model():
    model = tiny(layers=3, probes=(2,))
    states = Dense(model).states(text(6))
    h, g = (torch.from_numpy(states[i]) for i in (2, 1))
    logits = [dense(row) for row in Dense(model).head(states[2])[:3]]
    for criterion in CRITERIA:
        got = exit_score(model, criterion, 2, h, g)
        tiled = exit_score(model, criterion, 2, h, g, tile=10)
        assert torch.allclose(got, tiled, rtol=1e-12, atol=0)
        for i in range(3):
            if criterion == "cosine":
                want = cosine(states[2][i], states[1][i])
            elif criterion == "probe":
                w = model.weights
                want = float(w["exits.2.probe.weight"].numpy()[0] @ states[2][i] + w["exits.2.probe.bias"][0])
            else:
                want = logits[i][criterion]
            assert float(got[i]) == pytest.approx(want, abs=1e-10)


def test_confidence_and_threshold_are_inverse():
    assert threshold("margin", 0.9) == pytest.approx(math.log(9)) and confidence("margin", math.log(9)) == pytest.approx(0.9)
    assert confidence("cosine", threshold("cosine", 0.8)) == pytest.approx(0.8)
    assert threshold("cosine", 0.8) == pytest.approx(math.log(1.8 / 0.2))
    assert threshold("std", 2.5) == confidence("std", 2.5) == 2.5
    for value, want in ((1, INF), (1.5, INF), (0, -INF), (-1, -INF)):
        assert threshold("max_prob", value) == want
    assert confidence("entropy", 800.0) == 1 and confidence("entropy", -800.0) == 0


def test_bad_criteria_are_refused():
    model = tiny(layers=3, probes=(1,))
    check_criterion(model, "probe", [1])
    with pytest.raises(UserError, match="^criterion: must be one of max_prob, margin, entropy, std, cosine, probe, but got 'best'"):
        check_criterion(model, "best", [1])
    with pytest.raises(UserError, match="exits.2.probe.weight"):
        check_criterion(model, "probe", [1, 2])
