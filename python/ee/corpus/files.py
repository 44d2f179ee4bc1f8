# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""From a torch module to the ONNX files of the corpus: export, decisions as inputs, weights in one file per method.

A scripted file is the exported one with each decision's score replaced by an input, f32, and what only made the scores
taken out: `script.NAME` for exit NAME, `script.I` for the I-th routing or halting decision in order, `script.scores` for
token choice. Gates keep the router's own numbers. HaltDelta, which has no score, becomes HaltThreshold at 0.
"""

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper

from ..adaptive import DOMAIN, attach_bodies
from ..torch_export import export_rows
from .blocks import inline, outlined

SMALL = 256  # bytes; smaller tensors stay in the graph
_AXES = ("batch", "seq")


def exported(module: torch.nn.Module, inputs: Mapping[str, np.ndarray], outputs: Sequence[str], opset: int, whole: bool = False) -> ModelProto:
    """The module under the contract, weights included, dynamic in batch and sequence; nothing in it depends on where it was
    made. `whole`: export every block where it stands, which gives the same and takes longer."""
    module.requires_grad_(False)
    with tempfile.TemporaryDirectory() as folder, nullcontext() if whole else outlined():
        path = Path(folder) / "model.onnx"
        export_rows(module, {name: torch.from_numpy(x) for name, x in inputs.items()}, path, opset, outputs)
        model = onnx.load(path)
    return pruned(_anonymous(_renamed(inline(model, opset), module)))


def relabelled(model: ModelProto, opset: int) -> ModelProto:
    """The same nodes under another opset, for pairs of opsets in which the exporter writes the same ones."""
    result = ModelProto()
    result.CopyFrom(model)
    next(o for o in result.opset_import if o.domain in ("", "ai.onnx")).version = opset
    del result.functions[:]
    return attach_bodies(result)


def _renamed(model: ModelProto, module: torch.nn.Module) -> ModelProto:
    """Parameters under the first name that the module has for them; the exporter takes the one it met, such as recurse.blocks.0."""
    first: dict[int, str] = {}
    names = {name: first.setdefault(id(p), name) for name, p in module.named_parameters(remove_duplicate=False)}
    for tensor in model.graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
    for node in model.graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = names.get(name, name)
    return model


def _anonymous(model: ModelProto) -> ModelProto:
    """Without the exporter's notes on source lines and torch names."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
        part.ClearField("doc_string")
    del graph.value_info[:]
    return model


def pruned(model: ModelProto) -> ModelProto:
    """Without nodes, initialisers and functions that no output needs, and with the bodies of those it does; in place."""
    graph, kept = model.graph, []
    needed = {o.name for o in graph.output}
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
    nodes = [onnx.NodeProto.FromString(n.SerializeToString()) for n in reversed(kept)]
    initialisers = [TensorProto.FromString(t.SerializeToString()) for t in graph.initializer if t.name in needed]
    del graph.node[:], graph.initializer[:], model.functions[:]
    graph.node.extend(nodes)
    graph.initializer.extend(initialisers)
    imports = [o for o in model.opset_import if o.domain in ("", "ai.onnx")]
    del model.opset_import[:]
    model.opset_import.extend(imports)
    return attach_bodies(model)


def scripted(model: ModelProto, script: Mapping[str, np.ndarray]) -> ModelProto:
    """See the module's text; `script` are the new inputs, for their shapes."""
    result = ModelProto()
    result.CopyFrom(model)
    count, names = 0, {}
    for node in result.graph.node:
        if node.domain != DOMAIN:
            continue
        if node.op_type == "Exit":
            tags = {a.name: a for a in node.attribute}
            names[node.input[2]] = "script." + tags["name"].s.decode()
            tags["criterion"].s = b"script"
        elif node.op_type == "RouteTokenChoice":
            node.input[0] = "script.scores"
        elif node.op_type == "HaltDelta":
            halt = helper.make_node(
                "HaltThreshold", [f"script.{count}", node.input[2]], list(node.output), name=node.name, domain=DOMAIN, theta=0.0
            )
            node.CopyFrom(halt)
            count += 1
        elif node.op_type in ("RouteThreshold", "RouteTopK", "HaltThreshold", "HaltCdf"):
            node.input[0] = f"script.{count}"
            count += 1
    # The score of an exit is also what later layers' masks are made of.
    for node in result.graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = names.get(name, name)
    for name, example in script.items():
        shape = [*_AXES[: example.ndim], *example.shape[2:]]
        result.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    return pruned(result)


class WeightFile:
    """One file of tensors that several models read from; equal tensors are stored once."""

    def __init__(self, path: Path):
        self.path, self.size, self.places = path, 0, {}
        path.touch()

    def move_out(self, model: ModelProto) -> None:
        """Replaces the model's tensors by references into this file. A model that holds a tensor twice is an error."""
        seen: dict[str, str] = {}
        for tensor in model.graph.initializer:
            array = numpy_helper.to_array(tensor)
            if array.nbytes < SMALL:
                continue
            data = np.ascontiguousarray(array).tobytes()
            key = hashlib.sha256(f"{array.dtype} {array.shape} ".encode() + data).hexdigest()
            if key in seen:
                raise RuntimeError(f"{tensor.name} and {seen[key]} are the same tensor, stored twice")
            seen[key] = tensor.name
            self._refer(tensor, self._place(key, data), len(data))

    def _place(self, key: str, data: bytes) -> int:
        if key not in self.places:
            self.places[key] = self.size
            with self.path.open("ab") as file:
                file.write(data + b"\0" * (-len(data) % 64))
                self.size = file.tell()
        return self.places[key]

    def _refer(self, tensor: TensorProto, offset: int, length: int) -> None:
        for field in ("raw_data", "float_data", "int64_data", "int32_data"):
            tensor.ClearField(field)
        tensor.data_location = TensorProto.EXTERNAL
        del tensor.external_data[:]
        for key, value in (("location", self.path.name), ("offset", offset), ("length", length)):
            tensor.external_data.add(key=key, value=str(value))


def save(model: ModelProto, path: Path, weights: WeightFile) -> None:
    """Writes `path` with its tensors in `weights`, and checks what was written. The model stays as it is."""
    copy = ModelProto()
    copy.CopyFrom(model)
    weights.move_out(copy)
    path.write_bytes(copy.SerializeToString(deterministic=True))
    onnx.checker.check_model(str(path), full_check=True)


def values(infos: Sequence[onnx.ValueInfoProto]) -> list[dict]:
    """Name, type and shape of graph inputs or outputs."""
    kinds = {TensorProto.FLOAT: "f32", TensorProto.INT64: "i64", TensorProto.BOOL: "bool"}
    return [
        {
            "name": info.name,
            "type": kinds[info.type.tensor_type.elem_type],
            "shape": [d.dim_param or d.dim_value for d in info.type.tensor_type.shape.dim],
        }
        for info in infos
    ]
