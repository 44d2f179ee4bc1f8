# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A graph with each kind of attribute, value and name the carrier has to keep."""

import sys

import numpy as np
from onnx import helper
from onnx_files import BOOL, FLOAT, INT64, array, model, node, save, value

nodes = [
    node("Add", ["x", "bias"], ["sum"], name="layer/add"),
    node("Clip", ["sum", "", "limit"], ["clipped"]),
    node("Constant", [], ["axes"], value=array("", np.array([1], np.int64))),
    node("Constant", [], ["half"], value_float=0.5),
    node("Constant", [], ["steps"], value_ints=[2, 3]),
    node("ReduceMean", ["clipped", "axes"], ["mean"], keepdims=1),
    node("Mul", ["mean", "half"], ["scaled"]),
    node("LayerNormalization", ["clipped", "bias"], ["normed", "", "deviation"]),
    node("Strange", ["scaled", "text"], ["odd"], domain="org.example", ratio=0.25, mode="fast", sizes=[1, 2],
         weights=[0.5, 1.5], tags=["a", "b"], table=array("", np.float32([[1, 2]]))),
    node("Gather", ["steps", "zero"], ["first"]),
]
nodes[0].metadata_props.add(key="namespace", value="model.layers.0")
nodes[0].metadata_props.add(key="pkg.torch.onnx.stack_trace", value="a\nlong\ntrace")
initializers = [
    array("bias", np.float32([1, 2, 3, 4])),
    array("same_bias", np.float32([1, 2, 3, 4])),
    array("limit", np.float32(6)),
    array("zero", np.int64(0)),
    array("flags", np.array([True, False, True])),
    array("nothing", np.zeros((0, 3), np.float32)),
    helper.make_tensor("text", 8, [1], [b"hello"]),
]
nodes += [node("Add", ["scaled", "same_bias"], ["y"]), node("Not", ["flags"], ["z"]), node("Abs", ["nothing"], ["e"])]
save(model(nodes, [value("x", ["batch", 4])], [value("y", ["batch", 4]), value("deviation", ["batch", 1]),
                                             value("z", [3], BOOL), value("e", [0, 3]), value("first", [], INT64)],
           initializers, imports=[("org.example", 7)]), sys.argv[1])
