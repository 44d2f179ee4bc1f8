# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Whole models through the general path: what ONNX Runtime computes, at sizes that the export did not see."""

import logging
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from ee.insert_exits import write_exits
from ee.tiny import tiny_exits

from .ee_tools import compile_model, needs_tools, ok

pytestmark = needs_tools
LIMIT = 1e-4  # of the largest value


def agree(path, folder, feeds_list):
    """Compiles once; every output of every call within LIMIT of ONNX Runtime."""
    compile_model(path, folder / "m.ee", "--kind=function", "--cpu-levels=x86-64-v3")
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = {i.name for i in session.get_inputs()}
    for k, feeds in enumerate(feeds_list):
        feeds = {n: v for n, v in feeds.items() if n in names}
        assert feeds.keys() == names
        flags = []
        for i, (name, value) in enumerate(feeds.items()):
            np.save(folder / f"{k}.i{i}.npy", value)
            flags += ["--input", f"{name}=@{folder}/{k}.i{i}.npy"]
        outputs = [o.name for o in session.get_outputs()]
        for i, name in enumerate(outputs):
            flags += ["--output", f"{name}=@{folder}/{k}.o{i}.npy"]
        ok("ee-run", "run", folder / "m.ee", *flags)
        for i, (name, want) in enumerate(zip(outputs, session.run(None, feeds), strict=True)):
            got = np.load(folder / f"{k}.o{i}.npy")
            assert got.shape == want.shape and got.dtype == want.dtype, name
            if want.size:
                off = np.abs(got.astype(np.float64) - want.astype(np.float64)).max()
                assert off <= LIMIT * np.abs(want).max(), (name, off)


def test_strided_result(tmp_path):
    """A result that is a part of a larger buffer, of sizes that nobody knows before the run."""
    text = """<ir_version: 10, opset_import: ["": 23]>
    agraph (float[r, c] x, int64[1] n) => (float[r, k] y) <int64[1] zero = {0}, int64[1] one = {1}> {
        t = Mul(x, x)
        y = Slice(t, zero, n, one)
    }"""
    onnx.save(onnx.parser.parse_model(text), tmp_path / "m.onnx")
    feeds = [{"x": np.arange(r * 7, dtype=np.float32).reshape(r, 7), "n": np.array([n])} for r, n in ((3, 2), (1, 7), (4, -3))]
    agree(tmp_path / "m.onnx", tmp_path, feeds)


def export(model, args, path, names, outputs, dims, dynamo):
    """`dims`: {input or output: {axis: name}}."""
    import torch

    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    model.eval()
    if dynamo:
        shared = {}
        shapes = [{a: shared.setdefault(n, torch.export.Dim(n, min=1, max=64)) for a, n in dims[name].items()} for name in names]
        program = torch.onnx.export(model, args, input_names=names, output_names=outputs, dynamic_shapes=tuple(shapes), dynamo=True, opset_version=18, verbose=False)
        program.save(str(path))
    else:
        torch.onnx.export(model, args, str(path), input_names=names, output_names=outputs, dynamic_axes=dims, dynamo=False, opset_version=17)


@pytest.mark.slow
@pytest.mark.parametrize("dynamo", [False, True], ids=["legacy", "dynamo"])
@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_transformers(family, dynamo, tmp_path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(1)
    if family == "bert":
        config = transformers.BertConfig(vocab_size=99, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
                                         max_position_embeddings=64, num_labels=3, initializer_range=0.3)  # fmt: skip
        inner = transformers.BertForSequenceClassification(config)
    else:
        config = transformers.GPT2Config(vocab_size=99, n_embd=32, n_layer=2, n_head=4, n_positions=64, initializer_range=0.3)
        inner = transformers.GPT2LMHeadModel(config)

    class Logits(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = inner

        def forward(self, input_ids, attention_mask):
            extra = {} if family == "bert" else {"use_cache": False}
            return self.inner(input_ids=input_ids, attention_mask=attention_mask, **extra).logits

    def feeds(batch, length):
        rng = np.random.default_rng(length)
        mask = np.ones((batch, length), np.int64)
        mask[-1, length - length // 3 :] = 0
        return {"input_ids": rng.integers(0, 99, (batch, length)), "attention_mask": mask}

    args = tuple(torch.from_numpy(v) for v in feeds(2, 9).values())
    axes = {0: "batch", 1: "seq"}
    path = tmp_path / "m.onnx"
    outputs = {"logits": {0: "batch"} if family == "bert" else axes}
    export(Logits(), args, path, ["input_ids", "attention_mask"], ["logits"], {"input_ids": axes, "attention_mask": axes} | outputs, dynamo)
    agree(path, tmp_path, [feeds(2, 9), feeds(1, 17), feeds(3, 5)])


@pytest.mark.slow
@pytest.mark.parametrize("dynamo", [False, True], ids=["legacy", "dynamo"])
def test_convolutions(dynamo, tmp_path):
    torch = pytest.importorskip("torch")
    torch.manual_seed(2)
    nn = torch.nn
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, groups=4, stride=2),
                          nn.GELU(), nn.AvgPool2d(2, ceil_mode=True), nn.Flatten(), nn.Linear(32, 10), nn.Softmax(-1))  # fmt: skip
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    rng = np.random.default_rng(3)
    feeds = [{"x": rng.standard_normal((n, 3, 16, 16)).astype(np.float32)} for n in (2, 1, 5)]
    export(model, (torch.from_numpy(feeds[0]["x"]),), tmp_path / "m.onnx", ["x"], ["y"], {"x": {0: "batch"}, "y": {0: "batch"}}, dynamo)
    agree(tmp_path / "m.onnx", tmp_path, feeds)


def llama_feeds(batch, length, past, heads, width):
    rng = np.random.default_rng(length)
    feeds = {"input_ids": rng.integers(0, 96, (batch, length)), "attention_mask": np.ones((batch, past + length), np.int64),
             "position_ids": np.broadcast_to(np.arange(past, past + length), (batch, length)).copy(), "enabled": np.ones((batch, length), bool)}  # fmt: skip
    for layer in range(8):
        for kind in ("key", "value"):
            feeds[f"past.{layer}.{kind}"] = rng.standard_normal((batch, heads, past, width)).astype(np.float32)
    return feeds


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dynamo18_plain", "dynamo23", "legacy17"])
def test_torch_llama(name, tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    script = Path(__file__).parents[2] / "test/Conversion/Inputs/torch_files.py"
    subprocess.run([sys.executable, script, tmp_path, name], check=True, capture_output=True)
    path = next(tmp_path.glob("**/*.onnx"))
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    inputs = session.get_inputs()
    pasts = [i for i in inputs if len(i.shape) == 4]

    def feeds(batch, length, past):
        made = llama_feeds(batch, length, past if pasts else 0, 0, 0)
        rng = np.random.default_rng(past)
        made |= {i.name: rng.standard_normal((batch, i.shape[1], past, i.shape[3])).astype(np.float32) for i in pasts}
        return made

    agree(path, tmp_path, [feeds(1, 6, 3), feeds(1, 1, 9), feeds(1, 11, 1)])


@pytest.mark.slow
@pytest.mark.parametrize("fill", ["propagate", "exact"])
def test_exits(checkpoint, folder, tmp_path, fill):
    """Rows leave at exits; logits and depths are those of ONNX Runtime."""
    path = tmp_path / "m.onnx"
    write_exits(folder / "model.onnx", path, tiny_exits(checkpoint, [1, 3], "margin", None), fill, exit_depth=True)
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    past = next(i for i in session.get_inputs() if i.name.startswith("past."))
    agree(path, tmp_path, [llama_feeds(2, 24, 0, past.shape[1], past.shape[3]), llama_feeds(1, 1, 7, past.shape[1], past.shape[3])])
