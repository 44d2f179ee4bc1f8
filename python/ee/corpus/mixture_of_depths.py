# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Mixture-of-Depths: every second of four layers runs for routed rows only, h + z (f(h) - h); the others pass by.

z = router(h); a row is routed by `top_k` over the sequence, by `threshold` (z > 0), or by a causal `predictor` (its own
w . h + b > 0). Fill skip: rows that pass by are no keys. Outputs `depth` i64 [B, S], layers run, and `selected` bool
[B, S, routed layers], because a number of layers does not say which ones.
"""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from .. import nn
from ..reference.generate import teacher_forced
from ..reference.mixture_of_depths import DepthRouting, MixtureOfDepths
from ..reference.model import Config, Model
from .answers import depths, margins, score_array
from .cases import Answer, Case, Subject
from .decoder import BATCH, SEQ, Decoder, Weights, config, load, texts
from .mor import top_k_margin

CAPACITY = 0.375


class DepthDecoder(Decoder):
    """Layers 1, 3, ... are routed."""

    def __init__(self, c: Config, route: torch.nn.Module, predictors: bool):
        super().__init__(c)
        self.routers = torch.nn.ModuleList(nn.RouterLinear(c.hidden) for _ in range(c.layers // 2))
        self.predictors = torch.nn.ModuleList(torch.nn.Linear(c.hidden, 1) for _ in range(c.layers // 2 if predictors else 0))
        self.route, self.gate, self.active_mask = route, nn.GateWeighted(1.0), nn.ActiveMask()

    def forward(self, input_ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h, mask, rope = self.begin(input_ids)
        everyone, taken = torch.ones_like(input_ids, dtype=torch.bool), []
        for l in range(self.config.layers):
            if l % 2 == 0:
                h = self.layer(l, h, mask, rope)
                continue
            z = self.routers[l // 2](h)
            taken.append(self.route(self.predictors[l // 2](h).squeeze(-1) if len(self.predictors) else z, everyone))
            f = self.layer(l, h, self.active_mask(mask, taken[-1]), rope)
            h = self.gate(taken[-1], z, h, f - h)
        selected = torch.stack(taken, -1)
        return self.head(h), selected.to(torch.int64).sum(-1) + (self.config.layers + 1) // 2, selected


def mixture_of_depths(rule: str) -> Subject:
    """Four layers; the router's numbers are small, because they multiply the update."""
    weights, ids = Weights(config(range(4)), 71), texts(72)
    for m in range(2):
        weights.add(f"routers.{m}.weight", (1, weights.config.hidden), 0.2)
        if rule == "predictor":
            weights.add(f"predictors.{m}.weight", (1, weights.config.hidden), 0.3)
            weights.add(f"predictors.{m}.bias", (1,), 0.2)
    module = DepthDecoder(weights.config, nn.RouteTopK(CAPACITY) if rule == "top_k" else nn.RouteThreshold(0.0), rule == "predictor")
    load(module, weights.tensors)
    model = Model(weights.config, weights.tensors)
    routing = DepthRouting(rule="top_k" if rule == "top_k" else "threshold", capacity=CAPACITY)
    rows = int(CAPACITY * SEQ)

    def reference(selected: np.ndarray | None) -> Answer:
        table = None if selected is None else {(b, p): tuple(selected[b, p]) for b, p in np.ndindex(BATCH, SEQ)}
        method = MixtureOfDepths(model, routing, script=table)
        logits = torch.stack(teacher_forced(method, ids.tolist())).numpy()
        scores = score_array(method.trace, ids.shape, range(2), "z")
        # The reference records the router's z; what a predictor says is not known, so its decisions have to agree everywhere.
        margin = top_k_margin(scores, [rows] * 2) if rule == "top_k" else margins(scores, [np.inf if rule == "predictor" else 0.0] * 2)
        taken = np.array([[method.selected[b, p] for p in range(SEQ)] for b in range(BATCH)])
        return Answer({"logits": logits, "depth": depths(method.trace, BATCH), "selected": taken}, scores, margin)

    table = np.zeros((BATCH, SEQ, 2), bool)
    rng = np.random.default_rng(73)
    for b, m in np.ndindex(BATCH, 2):
        table[b, rng.permutation(SEQ)[:rows], m] = True

    def script(selected: np.ndarray) -> dict[str, np.ndarray]:
        return {f"script.{m}": np.where(selected[..., m], 1, -1).astype(np.float32) for m in range(2)}

    settings = {"routing": rule, "gating": "weighted", "routed": [1, 3], "strict": True}
    settings |= {"capacity": CAPACITY} if rule == "top_k" else {"theta": 0.0}
    outputs = ("logits", "depth", "selected")
    return Subject(weights.config, weights.seed, module, {"input_ids": ids}, outputs, reference, table, script, settings, decide="selected")


def cases() -> list[Case]:
    """Three rules; there is one fill."""
    found = [
        Case("mixture-of-depths", "skip", rule, partial(mixture_of_depths, rule), causal=rule != "top_k") for rule in ("threshold", "top_k")
    ]
    return [*found, Case("mixture-of-depths", "skip", "predictor", partial(mixture_of_depths, "predictor"), (20,), variant=True)]
