# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A checkpoint turned into a Relaxed Recursive Transformer: shared blocks with a low-rank term per depth.

The maps and initialisations are the reference's (`ee.reference.recursive`); here they fill a trainable `Decoder`, and a
short uptraining lets the shared weights and the low-rank terms settle, with the source model as teacher.
"""

import dataclasses
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F

from ..checkpoint import LlamaConfig
from ..errors import UserError
from ..models import Decoder, ModelConfig
from ..reference.recursive import Sharing, recursive_weights, relax, sharing
from .objectives import cross_entropy

PATTERNS = {"cycle": 0, "middle_cycle": 1}


def recursive_config(source: LlamaConfig, recursions: int, rank: int, pattern: str) -> tuple[ModelConfig, Sharing]:
    """The shape of the recursive model, and which of the source's layers share. Exits lie at the ends of all recursions but the last."""
    if pattern not in PATTERNS:
        raise UserError(f"pattern '{pattern}' is not one of {', '.join(PATTERNS)}: a shared block has to be one run of layers")
    if not source.tied or source.qkv_bias or source.o_bias or source.mlp_bias:
        raise UserError("the source has an LM head of its own or biases; a recursive model is made of a tied one without biases")
    maps, ends = sharing(pattern, source.layers, recursions), PATTERNS[pattern]
    block = (max(maps.layout) + 1) - 2 * ends
    # At ends of recursions, and not where only the coda follows.
    exits = tuple(ends + block * (r + 1) for r in range(recursions - 1))
    return ModelConfig(
        source.vocab, source.hidden, source.heads, source.kv_heads, source.head_dim, source.ffn, block, recursions,
        prelude=ends, coda=ends, rope_theta=source.rope_theta, eps=source.eps, exits=exits, lora_rank=rank,
    ), maps  # fmt: skip


def convert(
    weights: Mapping, source: LlamaConfig, recursions: int, rank: int, pattern: str = "middle_cycle", init: str = "average", seed: int = 0
) -> Decoder:
    """A `Decoder` of the source's layers run as `recursions` loops over shared ones, differences kept to `rank` by SVD.

    `weights` maps Hugging Face names to tensors. Norm gains are folded into the linear maps first, so that full rank
    reproduces the source. `seed` is that of the initialisation `random`."""
    config, maps = recursive_config(source, recursions, rank, pattern)
    shared = recursive_weights(weights, maps, init, fold=True, seed=seed)
    lora, _ = relax(weights, shared, maps, rank) if rank else ({}, None)
    model = Decoder(config)
    own = model.state_dict()
    for name, tensor in {**shared, **lora}.items():
        if name in own:
            # A rank above min(in, out) is met by zero rows and columns.
            target = own[name]
            target.zero_()
            target[tuple(slice(n) for n in tensor.shape)] = tensor
    missing = [n for n in own if not n.startswith(("exits.", "lora.")) and n not in shared]
    if missing:
        raise UserError(f"the source has no tensor for '{missing[0]}'")
    model.load_state_dict(own)
    return model


def truncate(model: Decoder, rank: int) -> Decoder:
    """The same model with its low-rank terms cut to `rank`; of terms made by `convert`, the best ones of that rank."""
    small = Decoder(dataclasses.replace(model.config, lora_rank=rank))
    weights = {n: t for n, t in model.state_dict().items() if rank or not n.startswith("lora.")}
    for name, tensor in weights.items():
        if name.startswith("lora."):
            weights[name] = tensor[:rank] if name.endswith(".A") else tensor[:, :rank]
    small.load_state_dict(weights)
    return small


def distilled(teacher: Callable[[torch.Tensor], torch.Tensor]) -> Callable:
    """The objective of uptraining (as in `objectives.py`): cross-entropy and the distance to the teacher's distribution, halves
    each, and one exit in rotation at a tenth of the weight."""

    def recursive(model: Decoder, ids: torch.Tensor, step: int, options) -> tuple[torch.Tensor, dict]:
        exits, x, y = model.config.exits, ids[:, :-1], ids[:, 1:]
        with torch.no_grad():
            goal = teacher(x).float().log_softmax(-1)
        early = exits[step % len(exits)] if exits else None
        states = {d: h for d, h in model.states(x) if d in (early, model.config.depth)}
        logits = model.exit_logits(states[model.config.depth]).float()
        own = cross_entropy(logits, y)
        distance = F.kl_div(logits.log_softmax(-1).flatten(0, 1), goal.flatten(0, 1), reduction="batchmean", log_target=True)
        loss, parts = 0.5 * own + 0.5 * distance, {"full": own, "distance": distance}
        if early is not None:
            parts[f"exit{early}"] = cross_entropy(model.exit_logits(states[early]), y)
            loss = loss + 0.1 * parts[f"exit{early}"]
        return loss, parts

    return recursive
