# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Exit criteria from streaming tiles: one pass over the vocabulary (or the hidden size), any split, tiles in any order.

Of logits z [rows, V], with m = max z and e_i = exp(z_i - m), a pass carries

  top, second   the two largest logits and their ids; equal logits: the lower id first
  rest          sum of e_i over all ids but `top`'s; kept apart from top's own 1, so that a sure row loses nothing
  weighted      sum of (z_i - m) e_i
  count, mean, m2   over the finite logits: their number, mean, and sum of squared deviations (Chan, Golub, LeVeque 1979)

and of states h, g (g one layer earlier) the sums h.h, g.g, |h-g|^2, |h+g|^2, (h-g).(h+g). From these, the score of a
criterion is the log-odds of its CONFIDENCE, a number in [0, 1], because a probability near 1 saturates:

  max_prob   p1                  -log(rest)
  margin     q = p1 - p2         log(1 - a) - log(rest + a), a = exp(second - top)
  entropy    1 - H / ln V        log(ln V - H) - log H, H = log(1 + rest) - weighted / (1 + rest) nats
  cosine     (1 + c) / 2         log(1 + c) - log(1 - c), c = cos(h, g)
  probe      sigma(w.h + b)      w.h + b, weights exits.{k}.probe
  std        not a probability   population standard deviation of the finite logits, in logit units; score = confidence

A logit of -inf is an id that cannot be chosen; it counts in V, not in the deviation. A row without a finite logit, or
with NaN or +inf, has the score NaN, and NaN never leaves: every rule compares so that NaN is false.
Sources: CALM (Schuster et al. 2022: softmax_max, softmax_diff, state), DeeBERT (Xin et al. 2020: entropy).
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from ..errors import UserError
from .model import Model

ON_LOGITS, ON_STATES = ("max_prob", "margin", "entropy", "std"), ("cosine", "probe")
CRITERIA = (*ON_LOGITS, *ON_STATES)
NO_ID = 1 << 62  # the second of one column


@dataclass
class LogitStatistics:
    """What one pass over some columns of z carries; each field is [rows]. `columns` is how many were seen."""

    columns: int
    top: torch.Tensor
    top_id: torch.Tensor
    second: torch.Tensor
    second_id: torch.Tensor
    rest: torch.Tensor
    weighted: torch.Tensor
    count: torch.Tensor
    mean: torch.Tensor
    m2: torch.Tensor

    @classmethod
    def of_tile(cls, z: torch.Tensor, first_id: int = 0) -> "LogitStatistics":
        """z [rows, n]: the logits of ids first_id, first_id + 1, ..."""
        n = z.shape[-1]
        ids = torch.arange(first_id, first_id + n)
        top = z.max(-1).values
        top_id = torch.where(z == top[:, None], ids, NO_ID).min(-1).values
        others = torch.where(ids == top_id[:, None], -torch.inf, z)
        second = others.max(-1).values
        second_id = torch.where((others == second[:, None]) & (ids != top_id[:, None]), ids, NO_ID).min(-1).values
        d = others - torch.where(top == -torch.inf, 0.0, top)[:, None]
        e = d.exp()
        finite = z.isfinite()
        count = finite.sum(-1).to(z.dtype)
        mean = torch.where(finite, z, 0).sum(-1) / count.clamp(min=1)
        m2 = (torch.where(finite, z - mean[:, None], 0) ** 2).sum(-1)
        weighted = torch.where(e == 0, 0, d * e).sum(-1)
        return cls(n, top, top_id, second, second_id, e.sum(-1), weighted, count, mean, m2)

    def merge(self, other: "LogitStatistics") -> "LogitStatistics":
        """The statistics of both sets of columns."""
        mine = _before(self.top, self.top_id, other.top, other.top_id)
        pick = lambda a, b: torch.where(mine, a, b)  # noqa: E731
        top, loser = pick(self.top, other.top), pick(other.top, self.top)
        loser_id = pick(other.top_id, self.top_id)
        runner, runner_id = pick(self.second, other.second), pick(self.second_id, other.second_id)
        keeps = _before(runner, runner_id, loser, loser_id)
        # The side with the smaller maximum is rescaled from its maximum to the common one.
        delta = torch.where(loser == -torch.inf, -torch.inf, loser - top)
        scale = delta.exp()
        sum_of = 1 + pick(other.rest, self.rest)
        moved = torch.where(scale == 0, 0, scale * (pick(other.weighted, self.weighted) + delta * sum_of))
        count = self.count + other.count
        gap, share = other.mean - self.mean, other.count / count.clamp(min=1)
        return LogitStatistics(
            self.columns + other.columns,
            top,
            pick(self.top_id, other.top_id),
            torch.where(keeps, runner, loser),
            torch.where(keeps, runner_id, loser_id),
            pick(self.rest, other.rest) + scale * sum_of,
            pick(self.weighted, other.weighted) + moved,
            count,
            self.mean + gap * share,
            self.m2 + other.m2 + gap * gap * self.count * share,
        )

    @classmethod
    def of_tiles(cls, tiles: Iterable[tuple[int, torch.Tensor]]) -> "LogitStatistics":
        """One pass over (first id, z [rows, n]) pairs."""
        result = None
        for first_id, z in tiles:
            tile = cls.of_tile(z, first_id)
            result = tile if result is None else result.merge(tile)
        return result

    def _valid(self, x: torch.Tensor) -> torch.Tensor:
        return torch.where(self.top.isfinite(), x, torch.nan)

    def entropy(self) -> torch.Tensor:
        """H in nats [rows]."""
        return self._valid(torch.log1p(self.rest) - self.weighted / (1 + self.rest))

    def std(self) -> torch.Tensor:
        """Population standard deviation of the finite logits [rows]."""
        return self._valid((self.m2 / self.count).sqrt())

    def score(self, criterion: str) -> torch.Tensor:
        """max_prob, margin, entropy or std: [rows]."""
        if criterion == "max_prob":
            return self._valid(-self.rest.log())
        if criterion == "margin":
            gap = self.second - self.top
            return self._valid((-torch.expm1(gap)).log() - (self.rest + gap.exp()).log())
        if criterion == "entropy":
            h = self.entropy()
            return (math.log(self.columns) - h).clamp(min=0).log() - h.log()
        return self.std()


def _before(a: torch.Tensor, a_id: torch.Tensor, b: torch.Tensor, b_id: torch.Tensor) -> torch.Tensor:
    """Whether a ranks before b: larger, or equal with the lower id. NaN ranks first, so that it is not lost."""
    return a.isnan() | (a > b) | ((a == b) & (a_id < b_id))


@dataclass
class CosineStatistics:
    """What one pass over columns of h and g [rows, n] carries; each field is [rows]."""

    hh: torch.Tensor
    gg: torch.Tensor
    minus: torch.Tensor
    plus: torch.Tensor
    cross: torch.Tensor

    @classmethod
    def of_tile(cls, h: torch.Tensor, g: torch.Tensor) -> "CosineStatistics":
        d, s = h - g, h + g
        return cls(*((a * b).sum(-1) for a, b in ((h, h), (g, g), (d, d), (s, s), (d, s))))

    def merge(self, other: "CosineStatistics") -> "CosineStatistics":
        return CosineStatistics(*(a + b for a, b in zip(vars(self).values(), vars(other).values())))

    def score(self) -> torch.Tensor:
        """log((1+c)/(1-c)); |h|^2 - |g|^2 = (h-g).(h+g) and 2|h||g|(1 -+ c) = |h -+ g|^2 - (|h| - |g|)^2, so that 1 - c near
        c = 1 and 1 + c near c = -1 are not differences of large numbers. NaN when h or g is zero."""
        h, g = self.hh.sqrt(), self.gg.sqrt()
        lengths = (self.cross / (h + g)) ** 2
        one_minus, one_plus = ((x - lengths).clamp(min=0) / (2 * h * g) for x in (self.minus, self.plus))
        return one_plus.log() - one_minus.log()


def exit_score(
    model: Model, criterion: str, layer: int, h: torch.Tensor, previous: torch.Tensor, tile: int | None = None
) -> torch.Tensor:
    """Scores [rows] of the exit after `layer` layers, from states h [rows, hidden] there and `previous` one layer earlier.

    Logits are those of final norm and LM head; `tile` columns are looked at a time (all when None)."""
    if criterion == "probe":
        weight, bias = (model.weights[f"exits.{layer}.probe.{part}"] for part in ("weight", "bias"))
        return h @ weight[0] + bias
    wide = h if criterion == "cosine" else model.head(h)
    step = tile or wide.shape[-1]
    if criterion == "cosine":
        starts = range(0, wide.shape[-1], step)
        parts = [CosineStatistics.of_tile(h[:, i : i + step], previous[:, i : i + step]) for i in starts]
        total = parts[0]
        for part in parts[1:]:
            total = total.merge(part)
        return total.score()
    tiles = ((i, wide[:, i : i + step]) for i in range(0, wide.shape[-1], step))
    return LogitStatistics.of_tiles(tiles).score(criterion)


def check_criterion(model: Model, criterion: str, exits: Sequence[int]) -> None:
    """Raises `UserError` unless the criterion exists and the weights have what it needs."""
    if criterion not in CRITERIA:
        raise UserError(f"criterion: must be one of {', '.join(CRITERIA)}, but got {criterion!r}")
    for layer in exits if criterion == "probe" else ():
        for part in ("weight", "bias"):
            if f"exits.{layer}.probe.{part}" not in model.weights:
                raise UserError(f"criterion: probe needs the tensor exits.{layer}.probe.{part}, which the weights do not have")


def confidence(criterion: str, score: float) -> float:
    """The confidence whose score this is: sigma(score); tanh(score / 2) = c for cosine; the score itself for std."""
    if criterion == "std":
        return score
    if criterion == "cosine":
        return math.tanh(score / 2)
    return 1 / (1 + math.exp(-score)) if score >= 0 else math.exp(score) / (1 + math.exp(score))


def threshold(criterion: str, value: float) -> float:
    """The score of a confidence: the inverse of `confidence`. Values beyond its range give -inf or +inf."""
    if criterion == "std":
        return value
    p = (1 + value) / 2 if criterion == "cosine" else value
    if p <= 0 or p >= 1:
        return -math.inf if p <= 0 else math.inf
    return math.log(p) - math.log1p(-p)
