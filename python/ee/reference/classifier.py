# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Early-exit classifiers: an encoder with a classifier after each layer, one decision per sequence.

Encoder blocks are the decoder's, with every position visible to every other (RoPE as there). After k layers the first
token's state, through the final norm, goes to the classifier of that depth: z_k = W_k norm(h_k[0]) + b_k, weights
`exits.{k}.classifier.weight` [classes, hidden] and `.bias` [classes], k = 1..L; the last one always answers.

  entropy     leave iff H(softmax z) < S nats (strict), S < ln C        DeeBERT (Xin et al. 2020)
  normalised  leave iff H / ln C < s (strict), 0 <= s <= 1              FastBERT (Liu et al. 2020)
  patience    leave iff the last t predictions (argmax, ties to the lowest class) are equal, t >= 1; t = 1 leaves at the
              first exit. PABEE (Zhou et al. 2020) counts agreements with the exit before: its patience is t - 1

Both entropy rules are one comparison of the entropy criterion's score log((ln C - H) / H) > theta (strict), with
theta = log((1 - u) / u), u = S / ln C or s; recorded as "entropy". Patience records the run length as "patience".
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..errors import UserError
from .criteria import LogitStatistics
from .model import Model, attend
from .noise import argmax
from .trace import DepthTrace

RULES = ("entropy", "normalised", "patience")


@dataclass(frozen=True)
class Rule:
    """One of `RULES` with its bound: S in nats, s, or t."""

    kind: str
    bound: float

    def __post_init__(self):
        if self.kind not in RULES:
            raise UserError(f"rule: must be one of {', '.join(RULES)}, but got {self.kind!r}")
        if self.kind == "patience" and (self.bound < 1 or self.bound != int(self.bound)):
            raise UserError(f"bound: must be a whole number of predictions >= 1, but got {self.bound}")
        if self.bound < 0 or (self.kind == "normalised" and self.bound > 1):
            raise UserError(f"bound: must be >= 0, and <= 1 when normalised, but got {self.bound}")

    def theta(self, classes: int) -> float:
        """Least score of an entropy rule, not reached, in logit space."""
        u = self.bound / (math.log(classes) if self.kind == "entropy" else 1)
        if u >= 1:
            return -math.inf
        return math.log1p(-u) - math.log(u) if u > 0 else math.inf

    def check(self, seen: Sequence[torch.Tensor]) -> tuple[str, float, bool]:
        """(name, score, leaves) at the exit whose logits [classes] are seen[-1], after those of the exits before it."""
        if self.kind == "patience":
            predictions = [argmax(z) for z in seen]
            run = next((n for n, p in enumerate(reversed(predictions)) if p != predictions[-1]), len(predictions))
            return "patience", float(run), run >= self.bound
        score = float(LogitStatistics.of_tile(seen[-1][None]).score("entropy")[0])
        return "entropy", score, score > self.theta(len(seen[-1]))


def encoder_layer(model: Model, layer: int, h: torch.Tensor) -> torch.Tensor:
    """One block on a whole sequence h [tokens, hidden], every position visible."""
    q, (k, v) = model.queries(layer, h, range(len(h))), model.keys_values(layer, h, range(len(h)))
    return model.after_attention(layer, h, torch.stack([attend(row, k, v) for row in q]))


def class_logits(model: Model, layer: int, h: torch.Tensor) -> torch.Tensor:
    """[classes] after `layer` layers, from h [tokens, hidden]."""
    weight, bias = (model.weights[f"exits.{layer}.classifier.{part}"] for part in ("weight", "bias"))
    return weight @ model.final_norm(h[0]) + bias


def classify(
    model: Model, sequences: Sequence[Sequence[int]], rule: Rule, trace: DepthTrace | None = None
) -> tuple[list[torch.Tensor], DepthTrace]:
    """Logits [classes] of each sequence, from the exit it left at, and the trace: row (sequence, 0), depth in layers.

    Exits are after the layers for which the weights have a classifier."""
    trace, result, last = trace or DepthTrace(), [], model.config.layers
    exits = [k for k in range(1, last + 1) if f"exits.{k}.classifier.weight" in model.weights]
    if last not in exits:
        raise UserError(f"weights: must have a classifier after the last layer, exits.{last}.classifier.weight")
    for sequence, tokens in enumerate(sequences):
        h, seen = model.embed(tokens), []
        for layer in range(1, last + 1):
            h = encoder_layer(model, layer - 1, h)
            if layer not in exits:
                continue
            seen.append(class_logits(model, layer, h))
            name, score, leaves = rule.check(seen)
            if layer == last or trace.decide(sequence, 0, layer, {name: score}, leaves):
                break
        trace.finish(sequence, 0, layer)
        result.append(seen[-1])
    return result, trace
