# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Distilled exit heads, the classifier's exit rules, and the pictures."""

import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from ee import UserError, load_spec  # noqa: E402
from ee.data.reader import Windows  # noqa: E402
from ee.errors import run_main  # noqa: E402
from ee.models import Decoder, ModelConfig  # noqa: E402
from ee.models.encoder import Encoder, EncoderConfig  # noqa: E402
from ee.train import classifier, heads  # noqa: E402
from ee.train.loop import Run  # noqa: E402
from ee.train.plots import cost_curve, training_curve  # noqa: E402

from .small_data import WORDS, word_tokenizer, write_text  # noqa: E402

C = ModelConfig(vocab=40, hidden=32, heads=4, kv_heads=2, head_dim=8, ffn=48, block=3)


def write_model(folder, seed: int = 0) -> None:
    torch.manual_seed(seed)
    model = Decoder(C)
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim == 2:
                p.normal_(std=0.25)
    model.save(folder)


def test_distilling_brings_the_exit_nearer_and_leaves_the_model_alone(tmp_path):
    write_model(tmp_path / "model")
    model = Decoder.load(tmp_path / "model").eval()
    kept = {k: v.clone() for k, v in model.state_dict().items()}
    rng = np.random.default_rng(0)
    tokens = torch.from_numpy(rng.integers(0, C.vocab, (64, 17)))
    batches, quiet = lambda step: tokens[(step % 8) * 8 :][:8], lambda line: None  # noqa: E731
    run = heads.new_run(model, (1, 2), batches, lambda h: {}, tmp_path, lambda h, folder: None, 1e6, steps=150, rate=3e-3, say=quiet)
    made = {int(d): head for d, head in run.run().items()}
    text = Windows(tokens.numpy()[:, :-1], tokens.numpy()[:, 1:], np.ones((64, 16), bool), np.arange(64))
    before, after = heads.measure(model, {1: None, 2: None}, text), heads.measure(model, made, text)
    for d in (1, 2):
        assert after[d]["distance"].mean() < 0.7 * before[d]["distance"].mean()
    assert all(torch.equal(v, kept[k]) for k, v in model.state_dict().items())
    # KL by hand for one row: sum p (log p - log q).
    with torch.no_grad():
        states = dict(model.states(tokens[:1, :-1]))
        p, q = model.head(states[3])[0, 5].double().softmax(-1), model.head(states[1])[0, 5].double().softmax(-1)
    assert before[1]["distance"][5] == pytest.approx(float((p * (p / q).log()).sum()), abs=1e-4)


@pytest.fixture
def files(tmp_path):
    write_model(tmp_path / "model")
    return str(tmp_path / "model"), str(write_text(tmp_path / "data"))


def test_heads_become_an_exit_spec_and_resume(files, tmp_path, capsys, monkeypatch):
    flags = ["--steps", "24", "--device", "cpu"]
    heads.main([*files, str(tmp_path / "whole"), *flags])
    assert "min left" in capsys.readouterr().out
    specs, fill = load_spec(tmp_path / "whole" / "spec.toml")
    assert fill == "exact" and [(s.layer, s.head.kind, s.criterion) for s in specs] == [(1, "map", "probe"), (2, "map", "probe")]
    assert {"state.pt", "curve.csv", "curve.png", "spec.safetensors"} <= {p.name for p in (tmp_path / "whole").iterdir()}
    assert (tmp_path / "whole" / "curve.csv").read_text().startswith("step,tokens,seconds,exit1,exit2,valid.exit1,valid.exit2\n")
    with monkeypatch.context() as patch:  # stop in the middle, as a kill would, at a checkpoint
        patch.setattr(Run, "progress", lambda run: 1.0 if run.steps_done >= 11 else run.steps_done / 24)
        heads.main([*files, str(tmp_path / "parts"), *flags])
    heads.main([*files, str(tmp_path / "parts"), *flags])
    for name in ("spec.toml", "spec.safetensors"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()
    with pytest.raises(UserError, match="another recipe"):
        heads.main([*files, str(tmp_path / "parts"), *flags, "--depths", "2"])
    write_model(tmp_path / "model", seed=1)
    with pytest.raises(UserError, match="another recipe"):
        heads.main([*files, str(tmp_path / "parts"), *flags])


def test_a_budget_ends_the_heads(files, tmp_path):
    heads.main([*files, str(tmp_path / "out"), "--minutes", "0.02", "--steps", "1000000", "--depths", "2,1,2", "--device", "cpu"])
    assert [s.layer for s in load_spec(tmp_path / "out" / "spec.toml")[0]] == [1, 2]


@pytest.mark.parametrize(
    "more, said",
    [(["--depths", "3"], "--depths 3 must lie in 1..2"), (["--depths", "a"], "--depths 'a' is not a list"), (["--minutes", "0"], "--minutes 0 must be"),
     (["--minutes", "nan"], "--minutes nan must be"), (["--minutes", "-1"], "--minutes -1 must be"), (["--threads", "0"], "--threads 0 is outside 1..1024"), (["--device", "gpu"], "--device 'gpu'")],
)  # fmt: skip
def test_heads_refuse_flags(files, tmp_path, capsys, more, said):
    assert run_main(heads.main, [*files, str(tmp_path / "out"), *more]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {said}") and error.count("\n") == 1 and not (tmp_path / "out").exists()


def test_heads_refuse_models_and_texts(files, tmp_path):
    for changes, said in (({"vocab": 30}, "has token 39, but the model's vocabulary is 0..29"), ({"block": 1}, "the model has 1 layers"), ({"recursions": 2, "loop_norm": True}, "without a norm")):
        Decoder(dataclasses.replace(C, **changes)).save(tmp_path / "model")
        with pytest.raises(UserError, match=said):
            heads.main([*files, str(tmp_path / "out")])
    write_model(tmp_path / "model")
    word_tokenizer(WORDS, 3).save(str(tmp_path / "model" / "tokenizer.json"))
    with pytest.raises(UserError, match="tokenizer.json is not that of"):
        heads.main([*files, str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_entropy_and_patience_by_hand():
    # Three layers, four texts, two classes; entropies over ln 2 of (0.5, 0.5), (0.9, 0.1), (0.99, 0.01): 1, 0.469, 0.081.
    p = np.array([[0.5, 0.9, 0.1, 0.99], [0.9, 0.9, 0.9, 0.5], [0.99, 0.1, 0.9, 0.5]])
    logits = np.log(np.stack([p, 1 - p], -1))
    assert classifier.entropy_exit(logits, 0.47).tolist() == [2, 1, 1, 1]
    assert classifier.entropy_exit(logits, 0.1).tolist() == [3, 3, 3, 1]
    assert classifier.entropy_exit(logits, 0.081 - 0.001).tolist() == [3, 3, 3, 3]
    answers = np.array([[0, 1, 1, 2], [0, 1, 2, 2], [1, 1, 2, 2], [1, 0, 2, 2]])
    logits = np.eye(3)[answers] * 5
    assert classifier.patience_exit(logits, 1).tolist() == [2, 2, 3, 2]
    assert classifier.patience_exit(logits, 2).tolist() == [4, 3, 4, 3]
    points = classifier.curve(logits, np.array([1, 1, 2, 2]))
    assert [round(q["accuracy"], 2) for q in points[:4]] == [0.25 * 2, 0.75, 1.0, 0.75]


def test_descriptions_are_unique_and_split_by_their_hash():
    dump = "Package: a\nSection: libs\nDescription: one\n\nPackage: b\nSection: contrib/net\nDescription: two\n\nPackage: c\nSection: net\nDescription: one\n"
    assert classifier.descriptions(dump) == [("one", "libs"), ("two", "net")]
    pairs = [(f"text number {i}", "a" if i % 3 else "b") for i in range(600)]

    class Words:
        def encode(self, text, add_special_tokens):
            return type("E", (), {"ids": [len(word) for word in text.split()]})

    training, held_out = classifier.texts(Words(), 8, pairs, least=100)
    assert len(training.label) + len(held_out.label) == 600 and 30 < len(held_out.label) < 90
    assert training.classes == ("a", "b") and training.present.sum() == 3 * len(training.label)
    with pytest.raises(UserError, match="sections"):
        classifier.texts(Words(), 8, pairs, least=300)


def test_encoder_ignores_padding_and_sees_both_ways(tmp_path):
    torch.manual_seed(0)
    model = Encoder(EncoderConfig(50, 32, 4, 2, 8, 48, layers=3, classes=5)).eval()
    ids, present = torch.randint(1, 50, (2, 9)), torch.ones(2, 9, dtype=torch.bool)
    longer = torch.cat([ids, torch.randint(1, 50, (2, 4))], 1)
    padded = torch.cat([present, torch.zeros(2, 4, dtype=torch.bool)], 1)
    with torch.no_grad():
        short = model(ids, present)
        assert short.shape == (3, 2, 5) and torch.allclose(short, model(longer, padded), atol=1e-5)
        assert not torch.allclose(short, model(longer, torch.ones_like(padded)), atol=1e-3)
    model.save(tmp_path)
    with torch.no_grad():
        assert torch.equal(Encoder.load(tmp_path)(ids, present), short)


def test_pictures(tmp_path):
    (tmp_path / "curve.csv").write_text("step,tokens,seconds,full,valid.full\n1,10,1,5.0,\n2,20,2,4.0,4.5\n")
    point = {"weights": 1.0, "loss": 2.0, "agreement": 0.9, "random_loss": 2.1, "random_agreement": 0.8, "policy": "probe"}
    for path in (training_curve(tmp_path), cost_curve({"points": [point, {**point, "weights": 2.0, "random_loss": None}]}, tmp_path / "cost.png")):
        assert path.read_bytes().startswith(b"\x89PNG")
