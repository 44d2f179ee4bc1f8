# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The closed-form fits on data with a known answer, thresholds by counting, and the command on a tiny model."""

import json

import numpy as np
import pytest

from ee.installed_text import chunks, texts
from ee.errors import run_main
from ee.exit_spec import load_spec
from ee.fit_exits import main, make_head, pick_threshold
from ee.regression import logistic, ridge
from ee.tiny import CORPUS, tiny_checkpoint, tiny_config
from tests.test_sources import write_hf


def test_ridge_recovers_a_linear_map():
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(400, 6)) * [1, 10, 100, 0.1, 1, 1] + 3).astype(np.float32)
    w, b = rng.normal(size=(6, 4)), rng.normal(size=4)
    got, bias = ridge(x, (x @ w + b).astype(np.float32), 1e-9)
    np.testing.assert_allclose(got, w, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(bias, b, rtol=1e-2, atol=1e-2)
    shrunk, _ = ridge(x, (x @ w + b).astype(np.float32), 10.0)
    units = x.std(0)[:, None]  # strength counts in units of standardised columns
    assert np.abs(shrunk * units).sum() < np.abs(got * units).sum() / 5


def test_logistic_recovers_odds():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(20000, 3)).astype(np.float32) * np.float32([1, 5, 0.2])
    w, b = np.array([1.0, -0.3, 4.0]), 0.5
    label = rng.random(len(x)) < 1 / (1 + np.exp(-(x @ w + b)))
    got, bias = logistic(x, label, 1e-6)
    np.testing.assert_allclose(got, w, rtol=0.1, atol=0.05)
    assert abs(bias - b) < 0.06


def test_pick_threshold_counts():
    score, wrong = np.array([5.0, 4, 3, 2, 1]), np.array([0, 1, 0, 1, 0], bool)
    assert pick_threshold(score, wrong, 2) == 1
    assert pick_threshold(score, wrong, 1) == 3
    assert pick_threshold(score, wrong, 0) == 5
    assert pick_threshold(score, ~wrong, 0) > 5  # the very first one is wrong: nobody leaves


def test_make_head_scales_and_factors():
    w = np.random.default_rng(2).normal(size=(8, 8)) * 1e-6
    full, low = make_head(w, np.ones(8) * 1e-6, None), make_head(w, np.zeros(8), 8)
    scale = full.tensors["bias"][0] / 1e-6
    np.testing.assert_allclose(full.tensors["map"] / scale, w, rtol=1e-3, atol=1e-9)
    np.testing.assert_allclose(low.tensors["down"] @ low.tensors["up"] / scale, w, rtol=0, atol=1e-8)


def prose(folder, files=60):
    words = CORPUS.replace("\n", " ").replace("_", " ").split()
    rng = np.random.default_rng(3)
    folder.mkdir()
    for i in range(files):
        (folder / f"{i}.txt").write_text(" ".join(rng.choice([w for w in words if w.isalpha()], 400)))
    (folder / "copy.txt").write_text((folder / "0.txt").read_text())
    (folder / "table.txt").write_text("1 2 3 4 | " * 200)
    return folder


def test_corpus_is_split_by_file_once(tmp_path):
    found = texts([prose(tmp_path / "text")])
    flat = [t for split in found.values() for t in split]
    assert len(flat) == len(set(flat)) == 60 and all(found[s] for s in ("fit", "calibrate", "report"))
    assert found == texts([tmp_path / "text"])

    class Letters:
        def encode(self, text, add_special_tokens):
            return type("E", (), {"ids": [ord(c) for c in text]})

    assert ["".join(map(chr, c)) for c in chunks(Letters(), ["abcdefg", "hij", "kl"], 3, 9)] == ["abc", "hij", "def"]


@pytest.mark.parametrize("rank", [None, 8])
def test_fit_command(rank, tmp_path, capsys):
    checkpoint = tiny_checkpoint(tiny_config(layers=3, context=64), seed=9)
    source = write_hf(tmp_path / "hf", checkpoint)
    args = [str(source), str(tmp_path / "out"), "--layers", "1,2", "--tokens", "2048", "--agreement", "0.8", "--text", str(prose(tmp_path / "text"))]
    assert run_main(main, args + (["--rank", str(rank)] if rank else [])) == 0
    specs, fill = load_spec(tmp_path / "out" / "spec.toml")
    facts = json.loads((tmp_path / "out" / "fit.json").read_text())
    assert fill == "exact" and [s.layer for s in specs] == [1, 2] and all(s.criterion == "probe" for s in specs)
    assert specs[0].head.kind == ("lowrank" if rank else "map")
    assert facts["calibration"]["agreement"] >= 0.8 and facts["calibration"]["rows"] == 8 * 60
    assert 1 <= facts["held_out"]["mean_depth"] <= 3 and facts["held_out"]["agreement"] > 0.6
    again = [str(source), str(tmp_path / "o3"), "--recalibrate", str(tmp_path / "out" / "spec.toml"), "--agreement", "0.95"]
    assert run_main(main, again + args[4:6] + args[8:]) == 0
    stricter = load_spec(tmp_path / "o3" / "spec.toml")[0]
    assert json.loads((tmp_path / "o3" / "fit.json").read_text())["calibration"]["agreement"] >= 0.95
    for a, b in zip(specs, stricter):
        np.testing.assert_array_equal(a.probe[0], b.probe[0])
        for k in a.head.tensors:
            np.testing.assert_array_equal(a.head.tensors[k], b.head.tensors[k])
    assert stricter[0].threshold > specs[0].threshold
    assert run_main(main, [str(source), str(tmp_path / "o2")]) == 1
    assert run_main(main, [str(source), str(tmp_path / "o2"), "--layers", "3"]) == 1
    assert run_main(main, [str(source), str(tmp_path / "o2"), "--layers", "1", "--text", str(tmp_path / "none")]) == 1
    err = capsys.readouterr().err
    assert "--recalibrate" in err and "outside 1..2" in err and "--text " in err and not (tmp_path / "o2").exists()


REFUSED = [
    (["--layers", "a"], "--layers 'a' is not a list of layer numbers"),
    (["--layers", "1,,2"], "--layers '1,,2'"),
    (["--layers", "1", "--text", "{}/none.txt"], "--text {}/none.txt: no such file or folder"),
    (["--layers", "1", "--text", "{}/few.txt"], "not enough text"),
]


@pytest.mark.parametrize("flags, said", REFUSED, ids=[s for _, s in REFUSED])
def test_refusals_name_the_flag(flags, said, tmp_path, capsys):
    source = write_hf(tmp_path / "hf", tiny_checkpoint(tiny_config(layers=3, context=64), seed=9))
    (tmp_path / "few.txt").write_text("a word")
    assert run_main(main, [str(source), str(tmp_path / "out"), *(f.format(tmp_path) for f in flags)]) == 1
    err = capsys.readouterr().err
    assert said.format(tmp_path) in err and err.count("\n") == 1 and not (tmp_path / "out").exists()
    (tmp_path / "out").write_text("mine")
    assert run_main(main, [str(source), str(tmp_path / "out"), "--layers", "1"]) == 1
    assert f"error: {tmp_path / 'out'}: " in capsys.readouterr().err and (tmp_path / "out").read_text() == "mine"
