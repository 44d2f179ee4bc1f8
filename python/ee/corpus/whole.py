# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A case's model, put together from blocks exported once, against the export of the whole module."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx

from ..adaptive import DOMAIN
from .cases import Case
from .compare import runner
from .files import exported

# Nodes that an export of the same computation has in the same number; others depend on what the exporter folds.
KINDS = ("MatMul", "Softmax", "Attention", "Keep", "Sigmoid", "Exp", "Neg", "ReduceMean")
LARGEST = 1e-5  # difference of a logit: the same float32 operations


def difference(case: Case, opset: int, folder: Path) -> str:
    """One line on what differs, else nothing. Leaves two models in `folder`."""
    subject, nodes, outputs = case.build(), [], []
    for whole in (True, False):
        model = exported(subject.module, subject.inputs, subject.outputs, opset, whole)
        path = folder / f"{'whole' if whole else 'blocks'}.onnx"
        onnx.save(model, path)
        nodes.append(Counter(n.op_type for n in model.graph.node if n.op_type in KINDS or n.domain == DOMAIN))
        outputs.append(runner(path)(subject.inputs))
    if nodes[0] != nodes[1] or nodes[0]["MatMul"] <= 10:
        return f"{case.name} at opset {opset}: nodes {dict(nodes[1])}, the whole module's {dict(nodes[0])}"
    want, got = outputs
    if not np.array_equal(got["depth"], want["depth"]):
        return f"{case.name} at opset {opset}: depths differ from the whole module's"
    error = float(np.abs(got["logits"] - want["logits"]).max())
    return "" if error <= LARGEST else f"{case.name} at opset {opset}: logits differ by {error:.2g} from the whole module's"
