# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Bad input of every kind: exit code 1, one line on standard error that names what is wrong, nothing left behind."""

import hashlib
import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file
from tokenizers import Tokenizer

from ee.tiny import tiny_checkpoint, tiny_config, write_tiny

from .ee_tools import compile_model, cpu_levels, needs_tools, ok, run_tool, write_lists

pytestmark = needs_tools

SPEC = '''version = 1

[[exit]]
name = "e1"
layer = 1
criterion = "probe"
threshold = 0.5
fill = "exact"
head = { kind = "map", weights = "s.safetensors", map = "map", bias = "bias" }
probe = { weights = "s.safetensors", weight = "w", bias = "b" }
'''


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A folder with a model, a good spec, prompts, and an artifact with one exit."""
    root = tmp_path_factory.mktemp("bad") / "base"
    write_tiny(tiny_checkpoint(tiny_config(2, 64, 2, 1, 64, 320, context=96)), root)
    rng = np.random.default_rng(1)
    f = lambda *s: rng.normal(size=s).astype(np.float32)  # noqa: E731
    save_file({"map": f(64, 64), "bias": f(64), "w": f(64), "b": f(1), "ints": np.zeros((64, 64), np.int32), "wide": f(65, 64), "two": f(2)}, root / "s.safetensors")
    (root / "spec.toml").write_text(SPEC)
    compile_model(root / "model.onnx", root / "m.ee", f"--exits={root / 'spec.toml'}", "--cpu-levels=x86-64-v3")
    write_lists(root / "ids.txt", [[5, 6, 7], [8, 9]])
    np.save(root / "ids.npy", np.array([[5, 6, 7]]))
    return root


def tree(root: Path) -> list[str]:
    return sorted(str(p.relative_to(root)) for p in root.rglob("*"))


def check_refused(folder: Path, name: str, args, said, text: bytes | None = None):
    """Run the tool in `folder`: it must refuse in one line that holds each of `said`."""
    before, start = tree(folder), time.monotonic()
    done = run_tool(name, *args, cwd=folder, timeout=60)
    spent, err = time.monotonic() - start, done.stderr.decode("utf-8", errors="replace")
    assert done.returncode == 1, (done.returncode, err, done.stdout[:300])
    lines = err.split("\n")
    assert len(lines) == 2 and lines[1] == "" and len(lines[0]) > 10, err
    assert len(lines[0]) < 1000, "a line that no one can read"
    for word in [said] if isinstance(said, str) else said:
        assert word in err, err
    assert tree(folder) == before
    assert spent < 20


@pytest.fixture
def work(base, tmp_path):
    shutil.copytree(base, tmp_path / "w")
    return tmp_path / "w"


OUT = ("-o", "out.ee", "--quiet", "--cpu-levels=x86-64-v3")


def cases(table: dict):
    return pytest.mark.parametrize("case", list(table.values()), ids=list(table))


# --- ONNX files as bytes -----------------------------------------------------------------------------------------


def cut(fraction):
    def change(w):
        data = (w / "model.onnx").read_bytes()
        (w / "model.onnx").write_bytes(data[: int(len(data) * fraction)])

    return change


def bytes_of(data):
    return lambda w: (w / "model.onnx").write_bytes(data)


def replaced(old: bytes, new: bytes):
    """The same length, another meaning."""

    def change(w):
        data = (w / "model.onnx").read_bytes()
        assert old in data and len(old) == len(new)
        (w / "model.onnx").write_bytes(data.replace(old, new))

    return change


def edited(change_model):
    """The model changed through protobuf; external data stays where it is."""

    def change(w):
        model = onnx.load(w / "model.onnx", load_external_data=False)
        change_model(model)
        (w / "model.onnx").write_bytes(model.SerializeToString())

    return change


def folder_instead(w):
    (w / "model.onnx").unlink()
    (w / "model.onnx").mkdir()


def fifo_instead(w):
    (w / "model.onnx").unlink()
    os.mkfifo(w / "model.onnx")


FILES = {f"cut at {p}%": (cut(p / 100), "model.onnx") for p in (1, 5, 20, 40, 60, 80, 95, 99)}
FILES |= {
    "empty": (bytes_of(b""), "model.onnx"),
    "zeros": (bytes_of(bytes(4096)), "model.onnx"),
    "ones": (bytes_of(b"\xff" * 4096), "model.onnx"),
    "text": (bytes_of(b"this is no model\n"), "model.onnx"),
    "a zip": (bytes_of(b"PK\x03\x04" + bytes(500)), "model.onnx"),
    "json": (bytes_of(b'{"graph": {}}'), "model.onnx"),
    "endless varint": (bytes_of(b"\x08" + b"\xff" * 64), "model.onnx"),
    "length beyond the file": (bytes_of(b"\x3a\xff\xff\xff\xff\x7f"), "model.onnx"),
    "tail of garbage": (lambda w: (w / "model.onnx").open("ab").write(b"\xff" * 40), "model.onnx"),
    "a folder": (folder_instead, "model.onnx"),
    "a fifo": (fifo_instead, "model.onnx"),
    "missing": (lambda w: (w / "model.onnx").unlink(), "model.onnx"),
    "no graph": (edited(lambda m: m.ClearField("graph")), "model.onnx"),
    "no nodes": (edited(lambda m: m.graph.ClearField("node")), ""),
    "no inputs": (edited(lambda m: m.graph.ClearField("input")), ""),
    "no outputs": (edited(lambda m: m.graph.ClearField("output")), ""),
    "no initialisers": (edited(lambda m: m.graph.ClearField("initializer")), ""),
    "no opset": (edited(lambda m: m.ClearField("opset_import")), "opset"),
    "opset of the future": (edited(lambda m: setattr(m.opset_import[0], "version", 9999)), "9999"),
    "opset below zero": (edited(lambda m: setattr(m.opset_import[0], "version", -3)), "opset"),
    "ir of the future": (edited(lambda m: setattr(m, "ir_version", 9999)), "9999"),
}


@cases(FILES)
def test_onnx_file(work, case):
    change, said = case
    change(work)
    check_refused(work, "ee-opt", ["model.onnx", *OUT], said)


@pytest.mark.parametrize("seed", range(24))
def test_flipped_bytes(work, seed):
    """Some flips leave a model that compiles (a name, say). What does not compile is refused like all else."""
    rng, data = np.random.default_rng(seed), bytearray((work / "model.onnx").read_bytes())
    for at in rng.integers(0, len(data), 4 if seed % 2 else 1):
        data[at] ^= 1 << rng.integers(0, 8)
    (work / "model.onnx").write_bytes(bytes(data))
    if run_tool("ee-opt", "model.onnx", "--emit=model", "--quiet", "-o", "-", cwd=work).returncode != 0:
        check_refused(work, "ee-opt", ["model.onnx", "--emit=model", "--quiet", "-o", "-"], "")


# --- nodes and types ---------------------------------------------------------------------------------------------


def first(model, op_type):
    return next(n for n in model.graph.node if n.op_type == op_type)


def renamed_op(old, new, domain=None):
    def change(model):
        node = first(model, old)
        node.op_type = new
        if domain is not None:
            node.domain = domain
            if domain not in [o.domain for o in model.opset_import]:
                model.opset_import.append(helper.make_opsetid(domain, 1))

    return edited(change)


def inserted(op_type, before="MatMul", **attributes):
    """A node between the first `before` and what it reads."""

    def change(model):
        i, node = next((i, n) for i, n in enumerate(model.graph.node) if n.op_type == before)
        model.graph.node.insert(i, helper.make_node(op_type, [node.input[0]], ["odd"], name="the_odd_one", **attributes))
        model.graph.node[i + 1].input[0] = "odd"

    return edited(change)


def weight_type(kind):
    def change(model):
        tensor = next(t for t in model.graph.initializer if len(t.dims) == 2)
        tensor.data_type = kind

    return edited(change)


def input_type(kind):
    def change(model):
        model.graph.input[0].type.tensor_type.elem_type = kind

    return edited(change)


def weight_shape(*dims):
    def change(model):
        tensor = next(t for t in model.graph.initializer if len(t.dims) == 2)
        del tensor.dims[:]
        tensor.dims.extend(dims)

    return edited(change)


def lost_input(model):
    model.graph.node[len(model.graph.node) // 2].input[0] = "from_nowhere"


def cycle(model):
    model.graph.node[3].input[0] = model.graph.node[-1].output[0]


def twice(model):
    model.graph.node.append(model.graph.node[-1])


def extra_input(model):
    model.graph.input.append(helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", 3]))
    node = first(model, "RMSNormalization")
    i = list(model.graph.node).index(node)
    model.graph.node.insert(i, helper.make_node("ReduceMean", ["pixels"], ["odd.mean"], keepdims=0))
    model.graph.node.insert(i + 1, helper.make_node("Add", [node.input[0], "odd.mean"], ["odd.sum"]))
    model.graph.node[i + 2].input[0] = "odd.sum"


GRAPHS = {
    "op without a lowering: Det": (inserted("Det"), ""),
    "op without a lowering: NonZero": (inserted("NonZero"), ""),
    "strings as weights": (weight_type(TensorProto.STRING), ""),
    "weights of no type": (weight_type(0), ""),
    "weights of an unknown type": (weight_type(99), ""),
    "integers as weights": (weight_type(TensorProto.INT32), ""),
    "doubles as weights": (weight_type(TensorProto.DOUBLE), ""),
    "ids as float": (input_type(TensorProto.FLOAT), ""),
    "ids as bool": (input_type(TensorProto.BOOL), ""),
    "shape below zero": (weight_shape(-320, 64), ""),
    "shape too large": (weight_shape(1 << 40, 1 << 40), ""),
    "shape of another size": (weight_shape(320, 65), ""),
    "value from nowhere": (edited(lost_input), "from_nowhere"),
    "a cycle": (edited(cycle), ""),
    "a value made twice": (edited(twice), ""),
}


@cases(GRAPHS)
def test_graph(work, case):
    change, said = case
    change(work)
    check_refused(work, "ee-opt", ["model.onnx", *OUT], said)


# Well-formed, but what one row computes depends on the others: a function, not a decoder.
OVER_POSITIONS = {
    "softmax": (inserted("Softmax", axis=1), "the_odd_one"),
    "norm": (inserted("LpNormalization", axis=1), "the_odd_one"),
}


@cases(OVER_POSITIONS)
def test_no_decoder(work, case):
    change, said = case
    change(work)
    check_refused(work, "ee-opt", ["model.onnx", *OUT, "--kind=decoder"], said)
    done = run_tool("ee-opt", "model.onnx", *OUT, cwd=work, timeout=60)
    assert done.returncode == 0 and b"the_odd_one" in done.stderr and b"ee-run run" in done.stderr, done.stderr


# --- external data -----------------------------------------------------------------------------------------------

DATA = "model.onnx.data"


def external(key, value, index=0):
    def change(model):
        tensor = [t for t in model.graph.initializer if t.external_data][index]
        for entry in tensor.external_data:
            if entry.key == key:
                entry.value = value
                return
        tensor.external_data.append(onnx.StringStringEntryProto(key=key, value=value))

    return edited(change)


def outside(w, location):
    """The data lies beside the model's folder."""
    shutil.copy(w / DATA, w.parent / "outside.data")
    external("location", location or str(w.parent / "outside.data"))(w)


def linked(make):
    def change(w):
        shutil.move(w / DATA, w.parent / "outside.data")
        make(w.parent / "outside.data", w / DATA)

    return change


def fifo_data(w):
    (w / DATA).unlink()
    os.mkfifo(w / DATA)


def folder_data(w):
    (w / DATA).unlink()
    (w / DATA).mkdir()


def short_data(keep):
    return lambda w: os.truncate(w / DATA, int((w / DATA).stat().st_size * keep))


EXTERNAL = {
    "parent folder": (lambda w: outside(w, "../outside.data"), "outside.data"),
    "through a folder and back": (lambda w: ((w / "sub").mkdir(), outside(w, "sub/../../outside.data")), "outside.data"),
    "absolute path": (lambda w: outside(w, None), "outside.data"),
    "/dev/zero": (external("location", "/dev/zero"), "/dev/zero"),
    "empty location": (external("location", ""), ""),
    "a dot": (external("location", "."), ""),
    "name with a newline": (external("location", "two\nlines"), "lines"),
    "very long name": (external("location", "x" * 300), ""),
    "symbolic link": (linked(lambda a, b: b.symlink_to(a)), DATA),
    "hard link": (linked(lambda a, b: os.link(a, b)), DATA),
    "fifo": (fifo_data, DATA),
    "folder": (folder_data, DATA),
    "missing": (lambda w: (w / DATA).unlink(), DATA),
    "empty": (short_data(0), DATA),
    "half": (short_data(0.5), DATA),
    "nearly whole": (short_data(0.999), DATA),
    "offset beyond the end": (external("offset", "999999999"), ""),
    "offset below zero": (external("offset", "-4096"), "-4096"),
    "offset beyond 64 bits": (external("offset", "99999999999999999999999"), ""),
    "offset of words": (external("offset", "many"), "many"),
    "length below zero": (external("length", "-1"), "-1"),
    "length of another tensor": (external("length", "4"), ""),
    "length beyond 64 bits": (external("length", "99999999999999999999999"), ""),
}


@cases(EXTERNAL)
def test_external_data(work, case):
    change, said = case
    change(work)
    check_refused(work, "ee-opt", ["model.onnx", *OUT], said)


# --- exit specs --------------------------------------------------------------------------------------------------


def spec(old, new):
    return lambda w: (w / "spec.toml").write_text(swap(SPEC, old, new))


def swap(text, old, new):
    assert old in text
    return text.replace(old, new)


def spec_weights(data):
    return lambda w: (w / "s.safetensors").write_bytes(data)


TWO = SPEC.replace("version = 1\n", "")
SPECS = {
    "not TOML": (spec("version = 1", "version = "), "spec.toml"),
    "not text": (lambda w: (w / "spec.toml").write_bytes(b"\xff\xfe\x00"), "spec.toml"),
    "missing": (lambda w: (w / "spec.toml").unlink(), "spec.toml"),
    "empty": (lambda w: (w / "spec.toml").write_text(""), "version"),
    "version 2": (spec("version = 1", "version = 2"), "version"),
    "version as text": (spec("version = 1", 'version = "1"'), "version"),
    "no version": (spec("version = 1", ""), "version"),
    "no exits": (lambda w: (w / "spec.toml").write_text("version = 1\n"), "exit"),
    "exit as a number": (lambda w: (w / "spec.toml").write_text("version = 1\nexit = 3\n"), "exit"),
    "unknown key at the top": (spec("version = 1", "version = 1\nmagic = 2"), "magic"),
    "unknown key in an exit": (spec("layer = 1", "layer = 1\nmagic = 2"), "magic"),
    "unknown key in a head": (spec('map = "map"', 'map = "map", magic = 1'), "magic"),
    "unknown key in a probe": (spec('weight = "w"', 'weight = "w", magic = 1'), "magic"),
    "layer 0": (spec("layer = 1", "layer = 0"), ["e1", "layer"]),
    "layer below zero": (spec("layer = 1", "layer = -1"), ["e1", "layer"]),
    "last layer": (spec("layer = 1", "layer = 2"), ["e1", "layer"]),
    "layer beyond": (spec("layer = 1", "layer = 9223372036854775807"), ["e1", "layer"]),
    "layer as text": (spec("layer = 1", 'layer = "1"'), "layer"),
    "layer 1.5": (spec("layer = 1", "layer = 1.5"), "layer"),
    "no layer": (spec("layer = 1\n", ""), "layer"),
    "unknown criterion": (spec('"probe"', '"mood"'), ["e1", "criterion"]),
    "criterion as a number": (spec('"probe"', "3"), "criterion"),
    "threshold as text": (spec("threshold = 0.5", 'threshold = "high"'), ["e1", "threshold"]),
    "threshold nan": (spec("threshold = 0.5", "threshold = nan"), ["e1", "threshold"]),
    "threshold inf": (spec("threshold = 0.5", "threshold = inf"), ["e1", "threshold"]),
    "unknown fill": (spec('"exact"', '"later"'), ["e1", "fill"]),
    "empty name": (spec('name = "e1"', 'name = ""'), "name"),
    "name with a slash": (spec('name = "e1"', 'name = "a/b"'), "name"),
    "long name": (spec('name = "e1"', f'name = "{"x" * 200}"'), "name"),
    "two at one layer": (lambda w: (w / "spec.toml").write_text(SPEC + TWO.replace("e1", "e2")), "layer 1"),
    "unknown head": (spec('kind = "map"', 'kind = "hydra"'), ["e1", "kind"]),
    "head without map": (spec('map = "map", ', ""), ["e1", "map"]),
    "head without weights": (spec('weights = "s.safetensors", map', "map"), ["e1", "weights"]),
    "head as text": (spec('head = { kind = "map", weights = "s.safetensors", map = "map", bias = "bias" }', 'head = "map"'), ["e1", "head"]),
    "no probe": (spec("probe = {", "# {"), ["e1", "probe"]),
    "probe without weight": (spec('weight = "w", ', ""), ["e1", "weight"]),
    "probe without bias": (spec(', bias = "b"', ""), ["e1", "bias"]),
    "tensor that is not there": (spec('weight = "w"', 'weight = "gone"'), ["e1", "gone"]),
    "map of another shape": (spec('map = "map"', 'map = "wide"'), ["spec.toml", '"e1"', '"wide"', "[64, 64]", "[65, 64]"]),
    "map of integers": (spec('map = "map"', 'map = "ints"'), ["spec.toml", '"e1"', '"ints"', "f16, bf16, f32 or f64"]),
    "map of rank 1": (spec('map = "map"', 'map = "bias"'), ["spec.toml", '"e1"', '"bias"', "[64, 64]", "[64]"]),
    "bias of another shape": (spec('bias = "bias"', 'bias = "two"'), ["spec.toml", '"e1"', '"two"', "[64]", "[2]"]),
    "probe of another shape": (spec('weight = "w"', 'weight = "map"'), ["spec.toml", '"e1"', '"map"', "[64]", "[64, 64]"]),
    "probe of integers": (spec('weight = "w"', 'weight = "ints"'), ["spec.toml", '"e1"', '"ints"', "f16, bf16, f32 or f64"]),
    "probe bias of another shape": (spec('bias = "b"', 'bias = "two"'), ["spec.toml", '"e1"', '"two"', "[1]", "[2]"]),
    "weights that are not there": (lambda w: (w / "s.safetensors").unlink(), ["spec.toml", '"e1"', "s.safetensors"]),
    "weights that are no safetensors": (spec_weights(b"no"), ["spec.toml", '"e1"', "s.safetensors"]),
    "probe weights that are not there": (spec('probe = { weights = "s.', 'probe = { weights = "t.'), ["spec.toml", '"e1"', "probe weight", "t.safetensors"]),
    "weights in another folder": (spec("s.safetensors", "../s.safetensors"), ["e1", "weights"]),
}


@cases(SPECS)
def test_exit_spec(work, case):
    change, said = case
    change(work)
    check_refused(work, "ee-opt", ["model.onnx", *OUT, "--exits=spec.toml"], said)


# --- options of ee-opt and what lies around ------------------------------------------------------------------------


def wrote(name, text):
    return lambda w: (w / name).write_text(text)


def nothing(w):
    pass


def put(path, text):
    def change(w):
        (w / path).parent.mkdir(parents=True, exist_ok=True)
        (w / path).write_text(text)

    return change


COMPILE = {
    "unknown flag": (nothing, ["model.onnx", *OUT, "--frobnicate"], "frobnicate"),
    "unknown weights": (nothing, ["model.onnx", *OUT, "--weights=q3"], "q3"),
    "empty weights": (nothing, ["model.onnx", *OUT, "--weights="], "weights"),
    "unknown head weights": (nothing, ["model.onnx", *OUT, "--head-weights=fp4"], "fp4"),
    "unknown level": (nothing, ["model.onnx", "-o", "out.ee", "--quiet", "--cpu-levels=mmx"], "mmx"),
    "one level unknown": (nothing, ["model.onnx", "-o", "out.ee", "--quiet", "--cpu-levels=x86-64-v3,mmx"], "mmx"),
    "unknown lowering": (nothing, ["model.onnx", *OUT, "--exits=spec.toml", "--exit-lowering=psychic"], "psychic"),
    "lowering that lowers nothing": (nothing, ["model.onnx", *OUT, "--exits=spec.toml", "--exit-lowering=cse"], ["'cse'", "1 exit point"]),
    "max position 0": (nothing, ["model.onnx", *OUT, "--max-position=0"], "--max-position"),
    "max position below zero": (nothing, ["model.onnx", *OUT, "--max-position=-5"], "--max-position"),
    "max position too large": (nothing, ["model.onnx", *OUT, "--max-position=1048577"], "1048576"),
    "max position in the config as text": (wrote("config.json", '{"max_position_embeddings": "many"}'), ["model.onnx", *OUT], "max_position_embeddings"),
    "max position in the config 0": (wrote("config.json", '{"max_position_embeddings": 0}'), ["model.onnx", *OUT], "max_position_embeddings"),
    "unknown stage": (nothing, ["model.onnx", *OUT, "--emit=poem"], "poem"),
    "plugin that is not there": (nothing, ["model.onnx", *OUT, "--load-pass-plugin=none.so"], "none.so"),
    "plugin that is no library": (wrote("p.so", "no"), ["model.onnx", *OUT, "--load-pass-plugin=p.so"], "p.so"),
    "no model": (nothing, [*OUT], ""),
    "no output": (nothing, ["model.onnx", "--quiet"], "-o"),
    "model of another kind": (wrote("x.txt", "x"), ["x.txt", *OUT], "x.txt"),
    "tokenizer that is not there": (nothing, ["model.onnx", *OUT, "--tokenizer=none.json"], "none.json"),
    "tokenizer that is no JSON": (wrote("tokenizer.json", "{"), ["model.onnx", *OUT], "tokenizer.json"),
    "tokenizer without model": (wrote("tokenizer.json", "{}"), ["model.onnx", *OUT], "tokenizer.json"),
    "tokenizer that is a list": (wrote("tokenizer.json", "[]"), ["model.onnx", *OUT], "tokenizer.json"),
    "generation_config that is no JSON": (wrote("generation_config.json", "eos = 2"), ["model.onnx", *OUT], "generation_config.json"),
    "eos in the config as text": (wrote("generation_config.json", '{"eos_token_id": "two"}'), ["model.onnx", *OUT], "eos_token_id"),
    "eos in the config below zero": (wrote("generation_config.json", '{"eos_token_id": -2}'), ["model.onnx", *OUT], "eos_token_id"),
    "output is a folder of something else": (put("out.ee/mine.txt", "keep"), ["model.onnx", *OUT], "out.ee"),
    "output is a file": (wrote("out.ee", "keep"), ["model.onnx", *OUT], "out.ee"),
    "output in a missing folder": (nothing, ["model.onnx", "-o", "none/out.ee", "--quiet"], "none/out.ee"),
    "output in a file": (wrote("file", ""), ["model.onnx", "-o", "file/out.ee", "--quiet"], "file/out.ee"),
    "text in a missing folder": (nothing, ["model.onnx", "--emit=model", "-o", "none/m.mlir", "--quiet"], "none/m.mlir"),
}


@cases(COMPILE)
def test_compile_options(work, case):
    change, args, said = case
    change(work)
    check_refused(work, "ee-opt", args, said)


REFUSED_FIRST = {
    "a folder of something else": (put("out.ee/mine.txt", "keep"), [*OUT], "out.ee"),
    "a file": (wrote("out.ee", "keep"), [*OUT], "out.ee"),
    "a missing folder": (nothing, ["-o", "none/out.ee", "--quiet"], "none/out.ee"),
    "text in a missing folder": (nothing, ["--emit=model", "-o", "none/m.mlir", "--quiet"], "none/m.mlir"),
    "text over a folder": (lambda w: (w / "sub").mkdir(), ["--emit=model", "-o", "sub", "--quiet"], "sub"),
}


@cases(REFUSED_FIRST)
def test_output_is_refused_before_anything_is_read(work, case):
    """A model that cannot be read is not even looked at."""
    change, args, said = case
    change(work)
    bytes_of(b"no model")(work)
    check_refused(work, "ee-opt", ["model.onnx", *args], said)


def test_a_failed_compile_keeps_the_old_artifact(work):
    """Nothing is replaced before all is well."""
    spec("layer = 1", "layer = 7")(work)
    before = (work / "m.ee" / "manifest.json").read_bytes()
    check_refused(work, "ee-opt", ["model.onnx", "-o", "m.ee", "--quiet", "--exits=spec.toml"], "layer")
    assert (work / "m.ee" / "manifest.json").read_bytes() == before
    ok("ee-run", "inspect", work / "m.ee", "--verify")


# --- artifacts ---------------------------------------------------------------------------------------------------

GENERATE = ["generate", "m.ee", "--ids", "ids.txt", "-n", "2"]


def manifest(change_document):
    def change(w):
        path = w / "m.ee" / "manifest.json"
        document = json.loads(path.read_text())
        change_document(document)
        path.write_text(json.dumps(document))

    return change


def set_at(*keys, to):
    def change(document):
        for key in keys[:-1]:
            document = document[key]
        assert isinstance(document, list) or keys[-1] in document
        document[keys[-1]] = to

    return manifest(change)


def drop(*keys):
    def change(document):
        for key in keys[:-1]:
            document = document[key]
        del document[keys[-1]]

    return manifest(change)


def rehashed(path, text):
    """A file of the artifact replaced, with the manifest telling the truth about it."""

    def change(w):
        (w / "m.ee" / path).write_text(text)
        entry = {"path": path, "bytes": len(text), "sha256": hashlib.sha256(text.encode()).hexdigest()}
        manifest(lambda d: d["files"].__setitem__([f["path"] for f in d["files"]].index(path), entry))(w)

    return change


def flip(path, at):
    def change(w):
        data = bytearray((w / "m.ee" / path).read_bytes())
        data[at] ^= 1
        (w / "m.ee" / path).write_bytes(bytes(data))

    return change


def gone(path):
    return lambda w: (w / "m.ee" / path).unlink()


SO, WEIGHTS = "cpu/x86-64-v3.so", "weights/cpu-f32.safetensors"
ARTIFACTS = {
    "code changed": (flip(SO, 5000), SO),
    "code cut": (lambda w: os.truncate(w / "m.ee" / SO, 1000), SO),
    "code gone": (gone(SO), SO),
    "code is a fifo": (lambda w: (gone(SO)(w), os.mkfifo(w / "m.ee" / SO)), SO),
    "code is a link": (lambda w: (shutil.move(w / "m.ee" / SO, w / "x.so"), (w / "m.ee" / SO).symlink_to(w / "x.so")), SO),
    "weights gone": (gone(WEIGHTS), WEIGHTS),
    "weights cut": (lambda w: os.truncate(w / "m.ee" / WEIGHTS, 8192), WEIGHTS),
    "weights longer": (lambda w: (w / "m.ee" / WEIGHTS).open("ab").write(b"x"), WEIGHTS),
    "tokenizer gone": (gone("tokenizer.json"), "tokenizer.json"),
    "tokenizer changed": (flip("tokenizer.json", 100), "tokenizer.json"),
    "tokenizer that is no JSON": (rehashed("tokenizer.json", "{"), "tokenizer.json"),
    "tokenizer of another kind": (rehashed("tokenizer.json", '{"model": {"type": "Unigram", "vocab": []}}'), "Unigram"),
    "policy changed": (flip("policy.toml", 5), "policy.toml"),
    "policy changed and readable": (lambda w: (w / "m.ee/policy.toml").write_text((w / "m.ee/policy.toml").read_text().replace("min_depth = 0", "min_depth = 1")), ["policy.toml", "hash"]),
    "policy gone": (gone("policy.toml"), "policy.toml"),
    "manifest gone": (gone("manifest.json"), "m.ee"),
    "manifest empty": (put("m.ee/manifest.json", ""), "manifest.json"),
    "manifest cut": (lambda w: os.truncate(w / "m.ee" / "manifest.json", 700), "manifest.json"),
    "manifest is a list": (put("m.ee/manifest.json", "[]"), "manifest.json"),
    "manifest deeply nested": (put("m.ee/manifest.json", "[" * 200000), "manifest.json"),
    "another format": (set_at("format", to="zip"), "format"),
    "version of the future": (set_at("format_version", to=99), ["format_version", "99"]),
    "version as text": (set_at("format_version", to="1"), "format_version"),
    "stage ABI of the future": (set_at("stage_abi", to=99), ["stage_abi", "99"]),
    "unknown kind": (set_at("kind", to="sculptor"), "kind"),
    "no model": (drop("model"), "model"),
    "no files": (drop("files"), "files"),
    "no program": (drop("program"), "program"),
    "no kv": (drop("kv"), "kv"),
    "no code": (set_at("cpu", to=[]), "m.ee"),
    "code for another machine": (set_at("cpu", 0, "level", to="riscv"), "riscv"),
    "code file outside": (set_at("cpu", 0, "file", to="../x.so"), "x.so"),
    "absolute code file": (set_at("cpu", 0, "file", to="/lib/x.so"), "x.so"),
    "wrong hash": (set_at("cpu", 0, "sha256", to="0" * 64), ""),
    "hash of words": (set_at("files", 1, "sha256", to="yes"), "sha256"),
    "vocabulary 0": (set_at("model", "vocab", to=0), "vocab"),
    "vocabulary below zero": (set_at("model", "vocab", to=-320), "vocab"),
    "vocabulary too large": (set_at("model", "vocab", to=1 << 50), "vocab"),
    "layers below zero": (set_at("model", "layers", to=-1), "layers"),
    "eos outside": (set_at("model", "eos", to=[5000]), "eos"),
    "row of no bytes": (set_at("rows", "row_bytes", to=0), "row"),
    "column outside of the row": (set_at("rows", "columns", 0, "offset", to=1 << 20), "columns"),
    "weight outside of its file": (set_at("weights", 1, "offset", to=1 << 40), "weights[1]"),
    "weight offset below zero": (set_at("weights", 1, "offset", to=-64), "weights[1]"),
    "page of no bytes": (set_at("kv", "levels", 0, "page_bytes", to=0), "kv"),
    "pages of no positions": (set_at("kv", "page_positions", to=0), "page_positions"),
    "unknown fill": (set_at("kv", "levels", 0, "fill", to="never"), "fill"),
    "unknown node": (set_at("program", 0, "kind", to="dance"), ["program", "dance"]),
    "edge to nowhere": (set_at("program", 0, "next", to=99), "program[0]"),
    "edge below zero": (set_at("program", 0, "next", to=-1), "program[0]"),
    "edge to itself": (set_at("program", 1, "next", to=1), "program"),
    "stage that is not there": (set_at("program", 1, "stage", to=99), "program[1]"),
    "symbol that is not there": (set_at("stages", 0, "symbol", to="ee_stage_gone"), "ee_stage_gone"),
    "arena below zero": (set_at("stages", 0, "arena", "per_row", to=-64), "stages[0]"),
    "exit at depth 99": (set_at("exits", 0, "depth", to=99), "exits[0]"),
    "threshold as text": (set_at("exits", 0, "threshold", to="high"), "threshold"),
}


@cases(ARTIFACTS)
def test_artifact(work, case):
    change, said = case
    change(work)
    check_refused(work, "ee-run", GENERATE, said)


@pytest.mark.parametrize("path", [WEIGHTS, SO, "tokenizer.json", "policy.toml"])
def test_verify_finds_each_changed_file(work, path):
    flip(path, 60)(work)
    check_refused(work, "ee-run", ["inspect", "m.ee", "--verify"], path)


def test_verify_reads_no_file_outside(work):
    manifest(lambda d: d["files"].append({"path": "../ids.txt", "bytes": 10, "sha256": "0" * 64}))(work)
    check_refused(work, "ee-run", ["inspect", "m.ee", "--verify"], "../ids.txt")


def test_no_artifact(work):
    check_refused(work, "ee-run", ["generate", "none.ee", "-p", "x"], "none.ee")
    check_refused(work, "ee-run", ["generate", "ids.txt", "-p", "x"], "ids.txt")
    check_refused(work, "ee-run", ["inspect", "."], "manifest.json")


# --- options and files of ee-run ------------------------------------------------------------------------------------


def npy(name, array):
    return lambda w: np.save(w / name, array)


def npy_bytes(data):
    return lambda w: (w / "bad.npy").write_bytes(data)


def npy_header(text):
    return npy_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + bytes(64))


RUN = ["run", "m.ee", "--input", "input_ids=@ids.npy"]
SCRIPTED = [*RUN, "--input", "script=@script.npy", "--input", "enabled=@enabled.npy"]


def masked(mask):
    """A model that declares an attention mask, and a value for it."""
    declare = manifest(lambda d: d["model"]["inputs"].append({"name": "mask", "role": "attention_mask"}))
    return lambda w: (declare(w), np.save(w / "m.npy", np.array(mask)))


MASKED = [*RUN, "--input", "mask=@m.npy"]


def scripted(script, enabled):
    return lambda w: (np.save(w / "script.npy", np.array(script)), np.save(w / "enabled.npy", np.array(enabled)))


BAD_IDS = ["run", "m.ee", "--input", "input_ids=@bad.npy"]
SERVE = {
    "no subcommand": (nothing, [], ["generate", "run", "eval", "inspect", "bench"]),
    "unknown subcommand": (nothing, ["paint"], ["paint", "generate", "run", "eval", "inspect", "bench"]),
    "unknown flag": (nothing, [*GENERATE, "--frobnicate"], "frobnicate"),
    "no prompt": (nothing, ["generate", "m.ee"], "-p"),
    "two kinds of prompt": (nothing, [*GENERATE, "-p", "x"], "-p"),
    "prompts missing": (nothing, ["generate", "m.ee", "--prompts", "none.txt"], "none.txt"),
    "prompts empty": (wrote("p.txt", "\n\n"), ["generate", "m.ee", "--prompts", "p.txt"], "p.txt"),
    "prompts with a bad escape": (wrote("p.txt", "a\n\nb \\x\n"), ["generate", "m.ee", "--prompts", "p.txt"], "p.txt:3"),
    "prompts is a folder": (nothing, ["generate", "m.ee", "--prompts", "m.ee"], "m.ee"),
    "ids of words": (wrote("i.txt", "5 6\n7 eight\n"), ["generate", "m.ee", "--ids", "i.txt"], "i.txt:2"),
    "ids below zero": (wrote("i.txt", "5 -6\n"), ["generate", "m.ee", "--ids", "i.txt", "-n", "2"], "-6"),
    "ids beyond the vocabulary": (wrote("i.txt", "5 320\n"), ["generate", "m.ee", "--ids", "i.txt", "-n", "2"], "320"),
    "ids beyond 64 bits": (wrote("i.txt", "5 99999999999999999999\n"), ["generate", "m.ee", "--ids", "i.txt"], "i.txt:1"),
    "prompt too long": (wrote("i.txt", "5 " * 97), ["generate", "m.ee", "--ids", "i.txt", "-n", "1"], "96"),
    "more tokens than positions": (nothing, [*GENERATE[:-1], "95"], ["-n", "1 to 94", "96"]),
    "tokens of a large number": (nothing, [*GENERATE[:-1], "9223372036854775807"], ["-n", "1 to 94"]),
    "tokens below zero": (nothing, [*GENERATE[:-1], "-1"], "-1"),
    "tokens of words": (nothing, [*GENERATE[:-1], "many"], "many"),
    "tokens beyond 64 bits": (nothing, [*GENERATE[:-1], "99999999999999999999"], ["--tokens", "99999999999999999999"]),
    "seed below zero": (nothing, [*GENERATE, "--seed", "-1"], ["--seed", "-1"]),
    "seed beyond 64 bits": (nothing, [*GENERATE, "--seed", "18446744073709551616"], ["--seed", "18446744073709551616"]),
    "shuffle below zero": (nothing, [*GENERATE, "--shuffle-pages", "-1"], "--shuffle-pages"),
    "min depth beyond 64 bits": (nothing, [*GENERATE, "--min-depth", "99999999999999999999"], "--min-depth"),
    "logit hash without JSON": (nothing, [*GENERATE, "--logit-hash"], ["--logit-hash", "--json"]),
    "KV hash without JSON": (nothing, [*GENERATE, "--kv-hash"], ["--kv-hash", "--json"]),
    "unknown level": (nothing, [*GENERATE, "--cpu-level", "mmx"], "mmx"),
    "level that was not compiled": (nothing, [*GENERATE, "--cpu-level", "avx512"], "avx512"),
    "threads below zero": (nothing, [*GENERATE, "-t", "-1"], "-1"),
    "a million threads": (nothing, [*GENERATE, "-t", "1000000"], "1000000"),
    "batch 0": (nothing, [*GENERATE, "--batch", "0"], "--batch"),
    "batch below zero": (nothing, [*GENERATE, "--batch", "-4"], "--batch"),
    "chunk 0": (nothing, [*GENERATE, "--chunk", "0"], "chunk"),
    "chunk below zero": (nothing, [*GENERATE, "--chunk", "-1"], "chunk"),
    "rows 0": (nothing, [*GENERATE, "--max-rows", "0"], "rows"),
    "rows without end": (nothing, [*GENERATE, "--max-rows", "9223372036854775807"], "rows"),
    "debt cap below zero": (nothing, [*GENERATE, "--debt-cap", "-1"], "debt"),
    "pages below zero": (nothing, [*GENERATE, "--kv-pages", "-1"], "pages"),
    "pages without end": (nothing, [*GENERATE, "--kv-pages", "9223372036854775807"], "pages"),
    "preempt below zero": (nothing, [*GENERATE, "--preempt-every", "-2"], "preempt"),
    "temperature below zero": (nothing, [*GENERATE, "--temp", "-1"], "temp"),
    "temperature nan": (nothing, [*GENERATE, "--temp", "nan"], "temp"),
    "temperature inf": (nothing, [*GENERATE, "--temp", "inf"], "temp"),
    "top-k below zero": (nothing, [*GENERATE, "--temp", "1", "--top-k", "-1"], "top-k"),
    "top-p 0": (nothing, [*GENERATE, "--temp", "1", "--top-p", "0"], "top-p"),
    "top-p 2": (nothing, [*GENERATE, "--temp", "1", "--top-p", "2"], "top-p"),
    "min-p 2": (nothing, [*GENERATE, "--temp", "1", "--min-p", "2"], "min-p"),
    "min-p below zero": (nothing, [*GENERATE, "--temp", "1", "--min-p", "-0.5"], "min-p"),
    "eos of words": (nothing, [*GENERATE, "--eos", "end"], "--eos"),
    "eos beyond the vocabulary": (nothing, [*GENERATE, "--eos", "320"], "320"),
    "colour of another kind": (nothing, [*GENERATE, "--color", "pink"], "pink"),
    "threshold without value": (nothing, [*GENERATE, "--threshold", "e1"], "e1"),
    "threshold of words": (nothing, [*GENERATE, "--threshold", "e1=high"], "high"),
    "threshold nan": (nothing, [*GENERATE, "--threshold", "e1=nan"], "nan"),
    "threshold of no exit": (nothing, [*GENERATE, "--threshold", "e7=1"], "e7"),
    "min depth beyond": (nothing, [*GENERATE, "--min-depth", "3"], "--min-depth"),
    "max depth below zero": (nothing, [*GENERATE, "--max-depth", "-1"], "--max-depth"),
    "policy missing": (nothing, [*GENERATE, "--policy", "none.toml"], "none.toml"),
    "policy that is not TOML": (wrote("p.toml", "= 1"), [*GENERATE, "--policy", "p.toml"], "p.toml"),
    "policy with an unknown key": (wrote("p.toml", "magic = 1"), [*GENERATE, "--policy", "p.toml"], "magic"),
    "policy with an unknown exit": (wrote("p.toml", "[exits.e9]\nthreshold = 1.0"), [*GENERATE, "--policy", "p.toml"], "e9"),
    "policy with an unknown key in an exit": (wrote("p.toml", "[exits.e1]\nmagic = 1.0"), [*GENERATE, "--policy", "p.toml"], "magic"),
    "policy version 9": (wrote("p.toml", "version = 9"), [*GENERATE, "--policy", "p.toml"], "version"),
    "policy threshold nan": (wrote("p.toml", "[exits.e1]\nthreshold = nan"), [*GENERATE, "--policy", "p.toml"], "threshold"),
    "policy flag as text": (wrote("p.toml", 'force_full = "yes"'), [*GENERATE, "--policy", "p.toml"], "force_full"),
    "policy depth below zero": (wrote("p.toml", "min_depth = -1"), [*GENERATE, "--policy", "p.toml"], "min_depth"),
    "script missing": (nothing, [*GENERATE, "--script", "none.txt"], "none.txt"),
    "script for fewer prompts": (wrote("s.txt", "0 0\n"), [*GENERATE, "--script", "s.txt"], "s.txt"),
    "script of words": (wrote("s.txt", "0 0\n0 x\n"), [*GENERATE, "--script", "s.txt"], "s.txt:2"),
    "script names no exit": (wrote("s.txt", "0 0\n0 1\n"), [*GENERATE, "--script", "s.txt"], ""),
    "script below -2": (wrote("s.txt", "0 0\n0 -3\n"), [*GENERATE, "--script", "s.txt"], "-3"),
    "forced ids for fewer prompts": (wrote("f.txt", "7 7\n"), [*GENERATE, "--force-ids", "f.txt"], "f.txt"),
    "forced ids beyond the vocabulary": (wrote("f.txt", "7 7\n7 320\n"), [*GENERATE, "--force-ids", "f.txt"], "320"),
    "trace in a missing folder": (nothing, [*GENERATE, "--trace", "none/t.jsonl"], "none/t.jsonl"),
    "run without input": (nothing, ["run", "m.ee"], "input_ids"),
    "run with an unknown input": (nothing, [*RUN, "--input", "pixels=@ids.npy"], "pixels"),
    "run with an input given twice": (nothing, [*RUN, "--input", "input_ids=@ids.npy"], "input_ids"),
    "run with a binding without name": (nothing, [*RUN, "--input", "=@ids.npy"], "=@ids.npy"),
    "run with a binding without file": (nothing, [*RUN, "--input", "enabled="], "enabled"),
    "npy missing": (nothing, BAD_IDS, "bad.npy"),
    "npy empty": (npy_bytes(b""), BAD_IDS, "bad.npy"),
    "npy of words": (npy_bytes(b"1 2 3\n"), BAD_IDS, "bad.npy"),
    "npy of version 9": (npy_bytes(b"\x93NUMPY\x09\x00" + bytes(200)), BAD_IDS, "bad.npy"),
    "npy cut": (lambda w: (npy("bad.npy", np.zeros((4, 9), np.int64))(w), os.truncate(w / "bad.npy", 140)), BAD_IDS, "bad.npy"),
    "npy with a broken header": (npy_header("{'descr': "), BAD_IDS, "bad.npy"),
    "npy with a huge shape": (npy_header("{'descr': '<i8', 'fortran_order': False, 'shape': (9223372036854775807, 9223372036854775807), }"), BAD_IDS, "bad.npy"),
    "npy with a shape below zero": (npy_header("{'descr': '<i8', 'fortran_order': False, 'shape': (-1, 3), }"), BAD_IDS, "bad.npy"),
    "npy with objects": (npy_header("{'descr': '|O', 'fortran_order': False, 'shape': (1, 3), }"), BAD_IDS, "bad.npy"),
    "npy with floats as ids": (npy("bad.npy", np.ones((1, 3), np.float32)), BAD_IDS, "input_ids"),
    "npy of rank 1": (npy("bad.npy", np.ones(3, np.int64)), BAD_IDS, "input_ids"),
    "npy of rank 3": (npy("bad.npy", np.ones((1, 3, 1), np.int64)), BAD_IDS, "input_ids"),
    "npy without rows": (npy("bad.npy", np.ones((0, 3), np.int64)), BAD_IDS, "input_ids"),
    "npy with ids beyond the vocabulary": (npy("bad.npy", np.full((1, 3), 320)), BAD_IDS, "320"),
    "npy with ids below zero": (npy("bad.npy", np.full((1, 3), -1)), BAD_IDS, "-1"),
    "npy longer than the model": (npy("bad.npy", np.ones((1, 97), np.int64)), BAD_IDS, "96"),
    "enabled of another shape": (npy("e.npy", np.ones((1, 4), bool)), [*RUN, "--input", "enabled=@e.npy"], "enabled"),
    "enabled as integers": (npy("e.npy", np.ones((1, 3), np.int64)), [*RUN, "--input", "enabled=@e.npy"], "enabled"),
    "script array names no exit": (npy("s.npy", np.full((1, 3), 5)), [*RUN, "--input", "script=@s.npy"], "script"),
    "script out of a row that is not enabled": (scripted([[0, 0, -2]], [[True, False, True]]), SCRIPTED, ["script", "enabled", "[0, 1]", "exit 0"]),
    "attention mask with a zero": (masked([[1, 1, 0]]), MASKED, ['"mask"', "[0, 2]"]),
    "attention mask of another shape": (masked([[1, 1, 1, 1]]), MASKED, ['"mask"', "(1, 4)"]),
    "attention mask of floats": (masked([[1.0, 1.0, 1.0]]), MASKED, ['"mask"', "f8"]),
    "attention mask that the model has not": (npy("mask.npy", np.ones((1, 3), np.int64)), [*RUN, "--input", "mask=@mask.npy"], ['"mask"', "input_ids"]),
    "unknown output": (nothing, [*RUN, "--output", "pixels=p.npy"], "pixels"),
    "output in a missing folder": (nothing, [*RUN, "--output", "logits=none/l.npy"], "none/l.npy"),
    "tolerance below zero": (nothing, [*RUN, "--expect", "logits=@ids.npy", "--rtol", "-1"], "--rtol"),
    "expected file missing": (nothing, [*RUN, "--expect", "logits=@none.npy"], "none.npy"),
    "eval without text": (nothing, ["eval", "m.ee"], "--file"),
    "eval of a missing file": (nothing, ["eval", "m.ee", "-f", "none.txt"], "none.txt"),
    "eval of nothing": (wrote("t.txt", ""), ["eval", "m.ee", "-f", "t.txt"], "text"),
    "eval with a window of 1": (nothing, ["eval", "m.ee", "--ids", "ids.txt", "-c", "1"], "context"),
    "eval with a window beyond the model": (nothing, ["eval", "m.ee", "--ids", "ids.txt", "-c", "97"], "96"),
    "bench without repeats": (nothing, ["bench", "m.ee", "-p", "8", "-n", "0", "-r", "0"], "-r"),
    "bench beyond the positions": (nothing, ["bench", "m.ee", "-p", "97", "-n", "0"], "96"),
    "bench of nothing": (nothing, ["bench", "m.ee", "-p", "0", "-n", "0"], ["-p", "-n"]),
    "bench seed below zero": (nothing, ["bench", "m.ee", "--seed", "-1"], "--seed"),
    "bench beyond 64 bits": (nothing, ["bench", "m.ee", "-p", "8,99999999999999999999"], ["-p", "99999999999999999999"]),
    "bench in another format": (nothing, ["bench", "m.ee", "-o", "pdf"], "pdf"),
    "bench with a batch of 0": (nothing, ["bench", "m.ee", "-p", "8", "-n", "0", "-b", "0"], "-b"),
}


@cases(SERVE)
def test_serve(work, case):
    change, args, said = case
    change(work)
    check_refused(work, "ee-run", args, said)


def test_level_of_another_machine(base, work):
    """Code for a level this machine lacks is refused by name, and the message says what there is."""
    if "avx512" in cpu_levels():
        pytest.skip("this machine runs every level")
    compile_model(work / "model.onnx", work / "wide.ee", "--cpu-levels=avx512")
    check_refused(work, "ee-run", ["generate", "wide.ee", "--ids", "ids.txt"], "avx512")


def test_tokens_by_default_fit(work):
    """96 positions, three of them taken: 94 tokens, of which the last needs none."""
    (work / "i.txt").write_text("5 6 7\n")
    out = json.loads(ok("ee-run", "generate", work / "m.ee", "--ids", work / "i.txt", "--eos", "none", "--json"))
    assert len(out["ids"]) == 94


def test_streamed_text_ends_in_one_newline(work):
    """Whether or not the text brings it."""
    tokenizer = Tokenizer.from_file(str(work / "tokenizer.json"))
    (letter,), (newline,) = tokenizer.encode("a").ids, tokenizer.encode("\n").ids
    for ids, text in (([letter, newline], "a\n"), ([letter, letter], "aa\n"), ([newline, newline], "\n\n")):
        write_lists(work / "f.txt", [ids])
        assert ok("ee-run", "generate", work / "m.ee", "-p", "a", "-n", "2", "--eos", "none", "--force-ids", work / "f.txt") == text


def test_scripts_of_rows_that_may_not_leave(work):
    """Full depth and "by criterion" are no exits."""
    scripted([[0, -1, -2]], [[True, False, False]])(work)
    ok("ee-run", "run", *[work / a if a == "m.ee" else a.replace("@", f"@{work}/") for a in SCRIPTED[1:]])


@pytest.mark.parametrize("dtype", [bool, np.int64])
def test_an_attention_mask_of_ones(work, dtype):
    masked(np.ones((1, 3), dtype))(work)
    ok("ee-run", "run", work / "m.ee", "--input", f"input_ids=@{work}/ids.npy", "--input", f"mask=@{work}/m.npy")


def test_the_good_ones_work(work):
    """What all these cases were made of: without it they would prove nothing."""
    ok("ee-run", "generate", work / "m.ee", "--ids", work / "ids.txt", "-n", "2")
    ok("ee-run", "run", work / "m.ee", "--input", f"input_ids=@{work / 'ids.npy'}")
    ok("ee-run", "inspect", work / "m.ee", "--verify")
    assert numpy_helper.to_array(onnx.load(work / "model.onnx").graph.initializer[0]).size
