# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Bad flags, training states, tokenizers and data: each is one line and exit code 1, and leaves no file behind."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from ee import UserError  # noqa: E402
from ee.errors import run_main  # noqa: E402
from ee.train import __main__ as train, classifier, execute, traces  # noqa: E402

from ..refusals import tree  # noqa: E402
from .test_loop import run, small  # noqa: E402
from .test_measure import make  # noqa: E402


def refused(main, args, said, folder, capsys) -> None:
    before = tree(folder)
    assert run_main(main, [str(a) for a in args]) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1 and said in err and len(err) < 500, err
    assert tree(folder) == before


def write_data(folder, top=50, documents=6, tokens=300):
    """A data folder of ids 1..top - 1, both splits alike."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    entries, parts = [], []
    for i in range(documents):
        entries.append({"name": f"d{i}", "domain": "a", "offset": i * (tokens + 1), "tokens": tokens, "bytes": 3 * tokens})
        parts += [rng.integers(1, top, tokens), [0]]
    for split in ("train", "valid"):
        np.concatenate(parts).astype("<u2").tofile(folder / f"{split}.bin")
        (folder / f"{split}.index.json").write_text(json.dumps({"documents": entries}))
    return folder


FLAGS = {
    "--threads 0": "--threads 0 is outside 1..1024",
    "--threads 99999999999": "--threads 99999999999 is outside",
    "--seed -1": "--seed -1 is outside 0..4294967295",
    "--seed 99999999999999999999": "--seed 99999999999999999999 is outside",
    "--steps 0": "--steps 0 must be at least 1",
    "--steps -1": "--steps -1 must be at least 1",
    "--minutes nan": "--minutes nan must be a number above 0",
    "--minutes inf": "--minutes inf must be",
    "--minutes 0": "--minutes 0 must be",
    "--minutes -2": "--minutes -2 must be",
    "--device tpu": "--device 'tpu' is not available; this machine has cpu",
    "--device cuda:99": "--device 'cuda:99' is not available",
    "--device cpu:x": "--device 'cpu:x' is not available",
}


@pytest.mark.parametrize("flag", FLAGS)
@pytest.mark.parametrize("recipe", ["dense", "classifier"])
def test_flags_of_training(recipe, flag, tmp_path, capsys):
    refused(train.main, [recipe, write_data(tmp_path / "data"), tmp_path / "run", *flag.split()], FLAGS[flag], tmp_path, capsys)


@pytest.mark.parametrize("flag, said", [("--threads 0", "--threads 0 is outside"), ("--windows 0", "--windows 0 must be at least 1")])
def test_flags_of_traces(flag, said, tmp_path, capsys):
    make().save(tmp_path / "model")
    refused(traces.main, [tmp_path / "model", write_data(tmp_path / "data"), tmp_path / "t.npz", *flag.split()], said, tmp_path, capsys)


@pytest.mark.parametrize("flag, said", [("--threads 0", "--threads 0 is outside"), ("--policies 0", "--policies 0 must be at least 1")])
def test_flags_of_execute(flag, said, tmp_path, capsys):
    args = [tmp_path / "model", write_data(tmp_path / "data"), tmp_path / "fit.npz", tmp_path / "e.npz"]
    make().save(tmp_path / "model")
    refused(execute.main, [*args, *flag.split()], said, tmp_path, capsys)
    ids = np.fromfile(args[1] / "valid.bin", "<u2")
    ids[7] = 60
    ids.tofile(args[1] / "valid.bin")
    refused(execute.main, args, "has token 60, but the model's vocabulary is 0..59", tmp_path, capsys)


def test_text_of_a_larger_vocabulary(tmp_path, capsys):
    make().save(tmp_path / "model")  # vocabulary 60
    data = write_data(tmp_path / "data", top=61)
    assert run_main(traces.main, [str(tmp_path / n) for n in ("model", "data", "t.npz")]) == 1
    assert "has token 60, but the model's vocabulary is 0..59" in capsys.readouterr().err and not (tmp_path / "t.npz").exists()
    assert run_main(traces.main, [str(tmp_path / "model"), str(write_data(tmp_path / "fits", top=60)), str(tmp_path / "t.npz")]) == 0
    capsys.readouterr()
    ids = np.fromfile(data / "valid.bin", "<u2")
    ids[7] = 2048  # in held-out text only: seen before a step is done, not at the first validation
    ids.tofile(data / "valid.bin")
    refused(train.main, ["dense", data, tmp_path / "run"], "has token 2048, but the model's vocabulary is 0..2047", tmp_path, capsys)
    ids.tofile(data / "train.bin")
    refused(train.main, ["dense", data, tmp_path / "run"], "has token 2048", tmp_path, capsys)


def test_text_that_is_too_short(tmp_path, capsys):
    refused(train.main, ["dense", write_data(tmp_path / "data", documents=1, tokens=100), tmp_path / "run"], "need more than 128 tokens", tmp_path, capsys)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"model": {"type": "BPE"}}'])
def test_no_tokenizer(text, tmp_path, capsys):
    data = write_data(tmp_path / "data")
    (data / "tokenizer.json").write_text(text)
    refused(train.main, ["classifier", data, tmp_path / "run"], "tokenizer.json: not a tokenizer: ", tmp_path, capsys)


def test_a_tokenizer_that_knows_no_text():
    nothing = type("Nothing", (), {"encode": lambda self, text, add_special_tokens: type("E", (), {"ids": []})})()
    with pytest.raises(UserError, match="has a token of the tokenizer"):
        classifier.texts(nothing, 8, [(f"text {i}", "ab"[i % 2]) for i in range(100)], least=10)


def cut_optimiser(state):
    return state | {"optimiser": state["optimiser"][:1]}


def moments(state):
    for moment in state["optimiser"][0]["state"].values():
        moment["exp_avg"] = torch.zeros(3)
    return state


def group_without_rate(state):
    del state["optimiser"][1]["param_groups"][0]["lr"]
    return state


def fewer_groups(state):
    del state["optimiser"][0]["param_groups"][1]
    return state


STATES = {
    "list": (lambda s: [s], "must hold an object"),
    "no rows": (lambda s: {k: v for k, v in s.items() if k != "rows"}, "rows is missing"),
    "no recipe": (lambda s: {k: v for k, v in s.items() if k != "recipe"}, "recipe is missing"),
    "rows of another kind": (lambda s: s | {"rows": [[1, 2]]}, r"rows\[0\]: must be an object"),
    "row without tokens": (lambda s: s | {"rows": [{"step": 1, "seconds": 1.0}]}, r"rows\[0\].tokens is missing"),
    "steps as text": (lambda s: s | {"steps": "2"}, "steps: must be an integer"),
    "negative steps": (lambda s: s | {"steps": -2}, "steps -2 and"),
    "endless": (lambda s: s | {"spent": float("nan")}, "steps 2 and spent nan"),
    "one optimiser": (cut_optimiser, "optimiser: must have 2 parts, but has "),
    "three optimisers": (lambda s: s | {"optimiser": s["optimiser"] + s["optimiser"][:1]}, "optimiser: must have 2 parts, but has "),
    "empty optimiser": (lambda s: s | {"optimiser": [{}, {}]}, "optimiser: "),
    "fewer groups": (fewer_groups, "optimiser: .*groups"),
    "group without rate": (group_without_rate, "optimiser: a group of Muon has no lr"),
    "moments": (moments, "optimiser: moments of AdamW must have the shape"),
    "model": (lambda s: s | {"model": {}}, "model: .*Missing key"),
    "model of numbers": (lambda s: s | {"model": {k: 1 for k in s["model"]}}, "model: "),
}


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run that was stopped after two steps."""
    folder = tmp_path_factory.mktemp("run")
    run(small("dense"), folder, steps=2)
    return folder / "state.pt"


@pytest.mark.parametrize("change, said", STATES.values(), ids=STATES)
def test_bad_states(change, said, stopped, tmp_path):
    torch.save(change(torch.load(stopped, weights_only=True)), tmp_path / "state.pt")
    with pytest.raises(UserError, match=rf"state\.pt: not a training state: {said}") as caught:
        run(small("dense"), tmp_path)
    assert "\n" not in str(caught.value) and tree(tmp_path) == ["state.pt"]


@pytest.mark.parametrize("data", [b"", b"no state", b"PK\x03\x04", b"\x80\x02c"])
def test_bytes_that_are_no_state(data, tmp_path):
    (tmp_path / "state.pt").write_bytes(data)
    with pytest.raises(UserError, match=r"state\.pt: not a training state"):
        run(small("dense"), tmp_path)
