# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A bidirectional encoder that may answer early: a classifier on the mean of its states after every layer.

After layer l: p = mean over the text's tokens of norm_l(h), logits_l = W_l p + b_l. Criteria (DeeBERT's entropy, PABEE's
patience) decide for the whole text at once, so an exit here is of sequence scope.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from ..errors import UserError
from ..nn import LlamaBlock, RMSNorm, rope_rows


@dataclass(frozen=True)
class EncoderConfig:
    """Sizes are counts; `classes` is the number of labels. Every layer has an exit."""

    vocab: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    layers: int
    classes: int
    rope_theta: float = 10000.0
    eps: float = 1e-5

    def layer_macs(self) -> int:
        """Multiply-adds of one layer's linear maps for one token; one cost unit."""
        return self.hidden * self.head_dim * 2 * (self.heads + self.kv_heads) + 3 * self.hidden * self.ffn


class Encoder(nn.Module):
    """`states.L.norm` and `states.L.head` are the exit after layer L + 1."""

    def __init__(self, config: EncoderConfig):
        super().__init__()
        self.config = c = config
        self.model = nn.Module()
        self.model.embed_tokens = nn.Embedding(c.vocab, c.hidden)
        self.model.layers = nn.ModuleList(LlamaBlock(c.hidden, c.heads, c.kv_heads, c.head_dim, c.ffn, c.eps) for _ in range(c.layers))
        self.states = nn.ModuleList(nn.ModuleDict({"norm": RMSNorm(c.hidden, c.eps), "head": nn.Linear(c.hidden, c.classes)}) for _ in range(c.layers))
        nn.init.normal_(self.model.embed_tokens.weight, std=0.02)

    def forward(self, ids: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """ids i64 and `present` bool [batch, seq] (False: padding) -> logits [layers, batch, classes]."""
        c = self.config
        h, rope = self.model.embed_tokens(ids), rope_rows(torch.arange(ids.shape[1], device=ids.device), c.head_dim, c.rope_theta)
        mask = present[:, None, None, :]
        share = (present / present.sum(1, keepdim=True)).unsqueeze(-1)
        logits = []
        for layer, exit_point in zip(self.model.layers, self.states):
            h, _ = layer(h, mask, rope)
            logits.append(exit_point["head"]((exit_point["norm"](h) * share).sum(1)))
        return torch.stack(logits)

    def save(self, folder, dtype: torch.dtype = torch.float32) -> None:
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "ee_config.json").write_text(json.dumps(dataclasses.asdict(self.config), indent=2) + "\n")
        save_file({k: v.detach().to(dtype).contiguous() for k, v in self.state_dict().items()}, folder / "model.safetensors")

    @staticmethod
    def load(folder) -> "Encoder":
        folder = Path(folder)
        try:
            model = Encoder(EncoderConfig(**json.loads((folder / "ee_config.json").read_text())))
            model.load_state_dict({k: v.float() for k, v in load_file(folder / "model.safetensors").items()})
        except (OSError, ValueError, TypeError, RuntimeError, SafetensorError) as e:
            raise UserError(f"{folder}: no encoder: {' '.join(str(e).split())}") from None
        return model
