# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`ee-opt --emit=plain-onnx`: the file without functions is valid for every ONNX tool and computes the same bits."""

import shutil

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from ee.adaptive import DOMAIN
from ee.exit_spec import ExitSpec, Head
from ee.insert_exits import write_exits
from ee.oracle import Oracle
from ee.tiny import tiny_exits, uniform

from .ee_tools import needs_tools, ok, run_tool

pytestmark = needs_tools


def plain(source, out):
    ok("ee-opt", source, "--emit=plain-onnx", "--quiet", "-o", out)
    onnx.checker.check_model(str(out), full_check=True)
    model = onnx.load(out, load_external_data=False)
    assert not model.functions and {o.domain for o in model.opset_import} == {""}
    for node in model.graph.node:
        assert onnx.defs.has(node.op_type, node.domain), node.op_type
    return model


def refused(cwd, args, *said):
    done = run_tool("ee-opt", *args, cwd=cwd)
    lines = done.stderr.decode().splitlines()
    assert done.returncode == 1 and len(lines) == 1, lines
    for word in said:
        assert word in lines[0], lines[0]


def three(checkpoint):
    """One exit of each kind of head, with three criteria."""
    hidden = checkpoint.config.hidden
    low = {"down": uniform(7, "down", (hidden, 16), 0.1), "up": uniform(7, "up", (16, hidden), 0.1)}
    probe, margin, cosine = (tiny_exits(checkpoint, [k], c, None)[0] for k, c in zip((1, 2, 3), ("probe", "margin", "cosine")))
    return [probe, ExitSpec(2, "margin", margin.threshold, Head("lowrank", low), name="second"), cosine]


@pytest.mark.parametrize("fill", ["exact", "propagate"])
@pytest.mark.parametrize("cache", [False, True], ids=["whole", "cache"])
def test_exits_as_operators(checkpoint, folder, tmp_path, fill, cache):
    """Rows leave at every exit, and ONNX Runtime gives the same bits with and without functions."""
    source = tmp_path / "exits.onnx"
    write_exits(folder / ("model.onnx" if cache else "model.nocache.onnx"), source, three(checkpoint), fill, exit_depth=True)
    assert any(f.domain == DOMAIN for f in onnx.load(source, load_external_data=False).functions)
    (tmp_path / "out").mkdir()
    plain(source, tmp_path / "out" / "plain.onnx")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["plain.onnx"]  # small weights are inside
    ids = np.random.default_rng(5).integers(0, 320, (2, 24))
    for enabled in (True, False):
        want, got = (Oracle(p).run(ids, enabled=np.full(ids.shape, enabled)) for p in (source, tmp_path / "out" / "plain.onnx"))
        assert set(want["exit_depth"].ravel()) == ({1, 2, 3, 4} if enabled else {4})
        assert want.keys() == got.keys()
        for name in want:
            np.testing.assert_array_equal(got[name], want[name], err_msg=name)


def test_a_file_without_functions_stays_what_it_is(folder, tmp_path):
    model, before = plain(folder / "model.onnx", tmp_path / "p.onnx"), onnx.load(folder / "model.onnx")
    assert [n.op_type for n in model.graph.node] == [n.op_type for n in before.graph.node]
    for a, b in zip(model.graph.initializer, before.graph.initializer, strict=True):
        assert a.name == b.name
        np.testing.assert_array_equal(numpy_helper.to_array(a), numpy_helper.to_array(b))


def nested(tmp_path, size=8, external=False):
    """y = (x + w) * 2 + 1 by functions that call functions, one of them in a branch, with attributes and defaults."""
    opset = [helper.make_opsetid("", 21), helper.make_opsetid("my", 1)]
    scale = helper.make_node("Constant", [], ["k"])
    scale.attribute.append(onnx.AttributeProto(name="value_float", ref_attr_name="by", type=onnx.AttributeProto.FLOAT))
    inner = helper.make_function("my", "Scale", ["a"], ["b"], [scale, helper.make_node("Mul", ["a", "k"], ["b"])], opset, [], [helper.make_attribute("by", 2.0)])
    one = helper.make_node("Constant", [], ["one"], value_float=1.0)
    outer = helper.make_function("my", "Both", ["a"], ["c"], [helper.make_node("Scale", ["a"], ["b"], domain="my"), one, helper.make_node("Add", ["b", "one"], ["c"])], opset)
    w = numpy_helper.from_array(np.arange(size, dtype=np.float32), "w")
    branch = lambda n, nodes: helper.make_graph(nodes, n, [], [helper.make_tensor_value_info("r" + n, TensorProto.FLOAT, [size])])  # noqa: E731
    yes = branch("yes", [helper.make_node("Both", ["s"], ["ryes"], domain="my")])
    no = branch("no", [helper.make_node("Scale", ["s"], ["rno"], domain="my", by=3.0)])
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["s"]), helper.make_node("If", ["which"], ["y"], then_branch=yes, else_branch=no)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [size]), helper.make_tensor_value_info("which", TensorProto.BOOL, [])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [size])],
        [w],
    )
    model = helper.make_model(graph, opset_imports=opset, functions=[inner, outer], ir_version=10)
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=external, location="m.onnx.data")
    return tmp_path / "m.onnx"


def run(path, size, which):
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": np.ones(size, np.float32), "which": np.array(which)})[0]


@pytest.mark.parametrize("external", [False, True])
def test_functions_in_functions_and_branches(tmp_path, external):
    source = nested(tmp_path, external=external)
    (tmp_path / "out").mkdir()
    plain(source, tmp_path / "out" / "p.onnx")
    w = np.arange(8, dtype=np.float32)
    np.testing.assert_array_equal(run(tmp_path / "out" / "p.onnx", 8, True), (1 + w) * 2 + 1)
    np.testing.assert_array_equal(run(tmp_path / "out" / "p.onnx", 8, False), (1 + w) * 3)


def test_large_external_data_comes_along(tmp_path):
    """Above 64 MiB it is a file beside the model: complete, and independent of the input."""
    size = (64 << 20) // 4 + 5
    source = nested(tmp_path, size, external=True)
    (tmp_path / "out").mkdir()
    plain(source, tmp_path / "out" / "p.onnx")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["p.onnx", "p.onnx.data"]
    assert (tmp_path / "out" / "p.onnx").stat().st_size < 4096
    source.unlink()
    (tmp_path / "m.onnx.data").unlink()
    np.testing.assert_array_equal(run(tmp_path / "out" / "p.onnx", size, True), (1 + np.arange(size, dtype=np.float32)) * 2 + 1)


def test_data_of_the_input_is_not_overwritten(tmp_path):
    nested(tmp_path, (64 << 20) // 4 + 5, external=True).rename(tmp_path / "other.onnx")
    refused(tmp_path, ["other.onnx", "--emit=plain-onnx", "--quiet", "-o", "m.onnx"], "m.onnx.data")
    assert not (tmp_path / "m.onnx").exists()


def edited(path, change):
    model = onnx.load(path)
    change(model)
    onnx.save(model, path)


def vendor(model):
    model.graph.node[0].op_type, model.graph.node[0].domain = "Frob", "com.acme"
    model.opset_import.append(helper.make_opsetid("com.acme", 1))


def itself(model):
    body = next(f for f in model.functions if f.name == "Scale")
    body.node[1].op_type, body.node[1].domain = "Scale", "my"
    del body.node[1].input[1:]


BAD = {
    "no body": (vendor, ["Frob", "com.acme", "no body"]),
    "a function that calls itself": (itself, ["m.onnx"]),
    "a function with an unknown operator": (lambda m: setattr(m.functions[0].node[1], "op_type", "Mull"), ["Mull"]),
    "a call with too many inputs": (lambda m: m.functions[1].node[0].input.extend(["a", "a"]), ["m.onnx"]),
    "a value from nowhere": (lambda m: m.functions[1].node[0].input.__setitem__(0, "nowhere"), ["nowhere"]),
}


@pytest.mark.parametrize("case", BAD.values(), ids=BAD)
def test_refused(tmp_path, case):
    change, said = case
    edited(nested(tmp_path), change)
    before = sorted(p.name for p in tmp_path.iterdir())
    refused(tmp_path, ["m.onnx", "--emit=plain-onnx", "--quiet", "-o", "p.onnx"], *said)
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_places_that_are_refused(tmp_path):
    nested(tmp_path)
    shutil.copy(tmp_path / "m.onnx", tmp_path / "copy.onnx")
    emit = ["--emit=plain-onnx", "--quiet"]
    refused(tmp_path, ["m.onnx", *emit], "-o")
    refused(tmp_path, ["m.onnx", *emit, "-o", "m.onnx"], "m.onnx", "another file")
    refused(tmp_path, ["m.onnx", *emit, "-o", "none/p.onnx"], "none/p.onnx")
    refused(tmp_path, ["gone.onnx", *emit, "-o", "p.onnx"], "gone.onnx")
    assert (tmp_path / "m.onnx").read_bytes() == (tmp_path / "copy.onnx").read_bytes()
