# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""How many bytes of keys and values each method keeps, as formulas.

One row of one level is 2 (K and V) * kv_heads * head_dim * element bytes. A cache is a list of groups (levels, rows): that many
levels, each holding that many rows of a sequence, so bytes = row bytes * sum levels * rows. Paged caches hold whole pages of
`page` rows per level: rows becomes ceil(rows / page) * page. T tokens, u unique layers, b shared blocks, R recursions, depth_i
the recursions row i ran:

    dense                              (L, T)                                     40,960 B per token for SmolLM-360M in bf16
    Mixture-of-Recursions, KV skipped  (u, T), (b, |{i: depth_i > r}|) for r < R  row bytes * (u + b sum_r capacity_r) per token
    Mixture-of-Recursions, KV shared   (u + b, T)
    looped, s slots                    (u, T), (b, T) s times                     depth-indexed s = R, single 1, ...
    looped, depth-indexed, skipped     as Mixture-of-Recursions with KV skipped
    Mixture-of-Depths                  (u, T), (1, routed rows) per routed layer

At the balanced capacities (R - r) / R and u = 0, KV skipped is (R + 1) / (2R) of dense.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from ..errors import UserError

Groups = list[tuple[int, int]]


@dataclass(frozen=True)
class KvShape:
    """Sizes of one row of one level; `element_bytes` 2 for bf16, 4 for f32."""

    kv_heads: int
    head_dim: int
    element_bytes: int = 2

    @property
    def row_bytes(self) -> int:
        return 2 * self.kv_heads * self.head_dim * self.element_bytes


def total_bytes(shape: KvShape, groups: Iterable[tuple[int, int]], page: int = 1) -> int:
    """Bytes of a cache; with `page` > 1 every level's rows are rounded up to whole pages."""
    if page < 1:
        raise UserError(f"page is {page}, it must be at least 1 row")
    return shape.row_bytes * sum(levels * (-(-rows // page) * page) for levels, rows in groups)


def dense(layers: int, tokens: int) -> Groups:
    """Every layer keeps every row: also early exits whose K,V are caught up, propagated or copied."""
    return [(layers, tokens)]


def recursion_skip(unique: int, blocks: int, recursions: int, depths: Sequence[int]) -> Groups:
    """Recursion r's b levels hold only the rows that ran it."""
    wrong = [d for d in depths if not 0 <= d <= recursions]
    if wrong:
        raise UserError(f"depth is {wrong[0]}, it must lie in [0, {recursions}]")
    return [(unique, len(depths)), *((blocks, sum(d > r for d in depths)) for r in range(recursions))]


def recursion_share(unique: int, blocks: int, tokens: int) -> Groups:
    """Only recursion 0 writes, and every row does."""
    return [(unique + blocks, tokens)]


def looped_slots(unique: int, blocks: int, slots: int, tokens: int) -> Groups:
    """Slot layouts: `slots` = R (depth-indexed), 1 (single), s (first then shared), k (modulo)."""
    return [(unique, tokens), *((blocks, tokens) for _ in range(slots))]


def routed_layers(unique: int, rows: Sequence[int]) -> Groups:
    """Mixture-of-Depths: `rows[0]` tokens at each of `unique` plain layers, then rows[1:] at the routed ones."""
    return [(unique, rows[0]), *((1, n) for n in rows[1:])]


def skip_bytes_per_token(shape: KvShape, unique: int, blocks: int, capacities: Sequence[Fraction]) -> Fraction:
    """Expected bytes per token when a share `capacities[r]` of the rows runs recursion r."""
    return shape.row_bytes * (unique + blocks * sum(map(Fraction, capacities)))


def ideal_skip_ratio(recursions: int) -> Fraction:
    """(R + 1) / (2R): KV skipped against dense at balanced capacities and no unique layer."""
    return Fraction(recursions + 1, 2 * recursions)
