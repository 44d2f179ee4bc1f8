# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The ONNX writer against the float64 torch reference, and the two file forms against each other."""

import numpy as np
import onnx
import pytest

from ee.errors import UserError
from ee.folders import whole_file, whole_folder
from ee.numpy_llama import NumpyLlama
from ee.oracle import Oracle
from ee.tiny import tiny_checkpoint, tiny_config, write_tiny

torch = pytest.importorskip("torch")
from ee.torch_llama import TorchLlama  # noqa: E402

SHAPES = {
    "tied": dict(layers=2),
    "untied, biases, odd sizes": dict(layers=3, hidden=72, heads=6, kv_heads=2, ffn=100, vocab=301, tied=False, bias=True),
    "one head per group": dict(layers=1, hidden=32, heads=2, kv_heads=2, ffn=40),
}


def error(a, b):
    return np.abs(np.asarray(a, np.float64) - b).max() / np.abs(b).max()


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_equals_float64_reference(shape, tmp_path):
    checkpoint = tiny_checkpoint(tiny_config(**shape), seed=11)
    write_tiny(checkpoint, tmp_path / "m")
    ids = np.random.default_rng(0).integers(0, checkpoint.config.vocab, (2, 33))
    truth = TorchLlama(checkpoint, torch.float64).logits(ids).numpy()
    assert truth.std() > 1  # a model of zeros would agree with anything
    for name in ("model.onnx", "model.nocache.onnx"):
        assert error(Oracle(tmp_path / "m" / name).run(ids)["logits"], truth) < 2e-5
    assert error(TorchLlama(checkpoint, torch.float32).logits(ids).numpy(), truth) < 2e-5
    mine = NumpyLlama(checkpoint)
    assert error(np.stack([mine.head(mine.states(row)[-1]) for row in ids]), truth) < 2e-5


def test_cache_in_pieces_equals_whole(folder, checkpoint):
    ids = np.random.default_rng(1).integers(0, checkpoint.config.vocab, (3, 24))
    whole = Oracle(folder / "model.nocache.onnx").run(ids)["logits"]
    cached, past, parts = Oracle(folder / "model.onnx"), None, []
    for a, b in ((0, 1), (1, 8), (8, 9), (9, 24)):
        result = cached.run(ids[:, a:b], a, past)
        past = {n: result["present" + n[4:]] for n in cached.past}
        parts.append(result["logits"])
    assert past["past.0.key"].shape == (3, 2, 24, 16)
    assert error(np.concatenate(parts, 1), whole) < 1e-5


def test_greedy_text_wanders_and_agrees(folder, checkpoint):
    text = Oracle(folder / "model.onnx").generate([5, 6, 7], 32)
    assert len(set(text.ids)) > 12
    assert text.ids == Oracle(folder / "model.nocache.onnx").generate([5, 6, 7], 32).ids
    assert text.ids == TorchLlama(checkpoint).generate([5, 6, 7], 32)
    stop = text.ids[4]
    assert Oracle(folder / "model.onnx").generate([5, 6, 7], 32, eos=[stop]).ids == text.ids[: text.ids.index(stop) + 1]


def test_file_form(folder):
    for name, nodes in (("model.onnx", 4), ("model.nocache.onnx", 4)):
        model = onnx.load(folder / name, load_external_data=False)
        kinds = [n.op_type for n in model.graph.node]
        assert kinds.count("Attention") == nodes and kinds.count("RMSNormalization") == 9 and kinds.count("RotaryEmbedding") == 8
        assert [o.version for o in model.opset_import] == [23]
        big = [t for t in model.graph.initializer if 320 in t.dims]
        assert [t.name for t in big] == ["model.embed_tokens.weight"]  # a tied head is stored once
        for t in model.graph.initializer:
            assert int({e.key: e.value for e in t.external_data}["offset"]) % 4096 == 0


def test_out_dir_is_replaced_whole(checkpoint, tmp_path, monkeypatch):
    out = tmp_path / "m"
    write_tiny(checkpoint, out)
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    bad = tiny_checkpoint(tiny_config(layers=2), seed=1)
    monkeypatch.setattr(bad, "read", lambda name: np.zeros((1, 1), np.float32))
    with pytest.raises(ValueError, match="has shape"):
        write_tiny(bad, out)
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_errors_name_the_path_that_was_given(tmp_path):
    """Files are written under a hidden name first; no message may show it."""
    (tmp_path / "folder" / "model.onnx").mkdir(parents=True)
    (tmp_path / "file").write_text("mine")
    for out in ("folder", "none/out", "file/out"):
        with pytest.raises(UserError, match=f"^{tmp_path / out}: "), whole_file(tmp_path / out):
            pytest.fail("nothing is to be written")
    for out in ("file", "file/out", "file/deep/out"):
        with pytest.raises(UserError, match=f"^{tmp_path / out}: '{tmp_path}/file' is a file"), whole_folder(tmp_path / out):
            pytest.fail("nothing is to be written")
    for make, out, full in ((whole_file, "m", "m"), (whole_folder, "m", "m"), (whole_folder, "folder", "folder/model.onnx")):
        with pytest.raises(OSError) as caught, make(tmp_path / out) as partial:
            if out == "m":
                (partial / "deeper" / "file").write_text("there is no such folder")
            (partial / "model.onnx").write_text("whose place a folder holds")
        assert caught.value.filename == str(tmp_path / full)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]
