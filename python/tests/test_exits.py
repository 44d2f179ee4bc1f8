# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Exits inserted into files: ONNX Runtime against a row-by-row model in numpy, and both fills."""

import re

import numpy as np
import onnx
import pytest
from safetensors.numpy import save_file

from ee.criteria import CRITERIA
from ee.errors import UserError, run_main
from ee.exit_spec import ExitSpec, Head, load_spec, save_spec
from ee.insert_exits import add_exits, main, write_exits
from ee.numpy_llama import NumpyLlama
from ee.oracle import Oracle
from ee.tiny import tiny_exits

LAYERS, D = (1, 3), 64


def specs_for(checkpoint, criterion):
    """One exit with the model's head and one with a map and bias, at thresholds about half of the rows reach."""
    rng = np.random.default_rng(3)
    first, second = tiny_exits(checkpoint, list(LAYERS), criterion, None)
    head = Head("map", {"map": rng.normal(size=(D, D)).astype(np.float32) / 8, "bias": rng.normal(size=D).astype(np.float32) / 8})
    return [first, ExitSpec(second.layer, criterion, second.threshold, head, second.probe, "late")]


def frozen_run(model, specs, ids, leave, propagate):
    """Logits and depth [S] when row r leaves at exit j iff leave[j][r], with rows frozen at once under propagate.

    Layer by layer through the public pieces of NumpyLlama, so nothing of the ONNX graph is reused."""
    x = model.w["model.embed_tokens.weight"][ids]
    active, depth, out = np.ones(len(ids), bool), np.full(len(ids), model.config.layers), None
    logits = {}
    for i in range(model.config.layers):
        p = f"model.layers.{i}."
        mid = x + model._attention(model.norm(x, p + "input_layernorm.weight"), p + "self_attn.")
        n = model.norm(mid, p + "post_attention_layernorm.weight")
        gate = model._linear(p + "mlp.gate_proj", n)
        y = mid + model._linear(p + "mlp.down_proj", gate / (1 + np.exp(-gate)) * model._linear(p + "mlp.up_proj", n))
        x = np.where(active[:, None], y, x) if propagate else y
        for j, s in enumerate(specs):
            if s.layer == i + 1:
                logits[s.layer] = model.exit_logits(s, x)
                gone = leave[j] & (depth == model.config.layers)
                depth[gone] = s.layer
                active &= ~gone
    out = model.head(x)
    for s in specs:
        out = np.where((depth == s.layer)[:, None], logits[s.layer], out)
    return out, depth


@pytest.mark.parametrize("fill", ["exact", "propagate"])
def test_scripted_decisions(folder, checkpoint, fill, tmp_path):
    specs, rng, model = specs_for(checkpoint, "max_prob"), np.random.default_rng(4), NumpyLlama(checkpoint)
    write_exits(folder / "model.nocache.onnx", tmp_path / "s.onnx", specs, fill, scripted=True, exit_depth=True)
    ids, leave = rng.integers(0, 320, (2, 21)), rng.random((2, 2, 21)) < 0.4
    feeds = {f"script.{s.label}": np.where(leave[j], np.inf, -np.inf).astype(np.float32) for j, s in enumerate(specs)}
    enabled = rng.random((2, 21)) < 0.8
    got = Oracle(tmp_path / "s.onnx").run(ids, enabled=enabled, **feeds)
    for b in range(2):
        want, depth = frozen_run(model, specs, ids[b], leave[:, b] & enabled[b], fill == "propagate")
        assert set(depth) == {1, 3, 4}
        np.testing.assert_array_equal(got["exit_depth"][b], depth)
        np.testing.assert_allclose(got["logits"][b], want, rtol=0, atol=2e-4)
    # Nobody may leave: the full model, bit for bit.
    full = Oracle(folder / "model.nocache.onnx").run(ids)["logits"]
    np.testing.assert_array_equal(Oracle(tmp_path / "s.onnx").run(ids, **feeds)["logits"], full)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_real_criteria(folder, checkpoint, criterion, tmp_path):
    specs, model = specs_for(checkpoint, criterion), NumpyLlama(checkpoint)
    for fill in ("exact", "propagate"):
        for name, out in (("model.onnx", "kv.onnx"), ("model.nocache.onnx", "whole.onnx")):
            write_exits(folder / name, tmp_path / out, specs, fill, exit_depth=True)
        whole, cached = Oracle(tmp_path / "whole.onnx"), Oracle(tmp_path / "kv.onnx")
        ids = np.random.default_rng(5).integers(0, 320, (1, 40))
        got = whole.run(ids, enabled=np.ones((1, 40), bool))
        if fill == "exact":
            states = model.states(ids[0])
            scores = np.array([model.score(s, states) for s in specs])
            theta = np.array([[s.threshold] for s in specs])
            near = (np.abs(scores - theta) < 1e-3).any(0)
            want, depth = frozen_run(model, specs, ids[0], scores >= theta, False)
            assert set(depth) == {1, 3, 4} and near.sum() < 3
            np.testing.assert_array_equal(got["exit_depth"][0, ~near], depth[~near])
            np.testing.assert_allclose(got["logits"][0, ~near], want[~near], rtol=0, atol=2e-4)
        a, b = whole.generate([3, 1, 4, 1, 5], 24), cached.generate([3, 1, 4, 1, 5], 24)
        assert a.ids == b.ids and a.exit_depth == b.exit_depth
        assert a.exit_depth[0] == 4 and min(a.exit_depth) < 4  # prompt rows run at full depth
        np.testing.assert_allclose(a.logits, b.logits, rtol=0, atol=2e-4)
        assert cached.generate([3, 1, 4, 1, 5], 24, exits=False).exit_depth == [4] * 24


def test_exact_leaves_every_cache_row_as_in_the_full_model(folder, checkpoint, tmp_path):
    specs, ids = specs_for(checkpoint, "max_prob"), np.random.default_rng(6).integers(0, 320, (1, 16))
    full = Oracle(folder / "model.onnx").run(ids)
    differs = {}
    for fill in ("exact", "propagate"):
        write_exits(folder / "model.onnx", tmp_path / "m.onnx", specs, fill)
        got = Oracle(tmp_path / "m.onnx").run(ids, enabled=np.ones((1, 16), bool))
        differs[fill] = [n for n in full if n.startswith("present") and not np.array_equal(full[n], got[n])]
        assert not np.array_equal(full["logits"], got["logits"])
    assert not differs["exact"]
    # The layer right above the first exit makes K,V from the tapped state either way; later ones see frozen rows.
    assert {n.split(".")[1] for n in differs["propagate"]} == {"2", "3"}


def test_file_form(folder, checkpoint, tmp_path):
    out = tmp_path / "elsewhere" / "m.onnx"
    out.parent.mkdir()
    write_exits(folder / "model.onnx", out, specs_for(checkpoint, "probe"), "propagate")
    assert sorted(p.name for p in out.parent.iterdir()) == ["m.onnx", "model.onnx.data"]
    model = onnx.load(out, load_external_data=False)
    exits = [n for n in model.graph.node if n.op_type == "Exit"]
    names = [{a.name: onnx.helper.get_attribute_value(a) for a in n.attribute}["name"] for n in exits]
    assert sorted(names) == [b"e1", b"late"]
    shallow = next(n for n, name in zip(exits, names) if name == b"e1")
    assert shallow.output[0] == "logits" and shallow.input[1] == exits[1 - exits.index(shallow)].output[0]
    assert [n.op_type for n in model.graph.node].count("Keep") == 3
    assert len({n.name for n in model.graph.node}) == len(model.graph.node)
    with pytest.raises(UserError, match="exits already"):
        add_exits(model, [ExitSpec(1)])


BAD = [
    ([], "no exit"),
    ([ExitSpec(0)], "outside 1..3"),
    ([ExitSpec(4)], "outside 1..3"),
    ([ExitSpec(1), ExitSpec(1, name="x")], "both at layer 1"),
    ([ExitSpec(1, name="x"), ExitSpec(2, name="x")], "same name"),
    ([ExitSpec(1, "vibes")], "criterion 'vibes'"),
    ([ExitSpec(1, threshold=float("nan"))], "not a finite"),
    ([ExitSpec(1, "probe")], "needs a probe"),
    ([ExitSpec(1, "probe", probe=(np.ones(3), 0.0))], "3 entries"),
    ([ExitSpec(1, head=Head("map"))], "needs 'map'"),
    ([ExitSpec(1, head=Head("map", {"map": np.ones((2, 2))}))], "shape"),
    ([ExitSpec(1, head=Head("reuse", {"bias": np.ones(D)}))], "does not take 'bias'"),
    ([ExitSpec(1, head=Head("oracle"))], "head kind"),
    ([ExitSpec(True)], "layer True is not an integer"),
    ([ExitSpec(1.5)], "layer 1.5 is not an integer"),
    ([ExitSpec(1, threshold=True)], "threshold True is not a finite"),
    ([ExitSpec(1, threshold=1e39)], "threshold 1e[+]39 is not a finite float32"),
    ([ExitSpec(1, threshold="high")], "threshold 'high' is not a finite"),
    ([ExitSpec(1, name="two\nlines")], "letters, digits"),
    ([ExitSpec(1, head=Head("lowrank", {"down": np.float32(1), "up": np.ones((1, D))}))], r"'down' has shape \[\], expected \[64, rank\]"),
    ([ExitSpec(1, head=Head("lowrank", {"down": np.ones((D, 0)), "up": np.ones((0, D))}))], "'down' has shape"),
]


@pytest.mark.parametrize("specs, said", BAD, ids=[s for _, s in BAD])
def test_bad_specs(specs, said, folder):
    with pytest.raises(UserError, match=said):
        add_exits(onnx.load(folder / "model.onnx", load_external_data=False), specs)


def test_spec_file_round_trip(folder, checkpoint, tmp_path):
    rng = np.random.default_rng(7)
    low = {"down": rng.normal(size=(D, 4)), "up": rng.normal(size=(4, D)), "bias": rng.normal(size=D)}
    head = Head("lowrank", {k: v.astype(np.float16).astype(np.float32) for k, v in low.items()})
    specs = [*specs_for(checkpoint, "probe"), ExitSpec(2, "margin", -0.25, head)]
    specs[1] = ExitSpec(3, "probe", 1.5, Head("map", {"map": np.eye(D, dtype=np.float32)}), specs[1].probe, "late")
    save_spec(tmp_path / "s.toml", specs, "propagate", "two lines\nof comment")
    back, fill = load_spec(tmp_path / "s.toml")
    assert fill == "propagate" and [(s.label, s.layer, s.criterion, s.threshold, s.head.kind) for s in back] == [
        (s.label, s.layer, s.criterion, s.threshold, s.head.kind) for s in specs
    ]
    for a, b in zip(back, specs):
        assert a.head.tensors.keys() == b.head.tensors.keys()
        for k in a.head.tensors:
            np.testing.assert_array_equal(a.head.tensors[k], b.head.tensors[k])
        if b.probe is not None:
            np.testing.assert_array_equal(a.probe[0], np.asarray(b.probe[0], np.float32).reshape(-1))
    assert main([str(folder / "model.onnx"), str(tmp_path / "s.toml"), str(tmp_path / "out.onnx"), "--exit-depth"]) == 0
    assert "exit_depth" in Oracle(tmp_path / "out.onnx").run(np.array([[1, 2]]))


EXIT = "version = 1\n[[exit]]\nlayer = 1\n"
TOML = [
    ("x", "not valid TOML"),
    ("a = " + "[" * 5000, "not valid TOML"),
    ("version = 2", "version is 2"),
    ("version = true", "version is True"),
    ("version = 1", r"no \[\[exit\]\]"),
    ("version = 1\nexit = 5", r"no \[\[exit\]\]"),
    ("version = 1\nexit = [5]", r"no \[\[exit\]\]"),
    ("version = 1\n[exit]\nlayer = 1", r"no \[\[exit\]\]"),
    ("foo = 3\n" + EXIT, "unknown key 'foo'; accepted: version, exit"),
    ("version = 1\n[[exit]]", "exit 0: needs 'layer'"),
    ('version = 1\n[[exit]]\nlayer = "1"', "not an integer"),
    ("version = 1\n[[exit]]\nlayer = true", "layer = True is not an integer"),
    (EXIT + "treshold = 2", "unknown key 'treshold'"),
    (EXIT + 'threshold = "2"', "not a finite float32 number"),
    (EXIT + "threshold = true", "threshold = True is not"),
    (EXIT + "threshold = 1e39", r"threshold = 1e\+39 is not"),
    (EXIT + "threshold = nan", "threshold = nan is not"),
    (EXIT + "name = 5", "exit 0: name = 5 is not a string"),
    (EXIT + 'name = ""', "name '' must be 1 to 64"),
    (EXIT + 'name = "a\\nb"', "letters, digits"),
    (EXIT + "criterion = 3", "criterion = 3 is not a string"),
    (EXIT + 'fill = ["exact"]', r"fill = \['exact'\] is not a string"),
    (EXIT + "head = 3", "exit 0 head = 3 is not a table"),
    (EXIT + 'name = "a"\nhead = "map"', "exit 'a' head = 'map' is not a table"),
    (EXIT + "head = {}", "head: needs 'kind'"),
    (EXIT + 'head = { kind = "oracle" }', "kind 'oracle' is not one of reuse, map, lowrank"),
    (EXIT + 'head = { kind = "reuse", foo = 1 }', "head: unknown key 'foo'; accepted: kind"),
    (EXIT + 'head = { kind = "map", weights = "w.safetensors" }', "needs 'map'"),
    (EXIT + 'head = { kind = "map", weights = "w.safetensors", map = ["a"] }', r"map = \['a'\] is not a string"),
    (EXIT + 'head = { kind = "map", map = "m" }', "head: needs 'weights'"),
    (EXIT + 'head = { kind = "map", weights = "../w.safetensors", map = "m" }', "plain file name"),
    (EXIT + 'head = { kind = "map", weights = "..", map = "m" }', "plain file name"),
    (EXIT + 'head = { kind = "map", weights = "w.safetensors", map = "m" }', "not in w.safetensors"),
    (EXIT + 'head = { kind = "map", weights = "gone.safetensors", map = "m" }', "^error: [^:]*gone.safetensors: no such file"),
    (EXIT + 'head = { kind = "map", weights = "s.toml", map = "m" }', "s.toml is not a readable safetensors file"),
    (EXIT + 'head = { kind = "map", weights = "eight.safetensors", map = "a" }', "eight.safetensors is not a readable safetensors file"),
    (EXIT + 'head = { kind = "map", weights = "w.safetensors", map = "ints" }', "tensor 'ints' has type int32"),
    (EXIT + 'head = { kind = "lowrank", weights = "w.safetensors", down = "scalar", up = "other" }', "'down' has shape"),
    (EXIT + "probe = 3", "probe = 3 is not a table"),
    (EXIT + 'probe = { weights = "w.safetensors", weight = "wide", bias = "wide" }', r"probe: bias has shape \[64\], expected \[1\]"),
    (EXIT + 'probe = { weights = "w.safetensors", weight = "wide", bias = "other", foo = 1 }', "unknown key 'foo'"),
    ('version = 1\n[[exit]]\nlayer = 1\nfill = "exact"\n[[exit]]\nlayer = 2\nfill = "propagate"', "disagree about fill"),
    (EXIT + 'fill = "magic"', "fill 'magic'"),
]


@pytest.mark.parametrize("text, said", TOML, ids=[f"{i}-{s}" for i, (_, s) in enumerate(TOML)])
def test_bad_spec_files(text, said, folder, tmp_path, capsys):
    tensors = {"other": np.zeros(1, np.float32), "wide": np.zeros(D, np.float32), "scalar": np.float32(1), "ints": np.zeros((D, D), np.int32)}
    save_file({name: np.asarray(tensor) for name, tensor in tensors.items()}, tmp_path / "w.safetensors")
    (tmp_path / "s.toml").write_text(text)
    header = b'{"a":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}}'  # a type that numpy does not have
    (tmp_path / "eight.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\0")
    refused([str(folder / "model.onnx"), str(tmp_path / "s.toml"), str(tmp_path / "out.onnx")], said, capsys)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["eight.safetensors", "s.toml", "w.safetensors"]


def refused(args, said, capsys):
    assert run_main(main, args) == 1
    err = capsys.readouterr().err
    assert re.search(said, err) and err.count("\n") == 1, err


def test_output_that_is_no_file(folder, tmp_path, capsys):
    """Refused before the weights are copied beside it."""
    (tmp_path / "s.toml").write_text(EXIT)
    for out, said in ((tmp_path, "is a folder"), (tmp_path / "none" / "out.onnx", "there is no folder")):
        refused([str(folder / "model.onnx"), str(tmp_path / "s.toml"), str(out)], f"^error: {out}: {said}", capsys)
    assert [p.name for p in tmp_path.iterdir()] == ["s.toml"]


@pytest.mark.parametrize("name", ["model.json", "model.onnx", "model.textproto"])
def test_input_that_is_no_onnx_file(name, tmp_path, capsys):
    """Each ending has a parser of its own in the onnx package; some explain themselves over several lines."""
    (tmp_path / "s.toml").write_text(EXIT)
    (tmp_path / name).write_text('{\n  "hidden_size": 64,\n  "exits": [1, 3]\n}\n')
    refused([str(tmp_path / name), str(tmp_path / "s.toml"), str(tmp_path / "out.onnx")], f"{name} is not a readable ONNX file", capsys)
    refused([str(tmp_path / "none"), str(tmp_path / "s.toml"), str(tmp_path / "out.onnx")], "none: No such file", capsys)
