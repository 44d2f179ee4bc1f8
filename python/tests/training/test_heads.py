# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Distilled exit heads, the classifier's exit rules, and the pictures."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from ee import UserError, load_spec  # noqa: E402
from ee.data.reader import Windows  # noqa: E402
from ee.models import Decoder, ModelConfig  # noqa: E402
from ee.models.encoder import Encoder, EncoderConfig  # noqa: E402
from ee.train import classifier, heads  # noqa: E402
from ee.train.plots import cost_curve, training_curve  # noqa: E402

C = ModelConfig(vocab=40, hidden=32, heads=4, kv_heads=2, head_dim=8, ffn=48, block=3)


def test_distilling_brings_the_exit_nearer_and_leaves_the_model_alone():
    torch.manual_seed(0)
    model = Decoder(C).eval()
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim == 2:
                p.normal_(std=0.25)
    kept = {k: v.clone() for k, v in model.state_dict().items()}
    rng = np.random.default_rng(0)
    tokens = torch.from_numpy(rng.integers(0, C.vocab, (64, 17)))
    made = heads.distil(model, (1, 2), lambda step: tokens[(step % 8) * 8 :][:8], 5.0, 3e-3, steps=150, say=lambda line: None)
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


def test_heads_become_an_exit_spec(tmp_path, monkeypatch):
    Decoder(C).save(tmp_path / "model")
    rng = np.random.default_rng(1)
    ids = rng.integers(1, C.vocab, 4000).astype(np.uint16)
    ids[-1] = 0
    data = tmp_path / "data"
    data.mkdir()
    for split in ("train", "valid"):
        ids.tofile(data / f"{split}.bin")
        (data / f"{split}.index.json").write_text('{"documents": [{"name": "a", "domain": "b", "offset": 0, "tokens": 3999, "bytes": 9000}]}')
    heads.main([str(tmp_path / "model"), str(data), str(tmp_path / "out"), "--minutes", "0.02"])
    specs, fill = load_spec(tmp_path / "out" / "spec.toml")
    assert fill == "exact" and [(s.layer, s.head.kind, s.criterion) for s in specs] == [(1, "map", "probe"), (2, "map", "probe")]
    with pytest.raises(UserError, match="--depths"):
        heads.main([str(tmp_path / "model"), str(data), str(tmp_path / "out"), "--depths", "3"])


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
