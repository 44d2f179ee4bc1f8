# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Functions end to end: hand-written function form through ee-opt and `ee-run run`, against NumPy."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from .ee_tools import cpu_levels, needs_tools, ok, run_tool
from .function_form import bindings, compile_text, run_artifact, unary_module

pytestmark = needs_tools

MATMUL = """
func.func @main(%a: tensor<{am}xf32> {{ee.name = "a", ee.dims = {ad}}}, %b: tensor<{bm}xf32> {{ee.name = "b", ee.dims = {bd}}}) -> (tensor<?x?xf32> {{ee.name = "c"}}) {{
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %zero = arith.constant 0.0 : f32
  %m = tensor.dim %a, %c{mi} : tensor<{am}xf32>
  %n = tensor.dim %b, %c{ni} : tensor<{bm}xf32>
  %e = tensor.empty(%m, %n) : tensor<?x?xf32>
  %f = linalg.fill ins(%zero : f32) outs(%e : tensor<?x?xf32>) -> tensor<?x?xf32>
  %c = linalg.generic {{indexing_maps = [affine_map<(m, n, k) -> ({a})>, affine_map<(m, n, k) -> ({b})>, affine_map<(m, n, k) -> (m, n)>], iterator_types = ["parallel", "parallel", "reduction"]}}
      ins(%a, %b : tensor<{am}xf32>, tensor<{bm}xf32>) outs(%f : tensor<?x?xf32>) {{
  ^bb0(%x: f32, %y: f32, %o: f32):
    %p = arith.mulf %x, %y : f32
    %s = arith.addf %o, %p : f32
    linalg.yield %s : f32
  }} -> tensor<?x?xf32>
  return %c : tensor<?x?xf32>
}}
"""


@pytest.mark.parametrize("level", cpu_levels())
@pytest.mark.parametrize("turned", ["", "a", "b", "ab"])
def test_matmul(turned, level, tmp_path):
    """Every layout, at sizes on both sides of the tiles."""
    text = MATMUL.format(am="?x?", bm="?x?", a="k, m" if "a" in turned else "m, k", b="n, k" if "b" in turned else "k, n",
                         ad='["k", "m"]' if "a" in turned else '["m", "k"]', bd='["n", "k"]' if "b" in turned else '["k", "n"]',
                         mi=1 if "a" in turned else 0, ni=0 if "b" in turned else 1)
    artifact = compile_text(tmp_path, text, f"--cpu-levels={level}")
    rng = np.random.default_rng(1)
    for m, n, k in [(1, 1, 1), (6, 16, 8), (7, 17, 33), (13, 65, 5), (1, 100, 64), (25, 3, 0), (0, 4, 4), (5, 0, 3)]:
        a, b = rng.normal(size=(m, k)).astype(np.float32), rng.normal(size=(k, n)).astype(np.float32)
        given = {"a": np.ascontiguousarray(a.T) if "a" in turned else a, "b": np.ascontiguousarray(b.T) if "b" in turned else b}
        got = run_artifact(artifact, given, ["c"])["c"]
        assert got.shape == (m, n)
        np.testing.assert_allclose(got, a.astype(np.float64) @ b, rtol=1e-5, atol=1e-5)


CONTRACTIONS = {
    # einsum: (type of a, of b, of c, maps)
    "bij,bjk->bik": ("?x?x?", "?x?x?", "?x?x?"),
    "bij,jk->bik": ("?x?x?", "?x?", "?x?x?"),
    "ij,j->i": ("?x?", "?", "?"),
    "j,jk->k": ("?", "?x?", "?"),
    "ijl,ljk->ik": ("?x?x?", "?x?x?", "?x?"),
    "i,i->": ("?", "?", ""),
    "bhid,bhjd->bhij": ("?x?x?x?", "?x?x?x?", "?x?x?x?"),
}


@pytest.mark.parametrize("element", ["f32", "f64"])
@pytest.mark.parametrize("einsum", CONTRACTIONS)
def test_contractions(einsum, element, tmp_path):
    """Batches, several sums, vectors; added to what the result holds already."""
    inputs, result = einsum.split("->")
    left, right = inputs.split(",")
    loops = "".join(dict.fromkeys(left + right))
    types = [f"tensor<{t}{'x' if t else ''}{element}>" for t in CONTRACTIONS[einsum]]
    maps = ", ".join(f"affine_map<({', '.join(loops)}) -> ({', '.join(part)})>" for part in (left, right, result))
    kinds = ", ".join('"parallel"' if c in result else '"reduction"' for c in loops)
    text = f"""
func.func @main(%a: {types[0]} {{ee.name = "a"}}, %b: {types[1]} {{ee.name = "b"}}, %c: {types[2]} {{ee.name = "c"}}) -> ({types[2]} {{ee.name = "d"}}) {{
  %d = linalg.generic {{indexing_maps = [{maps}], iterator_types = [{kinds}]}} ins(%a, %b : {types[0]}, {types[1]}) outs(%c : {types[2]}) {{
  ^bb0(%x: {element}, %y: {element}, %o: {element}):
    %p = arith.mulf %x, %y : {element}
    %s = arith.addf %p, %o : {element}
    linalg.yield %s : {element}
  }} -> {types[2]}
  return %d : {types[2]}
}}"""
    artifact = compile_text(tmp_path, text)
    size = dict(zip("bhijkld", (2, 3, 9, 20, 35, 4, 7)))
    rng = np.random.default_rng(2)
    make = lambda part: rng.normal(size=[size[c] for c in part]).astype(np.float32 if element == "f32" else np.float64)  # noqa: E731
    a, b, c = make(left), make(right), make(result)
    got = run_artifact(artifact, {"a": a, "b": b, "c": c}, ["d"])["d"]
    want = np.einsum(einsum, a.astype(np.float64), b.astype(np.float64)) + c
    np.testing.assert_allclose(got, want, rtol=1e-5 if element == "f32" else 1e-12, atol=1e-5 if element == "f32" else 1e-12)
    np.testing.assert_array_equal(np.load(tmp_path / "in-c.npy"), c)


WEIGHTS = """
adaptive.weight @w : tensor<3x5xf32> source "w.safetensors" tensor "w" transposed
adaptive.weight @table : tensor<4xi64> source "w.safetensors" tensor "table"
adaptive.weight @bytes : tensor<3xui8> source "w.safetensors" tensor "bytes"
adaptive.weight @flags : tensor<3xi1> source "w.safetensors" tensor "flags"
adaptive.weight @unused : tensor<2xf32> source "w.safetensors" tensor "unused"
adaptive.weight @small : tensor<2xf64> source "" tensor "" value dense<[0.25, 3.0]> : tensor<2xf64>
func.func @main(%i: tensor<i64> {ee.name = "i"})
    -> (tensor<3x5xf32> {ee.name = "w"}, tensor<i64> {ee.name = "entry"}, tensor<3xi8> {ee.name = "bytes", ee.dtype = "u8"}, tensor<3xi1> {ee.name = "flags"}, tensor<2xf64> {ee.name = "small"}, tensor<i64> {ee.name = "same"}) {
  %w = adaptive.use @w : tensor<3x5xf32>
  %table = adaptive.use @table : tensor<4xi64>
  %stored = adaptive.use @bytes : tensor<3xui8>
  %bytes = tensor.bitcast %stored : tensor<3xui8> to tensor<3xi8>
  %flags = adaptive.use @flags : tensor<3xi1>
  %small = adaptive.use @small : tensor<2xf64>
  %c0 = arith.constant 0 : index
  %c4 = arith.constant 4 : index
  %v = tensor.extract %i[] : tensor<i64>
  %at = arith.index_cast %v : i64 to index
  %low = arith.cmpi sge, %at, %c0 : index
  %high = arith.cmpi slt, %at, %c4 : index
  %inside = arith.andi %low, %high : i1
  cf.assert %inside, "Gather 'pick': an index lies outside of [0, 4)"
  %x = tensor.extract %table[%at] : tensor<4xi64>
  %entry = tensor.from_elements %x : tensor<i64>
  return %w, %entry, %bytes, %flags, %small, %entry : tensor<3x5xf32>, tensor<i64>, tensor<3xi8>, tensor<3xi1>, tensor<2xf64>, tensor<i64>
}
"""


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    arrays = {"w": np.arange(15, dtype=np.float32).reshape(5, 3), "table": np.array([7, -1, 2**40, 3]), "bytes": np.array([0, 200, 255], np.uint8),
              "flags": np.array([True, False, True]), "unused": np.zeros(2, np.float32)}
    save_file(arrays, folder / "w.safetensors")
    return compile_text(folder, WEIGHTS), arrays


def test_weights(weights):
    artifact, arrays = weights
    got = run_artifact(artifact, {"i": np.int64(2)}, ["w", "entry", "bytes", "flags", "small", "same"])
    np.testing.assert_array_equal(got["w"], arrays["w"].T)
    assert got["entry"] == got["same"] == 2**40
    assert got["bytes"].dtype == np.uint8 and (got["bytes"] == arrays["bytes"]).all()
    assert got["flags"].dtype == bool and (got["flags"] == arrays["flags"]).all()
    np.testing.assert_array_equal(got["small"], [0.25, 3.0])
    manifest = json.loads((artifact / "manifest.json").read_text())
    assert [w["name"] for w in manifest["weights"]] == ["w", "table", "bytes", "flags", "small"]
    # The file is safetensors for everybody, with the dtypes of the manifest.
    stored = load_file(artifact / "weights/generic.safetensors")
    for weight, dtype in zip(manifest["weights"], ("float32", "int64", "uint8", "bool", "float64")):
        assert stored[weight["name"]].dtype == dtype and list(stored[weight["name"]].shape) == weight["shape"]
    ok("ee-run", "inspect", "--verify", artifact)
    assert 'i64 []' in ok("ee-run", "inspect", artifact)


LOOP = """
func.func @main(%x: tensor<?x4xf32> {ee.name = "x", ee.dims = ["n", ""]}, %steps: tensor<i32> {ee.name = "steps"}, %go: tensor<i1> {ee.name = "go"})
    -> (tensor<?x4xf32> {ee.name = "y", ee.dims = ["n", ""]}, tensor<?x8xf32> {ee.name = "wide"}, tensor<?x4xf32> {ee.name = "p"}) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c3 = arith.constant 3 : index
  %zero = arith.constant 0.0 : f32
  %half = arith.constant 0.5 : f32
  %n = tensor.dim %x, %c0 : tensor<?x4xf32>
  %s32 = tensor.extract %steps[] : tensor<i32>
  %s = arith.index_cast %s32 : i32 to index
  %flag = tensor.extract %go[] : tensor<i1>
  // A loop whose value is a tensor, and an assertion in it.
  %sum = scf.for %i = %c0 to %s step %c1 iter_args(%acc = %x) -> tensor<?x4xf32> {
    %few = arith.cmpi ult, %i, %c3 : index
    cf.assert %few, "Loop 'l': more than 3 iterations"
    %e = tensor.empty(%n) : tensor<?x4xf32>
    %next = linalg.add ins(%acc, %x : tensor<?x4xf32>, tensor<?x4xf32>) outs(%e : tensor<?x4xf32>) -> tensor<?x4xf32>
    scf.yield %next : tensor<?x4xf32>
  }
  // Branches that give different buffers.
  %y = scf.if %flag -> tensor<?x4xf32> {
    scf.yield %sum : tensor<?x4xf32>
  } else {
    %e = tensor.empty(%n) : tensor<?x4xf32>
    %f = linalg.fill ins(%half : f32) outs(%e : tensor<?x4xf32>) -> tensor<?x4xf32>
    scf.yield %f : tensor<?x4xf32>
  }
  %wide = tensor.concat dim(1) %x, %y : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x8xf32>
  %e = tensor.empty(%n) : tensor<?x4xf32>
  %p = linalg.softmax dimension(1) ins(%x : tensor<?x4xf32>) outs(%e : tensor<?x4xf32>) -> tensor<?x4xf32>
  return %y, %wide, %p : tensor<?x4xf32>, tensor<?x8xf32>, tensor<?x4xf32>
}
"""


@pytest.fixture(scope="module")
def loop(tmp_path_factory):
    return compile_text(tmp_path_factory.mktemp("loop"), LOOP)


def test_control_flow(loop):
    """Loops, branches, concatenation and a composite op; sizes known at run time only."""
    for rows, steps, go in [(3, 2, True), (1, 0, True), (0, 3, True), (5, 3, False)]:
        x = np.random.default_rng(rows).normal(size=(rows, 4)).astype(np.float32)
        got = run_artifact(loop, {"x": x, "steps": np.int32(steps), "go": np.bool_(go)}, ["y", "wide", "p"])
        y = x * 0
        y = sum([x] * steps, x) if go else y + np.float32(0.5)
        np.testing.assert_allclose(got["y"], y, rtol=1e-6)
        np.testing.assert_array_equal(got["wide"], np.concatenate([x, got["y"]], 1))
        e = np.exp(x - x.max(1, keepdims=True)) if rows else x
        np.testing.assert_allclose(got["p"], e / e.sum(1, keepdims=True), rtol=1e-6)


@pytest.mark.slow
def test_many_temporaries_are_released(tmp_path):
    """400 values of 4 MB in turn; the limit of memory is that of a process with little of it."""
    text = 'func.func @main(%x: tensor<?xf32> {ee.name = "x"}) -> (tensor<?xf32> {ee.name = "y"}) {\n  %c0 = arith.constant 0 : index\n  %n = tensor.dim %x, %c0 : tensor<?xf32>\n'
    value = "%x"
    for i in range(400):  # a reversal of no use to fusion: each op reads its operand backwards
        text += f"""  %e{i} = tensor.empty(%n) : tensor<?xf32>
  %v{i} = linalg.generic {{indexing_maps = [affine_map<(i) -> (i)>], iterator_types = ["parallel"]}} outs(%e{i} : tensor<?xf32>) {{
  ^bb0(%o: f32):
    %i = linalg.index 0 : index
    %one = arith.constant 1 : index
    %l = arith.subi %n, %i : index
    %j = arith.subi %l, %one : index
    %r = tensor.extract {value}[%j] : tensor<?xf32>
    linalg.yield %r : f32
  }} -> tensor<?xf32>
"""
        value = f"%v{i}"
    text += f"  return {value} : tensor<?xf32>\n}}\n"
    artifact = compile_text(tmp_path, text, "--cpu-levels=x86-64-v3")
    x = np.arange(1 << 20, dtype=np.float32)
    import resource

    args = [artifact, *bindings(tmp_path, {"x": x}), "--output", f"y={tmp_path}/y.npy"]
    limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (400 << 20, 400 << 20))  # noqa: E731
    done = run_tool("ee-run", "run", *args, preexec_fn=limit)
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), x)


def refused(folder, name, args, *words):
    """One line on standard error that holds the words, exit code 1, nothing left behind."""
    before = sorted(p.name for p in folder.iterdir())
    done = run_tool(name, *args)
    err = done.stderr.decode()
    assert done.returncode == 1 and err.count("\n") == 1 and err.endswith("\n"), (done.returncode, err)
    for word in words:
        assert word in err, err
    assert sorted(p.name for p in folder.iterdir()) == before


RUNS = {
    "missing input": ({"steps": np.int32(1), "go": np.bool_(1)}, ['input "x" is missing', "f32 [n, 4]"]),
    "unknown input": ({"x": np.zeros((2, 4), np.float32), "steps": np.int32(1), "go": np.bool_(1), "z": np.zeros(1)}, ['no input "z"', '"steps"']),
    "dtype": ({"x": np.zeros((2, 4)), "steps": np.int32(1), "go": np.bool_(1)}, ['input "x"', "float64", "float32"]),
    "signedness": ({"x": np.zeros((2, 4), np.float32), "steps": np.uint32(1), "go": np.bool_(1)}, ['input "steps"', "uint32", "int32"]),
    "static dimension": ({"x": np.zeros((2, 5), np.float32), "steps": np.int32(1), "go": np.bool_(1)}, ['input "x"', "[2, 5]", "[n, 4]"]),
    "rank": ({"x": np.zeros(4, np.float32), "steps": np.int32(1), "go": np.bool_(1)}, ['input "x"', "[4]", "[n, 4]"]),
    "bool": ({"x": np.zeros((2, 4), np.float32), "steps": np.int32(1), "go": np.array(7, np.uint8).view(bool)}, ['input "go"', "neither 0 nor 1"]),
    "assertion in a loop": ({"x": np.zeros((2, 4), np.float32), "steps": np.int32(5), "go": np.bool_(1)}, ["ee-run: Loop 'l': more than 3 iterations"]),
}


@pytest.mark.parametrize("case", RUNS)
def test_bad_runs(case, loop, tmp_path):
    inputs, words = RUNS[case]
    args = bindings(tmp_path, inputs)
    refused(tmp_path, "ee-run", ["run", loop, *args, "--output", f"y={tmp_path}/y.npy"], *words)


def test_named_dimensions_agree(tmp_path):
    text = MATMUL.format(am="?x?", bm="?x?", a="m, k", b="k, n", ad='["m", "k"]', bd='["k", "n"]', mi=0, ni=1)
    artifact = compile_text(tmp_path, text)
    args = bindings(tmp_path, {"a": np.zeros((2, 3), np.float32), "b": np.zeros((4, 5), np.float32)})
    refused(tmp_path, "ee-run", ["run", artifact, *args], 'input "b" has 4 for the dimension "k"', 'input "a" has 3')


def test_run_flags(loop, weights, tmp_path):
    x = {"x": np.ones((2, 4), np.float32), "steps": np.int32(1), "go": np.bool_(1)}
    args = bindings(tmp_path, x)
    for flags, word in [(["--force-full"], "--force-full"), (["--output", f"q={tmp_path}/q.npy"], 'no output "q"'), (["--expect", f"q=@{tmp_path}/in-x.npy"], 'no output "q"')]:
        refused(tmp_path, "ee-run", ["run", loop, *args, *flags], word)
    for command in ("generate", "eval", "bench"):
        more = {"generate": ["-p", "x"], "eval": ["--ids", tmp_path / "in-x.npy"], "bench": []}[command]
        refused(tmp_path, "ee-run", [command, loop, *more], "is a function", "ee-run run")
    np.save(tmp_path / "want.npy", np.full((2, 4), 2, np.float32))
    ok("ee-run", "run", loop, *args, "--expect", f"y=@{tmp_path}/want.npy")
    np.save(tmp_path / "want.npy", np.full((2, 4), 2.1, np.float32))
    assert run_tool("ee-run", "run", loop, *args, "--expect", f"y=@{tmp_path}/want.npy").returncode == 1


@pytest.mark.parametrize("size, words", [(2**40, ["bytes of memory"]), (2**62, ["dimensions", "too large"]), (-1, ["dimensions -1"])])
def test_sizes_from_data(size, words, tmp_path):
    """A size that comes out of an input is checked before memory is asked for."""
    text = """
func.func @main(%s: tensor<i64> {ee.name = "s"}) -> (tensor<?xf32> {ee.name = "y"}) {
  %v = tensor.extract %s[] : tensor<i64>
  %n = arith.index_cast %v : i64 to index
  %zero = arith.constant 0.0 : f32
  %e = tensor.empty(%n) : tensor<?xf32>
  %y = linalg.fill ins(%zero : f32) outs(%e : tensor<?xf32>) -> tensor<?xf32>
  return %y : tensor<?xf32>
}"""
    artifact = compile_text(tmp_path, text)
    refused(tmp_path, "ee-run", ["run", artifact, *bindings(tmp_path, {"s": np.int64(size)})], *words)
    assert run_artifact(artifact, {"s": np.int64(3)}, ["y"])["y"].tolist() == [0, 0, 0]


def test_bfloat16_travels_as_float32(tmp_path):
    artifact = compile_text(tmp_path, unary_module({"y": "%r = arith.addf %a, %a : bf16"}, "bf16"))
    x = np.array([1.5, -2.0, 0.0078125], np.float32)
    np.testing.assert_array_equal(run_artifact(artifact, {"x": x}, ["y"])["y"], x * 2)
    refused(tmp_path, "ee-run", ["run", artifact, *bindings(tmp_path, {"x": np.array([1.0, 0.1], np.float32)})], "bfloat16 can hold", "element 1")
    refused(tmp_path, "ee-run", ["run", artifact, *bindings(tmp_path, {"x": np.zeros(2, np.uint16)})], "uint16", "float32 with values of bfloat16")


def test_division_by_zero(tmp_path):
    artifact = compile_text(tmp_path, unary_module({"y": "%k = arith.constant 7 : i32\n    %r = arith.divsi %k, %a : i32"}, "i32"))
    refused(tmp_path, "ee-run", ["run", artifact, *bindings(tmp_path, {"x": np.array([1, 0], np.int32)})], "integer division by zero")


COMPILES = {
    "name": ('func.func @main(%x: tensor<2xf32>) -> (tensor<2xf32> {ee.name = "y"}) { return %x : tensor<2xf32> }', [], ["argument 0", "ee.name"]),
    "op": ('func.func @main(%x: tensor<2xcomplex<f32>> {ee.name = "x"}) -> (tensor<2xf32> {ee.name = "y"}) { %y = math.absf %x : tensor<2xf32>\n return %y : tensor<2xf32> }', [], ["ee-opt: error:"]),
    "type": ('func.func @main(%x: tensor<2xi4> {ee.name = "x"}) -> (tensor<2xi4> {ee.name = "y"}) { return %x : tensor<2xi4> }', [], ["argument 0", "i4"]),
    "decoder": ('func.func @main(%x: tensor<2xf32> {ee.name = "x"}) -> (tensor<2xf32> {ee.name = "y"}) { return %x : tensor<2xf32> }', ["--kind=decoder"], ["--kind=decoder"]),
    "kind": ('func.func @main(%x: tensor<2xf32> {ee.name = "x"}) -> (tensor<2xf32> {ee.name = "y"}) { return %x : tensor<2xf32> }', ["--kind=graph"], ["--kind", "auto, decoder or function"]),
    "weights": ('func.func @main(%x: tensor<2xf32> {ee.name = "x"}) -> (tensor<2xf32> {ee.name = "y"}) { return %x : tensor<2xf32> }', ["--weights=q4"], ["--weights", "decoders"]),
    "lowering": ('func.func @main(%x: tensor<2xf32> {ee.name = "x"}) -> (tensor<2xf32> {ee.name = "y"}) { return %x : tensor<2xf32> }', ["--exit-lowering=masked"], ["--exit-lowering", "decoders"]),
    "eos": ('func.func @main(%x: tensor<2xf32> {ee.name = "x"}) -> (tensor<2xf32> {ee.name = "y"}) { return %x : tensor<2xf32> }', ["--eos=3"], ["--eos", "decoders"]),
    "planned": ('func.func @main(%x: tensor<2xf32> {ee.name = "x"}) -> (tensor<2xf32> {ee.name = "y"}) { return %x : tensor<2xf32> }', ["--emit=planned"], ["--emit=planned"]),
    "missing weight": ('adaptive.weight @w : tensor<2xf32> source "no.safetensors" tensor "w"\nfunc.func @main() -> (tensor<2xf32> {ee.name = "y"}) { %w = adaptive.use @w : tensor<2xf32>\n return %w : tensor<2xf32> }', [], ["no.safetensors"]),
}


@pytest.mark.parametrize("case", COMPILES)
def test_bad_modules(case, tmp_path):
    text, flags, words = COMPILES[case]
    (tmp_path / "f.mlir").write_text(text)
    refused(tmp_path, "ee-opt", [tmp_path / "f.mlir", "-o", tmp_path / "f.ee", "--quiet", *flags], *words)


def test_text_outputs(tmp_path):
    text = 'func.func @main(%x: tensor<2xf32> {ee.name = "x"}) -> (tensor<2xf32> {ee.name = "y"}) { %y = math.tanh %x : tensor<2xf32>\n return %y : tensor<2xf32> }'
    (tmp_path / "f.mlir").write_text(text)
    for stage, word in [("model", "ee.name"), ("kernel", "memref.store"), ("llvm", "@ee_function_main"), ("asm", "ee_function_main:")]:
        ok("ee-opt", tmp_path / "f.mlir", f"--emit={stage}", "-o", tmp_path / "out.txt", "--quiet")
        assert word in (tmp_path / "out.txt").read_text()
    ok("ee-opt", tmp_path / "f.mlir", "-o", tmp_path / "f.ee", "--quiet", f"--save-temps={tmp_path}/temps")
    assert {"model.mlir", "kernel.mlir", "avx512.ll", "x86-64-v3.ll"} <= {p.name for p in (tmp_path / "temps").iterdir()}


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    """A graph that is no decoder: an MLP, one of whose operators ONNX defines by a body."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    folder = tmp_path_factory.mktemp("graph")
    rng = np.random.default_rng(9)
    w, b = rng.normal(size=(8, 5)).astype(np.float32), rng.normal(size=5).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"], name="fc"), helper.make_node("Add", ["m", "b"], ["a"]),
             helper.make_node("HardSwish", ["a"], ["h"], name="act"), helper.make_node("Softmax", ["h"], ["y"], axis=-1)]
    made = helper.make_graph(nodes, "mlp", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8])],
                             [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 5])], [numpy_helper.from_array(w, "w"), numpy_helper.from_array(b, "b")])
    onnx.save(helper.make_model(made, ir_version=10, opset_imports=[helper.make_opsetid("", 22)]), folder / "m.onnx")

    def reference(x):
        a = x.astype(np.float64) @ w + b
        h = a * np.clip(a / 6 + 0.5, 0, 1)
        e = np.exp(h - h.max(-1, keepdims=True))
        return e / e.sum(-1, keepdims=True)

    return folder, reference


def test_graph_that_is_no_decoder(graph):
    """Compiled all the same, with one remark line that says why and what runs it."""
    folder, reference = graph
    for flags, remarks in [([], 1), (["--kind=function"], 0)]:
        done = run_tool("ee-opt", folder / "m.onnx", "-o", folder / "m.ee", "--quiet", *flags)
        err = done.stderr.decode()
        assert done.returncode == 0 and err.count("\n") == remarks, err
        assert not remarks or all(word in err for word in ("not a decoder", "input_ids", "ee-run run"))
        for n in (1, 7):
            x = np.random.default_rng(n).normal(size=(n, 8)).astype(np.float32)
            np.testing.assert_allclose(run_artifact(folder / "m.ee", {"x": x}, ["y"])["y"], reference(x), rtol=2e-6)


@pytest.mark.parametrize("flags, word", [(["--kind=decoder"], "input_ids"), (["--weights=q4"], "--weights is for decoders"), (["--exit-lowering=masked"], "--exit-lowering is for decoders"),
                                         (["--kind=function", "--eos=3"], "--eos")])
def test_graph_refused(flags, word, graph, tmp_path):
    refused(tmp_path, "ee-opt", [graph[0] / "m.onnx", "-o", tmp_path / "m.ee", "--quiet", *flags], word)
