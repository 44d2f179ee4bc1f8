# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""R applications of one body with shared weights, each row through as many of them as a router or a halting rule says.

Recursion r = 0 .. R-1 runs on the rows active_r [batch, seq]; h is [batch, seq, hidden], f the body.
  halting     active_0 = all; h_(r+1) = Keep(active_r, h_r, f(h_r)); active_(r+1) = rule(score of h_(r+1), active_r)
  routing     active_r = route(router_r(h_r), active_(r-1)); h_(r+1) = update(active_r, gate, h_r, f(h_r)), gate = activation(router_r(h_r))
  token choice  e = argmax_r of router(h_0), or of alpha * gate_r + bias_r, once; x_(r+1) = f(x_r) for r <= e; result h_0 + alpha * gate[e] * x_(e+1)
What later recursions see as K,V of a row that does not run them:
  propagate   what each block makes of the state the row kept: Keep after every block, so that such a row runs none of them
  skip        nothing: ActiveMask takes the row out of the keys
  share       the K,V of recursion 0, for every row; later recursions make none
  copy        the K,V of the last recursion the row ran (halting only)
  exact       those of the full-depth model: the body runs on unfrozen states, only the result is selected (halting only)
Sources: Mixture-of-Recursions (2507.10524), Ouro (2510.25741), Huginn (2502.05171), Relaxed Recursive Transformers (2410.20672).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..errors import UserError
from .modules import ActiveMask, GateWeighted, HaltCdf, HaltDelta, HaltThreshold, Keep, RouteTokenChoice

_ALWAYS = ("propagate", "skip", "share")
FILLS = {"halting": (*_ALWAYS, "copy", "exact"), "routing": _ALWAYS, "token choice": _ALWAYS}
ACTIVATIONS = {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "softmax": lambda z: z.softmax(-1), "none": lambda z: z}


class Recursed(NamedTuple):
    """`state` [batch, seq, hidden]; `depth` i64 [batch, seq], recursions run; `active`: one bool [batch, seq] per recursion;
    `scores`: what each decision was made on, in order ([batch, seq], or one [batch, seq, R] for token choice)."""

    state: Tensor
    depth: Tensor
    active: list[Tensor]
    scores: list[Tensor]


class _Lora(nn.Module):
    """B A x with A [rank, in], B [out, rank]; B starts at 0, so that it changes nothing."""

    def __init__(self, linear: nn.Linear, rank: int):
        super().__init__()
        self.A = nn.Parameter(torch.randn(rank, linear.in_features) / linear.in_features**0.5)
        self.B = nn.Parameter(torch.zeros(linear.out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.A.T @ self.B.T


class DepthLora(nn.Module):
    """y = W x + s B_l A_l x on the linears of shared blocks, one A, B per unrolled layer l = first + r * len(blocks) + i.

    Parameters are named `{l}.{linear}.A` and `.B`, linear = the last part of the module's name (q_proj ...). `scale` is s."""

    def __init__(self, blocks: Sequence[nn.Module], recursions: int, rank: int, targets: Sequence[str], scale: float = 1.0, first: int = 0):
        super().__init__()
        self.scale, self.first, self.targets = float(scale), first, tuple(targets)
        for i, block in enumerate(blocks):
            linears = self._linears(block)
            if missing := set(targets) - set(linears):
                raise UserError(f"targets: '{sorted(missing)[0]}' is not a linear of the body; it has {', '.join(sorted(linears))}")
            for r in range(recursions):
                self.add_module(str(first + r * len(blocks) + i), nn.ModuleDict({t: _Lora(linears[t], rank) for t in targets}))

    @staticmethod
    def _linears(block: nn.Module) -> dict[str, nn.Linear]:
        return {name.rpartition(".")[2]: m for name, m in block.named_modules() if isinstance(m, nn.Linear)}

    @contextmanager
    def applied(self, blocks: Sequence[nn.Module], recursion: int) -> Iterator[None]:
        """The blocks' linears are those of `recursion` inside. Hooks live no longer than that, so that copies of the model
        do not share them."""
        hooks = []
        for i, block in enumerate(blocks):
            linears, layer = self._linears(block), self.first + recursion * len(blocks) + i
            for target in self.targets:
                delta = self.get_submodule(f"{layer}.{target}")
                hooks.append(linears[target].register_forward_hook(lambda m, args, out, delta=delta: out + self.scale * delta(args[0])))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


class Recurse(nn.Module):
    """See the module's text. `blocks` are applied in order as the body; each is called as block(h, **context) or, with a
    mask, block(h, mask=mask, **context), and returns the state or (state, kv). Fills share and copy need blocks that
    take `kv` (and `active`) and return theirs, as `LlamaBlock` does.

    `halt` is HaltThreshold or HaltCdf (with `gates`: one Linear(hidden, 1) per decision, R - 1) or HaltDelta. `route` with
    `routers`: R routers for RouteThreshold / RouteTopK (one rule, or R of them), one router with R outputs for
    RouteTokenChoice. `update`: GateWeighted, GateAdditive or Keep. `loop_norm` is applied after each body (Ouro).
    `min_depth`: recursions every row runs (halting). `choice_bias` [R] balances token choice: it is added to alpha * gate where
    the depth is chosen and not where the update is weighted."""

    def __init__(
        self, blocks: nn.Module | Sequence[nn.Module], recursions: int, *, halt: nn.Module | None = None, gates: Sequence[nn.Module] = (),
        route: nn.Module | Sequence[nn.Module] | None = None, routers: Sequence[nn.Module] = (), update: nn.Module | None = None,
        activation: str = "sigmoid", fill: str = "propagate", loop_norm: nn.Module | None = None, lora: DepthLora | None = None, min_depth: int = 1,
        choice_bias: Tensor | None = None,
    ):  # fmt: skip
        super().__init__()
        self.blocks = nn.ModuleList([blocks] if isinstance(blocks, nn.Module) and not isinstance(blocks, nn.ModuleList) else blocks)
        self.recursions, self.fill, self.activation, self.min_depth = recursions, fill, activation, min_depth
        self.gates, self.routers = nn.ModuleList(gates), nn.ModuleList(routers)
        self.halt, self.loop_norm, self.lora = halt, loop_norm, lora
        self.kind = "halting" if route is None else "token choice" if isinstance(route, RouteTokenChoice) else "routing"
        self.route = nn.ModuleList([] if route is None else route if isinstance(route, (list, tuple, nn.ModuleList)) else [route] * recursions)
        self.update = update or (GateWeighted(1.0) if self.kind == "token choice" else GateWeighted())
        self.keep, self.active_mask = Keep(), ActiveMask()
        self.register_buffer("choice_bias", choice_bias)
        self._check(route)

    def _check(self, route) -> None:
        decisions = self.recursions - 1
        if self.recursions < 1:
            raise UserError(f"recursions is {self.recursions}, expected at least 1")
        if self.fill not in FILLS[self.kind]:
            raise UserError(f"fill '{self.fill}' is not one of {', '.join(FILLS[self.kind])}, which {self.kind} has")
        if self.activation not in ACTIVATIONS:
            raise UserError(f"activation '{self.activation}' is not one of {', '.join(ACTIVATIONS)}")
        if self.halt is not None and route is not None:
            raise UserError("halt and route were both given; a recursion has one of them")
        if isinstance(self.halt, (HaltThreshold, HaltCdf)) and len(self.gates) != decisions:
            raise UserError(f"gates: {len(self.gates)} given, {type(self.halt).__name__} over {self.recursions} recursions needs {decisions}")
        needed = {"halting": 0, "routing": self.recursions, "token choice": 1}[self.kind]
        if len(self.routers) != needed or (self.kind == "routing" and len(self.route) != self.recursions):
            raise UserError(f"routers: {len(self.routers)} given, {self.kind} over {self.recursions} recursions needs {needed} and as many rules or one")
        if self.choice_bias is not None and (self.kind != "token choice" or list(self.choice_bias.shape) != [self.recursions]):
            raise UserError(f"choice_bias is for token choice and has one entry per recursion ({self.recursions})")
        deepest = self.recursions if self.kind == "halting" else 1
        if not 1 <= self.min_depth <= deepest:
            raise UserError(f"min_depth {self.min_depth} is outside 1..{deepest} for {self.kind}")

    def _body(self, r: int, h: Tensor, mask: Tensor | None, active: Tensor, kv: list, context: dict) -> Tensor:
        """f(h) of recursion r. `kv` holds what the blocks returned last and is replaced where the fill says so."""
        if mask is not None:
            partial = self.fill == "skip" and (r or self.kind != "halting")  # a halting loop starts with all rows
            context = {**context, "mask": self.active_mask(mask, active) if partial else mask}
        frozen = self.fill == "propagate" and (self.kind == "routing" or (r > 0 and self.halt is not None))
        with nullcontext() if self.lora is None else self.lora.applied(self.blocks, r):
            for i, block in enumerate(self.blocks):
                earlier = {}
                if r and self.fill in ("share", "copy"):
                    earlier = {"kv": kv[i]} if self.fill == "share" else {"kv": kv[i], "active": active}
                out = block(h, **context, **earlier)
                before, (h, made) = h, out if isinstance(out, tuple) else (out, None)
                if frozen and i + 1 < len(self.blocks):  # after the last one, the caller keeps or updates
                    h = self.keep(active, before, h)
                if made is None and self.fill in ("share", "copy"):
                    raise UserError(f"fill '{self.fill}' needs blocks that return (state, kv); {type(block).__name__} returns the state alone")
                kv[i] = kv[i] if r and self.fill == "share" else made
        return h if self.loop_norm is None else self.loop_norm(h)

    def forward(self, h: Tensor, mask: Tensor | None = None, *, enabled: Tensor | None = None, script: Tensor | None = None, **context) -> Recursed:
        """`mask` bool [Q, K] or [B or 1, N or 1, Q, K]. `enabled` bool [batch, seq]: rows that may halt early (halting).
        `script` f32 [batch, seq, decisions] replaces the scores that decide (R - 1 for halting, else R; for HaltDelta a row
        stops where it is >= 0); gates of updates still use the routers."""
        if enabled is not None and self.kind != "halting":
            raise UserError(f"enabled was given, but {self.kind} has no early halt")
        if mask is None and self.fill == "skip":
            raise UserError("fill 'skip' needs the attention mask, to take rows out of the keys")
        everyone = torch.ones(h.shape[:-1], dtype=torch.bool, device=h.device)
        run = {"halting": self._halting, "routing": self._routing, "token choice": self._token_choice}[self.kind]
        state, active, scores = run(h, mask, everyone, enabled, script, context)
        return Recursed(state, sum(a.to(torch.int64) for a in active), active, scores)

    def _goes_on(self, r: int, h: Tensor, before: Tensor, running: Tensor, log_survival: Tensor, script, scores: list):
        """The halting rule after recursion r: (still running, new log survival)."""
        if isinstance(self.halt, HaltDelta):
            if script is None:
                return self.halt(h, before, running), log_survival
            rule = HaltThreshold(0.0)
        else:
            rule = self.halt
        scores.append(self.gates[r](h).squeeze(-1) if script is None else script[..., r])
        if isinstance(rule, HaltCdf):
            return rule(scores[-1], log_survival, running)
        return rule(scores[-1], running), log_survival

    def _halting(self, h, mask, everyone, enabled, script, context):
        running, active, scores, kv = everyone, [], [], [None] * len(self.blocks)
        log_survival, out = torch.zeros(h.shape[:-1], device=h.device), h
        for r in range(self.recursions):
            active.append(running)
            before, f = h, self._body(r, h, mask, running, kv, context)
            out = self.keep(running, out, f) if r and self.halt is not None else f
            h = f if self.fill == "exact" else out
            if self.halt is not None and r < self.recursions - 1:
                still, log_survival = self._goes_on(r, h, before, running, log_survival, script, scores)
                if r + 1 >= self.min_depth:
                    running = still if enabled is None else still | (running & ~enabled)
        return out, active, scores

    def _updated(self, active: Tensor, gate: Tensor, h: Tensor, f: Tensor) -> Tensor:
        return self.update(active, gate, h, f) if isinstance(self.update, GateWeighted) else self.update(active, h, f)

    def _routing(self, h, mask, everyone, enabled, script, context):
        selected, active, scores, kv = everyone, [], [], [None] * len(self.blocks)
        for r in range(self.recursions):
            z = self.routers[r](h)
            scores.append(z if script is None else script[..., r])
            selected = self.route[r](scores[-1], selected)
            active.append(selected)
            h = self._updated(selected, ACTIVATIONS[self.activation](z), h, self._body(r, h, mask, selected, kv, context))
        return h, active, scores

    def _token_choice(self, h, mask, everyone, enabled, script, context):
        z = self.routers[0](h)
        gates = ACTIVATIONS[self.activation](z)
        scores = z if script is None else script
        if script is None and self.choice_bias is not None:
            scores = getattr(self.update, "alpha", 1.0) * gates + self.choice_bias
        out, x, active, kv = h, h, [], [None] * len(self.blocks)
        for r in range(self.recursions):
            selected, last = self.route[0](scores, torch.tensor(r, device=h.device))
            active.append(selected)
            x = self.keep(selected, x, self._body(r, x, mask, selected, kv, context))
            out = self._updated(last, gates[..., r], out, x)
        return out, active, [scores]
