# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""One file in ONNX Runtime against the reference.

Agreement: max |logits - reference| <= TOLERANCE * max |reference|, and the same decisions in every row but those where the
reference's score lies within NEAR of its threshold. Where such rows differ, the reference is run again with the file's
decisions, because their K,V reach other rows.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

from .cases import Answer, Run, Subject

TOLERANCE, NEAR = 1e-4, 1e-3


@dataclass
class Comparison:
    """`error`: max |difference| / max |reference|; `near`: rows whose decision was close; `problem`: one line, empty if all agrees."""

    error: float
    near: list[list[int]]
    problem: str = ""


def runner(path: Path) -> Run:
    """The file in stock ONNX Runtime on the CPU, one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    return lambda inputs: dict(zip(names, session.run(None, {n: np.ascontiguousarray(x) for n, x in inputs.items()}), strict=True))


def compare(subject: Subject, outputs: dict[str, np.ndarray], answer: Answer) -> Comparison:
    """`outputs` of the file on the inputs that `answer` is about."""
    got, want = outputs[subject.decide], answer.outputs[subject.decide]
    close = answer.margin < NEAR
    near = np.argwhere(close).tolist()
    if got.shape != want.shape:
        return Comparison(np.inf, near, f"{subject.decide} has shape {got.shape}, the reference's has {want.shape}")
    differs = (got != want).reshape(*close.shape, -1).any(-1)
    if (differs & ~close).any():
        row = np.argwhere(differs & ~close)[0]
        where, margin = tuple(row.tolist()), answer.margin[tuple(row)]
        return Comparison(
            np.inf, near, f"row {where}: {subject.decide} {got[where]}, the reference's {want[where]} at a margin of {margin:.3g}"
        )
    if differs.any():
        answer = subject.reference(got)
    if not np.array_equal(outputs["depth"], answer.outputs["depth"]):
        return Comparison(np.inf, near, "depth differs although the decisions are the same")
    logits, reference = outputs["logits"], answer.outputs["logits"]
    error = float(np.abs(logits - reference).max() / np.abs(reference).max())
    agrees = logits.shape == reference.shape and error <= TOLERANCE  # false for NaN
    return Comparison(error, near, "" if agrees else f"logits differ by {error:.3g} of the largest, more than {TOLERANCE:g}")


def compare_generation(expected: dict[str, np.ndarray], got: dict[str, np.ndarray]) -> str:
    """One line where text made with the file differs from the reference's, else nothing."""
    for name, want in expected.items():
        if not np.array_equal(got[name], want):
            return f"generation: {name} {got[name].tolist()}, the reference's {want.tolist()}"
    return ""
