#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Splits the output of --mlir-print-ir-after-all into a file per pass.

    ee-opt m.mlir ... --mlir-print-ir-after-all 2>dump.txt
    utils/split-dump.py dump.txt OUT_DIR

Writes OUT_DIR/000-adaptive-plan-kv-layout.mlir and so on, numbered in the order
the passes ran; a later pass that left the text as it was gets no file.
"""

import re
import sys
from pathlib import Path

# `// -----// IR Dump After PlanKVLayout (adaptive-plan-kv-layout) //----- //`
HEADER = re.compile(r"^// -----// IR Dump (Before|After) (.*?)(?: \(([^)]*)\))?(?: Failed)?(?: .*)?//----- //$")


def split(text):
    """(when, flag or class name, body) of each dump in `text`."""
    dumps = []
    for line in text.splitlines(keepends=True):
        header = HEADER.match(line.strip())
        if header:
            dumps.append((header[1].lower(), (header[3] or header[2]).strip(), []))
        elif dumps:
            dumps[-1][2].append(line)
    return [(when, name, "".join(body).strip() + "\n") for when, name, body in dumps]


def main(arguments):
    if len(arguments) != 2 or arguments[0] in ("-h", "--help"):
        print(__doc__)
        return 0 if arguments[:1] in (["-h"], ["--help"]) else 1
    text = sys.stdin.read() if arguments[0] == "-" else Path(arguments[0]).read_text()
    dumps = split(text)
    if not dumps:
        print(f"error: no dumps in '{arguments[0]}'; run with --mlir-print-ir-after-all", file=sys.stderr)
        return 1
    folder = Path(arguments[1])
    folder.mkdir(parents=True, exist_ok=True)
    last = None
    for index, (when, name, body) in enumerate(dumps):
        if body == last:
            print(f"{index:03} {name}: unchanged")
            continue
        last = body
        stem = re.sub(r"[^A-Za-z0-9-]+", "-", name)
        path = folder / f"{index:03}-{'before-' if when == 'before' else ''}{stem}.mlir"
        path.write_text(body)
        print(f"{index:03} {name}: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
