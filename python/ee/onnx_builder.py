# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Building ONNX graphs by hand: a weight file shared by several graphs, and a list of nodes that grows.

Weights are streamed to one page-aligned `.data` file while the graph is built, so a model is never held in
memory and readers can map every tensor. Two graphs over one `WeightFile` (with and without KV cache) share it.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

PAGE = 4096
OPSET = 23
IR_VERSION = 10
PRODUCER = "ee"


class WeightFile:
    """Appends tensors to `path`; each name is written once and can be asked for again by later graphs."""

    def __init__(self, path: Path):
        self.path = Path(path)
        self.tensors: dict[str, TensorProto] = {}
        self._file = open(path, "wb")

    def add(self, name: str, make) -> TensorProto:
        """The external tensor `name`; `make()` returns its array and is called only the first time."""
        if name not in self.tensors:
            array = np.ascontiguousarray(make())
            self._file.write(b"\0" * (-self._file.tell() % PAGE))
            tensor = TensorProto(name=name, data_type=helper.np_dtype_to_tensor_dtype(array.dtype), dims=array.shape)
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in (("location", self.path.name), ("offset", self._file.tell()), ("length", array.nbytes)):
                tensor.external_data.add(key=key, value=str(value))
            self._file.write(array.data)
            self.tensors[name] = tensor
        return self.tensors[name]

    def close(self) -> int:
        """Close the file and return its size in bytes."""
        size = self._file.tell()
        self._file.close()
        return size


class GraphBuilder:
    """A graph under construction. `op` returns its first output's name, so expressions nest."""

    def __init__(self, weights: WeightFile | None = None):
        self.weights = weights
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, TensorProto] = {}
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []

    def op(self, kind: str, inputs: list[str], outputs: str | list[str], domain: str = "", **attributes) -> str:
        """Append one node named after its first output; `attributes` may contain one called `name`."""
        outputs = [outputs] if isinstance(outputs, str) else outputs
        node = helper.make_node(kind, inputs, outputs, name="/" + outputs[0], domain=domain)
        node.attribute.extend(helper.make_attribute(k, v) for k, v in sorted(attributes.items()))
        self.nodes.append(node)
        return outputs[0]

    def weight(self, name: str, make) -> str:
        """A tensor of the weight file."""
        if name not in self.initializers:
            self.initializers[name] = self.weights.add(name, make)
        return name

    def constant(self, name: str, array) -> str:
        """A small tensor stored in the .onnx file itself."""
        if name not in self.initializers:
            self.initializers[name] = onnx.numpy_helper.from_array(np.asarray(array), name)
        return name

    def input(self, name: str, dtype: int, shape: list) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return name

    def output(self, name: str, dtype: int, shape: list) -> str:
        self.outputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return name

    def model(self, name: str) -> onnx.ModelProto:
        graph = helper.make_graph(self.nodes, name, self.inputs, self.outputs, list(self.initializers.values()))
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name=PRODUCER)
