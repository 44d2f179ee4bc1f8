# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Imports each of ONNX's node tests; only those with strings, sequences and optionals at their border are refused.
With and without all operators replaced by their bodies.

node_tests.py EE_IMPORT DIR"""

import subprocess
import sys
import warnings

from onnx import TensorProto
from onnx_files import save

warnings.simplefilter("ignore")
from onnx.backend.test import loader  # noqa: E402

tool, folder = sys.argv[1:]


def is_number(info):
    kind = info.type.WhichOneof("value")
    return kind == "tensor_type" and info.type.tensor_type.elem_type != TensorProto.STRING


def must_import(graph):
    # A string output is no problem of the importer: the op that makes it is.
    outputs = [o for o in graph.output if o.type.WhichOneof("value") != "tensor_type"]
    return all(map(is_number, graph.input)) and not outputs


cases = {f"{folder}/{case.name}.onnx": case.model for case in loader.load_model_tests(kind="node")}
for path, proto in cases.items():
    save(proto, path)
expected = {path for path, proto in cases.items() if must_import(proto.graph)}
for flags in ([], ["--expand=*"]):
    result = subprocess.run([tool, "--batch", *flags, *cases], capture_output=True, text=True)
    assert result.returncode == 0, f"ee-import died with {result.returncode}: {result.stderr[-500:]}"
    imported = {line.split(": ")[0] for line in result.stdout.splitlines() if ": imported " in line}
    assert imported == expected, f"differ in {sorted(imported ^ expected)}"
    print(f"{len(imported)} of {len(cases)} imported")
