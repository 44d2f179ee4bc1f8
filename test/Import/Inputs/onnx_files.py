# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Shorthand to write small ONNX files: what all generators of this folder share."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def value(name, shape, dtype=FLOAT):
    return helper.make_tensor_value_info(name, dtype, shape)


def array(name, data):
    """A tensor with raw data."""
    return numpy_helper.from_array(np.asarray(data), name)


def weights(name, rows, columns, seed=0):
    """A float matrix large enough to be kept outside of the IR."""
    data = np.random.default_rng(seed).standard_normal((rows, columns), dtype=np.float32)
    return array(name, data)


def external(tensor, location, offset=None, length=None):
    """The tensor with its data replaced by a reference; returns the data."""
    data = tensor.raw_data
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entries = {"location": location, "offset": offset, "length": length}
    for key, item in entries.items():
        if item is not None:
            tensor.external_data.add(key=key, value=str(item))
    return data


def node(op, inputs, outputs, name=None, **attributes):
    return helper.make_node(op, inputs, outputs, name=name or f"n_{outputs[0]}", **attributes)


def model(nodes, inputs, outputs, initializers=(), opset=23, functions=(), imports=(), ir_version=10):
    graph = helper.make_graph(nodes, "g", inputs, outputs, initializers)
    opsets = [helper.make_opsetid("", opset)] if opset else []
    opsets += [helper.make_opsetid(domain, version) for domain, version in imports]
    return helper.make_model(graph, opset_imports=opsets, functions=list(functions), ir_version=ir_version,
                             producer_name="test")


def save(proto, path):
    with open(path, "wb") as file:
        file.write(proto.SerializeToString())
