# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The depth trace that calibration reads: for every token of held-out text, what each decision point saw and what
each depth would have given.

A trace is one .npz file:

    names        [points] str             decision points in the order a row meets them
    point_depth  [points] int             the depth index a row gets that leaves there; rising, below the last depth
    rule         str                      "exit" or "route", below
    depths       [depths] int             layers run at each depth index, rising; the last is full depth
    cost         [depths] float           cost units of a token that stops there, head included
    check_cost   [points] float           cost units of computing the score, paid by every row that reaches the point; where
                                          it is the exit's own head, leave the head out of `cost` of that depth
    scores       [tokens, points] float32 criterion in logit space
    loss         [tokens, depths] float32 next-token loss in nats at each depth
    argmax       [tokens, depths] int32   the token each depth would emit
    document     [tokens] int             which document a token is of
    exact        bool                     K,V of rows that left are exact (default: no)

Rule "exit": a row leaves at the first point with score >= threshold (an `Exit` op). Rule "route": it goes on past a
point iff score > theta (a router, causal), so it leaves when score <= theta. Each column of loss and argmax is
measured with all rows at one depth. With exact K,V a token does at a depth what it does there whatever earlier tokens did, and
a policy read off the trace is the policy run. With any other fill it is not: see `executed`.
"""

import zipfile
import zlib
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..folders import whole_file

RULES = ("exit", "route")
_NUMBERS = {"point_depth": (np.int64, 1), "depths": (np.int64, 1), "cost": (np.float64, 1), "check_cost": (np.float64, 1)}
_NUMBERS |= {"scores": (np.float32, 2), "loss": (np.float32, 2), "argmax": (np.int32, 2), "document": (np.int64, 1)}


def write_arrays(path: str | Path, record) -> None:
    """The fields of a dataclass as an .npz file."""
    with whole_file(path) as partial, open(partial, "wb") as file:
        np.savez_compressed(file, **{f.name: np.asarray(getattr(record, f.name)) for f in fields(record)})


def read_arrays(path: str | Path, wanted: list[str], optional: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    """The arrays of an .npz file by name: all of `wanted`, of which the `optional` ones may be missing, and no others."""
    try:
        loaded = np.load(path, allow_pickle=False)
        if not isinstance(loaded, np.lib.npyio.NpzFile):
            raise UserError(f"{path}: not a .npz file")
        with loaded as file:
            if missing := [n for n in wanted if n not in file.files and n not in optional]:
                raise UserError(f"{path}: has no array {missing[0]}; a trace has {', '.join(wanted)}")
            if unknown := [n for n in file.files if n not in wanted]:
                raise UserError(f"{path}: unknown array {unknown[0]}; a trace has {', '.join(wanted)}")
            return {n: file[n] for n in file.files}
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, OSError) as error:
        # Spoilt bytes come to light wherever the zip reader meets them; only an error of the file system has a name.
        if isinstance(error, UserError) or getattr(error, "filename", None) is not None:
            raise
        raise UserError(f"{path}: not a .npz file of plain arrays") from None


@dataclass(frozen=True)
class TraceFile:
    """The arrays above, checked when made. Scores of +-infinity become the largest finite float32."""

    names: tuple[str, ...]
    point_depth: np.ndarray
    rule: str
    depths: np.ndarray
    cost: np.ndarray
    check_cost: np.ndarray
    scores: np.ndarray
    loss: np.ndarray
    argmax: np.ndarray
    document: np.ndarray
    exact: bool = False

    def __post_init__(self):
        set_field = lambda name, value: object.__setattr__(self, name, value)  # noqa: E731 - the class is frozen
        set_field("names", tuple(str(n) for n in np.atleast_1d(self.names)))
        set_field("rule", str(self.rule))
        set_field("exact", bool(self.exact))
        for name, (dtype, rank) in _NUMBERS.items():
            array = np.asarray(getattr(self, name))
            if array.ndim != rank:
                raise UserError(f"trace: {name} has {array.ndim} dimensions, must have {rank}")
            whole = np.issubdtype(dtype, np.integer)
            if array.dtype.kind not in ("iu" if whole else "iuf"):
                raise UserError(f"trace: {name} is {array.dtype}, must be {'integers' if whole else 'numbers'}")
            if np.isnan(array).any() or (name != "scores" and not np.isfinite(array).all()):
                wish = "free of NaN" if name == "scores" else "finite"
                raise UserError(f"trace: {name} has values that are not numbers; it must be {wish}")
            set_field(name, array.astype(dtype, copy=False))
        largest = np.finfo(np.float32).max
        set_field("scores", np.clip(self.scores, -largest, largest))
        tokens, points, depths = len(self.document), len(self.names), len(self.depths)
        shapes = {"scores": (tokens, points), "loss": (tokens, depths), "argmax": (tokens, depths), "cost": (depths,)}
        shapes |= {"point_depth": (points,), "check_cost": (points,)}
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise UserError(f"trace: {name} is {list(getattr(self, name).shape)}, must be {list(shape)}")
        if not tokens or not points or depths < 2:
            raise UserError(f"trace: {tokens} tokens, {points} points, {depths} depths; there must be 1, 1 and 2 at least")
        if len(set(self.names)) < points or "" in self.names:
            raise UserError("trace: names must differ and not be empty")
        if self.rule not in RULES:
            raise UserError(f"trace: rule {self.rule!r} is not one of {', '.join(RULES)}")
        rising = all(np.all(np.diff(getattr(self, n)) > 0) for n in ("depths", "point_depth"))
        if not rising or self.point_depth[0] < 0 or self.point_depth[-1] > depths - 2:
            raise UserError(f"trace: depths must rise, and point_depth must rise within 0..{depths - 2}")
        if (np.diff(self.cost) < 0).any() or (self.cost < 0).any() or (self.check_cost < 0).any():
            raise UserError("trace: cost must not fall with depth, and no cost may be negative")

    @property
    def agrees(self) -> np.ndarray:
        """[tokens, depths] bool: the depth emits what full depth emits."""
        return self.argmax == self.argmax[:, -1:]

    @property
    def leave_scores(self) -> np.ndarray:
        """[tokens, points] float32: a row leaves at a point iff this >= the point's leave threshold. For "route" it is
        the negated score, and the leave threshold is -theta: score > theta, negated, is exactly -score >= -theta."""
        return self.scores if self.rule == "exit" else -self.scores

    def select(self, tokens: np.ndarray) -> "TraceFile":
        """The trace of some tokens: `tokens` is a mask or an index."""
        return replace(self, scores=self.scores[tokens], loss=self.loss[tokens], argmax=self.argmax[tokens], document=self.document[tokens])

    def split(self, shares: tuple[float, ...], seed: int) -> list["TraceFile"]:
        """Parts that share no document, with `shares` of the documents (to the nearest; each part at least one)."""
        documents = np.unique(self.document)
        if len(documents) < len(shares):
            raise UserError(f"trace: {len(documents)} documents cannot be split into {len(shares)} parts; trace more documents")
        order = np.random.default_rng(seed).permutation(documents)
        ends = np.round(np.cumsum(shares) / sum(shares) * len(documents)).astype(int)
        for i in range(len(ends)):  # room for one document in every part
            ends[i] = min(max(ends[i], (ends[i - 1] if i else 0) + 1), len(documents) - (len(ends) - 1 - i))
        return [self.select(np.isin(self.document, part)) for part in np.split(order, ends[:-1])]

    def save(self, path: str | Path) -> None:
        """Write the .npz file, whole or not at all."""
        write_arrays(path, self)

    @staticmethod
    def load(path: str | Path) -> "TraceFile":
        """Read and check a file that `save`, or numpy.savez with the same names, wrote."""
        wanted = [f.name for f in fields(TraceFile)]
        arrays = read_arrays(path, wanted, ("check_cost", "exact"))
        arrays.setdefault("check_cost", np.zeros(len(np.atleast_1d(arrays["names"]))))
        for name in ("names", "rule"):
            if arrays[name].dtype.kind != "U":
                raise UserError(f"{path}: {name} must be text")
        try:
            return TraceFile(**arrays)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
