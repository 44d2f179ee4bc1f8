# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What is made from the table for onnx: FunctionProtos, a model's missing bodies, and op schemas."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import onnx
from onnx import AttributeProto, helper

from .table import DOMAIN, OPS, VERSION

_FLOATS = ["tensor(float)", "tensor(float16)", "tensor(bfloat16)", "tensor(double)"]


def function(name: str, opset: int) -> onnx.FunctionProto:
    """The reference body of op `name`, written in default-domain opset `opset` (at least 18)."""
    op = OPS[name]
    return helper.make_function(
        DOMAIN,
        op.name,
        [v.name for v in op.inputs],
        [v.name for v in op.outputs],
        op.body(),
        [helper.make_opsetid("", opset)],
        attributes=[a.name for a in op.attributes],
        doc_string=op.text,
    )


def _all_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """The nodes and those of the graphs in their attributes (If, Loop, Scan)."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in ([attribute.g] if attribute.type == AttributeProto.GRAPH else attribute.graphs):
                yield from _all_nodes(graph.node)


def _import_domain(imports) -> None:
    if DOMAIN not in {o.domain for o in imports}:
        imports.append(helper.make_opsetid(DOMAIN, VERSION))


def attach_bodies(model: onnx.ModelProto) -> onnx.ModelProto:
    """Add the import and the bodies of the `ai.adaptive` ops that `model` (its graph, subgraphs and functions) uses and
    does not define yet; in place."""
    opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    used = {n.op_type for n in _all_nodes(model.graph.node) if n.domain == DOMAIN}
    for f in model.functions:
        inside = {n.op_type for n in _all_nodes(f.node) if n.domain == DOMAIN}
        if inside:
            _import_domain(f.opset_import)
        used |= inside
    defined = {f.name for f in model.functions if f.domain == DOMAIN}
    model.functions.extend(function(name, opset) for name in sorted(used - defined))
    if used:
        _import_domain(model.opset_import)
    return model


def register_schemas() -> None:
    """Make onnx (and with it onnxscript) know the ops' signatures; needed to emit body-less nodes. Idempotent."""
    schema = onnx.defs.OpSchema
    kinds = {AttributeProto.FLOAT: schema.AttrType.FLOAT, AttributeProto.INT: schema.AttrType.INT, AttributeProto.STRING: schema.AttrType.STRING}
    for op in OPS.values():
        if onnx.defs.has(op.name, DOMAIN):
            continue
        variables = sorted({v.type for v in (*op.inputs, *op.outputs) if not v.type.startswith("tensor")})
        onnx.defs.register_schema(
            schema(
                op.name,
                DOMAIN,
                VERSION,
                doc=op.text,
                inputs=[schema.FormalParameter(v.name, v.type, v.doc) for v in op.inputs],
                outputs=[schema.FormalParameter(v.name, v.type, v.doc) for v in op.outputs],
                type_constraints=[(v, _FLOATS, "") for v in variables],
                attributes=[schema.Attribute(a.name, kinds[a.type], a.doc) for a in op.attributes],
            )
        )


@contextmanager
def registered_schemas() -> Iterator[None]:
    """`register_schemas` for the time of the block. A schema left behind would hide the bodies from type inference."""
    new = [name for name in OPS if not onnx.defs.has(name, DOMAIN)]
    register_schemas()
    try:
        yield
    finally:
        for name in new:
            onnx.defs.deregister_schema(name, VERSION, DOMAIN)
