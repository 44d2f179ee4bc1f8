# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`ee-run run --dump`: what lies between the stages of a decoder, against the residual stream that numpy computes."""

import numpy as np
import pytest

from ee.numpy_llama import NumpyLlama
from ee.tiny import tiny_checkpoint, tiny_config, tiny_exits, write_tiny

from .ee_tools import compile_model, needs_tools, ok, relative_error, run_tool

pytestmark = needs_tools
IDS = np.array([[5, 9, 17, 33, 80], [300, 12, 45, 9, 2]])
DEPTH = {"trunk0": 1, "trunk1": 3, "trunk2": 4}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Four layers with exits behind the first and the third, and their artifact."""
    root = tmp_path_factory.mktemp("dump")
    checkpoint = tiny_checkpoint(tiny_config(layers=4, hidden=64, heads=2, kv_heads=1, ffn=64))
    write_tiny(checkpoint, root, exits=tiny_exits(checkpoint, [1, 3], "probe", None))
    np.save(root / "ids.npy", IDS)
    return checkpoint, compile_model(root / "model.onnx", root / "m.ee", "--cpu-levels=x86-64-v3"), root


def dump(built, out, names, script):
    """{name: array} of the artifact, and the depth of each row."""
    _, artifact, root = built
    np.save(out / "script.npy", script)
    flags = [f for i, n in enumerate(names) for f in ("--dump", f"{n}={out}/{i}.npy")]
    ok("ee-run", "run", artifact, "--input", f"input_ids=@{root}/ids.npy", "--input", f"script=@{out}/script.npy", "--output", f"exit_depth={out}/d.npy", *flags)
    return {n: np.load(out / f"{i}.npy") for i, n in enumerate(names)}, np.load(out / "d.npy")


def test_stages(built, tmp_path):
    """All rows to the end: the stream behind each stage is that after as many layers, by any of its names."""
    names = ["c0"] + [n + c for n in DEPTH for c in ("", ".c0")]
    got, depth = dump(built, tmp_path, names, np.full(IDS.shape, -2))
    states = [NumpyLlama(built[0]).states(row) for row in IDS]
    assert (depth == 4).all()
    for name, layers in DEPTH.items():
        assert relative_error(got[name], np.array([s[layers] for s in states])) < 1e-5
        np.testing.assert_array_equal(got[name], got[name + ".c0"])
    np.testing.assert_array_equal(got["c0"], got["trunk2"])
    # A difference that the bound would not see is no comparison.
    assert relative_error(got["trunk1"], got["trunk2"]) > 1e-2


def test_rows_that_leave(built, tmp_path):
    """A row that leaves without a debt to pay has nothing behind its exit."""
    script = np.full(IDS.shape, -2)
    script[:, -1] = 0, 1
    got, depth = dump(built, tmp_path, list(DEPTH), script)
    assert depth[:, -1].tolist() == [1, 3] and (depth[:, :-1] == 4).all()
    there = {name: ~np.isnan(array).any(-1) for name, array in got.items()}
    assert there["trunk0"].all()
    np.testing.assert_array_equal(there["trunk1"], [[True] * 4 + [False], [True] * 5])
    np.testing.assert_array_equal(there["trunk2"], [[True] * 4 + [False]] * 2)


def test_refusals(built, tmp_path):
    _, artifact, root = built
    given = ("--input", f"input_ids=@{root}/ids.npy")
    for wish, said in {
        "layer3=x.npy": 'no stage or column "layer3", accepted are trunk0, trunk0.c0, ',
        "trunk0.h=x.npy": 'no stage or column "trunk0.h"',
        "trunk0": "must be NAME=@FILE",
        f"trunk0={tmp_path}/none/x.npy": "none/x.npy",
    }.items():
        done = run_tool("ee-run", "run", artifact, *given, "--dump", wish, cwd=tmp_path)
        err = done.stderr.decode()
        assert done.returncode == 1 and said in err and err.count("\n") == 1, err
    assert not list(tmp_path.iterdir())


def test_a_function_has_no_stages(tmp_path):
    (tmp_path / "f.mlir").write_text('func.func @main(%x: tensor<?xf32> {ee.name = "x"}) -> (tensor<?xf32> {ee.name = "y"}) {\n  return %x : tensor<?xf32>\n}\n')
    artifact = compile_model(tmp_path / "f.mlir", tmp_path / "f.ee", "--cpu-levels=x86-64-v3")
    np.save(tmp_path / "x.npy", np.zeros(3, np.float32))
    done = run_tool("ee-run", "run", artifact, "--input", f"x=@{tmp_path}/x.npy", "--dump", f"y={tmp_path}/y.npy")
    assert done.returncode == 1 and b"--dump shows what is between the stages of a decoder" in done.stderr
