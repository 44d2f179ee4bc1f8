# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The KV store as an explicit dictionary, and the two things done with it: fill a layer, run a layer.

An entry is (sequence, level, position) -> (k, v), each [kv_heads, head_dim], k rotated. A level is where an unrolled
layer keeps its entries: by default its own number, so depth-indexed; methods that share or overwrite map layers to
levels themselves. Reading what was never written raises, and so does writing twice without asking for it: every method
has to say where each row's K,V come from.

Counters, for tests of work and traffic: `writes[sequence, level]`, `reads[sequence, level]` (entries, one per query row
and visible key), and `ops[op, sequence, layer, position]` with op "q" (query projection, attention and MLP of a row) or
"kv" (K and V projection of a row), by UNROLLED layer, so that a layer that only reads another one's level is seen.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import torch

from .model import Model, attend

Entry = tuple[torch.Tensor, torch.Tensor]


class KVError(LookupError):
    """A method read an entry that was never written, or wrote one twice without asking for it."""


class KV:
    """The store of all sequences of a batch."""

    def __init__(self):
        self.entries: dict[tuple[int, int, int], Entry] = {}
        self.writes: Counter[tuple[int, int]] = Counter()
        self.reads: Counter[tuple[int, int]] = Counter()
        self.ops: Counter[tuple[str, int, int, int]] = Counter()

    def has(self, sequence: int, level: int, position: int) -> bool:
        return (sequence, level, position) in self.entries

    def write(self, sequence: int, level: int, position: int, entry: Entry, overwrite: bool = False) -> None:
        """Stores one entry; an existing one is replaced only with `overwrite`."""
        key = (sequence, level, position)
        if key in self.entries and not overwrite:
            raise KVError(f"sequence {sequence}, level {level}, position {position} is already written")
        self.entries[key] = entry
        self.writes[sequence, level] += 1

    def read(self, sequence: int, level: int, position: int) -> Entry:
        """One entry. Raises `KVError` where nothing was written."""
        key = (sequence, level, position)
        if key not in self.entries:
            raise KVError(f"sequence {sequence}, level {level}, position {position} was never written")
        self.reads[sequence, level] += 1
        return self.entries[key]

    def gather(self, sequence: int, level: int, positions: Iterable[int]) -> Entry:
        """Entries at `positions`, in that order: k, v [positions, kv_heads, head_dim]."""
        k, v = zip(*(self.read(sequence, level, p) for p in positions))
        return torch.stack(k), torch.stack(v)

    def positions(self, sequence: int, level: int) -> list[int]:
        """Written positions of a level, ascending."""
        return sorted(p for s, l, p in self.entries if (s, l) == (sequence, level))

    def truncate(self, sequence: int, level: int, length: int) -> None:
        """Forgets the entries of a level at positions >= `length`."""
        for position in self.positions(sequence, level):
            if position >= length:
                del self.entries[sequence, level, position]

    def truncate_all(self, sequence: int, length: int) -> None:
        """`truncate` on every level of a sequence."""
        for level in {l for s, l, _ in self.entries if s == sequence}:
            self.truncate(sequence, level, length)

    def count(self, op: str, sequence: int, layer: int, positions: Iterable[int]) -> None:
        """Notes that `op` ("q" or "kv") was computed in unrolled layer `layer` for these rows."""
        self.ops.update((op, sequence, layer, p) for p in positions)

    def total(self, op: str, layers: Iterable[int] | None = None) -> int:
        """How many rows `op` was computed for, in all layers or in `layers`."""
        wanted = None if layers is None else set(layers)
        return sum(n for (o, _, l, _), n in self.ops.items() if o == op and (wanted is None or l in wanted))


def fill_layer(
    model: Model,
    kv: KV,
    sequence: int,
    layer: int,
    h: torch.Tensor,
    positions: Sequence[int],
    *,
    level: int | None = None,
    overwrite: bool = False,
) -> None:
    """Projects K,V of unrolled layer `layer` from states h [rows, hidden] and stores them; attention and MLP are not run."""
    k, v = model.keys_values(layer, h, positions)
    kv.count("kv", sequence, layer, positions)
    for i, position in enumerate(positions):
        kv.write(sequence, layer if level is None else level, position, (k[i], v[i]), overwrite)


def run_layer(
    model: Model,
    kv: KV,
    sequence: int,
    layer: int,
    h: torch.Tensor,
    positions: Sequence[int],
    *,
    level: int | None = None,
    visible: Callable[[int], Iterable[int]] | None = None,
    fill: bool = True,
    overwrite: bool = False,
) -> torch.Tensor:
    """One block on rows h [rows, hidden] of one sequence -> next h. The rows' K,V are stored first, unless `fill` is off.

    `visible(position)` lists the key positions that row sees at `level` (default `layer`); without it every position up
    to its own, all of which must then have been written."""
    level = layer if level is None else level
    if len(positions) == 0:
        return h
    if fill:
        fill_layer(model, kv, sequence, layer, h, positions, level=level, overwrite=overwrite)
    q = model.queries(layer, h, positions)
    kv.count("q", sequence, layer, positions)
    keys = visible or (lambda position: range(position + 1))
    y = torch.stack([attend(q[i], *kv.gather(sequence, level, keys(p))) for i, p in enumerate(positions)])
    return model.after_attention(layer, h, y)


def written(kv: KV, sequence: int, level: int) -> Callable[[int], list[int]]:
    """A `visible` rule: the positions that hold an entry at `level`, up to the row's own (skipped rows are not keys)."""
    return lambda position: [p for p in kv.positions(sequence, level) if p <= position]
