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
from ..regression import logistic, ridge
from .collect import Collected

LABELS = ("agreement", "saved")
STRENGTH, RIDGE = 2e-4, 1e-3  # of the two regressions


def fit(collected: Collected, label: str) -> list[tuple[np.ndarray, float]]:
    """(w, b) per exit point."""
    if label not in LABELS:
        raise UserError(f"label '{label}' is not one of {', '.join(LABELS)}")
    result = []
    for i, states in enumerate(collected.states):
        if label == "agreement":
            result.append(logistic(states, collected.agreement()[:, i], STRENGTH))
        else:
            saved = (collected.losses[:, i] - collected.losses[:, -1]).astype(np.float64)
            weight, bias = ridge(states, -saved[:, None], RIDGE)
            result.append((weight[:, 0], float(bias[0])))
    return result


def install(model: Decoder, fitted: list[tuple[np.ndarray, float]]) -> None:
    """Put the probes into `model`'s exit points."""
    for depth, (weight, bias) in zip(model.config.exits, fitted):
        probe = model.exits[str(depth)]["probe"]
        with torch.no_grad():
            probe.weight.copy_(torch.from_numpy(weight).reshape(1, -1))
            probe.bias.fill_(bias)
