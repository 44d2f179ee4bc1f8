# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Writes files with exits from the 4-layer tiny model in MODEL_DIR.

exit_files.py MODEL_DIR OUT_DIR"""

import sys

import numpy as np
from ee.exit_spec import ExitSpec, Head
from ee.insert_exits import write_exits

source, out = sys.argv[1:]
rng = np.random.default_rng(1)
WIDTH = 64
# Chosen so that some rows leave and some stay.
THRESHOLDS = {"max_prob": -1.5, "margin": -2.5, "entropy": 0.0, "cosine": 1.6, "probe": 0.1}


def normal(*shape):
    return rng.standard_normal(shape).astype(np.float32)


def spec(layer, criterion):
    head, probe = Head(), None
    if criterion == "probe":
        head = Head("map", {"map": np.eye(WIDTH, dtype=np.float32) + 0.1 * normal(WIDTH, WIDTH), "bias": 0.1 * normal(WIDTH)})
        probe = normal(WIDTH), 0.25
    if criterion == "cosine":
        head = Head("lowrank", {"down": normal(WIDTH, 8), "up": normal(8, WIDTH)})
    return ExitSpec(layer, criterion, THRESHOLDS[criterion], head, probe)


cached, plain = f"{source}/model.onnx", f"{source}/model.nocache.onnx"
for criterion in THRESHOLDS:
    write_exits(cached, f"{out}/{criterion}.onnx", [spec(2, criterion)])
write_exits(plain, f"{out}/nocache.onnx", [spec(2, "probe")])
write_exits(cached, f"{out}/nested.onnx", [spec(1, "probe"), spec(2, "max_prob"), spec(3, "cosine")])
write_exits(plain, f"{out}/propagate.onnx", [spec(1, "probe"), spec(3, "max_prob")], fill="propagate")
