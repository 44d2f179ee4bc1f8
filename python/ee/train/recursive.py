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
from ..reference.recursive import recursive_weights, relax, sharing

PATTERNS = {"cycle": 0, "middle_cycle": 1}


def convert(weights: Mapping, source: LlamaConfig, recursions: int, rank: int, pattern: str = "middle_cycle", init: str = "average") -> Decoder:
    """A `Decoder` of the source's layers run as `recursions` loops over shared ones, differences kept to `rank` by SVD.

    `weights` maps Hugging Face names to tensors. Norm gains are folded into the linear maps first, so that full rank
    reproduces the source. Exits lie at the ends of all recursions but the last."""
    if pattern not in PATTERNS:
        raise UserError(f"pattern '{pattern}' is not one of {', '.join(PATTERNS)}: a shared block has to be one run of layers")
    if not source.tied or source.qkv_bias or source.o_bias or source.mlp_bias:
        raise UserError("the source has an LM head of its own or biases; a recursive model is made of a tied one without biases")
    maps, ends = sharing(pattern, source.layers, recursions), PATTERNS[pattern]
    block = (max(maps.layout) + 1) - 2 * ends
    # At ends of recursions, and not where only the coda follows.
    exits = tuple(ends + block * (r + 1) for r in range(recursions - 1))
    config = ModelConfig(
        source.vocab, source.hidden, source.heads, source.kv_heads, source.head_dim, source.ffn, block, recursions,
        prelude=ends, coda=ends, rope_theta=source.rope_theta, eps=source.eps, exits=exits, lora_rank=rank,
    )  # fmt: skip
    shared = recursive_weights(weights, maps, init, fold=True)
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


def uptrain(model: Decoder, teacher: Callable[[torch.Tensor], torch.Tensor], batches: Callable[[int], torch.Tensor], steps: int, rate: float, say=print) -> list[dict]:
    """`steps` of AdamW on cross-entropy and the teacher's distribution, halves each; every exit at a tenth of the weight
    of the last output (in rotation). Learning rate falls linearly to zero. Returns the log."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.95), weight_decay=0.0)
    log = []
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 5) * (1 - step / steps)
        ids = batches(step)
        x, y = ids[:, :-1], ids[:, 1:]
        with torch.autocast("cpu" if not ids.is_cuda else "cuda", torch.bfloat16):
            with torch.no_grad():
                goal = teacher(x).float().log_softmax(-1)
            exits = model.config.exits
            early = exits[step % len(exits)] if exits else None
            states = {d: h for d, h in model.states(x) if d in (early, model.config.depth)}
            logits = model.exit_logits(states[model.config.depth]).float()
            own = F.cross_entropy(logits.flatten(0, 1), y.flatten())
            distance = F.kl_div(logits.log_softmax(-1).flatten(0, 1), goal.flatten(0, 1), reduction="batchmean", log_target=True)
            loss = 0.5 * own + 0.5 * distance
            if early is not None:
                loss = loss + 0.1 * F.cross_entropy(model.exit_logits(states[early]).float().flatten(0, 1), y.flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        log.append({"step": step + 1, "loss": own.item(), "distance": distance.item()})
        if (step + 1) % 10 == 0 or step + 1 == steps:
            say(f"step {step + 1} of {steps}: loss {own.item():.3f}, distance to the source {distance.item():.3f}")
    return log
