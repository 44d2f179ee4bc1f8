# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Self-speculation: draft with the first E layers, verify with the rest (LayerSkip, Elhoushi et al. 2024).

A round starts with rows that have not run (one, or a prompt) and drafts up to K tokens:

  draft    [0, E) on the waiting rows, then on each draft but the last; the draft's token is chosen from head(h_E) of the
           row before it; h_E of all these rows is kept. Drafting stops at an end token and where the text has to end
  verify   [0, E) on one more row, the last draft; [E, L) on all kept rows and it: logits for K + 1 tokens
  accept   some prefix of the drafts, then one token more; all levels are cut to the accepted rows

So each row runs [0, E) once and [E, L) once, and rows that were not accepted are forgotten. Rules of acceptance, with
p the full model's law of a token and q the draft's:

  match    a draft is accepted while it equals what the loop's pick takes from the full model's logits at its position;
           the first that differs is replaced by that token. With greedy picking the text is the full model's greedy text.
           With `Sampler` both sides use the noise of the position (coupled), so the text is the full model's sample of
           that noise, token for token: no acceptance test can bend its law
  ratio    a draft x ~ q is accepted with probability min(1, p(x) / q(x)); the first that is not is replaced by a sample of
           max(p - q, 0) / sum max(p - q, 0); after K acceptances one more token is sampled from p. The law of the text
           is the full model's (Leviathan et al. 2023, Chen et al. 2023), the text itself depends on K and E
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from ..errors import UserError
from .generate import Control, Emitted, Method, Rows, check_layer
from .kv import KV, run_layer
from .model import Model
from .noise import check_temperature, probabilities
from .trace import DepthTrace


class Source(Protocol):
    """Where `ratio` gets its randomness from; `Noise` is one."""

    def bernoulli(self, probability: float, purpose: str, sequence: int, position: int) -> bool: ...

    def categorical(self, p: torch.Tensor, purpose: str, sequence: int, position: int) -> int: ...


@dataclass(frozen=True)
class Ratio:
    """Acceptance by p/q at `temperature` on both sides."""

    source: Source
    temperature: float = 1.0

    def __post_init__(self):
        check_temperature(self.temperature)


def residual(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """max(p - q, 0), normalised [vocab]; p where nothing is left, which only rounding can ask for."""
    rest = (p - q).clamp(min=0)
    return rest / rest.sum() if rest.sum() > 0 else p


def accept_by_ratio(drafts: Sequence[int], p: torch.Tensor, q: torch.Tensor, source: Source, sequence: int, position: int) -> list[int]:
    """The tokens from `position` on: drafts [K] were sampled from q [K, vocab]; p is [K + 1, vocab]."""
    for j, token in enumerate(drafts):
        odds = min(1.0, float(p[j, token] / q[j, token]))
        if not source.bernoulli(odds, "accept", sequence, position + j):
            return [*drafts[:j], source.categorical(residual(p[j], q[j]), "residual", sequence, position + j)]
    return [*drafts, source.categorical(p[len(drafts)], "bonus", sequence, position + len(drafts))]


class SelfSpeculation(Method):
    """Drafts of up to `drafts` = K tokens with the first `exit_layer` = E layers; acceptance by match, or by `ratio`."""

    def __init__(
        self,
        model: Model,
        exit_layer: int,
        drafts: int,
        *,
        ratio: Ratio | None = None,
        kv: KV | None = None,
        trace: DepthTrace | None = None,
    ):
        super().__init__(model, kv, trace)
        check_layer(model, "exit_layer", exit_layer)
        if drafts < 1:
            raise UserError(f"drafts: must be at least 1, but got {drafts}")
        self.exit_layer, self.drafts, self.ratio = exit_layer, drafts, ratio
        self.drafted = self.accepted = 0

    def _layers(self, begin: int, end: int, sequence: int, h: torch.Tensor, positions: Sequence[int]) -> torch.Tensor:
        for layer in range(begin, end):
            h = run_layer(self.model, self.kv, sequence, layer, h, positions)
        return h

    def _shallow(self, sequence: int, tokens: Sequence[int], positions: Sequence[int]) -> torch.Tensor:
        return self._layers(0, self.exit_layer, sequence, self.model.embed(tokens), positions)

    def _deep(self, sequence: int, kept: torch.Tensor, positions: Sequence[int]) -> torch.Tensor:
        for position in positions:
            self.trace.finish(sequence, position, self.model.config.layers)
        return self.model.head(self._layers(self.exit_layer, self.model.config.layers, sequence, kept, positions))

    def run(self, batch: Sequence[Rows]) -> list[torch.Tensor]:
        """Given rows: full depth."""
        return [self._deep(r.sequence, self._shallow(r.sequence, r.tokens, r.positions), r.positions) for r in batch]

    def advance(self, batch: Sequence[Rows], control: Control) -> list[Emitted]:
        return [self._round(rows, control) for rows in batch]

    def _round(self, rows: Rows, control: Control) -> Emitted:
        sequence, position = rows.sequence, rows.positions.stop
        kept = [self._shallow(sequence, rows.tokens, rows.positions)]
        drafts, laws = [], []
        # The round emits one token more than it accepts.
        while len(drafts) < min(self.drafts, rows.limit - 1) and not (drafts and drafts[-1] in control.eos):
            logits = self.model.head(kept[-1][-1])
            if self.ratio is None:
                token = control.pick(logits, sequence, position + len(drafts))
            else:
                laws.append(probabilities(logits, self.ratio.temperature))
                token = self.ratio.source.categorical(laws[-1], "draft", sequence, position + len(drafts))
            drafts.append(token)
            kept.append(self._shallow(sequence, [token], [position + len(drafts) - 1]))
        logits = self._deep(sequence, torch.cat(kept), range(rows.start, position + len(drafts)))[len(rows.tokens) - 1 :]
        if self.ratio is None:
            tokens = self._accept_by_match(drafts, logits, control, sequence, position)
        else:
            full = probabilities(logits, self.ratio.temperature)
            law = torch.stack(laws) if laws else full[:0]
            tokens = accept_by_ratio(drafts, full, law, self.ratio.source, sequence, position)
        self.drafted += len(drafts)
        self.accepted += len(tokens) - 1
        # Rows up to the last accepted draft stay; the last token has not run.
        self.truncate(sequence, position + len(tokens) - 1)
        return Emitted(tokens, logits[: len(tokens)])

    @staticmethod
    def _accept_by_match(drafts: list[int], logits: torch.Tensor, control: Control, sequence: int, position: int) -> list[int]:
        tokens = []
        for j, row in enumerate(logits):
            tokens.append(control.pick(row, sequence, position + j))
            if j == len(drafts) or tokens[-1] != drafts[j]:
                break
        return tokens
