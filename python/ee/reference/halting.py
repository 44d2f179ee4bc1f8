# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""When a row of a looped model stops: the cumulated gates of Ouro, the converged state of Huginn.

Sources: "Scaling Latent Reasoning via Looped Language Models" (Ouro), "Scaling up Test-Time Compute with Latent Reasoning: A
Recurrent Depth Approach" (Huginn), and "Continuous Depth Batching" for floor and delay. Loops are counted from 1: state h_r is
what loop r = 1..R left.

Ouro.    z_r = w . h_r + b, hazard g_r = sigma(z_r); pdf_r = g_r prod_{j<r} (1 - g_j) for r < R, and pdf_R takes the rest;
         stop after the first loop with cdf_r >= q (not strict). With s_r = sum_{j<=r} softplus(z_j) = -ln prod (1 - g_j) the
         log-odds of cdf_r = 1 - exp(-s_r) are ln(exp(s_r) - 1), so the rule is score_r >= ln(q / (1 - q)) and nothing saturates.
Huginn.  delta_r = |s_r - s_{r-1}| / |s_r|, Euclidean norms of the row; stop after the first loop with delta_r < threshold (strict).

Floor: the first `min_loops` - 1 loops decide nothing. Delay: the decision of loop r takes effect after loop r + delay (a
scheduler that launches the next loop before it knows the gate), so depth = min(R, max(first r, min_loops) + delay).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..errors import UserError


def gate_pdf(z: torch.Tensor) -> torch.Tensor:
    """z [..., R] -> pdf [..., R]; the last gate is not looked at."""
    hazard = torch.sigmoid(z[..., :-1])
    survival = torch.cumprod(1 - hazard, -1)
    before = torch.cat([torch.ones_like(z[..., :1]), survival], -1)
    return torch.cat([hazard * before[..., :-1], before[..., -1:]], -1)


def cdf_score(spent: torch.Tensor) -> torch.Tensor:
    """Log-odds of the cdf from s_r = sum of softplus(z_j), j <= r: ln(e^s - 1) = s + ln(1 - e^-s)."""
    return spent + torch.log(-torch.expm1(-spent))


def quantile_threshold(q: float) -> float:
    """The logit of q, 0 <= q <= 1; q = 1 never stops before the last loop, q = 0 always stops at once."""
    if not 0 <= q <= 1:
        raise UserError(f"q is {q}, it must lie in [0, 1]")
    return float(torch.logit(torch.tensor(q, dtype=torch.float64)))


def latent_difference(s: torch.Tensor, previous: torch.Tensor) -> torch.Tensor:
    """|s - previous| / |s| per row: [..., d] -> [...]."""
    return (s - previous).norm(dim=-1) / s.norm(dim=-1)


@dataclass(frozen=True)
class Halting:
    """`rule` "gate" stops at score >= threshold (a logit, see `quantile_threshold`), "difference" at delta < threshold,
    "never" runs every loop (unless a followed trace says otherwise)."""

    rule: str = "never"
    threshold: float = 0.0
    min_loops: int = 1
    delay: int = 0

    def __post_init__(self):
        if self.rule not in ("gate", "difference", "never"):
            raise UserError(f"halting rule is '{self.rule}', it must be one of gate, difference, never")
        if self.min_loops < 1 or self.delay < 0:
            raise UserError(f"min_loops is {self.min_loops} and delay {self.delay}, they must be at least 1 and 0")

    def stops(self, scores: Sequence[float]) -> bool:
        """Whether a row with these scores, one per loop run so far, leaves now (asked before the last loop only)."""
        decided = len(scores) - self.delay
        if decided < self.min_loops or self.rule == "never":
            return False
        # Decisions stand: a delta may rise again while the row runs on.
        considered = scores[self.min_loops - 1 : decided]
        return any(s >= self.threshold if self.rule == "gate" else s < self.threshold for s in considered)

    def may_stop(self, loops: int) -> bool:
        """Whether `loops` is a decision point at all: a floor and a delay hold for scripted exits, too."""
        return loops - self.delay >= self.min_loops
