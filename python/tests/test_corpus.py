# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The corpus: what is in it, that its files are what they claim, and that a wrong file is found."""

import hashlib
import json
import re
import subprocess
import sys
from collections import Counter
from functools import partial

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")
from ee.corpus import all_cases, chosen, write_corpus  # noqa: E402
from ee.corpus import compare as comparison  # noqa: E402
from ee.corpus.cases import OPSETS, Answer, Subject  # noqa: E402
from ee.corpus.decoder import between  # noqa: E402
from ee.corpus.files import exported, relabelled  # noqa: E402
from ee.corpus.whole import difference  # noqa: E402
from ee.errors import UserError  # noqa: E402

CASES = {case.name: case for case in all_cases()}
# One case per method, with every op that decides somewhere among them.
SOME = ["free-exact-margin", "mor-expert-choice-skip-threshold-weighted", "ouro-propagate-cdf", "classifier-none-patience"]
REST = [
    "calm-propagate-margin", "layerskip-exact-max_prob", "relaxed-recursive-propagate-cycle", "mor-token-choice-skip-softmax",
    "mixture-of-depths-skip-threshold", "huginn-propagate-delta",
]  # fmt: skip
LOOPED = ("exact", "propagate", "copy", "share", "skip")
REQUIRED = {
    ("calm", "propagate"), ("free", "exact"), ("layerskip", "exact"), ("relaxed-recursive", "exact"), ("relaxed-recursive", "propagate"),
    ("mor-expert-choice", "skip"), ("mor-expert-choice", "share"), ("mor-token-choice", "skip"), ("mor-token-choice", "share"),
    ("mixture-of-depths", "skip"), ("classifier", "none"), *(("ouro", f) for f in LOOPED), *(("huginn", f) for f in LOOPED),
}  # fmt: skip


def written(names, folder):
    """(folder, manifest) of the cases in one opset, with rule and scripted decisions."""
    assert write_corpus(folder / "out", [(CASES[name], (18,)) for name in names], lambda line: None) == []
    return folder / "out", json.loads((folder / "out" / "manifest.json").read_text())


@pytest.fixture(scope="module")
def some(tmp_path_factory):
    return written(SOME, tmp_path_factory.mktemp("some"))


@pytest.fixture(scope="module")
def rest(tmp_path_factory):
    return written(REST, tmp_path_factory.mktemp("rest"))


@pytest.fixture(scope="module", params=["some", pytest.param("rest", marks=pytest.mark.slow)])
def corpus(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def subjects():
    """The built cases by name."""
    return {name: CASES[name].build() for name in SOME + REST}


def entries(corpus, **wanted):
    return [e for e in corpus[1]["files"] if all(e[k] == v for k, v in wanted.items())]


def case_name(entry) -> str:
    return entry["name"].split(".")[0]


def inputs(folder, entry) -> dict[str, np.ndarray]:
    with np.load(folder / entry["arrays"]) as arrays:
        return {n.removeprefix("input."): arrays[n] for n in arrays.files if n.startswith("input.")}


def check_folder(folder, manifest) -> None:
    """What holds for every file of a corpus."""
    named = {"manifest.json"} | {e[k] for e in manifest["files"] for k in ("file", "weights", "arrays", "outputs")}
    assert named == {p.name for p in folder.iterdir()} and manifest["version"] == 1
    for e in manifest["files"]:
        model = onnx.load(folder / e["file"], load_external_data=False)
        assert [v.name for v in model.graph.input] == [v["name"] for v in e["graph_inputs"]]
        assert all(v["shape"][: 1 if e["method"] == "classifier" and "script" in v["name"] else 2][0] == "batch" for v in e["graph_inputs"])
        assert all(v["shape"][1] == "seq" for v in e["graph_inputs"] if len(v["shape"]) > 1)
        assert {o.domain: o.version for o in model.opset_import} == {"": e["opset"], "ai.adaptive": 1}
        hashes = [
            hashlib.sha256(onnx.numpy_helper.to_array(t, str(folder)).tobytes()).hexdigest()
            for t in model.graph.initializer
            if t.external_data
        ]
        assert len(hashes) == len(set(hashes)) > 10  # each weight once
        known = r"(model\.|lm_head\.|routers\.|gates\.|exits\.|lora\.|adapter\.|initial_state\.|predictors\.|recurse\.choice_bias|rope_|.*lifted_tensor).*"
        assert all(re.fullmatch(known, t.name) for t in model.graph.initializer)
        with np.load(folder / e["outputs"]) as got, np.load(folder / e["arrays"]) as arrays:
            want, ids = arrays["reference.logits"], arrays["input.input_ids"]
            assert np.array_equal(ids, np.random.default_rng(e["seeds"]["texts"]).integers(0, e["model"]["vocab"], ids.shape))
            assert np.isfinite(got["logits"]).all() and np.abs(got["logits"] - want).max() <= 1e-4 * np.abs(want).max()
            assert np.array_equal(got["depth"], arrays["reference.depth"]) or e["near"]
            assert len(np.unique(got["depth"])) >= 2 and sum(e["depths"].values()) == got["depth"].size
        data = (folder / e["weights"]).read_bytes()
        assert (
            b"/" not in b"".join(n.name.encode() for n in model.graph.node) and not any(n.metadata_props for n in model.graph.node) and data
        )


def test_every_method_fill_and_opset_has_a_case():
    plain = [c for c in CASES.values() if not c.variant]
    assert {(c.method, c.fill, o) for c in plain for o in c.opsets} == {(m, f, o) for m, f in REQUIRED for o in OPSETS}
    assert len(CASES) == len(all_cases())
    rules = {c.rule for c in CASES.values() if c.method == "calm"}
    assert rules == {"max_prob", "margin", "entropy", "cosine", "probe"}
    assert {c.rule for c in CASES.values() if c.method == "relaxed-recursive"} == {"cycle", "sequence", "middle_cycle", "middle_sequence"}
    expert = {(c.fill, c.rule) for c in CASES.values() if c.method == "mor-expert-choice"}
    assert expert == {(f, f"{r}-{g}") for f in ("skip", "share") for r in ("threshold", "top_k") for g in ("weighted", "additive")}


def test_one_case_per_method():
    assert sorted(CASES[name].method for name in SOME + REST) == sorted({m for m, _ in REQUIRED})


def test_files(corpus):
    folder, manifest = corpus
    check_folder(folder, manifest)
    names = {case_name(e) for e in manifest["files"]}
    assert names in (set(SOME), set(REST))
    assert {e["method"] for e in manifest["files"]} == {CASES[name].method for name in names}
    assert Counter(e["decisions"] for e in manifest["files"]) == {"rule": len(names), "script": len(names)}


def check_same_bytes(out, some, lines: list[str]) -> None:
    """`out` holds FREE at opset 18 alone, with the bytes that it has in the corpus."""
    assert len(lines) == 3 and lines[0].startswith("free-exact-margin.opset18.onnx ") and "all agree" in lines[-1]
    names = sorted(p.name for p in out.iterdir() if p.name != "manifest.json")
    assert len(names) == 7
    for name in names:
        assert (out / name).read_bytes() == (some[0] / name).read_bytes(), name
    assert json.loads((out / "manifest.json").read_text())["files"] == entries(some, method="free")


COMMAND = ["--only", "free-*", "--opset", "18"]


def test_the_command_writes_the_same_bytes(some, tmp_path, capsys):
    """After everything else that this process exported."""
    from ee.corpus.__main__ import main
    from ee.errors import run_main

    assert run_main(main, [str(tmp_path / "out"), *COMMAND]) == 0
    check_same_bytes(tmp_path / "out", some, capsys.readouterr().out.splitlines())
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.slow
def test_another_process_writes_the_same_bytes(some, tmp_path):
    command = [sys.executable, "-m", "ee.corpus", str(tmp_path / "out"), *COMMAND]
    for _ in range(2):  # the second one replaces the first
        done = subprocess.run(command, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stderr
        check_same_bytes(tmp_path / "out", some, done.stdout.splitlines())
        assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_later_tokens_do_not_reach_earlier_rows(corpus):
    rng, found = np.random.default_rng(0), 0
    for e in entries(corpus, causal=True):
        run, given = comparison.runner(corpus[0] / e["file"]), inputs(corpus[0], e)
        before, position = run(given), 6
        other = {n: x.copy() for n, x in given.items()}
        other["input_ids"][:, position + 1 :] = rng.integers(0, 61, other["input_ids"][:, position + 1 :].shape)
        for name in (n for n in other if n.startswith("script.")):
            other[name][:, position + 1 :] = -other[name][:, position + 1 :]
        after = run(other)
        for name in before:
            np.testing.assert_allclose(
                after[name][:, : position + 1], before[name][:, : position + 1], rtol=0, atol=1e-5, err_msg=e["file"]
            )
        found += np.abs(after["logits"] - before["logits"]).max() > 0.1
    assert found == 2 * sum(CASES[name].method != "classifier" for name in {case_name(e) for e in corpus[1]["files"]})


@torch.no_grad()
def test_other_sizes_against_the_module(corpus, subjects):
    rng = np.random.default_rng(1)
    for e in entries(corpus, decisions="rule"):
        subject = subjects[case_name(e)]
        given = {"input_ids": rng.integers(0, 61, (3, 9))}
        if "enabled" in subject.inputs:
            given["enabled"] = rng.random((3, 9)) < 0.7
        want = subject.module(*(torch.from_numpy(x) for x in given.values()))
        got = comparison.runner(corpus[0] / e["file"])(given)
        assert np.array_equal(got["depth"], want[1]) and len(np.unique(want[1])) >= (1 if e["method"] == "classifier" else 2), e["file"]
        np.testing.assert_allclose(got["logits"], want[0], rtol=0, atol=3e-4)


@torch.no_grad()
def test_scripted_files_are_what_a_script_does_in_torch(corpus, subjects):
    """`Recurse` has scripts of its own; in the files, scores were replaced after the export."""
    looped = {"ouro-propagate-cdf", "huginn-propagate-delta", "mor-expert-choice-skip-threshold-weighted", "mor-token-choice-skip-softmax"}
    scripted = [e for e in entries(corpus, decisions="script") if case_name(e) in looped]
    assert len(scripted) == 2
    for e in scripted:
        subject, module = subjects[case_name(e)], subjects[case_name(e)].module
        scripts = [torch.from_numpy(x) for n, x in inputs(corpus[0], e).items() if n.startswith("script.")]
        script = scripts[0] if scripts[0].ndim == 3 else torch.stack(scripts, -1)
        plain = module.recurse.forward
        module.recurse.forward = partial(plain, script=script)
        try:
            want = module(*(torch.from_numpy(x) for x in subject.inputs.values()))
        finally:
            del module.recurse.forward
        with np.load(corpus[0] / e["outputs"]) as got:
            assert np.array_equal(got["depth"], want[1]) and np.array_equal(got["depth"], subject.table)
            np.testing.assert_allclose(got["logits"], want[0], rtol=0, atol=3e-4)


def test_fills_differ():
    """With the same decisions, each fill of the looped models gives other numbers."""
    for method in ("ouro-{}-cdf", "huginn-{}-delta"):
        built = [CASES[method.format(fill)].build() for fill in LOOPED]
        assert all(np.array_equal(s.table, built[0].table) for s in built)
        logits = [s.reference(s.table).outputs["logits"] for s in built]
        for i, a in enumerate(logits):
            assert all(np.abs(a - b).max() > 1e-2 * np.abs(a).max() for b in logits[:i])


def test_a_tampered_weight_is_found(some, subjects, tmp_path):
    for name in ("free-exact-margin", "ouro-propagate-cdf"):
        (e,) = entries(some, name=f"{name}.script.opset18")
        for file in (e["file"], e["weights"]):
            (tmp_path / file).write_bytes((some[0] / file).read_bytes())
        model = onnx.load(tmp_path / e["file"], load_external_data=False)
        tensor = next(t for t in model.graph.initializer if t.name == "model.layers.1.mlp.up_proj.weight")
        place = {x.key: x.value for x in tensor.external_data}
        subject = subjects[name]
        answer, given = subject.reference(subject.table), inputs(some[0], e)
        assert comparison.compare(subject, comparison.runner(tmp_path / e["file"])(given), answer).problem == ""
        data = bytearray((tmp_path / e["weights"]).read_bytes())
        weight = np.frombuffer(data, np.float32, 1, int(place["offset"]))
        data[int(place["offset"]) : int(place["offset"]) + 4] = (weight + 0.05).tobytes()
        (tmp_path / e["weights"]).write_bytes(data)
        found = comparison.compare(subject, comparison.runner(tmp_path / e["file"])(given), answer)
        assert "logits differ" in found.problem and found.error > 1e-4


def test_comparison_of_decisions():
    """Other decisions are accepted where the margin is below 1e-3, and then the reference follows them."""
    logits = np.ones((1, 3, 4))
    asked = []

    def reference(depth):
        asked.append(depth.tolist())
        return Answer({"logits": logits * depth[..., None], "depth": depth}, np.zeros((1, 3, 1)), np.zeros((1, 3)))

    subject = Subject(None, 0, None, {}, ("logits", "depth"), reference, None, None, {})
    depth, got = np.array([[2, 4, 2]]), np.array([[2, 2, 2]])
    answer = Answer({"logits": logits * depth[..., None], "depth": depth}, np.zeros((1, 3, 1)), np.array([[0.5, 9e-4, 2e-3]]))
    found = comparison.compare(subject, {"logits": logits * got[..., None], "depth": got}, answer)
    assert (found.problem, found.near, found.error, asked) == ("", [[0, 1]], 0.0, [[[2, 2, 2]]])
    found = comparison.compare(subject, {"logits": logits * depth[..., None], "depth": got}, answer)
    assert "logits differ by 1" in found.problem
    answer.margin[0, 1] = 2e-3
    assert "row (0, 1): depth 2, the reference's 4" in comparison.compare(subject, {"logits": logits, "depth": got}, answer).problem
    nan = comparison.compare(subject, {"logits": np.full((1, 3, 4), np.nan), "depth": depth}, answer)
    assert "logits differ" in nan.problem
    assert "tokens [1, 3]" in comparison.compare_generation({"tokens": np.array([1, 2])}, {"tokens": np.array([1, 3])})
    assert comparison.compare_generation({"tokens": np.array([1, 2])}, {"tokens": np.array([1, 2])}) == ""


def test_thresholds_keep_clear_of_scores():
    assert between(np.array([0.0, 1.0, 2.0, 6.0, 7.0, 8.0])) == 4.0
    assert between(np.array([[np.nan, 3.0], [1.0, 0.0]])) in (0.5, 2.0)


def test_what_disagrees_is_not_written(some, tmp_path, monkeypatch):
    from ee.corpus import write

    monkeypatch.setattr(comparison, "TOLERANCE", 0.0)
    monkeypatch.setattr(write, "exported", lambda *a: onnx.load(some[0] / "free-exact-margin.opset18.onnx"))
    lines, case = [], [(CASES["free-exact-margin"], (18,))]
    problems = write_corpus(tmp_path / "out", case, lines.append)
    assert len(problems) == 2 and "DISAGREES: logits differ" in lines[0] and "nothing written" in lines[-1]
    assert list(tmp_path.iterdir()) == []
    # An earlier corpus stays as it was.
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "manifest.json").write_text("{}")
    assert len(write_corpus(tmp_path / "out", case, lines.append)) == 2
    assert [(p.name, p.read_text()) for p in (tmp_path / "out").iterdir()] == [("manifest.json", "{}")] and len(
        list(tmp_path.iterdir())
    ) == 1


def test_refusals(tmp_path, capsys):
    from ee.corpus.__main__ import main
    from ee.errors import run_main

    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    out = str(tmp_path / "out")
    for arguments, said in (
        ([out, "--opset", "19"], "--opset 19 is not one of 18, 20, 23"),
        ([out, "--only", "bert*"], "--only 'bert*' matches no case"),
        ([out, "--only", "calm-propagate-probe", "--opset", "23"], "--opset 23: none of the cases"),
        ([out, "--opset", "x"], "invalid int value: 'x'"),
        ([], "the following arguments are required: out"),
        ([str(tmp_path / "mine"), "--only", "free*"], "mine: must be a new folder or an earlier corpus"),
    ):
        assert run_main(main, arguments) == 1
        printed = capsys.readouterr()
        assert printed.out == "" and printed.err.count("\n") == 1 and said in printed.err, printed.err
    assert not (tmp_path / "out").exists() and (tmp_path / "mine" / "thesis.txt").exists()
    with pytest.raises(UserError):
        chosen("x", None)


@pytest.mark.slow
@pytest.mark.parametrize("name, opset", [("layerskip-exact-max_prob", 23), ("mor-token-choice-skip-softmax", 18), ("ouro-propagate-cdf", 23)])
def test_files_are_what_the_exporter_writes(name, opset, tmp_path):
    """`./evidence corpus` does this for every case."""
    assert difference(CASES[name], opset, tmp_path) == ""
    assert {p.name for p in tmp_path.iterdir()} == {"whole.onnx", "blocks.onnx"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["free-exact-margin", "ouro-propagate-cdf"])
def test_opset_20_has_the_nodes_of_18(name):
    subject = CASES[name].build()
    ours = {opset: exported(subject.module, subject.inputs, subject.outputs, opset) for opset in (18, 20)}
    assert relabelled(ours[18], 20).SerializeToString(deterministic=True) == ours[20].SerializeToString(deterministic=True)


@pytest.mark.slow
def test_the_whole_corpus(tmp_path):
    lines: list[str] = []
    assert write_corpus(tmp_path / "out", chosen(None, None), lines.append) == []
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    check_folder(tmp_path / "out", manifest)
    found = Counter((e["method"], e["fill"], e["opset"], e["decisions"]) for e in manifest["files"])
    assert {(m, f, o, d) for m, f in REQUIRED for o in OPSETS for d in ("rule", "script")} <= set(found)
    assert len(manifest["files"]) == sum(len(c.opsets) * (1 if c.variant else 2) for c in all_cases()) == len(lines) - 1
    print("\n".join(lines))
