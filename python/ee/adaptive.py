# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The domain `ai.adaptive`, version 1, as one table: every op with the reference body that defines it.

A file that uses these ops carries the bodies as model-local functions, so stock ONNX Runtime runs it. Bodies are
static: they cannot branch on a string or a missing input, hence every input is required. String attributes are
tags for readers and are checked against the dataflow by the compiler. Masks (`score`, `enabled`, `active`) have one
axis less than the values they select: values [..., D], masks [...]; in a language model [batch, seq].
"""

from dataclasses import dataclass
from typing import Callable

import onnx
from onnx import AttributeProto, TensorProto, helper

DOMAIN, VERSION = "ai.adaptive", 1


@dataclass(frozen=True)
class AdaptiveOp:
    """One op: input and output names with their type variables, attribute types, doc, and the body's nodes."""

    name: str
    inputs: tuple[tuple[str, str], ...]
    outputs: tuple[tuple[str, str], ...]
    attributes: tuple[tuple[str, int], ...]
    doc: str
    body: Callable[[], list[onnx.NodeProto]]


def _attribute_constant(out: str, attribute: str) -> onnx.NodeProto:
    """A Constant whose float value is the calling node's attribute."""
    node = helper.make_node("Constant", [], [out])
    node.attribute.append(AttributeProto(name="value_float", type=AttributeProto.FLOAT, ref_attr_name=attribute))
    return node


def _last_axis(out: str) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [out], value=helper.make_tensor("axis", TensorProto.INT64, [1], [-1]))


def _exit_body() -> list[onnx.NodeProto]:
    n = helper.make_node
    return [
        _attribute_constant("theta", "threshold"),
        n("GreaterOrEqual", ["score", "theta"], ["sure"]),
        n("And", ["enabled", "sure"], ["leaves"]),
        _last_axis("last"),
        n("Unsqueeze", ["leaves", "last"], ["row"]),
        n("Where", ["row", "exit_value", "rest_value"], ["value"]),
    ]


def _keep_body() -> list[onnx.NodeProto]:
    n = helper.make_node
    return [
        _last_axis("last"),
        n("Unsqueeze", ["active", "last"], ["row"]),
        n("Where", ["row", "f_h", "h"], ["value"]),
    ]


OPS = {
    op.name: op
    for op in (
        AdaptiveOp(
            "Exit",
            (("exit_value", "T"), ("rest_value", "T"), ("score", "tensor(float)"), ("hidden", "T2"), ("enabled", "tensor(bool)")),
            (("value", "T"),),
            (("threshold", AttributeProto.FLOAT), ("name", AttributeProto.STRING), ("criterion", AttributeProto.STRING)),
            "An exit point: where(enabled AND score >= threshold, exit_value, rest_value), a lazy select. Score and "
            "threshold are in logit space; a NaN score stays. What only rest_value needs is the continuation. hidden is "
            "the tapped state, so that a policy may choose another criterion the compiler made.",
            _exit_body,
        ),
        AdaptiveOp(
            "Keep",
            (("active", "tensor(bool)"), ("h", "T"), ("f_h", "T")),
            (("value", "T"),),
            (),
            "where(active, f_h, h): the row's state goes through the block f, or stays.",
            _keep_body,
        ),
    )
}


def function(name: str, opset: int) -> onnx.FunctionProto:
    """The reference body of op `name`, written in default-domain opset `opset` (at least 18)."""
    op = OPS[name]
    return helper.make_function(
        DOMAIN,
        op.name,
        [n for n, _ in op.inputs],
        [n for n, _ in op.outputs],
        op.body(),
        [helper.make_opsetid("", opset)],
        attributes=[n for n, _ in op.attributes],
        doc_string=op.doc,
    )


def attach_bodies(model: onnx.ModelProto) -> onnx.ModelProto:
    """Add the import and the bodies of the `ai.adaptive` ops that `model` uses and does not define yet; in place."""
    opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    defined = {(f.domain, f.name) for f in model.functions}
    used = sorted({n.op_type for n in model.graph.node if n.domain == DOMAIN})
    for name in used:
        if (DOMAIN, name) not in defined:
            model.functions.append(function(name, opset))
    if used and DOMAIN not in {o.domain for o in model.opset_import}:
        model.opset_import.append(helper.make_opsetid(DOMAIN, VERSION))
    return model


def register_schemas() -> None:
    """Make onnx (and with it onnxscript) know the ops' signatures; needed to emit body-less nodes. Idempotent."""
    schema = onnx.defs.OpSchema
    kinds = {AttributeProto.FLOAT: schema.AttrType.FLOAT, AttributeProto.STRING: schema.AttrType.STRING}
    floats = ["tensor(float)", "tensor(float16)", "tensor(bfloat16)", "tensor(double)"]
    for op in OPS.values():
        if onnx.defs.has(op.name, DOMAIN):
            continue
        variables = sorted({t for _, t in (*op.inputs, *op.outputs) if not t.startswith("tensor")})
        onnx.defs.register_schema(
            schema(
                op.name,
                DOMAIN,
                VERSION,
                doc=op.doc,
                inputs=[schema.FormalParameter(n, t) for n, t in op.inputs],
                outputs=[schema.FormalParameter(n, t) for n, t in op.outputs],
                type_constraints=[(v, floats, "") for v in variables],
                attributes=[schema.Attribute(n, kinds[t]) for n, t in op.attributes],
            )
        )
