# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A bidirectional encoder that may answer early: a classifier on the mean of its states after every layer.

After layer l: p = mean over the text's tokens of norm_l(h), logits_l = W_l p + b_l. Criteria (DeeBERT's entropy, PABEE's
patience) decide for the whole text at once, so an exit here is of sequence scope.
"""

from dataclasses import dataclass

import torch
from torch import nn

from ..nn import LlamaBlock, RMSNorm, rope_rows
from ..errors import UserError
from ..sizes import check_sizes, check_types
from . import folder


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

    def __post_init__(self):
        check_types(self)
        check_sizes(self, ("layers",))
        if self.classes < 0:
            raise UserError(f"classes: must be at least 0, but got {self.classes}")


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

    def save(self, path) -> None:
        folder.save(path, self.config, self.state_dict())

    @staticmethod
    def load(path) -> "Encoder":
        return folder.load(path, EncoderConfig, Encoder)
