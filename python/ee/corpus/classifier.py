# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""An encoder with a classifier after each of four layers; a whole sequence leaves, when its prediction is sure or settled.

Every position sees every other. After k layers the first token's state, through the final norm, gives z_k = W_k n + b_k.
    entropy   leaves where log((ln C - H) / H) > theta (strict), the score of the entropy criterion
    patience  leaves where the last t = 3 predictions are equal: HaltPatience counts t - 1 = 2 agreements with the one before
Outputs logits [B, C] and `depth` i64 [B]. K,V above an exit are never read, so there is no fill: "none".
"""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from .. import nn
from ..reference.classifier import Rule, classify
from ..reference.model import Config, Model
from ..reference.trace import DepthTrace
from .cases import Answer, Case, Subject
from .decoder import SEQ, Decoder, Weights, between, config, load

CLASSES, LAYERS, SENTENCES, PATIENCE = 3, 4, 8, 2


class Classifier(Decoder):
    """`theta` for entropy: leaves where score >= theta."""

    def __init__(self, c: Config, rule: str, theta: float):
        super().__init__(c)
        del self.lm_head
        self.exits = torch.nn.ModuleDict(
            {str(k + 1): torch.nn.ModuleDict({"classifier": torch.nn.Linear(c.hidden, CLASSES)}) for k in range(LAYERS)}
        )
        threshold = PATIENCE if rule == "patience" else theta
        self.points = torch.nn.ModuleList(nn.Exit(f"e{k}", threshold, rule) for k in range(1, LAYERS))
        self.patience = nn.HaltPatience(PATIENCE) if rule == "patience" else None

    def forward(self, input_ids: Tensor) -> tuple[Tensor, Tensor]:
        h, causal, rope = self.begin(input_ids)
        mask, taken = torch.ones_like(causal), []
        everyone = torch.ones_like(input_ids[:, 0], dtype=torch.bool)
        running, count, before = everyone, torch.zeros_like(input_ids[:, 0]), None
        for k in range(1, LAYERS + 1):
            h = self.layer(k - 1, h, mask, rope)
            first = self.model.norm(h)[:, 0]
            logits = self.exits[str(k)]["classifier"](first)
            if k == LAYERS:
                break
            if self.patience is None:
                score = nn.score("entropy", logits, first, first)
            else:
                best = logits.argmax(-1)
                running, count = self.patience(~everyone if before is None else best == before, count, running)
                score, before = count.to(torch.float32), best
            taken.append((self.points[k - 1], k, logits, score, first))
        depth = torch.full_like(input_ids[:, 0], LAYERS)
        for point, k, z, score, first in reversed(taken):
            logits, depth = point(z, logits, score, first, everyone), torch.where(score >= point.threshold, k, depth)
        return logits, depth


def classifier(rule: str) -> Subject:
    """Eight sentences."""
    c = config(range(LAYERS))
    weights, ids = Weights(c, 101), np.random.default_rng(102).integers(0, c.vocab, (SENTENCES, SEQ))
    for k in range(1, LAYERS + 1):
        weights.add(f"exits.{k}.classifier.weight", (CLASSES, c.hidden), 2 * c.hidden**-0.5)
        weights.add(f"exits.{k}.classifier.bias", (CLASSES,), 0.2)
    model = Model(c, weights.tensors)
    theta = between(_scores(classify(model, ids.tolist(), Rule("normalised", 0.0))[1], "entropy"))
    bound = Rule("normalised", float(1 / (1 + np.exp(theta)))) if rule == "entropy" else Rule("patience", PATIENCE + 1)
    above = float(np.nextafter(np.float32(theta), np.float32(np.inf)))
    module = Classifier(c, rule, above)
    load(module, {n: t for n, t in weights.tensors.items() if n != "lm_head.weight"})

    def reference(depth: np.ndarray | None) -> Answer:
        trace = DepthTrace(None if depth is None else {(b, 0): int(d) for b, d in enumerate(depth)})
        logits, trace = classify(model, ids.tolist(), bound, trace)
        scores = _scores(trace, rule)
        margin = np.nan_to_num(np.abs(scores - theta), nan=np.inf).min(-1) if rule == "entropy" else np.full(len(ids), np.inf)
        return Answer(
            {"logits": torch.stack(logits).numpy(), "depth": np.array([trace.depth[b, 0] for b in range(len(ids))])}, scores, margin
        )

    threshold = PATIENCE if rule == "patience" else above

    def script(depth: np.ndarray) -> dict[str, np.ndarray]:
        return {f"script.e{k}": np.where(depth <= k, threshold + 1, threshold - 1).astype(np.float32) for k in range(1, LAYERS)}

    table = np.random.default_rng(103).integers(1, LAYERS + 1, SENTENCES)
    settings = {"criterion": rule, "classes": CLASSES} | (
        {"patience": PATIENCE} if rule == "patience" else {"theta": theta, "strict": True}
    )
    return Subject(c, weights.seed, module, {"input_ids": ids}, ("logits", "depth"), reference, table, script, settings)


def _scores(trace: DepthTrace, name: str) -> np.ndarray:
    """f64 [B, exits]; NaN where a sentence had left."""
    found = np.full((SENTENCES, LAYERS - 1), np.nan)
    for (b, _), at_scores in trace.scores.items():
        for at, named in at_scores.items():
            found[b, at - 1] = named[name]
    return found


def cases() -> list[Case]:
    """Two rules."""
    return [Case("classifier", "none", rule, partial(classifier, rule), causal=False) for rule in ("entropy", "patience")]
