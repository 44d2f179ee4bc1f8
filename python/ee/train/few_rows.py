# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""k-row exit heads: an exit is judged by k rows of the LM head instead of all of them (SpecEE).

SpecEE takes its k candidates from a draft model. Here they come from a table: the k tokens that followed the row's own
token most often in the training text, which costs a lookup. Features of a row, from the k logits z of its candidates:
largest, gap to the second, log-odds of the largest among the k, and the state itself; the score is a logistic regression
on "this exit's likeliest token is full depth's". Cost: k + 1 dot products of the hidden size per check.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ..errors import UserError, one_line
from ..models import Decoder, ModelConfig
from ..regression import PROBE, logistic
from .collect import Collected

FILE = "few_rows.safetensors"
PIECE = 4096  # rows


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
        return self.features(model, h, ids, self.table.to(h.device)) @ self.weight.to(h.device) + self.bias


def save(heads: dict[int, FewRows], folder) -> None:
    """few_rows.safetensors: `table` i32 [vocab, k], the same for all exits, and per exit `exits.DEPTH.weight`, `.bias`."""
    tensors = {"table": next(iter(heads.values())).table.to(torch.int32)}
    for depth, head in heads.items():
        tensors |= {f"exits.{depth}.weight": head.weight.float(), f"exits.{depth}.bias": torch.tensor([head.bias], dtype=torch.float32)}
    save_file(tensors, Path(folder) / FILE)


def load(folder, config: ModelConfig) -> dict[int, FewRows]:
    """The heads that `save` wrote for a model of this shape."""
    path = Path(folder) / FILE
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as e:
        raise UserError(f"{path}: no k-row heads: {one_line(e)}; python -m ee.train.probes --k writes them") from None
    shapes = {"table": (config.vocab, None)} | {f"exits.{d}.{n}": (s,) for d in config.exits for n, s in (("weight", config.hidden + 3), ("bias", 1))}
    for name in sorted(tensors.keys() ^ shapes.keys()):
        raise UserError(f"{path}: tensor '{name}' is {'missing' if name in shapes else 'not one of a model with exits ' + str(config.exits)}")
    for name, shape in shapes.items():
        got = tuple(tensors[name].shape)
        if len(got) != len(shape) or any(want not in (None, n) for n, want in zip(got, shape, strict=True)):
            raise UserError(f"{path}: tensor '{name}' has shape {list(got)}; it must be {['k' if n is None else n for n in shape]}")
    table = tensors["table"].long()
    if table.shape[1] < 2 or table.min() < 0 or table.max() >= config.vocab:
        raise UserError(f"{path}: tensor 'table' must hold at least 2 token ids per row, from 0 to {config.vocab - 1}")
    return {d: FewRows(table, tensors[f"exits.{d}.weight"].float(), float(tensors[f"exits.{d}.bias"])) for d in config.exits}


@torch.no_grad()
def fit(model: Decoder, collected: Collected, ids: np.ndarray, table: np.ndarray) -> dict[int, FewRows]:
    """A head per exit; `ids` [rows] are the tokens of the collected rows."""
    device, table, heads = next(model.parameters()).device, torch.from_numpy(table), {}
    tokens = torch.from_numpy(np.asarray(ids, np.int64))
    for i, depth in enumerate(model.config.exits):
        # In pieces: the candidates' rows of the LM head are k times as large as the states.
        parts = zip(torch.from_numpy(collected.states[i]).split(PIECE), tokens.split(PIECE), strict=True)
        x = torch.cat([FewRows.features(model, h.to(device), t.to(device), table.to(device)).cpu() for h, t in parts]).numpy()
        weight, bias = logistic(x, collected.agreement()[:, i], PROBE)
        heads[depth] = FewRows(table, torch.from_numpy(weight).float(), bias)
    return heads
