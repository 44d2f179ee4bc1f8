# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Raises ONNX files, says what came of each, and compares each with ONNX Runtime (see run_model.py).

raise_all.py EE_OPT FILES..."""

import os
import re
import subprocess
import sys

TOOL, FILES = sys.argv[1], sys.argv[2:]
COMPARE = os.path.join(os.path.dirname(__file__), "run_model.py")


def run(*command, text=None):
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command[:3])} ...: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


for path in FILES:
    carrier, model = path + ".carrier.mlir", path + ".model.mlir"
    run(TOOL, path, "--emit=carrier", "--quiet", "-o", carrier)
    text = run(TOOL, carrier, "--pass-pipeline=builtin.module(adaptive-raise)")
    with open(model, "w") as file:
        file.write(text)
    blocks = text.count("adaptive.block @")
    layers = [f"{m[1]}+{m[2].count('[') - 1}" for m in re.finditer(r"adaptive\.layers .* first (\d+) weights (\[\[.*\]\])", text)]
    layers += [f"{m[2]}+{m[1]}*{m[3].count('[') - 1}" for m in re.finditer(r"adaptive\.recurse .* times (\d+) first (\d+) weights (\[\[.*\]\])", text)]
    exits = sorted(re.findall(r"index (\d+) depth (\d+) .* criterion (\w+) fill (\w+)", text))
    summary = f"{blocks} block{'s' * (blocks != 1)}, layers {' '.join(layers)}"
    if exits:
        summary += ", exits " + ", ".join(f"{c}@{d} {fill}" for _, d, c, fill in exits)
    print(f"{os.path.basename(path)}: {summary}", flush=True)
    print(run(sys.executable, COMPARE, path, text=run(TOOL, model, "--mlir-print-op-generic")), flush=True)
