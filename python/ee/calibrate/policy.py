# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""policy.toml for ee-run: a threshold per exit point, in logit space (docs/ArtifactFormat.md)."""

import json
import re
from pathlib import Path

import numpy as np

from ..folders import whole_file
from .executed import Executed
from .trace_file import TraceFile


def point_thresholds(trace: TraceFile | Executed, thresholds: np.ndarray | None) -> list[float | None]:
    """The constants of the points' own comparisons: a threshold for score >= threshold under rule "exit", a theta for
    score > theta under "route"; None where no row may leave. `thresholds`: leave thresholds, None for full depth."""
    if thresholds is None:
        return [None] * len(trace.names)
    sign = 1.0 if trace.rule == "exit" else -1.0
    return [float(np.float32(sign * t)) if np.isfinite(t) else None for t in thresholds]


def _number(value: float) -> str:
    """The shortest decimal that reads back as the same float32, as TOML writes a float."""
    plain = value == 0 or 1e-4 <= abs(value) < 1e9
    return np.format_float_positional(np.float32(value), trim="0") if plain else np.format_float_scientific(np.float32(value), trim="0")


def policy_text(trace: TraceFile | Executed, thresholds: np.ndarray | None, comment: str = "") -> str:
    """The file's text; `comment` lines go on top."""
    rule = "leaves when score >= threshold" if trace.rule == "exit" else "goes on when score > threshold"
    lines = [f"# {line}" for line in [*comment.splitlines(), f"Logit space. A row {rule}."]]
    lines += ["version = 1"]
    for name, value in zip(trace.names, point_thresholds(trace, thresholds)):
        key = name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name)
        lines += ["", f"[exits.{key}]", "enabled = false" if value is None else f"threshold = {_number(value)}"]
    return "\n".join(lines) + "\n"


def write_policy(path: str | Path, trace: TraceFile | Executed, thresholds: np.ndarray | None, comment: str = "") -> None:
    """Write policy.toml, whole or not at all."""
    with whole_file(path) as partial:
        partial.write_text(policy_text(trace, thresholds, comment), encoding="utf-8")
