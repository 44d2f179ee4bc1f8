# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Mixture-of-Recursions: one unique layer, R recursions of shared blocks under a router, one unique layer (middle cycle).

Expert choice by `threshold` (z_r > 0, nested, causal) or by `top_k` over the sequence, as in training; update `weighted`,
h + 0.1 sigma(z_r) f(h), or `additive`, h + f(h). Token choice: h + p_e f^(e+1)(h), p = softmax(z), e = argmax(p + bias).
Fill skip: ActiveMask hides rows that a recursion does not run. Fill share: K,V of recursion 0, of all rows.
`depth` i64 [B, S] counts recursions.
"""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from .. import nn
from ..reference.model import Config, Model
from ..reference.mor import MoR, Routing
from ..reference.trace import DepthTrace
from .answers import answer, followed
from .cases import Answer, Case, Subject
from .decoder import BATCH, SEQ, Decoder, Weights, config, load, texts

ALPHA = 0.1


class RecursionDecoder(Decoder):
    """Layer 0, R recursions of blocks 1..b, layer b + 1."""

    def __init__(self, c: Config, recursions: int, routers: int, outputs: int, router: type = nn.RouterLinear, **recurse):
        super().__init__(c)
        self.routers = torch.nn.ModuleList(router(c.hidden, outputs) for _ in range(routers))
        self.recurse = nn.Recurse(list(self.model.layers[1:-1]), recursions, routers=self.routers, **recurse)

    def forward(self, input_ids: Tensor) -> tuple[Tensor, Tensor]:
        h, mask, rope = self.begin(input_ids)
        out = self.recurse(self.layer(0, h, mask, rope), mask, rope=rope)
        return self.head(self.layer(self.config.layers - 1, out.state, mask, rope)), out.depth


def _weights(seed: int, recursions: int, blocks: int, routers: int, outputs: int, mlp: bool = False) -> Weights:
    layout = [0, *list(range(1, blocks + 1)) * recursions, blocks + 1]
    weights, d = Weights(config(layout), seed), config(layout).hidden
    for r in range(routers):
        shapes = {"up.weight": (2 * d, d), "down.weight": (outputs, 2 * d)} if mlp else {"weight": (outputs, d)}
        for name, shape in shapes.items():
            weights.add(f"routers.{r}.{name}", shape, 0.3)
    return weights


def expert_choice(rule: str, gating: str, fill: str, blocks: int) -> Subject:
    """Three recursions of one block, or two of two."""
    recursions = 3 if blocks == 1 else 2
    weights, ids = _weights(51, recursions, blocks, recursions, 1), texts(52)
    route = Routing(recursions, rule, alpha=ALPHA, gating=gating, kv=fill)
    rules = [nn.RouteThreshold(0.0) if rule == "threshold" else nn.RouteTopK(share) for share in route.capacities]
    update = nn.GateWeighted(ALPHA) if gating == "weighted" else nn.GateAdditive()
    module = RecursionDecoder(weights.config, recursions, recursions, 1, route=rules, update=update, fill=fill)
    load(module, weights.tensors)
    model, rows = Model(weights.config, weights.tensors), [int(share * SEQ) for share in route.capacities]

    def reference(depth: np.ndarray | None) -> Answer:
        found = answer(MoR(model, route, 1, trace=DepthTrace(followed(depth))), ids, 0, range(recursions), "z", [0.0] * recursions)
        if rule == "top_k":
            found.margin = top_k_margin(found.scores, rows)
        return found

    rng = np.random.default_rng(53)
    order = np.stack([rng.permutation(SEQ) for _ in range(BATCH)])
    table = rng.integers(0, recursions + 1, (BATCH, SEQ)) if rule == "threshold" else sum((order < k).astype(np.int64) for k in rows)

    def script(depth: np.ndarray) -> dict[str, np.ndarray]:
        if rule == "top_k":
            return {f"script.{r}": (-order).astype(np.float32) for r in range(recursions)}
        return {f"script.{r}": np.where(depth > r, 1, -1).astype(np.float32) for r in range(recursions)}

    settings = {"routing": rule, "gating": gating, "recursions": recursions, "alpha": ALPHA, "strict": True}
    settings |= {"theta": 0.0} if rule == "threshold" else {"capacities": route.capacities}
    return Subject(weights.config, weights.seed, module, {"input_ids": ids}, ("logits", "depth"), reference, table, script, settings)


def top_k_margin(scores: np.ndarray, rows: list[int]) -> np.ndarray:
    """Distance of each row's score to the nearest score on the other side of the cut, least over recursions: [B, S]."""
    margin = np.full(scores.shape[:2], np.inf)
    for b, r in np.ndindex(len(scores), len(rows)):
        z, k = scores[b, :, r], rows[r]
        ranked = np.sort(z[~np.isnan(z)])[::-1]
        if k < len(ranked):
            other = np.where(z >= ranked[k - 1], ranked[k], ranked[k - 1])
            margin[b] = np.fmin(margin[b], np.abs(z - other))
    return margin


def token_choice(fill: str, bias: tuple[float, ...], mlp: bool = False) -> Subject:
    """Three recursions of one block."""
    recursions = 3
    weights, ids = _weights(61, recursions, 1, 1, recursions, mlp), texts(62)
    balance = torch.tensor(bias) if any(bias) else None
    rule, update = nn.RouteTokenChoice(), nn.GateWeighted(1.0)
    router = nn.RouterMlp if mlp else nn.RouterLinear
    module = RecursionDecoder(
        weights.config, recursions, 1, recursions, router, route=rule, update=update, activation="softmax", fill=fill, choice_bias=balance
    )
    load(module, weights.tensors)
    model = Model(weights.config, weights.tensors)
    route = Routing(recursions, "token_choice", bias=bias, gate="softmax", alpha=1.0, kv=fill)

    def reference(depth: np.ndarray | None) -> Answer:
        method = MoR(model, route, 1, trace=DepthTrace(followed(depth)))
        found = answer(method, ids, 0, [0], "p0", [0.0])
        rows = {row: [at[0][f"p{r}"] for r in range(recursions)] for row, at in method.trace.scores.items()}
        found.scores = np.array([[rows[b, p] for p in range(SEQ)] for b in range(BATCH)])
        ranked = np.sort(found.scores + np.asarray(route.bias), -1)
        found.margin = ranked[..., -1] - ranked[..., -2]
        return found

    table = np.random.default_rng(63).integers(1, recursions + 1, (BATCH, SEQ))
    settings = {"routing": "token_choice", "gating": "weighted", "recursions": recursions, "alpha": 1.0, "bias": list(bias)}

    def script(depth: np.ndarray) -> dict[str, np.ndarray]:
        return {"script.scores": np.eye(recursions, dtype=np.float32)[depth - 1]}

    return Subject(weights.config, weights.seed, module, {"input_ids": ids}, ("logits", "depth"), reference, table, script, settings)


def cases() -> list[Case]:
    """Expert choice with both fills, rules and gatings; token choice with both fills, with a bias, and with an MLP router."""
    found = []
    for fill in ("skip", "share"):
        for rule, gating in (("threshold", "weighted"), ("top_k", "weighted"), ("threshold", "additive"), ("top_k", "additive")):
            variant, causal = gating == "additive", rule == "threshold"
            build = partial(expert_choice, rule, gating, fill, 2 if variant else 1)
            opsets = ((20,) if fill == "skip" else (23,)) if variant else (18, 20, 23)
            found.append(Case("mor-expert-choice", fill, f"{rule}-{gating}", build, opsets, variant, causal))
    for fill in ("skip", "share"):
        found.append(Case("mor-token-choice", fill, "softmax", partial(token_choice, fill, (0.0, 0.0, 0.0))))
    found.append(Case("mor-token-choice", "share", "mlp", partial(token_choice, "share", (0.0, 0.0, 0.0), True), (23,), variant=True))
    found.append(Case("mor-token-choice", "skip", "biased", partial(token_choice, "skip", (-0.2, 0.1, 0.15)), (20,), variant=True))
    return found
