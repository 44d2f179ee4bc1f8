# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""One pass of a trained model over text with every row at every depth: what probes are fitted on and thresholds read off.

Per scored token and depth: loss in nats, likeliest token, and the criteria's scores (`ee.nn.score`'s formulas, logit
space). Depths are the model's exits and its full depth, in layers, ascending.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from ..criteria import score_of_logits
from ..data.reader import Windows
from ..models import Decoder
from .data import pieces


@dataclass
class Collected:
    """`losses`, `tokens` [rows, depths]; `states` per exit [rows, hidden] float32, empty unless asked for; `scores` by
    criterion [rows, exits]; `document` [rows] numbers of documents."""

    depths: tuple[int, ...]
    losses: np.ndarray
    tokens: np.ndarray
    states: list[np.ndarray]
    scores: dict[str, np.ndarray]
    document: np.ndarray

    def agreement(self) -> np.ndarray:
        """[rows, depths]: the depth's likeliest token is full depth's."""
        return self.tokens == self.tokens[:, -1:]


@torch.no_grad()
def collect(model: Decoder, text: Windows, criteria=("max_prob", "margin", "entropy"), with_states: bool = False, batch: int = 16) -> Collected:
    """Run `model` over `text`; only unmasked places are kept."""
    c, device = model.config, next(model.parameters()).device
    depths = (*c.exits, c.depth)
    losses, tokens = [], []
    states: list[list] = [[] for _ in c.exits]
    scores: dict[str, list] = {name: [] for name in criteria}
    for x, y, mask in pieces(text, batch, device):
        row_losses, row_tokens, row_scores = [], [], {name: [] for name in criteria}
        for depth, h in model.states(x):
            if depth not in depths:
                continue
            h = h[mask]
            z = model.exit_logits(h).float()
            row_losses.append(F.cross_entropy(z, y[mask], reduction="none").cpu().numpy())
            row_tokens.append(z.argmax(-1).cpu().numpy())
            if depth != c.depth:
                for name in criteria:
                    row_scores[name].append(score_of_logits(name, z.double().cpu().numpy()))
                if with_states:
                    states[c.exits.index(depth)].append(h.float().cpu().numpy())
        losses.append(np.stack(row_losses, 1))
        tokens.append(np.stack(row_tokens, 1))
        for name in criteria:
            scores[name].append(np.stack(row_scores[name], 1) if c.exits else np.zeros((len(row_losses[0]), 0)))
    joined = {name: np.concatenate(parts) for name, parts in scores.items()}
    return Collected(
        depths, np.concatenate(losses), np.concatenate(tokens), [np.concatenate(s) for s in states if s], joined, text.token_document
    )
