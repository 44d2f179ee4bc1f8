# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""ONNX's own node tests as the general path takes them: single cases, and many merged into one model, because a
compile costs more than the computation."""

import warnings
from dataclasses import dataclass
from functools import cache

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
# The reference rounds after each operation; relative and absolute.
EPSILON = {np.dtype(np.float16): (1e-2, 2e-3), BFLOAT16: (2e-2, 1e-2)}


@dataclass
class Case:
    name: str
    model: onnx.ModelProto
    inputs: dict
    outputs: dict
    rtol: float
    atol: float


def _array(value):
    if isinstance(value, TensorProto):
        value = numpy_helper.to_array(value)
    return value if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind not in "OUS" else None


@cache
def cases() -> dict[str, Case]:
    """All node tests whose inputs and outputs are tensors of numbers, by name."""
    from onnx.backend.test import loader

    result = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tests = loader.load_model_tests(kind="node")
    for test in tests:
        constant = {t.name for t in test.model.graph.initializer}
        names = [i.name for i in test.model.graph.input if i.name not in constant]
        wanted = [o.name for o in test.model.graph.output]
        for inputs, outputs in (test.data_sets or [])[:1]:
            inputs, outputs = [_array(v) for v in inputs], [_array(v) for v in outputs]
            if any(v is None for v in inputs + outputs) or len(inputs) != len(names) or len(outputs) != len(wanted):
                continue
            name = test.name.removeprefix("test_")
            result[name] = Case(name, test.model, dict(zip(names, map(np.asarray, inputs), strict=True)),
                                dict(zip(wanted, map(np.asarray, outputs), strict=True)), test.rtol, test.atol)  # fmt: skip
    return result


def is_listed(value: np.ndarray) -> bool:
    """Integers in a list: shapes, axes, bounds."""
    return value.dtype == np.int64 and value.ndim <= 1


def with_constants(case: Case) -> Case:
    """The lists of integers as initialisers: what an exporter writes."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    moved = {n: v for i, (n, v) in enumerate(case.inputs.items()) if i > 0 and is_listed(v)}
    model.graph.initializer.extend(numpy_helper.from_array(v, n) for n, v in moved.items())
    left = [i for i in model.graph.input if i.name not in moved]
    del model.graph.input[:]
    model.graph.input.extend(left)
    return Case(case.name, model, {n: v for n, v in case.inputs.items() if n not in moved}, case.outputs, case.rtol, case.atol)


def with_unknown_sizes(case: Case) -> Case:
    """No dimension is known but those of lists of integers, whose lengths are ranks."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    for info in list(model.graph.input) + list(model.graph.output):
        if info.name in case.inputs and is_listed(case.inputs[info.name]):
            continue
        for k, dim in enumerate(info.type.tensor_type.shape.dim):
            dim.dim_param = f"{info.name}_{k}"
    return Case(case.name, model, case.inputs, case.outputs, case.rtol, case.atol)


def _renamed(graph, prefix: str) -> onnx.GraphProto:
    """A copy with a prefix before every name but "", subgraphs included."""
    copy = onnx.GraphProto()
    copy.CopyFrom(graph)

    def rename(graph):
        for info in [*graph.input, *graph.output, *graph.value_info, *graph.initializer]:
            info.name = prefix + info.name
            for dim in info.type.tensor_type.shape.dim if isinstance(info, onnx.ValueInfoProto) else ():
                if dim.dim_param:
                    dim.dim_param = prefix + dim.dim_param
        for node in graph.node:
            node.name = prefix + (node.name or node.op_type)
            for names in (node.input, node.output):
                names[:] = [prefix + n if n else "" for n in names]
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    rename(attribute.g)

    rename(copy)
    return copy


def merge(group: list[Case]) -> Case:
    """One model that computes all cases side by side; they must import the same opsets."""
    graph = onnx.GraphProto(name="nodes")
    inputs, outputs = {}, {}
    for i, case in enumerate(group):
        prefix = f"c{i}."
        part = _renamed(case.model.graph, prefix)
        for field in ("input", "output", "node", "initializer", "value_info"):
            getattr(graph, field).extend(getattr(part, field))
        inputs |= {prefix + n: v for n, v in case.inputs.items()}
        outputs |= {prefix + n: v for n, v in case.outputs.items()}
    model = helper.make_model(graph, opset_imports=group[0].model.opset_import, ir_version=max(c.model.ir_version for c in group))
    model.functions.extend(f for c in group for f in c.model.functions)
    return Case("+".join(c.name for c in group[:3]), model, inputs, outputs, 0, 0)


def groups(chosen: list[Case], size: int) -> list[list[Case]]:
    """`chosen` in parts of at most `size` that can be merged."""
    by_opset = {}
    for case in chosen:
        key = tuple(sorted((o.domain, o.version) for o in case.model.opset_import))
        by_opset.setdefault((key, bool(case.model.functions) and case.name), []).append(case)
    return [part[i : i + size] for part in by_opset.values() for i in range(0, len(part), size)]


def in_npy(value: np.ndarray) -> np.ndarray:
    """As ee-run reads and writes it: bfloat16 travels as float32, .npy has no name for it."""
    return value.astype(np.float32) if value.dtype == BFLOAT16 else value


def difference(case: Case, name: str, got: np.ndarray) -> str | None:
    """What is wrong with an output, or None. Narrow floats are held to their own precision."""
    want = case.outputs[name]
    if got.shape != want.shape:
        return f"{case.name}: '{name}' has shape {list(got.shape)}, expected {list(want.shape)}"
    if got.dtype != in_npy(want).dtype:
        return f"{case.name}: '{name}' is {got.dtype}, expected {want.dtype}"
    rtol, atol = EPSILON.get(want.dtype, (case.rtol, case.atol))
    if want.dtype.kind in "biu":
        close = got == want
    else:
        close = np.isclose(got.astype(np.float64), want.astype(np.float64), max(rtol, case.rtol), max(atol, case.atol), equal_nan=True)
    if close.all():
        return None
    at = np.unravel_index(np.argmin(close), close.shape)
    return f"{case.name}: '{name}' at {list(map(int, at))} is {got[at]}, expected {want[at]}"
