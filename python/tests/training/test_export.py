# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Decoders as ONNX files: ONNX Runtime computes what the torch model computes, at forced and at own depths."""

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch")
onnxruntime = pytest.importorskip("onnxruntime")

from ee import UserError  # noqa: E402
from ee.errors import run_main  # noqa: E402
from ee.models import export  # noqa: E402

from .test_against_reference import IDS, make  # noqa: E402

KINDS = {
    "exits, exact": ({"block": 5, "exits": (1, 3)}, [0.3, -0.2]),
    "exits, propagate": ({"block": 5, "exits": (1, 3), "kv_fill": "propagate"}, [0.3, -0.2]),
    "exits, skip": ({"block": 5, "exits": (1, 3), "kv_fill": "skip"}, [0.3, -0.2]),
    "gates": ({"recursions": 3, "exits": (2, 4), "loop_norm": True, "lora_rank": 2, "gates": True, "kv_fill": "propagate"}, [0.4]),
    "routers": ({"prelude": 1, "recursions": 3, "coda": 1, "router": True, "capacities": (1.0, 0.6, 0.3), "kv_fill": "skip"}, [-0.5, 0.1, 0.2]),
    "stages": ({"recursions": 3, "shared": False, "router": True, "capacities": (1.0, 0.6, 0.3), "kv_fill": "skip"}, [-0.5, 0.1, 0.2]),
}  # fmt: skip


def run(path, inputs):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(["logits", "depth"], inputs)


QUICK = ("exits, propagate",)  # routers: `test_shipped`


@pytest.mark.parametrize(
    "kind, opset", [pytest.param(*c, marks=[] if c in [(k, 20) for k in QUICK] else pytest.mark.slow) for c in [*((k, 20) for k in KINDS), ("gates", 18), ("stages", 23)]]
)  # fmt: skip
def test_onnx_runtime_equals_torch(kind, opset, tmp_path):
    changes, thresholds = KINDS[kind]
    model, _ = make(**changes)
    module = export.write(model, tmp_path / "m.onnx", thresholds, opset)
    inputs, args = {"input_ids": IDS.numpy()}, (IDS,)
    if not model.config.router:
        enabled = torch.arange(11).expand(2, 11) >= 2
        inputs["enabled"], args = enabled.numpy(), (IDS, enabled)
    with torch.no_grad():
        logits, depth = module(*args)
    got, at = run(tmp_path / "m.onnx", inputs)
    assert np.array_equal(at, depth.numpy()) and len(set(at.flatten().tolist())) > 1
    assert np.abs(got - logits.numpy()).max() < 1e-4 * np.abs(logits.numpy()).max()
    file = onnx.load(tmp_path / "m.onnx")
    weights = [t.name for t in file.graph.initializer if len(t.dims) == 2 and t.dims[0] > 11]
    assert len(weights) == len(set(weights)) and sum("q_proj" in w and "lora" not in w for w in weights) <= model.config.physical_layers


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["exits, propagate", "routers"])
def test_scripts_force_depths(kind, tmp_path):
    changes, thresholds = KINDS[kind]
    model, _ = make(**changes)
    export.write(model, tmp_path / "m.onnx", thresholds, 20, scripted=True)
    wanted = torch.randint(1, 4, (2, 11), generator=torch.Generator().manual_seed(5)).numpy()
    inputs = {"input_ids": IDS.numpy()}
    for i in range(export.decisions(model)):
        # An exit is taken where its score is high, a recursion is entered where it is.
        above = wanted > i if model.config.router else wanted == i + 1
        inputs[f"script.{i}"] = np.where(above, 9.0, -9.0).astype(np.float32)
    if not model.config.router:
        inputs["enabled"] = np.ones((2, 11), bool)
    layers = {1: 4, 2: 6, 3: 8} if model.config.router else {1: 1, 2: 3, 3: 5}
    assert np.array_equal(run(tmp_path / "m.onnx", inputs)[1], np.vectorize(layers.get)(wanted))


def test_wrong_numbers_of_thresholds():
    model, _ = make(block=5, exits=(1, 3))
    with pytest.raises(UserError, match="--thresholds has 1"):
        export.adaptive_module(model, [0.0])


@pytest.mark.parametrize("text, said", [("nan,nan", "--thresholds has nan"), ("0,1e39", "--thresholds has 1e+39"), ("", "--thresholds ''"), ("0,b", "--thresholds '0,b'")])
def test_thresholds_that_are_none(text, said, tmp_path, capsys):
    model, _ = make(block=5, exits=(1, 3))
    model.save(tmp_path / "m")
    assert run_main(export.main, [str(tmp_path / "m"), str(tmp_path / "m.onnx"), f"--thresholds={text}"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: ") and said in err and err.count("\n") == 1
    assert not (tmp_path / "m.onnx").exists()


ALWAYS = {"exits, exact": ([[-np.inf, 0], [np.inf, -np.inf], [np.inf, np.inf]], [1, 3, 5]), "gates": ([[-np.inf], [np.inf]], [2, 6])}
ALWAYS["routers"] = ([[np.inf] * 3, [-np.inf, np.inf, -np.inf], [-np.inf] * 3], [2, 4, 8])


@pytest.mark.parametrize("kind", ALWAYS)
def test_infinite_thresholds_decide_always_or_never(kind):
    model, _ = make(**KINDS[kind][0])
    for thresholds, depth in zip(*ALWAYS[kind]):
        with torch.no_grad():
            assert set(export.adaptive_module(model, thresholds)(*rows_of(model))[1].flatten().tolist()) == {depth}


def rows_of(model):
    """Ids and, where the model has exits, a mask that lets every row leave."""
    return (IDS,) if model.config.router else (IDS, torch.ones_like(IDS, dtype=torch.bool))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ALWAYS)
def test_infinite_thresholds_survive_the_file(kind, tmp_path):
    model, _ = make(**KINDS[kind][0])
    export.write(model, tmp_path / "m.onnx", ALWAYS[kind][0][1])
    got = run(tmp_path / "m.onnx", dict(zip(("input_ids", "enabled"), (x.numpy() for x in rows_of(model)))))[1]
    assert set(got.flatten().tolist()) == {ALWAYS[kind][1][1]}
