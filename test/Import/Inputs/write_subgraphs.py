# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""If and Loop: captured values, and weights that belong to a branch."""

import sys

import numpy as np
from onnx import helper
from onnx_files import BOOL, FLOAT, INT64, array, model, node, save, value, weights

then_branch = helper.make_graph([node("MatMul", ["x", "inner"], ["a"])], "then", [], [value("a", [None, 66])], [weights("inner", 66, 66)])
else_branch = helper.make_graph(
    [node("Constant", [], ["k"], value=weights("", 66, 66, seed=1)), node("MatMul", ["x", "k"], ["b0"]), node("Add", ["b0", "outer"], ["b"])],
    "else", [], [value("b", [None, 66])])
body = helper.make_graph(
    [node("Identity", ["go"], ["go_on"]), node("Add", ["state", "outer"], ["next"])], "body",
    [value("i", [], INT64), value("go", [], BOOL), value("state", [None, 66])],
    [value("go_on", [], BOOL), value("next", [None, 66])])
nodes = [
    node("If", ["condition"], ["h"], name="choose", then_branch=then_branch, else_branch=else_branch),
    node("Loop", ["trips", "", "h"], ["y"], name="repeat", body=body),
]
save(model(nodes, [value("x", ["rows", 66]), value("condition", [], BOOL)], [value("y", ["rows", 66])],
           [array("outer", np.float32([1] * 66)), array("trips", np.int64(3))]), sys.argv[1])
