# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""FREE: shallow or deep, and what shallow rows skip is a debt paid in the next deep pass (Bae et al. 2023).

Two depths: shallow = layers [0, Ls), deep = all L; the shallow layers are a prefix of the deep ones, so no work is done
twice. Each sequence of a batch has its own stack of debts and settles it alone. A row that is enabled:

  1. runs [0, Ls), its K,V stored there; logits_s = head(h_Ls); c = p1 - p2 of logits_s, its score the log-odds of c
  2. score > theta (strict): it emits from logits_s, and (position, h_Ls) goes on the stack; layers [Ls, L) hold nothing of it
  3. otherwise [Ls, L) run on the stacked rows and this one together, each at its true position and seeing all positions up
     to its own; all K,V are stored, the stack is empty, and the row emits from its deep logits

Rows that are not enabled (the prompt) are deep. So after every deep pass all levels hold exactly what the full model
would hold for the emitted tokens; tokens that were emitted shallow may still differ from the full model's.

Rollback, after a deep pass, over settled rows j = 0..m-1 in order: row j fails
  with a number    iff the cross-entropy of its deep logits against the token it emitted, in nats, is > the number (strict)
  with "mismatch"  iff the token picked from its deep logits is not the one it emitted
and the first that fails takes back its token and all later ones: m - j tokens; every level is cut behind row j, and the
next token is picked from its deep logits. At the end of a sequence debts stay unpaid, as in the authors' code, unless
`flush` runs a last deep pass, which may roll back, too; with "mismatch" and `flush` the text is the full model's.

theta = +inf (lambda >= 1) never leaves. theta = -inf (lambda <= 0) always leaves, but for a tie of the two best tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..errors import UserError
from .criteria import LogitStatistics, confidence, threshold
from .free_threshold import AdaptiveThreshold
from .generate import Control, Emitted, Method, Rows, check_layer
from .kv import KV, run_layer
from .model import Model
from .noise import argmax
from .trace import DepthTrace

MISMATCH = "mismatch"


@dataclass
class Debt:
    """A row whose layers [Ls, L) have not run: its state h_Ls [hidden], shallow score and argmax, and its input token."""

    position: int
    token: int
    h: torch.Tensor
    score: float
    best: int


class Free(Method):
    """`shallow` = Ls layers; `theta` in logit space, or an estimator that gives a margin per sequence."""

    def __init__(
        self,
        model: Model,
        shallow: int,
        theta: float | AdaptiveThreshold,
        *,
        rollback: float | str | None = None,
        flush: bool = False,
        kv: KV | None = None,
        trace: DepthTrace | None = None,
    ):
        super().__init__(model, kv, trace)
        check_layer(model, "shallow", shallow)
        if isinstance(rollback, str) and rollback != MISMATCH:
            raise UserError(f"rollback: must be a cross-entropy in nats or '{MISMATCH}', but got {rollback!r}")
        self.shallow, self.theta, self.rollback, self.flush = shallow, theta, rollback, flush
        self.thetas: dict[int, float] = {}
        self.stacks: dict[int, list[Debt]] = {}
        self.settled: dict[int, list[tuple[Debt, torch.Tensor]]] = {}
        self.taken_back = 0

    def debts(self, sequence: int) -> list[int]:
        """Positions whose deep layers have not run."""
        return [debt.position for debt in self.stacks.get(sequence, [])]

    def run(self, batch: Sequence[Rows]) -> list[torch.Tensor]:
        """As `Method.run`. `settled[sequence]` then holds the debts that the call paid, with their deep logits."""
        return [self._run(rows) for rows in batch]

    def _run(self, rows: Rows) -> torch.Tensor:
        sequence, positions = rows.sequence, rows.positions
        if rows.start == 0:
            adaptive = isinstance(self.theta, AdaptiveThreshold)
            self.thetas[sequence] = threshold("margin", self.theta.next_sequence()) if adaptive else self.theta
            self.stacks[sequence] = []
        self.settled[sequence] = []
        h = self.model.embed(rows.tokens)
        for layer in range(self.shallow):
            h = run_layer(self.model, self.kv, sequence, layer, h, positions)
        logits = self.model.head(h)
        scores = LogitStatistics.of_tile(logits).score("margin")
        waiting = [Debt(p, t, h[i], float(scores[i]), argmax(logits[i])) for i, (p, t) in enumerate(zip(positions, rows.tokens))]
        given = rows.enabled.count(False)  # the prompt comes first
        logits = logits.clone()
        if given:
            logits[:given] = self._deep(sequence, waiting[:given])
        for i in range(given, len(waiting)):
            debt, score = waiting[i], waiting[i].score
            wants = score > self.thetas[sequence]
            if self.trace.decide(sequence, debt.position, self.shallow, {"margin": score}, wants):
                self.trace.finish(sequence, debt.position, self.shallow)
                self.stacks[sequence].append(debt)
            else:
                logits[i] = self._deep(sequence, [debt], decided=True)[0]
        return logits

    def _deep(self, sequence: int, current: list[Debt], decided: bool = False) -> torch.Tensor:
        """Layers [Ls, L) on the stack and `current`; logits [current, vocab]. A pass that a decision asked for, with a
        stack, is evidence for the threshold."""
        stack = self.stacks[sequence]
        rows = stack + current
        h = torch.stack([row.h for row in rows])
        for layer in range(self.shallow, self.model.config.layers):
            h = run_layer(self.model, self.kv, sequence, layer, h, [row.position for row in rows])
        logits = self.model.head(h)
        if decided and stack and isinstance(self.theta, AdaptiveThreshold):
            for row, deep in zip(rows, logits):
                self.theta.observe(confidence("margin", row.score), row.best == argmax(deep))
        self.settled[sequence] += zip(stack, logits)
        self.stacks[sequence] = []
        for row in current:
            self.trace.finish(sequence, row.position, self.model.config.layers)
        return logits[len(stack) :]

    def advance(self, batch: Sequence[Rows], control: Control) -> list[Emitted]:
        emitted = super().advance(batch, control)
        for i, rows in enumerate(batch):
            settled = [debt for debt, _ in self.settled[rows.sequence]]
            # Row j's token is the next row's input.
            following = [debt.token for debt in settled[1:]] + list(rows.tokens[:1])
            emitted[i] = self._check(rows.sequence, following, control) or emitted[i]
        return emitted

    def finish(self, sequence: int, text: Sequence[int], control: Control) -> Emitted | None:
        if not self.flush or not self.stacks[sequence]:
            return None
        self.settled[sequence] = []
        following = [debt.token for debt in self.stacks[sequence][1:]] + [text[-1]]
        self._deep(sequence, [])
        return self._check(sequence, following, control)

    def truncate(self, sequence: int, length: int) -> None:
        super().truncate(sequence, length)
        self.stacks[sequence] = [debt for debt in self.stacks[sequence] if debt.position < length]

    def _check(self, sequence: int, following: list[int], control: Control) -> Emitted | None:
        """Rollback over the debts just settled; `following[j]` is the token that row j emitted."""
        settled = self.settled[sequence]
        for j, ((debt, logits), token) in enumerate(zip(settled, following)):
            if self.rollback is None:
                return None
            picked = control.pick(logits, sequence, debt.position + 1)
            loss = float(-torch.log_softmax(logits, -1)[token])
            if picked != token if self.rollback == MISMATCH else loss > self.rollback:
                self.truncate(sequence, debt.position + 1)
                self.taken_back += len(settled) - j
                return Emitted([picked], logits[None], drop=len(settled) - j)
        return None
