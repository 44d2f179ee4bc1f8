# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Calibration: p-values against exact enumeration, promises over many synthetic trials, thresholds against brute force."""

import itertools
import math
import tomllib
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from ee.calibrate import NEVER, Target, TraceFile, bootstrap, capacity_thresholds, coordinate_search, forced, learn_then_test
from ee.calibrate import free_threshold, outcome, random_exits, resplits, separate_path, shared_grid, token_values, write_policy
from ee.calibrate.__main__ import main
from ee.calibrate.ltt import P_VALUES, betting, binomial_cdf, fixed_sequence, hoeffding, hoeffding_bentkus, policies, unit_risks
from ee.calibrate.outcome import leaving, token_cost
from ee.calibrate.policy import policy_text
from ee.calibrate.search import risk_by_point
from ee.errors import UserError, run_main


def hand_trace(**changes) -> TraceFile:
    """Four tokens of two documents, points after 2 and 4 of 6 layers."""
    made = TraceFile(
        names=("e2", "e4"),
        point_depth=np.array([0, 1]),
        rule="exit",
        depths=np.array([2, 4, 6]),
        cost=np.array([3.0, 5.0, 7.0]),
        check_cost=np.array([0.5, 0.25]),
        scores=np.array([[2.0, 0], [1, 3], [1, 1], [-1, -2]], np.float32),
        loss=np.array([[1.0, 0.9, 0.8], [2, 1, 1], [3, 2, 4], [5, 4, 2]], np.float32),
        argmax=np.array([[7, 7, 7], [1, 2, 2], [3, 4, 5], [6, 6, 6]]),
        document=np.array([10, 10, 11, 11]),
    )
    return replace(made, **changes)


def synthetic(documents: int, seed: int, points: int = 2, within: float = 0.0, sizes=(5, 40), coarse: bool = False) -> TraceFile:
    """Scores that predict agreement: score = logit of a token's chance to agree + noise. `within`: luck that the
    tokens of a document have in common and the scores do not show. `coarse`: scores rounded, so that many are equal."""
    rng = np.random.default_rng(seed)
    document = np.repeat(np.arange(documents), rng.integers(*sizes, documents))
    n = len(document)
    common = 4 * within * rng.normal(size=documents)[document]
    ease = rng.normal(size=n)
    scores = np.stack([2 * ease + 1.5 * p + rng.normal(size=n) for p in range(points)], 1)
    agrees = [rng.random(n) < 1 / (1 + np.exp(-(2 * ease + 1.5 * p + common))) for p in range(points)] + [np.ones(n, bool)]
    argmax = np.where(np.stack(agrees, 1), 1, np.arange(2, points + 3))
    loss = 3 - ease[:, None] + 0.3 * (argmax != 1) + 0.05 * rng.normal(size=(n, points + 1))
    return TraceFile(
        names=tuple(f"e{2 * p + 2}" for p in range(points)),
        point_depth=np.arange(points),
        rule="exit",
        depths=2 * np.arange(1, points + 2),
        cost=2.0 * np.arange(1, points + 2) + 1,
        check_cost=np.full(points, 0.01),
        scores=(scores.round() if coarse else scores).astype(np.float32),
        loss=loss.astype(np.float32),
        argmax=argmax,
        document=document,
    )


# What thresholds do


def test_outcome_by_hand():
    trace = hand_trace()
    # >= at both points: token 0 leaves at e2, token 1 and 2 at e4, token 3 never.
    assert leaving(trace, [2.0, 1.0]).tolist() == [0, 1, 1, 2]
    assert token_cost(trace, [2.0, 1.0]).tolist() == [3.5, 5.75, 5.75, 7.75]
    o = outcome(trace, [2.0, 1.0])
    assert (o.mean_depth, o.cost, o.agreement, o.histogram) == (4.0, 5.6875, 0.75, (0.25, 0.5, 0.25))
    assert o.loss == pytest.approx((1 + 1 + 2 + 2) / 4) and o.excess == pytest.approx(6 / 4 - 7.8 / 4)
    assert token_cost(trace, [NEVER, 1.0]).tolist() == [7.25, 5.25, 5.25, 7.25]  # nobody scores at e2
    assert outcome(trace, [NEVER, NEVER]) == forced(trace, 2)
    assert outcome(trace, [NEVER, NEVER]).cost == 7.0 and forced(trace, 0).agreement == 0.5
    assert token_values(trace, [2.0, 1.0])[:, 0].tolist() == [1, 1, 0, 1]
    above = np.nextafter(np.float32(2), np.float32(3))
    assert leaving(trace, [above, NEVER]).tolist() == [2, 2, 2, 2]


def test_route_rule_is_strict():
    trace = hand_trace(rule="route")
    # A row goes on iff score > theta: with theta 1 at e2, tokens 1, 2 (equal) and 3 leave there.
    assert leaving(trace, [-1.0, NEVER]).tolist() == [2, 0, 0, 0]
    assert leaving(trace, [-np.float32(0.99), NEVER]).tolist() == [2, 2, 2, 0]
    infinite = hand_trace(scores=np.array([[np.inf, 0], [1, -np.inf], [1, 1], [-1, -2]], np.float32))
    assert leaving(infinite, [np.finfo(np.float32).max, NEVER]).tolist() == [0, 2, 2, 2]


def test_random_exits_is_the_mean_over_all_deals():
    trace = hand_trace()
    chosen = outcome(trace, [2.0, 1.0])
    deals = set(itertools.permutations([0, 1, 1, 2]))
    loss = np.mean([trace.loss[np.arange(4), list(deal)].mean() for deal in deals])
    agreement = np.mean([trace.agrees[np.arange(4), list(deal)].mean() for deal in deals])
    baseline = random_exits(trace, chosen.histogram)
    assert baseline.loss == pytest.approx(loss) and baseline.agreement == pytest.approx(agreement)
    assert baseline.mean_depth == chosen.mean_depth and baseline.cost == pytest.approx((3 + 5 + 5 + 7) / 4)


def test_bootstrap_draws_documents():
    rng = np.random.default_rng(0)
    value = rng.normal(size=400)
    low, high = bootstrap(np.arange(400), value[:, None], rounds=4000)[:, 0]
    half = 1.96 * value.std() / 20  # one token per document: the normal interval
    assert abs((high - low) / 2 - half) < 0.05 * half and abs((high + low) / 2 - value.mean()) < 0.1 * half
    document = np.repeat(np.arange(400), 30)  # thirty copies of a token tell no more than one
    assert np.allclose(bootstrap(document, np.repeat(value, 30)[:, None], rounds=4000)[:, 0], [low, high])
    sizes = rng.integers(1, 9, 30)
    document, value = np.repeat(np.arange(30), sizes), rng.normal(size=sizes.sum())
    got = bootstrap(document, np.stack([value, -value], 1), rounds=4000, seed=1)
    rounds = []
    for _ in range(4000):
        rows = np.concatenate([np.flatnonzero(document == d) for d in rng.integers(0, 30, 30)])
        rounds.append(value[rows].mean())
    assert np.allclose(got[:, 0], np.quantile(rounds, [0.025, 0.975]), atol=0.03)
    assert np.allclose(got[:, 1], -got[::-1, 0])


# Thresholds


@pytest.mark.parametrize("seed", range(6))
def test_coordinate_search_by_brute_force(seed):
    trace = synthetic(4, seed, points=2, sizes=(3, 8), coarse=seed % 2 == 0)
    risk = risk_by_point(trace, "agreement")
    rows = np.arange(len(risk))
    cuts = [[*np.unique(trace.scores[:, p]).astype(float), NEVER] for p in range(2)]

    def total(thresholds, price):
        return (token_cost(trace, thresholds) + price * risk[rows, leaving(trace, thresholds)]).mean()

    reached = 0
    for price in (0.5, 2.0, 5.0, 20.0):
        found = [coordinate_search(trace, risk, price, start) for start in ([NEVER] * 2, [-100.0, NEVER], [NEVER, -100.0])]
        for thresholds in found:
            for p in range(2):  # no other threshold of one point is better
                other = [np.where(np.arange(2) == p, c, thresholds) for c in cuts[p]]
                assert total(thresholds, price) <= min(total(t, price) for t in other) + 1e-9
        best = min(total(np.array(t), price) for t in itertools.product(*cuts))
        reached += min(total(t, price) for t in found) <= best + 1e-9
    assert reached >= 3  # and the best of all is found from one of three starts, nearly always


def test_separate_path_is_a_frontier():
    trace = synthetic(60, 3, points=3)
    path = separate_path(trace, risk_by_point(trace, "agreement"))
    facts = [outcome(trace, t) for t in path]
    assert len(path) > 10
    assert all(a.agreement > b.agreement and a.cost > b.cost for a, b in zip(facts, facts[1:]))
    for o in (f for f in facts if 0.65 < f.agreement < 0.97):  # better than dealing the same depths at random
        assert o.agreement > random_exits(trace, o.histogram).agreement + 0.01
    shared = [outcome(trace, t) for t in shared_grid(trace)]
    for o in (s for s in shared if 0.8 < s.agreement < 0.99):  # separate thresholds lose nothing
        assert min((f.cost for f in facts if f.agreement >= o.agreement - 0.003), default=9) <= o.cost + 0.02


def test_F_grid_is_monotone():
    for coarse in (False, True):
        trace = synthetic(30, 5, coarse=coarse)
        grid = shared_grid(trace)
        assert (np.diff(grid[:, 0]) < 0).all() and (grid == grid[:, :1]).all()
        masks = [leaving(trace, t) < 2 for t in grid]
        assert all((b | ~a).all() for a, b in zip(masks, masks[1:]))  # who leaves, leaves under every bolder one
        costs = [outcome(trace, t).cost for t in grid]
        assert costs == sorted(costs, reverse=True) and masks[-1].all()


def test_capacity_by_hand():
    trace = hand_trace(rule="route")
    assert [leaving(trace, capacity_thresholds(trace, c)).tolist() for c in ([1, 1], [0, 0], [0.25, 0.25])] == [[2] * 4, [0] * 4, [2, 0, 0, 0]]
    # Two tokens tie at e2: half of four cannot go on. One and three are equally near, one is taken.
    assert leaving(trace, capacity_thresholds(trace, [0.5, 0])).tolist() == [1, 0, 0, 0]
    assert leaving(trace, capacity_thresholds(trace, [0.75, 0.5])).tolist() == [1, 2, 2, 0]
    with pytest.raises(UserError, match="--capacity: needs 2 shares in 0..1, one for each of e2, e4"):
        capacity_thresholds(trace, [0.5])


@pytest.mark.parametrize("rule", ["exit", "route"])
@pytest.mark.parametrize("coarse", [False, True])
def test_capacities_are_met_as_nearly_as_ties_allow(rule, coarse):
    trace = replace(synthetic(40, 9, points=3, coarse=coarse), rule=rule)
    capacities = [0.9, 2 / 3, 1 / 3]
    thresholds = capacity_thresholds(trace, capacities)
    here, sign = np.ones(len(trace.document), bool), 1 if rule == "exit" else -1
    for p, capacity in enumerate(capacities):
        z = trace.scores[:, p]
        on = here & (z > -thresholds[p] if rule == "route" else z < thresholds[p])
        possible = [0] + [int((sign * z[here] <= v).sum()) for v in sign * np.unique(z[here])]
        assert abs(on.sum() - capacity * len(here)) == min(abs(k - capacity * len(here)) for k in possible)
        assert coarse or abs(on.sum() - capacity * len(here)) <= 0.5
        here = on
    # Scores beyond the range where a float32 sigmoid is exactly 1 are still told apart.
    far = replace(trace, scores=trace.scores + np.float32(25))
    assert np.array_equal(leaving(far, capacity_thresholds(far, capacities)), leaving(trace, thresholds)) or coarse


# Learn then Test


def test_binomial_cdf_is_exact():
    for n, p in ((1, Fraction(1, 3)), (7, Fraction(1, 20)), (40, Fraction(1, 2)), (60, Fraction(9, 10))):
        for k in range(-1, n + 1):
            exact = sum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k + 1))
            assert binomial_cdf(k, n, float(p)) == pytest.approx(float(exact), abs=1e-13)
    # 100,000 draws, mean 5,000, deviation 68.9: the normal law to three digits
    assert binomial_cdf(4900, 100_000, 0.05) == pytest.approx(0.5 * math.erfc((5000 - 4900.5) / 68.92 / math.sqrt(2)), rel=0.02)


@pytest.mark.parametrize("p_value", [hoeffding, hoeffding_bentkus])
def test_F_p_values_are_valid_exactly(p_value):
    """P(p <= epsilon) <= epsilon under risk = delta, by summing over all outcomes of n coin flips."""
    useful = 0
    for n, delta in itertools.product((1, 3, 10, 25, 60, 150), (0.02, 0.05, 0.2, 0.5)):
        values = [p_value(np.repeat([1.0, 0.0], [k, n - k]), delta) for k in range(n + 1)]
        assert all(a <= b + 1e-12 for a, b in zip(values, values[1:])) and values[-1] == 1
        mass = [math.comb(n, k) * delta**k * (1 - delta) ** (n - k) for k in range(n + 1)]
        for epsilon in (0.01, 0.05, 0.1, 0.3):
            chance = sum(m for m, v in zip(mass, values) if v <= epsilon)
            assert chance <= epsilon + 1e-12
            useful += chance > 0.1 * epsilon
    assert useful > 10  # not valid just because it never rejects


def test_p_values_by_hand():
    risks = np.zeros(100)
    assert hoeffding(risks, 0.05) == pytest.approx(math.exp(-0.5))
    assert hoeffding_bentkus(risks, 0.05) == pytest.approx(0.95**100)  # KL term; Bentkus is e times as large
    assert hoeffding_bentkus(np.repeat([1.0, 0.0], [2, 98]), 0.1) == pytest.approx(
        min((0.1 / 0.02) ** 2 * (0.9 / 0.98) ** 98, math.e * binomial_cdf(2, 100, 0.1))
    )
    assert hoeffding(np.full(10, 0.5), 0.2) == hoeffding_bentkus(np.full(10, 0.5), 0.2) == betting(np.full(10, 0.5), 0.2) == 1
    # Constant risks below delta: the gambler's stakes grow to 1 as the variance goes, Hoeffding sees only the mean.
    assert betting(np.full(400, 0.499), 0.51) < 0.1 < hoeffding(np.full(400, 0.499), 0.51)


TRIALS, EPSILON = 2000, 0.1
LAWS = [("hoeffding", 150, 0.2, "coin"), ("hb", 150, 0.1, "coin"), ("betting", 150, 0.1, "coin"), ("betting", 200, 0.1, "uneven")]
# The count of violations is at most binomial(TRIALS, EPSILON); three deviations above its mean.
SLACK = 3 * math.sqrt(EPSILON * (1 - EPSILON) / TRIALS)


@pytest.mark.parametrize("name,n,delta,law", LAWS)
def test_F_ltt_keeps_its_promise(name, n, delta, law):
    """2,000 trials: policy j errs with a known chance r_j; a trial breaks the promise when the chosen one has r_j > delta."""
    rng = np.random.default_rng([n, len(name), len(law)])
    truth = delta * np.array([0.02, 0.1, 0.3, 0.5, 0.7, 0.85, 0.97, 1.005, 1.02, 1.05, 1.1, 1.5])
    broken, gain = 0, []
    for _ in range(TRIALS):
        if law == "coin":  # nested, as thresholds are: who errs, errs under every bolder policy
            risks = (rng.random(n)[None] < truth[:, None]).astype(float)
        else:  # documents differ: r_j times a factor of mean 1 from 0 to 4 that a document keeps for all policies
            risks = 4 * rng.beta(0.1, 0.3, n)[None] * truth[:, None]
        passed = fixed_sequence(risks, delta, EPSILON, name)
        broken += passed > 7  # policies 7.. are above delta
        gain.append(truth[passed - 1] / delta if passed else 0)
    assert broken / TRIALS <= EPSILON + SLACK
    assert broken > 0 and np.mean(gain) > 0.3  # it does take risks: the test can fail


def test_F_order_and_stop():
    good, bad = np.zeros(200), np.full(200, 0.5)
    assert fixed_sequence(np.array([good, good, bad, good]), 0.1, 0.05) == 2  # what comes after a failure is not looked at
    assert fixed_sequence(np.array([bad, good]), 0.1, 0.05) == 0
    assert fixed_sequence(np.zeros((0, 5)), 0.1, 0.05) == 0
    with pytest.raises(UserError, match="delta 0 and epsilon 0.05 must lie inside 0..1"):
        fixed_sequence(np.array([good]), 0.0, 0.05)
    with pytest.raises(UserError, match="p-value 'exact' is not one of hb, hoeffding, betting"):
        fixed_sequence(np.array([good]), 0.1, 0.05, "exact")


def test_F_small_n_returns_full_depth():
    """Without a single error n documents show a risk below delta only when (1 - delta)^n <= epsilon: 59 for 0.05."""
    perfect = synthetic(400, 1)
    perfect = replace(perfect, argmax=np.ones_like(perfect.argmax))
    fit = perfect.select(perfect.document < 100)
    for count, promised in ((58, False), (59, True)):
        test = perfect.select((perfect.document >= 100) & (perfect.document < 100 + count))
        found = learn_then_test(fit, test, Target(0.05, 0.05))
        assert (found is not None) == promised
    assert learn_then_test(fit, perfect.select(perfect.document >= 350), Target(0.05, 0.05, p_value="hoeffding")) is None
    with pytest.raises(UserError, match="document 0 is in both"):
        learn_then_test(fit, fit, Target(0.05))


@pytest.mark.parametrize("unit,holds", [("document", True), ("token", False)])
def test_F_documents_are_the_unit(unit, holds):
    """Tokens of one document share their luck. By document the promise holds over fresh draws of documents, by token it
    does not: the reason for the default."""
    world = synthetic(1500, 21, within=0.9, sizes=(80, 81), points=1)
    target = Target(0.1, EPSILON, unit=unit, shared=True)
    path = policies(world.select(world.document < 300), target)
    risks, owner = unit_risks(world.select(world.document >= 300), path, "agreement", 1.0, unit)
    truth, rng, broken = risks.mean(1), np.random.default_rng(3), 0
    blocks = np.arange(len(owner)).reshape(1200, -1)  # the units of each document
    for _ in range(400):
        drawn = blocks[rng.integers(0, 1200, 30)].ravel()
        passed = fixed_sequence(risks[:, drawn], target.level, EPSILON)
        broken += bool(passed) and truth[passed - 1] > target.delta
    assert (broken / 400 <= EPSILON + 3 * math.sqrt(EPSILON * (1 - EPSILON) / 400)) == holds


@pytest.mark.parametrize("target", [Target(0.1, 0.1), Target(0.1, 0.1, shared=True), Target(0.05, 0.1, risk="loss", bound=1.0, p_value="betting")])
def test_F_resplits_keep_the_promise(target):
    trace = synthetic(900, 7, within=0.5)
    result = resplits(trace, target, n=200, seed=2)
    assert result.violations <= result.allowed and result.violations < result.n
    assert result.full_depth < 100 and 0 < result.risk <= target.delta and result.cost < trace.cost[-1] - 0.3
    assert resplits(trace, target, n=200, seed=2) == result
    # The limit that the report states is the binomial one, here by exact sums.
    chance = [math.comb(200, k) * 0.1**k * 0.9 ** (200 - k) for k in range(201)]
    assert sum(chance[: result.allowed + 1]) >= 0.999 > sum(chance[: result.allowed])


def test_loss_risk_by_hand():
    risk = risk_by_point(hand_trace(), "loss", bound=2.0)
    assert np.allclose(risk, [[0.55, 0.525, 0.5], [0.75, 0.5, 0.5], [0.25, 0, 0.5], [1, 1, 0.5]])
    assert Target(0.1, risk="loss", bound=2.0).level == pytest.approx(0.525)
    assert risk_by_point(hand_trace(), "agreement").tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 0, 0]]
    with pytest.raises(UserError, match="risk 'perplexity' is not one of agreement, loss"):
        risk_by_point(hand_trace(), "perplexity")


# Files


def test_trace_file_round_trip(tmp_path):
    trace = synthetic(20, 4)
    trace.save(tmp_path / "t.npz")
    again = TraceFile.load(tmp_path / "t.npz")
    for name in ("names", "rule"):
        assert getattr(again, name) == getattr(trace, name)
    for name in ("scores", "loss", "argmax", "document", "cost", "check_cost", "depths", "point_depth"):
        assert np.array_equal(getattr(again, name), getattr(trace, name))
    assert [p.name for p in tmp_path.iterdir()] == ["t.npz"]
    parts = trace.split((0.3, 0.5, 0.2), seed=1)
    ids = [set(p.document.tolist()) for p in parts]
    assert [len(i) for i in ids] == [6, 10, 4] and set.union(*ids) == set(range(20)) and sum(len(p.document) for p in parts) == len(trace.document)
    assert [len(np.unique(p.document)) for p in trace.select(trace.document < 3).split((0.01, 0.98, 0.01), 0)] == [1, 1, 1]
    with pytest.raises(UserError, match="2 documents cannot be split into 3 parts"):
        trace.select(trace.document < 2).split((0.3, 0.5, 0.2), 0)


BAD = [
    ({"scores": np.zeros((4, 3))}, r"scores is \[4, 3\], must be \[4, 2\]"),
    ({"scores": np.full((4, 2), np.nan)}, "scores has values that are not numbers; it must be free of NaN"),
    ({"loss": np.full((4, 3), np.inf)}, "loss has values that are not numbers; it must be finite"),
    ({"argmax": np.zeros((4, 3))}, "argmax is float64, must be integers"),
    ({"document": np.zeros((4, 1), int)}, "document has 2 dimensions, must have 1"),
    ({"rule": "gate"}, "rule 'gate' is not one of exit, route"),
    ({"names": ("a", "a")}, "names must differ and not be empty"),
    ({"point_depth": np.array([0, 2])}, r"point_depth must rise within 0\.\.1"),
    ({"depths": np.array([2, 6, 4])}, "depths must rise"),
    ({"cost": np.array([3.0, 2.0, 7.0])}, "cost must not fall with depth"),
    ({"check_cost": np.array([-1.0, 0.0])}, "no cost may be negative"),
]


@pytest.mark.parametrize("change,message", BAD)
def test_bad_traces_are_refused(change, message):
    with pytest.raises(UserError, match=message):
        hand_trace(**change)


def test_bad_trace_files_are_refused(tmp_path, capsys):
    good = {f: np.asarray(getattr(hand_trace(), f)) for f in hand_trace().__dataclass_fields__}
    cases = {
        "missing": ({k: v for k, v in good.items() if k != "loss"}, "has no array loss"),
        "unknown": (good | {"extra": np.zeros(1)}, "unknown array extra"),
        "pickled": (good | {"names": np.array(["a", None], object)}, "not a .npz file of plain arrays"),
        "numbers": (good | {"names": np.zeros(2)}, "names must be text"),
        "shape": (good | {"cost": np.zeros(2)}, r"shape.npz: trace: cost is \[2\], must be \[3\]"),
    }
    for name, (arrays, message) in cases.items():
        np.savez(tmp_path / f"{name}.npz", **arrays)
        with pytest.raises(UserError, match=message):
            TraceFile.load(tmp_path / f"{name}.npz")
    (tmp_path / "text.npz").write_text("hello")
    np.save(tmp_path / "one.npy", np.zeros(3))
    (tmp_path / "half.npz").write_bytes((tmp_path / "shape.npz").read_bytes()[:400])
    for name in ("text.npz", "one.npy", "half.npz", "absent.npz"):
        assert run_main(main, [str(tmp_path / name)]) == 1
        line = capsys.readouterr().err
        assert line.count("\n") == 1 and name in line
    np.savez(tmp_path / "free.npz", **{k: v for k, v in good.items() if k != "check_cost"})
    assert TraceFile.load(tmp_path / "free.npz").check_cost.tolist() == [0, 0]


def test_policy_file(tmp_path):
    trace = hand_trace(names=("e2", "e 4.x"))
    for value in (0.1, -3.25, 1 / 3, 1e-7, 2.5e12, 0.0, float(np.finfo(np.float32).max)):
        parsed = tomllib.loads(policy_text(trace, np.array([value, NEVER]), "two\nlines"))
        assert parsed.keys() == {"version", "exits"} and parsed["version"] == 1
        assert parsed["exits"]["e 4.x"] == {"enabled": False} and list(parsed["exits"]["e2"]) == ["threshold"]
        assert isinstance(parsed["exits"]["e2"]["threshold"], float) and np.float32(parsed["exits"]["e2"]["threshold"]) == np.float32(value)
    parsed = tomllib.loads(policy_text(hand_trace(rule="route"), np.array([1.5, NEVER])))
    assert parsed["exits"]["e2"]["threshold"] == -1.5  # theta of score > theta
    write_policy(tmp_path / "policy.toml", trace, None, "full depth")
    assert tomllib.loads((tmp_path / "policy.toml").read_text())["exits"] == {"e2": {"enabled": False}, "e 4.x": {"enabled": False}}
    assert [p.name for p in tmp_path.iterdir()] == ["policy.toml"]


@pytest.mark.parametrize(
    "flags,says",
    [
        (["--agreement", "0.85"], "Learn-then-Test (hb, 300 documents): agreement >= 0.85 with probability 0.95, by document\n"),
        (["--agreement", "0.85", "--method", "sweep"], "Sweep: agreement >= 0.85"),
        (["--excess", "0.05", "--resplits", "20"], "Learn-then-Test (betting, 300 documents): excess <= 0.05 nats (cut at +-1 per token) with probability 0.95"),
        (["--excess", "0.05", "--bound", "0.5", "--method", "sweep"], "Sweep: excess <= 0.05 nats (cut at +-0.5 per token)"),
        (["--method", "capacity", "--capacity", "0.8,0.4"], "Capacities 0.8,0.4"),
    ],
)
def test_command(flags, says, tmp_path, capsys):
    trace = synthetic(600, 13)
    trace.save(tmp_path / "t.npz")
    assert run_main(main, [str(tmp_path / "t.npz"), *flags, "-o", str(tmp_path / "policy.toml")]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(says), printed
    assert (tmp_path / "policy.toml").read_text().startswith(f"# {says.rstrip()}")
    exits = tomllib.loads((tmp_path / "policy.toml").read_text())["exits"]
    report = trace.split((0.3, 0.5, 0.2), 0)[2]
    leave = [[exits[n].get("threshold", NEVER) for n in trace.names][p] <= report.scores[:, p] for p in range(2)]
    depth = np.where(leave[0], 0, np.where(leave[1], 1, 2))
    agreement = report.agrees[np.arange(len(depth)), depth].mean()
    line = next(line for line in printed.splitlines() if line.startswith("policy")).split()
    assert float(line[1]) == pytest.approx(trace.depths[depth].mean(), abs=6e-4) and float(line[3]) == pytest.approx(agreement, abs=6e-5)
    assert 2 <= float(line[1]) < 5.9
    if "--agreement" in flags:
        assert agreement > 0.83  # another 120 documents: the sampling error is about 0.01
    if "--capacity" in flags:
        assert abs((depth > 0).mean() - 0.8) < 0.03 and abs((depth == 2).mean() - 0.4) < 0.03
    if "--resplits" in flags:
        assert "20 resplits: " in printed


def test_command_keeps_full_depth_and_refuses(tmp_path, capsys):
    synthetic(40, 13).save(tmp_path / "t.npz")
    out = tmp_path / "policy.toml"
    assert run_main(main, [str(tmp_path / "t.npz"), "-o", str(out)]) == 0
    assert "only full depth keeps it" in capsys.readouterr().out and out.read_text().count("enabled = false") == 2
    out.write_text("mine")
    for flags, message in (
        (["--agreement", "1.5"], "--agreement 1.5 must lie inside 0..1"),
        (["--agreement", "0.9", "--excess", "0.1"], "give either --agreement or --excess"),
        (["--excess", "2"], "--excess must lie inside 0..--bound (1)"),
        (["--excess", "nan"], "--excess must lie inside 0..--bound (1)"),
        (["--excess", "0.01", "--bound", "inf"], "--bound inf must be a finite number above 0"),
        (["--excess", "0.01", "--bound", "nan"], "--bound nan must be a finite number above 0"),
        (["--seed", "-1"], "--seed -1 is negative; accepted: 0 and above"),
        (["--method", "capacity"], "--method capacity and --capacity belong together"),
        (["--method", "capacity", "--capacity", "a,b"], "--capacity a,b: must be numbers separated by commas"),
        (["--method", "sweep", "--resplits", "5"], "--resplits must be a count, and belongs to --method ltt"),
        (["--method", "free"], "--method free: takes a trace with one decision point of rule exit, this has 2 of rule exit"),
    ):
        assert run_main(main, [str(tmp_path / "t.npz"), *flags, "-o", str(out)]) == 1
        assert capsys.readouterr().err == f"error: {message}\n"
    assert out.read_text() == "mine"
    for path, message in ((tmp_path, "is a folder"), (tmp_path / "none" / "p.toml", "there is no folder")):
        assert run_main(main, [str(tmp_path / "t.npz"), "-o", str(path)]) == 1
        assert capsys.readouterr().err.startswith(f"error: {path}: {message}")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["policy.toml", "t.npz"]


def test_a_spoilt_file_is_refused_in_one_line(tmp_path):
    """Any byte may flip: zip headers, compressed data, numpy's headers, and what no check finds."""
    path = tmp_path / "t.npz"
    hand_trace().save(path)
    data, refused = path.read_bytes(), 0
    for i in range(0, len(data), 3):
        path.write_bytes(data[:i] + bytes([data[i] ^ 0xFF]) + data[i + 1 :])
        try:
            TraceFile.load(path)
        except UserError as error:
            refused += 1
            assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
    assert refused > len(data) / 6


def test_free_threshold_in_log_odds(tmp_path, capsys):
    """Two clear groups of margins: FREE's grid ends between them; the threshold is its log-odds, compared strictly."""
    margins = np.concatenate([np.linspace(0.05, 0.35, 60), np.linspace(0.75, 0.97, 60)])
    agree = np.repeat([0, 1], 60)
    grid = np.linspace(0.3, 0.9, 10)
    trace = TraceFile(
        *(("e1",), np.array([0]), "exit", np.array([1, 4]), np.array([1.0, 4.0]), np.zeros(1)),
        scores=np.log(margins / (1 - margins))[:, None],
        loss=np.zeros((120, 2)),
        argmax=np.stack([agree, np.ones(120, int)], 1),
        document=np.arange(120) % 40,
    )
    (found,) = free_threshold(trace)
    margin = 1 / (1 + math.exp(-found))
    assert np.abs(grid - margin).min() < 1e-6 and 0.35 < margin < 0.75
    exact = np.float32(np.log(grid / (1 - grid)))[np.abs(grid - margin).argmin()]
    equal = replace(trace, scores=np.full((120, 1), exact))
    assert (leaving(equal, [found]) == 1).all()  # c > lambda is strict: an equal margin stays
    trace.save(tmp_path / "t.npz")
    assert run_main(main, [str(tmp_path / "t.npz"), "--method", "free"]) == 0
    assert capsys.readouterr().out.startswith("FREE's estimator\ne1: threshold ")
