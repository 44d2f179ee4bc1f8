# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The border of the decoder path: graphs that look like decoders and are none in one respect. Each is compiled as a
function, with a remark that says why, and then gives ONNX Runtime's numbers; no file gives wrong ones."""

import re

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from .ee_tools import generate, needs_tools, ok, run_tool, write_lists

pytestmark = needs_tools
LOWEST = float(np.finfo(np.float32).min)
IDS = np.array([[1, 4, 2, 5, 3], [3, 3, 0, 1, 5]])


class Graph:
    """Nodes and initialisers of a small graph over `input_ids`."""

    def __init__(self, hidden):
        self.hidden = hidden
        self.nodes, self.weights, self.outputs = [], [], []
        self.rng = np.random.default_rng(7)

    def constant(self, value, name=None):
        name = name or f"c{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def weight(self, name, *shape, scale=1.0):
        return self.constant((self.rng.normal(size=shape) * scale).astype(np.float32), name)

    def op(self, op_type, *inputs, name=None, **attributes):
        name = name or f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, inputs, [name], name=f"n_{name}", **attributes))
        return name

    def output(self, name, value, width):
        self.op("Identity", value, name=name)
        self.outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", "sequence", width]))

    def save(self, path):
        ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "sequence"])
        graph = helper.make_graph(self.nodes, "g", [ids], self.outputs, self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, path)


def hidden_positions(g):
    """[sequence, sequence]: true where the key comes after the query."""
    one, axis0, axis1 = g.constant(1), g.constant([0]), g.constant([1])
    length = g.op("Gather", g.op("Shape", "input_ids"), one)
    places = g.op("Range", g.constant(0), length, one)
    return g.op("Greater", g.op("Unsqueeze", places, axis0), g.op("Unsqueeze", places, axis1))


def number(g, value):
    return g.constant(np.float32(value))


def turned(g, h, size):
    """Queries that point away from their keys: scores of a position with itself are far below zero."""
    return g.op("MatMul", h, g.constant((-size * np.eye(g.hidden)).astype(np.float32)))


def where_mask(g, h, fill=-10000.0, after=1.0, size=100.0):
    """softmax(where(hidden, fill, h h^T) * after): large scores, so that `fill` is in their reach."""
    scores = g.op("MatMul", turned(g, h, size), g.op("Transpose", h, perm=[0, 2, 1]))
    scores = g.op("Where", hidden_positions(g), number(g, fill), scores)
    return g.op("MatMul", g.op("Softmax", g.op("Mul", scores, number(g, after))), h)


def added_mask(g, h, fill=-10000.0, after=1.0, size=100.0):
    scores = g.op("MatMul", turned(g, h, size), g.op("Transpose", h, perm=[0, 2, 1]))
    mask = g.op("Where", hidden_positions(g), number(g, fill), number(g, 0))
    return g.op("MatMul", g.op("Softmax", g.op("Mul", g.op("Add", scores, mask), number(g, after))), h)


def refilled_mask(g, h):
    """Minus infinity, and then a finite number in its place."""
    scores = g.op("MatMul", turned(g, h, 100.0), g.op("Transpose", h, perm=[0, 2, 1]))
    hidden = hidden_positions(g)
    scores = g.op("Where", hidden, number(g, -np.inf), scores)
    return g.op("MatMul", g.op("Softmax", g.op("Where", hidden, number(g, -50), scores)), h)


def operator(g, h, fill=-10000.0, causal=0):
    mask = g.op("Where", hidden_positions(g), number(g, fill), number(g, 0))
    return g.op("Attention", turned(g, h, 100.0), h, h, mask, q_num_heads=1, kv_num_heads=1, scale=1.0, is_causal=causal)


def model(path, attention, rows=6, columns=6, hidden=4, outputs=("logits",)):
    """embedding, one attention, residual sum, and a head."""
    g = Graph(hidden)
    h = g.op("Gather", g.weight("table", rows, hidden), "input_ids")
    stream = g.op("Add", h, attention(g, h)) if attention else h
    for name in outputs:
        is_state = "hidden" in name or "embeds" in name
        value = stream if is_state else g.op("MatMul", stream, g.weight(f"head_{name}", hidden, columns))
        g.output(name, value, hidden if is_state else columns)
    g.save(path)
    return path


def strong_is_equal(g, h):
    return where_mask(g, h, LOWEST, size=1.0)


NO_DECODER = {
    # name: (what attention, more of the model, what the remark says)
    "a finite fill": (where_mask, {}, "its mask is finite: -10000 need not hide"),
    "a finite number to add": (added_mask, {}, "its mask is finite: -10000"),
    "a finite fill for minus infinity": (refilled_mask, {}, "its mask is finite: -50"),
    "a finite mask of the operator": (operator, {}, "its mask is finite: -10000"),
    "a mask of half precision": (lambda g, h: where_mask(g, h, -65504.0, size=1e5), {}, "its mask is finite: -65504"),
    "a great one that is not the least": (lambda g, h: added_mask(g, h, -1e30, size=1e31), {}, "its mask is finite: -1e+30"),
    "the least, scaled to little": (lambda g, h: added_mask(g, h, LOWEST, after=1e-38, size=1e37), {}, "its mask is finite"),
    "the least, scaled to nothing": (lambda g, h: where_mask(g, h, LOWEST, after=0.0), {}, "its mask is finite"),
    "minus infinity, turned round": (lambda g, h: where_mask(g, h, LOWEST, after=-1.0, size=-1.0), {}, "its mask is finite"),
    "an embedding narrower than the head": (strong_is_equal, {"columns": 9}, "6 rows, but the output has 9 columns: ids 6 to 8 have a score and no row"),
    "one id without a row": (strong_is_equal, {"columns": 7}, "7 columns: id 6 has a score and no row"),
    "an embedding wider than the head": (strong_is_equal, {"columns": 4}, "6 rows, but the output has 4 columns: ids 4 to 5 have a row and no score"),
    "a hidden state first": (strong_is_equal, {"outputs": ("hidden", "scores")}, "of its outputs 'hidden', 'scores' none is named 'logits'"),
    "a hidden state last": (strong_is_equal, {"outputs": ("scores", "hidden")}, "of its outputs 'scores', 'hidden' none is named 'logits'"),
    "two heads": (strong_is_equal, {"outputs": ("scores", "others")}, "none is named 'logits'"),
    "a hidden state only": (strong_is_equal, {"outputs": ("last_hidden_state",)}, "its output is not proven to be logits"),
    "a hidden state as wide as the ids are many": (strong_is_equal, {"hidden": 6, "outputs": ("last_hidden_state",)}, "its output is not proven to be logits"),
    "an embedding only": (None, {"outputs": ("inputs_embeds",)}, "the graph has no attention"),
    "an embedding and a head": (None, {}, "the graph has no attention"),
}


def run_and_compare(path, artifact, folder, ids=IDS):
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    np.save(folder / "ids.npy", ids)
    for out in session.get_outputs():
        np.save(folder / "want.npy", session.run([out.name], {"input_ids": ids})[0])
        ok("ee-run", "run", artifact, "--input", f"input_ids=@{folder}/ids.npy", "--expect", f"{out.name}=@{folder}/want.npy", "--rtol", "1e-3", "--atol", "1e-3")


@pytest.mark.parametrize("case", NO_DECODER)
def test_becomes_a_function(case, tmp_path):
    attention, more, why = NO_DECODER[case]
    path = model(tmp_path / "m.onnx", attention, **more)
    (tmp_path / "config.json").write_text('{"eos_token_id": 5}')
    done = run_tool("ee-opt", path, "-o", tmp_path / "m.ee", "--quiet", "--cpu-levels=x86-64-v3")
    err = done.stderr.decode()
    assert done.returncode == 0 and "remark: not a decoder:" in err and why in err and err.count("\n") == 1, err
    run_and_compare(path, tmp_path / "m.ee", tmp_path)
    write_lists(tmp_path / "p.txt", [[1, 2]])
    refused = run_tool("ee-run", "generate", tmp_path / "m.ee", "--ids", tmp_path / "p.txt", "-n", "4")
    assert refused.returncode == 1 and b"is a function, not a decoder" in refused.stderr
    # Asked for a decoder, the same reason is the error.
    done = run_tool("ee-opt", path, "-o", tmp_path / "d.ee", "--quiet", "--kind=decoder")
    assert done.returncode == 1 and why in done.stderr.decode() and not (tmp_path / "d.ee").exists(), done.stderr


DECODERS = {
    "minus infinity": (lambda g, h: where_mask(g, h, -np.inf), {}),
    "the least number": (lambda g, h: where_mask(g, h, LOWEST), {}),
    "the least number, added": (lambda g, h: added_mask(g, h, LOWEST, after=0.125), {}),
    "the least of bfloat16": (lambda g, h: added_mask(g, h, -3.3895313892515355e38), {}),
    "a finite mask where the operator hides by itself": (lambda g, h: operator(g, h, causal=1), {}),
    "one head under another name": (strong_is_equal, {"outputs": ("scores",)}),
    "as many ids as the stream is wide": (strong_is_equal, {"hidden": 6}),
}


@pytest.mark.parametrize("case", DECODERS)
def test_stays_a_decoder(case, tmp_path):
    """What is proven is not lost: greedy decoding as ONNX Runtime does it."""
    attention, more = DECODERS[case]
    path = model(tmp_path / "m.onnx", attention, **more)
    assert ok("ee-opt", path, "-o", tmp_path / "m.ee", "--quiet", "--cpu-levels=x86-64-v3") == ""
    session, ids = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"]), [1, 4]
    for _ in range(6):
        ids.append(int(session.run(None, {"input_ids": np.array([ids])})[0][0, -1].argmax()))
    assert generate(tmp_path / "m.ee", write_lists(tmp_path / "p.txt", [[1, 4]]), 6)[0]["ids"] == ids[2:]


def test_dropped_outputs_get_a_word(tmp_path):
    path = model(tmp_path / "m.onnx", strong_is_equal, outputs=("hidden", "logits", "others"))
    done = run_tool("ee-opt", path, "-o", tmp_path / "m.ee", "--quiet", "--cpu-levels=x86-64-v3")
    lines = done.stderr.decode().splitlines()
    assert done.returncode == 0 and len(lines) == 2, lines
    for line, name in zip(lines, ("hidden", "others"), strict=True):
        assert "warning:" in line and f"output '{name}' is not part of generation: dropped; --kind=function keeps it" in line
    ok("ee-opt", path, "-o", tmp_path / "f.ee", "--quiet", "--kind=function", "--cpu-levels=x86-64-v3")
    run_and_compare(path, tmp_path / "f.ee", tmp_path)


def test_id_without_a_row(tmp_path):
    """ONNX Runtime refuses the id, and so do we; it is never read as another one."""
    path = model(tmp_path / "m.onnx", strong_is_equal, columns=9)
    ok("ee-opt", path, "-o", tmp_path / "m.ee", "--quiet", "--cpu-levels=x86-64-v3")
    np.save(tmp_path / "ids.npy", np.array([[1, 6, 2]]))
    done = run_tool("ee-run", "run", tmp_path / "m.ee", "--input", f"input_ids=@{tmp_path}/ids.npy", "--output", f"logits={tmp_path}/o.npy")
    assert done.returncode == 1 and b"indices must lie in" in done.stderr and not (tmp_path / "o.npy").exists()


def test_a_saved_model_is_checked(tmp_path):
    """A model level that was edited has not been through raising."""
    path = model(tmp_path / "m.onnx", strong_is_equal)
    text = ok("ee-opt", path, "--emit=model", "--quiet", "-o", "-")
    text = re.sub(r"(@table .*) value dense<.*> :", r"\1 value dense<0.5> :", text)
    lines = [line.replace("tensor<6x4xf32>", "tensor<5x4xf32>") if "@table" in line or "adaptive.embed" in line else line for line in text.splitlines()]
    (tmp_path / "m.mlir").write_text("\n".join(lines))
    done = run_tool("ee-opt", tmp_path / "m.mlir", "-o", tmp_path / "m.ee", "--quiet")
    assert done.returncode == 1 and b"the embedding has 5 rows, but the output has 6 columns" in done.stderr, done.stderr


@pytest.mark.parametrize("largest", [0, 1])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_top_k_orders_nan(dtype, largest, tmp_path):
    """An index names an element of its row, once, and the value is that element. Not a number is the greatest, as
    NumPy sorts it; rows without one are as ever."""
    nan, inf = np.nan, np.inf
    x = np.array([[nan, 1, 5, 4, 2, 3], [1, 5, nan, 4, 3, nan], [nan] * 6, [inf, 5, -inf, 4, 3, nan], [3, 1, 2, 3, -0.0, 0]], dtype)
    types = {"float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE, "float16": TensorProto.FLOAT16}
    node = helper.make_node("TopK", ["x", "k"], ["values", "indices"], name="top", largest=largest)
    value = helper.make_tensor_value_info
    graph = helper.make_graph([node], "g", [value("x", types[dtype], ["n", 6])],
                              [value("values", types[dtype], ["n", 4]), value("indices", TensorProto.INT64, ["n", 4])],
                              [numpy_helper.from_array(np.array([4]), "k")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10), tmp_path / "m.onnx")
    ok("ee-opt", tmp_path / "m.onnx", "-o", tmp_path / "m.ee", "--quiet", "--cpu-levels=x86-64-v3")
    np.save(tmp_path / "x.npy", x)
    ok("ee-run", "run", tmp_path / "m.ee", "--input", f"x=@{tmp_path}/x.npy", "--output", f"values={tmp_path}/v.npy", "--output", f"indices={tmp_path}/i.npy")
    values, indices = np.load(tmp_path / "v.npy"), np.load(tmp_path / "i.npy")
    rank = np.where(np.isnan(x), 2, 0) + np.where(x == inf, 1, 0)  # NaN above infinity above the rest
    finite = np.nan_to_num(x.astype(np.float64), nan=0, posinf=0, neginf=-1e9)
    order = [sorted(range(6), key=lambda j: (-rank[r, j], -finite[r, j], j) if largest else (rank[r, j], finite[r, j], j))[:4] for r in range(len(x))]
    np.testing.assert_array_equal(indices, order)
    np.testing.assert_array_equal(values, np.take_along_axis(x, indices, 1))
