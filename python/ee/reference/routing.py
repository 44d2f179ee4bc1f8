# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Routing decisions and updates of Mixture-of-Recursions, and the losses that train them.

Source: "Mixture-of-Recursions: Learning Dynamic Recursive Depths for Adaptive Token-Level Computation" and its released code.
n rows, T positions of the whole sequence, R recursions, d hidden. z are router logits on the un-normalised residual stream:
x = h / temperature, o outputs: 1 per recursion (expert choice), R of the one router 0 (token choice); no bias:

    linear          z = x W^T, W = routers.{r}.weight [o, d]
    MLP             z = gelu(x U^T) V^T, U = routers.{r}.up.weight [2d, d], V = routers.{r}.down.weight [o, 2d]; exact gelu

    gate            w = alpha sigma(z)  |  alpha tanh(z)  |  z
    expert choice   the k rows of largest w among those active at r-1, k = max(1, int(capacity_r T)) with the FULL T; sequence-wide,
                    hence not causal: a training rule
    threshold       pass_r = pass_{r-1} and z_r > theta_r; strict, in logit space (0 is sigma > 0.5); causal
    token choice    p = alpha softmax(z) | alpha sigma(z); e = argmax_r(p_r + bias_r); weight = p_e WITHOUT the bias; causal
    update          weighted: h + w f(h);  additive: h + f(h);  f contains its own residual

Ties: the earlier position, and in token choice the smaller recursion, is preferred.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F

from ..errors import UserError

GATE_FUNCTIONS = ("sigmoid", "tanh", "raw")
GATINGS = ("weighted", "additive")


def router_logits(h: torch.Tensor, weight: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
    """z [n, o] of rows h [n, d] for a linear router [o, d] without bias."""
    return (h / temperature) @ weight.T


def mlp_router_logits(h: torch.Tensor, up: torch.Tensor, down: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
    """z [n, o] of rows h [n, d] for an MLP router, up [2d, d] and down [o, 2d]."""
    return F.gelu((h / temperature) @ up.T) @ down.T


def gate(z: torch.Tensor, function: str = "sigmoid", alpha: float = 0.1) -> torch.Tensor:
    """w of the same shape as z. `raw` takes no alpha: the released code scales only the squashed gates."""
    if function not in GATE_FUNCTIONS:
        raise UserError(f"gate function is '{function}', it must be one of {', '.join(GATE_FUNCTIONS)}")
    return {"sigmoid": lambda: alpha * torch.sigmoid(z), "tanh": lambda: alpha * torch.tanh(z), "raw": lambda: z}[function]()


def update(h: torch.Tensor, f_h: torch.Tensor, w: torch.Tensor, gating: str) -> torch.Tensor:
    """The selected rows' new state; h, f_h [n, d], w [n]."""
    if gating not in GATINGS:
        raise UserError(f"gating is '{gating}', it must be one of {', '.join(GATINGS)}")
    return h + (w[:, None] * f_h if gating == "weighted" else f_h)


def default_capacities(recursions: int) -> list[float]:
    """(R - r) / R for r = 0..R-1: the balanced schedule, everything at recursion 0."""
    return [(recursions - r) / recursions for r in range(recursions)]


def capacity_rows(capacity: float, length: int) -> int:
    """k = max(1, int(capacity * T)) in double precision, truncating, as the training code counts. The op RouteTopK, whose
    attribute is a float32, forms the product in float32: of 100 rows, a capacity of 0.29 keeps 28 here and 29 there."""
    return max(1, int(capacity * length))


def warmed_capacity(capacity: float, step: int, warmup_steps: int) -> float:
    """Cosine from 1 (step 0) to `capacity` (step >= warmup_steps); no warm-up when warmup_steps is 0."""
    if warmup_steps == 0:
        return capacity
    return capacity + (1 - capacity) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / warmup_steps)))


def select_top_k(w: torch.Tensor, active: torch.Tensor, k: int) -> torch.Tensor:
    """Bool [T]: the k active rows of largest w (all active rows when there are fewer). w [T] is only read where active [T]."""
    rows = active.nonzero().flatten()
    order = torch.sort(w[rows], descending=True, stable=True).indices[:k]
    return torch.zeros_like(active).index_fill(0, rows[order], True)


def select_threshold(z: torch.Tensor, active: torch.Tensor, theta: float) -> torch.Tensor:
    """Bool [n]: active and z > theta (strict); theta = -inf lets every finite score pass."""
    return active & (z > theta)


def token_choice(
    z: torch.Tensor, function: str = "softmax", alpha: float = 1.0, bias: Sequence[float] | None = None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(e i64 [n], weight [n], p [n, R]): row i runs recursions 0..e_i and is weighted by the unbiased p[i, e_i]."""
    if function not in ("softmax", "sigmoid"):
        raise UserError(f"token-choice function is '{function}', it must be one of softmax, sigmoid")
    p = alpha * (z.softmax(-1) if function == "softmax" else torch.sigmoid(z))
    biased = p if bias is None else p + torch.as_tensor(bias, dtype=p.dtype)
    e = biased.argmax(-1)
    return e, p.gather(-1, e[:, None]).squeeze(-1), p


def selection_loss(z: Sequence[torch.Tensor], selected: Sequence[torch.Tensor]) -> torch.Tensor:
    """sum_r mean BCE(sigma(z_r), 1[selected at r]); z_r and selected_r over the rows ACTIVE at r (those the router saw).

    Trains the router itself (`aux_loss`, coefficient 1e-3 in the release). The release's other form, a second router on detached
    states that alone decides at inference, is not here.
    """
    return sum(F.binary_cross_entropy_with_logits(a, b.to(a.dtype)) for a, b in zip(z, selected, strict=True))


def z_loss(z: torch.Tensor) -> torch.Tensor:
    """mean over rows of logsumexp(z)^2; z [n, o]. With one output this is the mean of z^2."""
    return z.logsumexp(-1).square().mean()


def balance_ratio(e: torch.Tensor, recursions: int) -> torch.Tensor:
    """[R]: the share of rows that chose each recursion."""
    return torch.bincount(e.flatten(), minlength=recursions) / e.numel()


def balance_loss(p: torch.Tensor, e: torch.Tensor) -> torch.Tensor:
    """R sum_r ratio_r mean(p_r); p [n, R], e [n]. 1 when choices and softmax probabilities are uniform (alpha 1)."""
    recursions = p.shape[-1]
    return recursions * (balance_ratio(e, recursions).to(p.dtype) * p.mean(0)).sum()


def balance_bias(bias: torch.Tensor, e: torch.Tensor, rate: float = 1e-3) -> torch.Tensor:
    """Loss-free balancing: bias_r + rate sign(mean(ratio) - ratio_r); the bias only enters the choice, never the weight."""
    ratio = balance_ratio(e, len(bias)).to(bias.dtype)
    return bias + rate * torch.sign(ratio.mean() - ratio)
