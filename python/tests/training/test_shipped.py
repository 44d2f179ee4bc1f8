# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The models that ship: they load, know some English, and as ONNX files decide what they decide in torch."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnxruntime = pytest.importorskip("onnxruntime")

from tokenizers import Tokenizer  # noqa: E402

from ee.models import Decoder, export  # noqa: E402

MODELS = sorted(p.parent for p in (Path(__file__).parents[3] / "models").glob("*/ee_config.json"))
TEXT = "It is a truth universally acknowledged, that a single man in possession of a good fortune, must be in want of a wife."


def ids(folder: Path) -> torch.Tensor:
    return torch.tensor([[0, *Tokenizer.from_file(str(folder / "tokenizer.json")).encode(TEXT, add_special_tokens=False).ids]])


def thresholds(model: Decoder) -> list[float]:
    c = model.config
    return [float("-inf") if r == 0 else 0.0 for r in range(c.recursions)] if c.router else [0.0] * (1 if c.gates else len(c.exits))


def test_there_are_models():
    assert {"dense", "layerskip", "looped", "mor", "staged"} <= {p.name for p in MODELS}


@pytest.mark.parametrize("folder", MODELS, ids=lambda p: p.name)
def test_loads_and_reads_english(folder):
    model, x = Decoder.load(folder).eval(), ids(folder)
    assert (folder / "model.safetensors").stat().st_size <= 16 * 2**20
    assert x.max() < model.config.vocab and (folder / "README.md").read_text().startswith(f"# {folder.name}\n")
    module = export.adaptive_module(model, thresholds(model))
    with torch.no_grad():
        logits, depth = module(x) if model.config.router else module(x, torch.ones_like(x, dtype=torch.bool))
    losses = torch.nn.functional.cross_entropy(logits[0, :-1], x[0, 1:])
    shuffled = x[:, torch.randperm(x.shape[1], generator=torch.Generator().manual_seed(0))]
    with torch.no_grad():
        other = (module(shuffled) if model.config.router else module(shuffled, torch.ones_like(x, dtype=torch.bool)))[0]
    assert losses < 5.0 and losses < torch.nn.functional.cross_entropy(other[0, :-1], shuffled[0, 1:]) - 1.0
    assert model.config.exits == () and not model.config.router or len(set(depth.flatten().tolist())) > 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mor", "staged"])
def test_as_onnx(name, tmp_path):
    folder = MODELS[0].parent / name
    model, x = Decoder.load(folder).eval(), ids(folder)
    module = export.write(model, tmp_path / "m.onnx", thresholds(model))
    with torch.no_grad():
        want, depth = module(x)
    got, at = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"]).run(None, {"input_ids": x.numpy()})
    assert np.array_equal(at, depth.numpy())
    assert np.abs(got - want.numpy()).max() < 1e-4 * np.abs(want.numpy()).max()
