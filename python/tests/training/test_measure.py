# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Costs by hand, probes on data with a known answer, and policies against direct computation."""

import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from ee.data.reader import Windows  # noqa: E402
from ee.models import Decoder, ModelConfig  # noqa: E402
from ee.regression import logistic  # noqa: E402
from ee.train import few_rows, policies, probes  # noqa: E402
from ee.train.collect import collect  # noqa: E402
from ee.train.cost import cost  # noqa: E402
from ee.train.evaluate import Evaluation, interval, mixture, target_rates  # noqa: E402

# One layer: q 32*32, k and v 32*16 each, o 32*32, MLP 3*32*48: 7,680 multiply-adds. Head: 32*60 = 1,920 = 1/4 of it.
C = ModelConfig(vocab=60, hidden=32, heads=4, kv_heads=2, head_dim=8, ffn=48, block=6, exits=(2, 4))


def text(rows=6, length=16, seed=0) -> Windows:
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, C.vocab, (rows, length + 1))
    mask = np.ones((rows, length), bool)
    mask[-1, length // 2 :] = False
    return Windows(tokens[:, :-1], tokens[:, 1:], mask, np.arange(rows) // 2)


def make(seed=0, **changes) -> Decoder:
    torch.manual_seed(seed)
    model = Decoder(dataclasses.replace(C, **changes)).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.ndim == 2:
                p.normal_(std=0.3)
    return model


def test_cost_by_hand():
    depths = np.array([2, 4, 6, 6])
    assert C.layer_macs() == 7680
    assert cost(C, depths).weights == pytest.approx(18 / 4 + 0.25)
    assert cost(C, depths).macs == pytest.approx(6 + 0.25)  # exact: what is skipped is owed
    propagate = dataclasses.replace(C, kv_fill="propagate")
    kv = 2 * 32 * 16 / 7680
    assert cost(propagate, depths).macs == pytest.approx(18 / 4 + 0.25 + kv * (4 + 2) / 4)
    skip = dataclasses.replace(C, kv_fill="skip")
    assert cost(skip, depths).macs == pytest.approx(18 / 4 + 0.25)
    # Full logits at each exit met: 1 head for the row that left at once, 2 for the next, 3 for those at full depth.
    assert cost(skip, depths, checks_logits=True).macs == pytest.approx(18 / 4 + 0.25 * (1 + 2 + 3 + 3) / 4)
    assert cost(skip, depths, probe_rows=1).macs == pytest.approx(18 / 4 + 0.25 + (1 + 2 + 2 + 2) / 4 * 32 / 7680)


def test_logistic_probe_finds_the_known_odds():
    rng = np.random.default_rng(0)
    states = rng.normal(size=(60_000, 5)) * np.array([1, 3, 0.2, 1, 1]) + np.array([0, 1, 5, 0, -2])
    weight, bias = np.array([0.7, -0.3, 2.0, 0.0, 0.5]), -8.5
    labels = rng.random(60_000) < 1 / (1 + np.exp(-(states @ weight + bias)))
    got, at = logistic(states, labels, 0.0)
    assert np.abs(got - weight).max() < 0.15 and abs(at - bias) < 0.6


def test_saved_probe_is_minus_the_regression_of_the_saving():
    rng = np.random.default_rng(1)
    states = rng.normal(size=(500, 4)) + 3
    saving = states @ np.array([1.0, -2.0, 0.5, 0.0]) + 0.25
    collected = type("C", (), {"states": [states], "losses": np.stack([saving + 2.0, np.full(500, 2.0)], 1)})
    ((weight, bias),) = probes.fit(collected, "saved")
    assert np.allclose(states @ weight + bias, -saving, atol=0.02)


def test_collected_scores_and_losses_equal_direct_ones():
    model, sample = make(), text()
    got = collect(model, sample, with_states=True)
    with torch.no_grad():
        states = dict(model.states(torch.from_numpy(sample.inputs)))
        for column, depth in enumerate((2, 4, 6)):
            p = model.head(states[depth]).double().softmax(-1).numpy()[sample.mask]
            y = sample.targets[sample.mask]
            assert np.allclose(got.losses[:, column], -np.log(p[np.arange(len(y)), y]), atol=1e-4)
            assert np.array_equal(got.tokens[:, column], p.argmax(1))
            if depth < 6:
                two = np.sort(p, 1)[:, -2:]
                margin = two[:, 1] - two[:, 0]
                assert np.allclose(got.scores["margin"][:, column], np.log(margin / (1 - margin)), atol=2e-3)
    assert np.array_equal(got.document, np.repeat(sample.document, sample.mask.sum(1)))


def test_probe_policy_leaves_at_the_first_exit_that_is_sure():
    model, sample = make(), text()
    with torch.no_grad():
        for exit_point in model.exits.values():
            exit_point["probe"].weight.normal_()
        states = dict(model.states(torch.from_numpy(sample.inputs)))
        scores = np.stack([model.exits[str(d)]["probe"](states[d]).squeeze(-1).numpy()[sample.mask] for d in (2, 4)], 1)
    thresholds = {2: float(np.quantile(scores[:, 0], 0.6)), 4: float(np.quantile(scores[:, 1], 0.5))}
    want = np.where(scores[:, 0] >= thresholds[2], 2, np.where(scores[:, 1] >= thresholds[4], 4, 6))
    assert np.array_equal(policies.run(model, sample, policies.probe(thresholds)).depths, want)
    assert set(want) == {2, 4, 6}


def test_cumulative_gates_by_hand():
    model, sample = make(gates=True, recursions=3, block=2), text()
    with torch.no_grad():
        states = dict(model.states(torch.from_numpy(sample.inputs)))
        for gate in model.gates:
            gate.weight.normal_()
        g = [torch.sigmoid(gate(states[d])).squeeze(-1).double().numpy()[sample.mask] for gate, d in zip(model.gates, (2, 4))]
    first, second = g[0], g[0] + (1 - g[0]) * g[1]
    want = np.where(first >= 0.7, 2, np.where(second >= 0.7, 4, 6))
    assert np.array_equal(policies.run(model, sample, policies.cumulative(0.7)).depths, want)
    assert set(want) == {2, 4, 6}


def test_successors_by_hand():
    # 1 is followed by 2 (twice) and 3; 2 by 1 and 1; 3 by 1. Token 0 never occurs: the most frequent ones (1, then 2) stand in.
    ids = np.array([1, 2, 1, 2, 1, 3, 1])
    assert few_rows.successors(ids, 4, 2).tolist() == [[1, 2], [2, 3], [1, 2], [1, 2]]


def test_few_row_features_by_hand():
    model = make()
    h, ids = torch.randn(5, C.hidden, generator=torch.Generator().manual_seed(2)), torch.tensor([3, 1, 4, 1, 5])
    table = torch.randint(0, C.vocab, (C.vocab, 6), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        got = few_rows.FewRows.features(model, h, ids, table).double().numpy()
        z = np.sort(np.take_along_axis(model.head(h).double().numpy(), table[ids].numpy(), 1), 1)
    p = np.exp(z - z[:, -1:]) / np.exp(z - z[:, -1:]).sum(1, keepdims=True)
    want = np.stack([z[:, -1], z[:, -1] - z[:, -2], np.log(p[:, -1] / p[:, :-1].sum(1))], 1)
    assert np.allclose(got[:, :3], want, atol=1e-4) and np.array_equal(got[:, 3:], h.double().numpy())


def test_random_exits_have_the_histogram():
    outcome = policies.run(make(), text(rows=200), policies.random_exits({2: 0.2, 4: 0.5, 6: 0.3}, 1))
    shares = [float((outcome.depths == d).mean()) for d in (2, 4, 6)]
    assert np.abs(np.array(shares) - (0.2, 0.5, 0.3)).max() < 0.03


def test_target_rates_are_met_on_the_text_they_are_read_off():
    model = make(block=2, recursions=3, prelude=1, coda=1, exits=(), router=True, capacities=(1.0, 0.6, 0.3), kv_fill="skip")
    sample = text(rows=40)
    thetas = target_rates(model, sample, (1.0, 0.6, 0.25))
    recursions = (policies.run_routed(model, sample, thetas).depths - 2) // 2
    assert thetas[0] == -np.inf
    assert abs((recursions >= 2).mean() - 0.6) < 0.01 and abs((recursions >= 3).mean() - 0.25) < 0.01


def test_interval_is_wider_when_documents_agree():
    rng = np.random.default_rng(0)
    shift = rng.normal(size=20)
    document = np.repeat(np.arange(20), 50)
    alone, together = rng.normal(size=1000), shift[document] + 0.1 * rng.normal(size=1000)
    low, high = interval(together, document)
    assert high - low > 4 * np.subtract(*interval(alone, document)[::-1]) / 2 and low < together.mean() < high
    # Standard error of a mean over 20 documents of unit spread: about 0.22; 95 % is four of them wide.
    assert 0.5 < high - low < 1.3


def test_mixture_by_hand():
    costs, losses = np.array([4.0, 2.0, 6.0, 5.0]), np.array([3.0, 5.0, 2.0, 3.5])
    assert mixture(costs, losses, 1.9) is None
    # At 3, half of the points of cost 2 and 4; at 5, half of 4 and 6, which is better than the point of cost 5 itself.
    assert mixture(costs, losses, 3.0).tolist() == [0.5, 0.5, 0, 0]
    assert mixture(costs, losses, 5.0).tolist() == [0.5, 0, 0.5, 0]
    # More than the dearest: the best point alone, the budget need not be spent.
    assert mixture(costs, losses, 9.0).tolist() == [0, 0, 1, 0]


def test_mixture_is_the_least_of_all():
    rng = np.random.default_rng(0)
    for _ in range(50):
        costs, losses = rng.uniform(1, 5, 6), rng.uniform(1, 5, 6)
        budget = rng.uniform(costs.min(), 5.5)
        got = mixture(costs, losses, budget)
        assert got.min() >= 0 and got.sum() == pytest.approx(1) and got @ costs <= budget + 1e-9
        others = rng.dirichlet(np.full(6, 0.3), 5000)
        assert (got @ losses <= (others @ losses)[others @ costs <= budget] + 1e-9).all()


def test_beside_a_model_of_fixed_depth():
    # Fixed depths 2, 4 and 6 only; the other one has three layers of the same width.
    model, sample = make(exits=(2, 4), kv_fill="skip"), text(rows=20)
    evaluation = Evaluation(model, sample, lambda line: None)
    for depth in (2, 4, 6):
        evaluation.add("fixed", {"depth": depth}, policies.run(model, sample, policies.fixed(depth)))
    other = make(seed=1, block=3, exits=())
    macs, weights = evaluation.beside("other", other)
    assert macs.units == "macs" and weights.units == "weights" and macs.cost == pytest.approx(3.25)
    # By the definition: cost 3.25 lies half way between depths 2 and 4 (2.25 and 4.25), or a quarter of the way to 6.
    losses = {p.setting["depth"]: p.loss for p in evaluation.points}
    assert macs.ours == pytest.approx(min(losses[2], (losses[2] + losses[4]) / 2, (3 * losses[2] + losses[6]) / 4))
    with torch.no_grad():
        logits = other(torch.from_numpy(sample.inputs)).double().log_softmax(-1).numpy()[sample.mask]
    loss = -logits[np.arange(len(logits)), sample.targets[sample.mask]].mean()
    assert macs.loss == pytest.approx(loss, abs=1e-5) and macs.difference == pytest.approx(macs.ours - macs.loss, abs=1e-6)
    assert macs.interval[0] < macs.difference < macs.interval[1]
    assert evaluation.beside("cheaper", make(block=1, exits=())) == []
    # A tenth of a percent dearer is not dearer.
    evaluation.points[0] = dataclasses.replace(evaluation.points[0], macs=evaluation.points[0].macs * 1.001)
    (macs, _) = evaluation.beside("equal", make(seed=1, block=2, exits=()))
    assert macs.mixture == [("fixed", {"depth": 2}, 1.0)] and macs.ours == losses[2]


@pytest.mark.parametrize("capacities", [(1.0, 0.5), (1.0, 0.8, 0.6, 0.4)])
def test_evaluation_of_a_routed_model(capacities):
    model = make(block=1, recursions=len(capacities), exits=(), router=True, capacities=capacities, kv_fill="skip")
    evaluation = Evaluation(model, text(rows=8), lambda line: None)
    evaluation.routed(text(rows=8, seed=5))
    forced = [p for p in evaluation.points if p.policy == "forced"]
    assert [p.mean_depth for p in forced] == list(range(1, len(capacities) + 1)) and forced[-1].excess == 0
    rated = [p.mean_depth for p in evaluation.points if p.policy.startswith("rates")]
    assert rated == sorted(rated, reverse=True) and rated[0] > rated[-1]


def test_evaluation_of_a_random_model_is_consistent():
    lines = []
    model = make(kv_fill="propagate")
    evaluation = Evaluation(model, text(rows=20), lines.append)
    evaluation.with_exits(text(rows=30, seed=5), np.arange(3000) % C.vocab)
    fixed = {p.setting["depth"]: p for p in evaluation.points if p.policy == "fixed"}
    assert fixed[6].excess == 0 and fixed[6].agreement == 1 and fixed[2].mean_depth == 2
    assert len(lines) == len(evaluation.points)
    for p in evaluation.points:
        assert sum(p.histogram.values()) == pytest.approx(1) and p.mean_depth == pytest.approx(sum(d * n for d, n in p.histogram.items()))
        assert p.excess_interval[0] - 1e-9 <= p.excess <= p.excess_interval[1] + 1e-9
