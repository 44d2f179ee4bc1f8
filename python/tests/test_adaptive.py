# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The score patterns in ONNX Runtime, against their definitions in float64, and which bodies a file gets."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto

from ee import criteria
from ee.adaptive import DOMAIN, attach_bodies
from ee.onnx_builder import GraphBuilder

BATCH, SEQ, V, D = 2, 5, 37, 12


def run(g, feeds, opset=23):
    for node in g.nodes:
        if not any(node.output[0] in other.input for other in g.nodes):
            g.output(node.output[0], TensorProto.UNDEFINED, None)
    model = g.model("test")
    for o in model.graph.output:
        o.ClearField("type")
    model.opset_import[0].version = opset
    attach_bodies(model)
    model = onnx.shape_inference.infer_shapes(model)
    onnx.checker.check_model(model, full_check=True)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def test_bodies_only_for_used_ops():
    g = GraphBuilder()
    g.input("m", TensorProto.BOOL, [3])
    g.op("Keep", ["m", "m", "m"], "y", domain=DOMAIN)
    model = attach_bodies(attach_bodies(g.model("t")))
    assert [f.name for f in model.functions] == ["Keep"]
    assert [(o.domain, o.version) for o in model.opset_import if o.domain] == [(DOMAIN, 1)]


def log_odds(criterion, z):
    """log(c / (1-c)) of the textbook confidence c, in float64 with the complement summed directly."""
    p = np.exp(z - z.max(-1, keepdims=True))
    p = np.sort(p / p.sum(-1, keepdims=True), -1)[..., ::-1]
    if criterion == "max_prob":
        return np.log(p[..., 0]) - np.log(p[..., 1:].sum(-1))
    if criterion == "margin":
        with np.errstate(divide="ignore"):
            return np.log(p[..., 0] - p[..., 1]) - np.log(2 * p[..., 1] + p[..., 2:].sum(-1))
    u = -(p * np.log(p)).sum(-1) / np.log(z.shape[-1])
    return np.log(1 - u) - np.log(u)


def score_in_ort(make, feeds):
    g = GraphBuilder()
    for name, array in feeds.items():
        g.input(name, TensorProto.FLOAT, ["batch", "seq", array.shape[-1]])
    make(g)
    return run(g, feeds)[0]


MAKE = {
    "max_prob": lambda g: criteria.max_prob(g, "z", "s"),
    "margin": lambda g: criteria.margin(g, "z", "s"),
    "entropy": lambda g: criteria.entropy(g, "z", "s", V),
}


@pytest.mark.parametrize("criterion", MAKE)
@pytest.mark.parametrize("spread", [0.1, 2.0, 8.0])
def test_logit_scores(criterion, spread):
    z = (np.random.default_rng(1).normal(size=(BATCH, SEQ, V)) * spread).astype(np.float32)
    z[0, 0] = 0  # very sure: in probability space float32 could not tell this from 1
    z[0, 0, 3] = 25
    got, want = score_in_ort(MAKE[criterion], {"z": z}), log_odds(criterion, z.astype(np.float64))
    assert want[0, 0] > 15
    # Near-uniform rows lose digits in ln V - H; no threshold lies there.
    rtol = 5e-5 if spread < 1 and criterion == "entropy" else 2e-6
    np.testing.assert_allclose(got, want, rtol=rtol, atol=1e-5)
    np.testing.assert_allclose(criteria.score_of_logits(criterion, z), got, rtol=rtol, atol=1e-5)
    np.testing.assert_allclose(criteria.score_of_logits(criterion, z.astype(np.float64)), want, rtol=1e-7, atol=1e-9)


def test_ties_and_certainty():
    z = np.zeros((1, 2, V), np.float32)
    z[0, 0, [4, 9]] = 3  # two maxima: p1 = p2
    z[0, 1, 4] = 500  # everything else underflows
    score = {c: score_in_ort(MAKE[c], {"z": z})[0] for c in MAKE}
    assert abs(score["max_prob"][0] - log_odds("max_prob", z.astype(np.float64))[0, 0]) < 1e-5
    assert score["margin"][0] == -np.inf
    assert all(score[c][1] == np.inf for c in MAKE)


def test_hidden_scores():
    rng = np.random.default_rng(2)
    h = rng.normal(size=(BATCH, SEQ, D))
    g = h + rng.normal(size=h.shape) * np.geomspace(1e-3, 3, BATCH * SEQ).reshape(BATCH, SEQ, 1)
    w = rng.normal(size=D)
    h32, g32 = h.astype(np.float32), g.astype(np.float32)
    h, g = h32.astype(np.float64), g32.astype(np.float64)
    c = (h * g).sum(-1) / np.sqrt((h * h).sum(-1) * (g * g).sum(-1))
    got = score_in_ort(lambda b: criteria.cosine(b, "h", "g", "s"), {"h": h32, "g": g32})
    np.testing.assert_allclose(got, np.log((1 + c) / (1 - c)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(criteria.score_of_states(h32, g32), got, rtol=1e-4, atol=1e-5)
    got = score_in_ort(lambda b: criteria.probe(b, "h", "s", w, 0.25), {"h": h32})
    np.testing.assert_allclose(got, h @ w + 0.25, rtol=1e-5, atol=1e-5)
