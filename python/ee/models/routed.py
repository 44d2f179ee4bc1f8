# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Mixture-of-Recursions on a `Decoder`: expert-choice training on gathered rows, and the causal threshold rule.

Recursion r sees the rows that recursion r-1 chose. z_r = router_r(h) on the raw residual stream; a chosen row is
updated by h <- h + alpha * sigma(z) * f(h), where f contains its residuals; others keep h. Keys of recursion r are
the rows chosen for it, at their true positions (recursion-wise KV).
"""

from dataclasses import dataclass

import torch

from ..nn import functional as ops
from .decoder import Decoder


@dataclass
class Routed:
    """States after the coda [batch, seq, hidden] before the final norm; per recursion router scores z [batch, rows] of
    the rows that saw the router, whether each was chosen, and depths [batch, seq] = recursions run."""

    state: torch.Tensor
    scores: list[torch.Tensor]
    chosen: list[torch.Tensor]
    depths: torch.Tensor


def _around(model: Decoder, ids: torch.Tensor):
    h, rope, mask = model.begin(ids)
    for l in range(model.config.prelude):
        h, _ = model.layer(l, h, rope, mask)
    return h, rope, mask


def _finish(model: Decoder, h, rope, mask):
    c = model.config
    for l in range(c.depth - c.coda, c.depth):
        h, _ = model.layer(l, h, rope, mask)
    return h


def top_k(model: Decoder, ids: torch.Tensor, capacities: tuple[float, ...]) -> Routed:
    """Training: recursion r runs the k = max(1, int(capacity_r * seq)) rows of highest score among those still there.
    Not causal: a row's choice depends on the scores of later rows."""
    c = model.config
    h, rope, mask = _around(model, ids)
    batch, seq = ids.shape
    rows = torch.arange(seq, device=ids.device).expand(batch, seq)
    depths = torch.zeros_like(ids)
    scores, chosen = [], []
    for r in range(c.recursions):
        k = min(rows.shape[1], ops.top_k_rows(capacities[r], seq))
        z = model.routers[r](h.gather(1, rows.unsqueeze(-1).expand(-1, -1, h.shape[-1]))).squeeze(-1).float()
        picked = z.topk(k, dim=1).indices.sort(dim=1).values
        scores.append(z)
        chosen.append(torch.zeros_like(z).scatter(1, picked, 1.0))
        rows, gate = rows.gather(1, picked), torch.sigmoid(z.gather(1, picked))
        depths = depths.scatter(1, rows, r + 1)
        index = rows.unsqueeze(-1).expand(-1, -1, h.shape[-1])
        before = h.gather(1, index)
        f, cut, angles = before, mask[:k, :k], model.rope(rows)
        for i in range(c.block):
            f, _ = model.layer(c.prelude + r * c.block + i, f, angles, cut)
        h = h.scatter(1, index, before + c.alpha * gate.unsqueeze(-1) * f)
    return Routed(_finish(model, h, rope, mask), scores, chosen, depths)


def threshold(model: Decoder, ids: torch.Tensor, thetas, forced: torch.Tensor | None = None, script=None) -> Routed:
    """Inference: a row enters recursion r iff it entered r-1 and z_r > theta_r (strict, logit space). Causal. With
    `forced` [batch, seq] those depths are used instead of the scores; `script[r]` [batch, seq] stands in for z_r where it
    decides (gates of updates still are the router's)."""
    c = model.config
    h, rope, mask = _around(model, ids)
    active = torch.ones_like(ids, dtype=torch.bool)
    depths = torch.zeros_like(ids)
    scores, chosen = [], []
    for r in range(c.recursions):
        z = model.routers[r](h).squeeze(-1).float()
        decides = z if script is None else script[r]
        active = ops.apply("RouteThreshold", decides, active, float(thetas[r])) if forced is None else active & (forced > r)
        scores.append(decides)
        chosen.append(active.float())
        depths = depths + active
        f = h
        seen = ops.apply("ActiveMask", mask, active)
        for i in range(c.block):
            f, _ = model.layer(c.prelude + r * c.block + i, f, rope, seen)
        h = ops.apply("GateWeighted", active, torch.sigmoid(z), h, f, c.alpha)
    return Routed(_finish(model, h, rope, mask), scores, chosen, depths)
