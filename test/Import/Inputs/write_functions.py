# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Local functions: a block called three times, one in another signature, a nested one, an exit with attributes."""

import sys

import numpy as np
from onnx import AttributeProto, helper
from onnx_files import BOOL, array, model, node, save, value, weights


def function(domain, name, inputs, outputs, nodes, attributes=(), defaults=(), opset=23, imports=()):
    opsets = [helper.make_opsetid("", opset)] + [helper.make_opsetid(d, 1) for d in imports]
    return helper.make_function(domain, name, inputs, outputs, nodes, opsets, list(attributes), list(defaults))


def reference(node_proto, attribute, source, kind):
    """Lets an attribute of a node in a function take its value from the call."""
    node_proto.attribute.append(AttributeProto(name=attribute, ref_attr_name=source, type=kind))
    return node_proto


scale = function("test", "Scale", ["v"], ["w"],
                 [reference(node("Constant", [], ["c"]), "value_float", "factor", AttributeProto.FLOAT), node("Mul", ["v", "c"], ["w"])],
                 defaults=[helper.make_attribute("factor", 2.0)])
block = function("test", "Block", ["x", "w", "extra"], ["y"],
                 [node("MatMul", ["x", "w"], ["m"]), node("Clip", ["m", "extra"], ["r"]), node("Scale", ["r"], ["s"], domain="test"),
                  node("Add", ["x", "s"], ["y"])], imports=["test"])
exit_ = function("ai.adaptive", "Exit", ["exit_value", "rest_value", "score", "hidden", "enabled"], ["y"],
                 [reference(node("Constant", [], ["t"]), "value_float", "threshold", AttributeProto.FLOAT),
                  node("GreaterOrEqual", ["score", "t"], ["above"]), node("And", ["enabled", "above"], ["leave"]),
                  node("Where", ["leave", "exit_value", "rest_value"], ["y"])],
                 attributes=["threshold", "name"], opset=18)
nodes = [
    node("Block", ["x", "w0"], ["h1"], domain="test"),
    node("Block", ["h1", "w0"], ["h2"], domain="test"),
    node("Block", ["h2", "w1", "zero"], ["h3"], domain="test"),
    node("Scale", ["h3"], ["h4"], domain="test", factor=0.5),
    node("ReduceMax", ["h2", "axes"], ["score"]),
    node("Exit", ["h2", "h4", "score", "h2", "enabled"], ["y"], domain="ai.adaptive", threshold=0.75),
]
nodes[-1].attribute.append(helper.make_attribute("name", "early"))
initializers = [weights("w0", 66, 66), weights("w1", 66, 66, seed=1), array("zero", np.float32(0)), array("axes", np.int64([-1]))]
save(model(nodes, [value("x", ["rows", 66]), value("enabled", ["rows", 1], BOOL)], [value("y", ["rows", 66])], initializers,
           functions=[scale, block, exit_], imports=[("test", 1), ("ai.adaptive", 1)]), sys.argv[1])
