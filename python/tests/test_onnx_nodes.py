# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""ONNX's node tests through ee-opt and ee-run: numbers of the reference implementation, and which tests are refused.

`onnx_nodes_refused.txt` pins the latter, so that a regression fails as much as a wrong number. Here run the cases as
they are (lists of integers as constants where that is needed), some of them, merged into a few models;
`./evidence onnx-nodes` runs all, also with every dimension unknown."""

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest

from .ee_tools import needs_tools, run_tool, tool
from .onnx_nodes import cases, difference, groups, in_npy, merge, with_constants, with_unknown_sizes

pytestmark = needs_tools
PINNED = Path(__file__).with_name("onnx_nodes_refused.txt")


def pinned() -> dict[str, set[str]]:
    """Section -> names of cases. `constant`: accepted when lists of integers are constants; `run`: refused at run
    time; `backend`: refused after lowering; `refused`: refused by onnx-to-linalg."""
    sections, current = {}, None
    for line in PINNED.read_text().splitlines():
        if line.startswith("["):
            current = sections.setdefault(line.strip("[]"), set())
        elif line and not line.startswith("#"):
            current.add(line)
    return sections


def lower(chosen, folder) -> dict[str, str]:
    """What onnx-to-linalg says of each case: "" when it is accepted, else its errors."""
    folder.mkdir()
    paths = {}
    for case in chosen:
        onnx.save(case.model, folder / f"{case.name}.onnx")
        paths[str(folder / f"{case.name}.onnx")] = case.name
    done = subprocess.run([tool("ee-import"), "--batch", "--linalg", *paths], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    said = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    assert said.keys() == paths.keys()
    return {paths[p]: "" if text.startswith("imported") else text.removeprefix("refused ") for p, text in said.items()}


@pytest.fixture(scope="session")
def plain():
    return list(cases().values())


@pytest.mark.slow
def test_refusals_are_pinned(plain, tmp_path):
    """Each refusal says why in one line that names a node, an operator or an input."""
    pins = pinned()
    said = lower(plain, tmp_path / "plain")
    refused = {name for name, text in said.items() if text}
    vague = [t for t in said.values() if t and not t.startswith(("node '", "graph input '", "/"))]
    assert not vague, vague[:5]
    constant = {n for n in refused if "must be constant" in said[n] or "must be an integer vector" in said[n]}
    again = lower([with_constants(cases()[n]) for n in sorted(constant)], tmp_path / "constant")
    helped = {n for n, text in again.items() if not text}
    assert helped == pins["constant"], sorted(helped ^ pins["constant"])
    assert refused - helped == pins["refused"], sorted((refused - helped) ^ pins["refused"])


def run_group(group, folder) -> list[str]:
    """What is wrong with the cases of a group. One that does not compile or run is cut in two, to find the case."""
    folder.mkdir()
    whole = merge(group)
    onnx.save(whole.model, folder / "m.onnx")
    flags = []
    for i, (name, value) in enumerate(whole.inputs.items()):
        np.save(folder / f"i{i}.npy", in_npy(value))
        flags += ["--input", f"{name}=@{folder}/i{i}.npy"]
    for i, name in enumerate(whole.outputs):
        flags += ["--output", f"{name}=@{folder}/o{i}.npy"]
    done = run_tool("ee-opt", folder / "m.onnx", "-o", folder / "m.ee", "--quiet", "--kind=function", "--cpu-levels=x86-64-v3")
    if done.returncode == 0:
        done = run_tool("ee-run", "run", folder / "m.ee", *flags)
    if done.returncode:
        half = len(group) // 2
        if half == 0:
            return [f"{group[0].name}: {done.stderr.decode(errors='replace')[:300]}"]
        return run_group(group[:half], folder / "a") + run_group(group[half:], folder / "b")
    wrong = []
    for i, name in enumerate(whole.outputs):
        case, output = name.split(".", 1)
        wrong.append(difference(group[int(case[1:])], output, np.load(folder / f"o{i}.npy")))
    return [w for w in wrong if w]


def run_all(chosen, folder, size=60) -> list[str]:
    parts = groups(chosen, size)
    with ThreadPoolExecutor(2) as pool:
        results = pool.map(lambda p: run_group(p[1], folder / str(p[0])), enumerate(parts))
        return [w for result in results for w in result]


def accepted(plain):
    pins = pinned()
    left = pins["refused"] | pins["run"] | pins["backend"]
    return [with_constants(c) if c.name in pins["constant"] else c for c in plain if c.name not in left]


@pytest.mark.slow
def test_later_refusals(tmp_path):
    """Those of the backend, and those of the run: one line each."""
    pins = pinned()
    for name in sorted(pins["backend"] | pins["run"]):
        case = cases()[name]
        onnx.save(case.model, tmp_path / "m.onnx")
        done = run_tool("ee-opt", tmp_path / "m.onnx", "-o", tmp_path / f"{name}.ee", "--quiet", "--kind=function", "--cpu-levels=x86-64-v3")
        assert (done.returncode == 1) == (name in pins["backend"]), (name, done.stderr)
        if name in pins["run"]:
            flags = []
            for i, (value_name, value) in enumerate(case.inputs.items()):
                np.save(tmp_path / f"i{i}.npy", in_npy(value))
                flags += ["--input", f"{value_name}=@{tmp_path}/i{i}.npy"]
            done = run_tool("ee-run", "run", tmp_path / f"{name}.ee", *flags)
        assert done.returncode == 1 and len(done.stderr.decode().splitlines()) == 1, (name, done.stderr)


def sample(plain, every, first=0):
    """Some of the accepted cases, but for those that spell out the body of another case."""
    return [c for c in accepted(plain) if not c.name.endswith("_expanded")][first::every]


@pytest.mark.slow
def test_numbers(plain, tmp_path):
    wrong = run_all(sample(plain, 6), tmp_path)
    assert not wrong, "\n".join(wrong)


@pytest.mark.slow
def test_numbers_of_unknown_sizes(plain, tmp_path):
    """With no dimension known at compile time."""
    chosen = [with_unknown_sizes(c) for c in sample(plain, 18, 3)]
    said = lower(chosen, tmp_path / "lower")
    chosen = [c for c in chosen if not said[c.name]]
    assert len(chosen) > 40
    wrong = run_all(chosen, tmp_path)
    assert not wrong, "\n".join(wrong)
