# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Bad input of the compiler: exit code 1, one line on standard error that names what is wrong, nothing left behind."""

import json
import os
import shutil

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from .ee_tools import needs_tools, ok, run_tool
from .refusals import OUT, SPEC, base, cases, check_refused, nothing, put, work, wrote  # noqa: F401 (fixtures)

pytestmark = needs_tools


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
    done = run_tool("ee-opt", "model.onnx", *OUT, cwd=work)
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


def tokenizer(**change):
    """The model's tokenizer with other fields in `model`."""

    def write(w):
        document = json.loads((w / "tokenizer.json").read_text())
        document["model"] |= change
        (w / "tokenizer.json").write_text(json.dumps(document))

    return write


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
    "tokenizer of a kind that ee-run does not read": (tokenizer(type="Unigram"), ["model.onnx", *OUT], ["model.type", "Unigram", "--tokenizer=none"]),
    "tokenizer with byte fallback": (tokenizer(byte_fallback=True), ["model.onnx", *OUT], ["model.byte_fallback", "--tokenizer=none"]),
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


def test_what_the_loader_refuses_is_not_written(work):
    """A name that the compiler takes from a model file unseen, and the manifest's reader does not."""
    (work / "spec.toml").write_text('version = 1\n[[exit]]\nname = "e1"\nlayer = 1\ncriterion = "max_prob"\nthreshold = 0.5\nfill = "exact"\n')
    text = ok("ee-opt", work / "model.onnx", "--emit=model", "--quiet", f"--exits={work / 'spec.toml'}")
    assert '"e1"' in text
    (work / "named.mlir").write_text(text.replace('"e1"', f'"{"x" * 300}"'))
    check_refused(work, "ee-opt", ["named.mlir", *OUT], ["what was compiled cannot be loaded", "exits[0].name"])


def test_a_failed_compile_keeps_the_old_artifact(work):
    """Nothing is replaced before all is well."""
    spec("layer = 1", "layer = 7")(work)
    before = (work / "m.ee" / "manifest.json").read_bytes()
    check_refused(work, "ee-opt", ["model.onnx", "-o", "m.ee", "--quiet", "--exits=spec.toml"], "layer")
    assert (work / "m.ee" / "manifest.json").read_bytes() == before
    ok("ee-run", "inspect", work / "m.ee", "--verify")
