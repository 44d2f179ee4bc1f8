# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Depth traces: how deep each row ran and what the criteria said at each decision; recorded, saved, followed.

A row is (sequence, position). Its depth is a count: of layers for exits in a stack, of recursions or loops for
recursive models. At decision point `at` (the depth reached so far) a row leaves or goes on; `scores` are what was known
there, by name, in logit space unless the criterion says otherwise. A trace that follows another one takes its depths: a
row leaves at the first decision point with at >= its scripted depth, whatever the scores say (they are still recorded).
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path

from ..errors import UserError

Row = tuple[int, int]


class DepthTrace:
    """`depth[sequence, position]`, `scores[sequence, position][at][criterion]`."""

    def __init__(self, follow: "DepthTrace | Mapping[Row, int] | None" = None):
        self.depth: dict[Row, int] = {}
        self.scores: dict[Row, dict[int, dict[str, float]]] = {}
        self.script = follow.depth if isinstance(follow, DepthTrace) else follow

    def _scripted(self, row: Row) -> int:
        if row not in self.script:
            raise UserError(f"trace: must give a depth for sequence {row[0]}, position {row[1]}; it has none")
        return self.script[row]

    def decide(self, sequence: int, position: int, at: int, scores: Mapping[str, float], leave: bool) -> bool:
        """Records a decision; returns whether the row leaves: `leave`, or what the followed trace says."""
        row = (sequence, position)
        self.scores.setdefault(row, {})[at] = {name: float(score) for name, score in scores.items()}
        return bool(leave) if self.script is None else self._scripted(row) <= at

    def choose(self, sequence: int, position: int, scores: Mapping[str, float], depth: int) -> int:
        """Records a depth that is chosen at once (token-choice routing), as a decision at 0; returns the depth to run."""
        row = (sequence, position)
        self.scores.setdefault(row, {})[0] = {name: float(score) for name, score in scores.items()}
        return int(depth) if self.script is None else self._scripted(row)

    def finish(self, sequence: int, position: int, depth: int) -> None:
        """The row is done, `depth` deep."""
        self.depth[sequence, position] = int(depth)

    def truncate(self, sequence: int, length: int) -> None:
        """Forgets rows at positions >= `length`: their tokens were taken back."""
        for table in (self.depth, self.scores):
            for row in [r for r in table if r[0] == sequence and r[1] >= length]:
                del table[row]

    def depths(self, sequence: int) -> list[int]:
        """Depths of a sequence's rows by ascending position."""
        return [self.depth[row] for row in sorted(self.depth) if row[0] == sequence]

    def save(self, path: str | Path) -> None:
        """JSON: a list of rows; scores that are not finite are the strings "inf", "-inf", "nan"."""
        rows = [
            {
                "sequence": sequence,
                "position": position,
                "depth": self.depth.get((sequence, position)),
                "scores": {
                    str(at): {n: s if math.isfinite(s) else str(s) for n, s in named.items()}
                    for at, named in sorted(self.scores.get((sequence, position), {}).items())
                },
            }
            for sequence, position in sorted(self.depth.keys() | self.scores.keys())
        ]
        Path(path).write_text(json.dumps({"version": 1, "rows": rows}, indent=1) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> "DepthTrace":
        """What `save` wrote."""
        trace = cls()
        try:
            data = json.loads(Path(path).read_text())
            if data["version"] != 1:
                raise UserError(f"{path}: version: must be 1, but got {data['version']}")
            for row in data["rows"]:
                key = (int(row["sequence"]), int(row["position"]))
                if row["depth"] is not None:
                    trace.depth[key] = int(row["depth"])
                if row["scores"]:
                    trace.scores[key] = {int(at): {n: float(s) for n, s in named.items()} for at, named in row["scores"].items()}
        except UserError:
            raise
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise UserError(f"{path}: must be a depth trace (version and rows as DepthTrace.save writes them): {error!r}") from None
        return trace
