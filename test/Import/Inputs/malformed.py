# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Bad files: each must be refused with one line that names the file, and with exit code 1.

malformed.py EE_IMPORT DIR"""

import os
import re
import subprocess
import sys

import numpy as np
from onnx import AttributeProto, ModelProto, TensorProto, helper
from onnx_files import BOOL, FLOAT, INT64, array, external, model, node, save, value, weights

tool, root = sys.argv[1:]
CASES = []


def case(expected):
    """The function writes DIR/m.onnx; the error line must match `expected`."""
    return lambda write: CASES.append((write.__name__, write, expected)) or write


def simple(initializers=(), nodes=None, **options):
    """y = x + w, with what a case wants to be wrong."""
    nodes = nodes or [node("Add", ["x", "w"], ["y"], name="add")]
    return model(nodes, [value("x", ["n", 4])], [value("y", ["n", 4])], initializers, **options)


def put(folder, proto):
    save(proto, f"{folder}/m.onnx")


def put_bytes(folder, data):
    with open(f"{folder}/m.onnx", "wb") as file:
        file.write(data)


def good_bytes():
    return simple([array("w", np.float32([1, 2, 3, 4]))]).SerializeToString()


def raw_tensor(name, data_type, dims, raw):
    return TensorProto(name=name, data_type=data_type, dims=dims, raw_data=raw)


# --- the file as a whole ---------------------------------------------------------------------------------------------


@case(r"o such file")
def no_file(folder):
    pass


@case(r"regular file|directory")
def is_a_folder(folder):
    os.mkdir(f"{folder}/m.onnx")


@case(r"not an ONNX model")
def empty(folder):
    put_bytes(folder, b"")


@case(r"malformed model")
def text(folder):
    put_bytes(folder, b"once upon a time\n" * 9)


@case(r"malformed")
def truncated(folder):
    put_bytes(folder, good_bytes()[:-7])


@case(r"malformed")
def truncated_in_weight(folder):
    data = simple([weights("w", 100, 100)]).SerializeToString()
    put_bytes(folder, data[: len(data) // 2])


@case(r"malformed tensor")
def packed_dims_cut(folder):
    # dims as a packed field whose last varint does not end
    tensor = b"\x0a\x02\x01\x80" + raw_tensor("w", FLOAT, [], b"").SerializeToString()
    graph = b"\x2a" + bytes([len(tensor)]) + tensor
    put_bytes(folder, b"\x08\x0a\x3a" + bytes([len(graph)]) + graph)


@case(r"no graph")
def without_graph(folder):
    put_bytes(folder, ModelProto(ir_version=10).SerializeToString())


@case(r"protobuf cannot parse|malformed")
def wrong_wire_type(folder):
    # graph.node as a varint
    put_bytes(folder, b"\x08\x0a\x3a\x02\x0b\x01")


@case(r"nested too deeply")
def endless_nesting(folder):
    graph = helper.make_graph([], "leaf", [], [])
    data = graph.SerializeToString()

    def wrap(number, body):
        length, out = len(body), bytearray([number << 3 | 2])
        while length >= 0x80:
            out.append(length & 0x7F | 0x80)
            length >>= 7
        return bytes(out) + bytes([length]) + body

    for _ in range(2000):
        data = wrap(1, wrap(4, b"If") + wrap(2, b"y") + wrap(5, wrap(1, b"then_branch") + wrap(6, data)))
    put_bytes(folder, b"\x08\x0a" + wrap(7, data))


@case(r"the model names no opset of the default domain")
def no_opset(folder):
    put(folder, simple([array("w", np.float32([1, 2, 3, 4]))], opset=None))


@case(r"opset 99 is newer than \d+, the newest that is known")
def future_opset(folder):
    put(folder, simple([array("w", np.float32([1, 2, 3, 4]))], opset=99))


@case(r"ir_version|IR version|ir version")
def future_ir(folder):
    put(folder, simple([array("w", np.float32([1, 2, 3, 4]))], ir_version=99))


@case(r"ir_version")
def no_ir_version(folder):
    proto = simple([array("w", np.float32([1, 2, 3, 4]))])
    proto.ClearField("ir_version")
    put(folder, proto)


# --- tensors ----------------------------------------------------------------------------------------------------------


@case(r"initializer 'w': shape \[4\] of FLOAT needs 16 bytes, but raw_data has 12")
def raw_too_short(folder):
    put(folder, simple([raw_tensor("w", FLOAT, [4], b"\0" * 12)]))


@case(r"initializer 'w': shape \[4\] of FLOAT needs 16 bytes, but raw_data has 17")
def raw_too_long(folder):
    put(folder, simple([raw_tensor("w", FLOAT, [4], b"\0" * 17)]))


@case(r"initializer 'w': shape \[100, 100\] of FLOAT needs 40000 bytes, but raw_data has 16")
def weight_too_short(folder):
    put(folder, simple([raw_tensor("w", FLOAT, [100, 100], b"\0" * 16)]))


@case(r"initializer 'w': shape \[4\] needs 4 values, but float_data has 3")
def typed_too_short(folder):
    put(folder, simple([TensorProto(name="w", data_type=FLOAT, dims=[4], float_data=[1, 2, 3])]))


@case(r"initializer 'w': FLOAT data must stand in raw_data or float_data")
def wrong_typed_field(folder):
    put(folder, simple([TensorProto(name="w", data_type=FLOAT, dims=[4], int64_data=[1, 2, 3, 4])]))


@case(r"initializer 'w': the tensor has raw_data and typed data")
def two_sources(folder):
    put(folder, simple([TensorProto(name="w", data_type=FLOAT, dims=[1], float_data=[1], raw_data=b"\0" * 4)]))


@case(r"initializer 'w': shape \[4\] needs 4 values, but float_data has 0")
def no_data(folder):
    put(folder, simple([TensorProto(name="w", data_type=FLOAT, dims=[4])]))


@case(r"initializer 'w': shape \[-4\] has a negative dimension")
def negative_dim(folder):
    put(folder, simple([raw_tensor("w", FLOAT, [-4], b"\0" * 16)]))


@case(r"initializer 'w': shape \[4294967296, 4294967296, 4\] is too large")
def overflowing_dims(folder):
    put(folder, simple([raw_tensor("w", FLOAT, [1 << 32, 1 << 32, 4], b"\0" * 16)]))


@case(r"initializer 'w': shape \[4611686018427387904\] is too large|needs \d+ bytes")
def overflowing_bytes(folder):
    put(folder, simple([raw_tensor("w", FLOAT, [1 << 62], b"\0" * 16)]))


@case(r"initializer 'w': shape \[4611686018427387904, 4, 0\] is too large")
def overflowing_but_empty(folder):
    put(folder, simple([TensorProto(name="w", data_type=FLOAT, dims=[1 << 62, 4, 0])]))


@case(r"initializer 'w': UNDEFINED is not an element type")
def undefined_type(folder):
    put(folder, simple([raw_tensor("w", 0, [4], b"\0" * 16)]))


@case(r"initializer 'w': data type 77 is not an element type")
def unknown_type(folder):
    put(folder, simple([raw_tensor("w", 77, [4], b"\0" * 16)]))


@case(r"initializer 'w': STRING data must stand in string_data")
def raw_strings(folder):
    put(folder, simple([raw_tensor("w", TensorProto.STRING, [4], b"abcd")]))


@case(r"node 'c': attribute 'value': shape \[4\] of FLOAT needs 16 bytes, but raw_data has 3")
def bad_constant(folder):
    put(folder, simple(nodes=[node("Constant", [], ["w"], name="c", value=raw_tensor("", FLOAT, [4], b"123")),
                              node("Add", ["x", "w"], ["y"])]))


@case(r"initializer 'h#then_branch/k': shape \[4\] of FLOAT needs 16 bytes, but raw_data has 1")
def bad_tensor_in_subgraph(folder):
    inner = [helper.make_graph([node("Add", ["x", "k"], [o])], o, [], [value(o, ["n", 4])], [raw_tensor("k", FLOAT, [4], b"1" * size)])
             for o, size in (("a", 1), ("b", 16))]
    nodes = [node("If", ["w"], ["h"], then_branch=inner[0], else_branch=inner[1]), node("Abs", ["h"], ["y"])]
    put(folder, simple([array("w", np.bool_(True))], nodes))


@case(r"node 'c': attribute 'value': FLOAT data must stand in")
def bad_tensor_in_function(folder):
    bad = TensorProto(data_type=FLOAT, dims=[1], int32_data=[1])
    function = helper.make_function("d", "F", ["a"], ["b"], [node("Constant", [], ["k"], name="c", value=bad), node("Add", ["a", "k"], ["b"])],
                                    [helper.make_opsetid("", 23)])
    put(folder, simple(nodes=[node("F", ["x"], ["y"], domain="d")], functions=[function], imports=[("d", 1)]))


@case(r"sparse initializer 's': data type 99 is not an element type")
def bad_sparse_tensor(folder):
    proto = simple([array("w", np.float32([1, 2, 3, 4]))])
    proto.graph.sparse_initializer.add(values=raw_tensor("s", 99, [1], b"1234"), indices=array("", np.int64([0])), dims=[4])
    put(folder, proto)


@case(r"sparse initializer 's' is not supported; store it as a dense initializer")
def sparse_tensor(folder):
    proto = simple([array("w", np.float32([1, 2, 3, 4]))])
    proto.graph.sparse_initializer.add(values=array("s", np.float32([1])), indices=array("", np.int64([0])), dims=[4])
    put(folder, proto)


# --- external data ----------------------------------------------------------------------------------------------------


def put_external(folder, location, offset=None, length=None, contents=b"\0" * 16, dims=(4,)):
    tensor = raw_tensor("w", FLOAT, list(dims), b"")
    external(tensor, location, offset, length)
    if contents is not None:
        with open(f"{folder}/w.data", "wb") as file:
            file.write(contents)
    put(folder, simple([tensor]))


@case(r"initializer 'w': external data: .*o such file")
def external_missing(folder):
    put_external(folder, "w.data", contents=None)


@case(r"initializer 'w': external data: .*it is absolute")
def external_absolute(folder):
    put_external(folder, "/etc/hostname")


@case(r"initializer 'w': external data: .*'\.\.'")
def external_parent(folder):
    put_external(folder, "../w.data")


@case(r"initializer 'w': external data: .*'\.\.'")
def external_hidden_parent(folder):
    put_external(folder, "a/../../w.data")


@case(r"initializer 'w': external data: .*link")
def external_symbolic_link(folder):
    os.symlink("/etc/hostname", f"{folder}/link")
    put_external(folder, "link")


@case(r"initializer 'w': external data: .*link|initializer 'w': external data: .*leads out")
def external_through_linked_folder(folder):
    os.symlink("/etc", f"{folder}/etc")
    put_external(folder, "etc/hostname")


@case(r"initializer 'w': external data: .*regular file")
def external_fifo(folder):
    os.mkfifo(f"{folder}/pipe")
    put_external(folder, "pipe")


@case(r"initializer 'w': external data: .*(regular file|directory)")
def external_folder(folder):
    os.mkdir(f"{folder}/sub")
    put_external(folder, "sub")


@case(r"initializer 'w': external data names no file")
def external_without_location(folder):
    put_external(folder, None)


@case(r"initializer 'w': external data at offset 8 with 16 bytes lies outside of file 'w.data' of 16 bytes")
def external_past_the_end(folder):
    put_external(folder, "w.data", offset=8)


@case(r"initializer 'w': external data at offset 9223372036854775807 with 16 bytes lies outside")
def external_offset_overflow(folder):
    put_external(folder, "w.data", offset=(1 << 63) - 1)


@case(r"initializer 'w': external data offset '-4' is not a number of bytes")
def external_negative_offset(folder):
    put_external(folder, "w.data", offset=-4)


@case(r"initializer 'w': external data length '1e3' is not a number of bytes")
def external_bad_length(folder):
    put_external(folder, "w.data", length="1e3")


@case(r"initializer 'w': shape \[4\] of FLOAT needs 16 bytes, but its external data has 12")
def external_length_differs(folder):
    put_external(folder, "w.data", length=12)


@case(r"initializer 'w': external data at offset 0 with 40000 bytes lies outside of file 'w.data' of 16 bytes")
def external_weight_cut(folder):
    put_external(folder, "w.data", dims=(100, 100))


@case(r"initializer 'w': the tensor has data inside of the file and external data")
def external_and_raw(folder):
    tensor = array("w", np.float32([1, 2, 3, 4]))
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="w.data")
    put(folder, simple([tensor]))


@case(r"initializer 'w': external data: .*\\x0a")
def external_line_break(folder):
    put_external(folder, "a\nerror: all is well\n")


# --- graphs -----------------------------------------------------------------------------------------------------------


@case(r"node 'add'.*w")
def undefined_value(folder):
    put(folder, simple())


@case(r"'y'|y has been used|SSA")
def defined_twice(folder):
    put(folder, simple([array("w", np.float32([1] * 4))], [node("Add", ["x", "w"], ["y"]), node("Sub", ["x", "w"], ["y"])]))


@case(r"SSA|'w'|w ")
def initializer_defined_twice(folder):
    put(folder, simple([array("w", np.float32([1] * 4))], [node("Abs", ["x"], ["w"]), node("Add", ["x", "w"], ["y"])]))


@case(r"topologically|sorted|undefined|b")
def not_sorted(folder):
    put(folder, simple([array("w", np.float32([1] * 4))], [node("Add", ["x", "b"], ["y"]), node("Abs", ["x"], ["b"])]))


@case(r"y")
def output_undefined(folder):
    put(folder, simple([array("w", np.float32([1] * 4))], [node("Add", ["x", "w"], ["z"])]))


@case(r"node 'add' \(Add\): .*input")
def too_many_inputs(folder):
    put(folder, simple([array("w", np.float32([1] * 4))], [node("Add", ["x", "w", "x"], ["y"], name="add")]))


@case(r"node 'cast' \(Cast\): .*to")
def attribute_missing(folder):
    put(folder, simple(nodes=[node("Cast", ["x"], ["y"], name="cast")]))


@case(r"node 'softmax' \(Softmax\): .*axis")
def attribute_of_wrong_type(folder):
    put(folder, simple(nodes=[node("Softmax", ["x"], ["y"], name="softmax", axis="last")]))


@case(r"node 'mm' \(MatMul\): .*[Ii]ncompatible")
def incompatible_shapes(folder):
    put(folder, simple([array("w", np.zeros((5, 4), np.float32))], [node("MatMul", ["x", "w"], ["y"], name="mm")]))


@case(r"node 'add' \(Add\): .*[Tt]ype")
def wrong_dtypes(folder):
    put(folder, simple([array("w", np.int64([1] * 4))]))


@case(r"node 'strange' \(F\): no version of domain 'somewhere' is imported")
def domain_of_version_zero(folder):
    put(folder, simple(nodes=[node("F", ["x"], ["y"], name="strange", domain="somewhere")], imports=[("somewhere", 0)]))


@case(r"domain|Domain")
def domain_not_imported(folder):
    put(folder, simple(nodes=[node("F", ["x"], ["y"], domain="nowhere")]))


@case(r"cycle|recurs|Cycle")
def recursive_function(folder):
    opsets = [helper.make_opsetid("", 23), helper.make_opsetid("d", 1)]
    functions = [helper.make_function("d", f, ["a"], ["b"], [node(g, ["a"], ["b"], domain="d")], opsets) for f, g in ("FG", "GF")]
    put(folder, simple(nodes=[node("F", ["x"], ["y"], domain="d")], functions=functions, imports=[("d", 1)]))


@case(r"graph input 'x' must be a tensor of numbers, but it is a STRING tensor")
def string_input(folder):
    put(folder, model([node("Shape", ["x"], ["y"])], [value("x", [3], TensorProto.STRING)], [value("y", [1], INT64)]))


@case(r"graph input 'x' must be a tensor of numbers, but it is a sequence")
def sequence_input(folder):
    sequence = helper.make_tensor_sequence_value_info("x", FLOAT, [3])
    put(folder, model([node("SequenceLength", ["x"], ["y"])], [sequence], [value("y", [], INT64)]))


@case(r"node '.*' ?.*")
def line_breaks_in_names(folder):
    put(folder, simple(nodes=[node("Add", ["x", "a\nb\x1b[31m"], ["y"], name="n\nerror: fine")]))


@case(r"type|op_type")
def node_without_type(folder):
    put(folder, simple(nodes=[node("", ["x"], ["y"])]))


# ----------------------------------------------------------------------------------------------------------------------

failures = []
for name, write, expected in CASES:
    folder = f"{root}/{name}"
    os.makedirs(folder)
    write(folder)
    path = f"{folder}/m.onnx"
    result = subprocess.run([tool, path], capture_output=True, text=True, timeout=500)
    line = result.stderr.rstrip("\n")
    problems = []
    if result.returncode != 1:
        problems.append(f"exit code {result.returncode}")
    if result.stdout:
        problems.append("something on stdout")
    if "\n" in line or any(ord(c) < 32 for c in line):
        problems.append("not one line")
    if not line.startswith("error: ") or path not in line:
        problems.append("does not name the file")
    if not re.search(expected, line.replace(path, "", 1)):
        problems.append(f"does not match {expected!r}")
    if problems:
        failures.append(f"{name}: {', '.join(problems)}: {result.stderr[-600:]!r}")
print("\n".join(failures))
print(f"{len(CASES) - len(failures)} of {len(CASES)} refused as they should")
sys.exit(bool(failures))
