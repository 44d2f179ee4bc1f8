# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Weights in every form a file can have them.

weights.py write DIR          writes DIR/m.onnx, DIR/sub/w.data, DIR/same.data and the expected bytes
weights.py check DIR LISTING  compares what ee-import dumped into DIR/dump
"""

import os
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper
from onnx_files import FLOAT, INT64, array, external, model, node, save, value, weights

SHAPE = (70, 60)


def numbers(dtype, seed):
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind in "iu":
        info = np.iinfo(dtype)
        return rng.integers(info.min, info.max, SHAPE, dtype=dtype, endpoint=True)
    return rng.standard_normal(SHAPE).astype(dtype)


def typed(name, dtype, data):
    """The tensor with its values in float_data, int32_data, ..."""
    return helper.make_tensor(name, dtype, data.shape, data.ravel().tolist())


def write(folder):
    os.makedirs(f"{folder}/sub", exist_ok=True)
    os.makedirs(f"{folder}/expect", exist_ok=True)
    tensors = {}
    raw = {"raw_f32": np.float32, "raw_f64": np.float64, "raw_f16": np.float16, "raw_i8": np.int8, "raw_u8": np.uint8}
    for seed, (name, dtype) in enumerate(raw.items()):
        tensors[name] = array(name, numbers(dtype, seed))
    bf16 = array("raw_bf16", numbers(np.uint16, 20))
    bf16.data_type = TensorProto.BFLOAT16
    tensors["raw_bf16"] = bf16
    expect = {name: tensor.raw_data for name, tensor in tensors.items()}

    fields = {"typed_f32": (TensorProto.FLOAT, np.float32), "typed_f64": (TensorProto.DOUBLE, np.float64),
              "typed_i8": (TensorProto.INT8, np.int8), "typed_u8": (TensorProto.UINT8, np.uint8)}
    for seed, (name, (onnx_type, dtype)) in enumerate(fields.items()):
        data = numbers(dtype, 100 + seed)
        tensors[name] = typed(name, onnx_type, data)
        assert not tensors[name].raw_data
        expect[name] = data.tobytes()
    half = numbers(np.float16, 110)
    tensors["typed_f16"] = TensorProto(name="typed_f16", data_type=TensorProto.FLOAT16, dims=SHAPE,
                                       int32_data=half.view(np.uint16).ravel().tolist())
    expect["typed_f16"] = half.tobytes()

    # More than 1 MiB of integers are a weight too.
    many = np.arange(200_000, dtype=np.int64).reshape(400, 500) * 7 - 3
    tensors["many_i64"] = typed("many_i64", TensorProto.INT64, many)
    expect["many_i64"] = many.tobytes()

    # External, with a gap before it, at an odd offset.
    outer = weights("external", *SHAPE, seed=200)
    data = external(outer, "sub/w.data", offset=13, length=len(outer.raw_data))
    with open(f"{folder}/sub/w.data", "wb") as file:
        file.write(b"x" * 13 + data + b"tail")
    tensors["external"], expect["external"] = outer, data
    # The same bytes in another file, without offset and length, and inside of the model.
    copy = weights("external_copy", *SHAPE, seed=200)
    with open(f"{folder}/same.data", "wb") as file:
        file.write(external(copy, "same.data"))
    tensors["external_copy"] = copy
    tensors["inline_copy"] = weights("inline_copy", *SHAPE, seed=200)
    # Equal bytes of another shape are another weight.
    tensors["reshaped"] = weights("reshaped", *SHAPE[::-1], seed=200)
    expect["reshaped"] = data
    # Small external data is read into the IR.
    small = array("small", np.float32([1.5, 2.5]))
    with open(f"{folder}/small.data", "wb") as file:
        file.write(external(small, "small.data"))
    tensors["small"] = small

    nodes = [node("Shape", [name], [f"shape_{name}"]) for name in tensors]
    nodes.append(node("Constant", [], ["constant"], value=weights("", *SHAPE, seed=300)))
    expect["constant"] = np.random.default_rng(300).standard_normal(SHAPE, dtype=np.float32).tobytes()
    nodes.append(node("Shape", ["constant"], ["shape_constant"]))
    outputs = [value(n.output[0], [2], INT64) for n in nodes if n.op_type == "Shape" and n.output[0] != "shape_small"]
    outputs.append(value("shape_small", [1], INT64))
    save(model(nodes, [], outputs, tensors.values()), f"{folder}/m.onnx")
    for name, data in expect.items():
        with open(f"{folder}/expect/{name}", "wb") as file:
            file.write(data)


def check(folder, listing):
    seen = set()
    with open(listing) as file:
        for line in file:
            number, *names = line.split()
            with open(f"{folder}/dump/{number}", "rb") as dumped:
                data = dumped.read()
            symbol = {"external", "constant"} & set(names) or {names[0]}
            for name in symbol:
                with open(f"{folder}/expect/{name}", "rb") as expected:
                    assert data == expected.read(), f"bytes of {name} differ"
                seen.add(name)
            if "external" in names:
                assert set(names) == {"external", "external_copy", "inline_copy"}, names
    missing = set(os.listdir(f"{folder}/expect")) - seen
    assert not missing, f"no weight for {missing}"
    print(len(seen), "weights agree")


if sys.argv[1] == "write":
    write(sys.argv[2])
else:
    check(*sys.argv[2:])
