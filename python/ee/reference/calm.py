# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""CALM: a row leaves at the first exit whose confidence reaches the threshold (Schuster et al. 2022).

At the exit after k layers an enabled row that has not left goes on while confidence < lambda, so it leaves iff
score >= theta (not strict), theta = the score of lambda. The threshold may fall with the number t of the token that the
row chooses (0 is the one that the prompt's last row chooses, at full depth):

  lambda(t) = 0.9 lambda + 0.1 lambda exp(-tau t / N)         both parts carry lambda, as in the authors' code

In a batch that decides `together`, rows with the same t go on while min over the batch of their confidence < lambda(t):
they leave only when all agree (the authors' rule). Otherwise every row decides alone.

Where the K,V of a row that left after k layers come from, in layers l = k..L-1:
  propagate   K_l, V_l of norm_l(h_k): the state it left with is handed up ("state copying"); projections only
  exact       of the full model's states: the row runs on, only its logits are those of the exit
Criterion `cosine` is CALM's `state`, which never leaves at the first exit listed there: do not list that one here.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from ..errors import UserError
from .criteria import check_criterion, confidence, exit_score, threshold
from .generate import Method, Rows, check_layer
from .kv import KV, fill_layer, run_layer
from .model import Model
from .trace import DepthTrace

FILLS = ("propagate", "exact")


@dataclass(frozen=True)
class Decay:
    """Position decay: temperature `tau` and the length `tokens` N that t is divided by."""

    tau: float
    tokens: int

    def __post_init__(self):
        if self.tokens < 1 or self.tau < 0:
            raise UserError(f"decay: tau must be >= 0 and tokens >= 1, but got {self.tau} and {self.tokens}")

    def __call__(self, lam: float, t: int) -> float:
        return 0.9 * lam + 0.1 * lam * math.exp(-self.tau * t / self.tokens)


@dataclass
class _Running:
    """Rows of one sequence on their way up: `h` feeds the next layer, `previous` fed the last one."""

    rows: Rows
    h: torch.Tensor
    previous: torch.Tensor
    left: dict[int, tuple[int, torch.Tensor]] = field(default_factory=dict)

    @property
    def waiting(self) -> list[int]:
        """Rows that may leave and have not."""
        return [i for i, enabled in enumerate(self.rows.enabled) if enabled and i not in self.left]


class Calm(Method):
    """Exits after `exits` layers each, thresholds `theta` (one, or one per exit) in logit space."""

    def __init__(
        self,
        model: Model,
        exits: Sequence[int],
        theta: float | Sequence[float],
        *,
        criterion: str = "margin",
        decay: Decay | None = None,
        together: bool = False,
        fill: str = "propagate",
        kv: KV | None = None,
        trace: DepthTrace | None = None,
    ):
        super().__init__(model, kv, trace)
        self.exits = list(exits)
        for layer in self.exits:
            check_layer(model, "exits", layer)
        if self.exits != sorted(set(self.exits)):
            raise UserError(f"exits: must be distinct and ascending, but got {self.exits}")
        thetas = [theta] * len(self.exits) if isinstance(theta, (int, float)) else list(theta)
        if len(thetas) != len(self.exits):
            raise UserError(f"theta: must be one number or one per exit, {len(self.exits)}, but got {len(thetas)}")
        if fill not in FILLS:
            raise UserError(f"fill: must be one of {', '.join(FILLS)}, but got {fill!r}")
        check_criterion(model, criterion, self.exits)
        self.theta, self.criterion, self.decay = dict(zip(self.exits, thetas)), criterion, decay
        self.together, self.fill = together, fill

    def theta_at(self, layer: int, t: int) -> float:
        """The score that the row which chooses token t has to reach at the exit after `layer` layers."""
        if self.decay is None:
            return self.theta[layer]
        return threshold(self.criterion, self.decay(confidence(self.criterion, self.theta[layer]), t))

    def run(self, batch: Sequence[Rows]) -> list[torch.Tensor]:
        running = [_Running(rows, h, h) for rows in batch for h in [self.model.embed(rows.tokens)]]
        for layer in range(self.model.config.layers):
            if layer in self.theta:
                self._decide(running, layer)
            for part in running:
                self._layer(part, layer)
        return [self._logits(part) for part in running]

    def _decide(self, running: list[_Running], layer: int) -> None:
        scores: dict[tuple[int, int], float] = {}
        for s, part in enumerate(running):
            values = exit_score(self.model, self.criterion, layer, part.h, part.previous)
            scores.update({(s, i): float(values[i]) for i in part.waiting})
        groups: dict[int, list[float]] = {}
        for (s, i), score in scores.items():
            groups.setdefault(running[s].rows.step(running[s].rows.positions[i]), []).append(score)
        for (s, i), score in scores.items():
            rows = running[s].rows
            t = rows.step(rows.positions[i])
            theta = self.theta_at(layer, t)
            # min(...) >= theta, written so that one NaN keeps all.
            wants = all(other >= theta for other in (groups[t] if self.together else [score]))
            if self.trace.decide(rows.sequence, rows.positions[i], layer, {self.criterion: score}, wants):
                running[s].left[i] = (layer, running[s].h[i])

    def _layer(self, part: _Running, layer: int) -> None:
        rows, positions = part.rows, part.rows.positions
        part.previous = part.h
        # All rows' K,V first: rows that run see rows of the same call that have left.
        fill_layer(self.model, self.kv, rows.sequence, layer, part.h, positions)
        go = [i for i in range(len(positions)) if self.fill == "exact" or i not in part.left]
        part.h = part.h.clone()
        part.h[go] = run_layer(self.model, self.kv, rows.sequence, layer, part.h[go], [positions[i] for i in go], fill=False)

    def _logits(self, part: _Running) -> torch.Tensor:
        h = part.h.clone()
        for i, position in enumerate(part.rows.positions):
            depth = self.model.config.layers
            if i in part.left:
                depth, h[i] = part.left[i]
            self.trace.finish(part.rows.sequence, position, depth)
        return self.model.head(h)
