# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Garbled copies of good files: the importer may refuse them or not, but it must not die.

fuzz.py EE_IMPORT DIR COUNT SEED GOOD.onnx..."""

import os
import random
import subprocess
import sys

tool, root, count, seed, *good = sys.argv[1:]
rng = random.Random(int(seed))


def garble(data):
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        at = rng.randrange(len(data))
        kind = rng.randrange(6)
        if kind == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF))
        elif kind == 2:
            del data[at : at + rng.randrange(1, 9)]
        elif kind == 3:
            data[at:at] = data[at : at + rng.randrange(1, 200)]
        elif kind == 4:
            data[at : at + 10] = b"\xff" * 9 + b"\x01"
        elif len(data) > 2:
            del data[rng.randrange(1, len(data)) :]
        if not data:
            return b"\x00"
    return bytes(data)


originals = []
for path in good:
    with open(path, "rb") as file:
        originals.append(file.read())
paths = []
for index in range(int(count)):
    path = f"{root}/{index}.onnx"
    with open(path, "wb") as file:
        file.write(garble(rng.choice(originals)))
    paths.append(path)
done = 0
for start in range(0, len(paths), 500):
    batch = paths[start : start + 500]
    result = subprocess.run([tool, "--batch", *batch], capture_output=True, text=True, errors="replace", timeout=500)
    lines = result.stdout.splitlines()
    assert result.returncode == 0, f"died with {result.returncode} in {batch[len(lines)]}: {result.stderr[-800:]}"
    assert len(lines) == len(batch)
    refused = sum(line.endswith(": refused") for line in lines)
    errors = [line for line in result.stderr.splitlines() if not line.startswith(("error: ", "warning: "))]
    assert not errors, f"lines that are no diagnostics: {errors[:3]}"
    done += refused
    for path in batch:
        os.remove(path)
print(f"{done} of {len(paths)} refused, none died")
