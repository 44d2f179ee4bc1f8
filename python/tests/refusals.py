# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What the tests of bad input share: a folder of good files to spoil, and the check that a tool refuses it."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from ee.tiny import tiny_checkpoint, tiny_config, write_tiny

from .ee_tools import compile_model, run_tool, write_lists

SPEC = '''version = 1

[[exit]]
name = "e1"
layer = 1
criterion = "probe"
threshold = 0.5
fill = "exact"
head = { kind = "map", weights = "s.safetensors", map = "map", bias = "bias" }
probe = { weights = "s.safetensors", weight = "w", bias = "b" }
'''


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A folder with a model, a good spec, prompts, and an artifact with one exit."""
    root = tmp_path_factory.mktemp("bad") / "base"
    write_tiny(tiny_checkpoint(tiny_config(2, 64, 2, 1, 64, 320, context=96)), root)
    rng = np.random.default_rng(1)
    f = lambda *s: rng.normal(size=s).astype(np.float32)  # noqa: E731
    save_file({"map": f(64, 64), "bias": f(64), "w": f(64), "b": f(1), "ints": np.zeros((64, 64), np.int32), "wide": f(65, 64), "two": f(2)}, root / "s.safetensors")
    (root / "spec.toml").write_text(SPEC)
    compile_model(root / "model.onnx", root / "m.ee", f"--exits={root / 'spec.toml'}", "--cpu-levels=x86-64-v3")
    write_lists(root / "ids.txt", [[5, 6, 7], [8, 9]])
    np.save(root / "ids.npy", np.array([[5, 6, 7]]))
    return root


def tree(root: Path) -> list[str]:
    return sorted(str(p.relative_to(root)) for p in root.rglob("*"))


def check_refused(folder: Path, name: str, args, said, text: bytes | None = None):
    """Run the tool in `folder`: it must refuse in one line that holds each of `said`."""
    before = tree(folder)
    done = run_tool(name, *args, cwd=folder)
    err = done.stderr.decode("utf-8", errors="replace")
    assert done.returncode == 1, (done.returncode, err, done.stdout[:300])
    lines = err.split("\n")
    assert len(lines) == 2 and lines[1] == "" and len(lines[0]) > 10, err
    assert len(lines[0]) < 1000, "a line that no one can read"
    for word in [said] if isinstance(said, str) else said:
        assert word in err, err
    assert tree(folder) == before


@pytest.fixture
def work(base, tmp_path):
    shutil.copytree(base, tmp_path / "w")
    return tmp_path / "w"


OUT = ("-o", "out.ee", "--quiet", "--cpu-levels=x86-64-v3")


def cases(table: dict):
    return pytest.mark.parametrize("case", list(table.values()), ids=list(table))


def wrote(name, text):
    return lambda w: (w / name).write_text(text)


def nothing(w):
    pass


def put(path, text):
    def change(w):
        (w / path).parent.mkdir(parents=True, exist_ok=True)
        (w / path).write_text(text)

    return change
