# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""ONNX through ee-opt and ee-run, against ONNX Runtime on the same file, and against itself under every way of serving."""

import json

import numpy as np
import pytest

from ee.checkpoint import Checkpoint
from ee.oracle import Oracle
from ee.tiny import tiny_checkpoint, tiny_config, write_tiny

from .ee_tools import FORMATS, compile_all, cpu_levels, generate, needs_tools, ok, picked, relative_error, run_arrays, run_tool, write_lists

pytestmark = needs_tools

RNG = np.random.default_rng(11)
PROMPTS = [RNG.integers(3, 320, n).tolist() for n in (1, 2, 5, 9, 17, 33, 64, 65, 70, 80)]
STEPS = 24
EOS_NONE = ("--eos", "none")
# Teacher-forced logits against f32, root mean square of the difference over that of the logits; the weights of these
# models lose nothing in bf16 and q4, so what is left is the rounding of activations. A wrong scale, a swapped panel or
# a lost layer gives 1 and more.
CLOSE = {"bf16": 0.06, "q8": 0.2, "q4": 0.2}


def snapped(checkpoint):
    """The checkpoint with each matrix on 15 evenly spaced values d * (-7 .. 7), d a float16: exact in q4 and bf16."""

    def read(name):
        w = checkpoint.tensor(name)
        if w.ndim < 2:
            return w
        d = np.float32(2.0 ** np.ceil(np.log2(np.abs(w).max() / 7)))
        return np.clip(np.round(w / d), -7, 7).astype(np.float32) * d

    return Checkpoint(checkpoint.config, read, checkpoint.files)


@pytest.fixture(scope="module")
def folder(checkpoint, tmp_path_factory):
    path = tmp_path_factory.mktemp("snapped") / "model"
    write_tiny(snapped(checkpoint), path)
    return path


@pytest.fixture(scope="module")
def models(folder, tmp_path_factory):
    """Artifacts of the 4-layer model: by weight format, and of the file without cache."""
    out = tmp_path_factory.mktemp("artifacts")
    jobs = {w: (folder / "model.onnx", out / f"{w}.ee", f"--weights={w}") for w in FORMATS}
    jobs["nocache"] = (folder / "model.nocache.onnx", out / "nocache.ee")
    return compile_all(jobs)


@pytest.fixture(scope="module")
def wanted(folder):
    """What ONNX Runtime generates, once per file."""
    found = {}

    def get(name):
        if name not in found:
            oracle = Oracle(folder / name, threads=1)
            found[name] = [oracle.generate(p, STEPS) for p in PROMPTS]
        return found[name]

    return get


@pytest.fixture(scope="module")
def prompts_file(tmp_path_factory):
    return write_lists(tmp_path_factory.mktemp("prompts") / "ids.txt", PROMPTS)


def levels():
    """Once per level; levels that the machine lacks are left out, not skipped."""
    return pytest.mark.parametrize("level", cpu_levels())


@levels()
@pytest.mark.parametrize("model, file", [("f32", "model.onnx"), ("f32", "model.nocache.onnx"), ("nocache", "model.nocache.onnx"), ("nocache", "model.onnx")])
def test_greedy_ids_equal_onnx_runtime(models, wanted, prompts_file, model, file, level):
    want = wanted(file)
    gaps = [np.diff(np.sort(g.logits, axis=1)[:, -2:]).min() for g in want]
    assert min(gaps) > 1e-3, "a near tie: no proof either way"
    assert len({tuple(g.ids) for g in want}) == len(PROMPTS)
    got = generate(models[model], prompts_file, STEPS, "--cpu-level", level, *EOS_NONE)
    assert [r["prompt_ids"] for r in got] == PROMPTS
    assert [r["ids"] for r in got] == [g.ids for g in want]
    assert all(r["exit_depth"] == [4] * STEPS and r["finish"] == "length" for r in got)


@levels()
@pytest.mark.parametrize("model", ["f32", "nocache"])
def test_logits_equal_onnx_runtime(models, folder, model, level, tmp_path):
    ids = np.random.default_rng(12).integers(0, 320, (3, 97))
    want = Oracle(folder / "model.onnx", threads=1).run(ids)["logits"]
    got, depth = run_arrays(models[model], tmp_path, {"input_ids": ids}, "--cpu-level", level)
    assert relative_error(got, want) < 1e-4 and (depth == 4).all()
    # The logits that generate chooses from are those of run: the tool says so itself, bit by bit.
    expect = ["--expect", f"logits=@{tmp_path / 'logits.out.npy'}", "--rtol", "0", "--atol", "0"]
    command = ["run", models[model], "--input", f"input_ids=@{tmp_path / 'input_ids.npy'}", "--cpu-level", level, *expect]
    assert run_tool("ee-run", *command).returncode == 0
    np.save(tmp_path / "logits.out.npy", got + np.float32(1e-3) * (np.arange(320) == 7))
    assert run_tool("ee-run", *command).returncode == 1


@levels()
@pytest.mark.parametrize("weights", FORMATS[1:])
def test_weight_formats_stay_close(models, folder, weights, level, tmp_path):
    ids = np.random.default_rng(13).integers(0, 320, (4, 64))
    want = Oracle(folder / "model.onnx", threads=1).run(ids)["logits"]
    got, _ = run_arrays(models[weights], tmp_path, {"input_ids": ids}, "--cpu-level", level)
    assert np.isfinite(got).all() and not np.allclose(got, want, rtol=1e-4)  # else the format was not used
    assert spread(got - want) / spread(want) < CLOSE[weights]
    assert (got.argmax(-1) == want.argmax(-1)).mean() > 0.8


def spread(x: np.ndarray) -> float:
    return float(np.sqrt((x.astype(np.float64) ** 2).mean()))


def test_levels_agree(models, tmp_path):
    """Different instructions, same numbers up to rounding."""
    ids = np.random.default_rng(14).integers(0, 320, (1, 70))
    for weights in FORMATS:
        first, *rest = [run_arrays(models[weights], tmp_path, {"input_ids": ids}, "--cpu-level", level)[0] for level in cpu_levels()]
        for other in rest:
            assert spread(other - first) / spread(first) < CLOSE.get(weights, 1e-5), weights


SERVING = {
    "again": (),
    "batch 2": ("--batch", 2),
    "batch 7": ("--batch", 7),
    "batch 16": ("--batch", 16),
    "2 threads": ("--threads", 2),
    "shuffled": ("--shuffle-pages", 99),
    "preempted": ("--preempt-every", 3),
    "chunk 1": ("--chunk", 1),
    "chunk 5": ("--chunk", 5, "--threads", 2),
    "chunk 64": ("--chunk", 64),
    "small waves": ("--max-rows", 3, "--batch", 3),
    "few pages": ("--kv-pages", 3),
    "all": ("--batch", 7, "--threads", 2, "--shuffle-pages", 5, "--preempt-every", 4, "--chunk", 5),
}


@levels()
@pytest.mark.parametrize("weights", FORMATS)
def test_rows_do_not_know_their_company(models, prompts_file, weights, level, tmp_path):
    flags = ("--cpu-level", level, "--logit-hash", *EOS_NONE)
    alone = [generate(models[weights], write_lists(tmp_path / "one.txt", [p]), STEPS, *flags, "--threads", 1)[0] for p in PROMPTS]
    hashes = [r["logit_hash"] for r in alone]
    assert all(len(h) == STEPS for h in hashes) and len({h for row in hashes for h in row}) > STEPS * 5
    for name, serving in SERVING.items():
        threads = () if "--threads" in serving else ("--threads", 1)
        got = generate(models[weights], prompts_file, STEPS, *flags, *threads, *serving)
        assert picked(got, "ids", "logit_hash") == picked(alone, "ids", "logit_hash"), name


def test_hashes_tell_models_apart(models, prompts_file):
    """What the invariance tests compare does change when the numbers do."""
    seen = [generate(models[w], prompts_file, 1, "--logit-hash", *EOS_NONE)[0]["logit_hash"][0] for w in FORMATS]
    assert len(set(seen)) == len(FORMATS)


def test_sampling(models, prompts_file, tmp_path):
    flags = ("--temp", 1.5, "--top-k", 40, "--top-p", 0.95, "--min-p", 0.01, *EOS_NONE)
    first, again, other = (generate(models["q8"], prompts_file, STEPS, *flags, "--seed", s) for s in (1, 1, 2))
    assert picked(first, "ids") == picked(again, "ids")
    assert all(a["ids"] != b["ids"] for a, b in zip(first, other))
    greedy = generate(models["q8"], prompts_file, STEPS, *EOS_NONE)
    assert all(a["ids"] != b["ids"] for a, b in zip(first, greedy))
    for serving in (("--batch", 2), ("--batch", 7, "--chunk", 5), ("--threads", 2), ("--preempt-every", 2)):
        assert picked(generate(models["q8"], prompts_file, STEPS, *flags, "--seed", 1, *serving), "ids") == picked(first, "ids"), serving
    # One kept token is greedy whatever the temperature.
    for narrow in (("--top-k", 1), ("--top-p", 1e-6), ("--min-p", 0.999999)):
        assert picked(generate(models["q8"], prompts_file, STEPS, "--temp", 2, "--seed", 3, *narrow, *EOS_NONE), "ids") == picked(greedy, "ids"), narrow


def test_same_prompt_alone_and_in_company_samples_the_same(models, tmp_path):
    """A row's random numbers come from its seed and position, not from where it stands."""
    flags = ("--temp", 1, "--seed", 4, *EOS_NONE)
    alone = generate(models["f32"], write_lists(tmp_path / "a.txt", [PROMPTS[3]]), STEPS, *flags)
    both = generate(models["f32"], write_lists(tmp_path / "b.txt", [PROMPTS[3], PROMPTS[4]]), STEPS, *flags)
    assert both[0]["ids"] == alone[0]["ids"]


def test_sampled_frequencies(models, folder, tmp_path):
    """The first token of many seeds is distributed as softmax says."""
    logits = Oracle(folder / "model.onnx", threads=1).run(np.array([PROMPTS[2]]))["logits"][0, -1].astype(np.float64)
    p = np.exp(logits - logits.max())
    p /= p.sum()
    file = write_lists(tmp_path / "p.txt", [PROMPTS[2]])
    draws = [generate(models["f32"], file, 1, "--temp", 1, "--seed", s, "-t", 1, *EOS_NONE)[0]["ids"][0] for s in range(100)]
    top = np.argsort(p)[-8:]
    share, want = np.isin(draws, top).mean(), p[top].sum()
    assert abs(share - want) < 4 * np.sqrt(want * (1 - want) / len(draws)), (share, want)
    assert len(set(draws)) > 10


def test_end_of_text(models, wanted, prompts_file):
    free = [g.ids for g in wanted("model.onnx")]
    end = free[5][6]
    for r, ids in zip(generate(models["f32"], prompts_file, STEPS, "--eos", end), free):
        cut = ids.index(end) + 1 if end in ids else STEPS
        assert r["ids"] == ids[:cut] and len(r["exit_depth"]) == cut
        assert r["finish"] == ("stop" if end in ids else "length")
    # The file's own end token is 2: it ends the text when it is forced.
    assert "eos        2\n" in ok("ee-run", "inspect", models["f32"])


def test_forced_ids(models, prompts_file, tmp_path):
    forced = [[5, 6, 2, 7]] * len(PROMPTS)
    got = generate(models["f32"], prompts_file, 4, "--force-ids", write_lists(tmp_path / "f.txt", forced), *EOS_NONE)
    assert [r["ids"] for r in got] == forced
    got = generate(models["f32"], prompts_file, 4, "--force-ids", tmp_path / "f.txt")
    assert [r["ids"] for r in got] == [[5, 6, 2]] * len(PROMPTS) and {r["finish"] for r in got} == {"stop"}


TEXTS = ["The rows of a batch", "tab\there", "two\nlines", "back\\slash \\n", "naïve 深い 🙂", " leading", "x"]


def test_prompts_file(models, folder, tmp_path):
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    lines = [t.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t") for t in TEXTS]
    (tmp_path / "p.txt").write_text("\n\n".join(lines) + "\n\n", encoding="utf-8")  # empty lines are skipped
    out = ok("ee-run", "generate", models["f32"], "--prompts", tmp_path / "p.txt", "-n", 8, "--json", *EOS_NONE)
    got = [json.loads(line) for line in out.splitlines()]
    assert [r["prompt_ids"] for r in got] == [tokenizer.encode(t).ids for t in TEXTS]
    for r, text in zip(got, TEXTS):
        direct = json.loads(ok("ee-run", "generate", models["f32"], "-p", text, "-n", 8, "--json", *EOS_NONE))
        assert direct["ids"] == r["ids"]


def test_json_schema(models, tmp_path):
    plain = json.loads(ok("ee-run", "generate", models["q4"], "-p", "The rows", "-n", 5, "--json", *EOS_NONE))
    assert set(plain) == {"prompt_ids", "ids", "text", "exit_depth", "finish", "timings"}
    assert len(plain["ids"]) == len(plain["exit_depth"]) == 5
    assert set(plain["timings"]) >= {"first_token_ms", "generate_ms", "tokens_per_second"}
    assert all(v >= 0 for v in plain["timings"].values())
    hashed = json.loads(ok("ee-run", "generate", models["q4"], "-p", "The rows", "-n", 5, "--json", "--logit-hash", "--kv-hash", *EOS_NONE))
    assert set(hashed) == set(plain) | {"logit_hash", "kv_hash"}
    assert all(len(h) == 16 and int(h, 16) >= 0 for h in hashed["logit_hash"] + hashed["kv_hash"])
    ok("ee-run", "generate", models["q4"], "-p", "The rows", "-n", 5, "--json", "--trace", tmp_path / "trace.jsonl", *EOS_NONE)
    assert all(isinstance(json.loads(line), dict) for line in (tmp_path / "trace.jsonl").read_text().splitlines())


@pytest.mark.parametrize("text", TEXTS)
def test_streamed_text_is_the_json_text(models, text):
    """Bytes of one character come from several tokens of a random model, whole characters leave the tool."""
    shared = ("-p", text, "-n", 40, "--temp", 1, "--seed", 8, *EOS_NONE)
    result = json.loads(ok("ee-run", "generate", models["f32"], *shared, "--json"))
    done = run_tool("ee-run", "generate", models["f32"], *shared, "--color", "never")
    streamed = done.stdout.decode("utf-8")  # must be valid
    assert streamed in (result["text"] + "\n", text + result["text"] + "\n")


def test_inspect_and_verify(models, tmp_path):
    text = ok("ee-run", "inspect", models["q8"], "--verify")
    assert "linear q8" in text and "vocab 320" in text and "layers 4" in text


def test_eval_agrees_with_onnx_runtime(models, folder, tmp_path):
    ids = np.random.default_rng(15).integers(3, 320, 128)
    write_lists(tmp_path / "ids.txt", [ids.tolist()])
    got = json.loads(ok("ee-run", "eval", models["f32"], "--ids", tmp_path / "ids.txt", "-c", 64, "--json"))
    oracle, loss = Oracle(folder / "model.onnx", threads=1), []
    for window in ids.reshape(2, 64):
        logits = oracle.run(window[None])["logits"][0, :-1].astype(np.float64)
        logits -= logits.max(1, keepdims=True)
        loss += list(np.log(np.exp(logits).sum(1)) - logits[np.arange(63), window[1:]])
    assert got["perplexity"] == pytest.approx(np.exp(np.mean(loss)), rel=1e-3)


def test_untied_head_biases_and_other_shapes(tmp_path):
    """Head sizes and widths that are no multiple of a vector, a head of its own, biases everywhere."""
    shapes = {
        "untied": tiny_config(1, 64, 4, 2, 160, 331, tied=False, bias=True),
        "odd": tiny_config(2, 96, 6, 3, 224, 300),
        "mqa": tiny_config(1, 64, 2, 1, 96, 320),
    }
    for name, config in shapes.items():
        write_tiny(tiny_checkpoint(config, seed=6), tmp_path / name)
    built = compile_all({n: (tmp_path / n / "model.onnx", tmp_path / f"{n}.ee", f"--cpu-levels={cpu_levels()[-1]}") for n in shapes})
    for name, config in shapes.items():
        ids = np.random.default_rng(16).integers(0, config.vocab, (2, 40))
        got, _ = run_arrays(built[name], tmp_path, {"input_ids": ids})
        assert relative_error(got, Oracle(tmp_path / name / "model.onnx", threads=1).run(ids)["logits"]) < 1e-4, name
