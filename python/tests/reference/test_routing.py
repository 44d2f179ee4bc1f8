# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A10, A12: the routing rules and losses of Mixture-of-Recursions on hand-computed cases."""

import math

import pytest
import torch

from ee.errors import UserError
from ee.reference import routing


def f64(*values):
    return torch.tensor(values, dtype=torch.float64)


def sigma(x):
    return 1 / (1 + math.exp(-x))


def test_A10_capacity_counts():
    """max(1, int(cap T)): truncation in double precision, so 0.29 * 100 = 28.999... counts 28."""
    cases = ((1.0, 7), (2 / 3, 7), (1 / 3, 7), (1 / 3, 2), (0.29, 100), (2 / 3, 9))
    assert [routing.capacity_rows(c, t) for c, t in cases] == [7, 4, 2, 1, 28, 6]
    assert routing.default_capacities(3) == [1.0, 2 / 3, 1 / 3]
    assert routing.default_capacities(1) == [1.0]


def test_A10_capacity_warm_up():
    values = [routing.warmed_capacity(1 / 3, step, 8) for step in (0, 2, 4, 6, 8, 9)]
    half = math.sqrt(0.5)
    expected = [1, 1 / 3 + (2 / 3) * (1 + half) / 2, 2 / 3, 1 / 3 + (2 / 3) * (1 - half) / 2, 1 / 3, 1 / 3]
    assert values == pytest.approx(expected, abs=1e-15)
    assert routing.warmed_capacity(0.25, 0, 0) == 0.25


def test_A10_top_k_selects_among_active_rows_only():
    w = f64(0.9, 0.8, 0.1, 0.7, 0.8, 0.95)
    active = torch.tensor([True, True, True, False, True, False])
    pick = lambda k: routing.select_top_k(w, active, k).nonzero().flatten().tolist()  # noqa: E731
    assert pick(1) == [0]
    assert pick(2) == [0, 1]  # 0.8 twice: the earlier position
    assert pick(3) == [0, 1, 4]
    assert pick(9) == [0, 1, 2, 4]
    assert routing.select_top_k(w, torch.zeros(6, dtype=torch.bool), 2).sum() == 0


def test_A11_threshold_is_strict_and_keeps_what_float32_sigmoids_lose():
    active = torch.tensor([True, True, True, False, True])
    assert routing.select_threshold(f64(0.0, 1e-300, -1e-300, 5.0, 3.0), active, 0.0).tolist() == [False, True, False, False, True]
    # sigma(30) and sigma(31) are both 1.0 in float32; their logits are not.
    assert routing.select_threshold(torch.tensor([30.0, 31.0]), torch.tensor([True, True]), 30.5).tolist() == [False, True]
    assert routing.select_threshold(f64(-700.0), torch.tensor([True]), -math.inf).tolist() == [True]


def test_A10_gates_and_updates():
    z = f64(-1.5, 0.0, 2.0)
    assert routing.gate(z, "sigmoid", 0.1).tolist() == pytest.approx([0.1 * sigma(-1.5), 0.05, 0.1 * sigma(2.0)], abs=1e-16)
    assert routing.gate(z, "tanh", 0.5).tolist() == pytest.approx([0.5 * math.tanh(v) for v in (-1.5, 0, 2)], abs=1e-16)
    assert routing.gate(z, "raw", 0.1).tolist() == [-1.5, 0.0, 2.0]
    h, f_h, w = f64([1, 2], [3, 4]), f64([10, 20], [30, 40]), f64(0.5, 0.1)
    assert routing.update(h, f_h, w, "weighted").tolist() == [[6, 12], [6, 8]]
    assert routing.update(h, f_h, w, "additive").tolist() == [[11, 22], [33, 44]]


def test_A10_router_is_linear_with_a_temperature():
    h, weight = f64([1, 2, 3], [-1, 0, 1]), f64([0.5, 0, -1], [1, 1, 1])
    assert routing.router_logits(h, weight, 2.0).tolist() == [[-1.25, 3.0], [-0.75, 0.0]]


def test_A10_mlp_router_by_hand():
    h, up = f64([1, 2], [-1, 0]), f64([1, 0], [0, 1], [1, 1], [-2, 0])
    down = f64([1, 0, 0, 2], [0, 1, -1, 0])
    gelu = lambda x: x * 0.5 * (1 + math.erf(x / math.sqrt(2)))  # noqa: E731
    for (a, b), got in zip(h.tolist(), routing.mlp_router_logits(h, up, down, 2.0).tolist(), strict=True):
        inner = [gelu(x / 2) for x in (a, b, a + b, -2 * a)]
        assert got == pytest.approx([inner[0] + 2 * inner[3], inner[1] - inner[2]], abs=1e-12)


def test_A12_choice_uses_the_bias_and_the_weight_does_not():
    z = f64([0.0, math.log(2.0), 0.0], [0.0, 0.0, math.log(3.0)])  # softmax: 1/4 1/2 1/4 and 1/5 1/5 3/5
    e, weight, p = routing.token_choice(z)
    assert e.tolist() == [1, 2] and weight.tolist() == pytest.approx([0.5, 0.6])
    assert p[0].tolist() == pytest.approx([0.25, 0.5, 0.25])
    e, weight, _ = routing.token_choice(z, bias=[0.3, 0.0, 0.0])
    assert e.tolist() == [0, 2] and weight.tolist() == pytest.approx([0.25, 0.6])
    e, weight, _ = routing.token_choice(z, "sigmoid", 0.1)
    assert e.tolist() == [1, 2] and weight.tolist() == pytest.approx([0.1 * sigma(math.log(2)), 0.1 * sigma(math.log(3))])
    assert routing.token_choice(f64([1.0, 1.0, 0.0]))[0].tolist() == [0]  # a tie takes the smaller recursion


def test_A10_losses():
    """BCE of z = 0 is ln 2; of z against 1 it is ln(1 + e^-z), against 0 ln(1 + e^z). Summed over recursions, means within."""
    z = [f64(0.0, 0.0), f64(1.0, -2.0, 3.0)]
    selected = [torch.tensor([True, False]), torch.tensor([True, True, False])]
    expected = math.log(2) + (math.log1p(math.exp(-1)) + math.log1p(math.exp(2)) + math.log1p(math.exp(3))) / 3
    assert float(routing.selection_loss(z, selected)) == pytest.approx(expected, abs=1e-14)
    assert float(routing.z_loss(f64([2.0], [-3.0]))) == pytest.approx((4 + 9) / 2)
    assert float(routing.z_loss(f64([0.0, 0.0], [math.log(3), 0.0]))) == pytest.approx((math.log(2) ** 2 + math.log(4) ** 2) / 2)


def test_A12_balance():
    p = f64([0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.6, 0.3, 0.1], [0.5, 0.3, 0.2])
    e = p.argmax(-1)
    assert routing.balance_ratio(e, 3).tolist() == [0.75, 0.25, 0.0]
    assert float(routing.balance_loss(p, e)) == pytest.approx(3 * (0.75 * 1.9 / 4 + 0.25 * 1.6 / 4))
    uniform = torch.full((6, 3), 1 / 3, dtype=torch.float64)
    assert float(routing.balance_loss(uniform, torch.tensor([0, 1, 2, 0, 1, 2]))) == pytest.approx(1.0)
    bias = routing.balance_bias(f64(0.0, 0.5, -0.5), e, rate=1e-2)  # ratios .75 .25 0, mean 1/3
    assert bias.tolist() == pytest.approx([-0.01, 0.51, -0.49])
    assert routing.balance_bias(f64(0.0, 0.0), torch.tensor([0, 1]), 1.0).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    "call, named",
    [
        (lambda: routing.gate(f64(1.0), "relu"), "gate function is 'relu'"),
        (lambda: routing.update(f64([1.0]), f64([1.0]), f64(1.0), "sum"), "gating is 'sum'"),
        (lambda: routing.token_choice(f64([1.0]), "tanh"), "token-choice function is 'tanh'"),
    ],
)
def test_refusals(call, named):
    with pytest.raises(UserError, match=named):
        call()
