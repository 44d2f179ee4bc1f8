# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Halting gates of a looped model, trained on its frozen states: z_r = w_r . s_r + b_r after each loop but the last.

The gates give p_r = g_r prod_(j<r) (1 - g_j), g = sigma(z), the last loop taking the rest. What is minimised, mean over tokens:

    sum_r p_r (L_r + price c_r) - beta H(p)

L_r is the loss in nats when the token leaves after loop r and c_r its cost units. Source: Ouro trains its gates on the
expected loss with the entropy H, which keeps p from collapsing onto one loop, and in a second stage on a frozen model. The
price is ours: without one, leaving is worth nothing where depth does no harm.
"""

import numpy as np
import torch
import torch.nn.functional as F

from ..models import Decoder
from ..regression import standardise
from .collect import Collected
from .cost import cost

PRICE, BETA = 0.02, 0.05  # nats per cost unit, nats per nat of entropy
ROUNDS = 100


def expected(z: torch.Tensor, losses: torch.Tensor, beta: float) -> torch.Tensor:
    """The objective; z [rows, R - 1], losses [rows, R] with the price in them."""
    go_on = F.logsigmoid(-z).cumsum(1)
    log_p = torch.cat([F.logsigmoid(z), torch.zeros_like(z[:, :1])], 1) + torch.cat([torch.zeros_like(z[:, :1]), go_on], 1)
    p = log_p.exp()
    return (p * (losses + beta * log_p)).sum(1).mean()


def fit(collected: Collected, costs: np.ndarray, price: float = PRICE, beta: float = BETA) -> list[tuple[np.ndarray, float]]:
    """(w, b) per gate. `costs` [R]: units of a token that leaves after each loop."""
    scales = [standardise(states) for states in collected.states]
    features = [torch.from_numpy((states - mean) / deviation) for states, (mean, deviation) in zip(collected.states, scales)]
    losses = torch.from_numpy(collected.losses.astype(np.float64) + price * np.asarray(costs, np.float64))
    weights = [torch.zeros(x.shape[1] + 1, dtype=torch.float64, requires_grad=True) for x in features]
    optimiser = torch.optim.LBFGS(weights, max_iter=ROUNDS, line_search_fn="strong_wolfe", tolerance_grad=1e-9, tolerance_change=1e-12)

    def closure():
        optimiser.zero_grad()
        z = torch.stack([x @ w[:-1] + w[-1] for x, w in zip(features, weights)], 1)
        value = expected(z, losses, beta)
        value.backward()
        return value

    optimiser.step(closure)
    result = []
    for (mean, deviation), w in zip(scales, weights):
        slope = w[:-1].detach().numpy() / deviation
        result.append((slope, float(w[-1].detach()) - float(slope @ mean)))
    return result


def costs(config) -> np.ndarray:
    """[R] cost units of a token that leaves after each loop."""
    return np.array([cost(config, np.array([depth]), probe_rows=1).weights for depth in (*config.exits, config.depth)])


def install(model: Decoder, fitted: list[tuple[np.ndarray, float]]) -> None:
    """Put the gates into `model`."""
    with torch.no_grad():
        for gate, (weight, bias) in zip(model.gates, fitted, strict=True):
            gate.weight.copy_(torch.from_numpy(weight).reshape(1, -1))
            gate.bias.fill_(bias)
