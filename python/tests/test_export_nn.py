# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`ee.nn` through `ee.export`: single nodes, shared weights once, and ONNX Runtime equal to torch on another shape."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from ee.adaptive import DOMAIN, OPS

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")
from ee import nn  # noqa: E402
from ee.torch_export import export  # noqa: E402

V, D, R, CONTEXT = 29, 32, 3, 32
BATCH_SEQ = {0: torch.export.Dim("batch"), 1: torch.export.Dim("seq")}
slow = pytest.mark.slow


class EveryOp(torch.nn.Module):
    """Each op once, all of them reaching an output."""

    def __init__(self):
        super().__init__()
        self.exit, self.keep, self.weighted, self.additive = nn.Exit("e", 0.2, "probe"), nn.Keep(), nn.GateWeighted(0.3), nn.GateAdditive()
        self.threshold, self.top, self.choice, self.mask = nn.RouteThreshold(-0.1), nn.RouteTopK(0.4), nn.RouteTokenChoice(), nn.ActiveMask()
        self.halt, self.cdf, self.delta, self.patience = nn.HaltThreshold(0.4), nn.HaltCdf(0.8), nn.HaltDelta(1.2), nn.HaltPatience(2)

    def forward(self, h, f, score, active):
        scores = torch.stack([score, h[..., 0], f[..., 0]], -1)
        selected, last = self.choice(scores, torch.tensor(1))
        routed, best = self.threshold(score, active), self.top(score, active)
        running, survival = self.cdf(score, -score.abs(), self.halt(score, active))
        patient, count = self.patience(routed, active.to(torch.int64), active)
        visible = self.mask(torch.ones(1, 1, 2, 1, dtype=torch.bool), routed)
        h = self.weighted(selected, torch.sigmoid(score), self.additive(last, self.keep(best, h, f), f), f)
        return self.exit(h, f, score, h, running), survival, count, patient, self.delta(h, f, active), visible


def close(got, want) -> None:
    """1e-4 of the largest value; decisions equal."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape
    if want.dtype == np.float32:
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-4 * np.abs(want).max())
    else:
        np.testing.assert_array_equal(got, want)


@torch.no_grad()
@pytest.mark.parametrize("opset", [18, pytest.param(20, marks=slow), 23])
def test_every_op_is_one_node(opset, tmp_path):
    torch.manual_seed(0)
    model = EveryOp()

    def inputs(*shape):
        return torch.randn(*shape, 8), torch.randn(*shape, 8), torch.randn(*shape), torch.rand(*shape) < 0.7

    names = ["h", "f", "score", "active"]
    export(model, inputs(2, 5), tmp_path / "m.onnx", opset, (BATCH_SEQ,) * 4, names)
    loaded = onnx.load(tmp_path / "m.onnx")
    assert sorted(n.op_type for n in loaded.graph.node if n.domain) == sorted(OPS) == [f.name for f in loaded.functions]
    assert not any(onnx.defs.has(n, DOMAIN) for n in OPS)  # nothing stays behind in the process
    given = {n.op_type: {a.name: onnx.helper.get_attribute_value(a) for a in n.attribute} for n in loaded.graph.node if n.domain}
    assert given["HaltPatience"] == {"patience": 2} and given["RouteTopK"]["capacity"] == pytest.approx(0.4)
    feeds = inputs(3, 11)
    got = ort.InferenceSession(tmp_path / "m.onnx").run(None, {n: x.numpy() for n, x in zip(names, feeds)})
    for g, w in zip(got, model(*feeds), strict=True):
        close(g, w)


class DepthModel(torch.nn.Module):
    """ids [batch, seq] -> logits, depth: embedding, one Recurse over `blocks` Llama blocks, norm, tied head."""

    def __init__(self, blocks: int, make):
        super().__init__()
        self.embed, self.norm = torch.nn.Embedding(V, D), nn.RMSNorm(D)
        self.recurse = make([nn.LlamaBlock(D, 4, 2, 8, 48) for _ in range(blocks)])
        cos, sin = nn.rope_tables(CONTEXT, 8)
        self.register_buffer("cos", cos)
        self.register_buffer("sin", sin)
        for p in self.parameters():
            torch.nn.init.normal_(p, std=0.25)

    def forward(self, ids, script=None):
        positions = torch.arange(ids.shape[1])
        rope = self.cos[positions], self.sin[positions]
        result = self.recurse(self.embed(ids), nn.causal_mask(positions), script=script, rope=rope)
        return self.norm(result.state) @ self.embed.weight.T, result.depth

    @staticmethod
    def gates(count: int = R - 1):
        return [torch.nn.Linear(D, 1) for _ in range(count)]

    @staticmethod
    def routers(outputs: int = 1, count: int = R):
        return [nn.RouterLinear(D, outputs) for _ in range(count)]


def with_lora(blocks):
    lora = nn.DepthLora(blocks, R, 2, ["q_proj", "up_proj"])
    return nn.Recurse(blocks, R, halt=nn.HaltThreshold(0.5), gates=DepthModel.gates(), fill="exact", lora=lora)


def top_k(blocks):
    return nn.Recurse(blocks, R, route=[nn.RouteTopK((R - r) / R) for r in range(R)], routers=DepthModel.routers(), fill="skip")


def token_choice(blocks):
    return nn.Recurse(blocks, R, route=nn.RouteTokenChoice(), routers=DepthModel.routers(R, 1), activation="softmax", fill="share")


VARIANTS = {
    "cdf-skip": lambda b: nn.Recurse(b, R, halt=nn.HaltCdf(1.0), gates=DepthModel.gates(), fill="skip"),
    "delta-copy": lambda b: nn.Recurse(b, R, halt=nn.HaltDelta(0.9), fill="copy", loop_norm=nn.RMSNorm(D)),
    "lora-exact": with_lora,
    "threshold-skip": lambda b: nn.Recurse(b, R, route=nn.RouteThreshold(), routers=DepthModel.routers(), fill="skip"),
    "threshold-share": lambda b: nn.Recurse(b, R, route=nn.RouteThreshold(), routers=DepthModel.routers(), update=nn.GateAdditive(), fill="share"),
    "top-k-skip": top_k,
    "token-choice-share": token_choice,
}
CASES = [
    pytest.param("cdf-skip", 18, False, marks=slow),
    ("threshold-skip", 23, False),
    pytest.param("lora-exact", 20, True, marks=slow),
    pytest.param("delta-copy", 23, False, marks=slow),
    pytest.param("threshold-share", 18, True, marks=slow),
    pytest.param("top-k-skip", 20, False, marks=slow),
    pytest.param("token-choice-share", 23, False, marks=slow),
    pytest.param("cdf-skip", 23, True, marks=slow),
    pytest.param("threshold-skip", 18, True, marks=slow),
]


def once(model: torch.nn.Module, loaded: onnx.ModelProto, scripted: bool) -> None:
    """Every parameter's content lies in the file once, in either orientation; nothing of its size lies there twice. What a
    script replaces has no place there: gates, and routers whose value does not weight the update."""
    replaced = [".gates."] + [".routers."] * (not isinstance(model.recurse.update, nn.GateWeighted)) if scripted else []
    stored = [onnx.numpy_helper.to_array(t) for t in loaded.graph.initializer]
    stored = [x for x in stored if x.size >= 8 and x.dtype == np.float32]
    for name, p in model.named_parameters():
        w = p.detach().numpy()
        same = [x for x in stored if any(x.shape == y.shape and np.array_equal(x, y) for y in (w, w.T))]
        assert w.size < 8 or len(same) == (0 if any(r in name for r in replaced) else 1), name
    assert len({(x.shape, x.tobytes()) for x in stored}) == len(stored)


@torch.no_grad()
@pytest.mark.parametrize("variant, opset, scripted", CASES)
def test_recurse(variant, opset, scripted, tmp_path):
    torch.manual_seed(1)
    model = DepthModel(2, VARIANTS[variant])
    decisions = R if model.recurse.kind != "halting" else R - 1
    ids, script = torch.randint(0, V, (2, 6)), torch.randn(2, 6, decisions)
    args, names = (ids, script) if scripted else (ids,), ["ids", "script"] if scripted else ["ids"]
    export(model, args, tmp_path / "m.onnx", opset, (BATCH_SEQ,) * len(args), names, ["logits", "depth"])
    loaded = onnx.load(tmp_path / "m.onnx")
    once(model, loaded, scripted)
    count = {name: sum(n.op_type == name and n.domain == DOMAIN for n in loaded.graph.node) for name in OPS}
    wanted = {
        "cdf-skip": {"HaltCdf": R - 1, "Keep": R - 1, "ActiveMask": R - 1},
        "delta-copy": {"HaltDelta": R - 1, "Keep": (R - 1) * (1 + 2 * 2), "ActiveMask": 0},
        "lora-exact": {"HaltThreshold": R - 1, "Keep": R - 1, "ActiveMask": 0},
        "threshold-skip": {"RouteThreshold": R, "GateWeighted": R, "ActiveMask": R},
        "threshold-share": {"RouteThreshold": R, "GateAdditive": R, "ActiveMask": 0},
        "top-k-skip": {"RouteTopK": R, "GateWeighted": R, "ActiveMask": R},
        "token-choice-share": {"RouteTokenChoice": R, "GateWeighted": R, "ActiveMask": 0},
    }[variant]
    assert {n: count[n] for n in wanted} == wanted
    feeds = (torch.randint(0, V, (3, 9)), torch.randn(3, 9, decisions))[: len(args)]
    got = ort.InferenceSession(tmp_path / "m.onnx").run(None, {n: x.numpy() for n, x in zip(names, feeds)})
    logits, depth = model(*feeds)
    close(got[1], depth)
    close(got[0], logits)
    assert len(depth.unique()) > 1
