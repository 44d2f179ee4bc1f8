# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`python -m ee.train.probes`: the folder it writes scores as what was fitted, and what it refuses."""

import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from ee import UserError  # noqa: E402
from ee.data.reader import open_tokens, validation_windows  # noqa: E402
from ee.errors import run_main  # noqa: E402
from ee.models import Decoder, ModelConfig  # noqa: E402
from ee.train import few_rows, gates, policies, probes  # noqa: E402

from .small_data import WORDS, word_tokenizer, write_text  # noqa: E402

C = ModelConfig(vocab=WORDS, hidden=32, heads=4, kv_heads=2, head_dim=8, ffn=48, block=3, exits=(1, 2))


def write_model(folder, **changes) -> Decoder:
    torch.manual_seed(0)
    model = Decoder(dataclasses.replace(C, **changes)).eval()
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim == 2:
                p.normal_(std=0.25)
    model.save(folder)
    return model


@pytest.fixture
def files(tmp_path):
    write_model(tmp_path / "model")
    return str(tmp_path / "model"), str(write_text(tmp_path / "data"))


def windows(files):
    return validation_windows(open_tokens(files[1]), 128)


@pytest.mark.parametrize("label", probes.LABELS)
def test_the_folder_holds_what_was_fitted(files, tmp_path, capsys, label):
    word_tokenizer(WORDS, 1).save(str(tmp_path / "model" / "tokenizer.json"))
    probes.main([*files, str(tmp_path / "out"), "--label", label, "--k", "3", "--device", "cpu"])
    assert capsys.readouterr().out.count("by the k-row head") == 2
    before, after = Decoder.load(files[0]).eval(), Decoder.load(tmp_path / "out").eval()
    assert {n for n, t in after.state_dict().items() if not torch.equal(t, before.state_dict()[n])} == {f"exits.{d}.probe.{n}" for d in (1, 2) for n in ("weight", "bias")}
    fitted = probes.fit_exits(before, windows(files), (label,), 3, open_tokens(files[1]).ids)
    for depth, (weight, bias) in zip((1, 2), fitted.probes[label], strict=True):
        probe = after.exits[str(depth)]["probe"]
        assert np.allclose(probe.weight.detach().numpy()[0], weight, atol=1e-6) and float(probe.bias.detach()) == pytest.approx(bias, abs=1e-6)
    heads = few_rows.load(tmp_path / "out", after.config)
    ran = [policies.run(after, windows(files), policies.few_rows(h, 0.3)).depths for h in (heads, fitted.heads)]
    assert np.array_equal(*ran) and len(set(ran[0])) > 1 and heads[1].table.shape == (WORDS, 3)
    # A later call without --k leaves no heads of the earlier one behind.
    probes.main([*files, str(tmp_path / "out"), "--device", "cpu", "--narrow"])
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["ee_config.json", "model.safetensors", "tokenizer.json"]


def test_gates_are_fitted_too(files, tmp_path):
    write_model(tmp_path / "model", block=1, recursions=3, gates=True, kv_fill="propagate")
    probes.main([*files, str(tmp_path / "out"), "--device", "cpu"])
    model = Decoder.load(tmp_path / "out")
    want = gates.fit(probes.fit_exits(Decoder.load(files[0]).eval(), windows(files)).sample, gates.costs(model.config))
    assert all(np.allclose(gate.weight.detach().numpy()[0], w, atol=1e-5) for gate, (w, _) in zip(model.gates, want, strict=True))
    assert all(np.abs(w).max() > 1e-3 for w, _ in want)


def test_ranking_by_hand():
    # Pairs (yes, no) with the yes higher: 4 > 1, 4 > 3, 2 > 1; not 2 > 3.
    assert probes.ranking(np.array([4.0, 1, 2, 3]), np.array([True, False, True, False])) == 0.75
    assert np.isnan(probes.ranking(np.arange(3.0), np.ones(3, bool)))


@pytest.mark.parametrize(
    "more, said",
    [(["--label", "loss"], "--label 'loss' is not one of agreement, saved"), (["--k", "1"], "--k is 1; it must lie in 2..40"), (["--k", "41"], "--k is 41"),
     (["--windows", "0"], "--windows 0 must be at least 1"), (["--threads", "0"], "--threads 0 is outside 1..1024"), (["--device", "gpu"], "--device 'gpu'")],
)  # fmt: skip
def test_refused_flags(files, tmp_path, capsys, more, said):
    assert run_main(probes.main, [*files, str(tmp_path / "out"), *more]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {said}") and error.count("\n") == 1 and not (tmp_path / "out").exists()


def test_refused_models_and_texts(files, tmp_path):
    for changes, said in (({"exits": ()}, "the model has no exits"), ({"vocab": 30}, "has token 39, but the model's vocabulary is 0..29")):
        write_model(tmp_path / "model", **changes)
        with pytest.raises(UserError, match=said):
            probes.main([*files, str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_refused_heads(files, tmp_path):
    model = Decoder.load(files[0]).eval()
    heads = probes.fit_exits(model, windows(files), (), 3, open_tokens(files[1]).ids).heads
    few_rows.save(heads, tmp_path)
    for changes, said in (({"exits": (1,)}, "'exits.2.bias' is not one of"), ({"block": 4, "exits": (1, 2, 3)}, "'exits.3.bias' is missing"),
                          ({"hidden": 16}, r"has shape \[35\]; it must be \[19\]"), ({"vocab": 41}, "'table' has shape"), ({}, None)):  # fmt: skip
        config = dataclasses.replace(C, **changes)
        if said is None:
            assert few_rows.load(tmp_path, config).keys() == {1, 2}
            continue
        with pytest.raises(UserError, match=said):
            few_rows.load(tmp_path, config)
    heads[1].table[0, 0] = WORDS
    few_rows.save(heads, tmp_path)
    with pytest.raises(UserError, match="token ids per row, from 0 to 39"):
        few_rows.load(tmp_path, C)
    (tmp_path / few_rows.FILE).write_bytes(b"none")
    with pytest.raises(UserError, match="no k-row heads"):
        few_rows.load(tmp_path, C)
