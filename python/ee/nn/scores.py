# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Exit scores in torch: the formulas of `criteria` (logit space), written with the same sequence of operations, so the
exported nodes are the pattern the compiler raises, up to the exporter's spelling (square as Pow, scalars as Constant + Cast).
"""

import math

import torch
from torch import nn


def _rest(z: torch.Tensor) -> torch.Tensor:
    m = z.amax(-1, keepdim=True)
    top = z == m
    e = torch.exp(z - m)
    return torch.where(top, 0.0, e).sum(-1) + (top.to(z.dtype).sum(-1) - 1.0)


def score(criterion: str, logits: torch.Tensor, hidden: torch.Tensor, previous: torch.Tensor, probe: nn.Linear | None = None):
    """The score [...] of `criteria` for logits [..., V], hidden and previous [..., D]."""
    if criterion == "max_prob":
        return -torch.log(_rest(logits))
    if criterion == "margin":
        rest, top2 = _rest(logits), torch.topk(logits, 2).values
        a = torch.exp(top2[..., 1:2] - top2[..., 0:1]).squeeze(-1)
        return torch.log(1.0 - a) - torch.log(rest + a)
    if criterion == "entropy":
        rest, d = _rest(logits), logits - logits.amax(-1, keepdim=True)
        h = torch.log1p(rest) - (d * torch.exp(d)).sum(-1) / (rest + 1.0)
        return torch.log(torch.relu(math.log(logits.shape[-1]) - h)) - torch.log(h)
    if criterion == "cosine":
        a, b = (x / torch.linalg.vector_norm(x, dim=-1, keepdim=True) for x in (hidden, previous))
        return torch.log((a + b).square().sum(-1)) - torch.log((a - b).square().sum(-1))
    return probe(hidden).squeeze(-1)
