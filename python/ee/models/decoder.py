# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A decoder of variable depth in torch: what is trained, and where exported weights come from.

Everything here computes whole sequences without a cache, dense: all rows run every layer, and a row that is not
active keeps its state (`kv_fill` says what deeper layers see of it). `routed.py` adds the gathered form for training.
"""

import math
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import nn

from ..nn import DepthLora, LlamaBlock, RMSNorm, functional as ops, rope_rows
from . import folder
from .config import ModelConfig

LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class Decoder(nn.Module):
    """Parameters carry the names of Hugging Face's Llama; `routers.R`, `gates.R`, `exits.K.probe`, `lora.L.NAME` are extras."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = c = config
        self.model = nn.Module()
        self.model.embed_tokens = nn.Embedding(c.vocab, c.hidden)
        self.model.layers = nn.ModuleList(LlamaBlock(c.hidden, c.heads, c.kv_heads, c.head_dim, c.ffn, c.eps) for _ in range(c.physical_layers))
        self.model.norm = RMSNorm(c.hidden, c.eps)
        self.routers = nn.ModuleList(nn.Linear(c.hidden, 1, bias=False) for _ in range(c.recursions if c.router else 0))
        self.gates = nn.ModuleList(nn.Linear(c.hidden, 1) for _ in range(c.recursions - 1 if c.gates else 0))
        self.exits = nn.ModuleDict({str(k): nn.ModuleDict({"probe": nn.Linear(c.hidden, 1)}) for k in c.exits})
        self.lora = DepthLora(self._block(), c.recursions, c.lora_rank, LINEARS, c.lora_scale, c.prelude) if c.lora_rank else None
        self._initialise()

    def _block(self) -> list[LlamaBlock]:
        """The shared block's layers."""
        return list(self.model.layers[self.config.prelude : self.config.prelude + self.config.block])

    def _initialise(self) -> None:
        """Normal weights, smaller where a map writes into the residual stream, by the number of writes a row sees."""
        for name, p in self.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                nn.init.normal_(p, std=0.02 / math.sqrt(2 * self.config.depth))
            elif name.startswith("model.") and p.ndim == 2:
                nn.init.normal_(p, std=0.02)
            elif name.startswith("gates") or ".probe." in name:
                nn.init.zeros_(p)

    def head(self, h: torch.Tensor) -> torch.Tensor:
        """Logits [.., vocab] of states that the final norm has not seen."""
        return F.linear(self.model.norm(h), self.model.embed_tokens.weight)

    def exit_norm(self, h: torch.Tensor) -> torch.Tensor:
        """What the LM head reads, of a state as `states` or `adaptive` yields it: loops may have normed it already."""
        return h if self.config.loop_norm else self.model.norm(h)

    def exit_logits(self, h: torch.Tensor) -> torch.Tensor:
        """Logits of such a state."""
        return F.linear(self.exit_norm(h), self.model.embed_tokens.weight)

    def rope(self, positions: torch.Tensor):
        return rope_rows(positions, self.config.head_dim, self.config.rope_theta)

    def layer(self, unrolled: int, h, rope, mask, shared=None):
        """f(h) of one unrolled layer, and the K, V it used (before their rotation)."""
        c = self.config
        layer, r = self.model.layers[c.layout[unrolled]], (unrolled - c.prelude) // c.block
        if self.lora is None or not c.prelude <= unrolled < c.depth - c.coda:
            return layer(h, mask, rope, shared)
        with self.lora.applied(self._block(), r):
            return layer(h, mask, rope, shared)

    def begin(self, ids: torch.Tensor):
        """Embedded rows, their rotary angles and the causal mask of a whole sequence; ids [batch, seq]."""
        seq = ids.shape[1]
        positions = torch.arange(seq, device=ids.device)
        return self.model.embed_tokens(ids), self.rope(positions), positions[:, None] >= positions[None, :]

    def states(self, ids: torch.Tensor, skip: frozenset = frozenset()) -> Iterator[tuple[int, torch.Tensor]]:
        """(layers run, state) after each unrolled layer, all rows active; layers in `skip` are left out (layer dropout)."""
        for depth, h, _ in self.walk(ids, None, skip):
            yield depth, h

    def adaptive(self, ids: torch.Tensor, leave: Callable[[int, torch.Tensor], torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """The state [batch, seq, hidden] each row left with, and its depth [batch, seq] in layers.

        `leave(depth, state)` is asked at each exit point and says which rows [batch, seq] leave there; a row leaves
        once. What deeper layers see of a row that left is said by `kv_fill`."""
        kept = depths = None
        for depth, h, active in self.walk(ids, leave):
            if kept is None:
                kept, depths = h, torch.full_like(ids, depth)
            kept, depths = torch.where(active.unsqueeze(-1), h, kept), torch.where(active, depth, depths)
        return kept, depths

    def walk(self, ids: torch.Tensor, leave=None, skip: frozenset = frozenset()):
        """(layers run, state, rows that ran the last layer) after each unrolled layer.

        Selections are ops of `ai.adaptive`, so this very code is what is exported."""
        h, rope, mask = self.begin(ids)
        c, first = self.config, {}
        active = None if leave is None else torch.ones_like(ids, dtype=torch.bool)
        frozen = leave is not None and c.kv_fill != "exact"
        for l in range(c.depth):
            in_loop = c.prelude <= l < c.depth - c.coda
            if l not in skip:
                seen = ops.apply("ActiveMask", mask, active) if frozen and c.kv_fill == "skip" else mask
                slot = (l - c.prelude) % c.block if in_loop and c.kv_fill == "share" else None
                out, used = self.layer(l, h, rope, seen, first.get(slot))
                if slot is not None:
                    first.setdefault(slot, used)
                h = ops.apply("Keep", active, h, out) if frozen else out
            if c.loop_norm and in_loop and (l + 1 - c.prelude) % c.block == 0:
                out = self.model.norm(h)
                h = ops.apply("Keep", active, h, out) if frozen else out
            yield l + 1, h, active
            if active is not None and l + 1 in c.exits:
                active = active & ~leave(l + 1, h)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Logits [batch, seq, vocab] at full depth."""
        for _, h in self.states(ids):
            pass
        return self.head(h) if self.config.coda else self.exit_logits(h)

    @torch.no_grad()
    def round_matrices(self) -> "Decoder":
        """Matrices of layers, embedding and low-rank terms to the nearest bfloat16, in place: what `save(narrow=True)` keeps."""
        for name, p in self.named_parameters():
            if self._narrow(name, p):
                p.copy_(p.bfloat16())
        return self

    @staticmethod
    def _narrow(name: str, p: torch.Tensor) -> bool:
        return p.ndim == 2 and name.startswith(("model.", "lora."))

    def save(self, path, narrow: bool = False) -> None:
        """ee_config.json and model.safetensors in the folder `path`; `narrow` stores the large matrices as bfloat16 (norms, routers,
        gates and probes stay float32)."""
        weights = {k: v.to(torch.bfloat16 if narrow and self._narrow(k, v) else torch.float32) for k, v in self.state_dict().items()}
        folder.save(path, self.config, weights)

    @staticmethod
    def load(path) -> "Decoder":
        return folder.load(path, ModelConfig, Decoder)
