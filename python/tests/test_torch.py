# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Exits in torch: eager semantics, gradients, and files that ONNX Runtime runs to the same result."""

import numpy as np
import onnx
import pytest

from ee.adaptive import DOMAIN
from ee.criteria import score_of_logits, score_of_states
from ee.exit_spec import ExitSpec, Head
from ee.oracle import Oracle
from ee.tiny import tiny_checkpoint, tiny_config

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")
from ee import nn  # noqa: E402
from ee.torch_export import export, export_causal_lm  # noqa: E402


def test_eager_and_gradients():
    torch.manual_seed(0)
    a, b = torch.randn(2, 5, 7, requires_grad=True), torch.randn(2, 5, 7, requires_grad=True)
    score, enabled = torch.randn(2, 5), torch.rand(2, 5) < 0.7
    score[0, 0], enabled[0, 0] = 0.25, True
    leaves = (enabled & (score >= 0.25))[..., None]
    y = nn.Exit("e", 0.25)(a, b, score, a, enabled)
    assert torch.equal(y, torch.where(leaves, a, b)) and leaves[0, 0]
    weight = torch.randn_like(y)
    (y * weight).sum().backward()
    assert torch.equal(a.grad, torch.where(leaves, weight, 0)) and torch.equal(b.grad, torch.where(leaves, 0, weight))
    a.grad = b.grad = None
    (nn.Keep()(enabled, a, b) * weight).sum().backward()
    assert torch.equal(a.grad, torch.where(enabled[..., None], 0, weight)) and torch.equal(b.grad, weight - a.grad)


def test_scores_equal_the_numpy_ones():
    torch.manual_seed(1)
    z, h, g = torch.randn(3, 4, 50) * 4, torch.randn(3, 4, 8), torch.randn(3, 4, 8)
    for criterion in ("max_prob", "margin", "entropy"):
        np.testing.assert_allclose(nn.score(criterion, z, h, g), score_of_logits(criterion, z.numpy()), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(nn.score("cosine", z, h, g), score_of_states(h.numpy(), g.numpy()), rtol=1e-5, atol=1e-5)


class Shared(torch.nn.Module):
    """One block three times, an exit after the first two: the smallest model with a shared body."""

    def __init__(self):
        super().__init__()
        self.norm, self.up, self.down = torch.nn.LayerNorm(32), torch.nn.Linear(32, 64), torch.nn.Linear(64, 32)
        self.head = torch.nn.Linear(32, 10)
        self.exits = torch.nn.ModuleList([nn.Exit("first", -1.0), nn.Exit("second", -0.5)])

    def forward(self, x, enabled):
        states = [x]
        for _ in range(3):
            states.append(states[-1] + self.down(torch.nn.functional.gelu(self.up(self.norm(states[-1])))))
        result = self.head(states[3])
        for k in (2, 1):
            z = self.head(states[k])
            result = self.exits[k - 1](z, result, nn.score("max_prob", z, states[k], states[k - 1]), states[k], enabled)
        return result


@pytest.mark.parametrize("opset", [18, *(pytest.param(o, marks=pytest.mark.slow) for o in (20, 23))])
def test_export_of_a_module(opset, tmp_path):
    torch.manual_seed(2)
    model, dims = Shared(), {0: torch.export.Dim("batch"), 1: torch.export.Dim("seq")}
    args = (torch.randn(2, 5, 32) * 3, torch.ones(2, 5, dtype=torch.bool))
    export(model, args, tmp_path / "m.onnx", opset, (dims, dims), ["x", "enabled"], ["y"])
    loaded = onnx.load(tmp_path / "m.onnx")
    exits = [n for n in loaded.graph.node if n.domain == DOMAIN]
    tags = [{a.name: onnx.helper.get_attribute_value(a) for a in n.attribute} for n in exits]
    assert [(t["name"], t["threshold"], t["criterion"]) for t in tags] == [(b"second", -0.5, b"max_prob"), (b"first", -1.0, b"max_prob")]
    assert len([t for t in loaded.graph.initializer if list(t.dims) in ([64, 32], [32, 64])]) == 2  # the shared body, once
    assert {(f.name, f.opset_import[0].version) for f in loaded.functions} == {("Exit", opset)}
    import onnxruntime as ort

    x, enabled = torch.randn(3, 9, 32) * 3, torch.rand(3, 9) < 0.8
    got = ort.InferenceSession(tmp_path / "m.onnx").run(None, {"x": x.numpy(), "enabled": enabled.numpy()})[0]
    with torch.no_grad():
        want, full = model(x, enabled).numpy(), model(x, enabled & False).numpy()
    np.testing.assert_allclose(got, want, rtol=0, atol=2e-5)
    assert 0.1 < (np.abs(want - full).max(-1) > 1e-4).mean() < 0.9


HUGGING_FACE = [
    (23, "propagate", "probe"),
    (18, "exact", "max_prob"),
    (20, "propagate", "entropy"),
    (18, "propagate", "margin"),
    (23, "exact", "cosine"),
]


@pytest.mark.slow
@pytest.mark.parametrize("opset, fill, criterion", HUGGING_FACE)
def test_export_of_a_hugging_face_model(opset, fill, criterion, tmp_path):
    transformers = pytest.importorskip("transformers")
    checkpoint, rng = tiny_checkpoint(tiny_config(layers=3), seed=7), np.random.default_rng(0)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**checkpoint.files["config.json"]))
    weights = {n: torch.from_numpy(checkpoint.tensor(n)) for n in checkpoint.config.tensor_shapes()}
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert not unexpected and set(missing) <= {"lm_head.weight"}
    model.tie_weights()
    probes = [(rng.normal(size=64) / 8, 0.0) for _ in range(2)]
    head = Head("map", {"map": rng.normal(size=(64, 64)).astype(np.float32) / 8, "bias": np.full(64, 0.1, np.float32)})
    threshold = {"max_prob": -1.0, "margin": -1.8, "cosine": 0.4}.get(criterion, 0.0)
    specs = [ExitSpec(1, criterion, threshold, probe=probes[0]), ExitSpec(2, criterion, threshold, head, probes[1])]
    wrapped = export_causal_lm(model, tmp_path / "m.onnx", specs, fill, opset)
    ids, enabled = torch.randint(0, 320, (3, 11)), torch.rand(3, 11) < 0.7
    with torch.no_grad():
        want = wrapped(ids, torch.ones_like(ids), enabled).numpy()
    got = Oracle(tmp_path / "m.onnx").run(ids.numpy(), enabled=enabled.numpy())["logits"]
    np.testing.assert_allclose(got, want, rtol=0, atol=2e-4)
    # The same exits put into the writer's file give the same logits: two roads to one meaning.
    from ee.insert_exits import write_exits
    from ee.tiny import write_tiny

    write_tiny(checkpoint, tmp_path / "w")
    write_exits(tmp_path / "w" / "model.nocache.onnx", tmp_path / "w" / "e.onnx", specs, fill, exit_depth=True)
    other = Oracle(tmp_path / "w" / "e.onnx").run(ids.numpy(), enabled=enabled.numpy())
    assert len(np.unique(other["exit_depth"])) == 3
    np.testing.assert_allclose(other["logits"], want, rtol=0, atol=2e-4)
