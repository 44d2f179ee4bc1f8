# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Writes the tensors that exit specs name, for rows of 4: exit_heads.py FILE."""

import json
import struct
import sys

SHAPES = {
    "map": ("F32", [4, 4]),
    "bias": ("F32", [4]),
    "down": ("F32", [4, 2]),
    "up": ("F32", [2, 4]),
    "narrow": ("F32", [4, 2]),
    "tall": ("F32", [6, 4]),
    "probe": ("F32", [4]),
    "probe_bias": ("F32", [1]),
    "integers": ("I32", [4, 4]),
}

header, end = {}, 0
for name, (kind, shape) in SHAPES.items():
    size = 4
    for extent in shape:
        size *= extent
    header[name] = {"dtype": kind, "shape": shape, "data_offsets": [end, end + size]}
    end += size
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
with open(sys.argv[1], "wb") as out:
    out.write(struct.pack("<Q", len(text)) + text + bytes(end))
