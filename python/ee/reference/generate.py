# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The one loop that every method plugs into: prompts, decoding, teacher forcing, taking back.

A method says how rows are run (`run`: rows of some sequences -> their logits). The loop owns the texts; the method owns
what the rows left behind (KV, stacks, trace). Between steps all tokens of a text but the last have been run: the last
one is the row of the next step.

  prompt      run in chunks; the last chunk is the first decoding step, and its last row emits token 0
  step        `advance`: by default run the pending rows and pick from the last row's logits. Speculative methods emit
              several tokens; methods that roll back first drop some that were emitted
  end         at an end token, or after `steps` tokens, `finish` may settle what is owed, and may take tokens back; then
              the sequence goes on

Rows of the prompt are not `enabled`: exits leave them alone, so they run at full depth. Methods whose rule is the same in
prefill and decoding (routers) do not look at it.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import torch

from ..errors import UserError
from .kv import KV, run_layer
from .model import Model
from .noise import Pick, greedy
from .trace import DepthTrace


@dataclass(frozen=True)
class Rows:
    """Consecutive rows of one sequence: `tokens` at positions start.., of a text whose first `prompt` tokens were given.
    `limit` is how many tokens may still be emitted."""

    sequence: int
    tokens: tuple[int, ...]
    start: int
    prompt: int
    limit: int = 0

    @property
    def positions(self) -> range:
        return range(self.start, self.start + len(self.tokens))

    @property
    def enabled(self) -> list[bool]:
        """Which rows may leave: those of tokens that were not given."""
        return [p >= self.prompt for p in self.positions]

    def step(self, position: int) -> int:
        """0-based number of the emitted token that this row's logits choose; below 0 inside the prompt."""
        return position - self.prompt + 1


@dataclass
class Emitted:
    """What a step did to one text: took back `drop` tokens, then appended `tokens`, chosen from `logits` [tokens, vocab]."""

    tokens: list[int]
    logits: torch.Tensor
    drop: int = 0


@dataclass(frozen=True)
class Control:
    """How tokens are chosen, and which ones end a text."""

    pick: Pick = greedy
    eos: Collection[int] = ()


class Method(ABC):
    """A way to run rows. Holds the model, the KV store and the trace of all sequences."""

    def __init__(self, model: Model, kv: KV | None = None, trace: DepthTrace | None = None):
        self.model, self.kv, self.trace = model, kv or KV(), trace or DepthTrace()

    @abstractmethod
    def run(self, batch: Sequence[Rows]) -> list[torch.Tensor]:
        """Runs rows, at most one `Rows` per sequence, after all earlier rows of their sequences. Logits [rows, vocab] each."""

    def advance(self, batch: Sequence[Rows], control: Control) -> list[Emitted]:
        """One decoding step of the sequences in `batch`, whose rows are the pending ones."""
        result = []
        for rows, logits in zip(batch, self.run(batch)):
            token = control.pick(logits[-1], rows.sequence, rows.positions.stop)
            result.append(Emitted([token], logits[-1:]))
        return result

    def finish(self, sequence: int, text: Sequence[int], control: Control) -> Emitted | None:
        """The text has ended. Something other than None takes tokens back and lets the sequence go on."""
        return None

    def truncate(self, sequence: int, length: int) -> None:
        """Forgets everything about rows at positions >= `length`."""
        self.kv.truncate_all(sequence, length)
        self.trace.truncate(sequence, length)


class FixedDepth(Method):
    """Every row runs the first `depth` layers, then final norm and head; all layers when `depth` is None."""

    def __init__(self, model: Model, depth: int | None = None, kv: KV | None = None, trace: DepthTrace | None = None):
        super().__init__(model, kv, trace)
        self.depth = model.config.layers if depth is None else depth
        check_layer(model, "depth", self.depth, model.config.layers)

    def run(self, batch: Sequence[Rows]) -> list[torch.Tensor]:
        result = []
        for rows in batch:
            h = self.model.embed(rows.tokens)
            for layer in range(self.depth):
                h = run_layer(self.model, self.kv, rows.sequence, layer, h, rows.positions)
            for position in rows.positions:
                self.trace.finish(rows.sequence, position, self.depth)
            result.append(self.model.head(h))
        return result


@dataclass
class Generation:
    """New tokens per prompt, and the logits [tokens, vocab] each was chosen from. `calls` counts decoding steps."""

    tokens: list[list[int]]
    logits: list[torch.Tensor]
    calls: int = 0


@dataclass
class _Text:
    ids: list[int]
    prompt: int
    pending: int
    logits: list[torch.Tensor] = field(default_factory=list)

    def apply(self, emitted: Emitted, control: Control) -> bool:
        """Returns whether tokens behind an end token were cut off."""
        if emitted.drop:
            del self.ids[-emitted.drop :]
            del self.logits[-emitted.drop :]
        for i, token in enumerate(emitted.tokens):
            self.ids.append(token)
            self.logits.append(emitted.logits[i])
            if token in control.eos:
                return i + 1 < len(emitted.tokens)
        return False


def generate(
    method: Method,
    prompts: Sequence[Sequence[int]],
    steps: int,
    *,
    pick: Pick = greedy,
    eos: Collection[int] = (),
    chunk: int | None = None,
) -> Generation:
    """Continues each prompt by up to `steps` tokens; an end token is kept as the last one. Sequence s is prompts[s].

    `chunk` rows of a prompt are run at a time, all when None. All live sequences advance together, one step each."""
    if steps < 1 or any(not prompt for prompt in prompts):
        raise UserError("prompts: each must have at least 1 token, and steps must be at least 1")
    control, texts = Control(pick, eos), []
    for sequence, prompt in enumerate(prompts):
        pieces = _pieces(prompt, chunk)
        for start, tokens in pieces[:-1]:
            method.run([Rows(sequence, tokens, start, len(prompt))])
        texts.append(_Text([int(t) for t in prompt], len(prompt), len(pieces[-1][1])))
    live, calls = list(range(len(texts))), 0
    while live:
        batch = []
        for s in live:
            text = texts[s]
            start, limit = len(text.ids) - text.pending, steps - len(text.logits)
            batch.append(Rows(s, tuple(text.ids[start:]), start, text.prompt, limit))
        calls += 1
        for s, emitted in zip(list(live), method.advance(batch, control)):
            if not _go_on(method, s, texts[s], emitted, steps, control):
                live.remove(s)
    return Generation([t.ids[t.prompt :] for t in texts], [torch.stack(t.logits) for t in texts], calls)


def _go_on(method: Method, sequence: int, text: _Text, emitted: Emitted | None, steps: int, control: Control) -> bool:
    """Applies a step's result; False when the text has ended and stays as it is."""
    while emitted is not None:
        text.pending = 1
        if text.apply(emitted, control):
            method.truncate(sequence, len(text.ids) - 1)
        if text.ids[-1] not in control.eos and len(text.logits) < steps:
            return True
        emitted = method.finish(sequence, text.ids, control)
    return False


def teacher_forced(
    method: Method, texts: Sequence[Sequence[int]], *, prompt: int = 0, chunk: int | None = None
) -> list[torch.Tensor]:
    """Logits [tokens, vocab] of every row of given texts, run `chunk` rows at a time (all when None).

    The first `prompt` tokens of each text count as prompt. All texts run side by side."""
    pieces = [_pieces(text, chunk) for text in texts]
    logits: list[list[torch.Tensor]] = [[] for _ in texts]
    for turn in range(max(len(p) for p in pieces)):
        batch = [Rows(s, p[turn][1], p[turn][0], prompt) for s, p in enumerate(pieces) if turn < len(p)]
        for rows, result in zip(batch, method.run(batch)):
            logits[rows.sequence].append(result)
    return [torch.cat(parts) for parts in logits]


def check_layer(model: Model, name: str, value: int, most: int | None = None) -> None:
    """Raises unless 1 <= value <= `most`, by default one less than the number of layers."""
    most = model.config.layers - 1 if most is None else most
    if not 1 <= value <= most:
        raise UserError(f"{name}: must be 1..{most} layers, but got {value}")


def _pieces(tokens: Sequence[int], chunk: int | None) -> list[tuple[int, tuple[int, ...]]]:
    """(start, tokens) of each chunk."""
    if chunk is not None and chunk < 1:
        raise UserError(f"chunk: must be at least 1 row, but got {chunk}")
    ids = tuple(int(t) for t in tokens)
    size = chunk or len(ids)
    return [(start, ids[start : start + size]) for start in range(0, len(ids), size)]
