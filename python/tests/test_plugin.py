# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The example exit lowering, built outside of the tree, against the masked lowering, bit for bit."""

import shutil
import subprocess
from pathlib import Path

import pytest

from ee.tiny import main as tiny_main

from .ee_tools import BUILD, compile_model, generate, needs_tools, picked, write_lists

pytestmark = needs_tools
ROOT = Path(__file__).resolve().parents[2]
PROMPTS = [[5, 9, 17, 33, 80, 200], [7], [300, 12, 45, 9, 9, 9, 27, 33]]


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    if not shutil.which("ninja"):
        pytest.skip("ninja is not installed")
    out = tmp_path_factory.mktemp("plugin")
    configure = ["cmake", "-G", "Ninja", "-S", ROOT / "examples/exit-lowering-plugin", "-B", out]
    configure += [f"-DEE_SOURCE_DIR={ROOT}", f"-DEE_BUILD_DIR={Path(BUILD).resolve()}"]
    for command in (configure, ["ninja", "-C", out, "EagerHead"]):
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return out


def test_lit(build):
    done = subprocess.run(["ninja", "-C", str(build), "check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("criterion,fill", [("probe", "exact"), pytest.param("margin", "propagate", marks=pytest.mark.slow)])
def test_equals_masked(build, tmp_path, criterion, fill):
    flags = ["--layers", "4", "--exits", "1,3", "--criterion", criterion, "--fill", fill]
    tiny_main([str(tmp_path / "m"), *flags])
    ids = write_lists(tmp_path / "ids.txt", PROMPTS)
    got = {}
    for lowering in ("masked", "eager-head"):
        artifact = compile_model(tmp_path / "m/model.onnx", tmp_path / f"{lowering}.ee", f"--exit-lowering={lowering}",
                                 "--cpu-levels=x86-64-v3", f"--load-pass-plugin={build / 'lib/EagerHead.so'}")
        got[lowering] = picked(generate(artifact, ids, 24, "--eos", "none", "--logit-hash"), "ids", "exit_depth", "logit_hash")
    assert got["eager-head"] == got["masked"]
    assert {d for _, depths, _ in got["masked"] for d in depths} == {1, 3, 4}
