# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Mixture-of-Depths: in some layers only routed rows run the block, the others pass by on the residual stream.

Source: "Mixture-of-Depths: Dynamically allocating compute in transformer-based language models". Routed layers are every second
one (1, 3, ...) by default; m = 0, 1, ... counts them. Router z_m = routers.{m}.weight . h, [1, d], on the layer's input h.

  top_k       the k = max(1, int(capacity * T)) rows of largest z over the WHOLE sequence, kept in order; a training rule, not causal
  threshold   z_m > theta_m (strict, logits; what a BCE loss on "was selected" makes of the router), or, where the weights have
              predictors.{m}.weight [1, d] and .bias [1], predictor_m . h + bias > theta_m: the small causal predictor of the rule

  update      "branch": h + w (f(h) - h), the paper's formula, its f being the block without its outer residual;
              "block": h + w f(h), the form of Mixture-of-Recursions and of much code; w = gate(z) = z (raw, the paper's), alpha
              sigma(z) or alpha tanh(z)

Layers decide independently: a row skipped by one routed layer may run the next. Rows that skip a layer have no K,V there, so a
query sees the positions j <= i that layer selected. Depth = layers run, plain ones included.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from ..errors import UserError
from . import routing
from .generate import Method, Rows
from .kv import KV, run_layer
from .model import Model
from .trace import DepthTrace, Row


@dataclass(frozen=True)
class DepthRouting:
    """`routed`: the routed layers, () for every second one. `capacity` serves top_k, `thetas` (default 0 each) threshold."""

    routed: tuple[int, ...] = ()
    rule: str = "threshold"
    capacity: float = 0.125
    thetas: tuple[float, ...] = ()
    gate: str = "raw"
    alpha: float = 1.0
    update: str = "branch"

    def __post_init__(self):
        for name, accepted in (("rule", ("threshold", "top_k")), ("gate", routing.GATE_FUNCTIONS), ("update", ("branch", "block"))):
            if getattr(self, name) not in accepted:
                raise UserError(f"{name} is '{getattr(self, name)}', it must be one of {', '.join(accepted)}")
        if not 0 < self.capacity <= 1:
            raise UserError(f"capacity is {self.capacity}, it must lie in (0, 1]")


class MixtureOfDepths(Method):
    """One model under one routing. `selected[sequence, position]` has a bool per routed layer; the trace has score `z` at m.

    `script` gives such tuples for rows whose decisions are forced. A depth trace cannot be followed: a number of layers does
    not say which ones.
    """

    def __init__(
        self,
        model: Model,
        rule: DepthRouting,
        *,
        script: Mapping[Row, Sequence[bool]] | None = None,
        kv: KV | None = None,
        trace: DepthTrace | None = None,
    ):
        super().__init__(model, kv, trace)
        self.rule, self.script, layers = rule, script, model.config.layers
        self.routed = rule.routed or tuple(range(1, layers, 2))
        self.thetas = rule.thetas or (0.0,) * len(self.routed)
        self.selected: dict[Row, tuple[bool, ...]] = {}
        if list(self.routed) != sorted(set(self.routed)) or not all(0 <= layer < layers for layer in self.routed):
            raise UserError(f"routed is {list(self.routed)}, it must be ascending layers in [0, {layers})")
        if len(self.thetas) != len(self.routed):
            raise UserError(f"thetas has {len(self.thetas)} entries, it must have one per routed layer, {len(self.routed)}")
        if self.trace.script is not None:
            raise UserError("trace: a depth does not say which layers ran; give the decisions as `script`")
        missing = [m for m in range(len(self.routed)) if f"routers.{m}.weight" not in model.weights]
        if missing:
            raise UserError(f"weights: routers.{missing[0]}.weight must be there for routed layer {self.routed[missing[0]]}")

    def run(self, batch: Sequence[Rows]) -> list[torch.Tensor]:
        return [self.model.head(self.states(rows)) for rows in batch]

    def states(self, rows: Rows) -> torch.Tensor:
        """The residual stream [rows, hidden] after the last layer."""
        if self.rule.rule == "top_k" and rows.start != 0:
            raise UserError("rule 'top_k' ranks a whole sequence at once; use 'threshold' to run a text in pieces")
        h, taken = self.model.embed(rows.tokens), []
        for layer in range(self.model.config.layers):
            if layer not in self.routed:
                h = run_layer(self.model, self.kv, rows.sequence, layer, h, rows.positions)
                continue
            m = len(taken)
            z = routing.router_logits(h, self.model.weights[f"routers.{m}.weight"])[:, 0]
            taken.append(self._decide(rows, m, z, h))
            h = self._routed(rows, layer, m, h, z, taken[m])
        plain = self.model.config.layers - len(self.routed)
        for i, position in enumerate(rows.positions):
            self.selected[rows.sequence, position] = tuple(bool(mask[i]) for mask in taken)
            self.trace.finish(rows.sequence, position, plain + sum(self.selected[rows.sequence, position]))
        return h

    def truncate(self, sequence: int, length: int) -> None:
        super().truncate(sequence, length)
        for row in [r for r in self.selected if r[0] == sequence and r[1] >= length]:
            del self.selected[row]

    def _decide(self, rows: Rows, m: int, z: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        """Bool [rows]: which rows run routed layer m."""
        everyone, weights = torch.ones(len(z), dtype=torch.bool), self.model.weights
        if self.rule.rule == "top_k":
            passed = routing.select_top_k(z, everyone, routing.capacity_rows(self.rule.capacity, len(z)))
        else:
            score = z
            if f"predictors.{m}.weight" in weights:
                score = (h @ weights[f"predictors.{m}.weight"].T + weights[f"predictors.{m}.bias"])[:, 0]
            passed = routing.select_threshold(score, everyone, self.thetas[m])
        for i, position in enumerate(rows.positions):
            self.trace.decide(rows.sequence, position, m, {"z": z[i]}, leave=not passed[i])
        if self.script is None:
            return passed
        missing = [p for p in rows.positions if (rows.sequence, p) not in self.script]
        if missing:
            raise UserError(f"script: must give decisions for sequence {rows.sequence}, position {missing[0]}; it has none")
        return torch.tensor([bool(self.script[rows.sequence, p][m]) for p in rows.positions])

    def _routed(self, rows: Rows, layer: int, m: int, h: torch.Tensor, z: torch.Tensor, taken: torch.Tensor) -> torch.Tensor:
        index = taken.nonzero().flatten()
        positions = [rows.positions[i] for i in index.tolist()]
        seen = [j for j in range(rows.start) if self.selected[rows.sequence, j][m]] + positions
        x = h[index]
        f_x = run_layer(
            self.model, self.kv, rows.sequence, layer, x, positions, visible=lambda position: [j for j in seen if j <= position]
        )
        w = routing.gate(z[index], self.rule.gate, self.rule.alpha)
        out = h.clone()
        out[index] = routing.update(x, f_x - x if self.rule.update == "branch" else f_x, w, "weighted")
        return out
