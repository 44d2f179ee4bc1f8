# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Hugging Face models: the two short examples, and exits put into plain exports of them, cached or not."""

import ast
import runpy
from pathlib import Path

import numpy as np
import onnx
import pytest

from ee.exit_spec import ExitSpec
from ee.insert_exits import write_exits
from ee.oracle import Oracle

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("onnxscript")
from ee import nn  # noqa: E402

EXAMPLES = Path(__file__).parents[2] / "examples" / "export"
V, LAYERS = 96, 4


def close(got, want) -> None:
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-4 * np.abs(want).max())


@torch.no_grad()
@pytest.mark.parametrize("name, fill", [("llama_exits", "exact"), pytest.param("qwen2_exits", "propagate", marks=pytest.mark.slow)])
def test_examples(name, fill, tmp_path, monkeypatch):
    """At most 8 lines of code; the file agrees with the model in torch, and takes its exits."""
    statements = ast.parse((EXAMPLES / f"{name}.py").read_text(encoding="utf-8")).body[1:]  # without the docstring
    assert sum(s.end_lineno - s.lineno + 1 for s in statements) <= 8
    monkeypatch.setattr("sys.argv", [name, str(tmp_path / "m.onnx")])
    torch.manual_seed(3)
    made = runpy.run_path(str(EXAMPLES / f"{name}.py"))
    wrapped = nn.CausalLMWithExits(made["model"], made["exits"], fill)
    ids, enabled = torch.randint(0, V, (3, 9)), torch.rand(3, 9) < 0.8
    want, full = (wrapped(ids, torch.ones_like(ids), e).numpy() for e in (enabled, enabled & False))
    close(Oracle(tmp_path / "m.onnx").run(ids.numpy(), enabled=enabled.numpy())["logits"], want)
    assert 0 < (np.abs(want - full).max(-1) > 1e-3).sum() <= int(enabled.sum())
    exits = [n for n in onnx.load(tmp_path / "m.onnx").graph.node if n.op_type == "Exit"]
    assert len(exits) == 2


def make(family: str):
    torch.manual_seed(5)
    config = getattr(transformers, f"{family}Config")(
        vocab_size=V, hidden_size=32, intermediate_size=48, num_hidden_layers=LAYERS, num_attention_heads=4, num_key_value_heads=2,
        initializer_range=0.2, tie_word_embeddings=family == "Qwen2",
    )  # fmt: skip
    return getattr(transformers, f"{family}ForCausalLM")(config).eval()


class Cached(torch.nn.Module):
    """logits and the new keys and values, flat."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask, past):
        cache = transformers.DynamicCache(list(zip(past[::2], past[1::2])))
        out = self.model(input_ids=input_ids, attention_mask=attention_mask, past_key_values=cache, use_cache=True)
        return out.logits, *[t for layer in out.past_key_values.layers for t in (layer.keys, layer.values)]


class Plain(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask):
        return self.model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).logits


def plain_export(model, path, opset: int, cache: bool, optimize: bool) -> None:
    """What a user's own torch.onnx.export writes: no word of ours."""
    batch, seq, past = (torch.export.Dim(n) for n in ("batch", "seq", "past"))
    ids = torch.randint(0, V, (2, 5))
    args, names = (ids, torch.ones(2, 8 if cache else 5, dtype=torch.int64)), ["input_ids", "attention_mask"]
    shapes = ({0: batch, 1: seq}, {0: batch, 1: torch.export.Dim.DYNAMIC if cache else seq})
    outputs = ["logits"]
    if cache:
        args += ([torch.randn(2, 2, 3, 8) for _ in range(2 * LAYERS)],)
        shapes += ([{0: batch, 2: past}] * (2 * LAYERS),)
        names += [f"past.{i}.{n}" for i in range(LAYERS) for n in ("key", "value")]
        outputs += [f"present.{i}.{n}" for i in range(LAYERS) for n in ("key", "value")]
    torch.onnx.export(
        (Cached if cache else Plain)(model).eval(), args, str(path), dynamo=True, optimize=optimize, opset_version=opset, external_data=True,
        verbose=False, dynamic_shapes=shapes, input_names=names, output_names=outputs,
    )  # fmt: skip


FOREIGN = [
    ("Llama", 18, False, True, "exact"),
    ("Qwen2", 20, True, True, "propagate"),
    ("Llama", 23, False, False, "propagate"),
    ("Llama", 18, True, False, "exact"),
    ("Qwen2", 18, False, True, "exact"),
]


@torch.no_grad()
@pytest.mark.slow
@pytest.mark.parametrize("family, opset, cache, optimize, fill", FOREIGN)
def test_exits_into_a_plain_export(family, opset, cache, optimize, fill, tmp_path):
    """The same exits put in by dataflow and by torch hooks: real and scripted decisions."""
    model = make(family)
    plain_export(model, tmp_path / "plain.onnx", opset, cache, optimize)
    rng = np.random.default_rng(6)
    specs = [ExitSpec(1, "max_prob", -2.0), ExitSpec(3, "probe", 0.0, probe=(rng.normal(size=32).astype(np.float32), 0.1))]
    ids, enabled = torch.randint(0, V, (2, 9)), torch.rand(2, 9) < 0.8
    for scripted in (False, True):
        out = tmp_path / "exits" / f"{scripted}.onnx"
        out.parent.mkdir(exist_ok=True)
        write_exits(tmp_path / "plain.onnx", out, specs, fill, scripted, exit_depth=True)
        scripts = [torch.randn(2, 9) * 3 for _ in specs] if scripted else None
        wrapped = nn.CausalLMWithExits(make(family), specs, fill, scripted, exit_depth=True)
        want, depth = wrapped(ids, torch.ones_like(ids), enabled, scripts)
        feeds = {f"script.{s.label}": x.numpy() for s, x in zip(specs, scripts or [])}
        session = Oracle(out)
        if cache:
            feeds |= session.empty_past(2)
        got = session.run(ids.numpy(), enabled=enabled.numpy(), **feeds)
        np.testing.assert_array_equal(got["exit_depth"], depth)
        close(got["logits"], want.numpy())
        assert set(depth.unique().tolist()) == {1, 3, LAYERS}
    assert sorted(p.name for p in out.parent.iterdir()) == ["False.onnx", "True.onnx", "plain.onnx.data"]
