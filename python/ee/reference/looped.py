# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Looped models: p prelude layers, R loops of b core blocks, c coda layers; each row leaves the loop when it halts.

Sources as in `halting.py`; KV layouts from "Continuous Depth Batching".

  Ouro      no prelude, no coda; s_0 = embedding; s_r = N(core(s_{r-1})), N the final norm at the end of EVERY loop; gates and
            LM head see the normed state
  Huginn    e = prelude(embedding); s_0 given; s_r = core(W_a [s_{r-1}; e]), W_a = adapter.weight [d, 2d]; coda and head on the last s
            (the released Huginn also scales embeddings, norms residual sums and rotates pairs of neighbours: not its depth)

Unrolled layer p + r b + j is block j of loop r (0-based here). Its K,V go to level p + slot(r) b + j; the coda follows the slots:

  depth_indexed         slot r            nothing is overwritten
  single                slot 0            later rows see the last loop a row ran
  first_then_shared s   slot min(r, s-1)
  modulo k              slot r mod k

The last three overwrite, and need no fill as long as every row runs as many loops as there are slots, which is checked. In
a depth-indexed cache, rows that left after d loops are for loops r >= d (`fill`):

  exact       run on for their K,V alone; what they output is the state they left with
  propagate   K,V of each skipped layer from the frozen loop input (s_d, or W_a [s_d; e])
  copy        the entries of loop d - 1, copied (`last_exited`)
  skip        not there: loop r sees the positions j <= i with depth_j > r
  share       not needed: only loop 0, which all rows run, projects K,V, and every loop reads those (one slot)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from ..errors import UserError
from .generate import Method, Rows
from .halting import Halting, cdf_score, latent_difference
from .kv import KV, fill_layer, run_layer
from .model import EMBED, HEAD, Model
from .trace import DepthTrace

LAYOUTS = ("depth_indexed", "single", "first_then_shared", "modulo")
FILLS = ("exact", "propagate", "copy", "skip", "share")


@dataclass(frozen=True)
class Slots:
    """A KV layout. `count` is s of first_then_shared and k of modulo; `fill` belongs to depth_indexed alone."""

    layout: str = "depth_indexed"
    count: int = 1
    fill: str = "exact"

    def __post_init__(self):
        if self.layout not in LAYOUTS:
            raise UserError(f"KV layout is '{self.layout}', it must be one of {', '.join(LAYOUTS)}")
        if self.fill not in FILLS:
            raise UserError(f"KV fill is '{self.fill}', it must be one of {', '.join(FILLS)}")
        if self.count < 1:
            raise UserError(f"KV slot count is {self.count}, it must be at least 1")
        if self.count != 1 and self.layout not in ("first_then_shared", "modulo"):
            raise UserError(f"KV slot count is {self.count}, it goes with first_then_shared and modulo, not {self.layout}")
        if self.fill != "exact" and self.overwrites:
            raise UserError(f"KV fill is '{self.fill}', it goes with depth_indexed, not {self.layout}")

    @property
    def overwrites(self) -> bool:
        return self.layout != "depth_indexed"

    def number(self, loops: int) -> int:
        """How many slots each core block has."""
        if self.fill == "share":
            return 1
        return {"depth_indexed": loops, "single": 1}.get(self.layout, min(self.count, loops))

    def slot(self, r: int) -> int:
        """The slot that loop r (0-based) writes, if it writes, and reads."""
        return {
            "depth_indexed": 0 if self.fill == "share" else r,
            "single": 0,
            "first_then_shared": min(r, self.count - 1),
            "modulo": r % self.count,
        }[self.layout]


@dataclass(frozen=True)
class Loop:
    """Prelude layers, core blocks, coda layers and loops; `norm_each_loop` as in Ouro."""

    blocks: int
    loops: int
    prelude: int = 0
    coda: int = 0
    norm_each_loop: bool = False


class Looped(Method):
    """A looped model. `gates.{r}.weight` [1, d] and `.bias` [1] after loop r, or gates.0 alone for all (Ouro has one).

    `initial(sequence, positions)` gives s_0 [rows, d]; it goes with `adapter.weight`. Rows of the prompt may leave unless
    `prompt_exits` is off. The trace's scores after loop `at`: `gate` (z) and `cdf` (log-odds), or `delta`.
    """

    def __init__(
        self,
        model: Model,
        loop: Loop,
        halting: Halting = Halting(),
        slots: Slots = Slots(),
        *,
        initial: Callable[[int, Sequence[int]], torch.Tensor] | None = None,
        prompt_exits: bool = True,
        kv: KV | None = None,
        trace: DepthTrace | None = None,
    ):
        super().__init__(model, kv, trace)
        self.loop, self.halting, self.slots, self.initial, self.prompt_exits = loop, halting, slots, initial, prompt_exits
        layout, p = model.config.layout, loop.prelude
        core = layout[p : p + loop.blocks]
        if not core or loop.loops < 1 or layout != (*layout[:p], *core * loop.loops, *layout[len(layout) - loop.coda :]):
            raise UserError(f"layout: must be {p} + {loop.loops} x {loop.blocks} + {loop.coda} layers, but got {layout}")
        if ("adapter.weight" in model.weights) != (initial is not None):
            raise UserError("initial: must be given for a model with adapter.weight, and for no other")
        least = min(loop.loops, halting.min_loops + halting.delay)
        leaves = halting.rule != "never" or self.trace.script is not None
        if slots.overwrites and leaves and slots.number(loop.loops) > least:
            raise UserError(f"KV slot count is {slots.number(loop.loops)}, it must be at most the {least} loops every row runs")
        missing = [n for n in ("gates.0.weight", "gates.0.bias") if n not in model.weights]
        if halting.rule == "gate" and missing:
            raise UserError(f"weights: {missing[0]} must be there for halting rule 'gate'")

    def run(self, batch: Sequence[Rows]) -> list[torch.Tensor]:
        return [self.logits(self.states(rows)) for rows in batch]

    def logits(self, h: torch.Tensor) -> torch.Tensor:
        """[rows, d] -> [rows, vocab]; a state that ends a normed loop is not normed again."""
        if not self.loop.norm_each_loop or self.loop.coda:
            return self.model.head(h)
        return h @ self.model.weights[EMBED if self.model.config.tied else HEAD].T

    def states(self, rows: Rows) -> torch.Tensor:
        """What the head is applied to, [rows, d]; records depths and scores."""
        m, loop, sequence = self.model, self.loop, rows.sequence
        e = m.embed(rows.tokens)
        for layer in range(loop.prelude):
            e = run_layer(m, self.kv, sequence, layer, e, rows.positions)
        s = e if self.initial is None else self.initial(sequence, rows.positions).to(torch.float64)
        out, live = s.clone(), torch.ones(len(s), dtype=torch.bool)
        spent, history = torch.zeros(len(s), dtype=torch.float64), [[] for _ in s]
        for r in range(loop.loops):
            running = torch.ones_like(live) if self.slots.fill == "exact" and not self.slots.overwrites else live.clone()
            x = s if self.initial is None else torch.cat([s, e], -1) @ m.weights["adapter.weight"].T
            if self.slots.fill == "propagate":
                self._propagate(rows, r, x, ~live)
            new = s.clone()
            new[running] = self._core(rows, r, x[running], running)
            scores = self._scores(r, new, s, spent)
            s = new
            for i in live.nonzero().flatten().tolist():
                if self._leaves(rows, i, r + 1, {name: float(score[i]) for name, score in scores.items()}, history[i]):
                    live[i], out[i] = False, s[i]
                    self.trace.finish(sequence, rows.positions[i], r + 1)
                    if self.slots.fill == "copy":
                        self._copy(sequence, rows.positions[i], r)
        first = loop.prelude + self.slots.number(loop.loops) * loop.blocks
        for j in range(loop.coda):
            layer = loop.prelude + loop.loops * loop.blocks + j
            out = run_layer(m, self.kv, sequence, layer, out, rows.positions, level=first + j)
        return out

    def _core(self, rows: Rows, r: int, x: torch.Tensor, running: torch.Tensor) -> torch.Tensor:
        """Loop r on its running rows x [running, d]."""
        positions = [rows.positions[i] for i in running.nonzero().flatten().tolist()]
        visible = self._visible(rows, r, positions)
        for j in range(self.loop.blocks):
            layer, level = self._layer(r, j), self._level(r, j)
            x = run_layer(
                self.model, self.kv, rows.sequence, layer, x, positions, level=level, visible=visible,
                fill=r == 0 or self.slots.fill != "share", overwrite=self.slots.overwrites,
            )  # fmt: skip
        return self.model.final_norm(x) if self.loop.norm_each_loop else x

    def _visible(self, rows: Rows, r: int, positions: list[int]) -> Callable[[int], list[int]] | None:
        """Which keys a row sees in loop r: None is every position up to its own."""
        if self.slots.fill != "skip":
            return None
        seen = [j for j in range(rows.start) if self.trace.depth[rows.sequence, j] > r] + positions
        return lambda position: [j for j in seen if j <= position]

    def _layer(self, r: int, j: int) -> int:
        return self.loop.prelude + r * self.loop.blocks + j

    def _level(self, r: int, j: int) -> int:
        return self.loop.prelude + self.slots.slot(r) * self.loop.blocks + j

    def _propagate(self, rows: Rows, r: int, x: torch.Tensor, gone: torch.Tensor) -> None:
        positions = [rows.positions[i] for i in gone.nonzero().flatten().tolist()]
        for j in range(self.loop.blocks if positions else 0):
            fill_layer(self.model, self.kv, rows.sequence, self._layer(r, j), x[gone], positions, level=self._level(r, j))

    def _copy(self, sequence: int, position: int, r: int) -> None:
        for j in range(self.loop.blocks):
            entry = self.kv.read(sequence, self._level(r, j), position)
            for later in range(r + 1, self.loop.loops):
                self.kv.write(sequence, self._level(later, j), position, entry)

    def _scores(self, r: int, s: torch.Tensor, previous: torch.Tensor, spent: torch.Tensor) -> dict[str, torch.Tensor]:
        """Scores [rows] after loop r; adds the gate's softplus to `spent` in place."""
        if self.halting.rule == "never":
            return {}
        if self.halting.rule == "difference":
            return {"delta": latent_difference(s, previous)}
        w = self.model.weights
        gate = f"gates.{r}" if f"gates.{r}.weight" in w else "gates.0"
        z = (s @ w[gate + ".weight"].T + w[gate + ".bias"])[:, 0]
        spent += torch.nn.functional.softplus(z)
        return {"gate": z, "cdf": cdf_score(spent)}

    def _leaves(self, rows: Rows, i: int, at: int, scores: dict[str, float], history: list[float]) -> bool:
        """Row i has run `at` loops: decides, and records the decision. The last loop asks nobody."""
        history.extend(scores[name] for name in ("cdf", "delta") if name in scores)
        if at == self.loop.loops:
            return True
        if not self.halting.may_stop(at) or not (self.prompt_exits or rows.enabled[i]):
            return False
        return self.trace.decide(rows.sequence, rows.positions[i], at, scores, leave=self.halting.stops(history))
