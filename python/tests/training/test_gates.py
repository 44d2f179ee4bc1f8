# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Halting gates: the objective by hand, and gates where the best ones are known."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from ee.train import gates  # noqa: E402

from .test_measure import make  # noqa: E402


def collected(states, losses):
    return type("C", (), {"states": states, "losses": losses})


def test_objective_by_hand():
    g = [0.25, 0.5]
    p = np.array([0.25, 0.75 * 0.5, 0.75 * 0.5])
    losses = np.array([3.0, 2.0, 1.5])
    z = torch.tensor([[np.log(x / (1 - x)) for x in g]], dtype=torch.float64)
    want = float((p * losses).sum() + 0.1 * (p * np.log(p)).sum())
    assert float(gates.expected(z, torch.from_numpy(losses)[None], 0.1)) == pytest.approx(want, abs=1e-12)
    # Gates far away from zero leave no NaN behind.
    far = torch.tensor([[800.0, -800.0]], dtype=torch.float64, requires_grad=True)
    gates.expected(far, torch.from_numpy(losses)[None], 0.1).backward()
    assert torch.isfinite(far.grad).all()


def test_one_gate_is_the_softmax_of_what_the_loops_cost():
    """For each token p minimises p . A - beta H(p) at softmax(-A / beta); with two loops z = (A_2 - A_1) / beta, linear here."""
    rng = np.random.default_rng(0)
    states = rng.normal(size=(4000, 3)) * [1, 5, 0.2] + [0, 1, 2]
    saved = states @ [0.02, 0.01, 0.3] - 0.5
    ((weight, bias),) = gates.fit(collected([states], np.stack([2 + saved, np.full(4000, 2.0)], 1)), np.array([3.0, 5.0]), price=0.1, beta=0.25)
    assert np.allclose(weight, -np.array([0.02, 0.01, 0.3]) / 0.25, atol=1e-4) and bias == pytest.approx((0.2 + 0.5) / 0.25, abs=1e-3)


def test_two_gates_are_a_minimum():
    rng = np.random.default_rng(1)
    states = [rng.normal(size=(500, 4)) for _ in range(2)]
    losses, costs = rng.normal(size=(500, 3)) + 3, np.array([2.0, 3.0, 4.0])
    fitted = gates.fit(collected(states, losses), costs, price=0.05, beta=0.2)

    def value(changes):
        z = [s @ (w + d[:-1]) + b + d[-1] for s, (w, b), d in zip(states, fitted, changes)]
        return float(gates.expected(torch.from_numpy(np.stack(z, 1)), torch.from_numpy(losses + 0.05 * costs), 0.2))

    best = value(np.zeros((2, 5)))
    assert all(best < value(0.05 * rng.normal(size=(2, 5))) for _ in range(100))


def test_install_puts_them_into_the_model():
    model = make(gates=True, recursions=3, block=2)
    fitted = [(np.arange(32) / 10, 0.5), (-np.arange(32) / 7, -1.5)]
    gates.install(model, fitted)
    for gate, (weight, bias) in zip(model.gates, fitted):
        assert np.allclose(gate.weight.detach().numpy()[0], weight) and float(gate.bias.detach()) == bias
