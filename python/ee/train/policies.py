# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Running a trained model under an exit policy on whole windows of text: which depth each row takes, and its loss.

A policy is asked during the forward pass, so a row that left is seen by deeper layers as `kv_fill` says; nothing is
read off a full-depth run. For a routed model the policy is a threshold per recursion.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from ..data.reader import Windows
from ..models import Decoder
from ..models.routed import threshold
from ..nn import functional as ops, score
from .data import pieces
from .few_rows import FewRows

# (depth, state [batch, seq, hidden], ids [batch, seq]) -> rows [batch, seq] that leave there
Leave = Callable[[int, torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass
class Outcome:
    """Per scored token: loss in nats, likeliest token, depth in layers, document; `scores` [tokens, recursions] are those of a
    model's routers, if it has them."""

    losses: np.ndarray
    tokens: np.ndarray
    depths: np.ndarray
    document: np.ndarray
    scores: np.ndarray


def fixed(depth: int) -> Callable[[Decoder], Leave]:
    """Every row leaves after `depth` layers."""
    return lambda model: lambda d, h, ids: torch.full(h.shape[:2], d == depth, device=h.device)


def probe(thresholds: dict[int, float]) -> Callable[[Decoder], Leave]:
    """A row leaves where w . h + b >= threshold of that exit."""

    def make(model: Decoder) -> Leave:
        return lambda d, h, ids: model.exits[str(d)]["probe"](h.float()).squeeze(-1) >= thresholds[d]

    return make


def criterion(name: str, thresholds: dict[int, float]) -> Callable[[Decoder], Leave]:
    """A row leaves where the criterion on the exit's full logits reaches the threshold (logit space)."""
    return lambda model: lambda d, h, ids: score(name, model.exit_logits(h).float(), h, h) >= thresholds[d]


def cumulative(q: float) -> Callable[[Decoder], Leave]:
    """Ouro's rule (`HaltCdf`): gates give p_r = g_r prod_(j<r) (1 - g_j); a row leaves at the first recursion where the sum
    of p reaches q."""

    def make(model: Decoder) -> Leave:
        theta = float(np.log(q / (1 - q)))
        running = survival = None

        def leave(d: int, h: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
            nonlocal running, survival
            if d == model.config.exits[0]:
                running, survival = torch.ones_like(ids, dtype=torch.bool), torch.zeros(ids.shape, device=h.device)
            gate = model.gates[model.config.exits.index(d)](h.float()).squeeze(-1)
            running, survival = ops.apply("HaltCdf", gate, survival, running, theta)
            return ~running

        return leave

    return make


def few_rows(heads: dict[int, FewRows], level: float) -> Callable[[Decoder], Leave]:
    """A row leaves where the k-row head's score reaches `level` (log-odds)."""
    return lambda model: lambda d, h, ids: heads[d].score(model, h, ids) >= level


def random_exits(histogram: dict[int, float], seed: int) -> Callable[[Decoder], Leave]:
    """Rows leave at random with the given shares per depth, independent of what they are."""

    def make(model: Decoder) -> Leave:
        generator = torch.Generator().manual_seed(seed)

        def leave(d: int, h: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
            remaining = sum(share for depth, share in histogram.items() if depth >= d)
            odds = histogram.get(d, 0.0) / remaining if remaining > 0 else 0.0
            return (torch.rand(h.shape[:2], generator=generator) < odds).to(h.device)

        return leave

    return make


@torch.no_grad()
def run(model: Decoder, text: Windows, make: Callable[[Decoder], Leave], batch: int = 16) -> Outcome:
    """The policy on `text`; unmasked places only."""
    leave = make(model)

    def step(x):
        state, depths = model.adaptive(x, lambda d, h: leave(d, h, x))
        return model.exit_logits(state), depths, []

    return _outcome(model, text, batch, step)


def full_depth(model: Decoder, text: Windows) -> Outcome:
    """Every row at full depth."""
    return run_forced(model, text, model.config.recursions) if model.config.router else run(model, text, fixed(model.config.depth))


def run_forced(model: Decoder, text: Windows, recursions: int) -> Outcome:
    """A routed model with every row through so many recursions."""
    return run_routed(model, text, forced=lambda shape: torch.full(shape, recursions))


@torch.no_grad()
def run_routed(model: Decoder, text: Windows, thetas=None, forced: Callable | None = None, batch: int = 16) -> Outcome:
    """A routed model: thresholds per recursion (strict, logit space), or depths in recursions given by forced(shape)."""
    c = model.config

    def step(x):
        result = threshold(model, x, thetas, None if forced is None else forced(x.shape).to(x.device))
        return model.head(result.state), c.depth_after(result.depths), result.scores

    return _outcome(model, text, batch, step)


def _outcome(model: Decoder, text: Windows, batch: int, step) -> Outcome:
    device = next(model.parameters()).device
    losses, tokens, depths, scores = [], [], [], []
    for x, y, mask in pieces(text, batch, device):
        logits, depth, z = step(x)
        logits = logits.float()[mask]
        losses.append(F.cross_entropy(logits, y[mask], reduction="none").cpu().numpy())
        tokens.append(logits.argmax(-1).cpu().numpy())
        depths.append(depth[mask].cpu().numpy())
        scores.append(torch.stack([score[mask] for score in z], 1).cpu().numpy() if z else np.zeros((len(depths[-1]), 0), np.float32))
    return Outcome(*map(np.concatenate, (losses, tokens, depths)), text.token_document, np.concatenate(scores))
