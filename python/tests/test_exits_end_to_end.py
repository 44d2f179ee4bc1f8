# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Exits of a spec through ee-opt and ee-run: `grouped` against `masked` bit for bit, `masked` against ONNX Runtime on
the file with the same exits written out, and the KV of rows that left."""

import numpy as np
import pytest

from ee.exit_spec import ExitSpec, Head, save_spec
from ee.insert_exits import write_exits
from ee.oracle import Oracle
from ee.tiny import tiny_exits, uniform

from .ee_tools import FORMATS, compile_all, cpu_levels, generate, needs_tools, picked, relative_error, run_arrays, write_lists

pytestmark = needs_tools

RNG = np.random.default_rng(21)
PROMPTS = [RNG.integers(3, 320, n).tolist() for n in (3, 1, 8, 21, 64, 65, 2, 13, 5, 34)]
STEPS, LEVEL = 20, ("--cpu-level", cpu_levels()[-1])
SCRIPT = [RNG.choice([0, 1, -2, -1], STEPS, p=[0.35, 0.25, 0.25, 0.15]).tolist() for _ in PROMPTS]
EOS_NONE = ("--eos", "none")
LAYERS = (1, 3)


def two(checkpoint, first: str, second: str) -> list[ExitSpec]:
    return [tiny_exits(checkpoint, [k], c, None)[0] for k, c in zip(LAYERS, (first, second))]


def three(checkpoint) -> list[ExitSpec]:
    """Three exits, three heads, three criteria."""
    hidden = checkpoint.config.hidden
    m = lambda name, *shape: uniform(7, name, shape, shape[0] ** -0.5)  # noqa: E731
    probe, margin, cosine = (tiny_exits(checkpoint, [k], c, None)[0] for k, c in zip((1, 2, 3), ("probe", "margin", "cosine")))
    return [
        ExitSpec(1, "probe", probe.threshold + 0.5, Head("map", {"map": m("map", hidden, hidden), "bias": m("bias", hidden)}), probe.probe, "first"),
        ExitSpec(2, "margin", margin.threshold + 0.3, Head("lowrank", {"down": m("down", hidden, 16), "up": m("up", 16, hidden)}), name="second"),
        ExitSpec(3, "cosine", cosine.threshold + 0.2),
    ]


# name: exits, fill, weights. Each criterion and each format, without the product of both: compiling takes the time.
MODELS = {
    "three-f32": (three, "exact", "f32"),
    "two-f32": (lambda c: two(c, "max_prob", "entropy"), "exact", "f32"),
    "two-bf16": (lambda c: two(c, "cosine", "max_prob"), "exact", "bf16"),
    "three-q8": (three, "exact", "q8"),
    "two-q4": (lambda c: two(c, "entropy", "probe"), "exact", "q4"),
    "propagate-f32": (three, "propagate", "f32"),
    "propagate-q8": (lambda c: two(c, "probe", "margin"), "propagate", "q8"),
}
NAMES = list(MODELS)


def lowerings(name: str) -> list[str]:
    """The reference first. `masked` does not compile `propagate` files: there the reference is `grouped`, one sequence at a time, and
    ONNX Runtime."""
    return ["grouped"] if name.startswith("propagate") else ["masked", "grouped"]


F32 = [n for n in NAMES if n.endswith("f32")]


@pytest.fixture(scope="module")
def built(checkpoint, folder, tmp_path_factory):
    """The folder of the specs and oracle files, and artifacts by (name, lowering); "plain" has no exits."""
    root = tmp_path_factory.mktemp("exits")
    jobs = {"plain": (folder / "model.onnx", root / "plain.ee", f"--cpu-levels={cpu_levels()[-1]}")}
    for name, (make, fill, weights) in MODELS.items():
        spec, specs = root / f"{name}.toml", make(checkpoint)
        save_spec(spec, specs, fill, dtype=np.float32)
        write_exits(folder / "model.nocache.onnx", root / f"{name}.onnx", specs, fill, exit_depth=True)
        write_exits(folder / "model.nocache.onnx", root / f"{name}.scripted.onnx", specs, fill, scripted=True, exit_depth=True)
        for lowering in lowerings(name):
            flags = (f"--exits={spec}", f"--exit-lowering={lowering}", f"--weights={weights}", f"--cpu-levels={cpu_levels()[-1]}")
            jobs[name, lowering] = (folder / "model.onnx", root / f"{name}.{lowering}.ee", *flags)
    return root, compile_all(jobs, lazy=True)


# Compiling takes the time, so these alone are compiled by the quick tests.
QUICK = ("three-f32", "two-q4", "propagate-f32")


def param(name: str, *more):
    return pytest.param(name, *more, marks=() if name in QUICK else pytest.mark.slow)


def each(names: list[str]):
    return pytest.mark.parametrize("name", [param(n) for n in names])


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lists")
    return write_lists(folder / "ids.txt", PROMPTS), write_lists(folder / "script.txt", SCRIPT)


KEYS = ("ids", "exit_depth", "logit_hash", "finish")


@each(NAMES)
@pytest.mark.parametrize("scripted", [False, True], ids=["real", "scripted"])
def test_grouped_equals_masked(built, files, name, scripted):
    _, artifacts = built
    flags = ("--logit-hash", *LEVEL, *EOS_NONE, *(("--script", files[1]) if scripted else ()))
    want = picked(generate(artifacts[name, lowerings(name)[0]], files[0], STEPS, *flags, "--batch", 1), *KEYS)
    depths = np.array([d for row in want for d in row[1]])
    left = (depths < 4).mean()
    assert 0.1 < left < 0.9 and len(set(depths)) >= 3, (left, set(depths))  # else it shows little
    if scripted:
        exits = sorted(set(depths) - {4})
        for row, script in zip(want, SCRIPT):
            # The first token comes from the prompt's last row, which runs at full depth unless the policy says so.
            told = [(d, s) for d, s in zip(row[1][1:], script[1:]) if s != -1]
            assert all(d == (4 if s == -2 else exits[s]) for d, s in told)
    for batch in (1, 4, 16):
        for lowering in lowerings(name):
            got = generate(artifacts[name, lowering], files[0], STEPS, *flags, "--batch", batch)
            assert picked(got, *KEYS) == want, (batch, lowering)


@each(NAMES)
def test_grouped_rows_do_not_know_their_company(built, files, name):
    _, artifacts = built
    flags = ("--logit-hash", *LEVEL, *EOS_NONE)
    want = picked(generate(artifacts[name, lowerings(name)[0]], files[0], STEPS, *flags, "--batch", 1), *KEYS)
    for serving in (
        ("--batch", 7, "--threads", 2, "--shuffle-pages", 5, "--chunk", 5),
        ("--preempt-every", 3),
        ("--debt-cap", 1),
        ("--debt-cap", 40, "--chunk", 1),
        ("--max-rows", 4, "--batch", 4),
        ("--kv-pages", 3),
    ):
        got = generate(artifacts[name, "grouped"], files[0], STEPS, *flags, *serving)
        assert picked(got, *KEYS) == want, serving


@each(NAMES)
def test_force_full_is_the_model_without_exits(built, files, name):
    root, artifacts = built
    flags = ("--logit-hash", *LEVEL, *EOS_NONE)
    got = [picked(generate(artifacts[name, low], files[0], STEPS, *flags, "--force-full"), *KEYS) for low in lowerings(name)]
    assert got[0] == got[-1] and all(d == 4 for row in got[0] for d in row[1])
    if name in F32:
        assert got[0] == picked(generate(artifacts["plain"], files[0], STEPS, *flags), *KEYS)


def run_inputs(seed, shape=(4, 48)):
    rng = np.random.default_rng(seed)
    return {"input_ids": rng.integers(0, 320, shape), "enabled": rng.random(shape) < 0.8}


@pytest.mark.parametrize("name, lowering", [param(n, low) for n in F32 for low in lowerings(n)])
def test_real_exits_equal_onnx_runtime(built, name, lowering, tmp_path):
    root, artifacts = built
    inputs = run_inputs(31)
    want = Oracle(root / f"{name}.onnx", threads=1).run(**{"ids": inputs["input_ids"], "enabled": inputs["enabled"]})
    logits, depth = run_arrays(artifacts[name, lowering], tmp_path, inputs, *LEVEL)
    near = near_threshold(root / f"{name}.onnx", inputs)
    assert near.sum() < 4, "too many rows at the threshold to prove anything"
    if name.startswith("propagate"):  # a row near the threshold may change what later rows of its sequence read
        near = np.maximum.accumulate(near, axis=1)
        assert near.mean() < 0.5
    want_depth = want["exit_depth"]
    assert len(set(want_depth[~near])) >= 3
    np.testing.assert_array_equal(depth[~near], want_depth[~near])
    assert relative_error(logits[~near], want["logits"][~near]) < 1e-4


def near_threshold(path, inputs) -> np.ndarray:
    """Rows with a score within 1e-3 of its exit's threshold, by the scores that ONNX Runtime computes."""
    import onnx
    import onnxruntime as ort

    model = onnx.load(path)
    exits = [n for n in model.graph.node if n.op_type == "Exit"]
    scores = [n.input[2] for n in exits]
    theta = [next(a.f for a in n.attribute if a.name == "threshold") for n in exits]
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(s) for s in scores)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    shape = inputs["input_ids"].shape
    feed = {"input_ids": inputs["input_ids"].astype(np.int64), "enabled": inputs["enabled"]}
    feed["position_ids"] = np.broadcast_to(np.arange(shape[1]), shape).copy()
    feed["attention_mask"] = np.ones(shape, np.int64)
    wanted = {i.name for i in session.get_inputs()}
    found = session.run(scores, {k: v for k, v in feed.items() if k in wanted})
    return np.any([np.abs(s - t) < 1e-3 for s, t in zip(found, theta)], axis=0)


@pytest.mark.parametrize("name, lowering", [param(n, low) for n in F32 for low in lowerings(n)])
def test_scripted_exits_equal_onnx_runtime(built, checkpoint, name, lowering, tmp_path):
    root, artifacts = built
    oracle = Oracle(root / f"{name}.scripted.onnx", threads=1)
    names = sorted((n for n in oracle.inputs if n.startswith("script.")), key=lambda n: ["first", "second", "e1", "e3"].index(n[7:]))
    inputs = run_inputs(32)
    shape = inputs["input_ids"].shape
    inputs["script"] = np.random.default_rng(33).choice([*range(len(names)), -2], shape).astype(np.int64)
    inputs["script"][~inputs["enabled"]] = -2  # such a row may not leave
    feeds = {n: np.where(inputs["script"] == i, np.inf, -np.inf).astype(np.float32) for i, n in enumerate(names)}
    want = oracle.run(inputs["input_ids"], enabled=inputs["enabled"], **feeds)
    logits, depth = run_arrays(artifacts[name, lowering], tmp_path, inputs, *LEVEL)
    assert len(set(want["exit_depth"].ravel())) == len(names) + 1
    np.testing.assert_array_equal(depth, want["exit_depth"])
    assert relative_error(logits, want["logits"]) < 1e-4


@each(F32)
def test_greedy_text_with_exits_equals_onnx_runtime(built, files, name):
    """Prompt rows at full depth, generated rows as the criteria say."""
    root, artifacts = built
    oracle = Oracle(root / f"{name}.onnx", threads=1)
    got = generate(artifacts[name, "grouped"], files[0], STEPS, *LEVEL, *EOS_NONE)
    for prompt, r in zip(PROMPTS, got):
        want = oracle.generate(prompt, STEPS)
        assert r["ids"] == want.ids and r["exit_depth"] == want.exit_depth


@each([n for n in NAMES if not n.startswith("propagate")])
def test_exact_leaves_the_kv_of_the_full_model(built, files, name, tmp_path):
    """Whoever left, and whenever the debts were paid: the stored K,V are those of the same tokens at full depth."""
    _, artifacts = built
    flags = ("--kv-hash", *LEVEL, *EOS_NONE)
    for lowering in ("grouped", "masked"):
        early = generate(artifacts[name, lowering], files[0], STEPS, *flags)
        assert min(d for r in early for d in r["exit_depth"]) < 4
        forced = write_lists(tmp_path / "forced.txt", [r["ids"] for r in early])
        full = generate(artifacts[name, lowering], files[0], STEPS, *flags, "--force-full", "--force-ids", forced)
        assert all(d == 4 for r in full for d in r["exit_depth"])
        assert picked(early, "ids", "kv_hash") == picked(full, "ids", "kv_hash"), lowering
        for serving in (("--batch", 1), ("--debt-cap", 1), ("--batch", 4, "--preempt-every", 3), ("--shuffle-pages", 9, "--chunk", 5, "-t", 2)):
            again = generate(artifacts[name, lowering], files[0], STEPS, *flags, *serving)
            assert picked(again, "kv_hash") == picked(early, "kv_hash"), (lowering, serving)


@each([n for n in NAMES if n.startswith("propagate")])
def test_propagate_leaves_other_kv_the_same_way_each_time(built, files, name, tmp_path):
    """Rows that left feed later layers with the state they left with, so K,V differ from full depth, but not with the
    serving."""
    _, artifacts = built
    flags = ("--kv-hash", *LEVEL, *EOS_NONE)
    early = generate(artifacts[name, "grouped"], files[0], STEPS, *flags)
    forced = write_lists(tmp_path / "forced.txt", [r["ids"] for r in early])
    full = generate(artifacts[name, "grouped"], files[0], STEPS, *flags, "--force-full", "--force-ids", forced)
    assert any(a["kv_hash"] != b["kv_hash"] for a, b in zip(early, full))
    for serving in (("--batch", 1), ("--debt-cap", 1), ("--batch", 4, "--preempt-every", 3), ("--shuffle-pages", 9, "--chunk", 5, "-t", 2)):
        again = generate(artifacts[name, "grouped"], files[0], STEPS, *flags, *serving)
        assert picked(again, "kv_hash") == picked(early, "kv_hash"), serving


def test_policy_and_flags(built, files, tmp_path):
    """Thresholds, depth limits and switches change decisions, and in both lowerings in the same way."""
    _, artifacts = built

    def depths(*flags, name="two-f32"):
        got = [picked(generate(artifacts[name, low], files[0], STEPS, "--logit-hash", *LEVEL, *EOS_NONE, *flags), *KEYS) for low in ("grouped", "masked")]
        assert got[0] == got[1], flags
        return {d for row in got[0] for d in row[1][1:]}  # without the prompt's row

    assert depths() == {1, 3, 4}
    assert depths("--threshold", "e1=-1e30") == {1}
    assert depths("--threshold", "e1=never", "--threshold", "1=-1e30") == {3}
    assert depths("--threshold", "e1=never", "--threshold", "e3=never") == {4}
    assert depths("--min-depth", 2) == {3, 4}
    assert depths("--min-depth", 4) == {4}
    assert depths("--max-depth", 3) == {1, 3}
    assert depths("--max-depth", 1) == {1}
    (tmp_path / "p.toml").write_text("min_depth = 2\n[exits.e3]\nenabled = false\n")
    assert depths("--policy", tmp_path / "p.toml") == {4}
    (tmp_path / "p.toml").write_text("[exits.e3]\nthreshold = -1e30\n")
    assert depths("--policy", tmp_path / "p.toml") == {1, 3}


def test_exits_in_the_file(built, checkpoint, folder, files, tmp_path):
    """`ai.adaptive` ops in the ONNX file give what the same exits of a spec give."""
    root, artifacts = built
    write_exits(folder / "model.onnx", tmp_path / "exits.onnx", two(checkpoint, "max_prob", "entropy"), "exact")
    flags = f"--cpu-levels={cpu_levels()[-1]}"
    own = compile_all({low: (tmp_path / "exits.onnx", tmp_path / f"{low}.ee", flags, f"--exit-lowering={low}") for low in ("masked", "grouped")})
    flags = ("--logit-hash", *LEVEL, *EOS_NONE)
    want = picked(generate(artifacts["two-f32", "masked"], files[0], STEPS, *flags), *KEYS)
    for low in ("masked", "grouped"):
        assert picked(generate(own[low], files[0], STEPS, *flags), *KEYS) == want, low
