# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Bodies of operators: what ee-import makes of a node test equals the expansion that ONNX ships beside it.

expand.py EE_IMPORT DIR OP...   for up to three node tests of each OP"""

import collections
import re
import subprocess
import sys
import warnings

from onnx_files import save

warnings.simplefilter("ignore")
from onnx.backend.test import loader  # noqa: E402

tool, folder, *wanted = sys.argv[1:]
cases = {case.name: case.model for case in loader.load_model_tests(kind="node")}


def operators(name, flags):
    path = f"{folder}/{name}.onnx"
    save(cases[name], path)
    # The opset of the test, so that both files stay in it.
    text = subprocess.run([tool, path, "--target-opset=1", *flags], check=True, capture_output=True, text=True).stdout
    return collections.Counter(re.findall(r'onnx\.node "(\w+)"', text))


compared = collections.Counter()
for name, proto in sorted(cases.items()):
    op = proto.graph.node[0].op_type
    if len(proto.graph.node) != 1 or op not in wanted or compared[op] == 3 or f"{name}_expanded" not in cases:
        continue
    ours, theirs = operators(name, [f"--expand={op}"]), operators(f"{name}_expanded", [])
    assert ours == theirs and ours[op] == 0, f"{name}: {ours} is not {theirs}"
    compared[op] += 1
missing = set(wanted) - set(compared)
assert not missing, f"no test of {missing}"
print(sum(compared.values()), "expansions agree")
