# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`python -m ee.train.rrt`: what the command writes, that it resumes exactly, and what it refuses; text in other tokens."""

import csv

import pytest

torch = pytest.importorskip("torch")

from ee import UserError  # noqa: E402
from ee.errors import run_main  # noqa: E402
from ee.models import Decoder  # noqa: E402
from ee.train import rrt  # noqa: E402
from ee.train.loop import Run  # noqa: E402
from ee.train.retokenise import OtherTokens  # noqa: E402

from .small_data import word_tokenizer, write_checkpoint, write_text  # noqa: E402
from .test_recursive import source  # noqa: E402


@pytest.fixture
def files(tmp_path):
    return str(write_checkpoint(tmp_path / "source", source(), 61)), str(write_text(tmp_path / "data"))


def command(files, out, *more):
    rrt.main([*files, str(out), "--rank", "4", "--minutes", "1000000", "--steps", "30", "--device", "cpu", *more])


def test_the_command_writes_a_run_that_is_nearer_to_its_source(files, tmp_path, capsys):
    command(files, tmp_path / "run")
    assert "min left" in capsys.readouterr().out
    model = Decoder.load(tmp_path / "run")
    assert model.config.layout == [0, 1, 2, 1, 2, 3] and model.config.exits == (3,) and model.config.lora_rank == 4
    with open(tmp_path / "run" / "curve.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {"full", "distance", "exit3", "valid.full", "valid.exit3"} <= set(rows[0]) and int(rows[-1]["step"]) == 30
    assert float(rows[-1]["distance"]) < float(rows[0]["distance"])
    assert {"state.pt", "curve.png", "tokenizer.json"} <= {p.name for p in (tmp_path / "run").iterdir()}


def test_a_resumed_command_equals_an_uninterrupted_one(files, tmp_path, monkeypatch):
    command(files, tmp_path / "whole")
    with monkeypatch.context() as patch:  # stop in the middle, as a kill would, at a checkpoint
        patch.setattr(Run, "progress", lambda run: 1.0 if run.steps_done >= 13 else run.steps_done / 30)
        command(files, tmp_path / "parts")
    # What is resumed comes from the state, not from a conversion.
    monkeypatch.setattr(rrt, "convert", lambda *a, convert=rrt.convert: convert(*a) if a[2] == 1 else pytest.fail("converted again"))
    command(files, tmp_path / "parts")
    whole, parts = (Decoder.load(tmp_path / name).state_dict() for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    with pytest.raises(UserError, match="another recipe"):
        command(files, tmp_path / "parts", "--init", "upper")


def test_a_budget_ends_the_run(files, tmp_path):
    command(files, tmp_path / "run", "--steps", "1000000", "--minutes", "0.02")
    with open(tmp_path / "run" / "curve.csv", newline="") as file:
        *_, last = csv.DictReader(file)
    assert 0 < int(last["step"]) < 1_000_000 and last["valid.full"]


@pytest.mark.parametrize(
    "more, said",
    [(["--init", "median"], "--init 'median' is not one of stepwise"), (["--pattern", "sequence"], "--pattern 'sequence' is not one of cycle, middle_cycle"),
     (["--minutes", "nan"], "--minutes nan must be"), (["--minutes", "0"], "--minutes 0 must be"), (["--threads", "0"], "--threads 0 is outside 1..1024"),
     (["--steps", "0"], "--steps 0 must be at least 1"), (["--seed", "-1"], "--seed -1 is outside 0..4294967295"), (["--rank", "-1"], "--rank -1 must be at least 0"), (["--rank", "49"], "--rank is 49; it must be at most 48"),
     (["--recursions", "5", "--rank", "4"], "recursions is 5, it must lie in [1, 4]"), (["--device", "tpu"], "--device 'tpu' is not available; this machine has cpu")],
)  # fmt: skip
def test_refused_flags(files, tmp_path, capsys, more, said):
    assert run_main(rrt.main, [*files, str(tmp_path / "run"), *more]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and said in error and error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_refused_sources_and_texts(files, tmp_path):
    checkpoint, data = files
    untied = str(write_checkpoint(tmp_path / "untied", source(), 61, tied=False))
    with pytest.raises(UserError, match="LM head of its own"):
        command((untied, data), tmp_path / "run")
    large = str(write_checkpoint(tmp_path / "large", source(), 62))
    with pytest.raises(UserError, match="token id 61; ids must be below vocab_size 61"):
        command((large, data), tmp_path / "run")
    (tmp_path / "source" / "tokenizer.json").unlink()
    with pytest.raises(UserError, match="has no tokenizer"):
        command(files, tmp_path / "run")
    short = str(write_text(tmp_path / "short", tokens=20))
    with pytest.raises(UserError, match="no document of more than 64 tokens"):
        command((str(write_checkpoint(tmp_path / "again", source(), 61)), short), tmp_path / "run")
    (tmp_path / "data" / "tokenizer.json").unlink()
    with pytest.raises(UserError, match="tokenizer.json: no tokenizer"):
        command((str(tmp_path / "again"), data), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_text_in_other_tokens_is_the_same_text(tmp_path):
    write_text(tmp_path / "data")
    text = OtherTokens(tmp_path / "data", word_tokenizer(61, 7), "train", 20)
    for ids in (text.first(5), text.batch(3, 5, seed=2)):
        assert ids.shape == (5, 21)
        words = ids * pow(7, -1, 61) % 61
        assert ((words[:, 1:] - words[:, :-1]) % 39 == 1).all()
    assert torch.equal(text.batch(3, 5, seed=2), text.batch(3, 5, seed=2)) and not torch.equal(text.batch(3, 5, seed=2), text.batch(4, 5, seed=2))
    starts = torch.cat([text.batch(step, 5, seed=2)[:, 0] for step in range(20)])
    assert len(set(starts.tolist())) > 15
    assert len(text.first(100)) == 12
