# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""From the reference's logits and depth traces to arrays, and the other way: decisions that a trace is told to follow."""

from collections.abc import Sequence

import numpy as np
import torch

from ..reference.generate import Method, teacher_forced
from ..reference.trace import DepthTrace, Row
from .cases import Answer


def followed(depth: np.ndarray | None) -> dict[Row, int] | None:
    """Depths [B, S] as a script for `DepthTrace`; None stays None."""
    return None if depth is None else {(b, p): int(d) for (b, p), d in np.ndenumerate(depth)}


def score_array(trace: DepthTrace, shape: tuple[int, int], ats: Sequence[int], name: str) -> np.ndarray:
    """Score `name` at each decision point, f64 [B, S, decisions]; NaN where a row was not asked."""
    scores = np.full((*shape, len(ats)), np.nan)
    for (b, p), at_scores in trace.scores.items():
        for i, at in enumerate(ats):
            scores[b, p, i] = at_scores.get(at, {}).get(name, np.nan)
    return scores


def margins(scores: np.ndarray, thetas: Sequence[float]) -> np.ndarray:
    """Least |score - theta| of each row over the decisions it was asked for, inf if none: f64 [B, S]."""
    return np.nan_to_num(np.abs(scores - np.asarray(thetas)), nan=np.inf).min(-1, initial=np.inf)


def depths(trace: DepthTrace, batch: int) -> np.ndarray:
    """i64 [B, S]."""
    return np.array([trace.depths(b) for b in range(batch)], np.int64)


def answer(method: Method, ids: np.ndarray, prompt: int, ats: Sequence[int], name: str, thetas: Sequence[float]) -> Answer:
    """Runs whole texts ids [B, S] of which the first `prompt` tokens are given; decisions at `ats` compare score `name`."""
    logits = torch.stack(teacher_forced(method, ids.tolist(), prompt=prompt)).numpy()
    scores = score_array(method.trace, ids.shape, ats, name)
    return Answer({"logits": logits, "depth": depths(method.trace, len(ids))}, scores, margins(scores, thetas))
