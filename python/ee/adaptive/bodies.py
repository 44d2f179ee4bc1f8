# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Reference bodies of the `ai.adaptive` ops: lists of ONNX nodes that hold in opset 18 and later.

A body is static: it cannot branch on a string or on a missing input. Value names inside are those of the op's inputs
and outputs in `table`. Comparisons with NaN are false in ONNX, and the bodies are written so that this gives the
stated rule (a NaN score is neither selected, nor does it exit or halt).
"""

import numpy as np
import onnx
from onnx import AttributeProto, helper, numpy_helper

LOWEST = np.finfo(np.float32).min
_KINDS = {AttributeProto.FLOAT: "value_float", AttributeProto.INT: "value_int"}


class Body:
    """The nodes of one body; every method returns the name of the value it makes."""

    def __init__(self):
        self.nodes: list[onnx.NodeProto] = []

    def op(self, kind: str, inputs: list[str], out: str, **attributes) -> str:
        outputs = out.split()
        self.nodes.append(helper.make_node(kind, inputs, outputs, **attributes))
        return outputs[-1]

    def attribute(self, name: str, out: str, kind: int = AttributeProto.FLOAT) -> str:
        """A Constant whose value is the calling node's attribute: f32 [] or i64 []."""
        node = helper.make_node("Constant", [], [out])
        node.attribute.append(AttributeProto(name=_KINDS[kind], type=kind, ref_attr_name=name))
        self.nodes.append(node)
        return out

    def constant(self, array: np.ndarray, out: str) -> str:
        return self.op("Constant", [], out, value=numpy_helper.from_array(array, "value"))

    def row(self, mask: str, out: str) -> str:
        """A mask [...] as [..., 1], to select among values [..., D]."""
        return self.op("Unsqueeze", [mask, self.constant(np.array([-1], np.int64), "last")], out)


def exit_body() -> list[onnx.NodeProto]:
    b = Body()
    sure = b.op("GreaterOrEqual", ["score", b.attribute("threshold", "theta")], "sure")
    b.op("Where", [b.row(b.op("And", ["enabled", sure], "leaves"), "row"), "exit_value", "rest_value"], "value")
    return b.nodes


def keep_body() -> list[onnx.NodeProto]:
    b = Body()
    b.op("Where", [b.row("active", "row"), "f_h", "h"], "value")
    return b.nodes


def route_threshold_body() -> list[onnx.NodeProto]:
    b = Body()
    b.op("And", ["active", b.op("Greater", ["score", b.attribute("theta", "bound")], "above")], "selected")
    return b.nodes


def route_top_k_body() -> list[onnx.NodeProto]:
    """TopK's own tie rule (lower index first) is the rule; inactive rows are put behind everything active."""
    b = Body()
    length = b.op("Shape", ["score"], "length", start=-1)
    product = b.op("Mul", [b.op("Cast", [length], "rows", to=onnx.TensorProto.FLOAT), b.attribute("capacity", "share")], "product")
    whole = b.op("Cast", [product], "whole", to=onnx.TensorProto.INT64)
    at_least = b.op("Max", [whole, b.constant(np.array([1], np.int64), "one")], "at_least")
    k = b.op("Min", [at_least, length], "k")
    lowest = b.constant(np.array(LOWEST, np.float32), "lowest")
    number = b.op("Where", [b.op("IsNaN", ["score"], "nan"), lowest, b.op("Max", ["score", lowest], "finite")], "number")
    masked = b.op("Where", ["active", number, b.constant(np.array(-np.inf, np.float32), "behind")], "masked")
    index = b.op("TopK", [masked, k], "best index", axis=-1, largest=1, sorted=1)
    nobody = b.op("And", ["active", b.op("Not", ["active"], "inactive")], "nobody")
    chosen = b.op("ScatterElements", [nobody, index, b.op("Equal", [index, index], "yes")], "chosen", axis=-1)
    b.op("And", ["active", chosen], "selected")
    return b.nodes


def route_token_choice_body() -> list[onnx.NodeProto]:
    b = Body()
    least = b.constant(np.array(-np.inf, np.float32), "least")
    number = b.op("Where", [b.op("IsNaN", ["scores"], "nan"), least, "scores"], "number")
    choice = b.op("ArgMax", [number], "choice", axis=-1, keepdims=0, select_last_index=0)
    b.op("LessOrEqual", ["depth", choice], "selected")
    b.op("Equal", ["depth", choice], "last")
    return b.nodes


def gate_weighted_body() -> list[onnx.NodeProto]:
    b = Body()
    scaled = b.op("CastLike", [b.op("Mul", ["gate", b.attribute("alpha", "scale")], "scaled"), "h"], "weight")
    added = b.op("Add", ["h", b.op("Mul", [b.row(scaled, "weights"), "f_h"], "update")], "added")
    b.op("Where", [b.op("Unsqueeze", ["active", "last"], "row"), added, "h"], "value")
    return b.nodes


def gate_additive_body() -> list[onnx.NodeProto]:
    b = Body()
    b.op("Where", [b.row("active", "row"), b.op("Add", ["h", "f_h"], "added"), "h"], "value")
    return b.nodes


def active_mask_body() -> list[onnx.NodeProto]:
    b = Body()
    axes = b.constant(np.array([1, 2], np.int64), "axes")
    b.op("And", ["mask", b.op("Unsqueeze", ["active", axes], "keys")], "visible")
    return b.nodes


def _goes_on(b: Body, stops: str) -> None:
    b.op("And", ["running", b.op("Not", [stops], "stays")], "still_running")


def halt_threshold_body() -> list[onnx.NodeProto]:
    b = Body()
    _goes_on(b, b.op("GreaterOrEqual", ["score", b.attribute("theta", "bound")], "stops"))
    return b.nodes


def halt_cdf_body() -> list[onnx.NodeProto]:
    """1 - sigmoid(z) = exp(-softplus(z)), hence log of the product of survivals = -sum of softplus."""
    b = Body()
    after = b.op("Sub", ["log_survival", b.op("Softplus", ["gate_logit"], "hazard")], "after")
    b.op("Where", ["running", after, "log_survival"], "new_log_survival")
    bound = b.op("Neg", [b.op("Softplus", [b.attribute("theta", "quantile")], "allowed")], "bound")
    _goes_on(b, b.op("LessOrEqual", ["new_log_survival", bound], "stops"))
    return b.nodes


def halt_delta_body() -> list[onnx.NodeProto]:
    b = Body()
    now, before = (b.op("Cast", [x], x + "_f32", to=onnx.TensorProto.FLOAT) for x in ("h", "previous"))
    last = b.constant(np.array([-1], np.int64), "last")
    moved = b.op("ReduceL2", [b.op("Sub", [now, before], "delta"), last], "moved", keepdims=0)
    ratio = b.op("Div", [moved, b.op("ReduceL2", [now, last], "size", keepdims=0)], "ratio")
    _goes_on(b, b.op("Less", [ratio, b.attribute("epsilon", "bound")], "stops"))
    return b.nodes


def halt_patience_body() -> list[onnx.NodeProto]:
    b = Body()
    one, zero = (b.constant(np.array(i, np.int64), name) for i, name in ((1, "one"), (0, "zero")))
    counted = b.op("Where", ["agrees", b.op("Add", ["count", one], "more"), zero], "counted")
    b.op("Where", ["running", counted, "count"], "new_count")
    _goes_on(b, b.op("GreaterOrEqual", ["new_count", b.attribute("patience", "enough", AttributeProto.INT)], "stops"))
    return b.nodes
