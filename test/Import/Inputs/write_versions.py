# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Files of several opsets: DIR/old.onnx, new.onnx, vendor.onnx, foreign.onnx, alias.onnx."""

import sys

import numpy as np
from onnx_files import array, model, node, save, value

folder = sys.argv[1]
inputs, outputs = [value("x", ["rows", 4])], [value("y", ["rows", 1])]
# In opset 13, ReduceMean has its axes as an attribute; from 18 on they are an input.
mean = node("ReduceMean", ["x"], ["y"], name="mean", axes=[1])
mean.metadata_props.add(key="namespace", value="kept")
save(model([mean], inputs, outputs, opset=13, ir_version=7), f"{folder}/old.onnx")
save(model([node("ReduceMean", ["x", "axes"], ["y"])], inputs, outputs, [array("axes", np.int64([1]))], opset=24),
     f"{folder}/new.onnx")
vendor = [node("SkipSimplifiedLayerNormalization", ["x", "x", "scale"], ["h"], domain="com.microsoft", epsilon=1e-6),
          node("ReduceMean", ["h"], ["y"], axes=[1])]
save(model(vendor, inputs, outputs, [array("scale", np.float32([1] * 4))], opset=13, imports=[("com.microsoft", 1)], ir_version=7),
     f"{folder}/vendor.onnx")
foreign = [node("SimplifiedLayerNormalization", ["x", "scale"], ["h"], epsilon=1e-6), node("Nonsense", ["h"], ["g"]),
           node("ReduceMean", ["g"], ["y"], axes=[1])]
save(model(foreign, inputs, outputs, [array("scale", np.float32([1] * 4))], opset=13, ir_version=7), f"{folder}/foreign.onnx")
save(model([node("ReduceMean", ["x"], ["y"], axes=[1], domain="ai.onnx")], inputs, outputs, opset=None, imports=[("ai.onnx", 13)],
           ir_version=7), f"{folder}/alias.onnx")
