# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A decoder of variable depth in torch: what is trained, and where exported weights come from.

Everything here computes whole sequences without a cache, dense: all rows run every layer, and a row that is not
active keeps its state (`kv_fill` says what deeper layers see of it). `routed.py` adds the gathered form for training.
"""

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from ..errors import UserError
from ..nn import functional as ops
from .config import ModelConfig
from .layers import LINEARS, Layer, Linear, RMSNorm, rotary


class LowRank(nn.Module):
    """B A of one linear map at one unrolled layer; starts at zero."""

    def __init__(self, inputs: int, outputs: int, rank: int):
        super().__init__()
        self.A = nn.Parameter(torch.randn(rank, inputs) / math.sqrt(inputs))
        self.B = nn.Parameter(torch.zeros(outputs, rank))


class Decoder(nn.Module):
    """Parameters carry the names of Hugging Face's Llama; `routers.R`, `gates.R`, `exits.K.probe`, `lora.L.NAME` are extras."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = c = config
        self.model = nn.Module()
        self.model.embed_tokens = nn.Embedding(c.vocab, c.hidden)
        self.model.layers = nn.ModuleList(Layer(c) for _ in range(c.physical_layers))
        self.model.norm = RMSNorm(c.hidden, c.eps)
        self.routers = nn.ModuleList(nn.Linear(c.hidden, 1, bias=False) for _ in range(c.recursions if c.router else 0))
        self.gates = nn.ModuleList(nn.Linear(c.hidden, 1) for _ in range(c.recursions - 1 if c.gates else 0))
        self.exits = nn.ModuleDict({str(k): nn.ModuleDict({"probe": nn.Linear(c.hidden, 1)}) for k in c.exits})
        self.lora = nn.ModuleList(
            nn.ModuleDict({name: LowRank(m.in_features, m.out_features, c.lora_rank) for name, m in self._linears(i)})
            for i in (c.layout if c.lora_rank else ())
        )
        self._initialise()

    def _linears(self, physical: int) -> list[tuple[str, Linear]]:
        return [(n.rpartition(".")[2], m) for n, m in self.model.layers[physical].named_modules() if n.rpartition(".")[2] in LINEARS]

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

    def exit_logits(self, h: torch.Tensor) -> torch.Tensor:
        """Logits of a state as `states` or `adaptive` yields it."""
        return F.linear(h, self.model.embed_tokens.weight) if self.config.loop_norm else self.head(h)

    def rope(self, positions: torch.Tensor):
        return rotary(positions, self.config.head_dim, self.config.rope_theta)

    def layer(self, unrolled: int, h, rope, mask, shared=None):
        """f(h) of one unrolled layer, and the K, V it used."""
        lora = {n: (m.A, m.B, self.config.lora_scale) for n, m in self.lora[unrolled].items()} if len(self.lora) else None
        return self.model.layers[self.config.layout[unrolled]](h, rope, mask, lora, shared)

    def begin(self, ids: torch.Tensor):
        """Embedded rows, their rotary angles and the causal mask of a whole sequence; ids [batch, seq]."""
        seq = ids.shape[1]
        positions = torch.arange(seq, device=ids.device)
        return self.model.embed_tokens(ids), self.rope(positions), positions[:, None] >= positions[None, :]

    def states(self, ids: torch.Tensor, skip: frozenset = frozenset()) -> Iterator[tuple[int, torch.Tensor]]:
        """(layers run, state) after each unrolled layer, all rows active; layers in `skip` are left out (layer dropout)."""
        for depth, h, _ in self._walk(ids, None, skip):
            yield depth, h

    def adaptive(self, ids: torch.Tensor, leave: Callable[[int, torch.Tensor], torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """The state [batch, seq, hidden] each row left with, and its depth [batch, seq] in layers.

        `leave(depth, state)` is asked at each exit point and says which rows [batch, seq] leave there; a row leaves
        once. What deeper layers see of a row that left is said by `kv_fill`."""
        kept = depths = None
        for depth, h, active in self._walk(ids, leave, frozenset()):
            if kept is None:
                kept, depths = h, torch.full_like(ids, depth)
            kept, depths = torch.where(active.unsqueeze(-1), h, kept), torch.where(active, depth, depths)
        return kept, depths

    def _walk(self, ids, leave, skip):
        """(layers run, state, rows that ran the last layer) after each unrolled layer.

        Selections are ops of `ai.adaptive`, so this very code is what is exported."""
        h, rope, mask = self.begin(ids)
        c, first = self.config, {}
        active = None if leave is None else torch.ones_like(ids, dtype=torch.bool)
        frozen = leave is not None and c.kv_fill != "exact"
        for l in range(c.depth):
            in_loop = c.prelude <= l < c.depth - c.coda
            if l not in skip:
                seen = self.visible(mask, active) if frozen and c.kv_fill == "skip" else mask
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

    @staticmethod
    def visible(mask: torch.Tensor, active: torch.Tensor) -> torch.Tensor:
        """Rows that are not active are invisible as keys: mask [seq, seq], active [batch, seq] -> [batch, 1, seq, seq]."""
        seen = ops.apply("ActiveMask", mask, active)
        if torch.compiler.is_exporting():
            return seen
        # A row that sees no key has an undefined result; it is selected away, but its gradient would not be.
        return seen | torch.eye(mask.shape[-1], dtype=torch.bool, device=mask.device)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Logits [batch, seq, vocab] at full depth."""
        for _, h in self.states(ids):
            pass
        return self.head(h) if self.config.coda or not self.config.loop_norm else self.exit_logits(h)

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

    def save(self, folder, narrow: bool = False) -> None:
        """ee_config.json and model.safetensors in `folder`; `narrow` stores the large matrices as bfloat16 (norms, routers,
        gates and probes stay float32)."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.config.save(folder / "ee_config.json")
        weights = {k: v.detach().to(torch.bfloat16 if narrow and self._narrow(k, v) else torch.float32) for k, v in self.state_dict().items()}
        save_file({k: v.contiguous() for k, v in weights.items()}, folder / "model.safetensors")

    @staticmethod
    def load(folder, device="cpu") -> "Decoder":
        folder = Path(folder)
        model = Decoder(ModelConfig.load(folder / "ee_config.json"))
        try:
            model.load_state_dict({k: v.float() for k, v in load_file(folder / "model.safetensors").items()})
        except (OSError, RuntimeError, SafetensorError) as e:
            raise UserError(f"{folder / 'model.safetensors'}: {' '.join(str(e).split())}") from None
        return model.to(device)
