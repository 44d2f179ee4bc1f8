# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What a token costs, in cost units: one unit is the linear maps of one layer for one row.

Two columns, because `exact` K,V separates them. `macs`: multiply-adds per token, including what is done later for rows
that left (`exact` owes their deeper layers; `propagate` pays their K,V projections). `weights`: what one token reads
when it is decoded alone: a row that owes layers rides along with the next row that goes there, so its debt reads
nothing extra. Both count the LM head once per emitted token and once more per exit that decides on full logits;
attention's own products are left out (they are below 5 % at the windows used here).
"""

from dataclasses import dataclass

import numpy as np

from ..models import ModelConfig


@dataclass(frozen=True)
class Cost:
    macs: float
    weights: float


def cost(config: ModelConfig, depths: np.ndarray, checks_logits: bool = False, probe_rows: int = 0) -> Cost:
    """Mean cost of rows of these depths [rows] in layers. `checks_logits`: every exit a row meets computes its full
    logits (the one it leaves by is then its output); `probe_rows`: dot products of the hidden size that a check costs otherwise."""
    c, unit = config, config.layer_macs()
    depths = np.asarray(depths)
    head = c.head_macs() / unit
    met = np.zeros(depths.shape)
    for e in c.exits:
        met += depths >= e
    checked = np.where(np.isin(depths, c.exits), met - 1, met) * head if checks_logits else met * probe_rows * c.hidden / unit
    low_rank = c.lora_rank * sum(i + o for i, o in _shapes(c)) / unit if c.lora_rank else 0.0
    # Low-rank terms belong to the shared block's layers.
    run = depths + low_rank * np.clip(depths - c.prelude, 0, c.block * c.recursions) + head + checked
    skipped = c.depth - depths
    if c.router:
        run = run + (c.recursions * c.hidden) / unit
    later = {"exact": 1 + low_rank, "propagate": c.kv_macs() / unit}.get(c.kv_fill, 0.0)
    return Cost(float((run + skipped * later).mean()), float(run.mean()))


def _shapes(c: ModelConfig) -> list[tuple[int, int]]:
    q, kv = c.heads * c.head_dim, c.kv_heads * c.head_dim
    return [(c.hidden, q), (c.hidden, kv), (c.hidden, kv), (q, c.hidden), (c.hidden, c.ffn), (c.hidden, c.ffn), (c.ffn, c.hidden)]
