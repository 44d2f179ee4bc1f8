# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The compiler and the runner as tests call them. EE_BUILD_DIR names the build that holds ee-opt and ee-run."""

import json
import os
import platform
import subprocess
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import pytest

FORMATS = ("f32", "bf16", "q8", "q4")
BUILD = os.environ.get("EE_BUILD_DIR")
needs_tools = pytest.mark.skipif(not BUILD, reason="EE_BUILD_DIR is not set")


@cache
def tool(name: str) -> str:
    """Path of a built tool. A build without it is a failure: a skip would hide it."""
    path = Path(BUILD) / "bin" / name
    assert path.is_file(), f"no {path}; build that target"
    return str(path)


@cache
def cpu_levels() -> list[str]:
    """The levels that this machine runs. x86-64-v3 is the least that the project supports."""
    flags = set()
    if platform.system() == "Linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("flags"):
                flags = set(line.split(":")[1].split())
                break
    need = {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd", "avx512_vnni", "avx512_bf16"}
    return ["x86-64-v3"] + (["avx512"] if need <= flags else [])


def run_tool(name: str, *args, timeout: float = 600, **more) -> subprocess.CompletedProcess:
    return subprocess.run([tool(name), *map(str, args)], stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, **more)


def ok(name: str, *args) -> str:
    """Standard output of a command that must succeed."""
    done = run_tool(name, *args)
    assert done.returncode == 0, (args, done.returncode, done.stderr.decode(errors="replace"))
    return done.stdout.decode("utf-8", errors="replace")


def compile_model(source, out, *flags) -> Path:
    ok("ee-opt", source, "-o", out, "--quiet", *flags)
    return Path(out)


class Artifacts:
    """Artifacts by key, compiled two at a time: all at once, or when first asked for, with all that share the first
    part of a tuple key. One that does not compile fails the tests that ask for it."""

    def __init__(self, jobs: dict, lazy: bool):
        self.pool, self.jobs, self.futures = ThreadPoolExecutor(2), dict(jobs), {}
        if not lazy:
            self.start(jobs)

    def start(self, keys) -> None:
        for key in keys:
            self.futures[key] = self.pool.submit(compile_model, *self.jobs[key])

    def __getitem__(self, key) -> Path:
        if key not in self.futures:
            self.start([k for k in self.jobs if k == key or (isinstance(key, tuple) and k[0] == key[0])])
        return self.futures[key].result()


def compile_all(jobs: dict, lazy: bool = False) -> Artifacts:
    """{key: (source, out, *flags)} -> artifacts by key."""
    return Artifacts(jobs, lazy)


def write_lists(path, lists) -> Path:
    """A file with one list of integers per line."""
    path.write_text("".join(" ".join(map(str, row)) + "\n" for row in lists))
    return path


def generate(artifact, ids_file, count: int, *flags) -> list[dict]:
    """One object per prompt."""
    out = ok("ee-run", "generate", artifact, "--ids", ids_file, "-n", count, "--json", *flags)
    return [json.loads(line) for line in out.splitlines()]


def picked(results: list[dict], *keys) -> list[tuple]:
    return [tuple(r[k] for k in keys) for r in results]


def run_arrays(artifact, folder, inputs: dict, *flags) -> tuple[np.ndarray, np.ndarray]:
    """(logits [b,s,v], exit_depth [b,s]) of `ee-run run`."""
    args = []
    for name, array in inputs.items():
        np.save(folder / f"{name}.npy", array)
        args += ["--input", f"{name}=@{folder / name}.npy"]
    for name in ("logits", "exit_depth"):
        args += ["--output", f"{name}={folder / name}.out.npy"]
    ok("ee-run", "run", artifact, *args, *flags)
    return np.load(folder / "logits.out.npy"), np.load(folder / "exit_depth.out.npy")


def relative_error(got: np.ndarray, want: np.ndarray) -> float:
    """max |difference| over max |value|."""
    assert got.shape == want.shape and np.isfinite(got).all()
    return float(np.abs(got - want).max() / np.abs(want).max())
