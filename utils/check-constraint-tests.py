#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Checks that every numbered constraint of an op has a negative test.

    utils/check-constraint-tests.py --tests DIR FILE.td...

A constraint is `C3:` in an op's description; its test is a comment `// op C3` in
an invalid.mlir below DIR, followed by an expected error. Prints one line per
constraint without a test.
"""

import argparse
import re
import sys
from pathlib import Path

CASE = re.compile(r"^// ([\w.]+) (C\d+)\b.*?(?=^// -----|\Z)", re.M | re.S)
INHERITED = re.compile(r"C(\d+) to C(\d+) as for `(\w+)`")


def constraints(path):
    """Constraint names by op mnemonic."""
    text = Path(path).read_text()
    starts = [(m.start(), m[1]) for m in re.finditer(
        r"^def \w+\s*:\s*\w+_(?:Node)?Op<\"([\w.]+)\"", text, re.M)] + [(len(text), None)]
    found = {}
    for (begin, op), (end, _) in zip(starts, starts[1:]):
        body = text[begin:end]
        description = re.search(r"let description = \[\{(.*?)\}\];", body, re.S)
        found[op] = set(re.findall(r"\b(C\d+):", description[1] if description else ""))
        # Constraints of another op are tested there; one case is enough here.
        for low, high, _ in INHERITED.findall(description[1] if description else ""):
            found[op] -= {f"C{n}" for n in range(int(low), int(high) + 1)}
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tests", required=True)
    parser.add_argument("files", nargs="+")
    options = parser.parse_args()
    tested, faults = set(), 0
    for path in sorted(Path(options.tests).rglob("invalid.mlir")):
        for case in CASE.finditer(path.read_text()):
            if "expected-error" in case[0]:
                tested.add((case[1], case[2]))
    wanted = set()
    for path in options.files:
        for op, names in constraints(path).items():
            wanted.update((op, name) for name in names)
    for op, name in sorted(wanted - tested):
        faults += 1
        print(f"{op} {name} has no negative test")
    print(f"{len(wanted)} constraints, {faults} without a test")
    return 1 if faults or not wanted else 0


if __name__ == "__main__":
    sys.exit(main())
