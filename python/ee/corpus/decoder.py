# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What all torch modules of the corpus share: a Llama decoder out of `ee.nn`, its weights, sizes, texts and thresholds.

B batch, S sequence, d hidden, V vocabulary. Weights are random, made by `ee.reference` in float64 and rounded to float32
once, so that the module and the reference have the same numbers.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from .. import nn
from ..errors import UserError
from ..reference.model import Config, random_weights
from .blocks import Block

BATCH, SEQ, PROMPT, CONTEXT = 2, 16, 3, 24
SIZES = {"vocab": 61, "hidden": 32, "heads": 4, "kv_heads": 2, "head_dim": 8, "ffn": 48}


def config(layout: Sequence[int], **more) -> Config:
    """The sizes of every model here, with `layout[l]` the physical block of unrolled layer l."""
    return Config(**SIZES, layout=tuple(layout), **more)


class Weights:
    """Weights of a reference model as float32 numbers, kept as float64 tensors; `add` draws more from the same seed."""

    def __init__(self, c: Config, seed: int, **more):
        self.config, self.seed, self.rng, self.tensors = c, seed, np.random.default_rng(seed + 1), {}
        self.update(random_weights(c, seed, **more))

    def update(self, tensors: Mapping[str, Tensor]) -> None:
        self.tensors |= {n: t.to(torch.float32).to(torch.float64).contiguous() for n, t in tensors.items()}

    def add(self, name: str, shape: Sequence[int], scale: float, mean: float = 0.0) -> None:
        """Normal numbers with the given standard deviation and mean."""
        self.update({name: torch.from_numpy(mean + scale * self.rng.standard_normal(tuple(shape)))})


def load(module: torch.nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copies tensors into the parameters of the same names; each must have a place, and each parameter a tensor."""
    own = dict(module.named_parameters(remove_duplicate=False))
    given = set()
    with torch.no_grad():
        for name, tensor in weights.items():
            if name not in own or own[name].shape != tensor.shape:
                raise UserError(f"weights: {name} {list(tensor.shape)} has no place in {type(module).__name__}")
            own[name].copy_(tensor)
            given.add(id(own[name]))
    if missing := [name for name, p in own.items() if id(p) not in given]:
        raise UserError(f"weights: {missing[0]} of {type(module).__name__} is not given")


class _Stack(torch.nn.Module):
    def __init__(self, c: Config, block):
        super().__init__()
        self.embed_tokens = torch.nn.Embedding(c.vocab, c.hidden)
        sizes = (c.hidden, c.heads, c.kv_heads, c.head_dim, c.ffn, c.eps)
        self.layers = torch.nn.ModuleList(block(*sizes) for _ in range(max(c.layout) + 1))
        self.norm = nn.RMSNorm(c.hidden, c.eps)


class Decoder(torch.nn.Module):
    """Embedding, blocks, final norm and head, with the parameter names of a Hugging Face Llama. `lora` are the unrolled layers
    (consecutive), the rank and the linears that get a LoRA."""

    def __init__(self, c: Config, block=Block, lora: tuple[range, int, Sequence[str]] | None = None):
        super().__init__()
        self.config, self.model = c, _Stack(c, block)
        self.lm_head = torch.nn.Linear(c.hidden, c.vocab, bias=False)
        if c.tied:
            self.lm_head.weight = self.model.embed_tokens.weight
        self.lora_layers = () if lora is None else lora[0]
        if lora is not None:
            blocks = [self.model.layers[c.layout[l]] for l in lora[0]]
            self.lora = nn.DepthLora(blocks, 1, lora[1], lora[2], scale=c.lora_scale, first=lora[0].start)
        cos, sin = nn.rope_tables(CONTEXT, c.head_dim, c.rope_theta)
        self.register_buffer("rope_cos", cos, persistent=False)
        self.register_buffer("rope_sin", sin, persistent=False)

    def begin(self, ids: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        """ids i64 [B, S] -> embedding [B, S, d], causal mask bool [S, S], rotary tables of these positions."""
        positions = torch.arange(ids.shape[1])
        return (
            self.model.embed_tokens(ids),
            nn.causal_mask(positions),
            tuple(t.index_select(0, positions) for t in (self.rope_cos, self.rope_sin)),
        )

    def layer(self, l: int, h: Tensor, mask: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
        """Unrolled layer l."""
        block = self.model.layers[self.config.layout[l]]
        return block(h, mask, rope, lora=(self.lora, l - self.lora.first) if l in self.lora_layers else None)[0]

    def head(self, h: Tensor) -> Tensor:
        """[.., d] -> [.., V]."""
        return self.lm_head(self.model.norm(h))


def texts(seed: int, vocab: int = SIZES["vocab"]) -> np.ndarray:
    """Random token ids i64 [B, S]."""
    return np.random.default_rng(seed).integers(0, vocab, (BATCH, SEQ))


def after_prompt() -> np.ndarray:
    """`enabled` bool [B, S]: all rows but the first PROMPT ones."""
    return np.broadcast_to(np.arange(SEQ) >= PROMPT, (BATCH, SEQ)).copy()


def between(scores: np.ndarray) -> float:
    """A threshold that parts the scores and keeps clear of them: the middle of the widest gap in their middle half."""
    s = np.sort(np.asarray(scores, np.float64).ravel())
    s = s[~np.isnan(s)]
    first = len(s) // 4
    i = first + int(np.argmax(np.diff(s[first : len(s) - first])))
    return float(np.float32((s[i] + s[i + 1]) / 2))
