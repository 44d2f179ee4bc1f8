# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Mixture-of-Recursions: each row runs the shared blocks as often as its router says.

Source: "Mixture-of-Recursions: Learning Dynamic Recursive Depths for Adaptive Token-Level Computation", its released code, and for
the threshold rule the paper's intent (the code selects by top-k even when decoding). Rules and updates: `routing.py`.
Layers are u unique ones at each end (u = 0 cycle, u = 1 middle-cycle) around R recursions of b shared blocks; unrolled layer
u + r b + j is block j of recursion r. f_r is recursion r's b blocks, with their residuals. Depth = recursions run, 0..R.

  expert choice (top_k, threshold)   recursion r = 0..R-1, rows still active (r = 0: all):
                                     z = router_r(h), w = gate(z); selected rows: h <- update(h, f_r(h), w); the others keep h
                                     and are done with depth r
  token choice                       e, w from routers.0 on the input h of recursion 0; row i runs f_0 .. f_e plainly and then
                                     out = h + w f_e(...f_0(h)), depth e + 1

KV `skip` (recursion-wise): every unrolled layer has its own level, which holds only rows that ran it. A row at recursion r sees
the positions j <= i with depth_j > r, at their true positions.
KV `share`: recursion 0 writes, for ALL rows (rows that the router turns away at r = 0 run it for their K,V alone); recursions
r > 0 compute queries only and see every j <= i of recursion 0. `update_cache`: at r > 0 the selected rows of the CALL show their
own new K,V instead, for this recursion only; nothing is stored, so results depend on how a text is cut into calls.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..errors import UserError
from . import routing
from .generate import Method, Rows
from .kv import KV, run_layer
from .model import Model, attend
from .trace import DepthTrace

RULES = ("threshold", "top_k", "token_choice")
KV_RULES = ("skip", "share")


@dataclass(frozen=True)
class Routing:
    """How rows are routed. `thetas` (logits, default 0) serve `threshold`, `capacities` (default balanced) `top_k`,
    `bias` [R] (default 0) `token_choice`; `gate` is sigmoid, tanh or raw, for token choice softmax or sigmoid."""

    recursions: int
    rule: str = "threshold"
    thetas: tuple[float, ...] = ()
    capacities: tuple[float, ...] = ()
    bias: tuple[float, ...] = ()
    gate: str = "sigmoid"
    alpha: float = 0.1
    gating: str = "weighted"
    temperature: float = 1.0
    kv: str = "skip"
    update_cache: bool = False

    def __post_init__(self):
        r = self.recursions
        if r < 1:
            raise UserError(f"recursions is {r}, it must be at least 1")
        gates = ("softmax", "sigmoid") if self.rule == "token_choice" else routing.GATE_FUNCTIONS
        for name, accepted in (("rule", RULES), ("kv", KV_RULES), ("gating", routing.GATINGS), ("gate", gates)):
            if getattr(self, name) not in accepted:
                raise UserError(f"{name} is '{getattr(self, name)}', it must be one of {', '.join(accepted)}")
        defaults = {"thetas": (0.0,) * r, "capacities": tuple(routing.default_capacities(r)), "bias": (0.0,) * r}
        for name, default in defaults.items():
            value = tuple(getattr(self, name)) or default
            if len(value) != r:
                raise UserError(f"{name} has {len(value)} entries, it must have one per recursion, {r}")
            object.__setattr__(self, name, value)
        if self.update_cache and self.kv != "share":
            raise UserError(f"update_cache goes with kv 'share', not '{self.kv}'")
        if self.rule == "token_choice" and self.gating != "weighted":
            raise UserError(f"gating is '{self.gating}', it must be weighted for token_choice")


class MoR(Method):
    """One model under one routing. Weights: a linear or an MLP router per recursion, one alone for token choice (`routing`).

    `ends` is the number of unique layers at each end. The trace's score `z` (token choice: `p0`, `p1`, ...) is recorded at
    each decision; a followed trace replaces the decisions, never the gates.
    """

    def __init__(self, model: Model, rule: Routing, ends: int = 0, kv: KV | None = None, trace: DepthTrace | None = None):
        super().__init__(model, kv, trace)
        self.rule, self.ends = rule, ends
        layout, r = model.config.layout, rule.recursions
        self.blocks = (len(layout) - 2 * ends) // r
        loop = layout[ends : ends + self.blocks]
        if not loop or layout != (*layout[:ends], *loop * r, *layout[len(layout) - ends :]):
            raise UserError(f"layout: must be {ends} + {r} x blocks + {ends} layers, but got {layout}")
        outputs, d = r if rule.rule == "token_choice" else 1, model.config.hidden
        for i in range(1 if rule.rule == "token_choice" else r):
            mlp = f"routers.{i}.up.weight" in model.weights
            shapes = {"up.weight": [2 * d, d], "down.weight": [outputs, 2 * d]} if mlp else {"weight": [outputs, d]}
            for name, want in ((f"routers.{i}.{n}", shape) for n, shape in shapes.items()):
                if name not in model.weights or list(model.weights[name].shape) != want:
                    got = list(model.weights[name].shape) if name in model.weights else "no such tensor"
                    raise UserError(f"weights: {name} must be {want}, but got {got}")

    def run(self, batch: Sequence[Rows]) -> list[torch.Tensor]:
        return [self.model.head(self.states(rows)) for rows in batch]

    def states(self, rows: Rows) -> torch.Tensor:
        """The residual stream [rows, hidden] after the last layer; records depths and scores."""
        if self.rule.rule == "top_k" and rows.start != 0:
            raise UserError("rule 'top_k' ranks a whole sequence at once; use 'threshold' to run a text in pieces")
        m, last = self.model, self.model.config.layers
        h = m.embed(rows.tokens)
        for layer in range(self.ends):
            h = run_layer(m, self.kv, rows.sequence, layer, h, rows.positions)
        h, depth = self._token_choice(rows, h) if self.rule.rule == "token_choice" else self._expert_choice(rows, h)
        for position, d in zip(rows.positions, depth.tolist(), strict=True):
            self.trace.finish(rows.sequence, position, d)
        for layer in range(last - self.ends, last):
            h = run_layer(m, self.kv, rows.sequence, layer, h, rows.positions)
        return h

    def router(self, r: int, h: torch.Tensor) -> torch.Tensor:
        """z [rows, outputs]."""
        w, name = self.model.weights, f"routers.{r}."
        if name + "up.weight" in w:
            return routing.mlp_router_logits(h, w[name + "up.weight"], w[name + "down.weight"], self.rule.temperature)
        return routing.router_logits(h, w[name + "weight"], self.rule.temperature)

    def _expert_choice(self, rows: Rows, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        active = torch.ones(len(h), dtype=torch.bool)
        depth = torch.zeros(len(h), dtype=torch.int64)
        for r in range(self.rule.recursions):
            z = self.router(r, h)[:, 0]
            w = routing.gate(z, self.rule.gate, self.rule.alpha)
            if self.rule.rule == "top_k":
                passed = routing.select_top_k(w, active, routing.capacity_rows(self.rule.capacities[r], len(h)))
            else:
                passed = routing.select_threshold(z, active, self.rule.thetas[r])
            for i in active.nonzero().flatten().tolist():
                position = rows.positions[i]
                active[i] = not self.trace.decide(rows.sequence, position, r, {"z": z[i]}, leave=not passed[i])
            if not active.any() and not (r == 0 and self.rule.kv == "share"):
                break
            f_h = self._recursion(rows, r, h, active)
            h = torch.where(active[:, None], routing.update(h, f_h, w, self.rule.gating), h)
            depth[active] = r + 1
        return h, depth

    def _token_choice(self, rows: Rows, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        e, _, p = routing.token_choice(self.router(0, h), self.rule.gate, self.rule.alpha, self.rule.bias)
        depth = torch.zeros_like(e)
        for i, position in enumerate(rows.positions):
            depth[i] = self.trace.choose(rows.sequence, position, {f"p{r}": p[i, r] for r in range(p.shape[1])}, int(e[i]) + 1)
            if not 1 <= depth[i] <= self.rule.recursions:
                raise UserError(f"trace: depth of position {position} is {depth[i]}, it must lie in [1, {self.rule.recursions}]")
        x = h
        for r in range(int(depth.max())):
            active = depth > r
            x = torch.where(active[:, None], self._recursion(rows, r, x, active), x)
        weight = p.gather(1, depth[:, None] - 1)[:, 0]
        return routing.update(h, x, weight, "weighted"), depth

    def _recursion(self, rows: Rows, r: int, h: torch.Tensor, active: torch.Tensor) -> torch.Tensor:
        """f_r of the active rows, h [rows, hidden] -> [rows, hidden]; NaN for rows that did not run it."""
        everyone = self.rule.kv == "share" and r == 0
        index = torch.arange(len(h)) if everyone else active.nonzero().flatten()
        positions = [rows.positions[i] for i in index.tolist()]
        x, first = h[index], self.ends + r * self.blocks
        seen = [j for j in range(rows.start) if self.trace.depth[rows.sequence, j] > r] + positions
        for j in range(self.blocks):
            if self.rule.kv == "skip":
                x = run_layer(self.model, self.kv, rows.sequence, first + j, x, positions, visible=lambda p: [j for j in seen if j <= p])
            elif r == 0:
                x = run_layer(self.model, self.kv, rows.sequence, first + j, x, positions)
            elif self.rule.update_cache:
                x = self._transient(rows.sequence, first + j, self.ends + j, x, positions)
            else:
                x = run_layer(self.model, self.kv, rows.sequence, first + j, x, positions, level=self.ends + j, fill=False)
        out = torch.full_like(h, math.nan)
        out[index] = x
        return out

    def _transient(self, sequence: int, layer: int, level: int, x: torch.Tensor, positions: list[int]) -> torch.Tensor:
        """A block whose own rows' new K,V stand in for what recursion 0 stored, for this call only."""
        q = self.model.queries(layer, x, positions)
        k, v = self.model.keys_values(layer, x, positions)
        self.kv.count("q", sequence, layer, positions)
        self.kv.count("kv", sequence, layer, positions)
        fresh = {p: (k[i], v[i]) for i, p in enumerate(positions)}
        y = []
        for i, position in enumerate(positions):
            entries = [fresh[j] if j in fresh else self.kv.read(sequence, level, j) for j in range(position + 1)]
            keys, values = (torch.stack(part) for part in zip(*entries, strict=True))
            y.append(attend(q[i], keys, values))
        return self.model.after_attention(layer, x, torch.stack(y))
