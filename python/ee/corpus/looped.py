# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Looped models whose rows halt: Ouro (cdf of gates, final norm after each loop) and Huginn (latent difference).

    Ouro    s_0 = embedding, s_r = N(core(s_(r-1))), three loops of two blocks; z_r = w . s_r + b, one gate for all loops;
            halts where cdf_r >= q (HaltCdf); logits = W s. Rows of the prompt are not enabled and run all loops
    Huginn  e = prelude(embedding), s_0 = the position's row of a stored table, s_r = core(W_a [s_(r-1); e]), four loops of one
            block; halts where |s_r - s_(r-1)| / |s_r| < epsilon (HaltDelta); logits = head(coda(s))
K,V of loop r for rows that halted before it, by fill: exact, propagate, copy (the last loop the row ran), skip (none), share
(loop 0, for all rows). `depth` i64 [B, S] counts loops.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from .. import nn
from ..reference.halting import Halting
from ..reference.looped import FILLS, Loop, Looped, Slots
from ..reference.model import Config, Model
from ..reference.trace import DepthTrace
from .answers import answer, followed
from .blocks import Block, SandwichBlock
from .cases import Answer, Case, Subject
from .decoder import BATCH, CONTEXT, PROMPT, SEQ, Decoder, Weights, after_prompt, between, config, load, texts

class OuroDecoder(Decoder):
    """Two blocks, three times."""

    def __init__(self, c: Config, loops: int, theta: float, fill: str, block: type = Block):
        super().__init__(c, block)
        self.gates = torch.nn.ModuleList([torch.nn.Linear(c.hidden, 1)])
        gates = [self.gates[0]] * (loops - 1)
        self.recurse = nn.Recurse(self.model.layers, loops, halt=nn.HaltCdf(theta), gates=gates, fill=fill, loop_norm=self.model.norm)

    def forward(self, input_ids: Tensor, enabled: Tensor) -> tuple[Tensor, Tensor]:
        h, mask, rope = self.begin(input_ids)
        out = self.recurse(h, mask, enabled=enabled, rope=rope)
        return self.lm_head(out.state), out.depth


class Core(torch.nn.Module):
    """A block on W_a [s; e], as the body of a recursion."""

    def __init__(self, adapter: torch.nn.Linear, block: torch.nn.Module):
        super().__init__()
        self.adapter, self.block = adapter, block

    def forward(self, s: Tensor, e: Tensor, mask: Tensor, rope: tuple[Tensor, Tensor], kv=None, active=None):
        return self.block(self.adapter(torch.cat([s, e], -1)), mask, rope, kv, active)


class HuginnDecoder(Decoder):
    """One block of prelude, one of core, one of coda."""

    def __init__(self, c: Config, loops: int, epsilon: float, fill: str):
        super().__init__(c)
        self.adapter = torch.nn.Linear(2 * c.hidden, c.hidden, bias=False)
        self.initial_state = torch.nn.Embedding(CONTEXT, c.hidden)
        self.recurse = nn.Recurse(Core(self.adapter, self.model.layers[1]), loops, halt=nn.HaltDelta(epsilon), fill=fill)

    def forward(self, input_ids: Tensor) -> tuple[Tensor, Tensor]:
        h, mask, rope = self.begin(input_ids)
        e = self.layer(0, h, mask, rope)
        initial = self.initial_state(torch.arange(input_ids.shape[1])).expand_as(e)
        out = self.recurse(initial, mask, e=e, rope=rope)
        return self.head(self.layer(self.config.layers - 1, out.state, mask, rope)), out.depth


def _subject(
    weights: Weights, module: Decoder, method: Callable[..., Looped], ids: np.ndarray, loops: int, theta: float, name: str,
    script: Callable[[np.ndarray], dict[str, np.ndarray]], settings: dict, enabled: bool,
) -> Subject:  # fmt: skip
    load(module, weights.tensors)

    def reference(depth: np.ndarray | None) -> Answer:
        return answer(method(DepthTrace(followed(depth))), ids, PROMPT, range(1, loops), name, [theta] * (loops - 1))

    table = np.random.default_rng(ids.sum()).integers(1, loops + 1, (BATCH, SEQ))
    inputs = {"input_ids": ids}
    if enabled:
        inputs["enabled"] = after_prompt()
        table[~inputs["enabled"]] = loops
    return Subject(weights.config, weights.seed, module, inputs, ("logits", "depth"), reference, table, script, {"loops": loops} | settings)


def ouro(fill: str, sandwich: bool = False) -> Subject:
    """theta is the logit of the quantile q."""
    loops, c = 3, config([0, 1] * 3)
    weights, ids = Weights(c, 81), texts(82)
    weights.add("gates.0.weight", (1, c.hidden), 0.25)
    weights.add("gates.0.bias", (1,), 0.1)
    for block in range(2 if sandwich else 0):
        for name in ("input_layernorm_2", "post_attention_layernorm_2"):
            weights.add(f"model.layers.{block}.{name}.weight", (c.hidden,), 0.1, mean=1.0)
    model, loop = Model(c, weights.tensors), Loop(blocks=2, loops=loops, norm_each_loop=True)
    asked = Looped(model, loop, Halting("gate", np.inf), prompt_exits=False)
    theta = between(answer(asked, ids, PROMPT, range(1, loops), "cdf", [0.0] * (loops - 1)).scores)

    def method(trace: DepthTrace) -> Looped:
        return Looped(model, loop, Halting("gate", theta), Slots(fill=fill), prompt_exits=False, trace=trace)

    def script(depth: np.ndarray) -> dict[str, np.ndarray]:
        return {f"script.{r}": np.where(depth <= r + 1, 30, -30).astype(np.float32) for r in range(loops - 1)}

    module = OuroDecoder(c, loops, theta, fill, SandwichBlock if sandwich else Block)
    settings = {"halting": "cdf", "theta": theta, "strict": False}
    return _subject(weights, module, method, ids, loops, theta, "cdf", script, settings, enabled=True)


def huginn(fill: str) -> Subject:
    """Prelude and coda of one layer; s_0 is normal noise, as in training, but stored by position."""
    loops, c = 4, config([0, 1, 1, 1, 1, 2])
    weights, ids = Weights(c, 91), texts(92)
    weights.add("adapter.weight", (c.hidden, 2 * c.hidden), 0.8 * (2 * c.hidden) ** -0.5)
    model, loop = Model(c, weights.tensors), Loop(prelude=1, blocks=1, loops=loops, coda=1)
    weights.add("initial_state.weight", (CONTEXT, c.hidden), 1.0)
    noise = weights.tensors["initial_state.weight"]

    def initial(sequence: int, positions: Sequence[int]) -> Tensor:
        return noise[list(positions)]

    asked = Looped(model, loop, Halting("difference", -1.0), initial=initial)
    epsilon = between(answer(asked, ids, 0, range(1, loops), "delta", [0.0] * (loops - 1)).scores)

    def method(trace: DepthTrace) -> Looped:
        return Looped(model, loop, Halting("difference", epsilon), Slots(fill=fill), initial=initial, trace=trace)

    def script(depth: np.ndarray) -> dict[str, np.ndarray]:
        return {f"script.{r}": np.where(depth <= r + 1, 1, -1).astype(np.float32) for r in range(loops - 1)}

    settings = {"halting": "delta", "epsilon": epsilon, "strict": True}
    return _subject(weights, HuginnDecoder(c, loops, epsilon, fill), method, ids, loops, epsilon, "delta", script, settings, enabled=False)


def cases() -> list[Case]:
    """Both models with five fills, and Ouro's own blocks."""
    found = [Case("ouro", fill, "cdf", partial(ouro, fill)) for fill in FILLS]
    found.append(Case("ouro", "exact", "cdf-sandwich", partial(ouro, "exact", True), (20,), variant=True))
    return found + [Case("huginn", fill, "delta", partial(huginn, fill)) for fill in FILLS]
