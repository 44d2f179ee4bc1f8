# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Policies that were run: what a promise must be tested on when K,V of rows that left are not exact.

Under `propagate`, `skip`, `copy` or `share` a token's result depends on where earlier tokens left, so a trace, in which all
rows stop at one depth, does not say what a policy does. Here candidate policies, in a testing order that was fixed on
other documents, were run for real on every document.

An .npz file:

    names       [points] str              decision points in the order a row meets them
    rule        str                       "exit" or "route", as in `trace_file`
    thresholds  [policies, points] float  leave thresholds, in testing order
    cost        [policies] float          mean cost units of a token; full_cost: of one at full depth
    layers      [policies] float          mean layers run
    agrees      [policies, tokens] bool   the token emitted is full depth's
    excess      [policies, tokens] f32    loss above full depth, nats
    document    [tokens] int              which document a token is of
"""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from ..errors import UserError
from .ltt import Resplits, Target, by_document, fixed_sequence, repeated
from .search import token_risk
from .trace_file import RULES, read_arrays, write_arrays

_KINDS = {"thresholds": ("iuf", 2), "cost": ("iuf", 1), "layers": ("iuf", 1), "agrees": ("b", 2), "excess": ("iuf", 2), "document": ("iu", 1)}


@dataclass(frozen=True)
class Executed:
    """The arrays above, checked when made."""

    names: tuple[str, ...]
    rule: str
    thresholds: np.ndarray
    cost: np.ndarray
    full_cost: float
    layers: np.ndarray
    agrees: np.ndarray
    excess: np.ndarray
    document: np.ndarray

    def __post_init__(self):
        object.__setattr__(self, "names", tuple(str(n) for n in np.atleast_1d(self.names)))
        object.__setattr__(self, "rule", str(self.rule))
        object.__setattr__(self, "full_cost", float(self.full_cost))
        for name, (kinds, rank) in _KINDS.items():
            array = np.asarray(getattr(self, name))
            if array.ndim != rank or array.dtype.kind not in kinds:
                raise UserError(f"executed policies: {name} must have {rank} dimensions and hold {'truth values' if kinds == 'b' else 'numbers'}")
            if np.isnan(array.astype(np.float64)).any():
                raise UserError(f"executed policies: {name} has values that are not numbers")
            object.__setattr__(self, name, array)
        policies, points, tokens = len(self.thresholds), len(self.names), len(self.document)
        shapes = {"thresholds": (policies, points), "cost": (policies,), "layers": (policies,)}
        shapes |= {"agrees": (policies, tokens), "excess": (policies, tokens)}
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise UserError(f"executed policies: {name} is {list(getattr(self, name).shape)}, must be {list(shape)}")
        if not policies or not points or not tokens:
            raise UserError(f"executed policies: {policies} policies, {points} points, {tokens} tokens; there must be one of each at least")
        if self.rule not in RULES:
            raise UserError(f"executed policies: rule {self.rule!r} is not one of {', '.join(RULES)}")

    def risks(self, target: Target, keep: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """([policies, units], [units] documents); `keep` [tokens] chooses tokens."""
        keep = np.ones(len(self.document), bool) if keep is None else keep
        token = token_risk(self.agrees[:, keep], self.excess[:, keep], target.risk, target.bound)
        return (token, self.document[keep]) if target.unit == "token" else by_document(token, self.document[keep])

    def passed(self, target: Target, keep: np.ndarray, seed: int = 0) -> int:
        """How many policies, in order, pass Learn-then-Test on the documents of tokens `keep`; the last one is the result."""
        risks, _ = self.risks(target, keep)
        order = np.random.default_rng(seed).permutation(risks.shape[1])
        return fixed_sequence(risks[:, order], target.level, target.epsilon, target.p_value)

    def resplits(self, target: Target, n: int = 200, share: float = 0.5, seed: int = 0) -> Resplits:
        """`ltt.repeated` on all documents: which policies there are was fixed on others."""
        return repeated(*self.risks(target), self.cost, self.full_cost, target, n, share, seed)

    def save(self, path: str | Path) -> None:
        """Write the .npz file, whole or not at all."""
        write_arrays(path, self)

    @staticmethod
    def load(path: str | Path) -> "Executed":
        """Read and check a file that `save` wrote."""
        arrays = read_arrays(path, [f.name for f in fields(Executed)])
        try:
            return Executed(**arrays)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None


def is_executed(path: str | Path) -> bool:
    """Whether the .npz file holds executed policies; false for whatever cannot be read, which the reader then refuses."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return "thresholds" in file.files
    except Exception:  # noqa: BLE001 - the reader says what is wrong
        return False
