# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Every op of `ai.adaptive`: its body in ONNX Runtime and in onnx's ReferenceEvaluator against the rules row by row."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from ee.adaptive import DOMAIN, OPS, VERSION, attach_bodies, function, register_schemas
from ee.adaptive.__main__ import main
from ee.adaptive.markdown import page

from . import adaptive_oracle

INF, NAN = np.inf, np.nan
OPSETS = (18, 20, 23)
RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def no_schemas():
    """Types are to be inferred from the bodies, as in a process that never exports; a registered schema would hide them."""
    for name in OPS:
        if onnx.defs.has(name, DOMAIN):
            onnx.defs.deregister_schema(name, VERSION, DOMAIN)


def model_of(name: str, inputs: list[np.ndarray], attributes: dict, opset: int) -> onnx.ModelProto:
    """One node over graph inputs of the given types and any sizes."""
    op = OPS[name]
    values = [
        helper.make_tensor_value_info(v.name, helper.np_dtype_to_tensor_dtype(x.dtype), [f"{v.name}{i}" for i in range(x.ndim)])
        for v, x in zip(op.inputs, inputs, strict=True)
    ]
    node = helper.make_node(name, [v.name for v in op.inputs], [v.name for v in op.outputs], domain=DOMAIN)
    for a in op.attributes:
        node.attribute.append(helper.make_attribute(a.name, attributes[a.name], attr_type=a.type))
    outputs = [onnx.ValueInfoProto(name=v.name) for v in op.outputs]
    model = helper.make_model(
        helper.make_graph([node], "op", values, outputs), opset_imports=[helper.make_opsetid("", opset)], ir_version=10
    )
    model = onnx.shape_inference.infer_shapes(attach_bodies(model), strict_mode=True)
    onnx.checker.check_model(model, full_check=True)
    return model


def check(name: str, inputs: list, attributes: dict, opset: int, tolerance: float = 0.0) -> list[np.ndarray]:
    """Both evaluators against the oracle; returns ONNX Runtime's outputs."""
    inputs = [np.asarray(x) for x in inputs]
    model = model_of(name, inputs, attributes, opset)
    feeds = {v.name: x for v, x in zip(OPS[name].inputs, inputs)}
    options = ort.SessionOptions()
    options.log_severity_level = 3
    got = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"]).run(None, feeds)
    with np.errstate(all="ignore"):
        reference = ReferenceEvaluator(model).run(None, feeds)
        want = adaptive_oracle.RULES[name](*inputs, **attributes)
    for g, r, w in zip(got, reference, want if isinstance(want, tuple) else (want,), strict=True):
        assert g.shape == w.shape == r.shape and g.dtype == r.dtype
        for x in (g, r):
            if w.dtype == bool or not tolerance:
                np.testing.assert_array_equal(x, w)
            else:
                np.testing.assert_allclose(x, w, rtol=tolerance, atol=tolerance)
    return got


def f32(values) -> np.ndarray:
    return np.array(values, np.float32)


def rows(*shape, dtype=np.float32) -> np.ndarray:
    return RNG.normal(size=shape).astype(dtype)


def mask(*shape, share=0.6) -> np.ndarray:
    return RNG.random(shape) < share


EDGE = f32([[0.5, NAN, INF, -INF, 0.4999, 0.5001]])
ON = np.ones((1, 6), bool)


@pytest.mark.parametrize("opset", OPSETS)
def test_exit_and_keep(opset):
    leave = dict(threshold=0.5, name="e", criterion="probe")
    a, b, h = rows(1, 6, 4), rows(1, 6, 4), rows(1, 6, 3)
    (y,) = check("Exit", [a, b, EDGE, h, ON], leave, opset)
    assert (y == a).all(-1).tolist() == [[True, False, True, False, False, True]]
    check("Exit", [rows(2, 5, 4), rows(2, 5, 4), rows(2, 5), rows(2, 5, 3), mask(2, 5)], leave, opset)
    check("Exit", [rows(3, 2), rows(3, 2), rows(3), rows(3, 1), mask(3)], leave, opset)  # a classifier: [batch, classes]
    for active in (mask(2, 5), np.zeros((2, 5), bool), np.ones((2, 5), bool)):
        h, f = rows(2, 5, 4), rows(2, 5, 4)
        f[~active] = NAN  # must not be read
        assert np.isfinite(check("Keep", [active, h, f], {}, opset)[0]).all()


@pytest.mark.parametrize("opset", OPSETS)
def test_route_threshold(opset):
    (y,) = check("RouteThreshold", [EDGE, ON], {"theta": 0.5}, opset)
    assert y.tolist() == [[False, False, True, False, False, True]]  # strict
    for active in (mask(3, 7), np.zeros((3, 7), bool)):
        check("RouteThreshold", [rows(3, 7), active], {"theta": -0.25}, opset)
    assert not check("RouteThreshold", [f32([[INF, 1e30]]), ON[:, :2]], {"theta": INF}, opset)[0].any()


@pytest.mark.parametrize("opset", OPSETS)
def test_route_top_k(opset):
    ties = f32([[1, 2, 2, 2, 0, 2], [0, 0, 0, 0, 0, 0]])
    (y,) = check("RouteTopK", [ties, np.ones((2, 6), bool)], {"capacity": 0.5}, opset)
    assert y.tolist() == [[False, True, True, True, False, False], [True, True, True, False, False, False]]
    # Special values: NaN and -inf tie with each other at the bottom, still before inactive rows.
    odd = f32([[INF, NAN, -INF, 5, NAN, -INF]])
    active = np.array([[False, True, True, False, True, True]])
    (y,) = check("RouteTopK", [odd, active], {"capacity": 0.5}, opset)
    assert y.tolist() == [[False, True, True, False, True, False]]
    for capacity, length, k in ((1e-6, 9, 1), (1.0, 9, 9), (2 / 3, 3, 2), (1 / 3, 9, 3), (0.7, 10, 7), (0.29, 100, 29), (0.5, 1, 1)):
        (y,) = check("RouteTopK", [rows(2, length), np.ones((2, length), bool)], {"capacity": capacity}, opset)
        assert y.sum(-1).tolist() == [k, k]
    assert not check("RouteTopK", [rows(2, 5), np.zeros((2, 5), bool)], {"capacity": 0.5}, opset)[0].any()
    for _ in range(3):  # few values, so many ties; few active rows, so k may exceed them
        score, active = RNG.integers(-2, 3, size=(4, 13)).astype(np.float32), mask(4, 13, share=0.4)
        (y,) = check("RouteTopK", [score, active], {"capacity": 0.4}, opset)
        assert (y.sum(-1) == np.minimum(active.sum(-1), 5)).all() and not (y & ~active).any()


@pytest.mark.parametrize("opset", OPSETS)
def test_route_token_choice(opset):
    scores = f32([[1, 3, 3], [NAN, 1, 2], [NAN, NAN, NAN], [-INF, -INF, -INF], [INF, INF, 0], [NAN, -INF, NAN]])
    chosen = [1, 2, 0, 0, 0, 0]
    for depth in range(3):
        y, last = check("RouteTokenChoice", [scores, np.int64(depth)], {}, opset)
        assert y.tolist() == [e >= depth for e in chosen] and last.tolist() == [e == depth for e in chosen]
        check("RouteTokenChoice", [rows(2, 6, 3), np.int64(depth)], {}, opset)
    check("RouteTokenChoice", [rows(2, 6, 1), np.int64(0)], {}, opset)  # one depth


@pytest.mark.parametrize("opset", OPSETS)
def test_gates(opset):
    for active in (mask(2, 5), np.zeros((2, 5), bool)):
        gate, h, f = rows(2, 5), rows(2, 5, 4), rows(2, 5, 4)
        gate[~active], f[~active] = NAN, INF
        assert np.isfinite(check("GateWeighted", [active, gate, h, f], {"alpha": 0.1}, opset, 1e-6)[0]).all()
        assert np.isfinite(check("GateAdditive", [active, h, f], {}, opset)[0]).all()
    wide = [mask(2, 5), rows(2, 5), rows(2, 5, 4, dtype=np.float64), rows(2, 5, 4, dtype=np.float64)]
    assert check("GateWeighted", wide, {"alpha": 0.1}, opset, 1e-12)[0].dtype == np.float64
    half = [mask(2, 5), rows(2, 5), rows(2, 5, 4, dtype=np.float16), rows(2, 5, 4, dtype=np.float16)]
    assert check("GateWeighted", half, {"alpha": 0.1}, opset, 2e-3)[0].dtype == np.float16


@pytest.mark.parametrize("opset", OPSETS)
def test_active_mask(opset):
    causal = np.tril(np.ones((5, 5), bool))
    for m in (causal, causal[None, None], mask(2, 1, 5, 5), mask(2, 3, 4, 5), mask(1, 3, 5, 5)):
        (y,) = check("ActiveMask", [m, mask(2, 5)], {}, opset)
        assert y.ndim == 4 and len(y) == 2
    assert not check("ActiveMask", [causal, np.zeros((2, 5), bool)], {}, opset)[0].any()


@pytest.mark.parametrize("opset", OPSETS)
def test_halt_threshold_and_delta(opset):
    (y,) = check("HaltThreshold", [EDGE, ON], {"theta": 0.5}, opset)
    assert y.tolist() == [[False, True, False, True, True, False]]  # not strict; NaN goes on
    check("HaltThreshold", [rows(3, 7), mask(3, 7)], {"theta": 0.1}, opset)
    assert not check("HaltThreshold", [f32([[-INF, INF]]), ~ON[:, :2]], {"theta": 0.0}, opset)[0].any()
    # |h - g| / |h| is exactly 0.5, 0.25, 0, inf, NaN, NaN
    h = f32([[6, 8], [8, 0], [1, 1], [0, 0], [0, 0], [NAN, 1]])
    g = f32([[3, 4], [8, 2], [1, 1], [1, 0], [0, 0], [1, 1]])
    (y,) = check("HaltDelta", [h, g, np.ones(6, bool)], {"epsilon": 0.5}, opset)
    assert y.tolist() == [True, False, False, True, True, True]  # strict
    assert check("HaltDelta", [h, g, np.ones(6, bool)], {"epsilon": 0.0}, opset)[0].all()
    check("HaltDelta", [rows(2, 9, 8), rows(2, 9, 8), mask(2, 9)], {"epsilon": 1.3}, opset)
    check("HaltDelta", [rows(2, 9, 8, dtype=np.float16), rows(2, 9, 8, dtype=np.float16), mask(2, 9)], {"epsilon": 1.3}, opset)


@pytest.mark.parametrize("opset", OPSETS)
def test_halt_cdf(opset):
    z = f32([0, 0.5, -3, INF, -INF, NAN])
    zero = np.zeros((1, 6), np.float32)
    y, s = check("HaltCdf", [z[None], zero, ON], {"theta": 0.5}, opset, 2e-7)
    assert y.tolist() == [[True, False, True, False, True, True]]  # cdf = q halts; NaN goes on
    np.testing.assert_allclose(s[0, :3], np.log(1 - 1 / (1 + np.exp(-z[:3].astype(float)))), rtol=1e-6)
    assert not check("HaltCdf", [z[None], zero, ~ON], {"theta": 0.5}, opset, 2e-7)[0].any()  # halted rows keep survival, even beside NaN
    check("HaltCdf", [rows(4, 9) * 3, -np.abs(rows(4, 9)), mask(4, 9)], {"theta": 1.5}, opset, 2e-6)


def test_halt_cdf_is_ouros_rule_and_does_not_saturate():
    """Four loops against the pdf in float64, q far beyond what float32 probabilities can tell from 1."""
    for q_complement, shift in ((0.5, -6), (1e-3, -2), (1e-9, 5)):
        z = (RNG.normal(size=(4, 3, 50)) * 6 + shift).astype(np.float32)
        g = 1 / (1 + np.exp(-z.astype(np.float64)))
        survival = np.cumprod(1 / (1 + np.exp(z.astype(np.float64))), axis=0)
        pdf = np.concatenate([g[:1], g[1:] * survival[:-1]])
        np.testing.assert_allclose(1 - pdf.cumsum(0), survival, atol=1e-14)
        theta, want = float(np.log1p(-q_complement) - np.log(q_complement)), survival <= q_complement
        running, s = np.ones((3, 50), bool), np.zeros((3, 50), np.float32)
        model = ort.InferenceSession(model_of("HaltCdf", [z[0], s, running], {"theta": theta}, 23).SerializeToString())
        for r in range(4):
            running, s = model.run(None, {"gate_logit": z[r], "log_survival": s, "running": running})
            np.testing.assert_array_equal(running, ~want[: r + 1].any(0))
        assert 5 < running.sum() < 145


@pytest.mark.parametrize("opset", OPSETS)
def test_halt_patience(opset):
    agrees = np.array([True, False, True, True])
    y, n = check("HaltPatience", [agrees, np.array([1, 1, 0, 1]), np.array([True, True, True, False])], {"patience": 2}, opset)
    assert y.tolist() == [False, True, True, False] and n.tolist() == [2, 0, 1, 1]
    check("HaltPatience", [mask(2, 9), RNG.integers(0, 4, (2, 9)), mask(2, 9)], {"patience": 3}, opset)
    # PABEE on a run of predictions: stops with the third equal one for patience 2.
    running, count, stopped = np.ones(1, bool), np.zeros(1, np.int64), []
    predictions = [4, 7, 7, 2, 2, 2, 2]
    for before, now in zip([None, *predictions], predictions):
        running, count = check("HaltPatience", [np.array([before == now]), count, running], {"patience": 2}, opset)
        stopped.append(not running[0])
    assert stopped.index(True) == 5 and all(stopped[5:])


def test_every_op_has_a_test_and_a_schema():
    source = Path(__file__).read_text(encoding="utf-8")
    register_schemas()
    register_schemas()
    for name, op in OPS.items():
        assert f'check("{name}"' in source and name in adaptive_oracle.RULES
        schema = onnx.defs.get_schema(name, DOMAIN)
        assert [i.name for i in schema.inputs] == [v.name for v in op.inputs] and schema.since_version == 1
        assert all(a.required for a in schema.attributes.values()) and set(schema.attributes) == {a.name for a in op.attributes}
        f = function(name, 20)
        used = {x for n in f.node for x in n.input}
        assert used >= set(f.input) - {"hidden"} and not any("" == x for x in used)  # `hidden` is a tag of Exit


def test_bodies_of_ops_inside_functions_and_subgraphs():
    """A block that is a function, and a branch of If, may hold ops: their bodies are attached to the model."""
    n, info = helper.make_node, helper.make_tensor_value_info
    opsets = [helper.make_opsetid("", 18)]
    block = helper.make_function("m", "Block", ["a", "x"], ["y"], [n("Neg", ["x"], ["z"]), n("Keep", ["a", "x", "z"], ["y"], domain=DOMAIN)], opsets)
    branch = [
        helper.make_graph([n("GateAdditive", ["a", "h", v], ["o" + v], domain=DOMAIN)], v, [], [onnx.ValueInfoProto(name="o" + v)])
        for v in ("h", "x")
    ]
    for g in branch:
        g.output[0].CopyFrom(info(g.output[0].name, TensorProto.FLOAT, None))
    nodes = [n("Block", ["a", "x"], ["h"], domain="m"), n("If", ["c"], ["y"], then_branch=branch[0], else_branch=branch[1])]
    inputs = [info("a", TensorProto.BOOL, [2]), info("x", TensorProto.FLOAT, [2, 3]), info("c", TensorProto.BOOL, [])]
    graph = helper.make_graph(nodes, "g", inputs, [info("y", TensorProto.FLOAT, None)])
    model = helper.make_model(graph, functions=[block], opset_imports=[*opsets, helper.make_opsetid("m", 1)], ir_version=10)
    attach_bodies(attach_bodies(model))
    assert sorted(f.name for f in model.functions) == ["Block", "GateAdditive", "Keep"]
    x, a = rows(2, 3), np.array([True, False])
    session = ort.InferenceSession(model.SerializeToString())
    for c in (True, False):
        h = np.where(a[:, None], -x, x)
        got = session.run(None, {"a": a, "x": x, "c": np.array(c)})[0]
        np.testing.assert_array_equal(got, np.where(a[:, None], h + (h if c else x), h))


def test_the_page_is_what_the_table_says(tmp_path):
    committed = Path(__file__).parents[2] / "docs" / "AdaptiveOnnx.md"
    assert main(["--markdown", str(tmp_path / "p.md")]) == 0
    assert (tmp_path / "p.md").read_text(encoding="utf-8") == page() == committed.read_text(encoding="utf-8"), (
        "run: python -m ee.adaptive --markdown docs/AdaptiveOnnx.md"
    )
