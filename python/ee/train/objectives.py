# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What a training step minimises, one function per method: (model, batch, step) -> (loss, parts for the log).

For decoders the batch is `ids` [batch, seq + 1]; row t predicts token t + 1. Losses are mean cross-entropies in nats per token. A step trains
at most one early output besides the last one, in rotation over steps, so that its cost stays near a plain step's.
"""

import torch
import torch.nn.functional as F

from ..models import Decoder
from ..models.routed import top_k
from ..reference.routing import selection_loss, warmed_capacity


def cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten())


def dense(model: Decoder, ids: torch.Tensor, step: int, options) -> tuple[torch.Tensor, dict]:
    loss = cross_entropy(model(ids[:, :-1]), ids[:, 1:])
    return loss, {"full": loss}


def dropped_layers(step: int, depth: int, rate: float, generator: torch.Generator) -> frozenset:
    """Layer dropout of LayerSkip: layer l is left out of the whole batch with probability rate * (2^(l/(L-1)) - 1)."""
    draws = torch.rand(depth, generator=generator)
    return frozenset(l for l in range(depth) if draws[l] < rate * (2 ** (l / max(1, depth - 1)) - 1))


def early_exit(model: Decoder, ids: torch.Tensor, step: int, options) -> tuple[torch.Tensor, dict]:
    """LayerSkip: last output plus one exit in rotation (deeper exits weigh more), with layer dropout; all outputs go
    through the same norm and head."""
    c, x, y = model.config, ids[:, :-1], ids[:, 1:]
    exit_depth = c.exits[step % len(c.exits)]
    generator = torch.Generator().manual_seed(options.seed * 1_000_003 + step)
    outputs = dict(model.states(x, dropped_layers(step, c.depth, options.layer_dropout, generator)))
    full, early = (cross_entropy(model.exit_logits(outputs[d]), y) for d in (c.depth, exit_depth))
    weight = options.exit_weight * exit_depth / c.depth
    return (full + weight * early) / (1 + weight), {"full": full, f"exit{exit_depth}": early}


def looped(model: Decoder, ids: torch.Tensor, step: int, options) -> tuple[torch.Tensor, dict]:
    """Most steps: every row runs all recursions, the last output and one earlier one (in rotation) are trained, the
    earlier one also towards the last one's distribution. Every `mixed_every`-th step: every row has a random depth,
    stops there and is trained there, so deeper recursions learn to read the K,V that rows which left present."""
    c, x, y = model.config, ids[:, :-1], ids[:, 1:]
    if step % options.mixed_every == options.mixed_every - 1 and c.kv_fill != "exact":
        generator = torch.Generator().manual_seed(options.seed * 1_000_003 + step)
        odds = torch.tensor(options.depth_odds)
        draws = torch.multinomial(odds, x.numel(), replacement=True, generator=generator).view_as(x).to(x.device)
        depths = torch.tensor((*c.exits, c.depth), device=x.device)[draws]
        state, _ = model.adaptive(x, lambda depth, _: depths == depth)
        loss = cross_entropy(model.exit_logits(state), y)
        return loss, {"mixed": loss}
    early = (step - step // options.mixed_every) % len(c.exits)
    outputs = {d: h for d, h in model.states(x) if d in (c.exits[early], c.depth)}
    last, first = (model.exit_logits(outputs[d]).float() for d in (c.depth, c.exits[early]))
    full, loss = cross_entropy(last, y), cross_entropy(first, y)
    distance = F.kl_div(first.log_softmax(-1).flatten(0, 1), last.detach().log_softmax(-1).flatten(0, 1), reduction="batchmean", log_target=True)
    weight = options.exit_weight * c.exits[early] / c.depth
    mixed = (1 - options.distill) * loss + options.distill * distance
    return (full + weight * mixed) / (1 + weight), {"full": full, f"exit{c.exits[early]}": loss}


def routed(model: Decoder, ids: torch.Tensor, step: int, options) -> tuple[torch.Tensor, dict]:
    """Mixture-of-Recursions, expert choice: capacities fall from 1 to their targets along a cosine over the first
    `capacity_warmup` steps; the auxiliary loss teaches each router to know its own choice without the other rows."""
    c, x, y = model.config, ids[:, :-1], ids[:, 1:]
    result = top_k(model, x, tuple(warmed_capacity(capacity, step, options.capacity_warmup) for capacity in c.capacities))
    loss, auxiliary = cross_entropy(model.head(result.state), y), selection_loss(result.scores, result.chosen)
    return loss + options.router_weight * auxiliary, {"full": loss, "router": auxiliary}


def classifier(model, batch, step: int, options) -> tuple[torch.Tensor, dict]:
    """Every exit of an encoder, deeper ones weighing more (weight of layer l, from 1: l)."""
    ids, present, label = batch
    logits = model(ids, present).float()
    losses = torch.stack([F.cross_entropy(z, label) for z in logits])
    weight = torch.arange(1, len(losses) + 1, device=losses.device)
    return (losses * weight).sum() / weight.sum(), {"full": losses[-1], "exit1": losses[0]}


OBJECTIVES = {f.__name__: f for f in (dense, early_exit, looped, routed, classifier)}
