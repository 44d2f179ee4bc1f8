# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""k-row exit heads: an exit is judged by k rows of the LM head instead of all of them (SpecEE).

SpecEE takes its k candidates from a draft model. Here they come from a table: the k tokens that followed the row's own
token most often in the training text, which costs a lookup. Features of a row, from the k logits z of its candidates:
largest, gap to the second, log-odds of the largest among the k, and the state itself; the score is a logistic regression
on "this exit's likeliest token is full depth's". Cost: k + 1 dot products of the hidden size per check.
"""

from dataclasses import dataclass

import numpy as np
import torch

from ..models import Decoder
from ..regression import logistic
from .collect import Collected
from .probes import STRENGTH


def successors(ids: np.ndarray, vocab: int, k: int) -> np.ndarray:
    """[vocab, k] int64: for each token the k tokens that follow it most often in `ids` [n]; ties to the lower id, and what
    is missing filled with the tokens most frequent overall."""
    ids = np.asarray(ids, np.int64)
    pairs, counts = np.unique(ids[:-1] * vocab + ids[1:], return_counts=True)
    order = np.lexsort((pairs % vocab, -counts, pairs // vocab))
    first, second = pairs[order] // vocab, pairs[order] % vocab
    common = np.argsort(-np.bincount(ids, minlength=vocab), kind="stable")
    table = np.empty((vocab, k), np.int64)
    for token in range(vocab):
        own = second[np.searchsorted(first, token) : np.searchsorted(first, token, side="right")][:k]
        rest = [t for t in common[: 2 * k] if t not in own]
        table[token] = np.concatenate([own, np.array(rest[: k - len(own)], np.int64)])
    return table


@dataclass
class FewRows:
    """One exit's head: candidate table [vocab, k] and the regression's weights (hidden + 3) and bias."""

    table: torch.Tensor
    weight: torch.Tensor
    bias: float

    @staticmethod
    def features(model: Decoder, h: torch.Tensor, ids: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
        """[..., 3 + hidden] of states h [..., hidden] (as `exit_logits` takes them) of rows with tokens ids [...]."""
        rows = model.model.embed_tokens.weight[table[ids]]
        z = (rows * model.exit_norm(h).unsqueeze(-2)).sum(-1)
        top = z.topk(2, -1).values
        rest = torch.logsumexp(z, -1) - top[..., 0]
        odds = -torch.log(torch.expm1(rest).clamp_min(1e-9))
        return torch.cat([torch.stack([top[..., 0], top[..., 0] - top[..., 1], odds], -1), h.float()], -1)

    def score(self, model: Decoder, h: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        return self.features(model, h, ids, self.table) @ self.weight + self.bias


@torch.no_grad()
def fit(model: Decoder, collected: Collected, ids: np.ndarray, table: np.ndarray) -> dict[int, FewRows]:
    """A head per exit; `ids` [rows] are the tokens of the collected rows."""
    table, tokens, heads = torch.from_numpy(table), torch.from_numpy(np.asarray(ids, np.int64)), {}
    for i, depth in enumerate(model.config.exits):
        x = FewRows.features(model, torch.from_numpy(collected.states[i]), tokens, table).numpy()
        weight, bias = logistic(x, collected.agreement()[:, i], STRENGTH)
        heads[depth] = FewRows(table, torch.from_numpy(weight).float(), bias)
    return heads
