# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Compiled models on every device that runs anywhere: ids, depths, hashes of logits and of the KV cache are equal."""

import numpy as np
import pytest

from ee.exit_spec import save_spec
from ee.tiny import tiny_exits

from .ee_tools import FORMATS, compile_all, generate, needs_tools, picked, run_arrays, run_tool, write_lists

pytestmark = needs_tools

# The first is what the others are compared with. A new device is one more name.
DEVICES = ("cpu", "guarded")
OTHERS = DEVICES[1:]
LEVEL = "x86-64-v3"
STEPS = 16
RNG = np.random.default_rng(33)
PROMPTS = [RNG.integers(3, 320, n).tolist() for n in (3, 1, 8, 21, 64, 65, 2, 13)]

# name: fill, lowering, flags of ee-run. Every way rows can go through the runtime. --kv-hash keeps all sequences.
WAYS = {
    "exact": ("exact", "grouped", ("--kv-hash",)),
    "propagate": ("propagate", "grouped", ("--kv-hash",)),
    "masked": ("exact", "masked", ("--kv-hash",)),
    "alone": ("exact", "grouped", ("--batch=1",)),
    "three": ("exact", "grouped", ("--batch=3", "--chunk=5")),
    "sampled": ("exact", "grouped", ("--temp=0.8", "--top-k=40", "--top-p=0.9", "--min-p=0.02", "--seed=7")),
    "preempted": ("exact", "grouped", ("--kv-pages=9", "--shuffle-pages=3", "--batch=6")),
}


@pytest.fixture(scope="module")
def built(checkpoint, folder, tmp_path_factory):
    root = tmp_path_factory.mktemp("devices")
    write_lists(root / "prompts", PROMPTS)
    jobs = {"plain": (folder / "model.onnx", root / "plain.ee", "--weights=f32", f"--cpu-levels={LEVEL}")}
    for fill in ("exact", "propagate"):
        specs = [tiny_exits(checkpoint, [k], c, None)[0] for k, c in zip((1, 3), ("probe", "max_prob"))]
        save_spec(root / f"{fill}.toml", specs, fill, dtype=np.float32)
        for lowering in ("grouped", "masked") if fill == "exact" else ("grouped",):
            for weights in FORMATS:
                flags = (f"--exits={root / fill}.toml", f"--exit-lowering={lowering}", f"--weights={weights}", f"--cpu-levels={LEVEL}")
                jobs[fill, lowering, weights] = (folder / "model.onnx", root / f"{fill}.{lowering}.{weights}.ee", *flags)
    return root, compile_all(jobs, lazy=True)


def outcome(built, key, device: str, *flags) -> list[tuple]:
    root, artifacts = built
    results = generate(artifacts[key], root / "prompts", STEPS, "--eos", "none", f"--device={device}", "--logit-hash", *flags)
    assert len(results) == len(PROMPTS)
    assert all(len(r["ids"]) == STEPS for r in results)
    return picked(results, "ids", "exit_depth", "logit_hash", *(["kv_hash"] if "--kv-hash" in flags else []))


# One format each but for the first: compiling takes the time.
CASES = [("exact", w) for w in FORMATS] + [(way, "q8") for way in WAYS if way != "exact"]


@pytest.mark.parametrize("device", OTHERS)
@pytest.mark.parametrize("way,weights", CASES, ids="-".join)
def test_equal_to_the_cpu(built, way, weights, device):
    fill, lowering, flags = WAYS[way]
    key = (fill, lowering, weights)
    want = outcome(built, key, "cpu", *flags)
    assert len({depth for _, depths, *_ in want for depth in depths}) > 1, "no row left: nothing is compared"
    assert outcome(built, key, device, *flags) == want


@pytest.mark.parametrize("device", OTHERS)
def test_logits_of_all_rows(built, tmp_path, device):
    """More logits than the host reads at a time."""
    artifact = built[1]["plain"]
    (tmp_path / "cpu").mkdir()
    (tmp_path / device).mkdir()
    ids = np.array([RNG.integers(3, 320, 50).tolist()], np.int64)
    inputs = {"input_ids": ids}
    want = run_arrays(artifact, tmp_path / "cpu", inputs, "--device=cpu")
    got = run_arrays(artifact, tmp_path / device, inputs, f"--device={device}")
    assert want[0].size > 50
    for a, b in zip(want, got):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "device,said",
    [
        ("gpu", "accepted are cpu, sim, cuda"),
        ("sim", "has no code for a GPU"),
        ("cuda", "has no code for a GPU"),
    ],
)
@pytest.mark.parametrize("command", ["generate", "run", "eval", "bench"])
def test_refused_in_one_line(built, tmp_path, command, device, said):
    needed = {"generate": ["--ids", built[0] / "prompts"], "eval": ["--ids", built[0] / "prompts"]}.get(command, [])
    done = run_tool("ee-run", command, built[1]["plain"], f"--device={device}", *needed)
    assert done.returncode == 1, done.stderr
    text = done.stderr.decode()
    assert said in text and text.count("\n") == 1, text
