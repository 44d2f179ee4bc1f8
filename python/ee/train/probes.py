# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Exit probes fitted on a frozen model: score = w . h + b per exit point, at most a thousandth of the parameters.

Two labels. `agreement`: logistic regression on "this exit's likeliest token is full depth's"; the score is a log-odds.
`saved`: least squares on the loss that full depth saves, loss(exit) - loss(full) in nats; the score is minus that, so
that high still means "leave". The latter asks what a policy that bounds the loss needs to know: a token on which both
depths are equally wrong may leave.
"""

import numpy as np
import torch

from ..errors import UserError
from ..models import Decoder
from .collect import Collected

LABELS = ("agreement", "saved")


def _standardised(states: np.ndarray):
    mean, spread = states.mean(0), states.std(0) + 1e-6
    return torch.from_numpy((states - mean) / spread).double(), mean.astype(np.float64), spread.astype(np.float64)


def logistic(states: np.ndarray, labels: np.ndarray, penalty: float = 1e-4) -> tuple[np.ndarray, float]:
    """w [hidden], b of the logistic regression of `labels` [rows] on `states` [rows, hidden], by L-BFGS."""
    x, mean, spread = _standardised(states)
    y = torch.from_numpy(labels.astype(np.float64))
    w = torch.zeros(x.shape[1], dtype=torch.float64, requires_grad=True)
    b = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([w, b], max_iter=100, line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(x @ w + b, y) + penalty * (w * w).sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    weight = w.detach().numpy() / spread
    return weight, b.item() - float(weight @ mean)


def least_squares(states: np.ndarray, values: np.ndarray, penalty: float = 1e-3) -> tuple[np.ndarray, float]:
    """w, b of the ridge regression of `values` on `states`; the penalty is relative to the states' variance."""
    x, mean, spread = _standardised(states)
    x = x.numpy()
    gram = x.T @ x / len(x) + penalty * np.eye(x.shape[1])
    weight = np.linalg.solve(gram, x.T @ (values - values.mean()) / len(x)) / spread
    return weight, float(values.mean() - weight @ mean)


def fit(collected: Collected, label: str) -> list[tuple[np.ndarray, float]]:
    """(w, b) per exit point."""
    if label not in LABELS:
        raise UserError(f"label '{label}' is not one of {', '.join(LABELS)}")
    result = []
    for i, states in enumerate(collected.states):
        if label == "agreement":
            result.append(logistic(states, collected.agreement()[:, i]))
        else:
            weight, bias = least_squares(states, (collected.losses[:, i] - collected.losses[:, -1]).astype(np.float64))
            result.append((-weight, -bias))
    return result


def install(model: Decoder, fitted: list[tuple[np.ndarray, float]]) -> None:
    """Put the probes into `model`'s exit points."""
    for depth, (weight, bias) in zip(model.config.exits, fitted):
        probe = model.exits[str(depth)]["probe"]
        with torch.no_grad():
            probe.weight.copy_(torch.from_numpy(weight).reshape(1, -1))
            probe.bias.fill_(bias)


def scores(fitted: list[tuple[np.ndarray, float]], collected: Collected) -> np.ndarray:
    """[rows, exits] of the probes on collected states."""
    return np.stack([states @ weight + bias for states, (weight, bias) in zip(collected.states, fitted)], 1)
