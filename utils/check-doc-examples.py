#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Checks that every op description has an example and that examples parse.

    utils/check-doc-examples.py --ee-opt PATH FILE.td...

An example is a ```mlir fence in a description. Examples may use values they do
not define; such values are declared here with the type the parser says it
expects, so that examples stay short. Prints one line per fault; exit 1 if any.
"""

import argparse
import re
import subprocess
import sys
import textwrap

DEF = re.compile(r"^def (\w+)\s*:\s*\w+_(?:Node)?Op<\"([\w.]+)\"", re.M)
FENCE = re.compile(r"```mlir\n(.*?)```", re.S)
EXPECTS = re.compile(r"use of value '(%\w+)' expects different type than prior uses: "
                     r"'(.*)' vs '(.*)'")


def operands_without_definition(text):
    """Names used in `text` that nothing in it defines."""
    code = re.sub(r"//.*", "", text)
    defined = set()
    for left in re.findall(r"^\s*((?:%\w+(?::\d+)?\s*,?\s*)+)=", code, re.M):
        defined.update(re.findall(r"%\w+", left))
    for header in re.findall(r"^\s*\^\w+\(.*", code, re.M):
        defined.update(re.findall(r"(%\w+)\s*:", header))
    names = []
    for name in re.findall(r"%\w+", code):
        if name not in defined and name not in names:
            names.append(name)
    return names


def parse(ee_opt, source):
    done = subprocess.run([ee_opt, "-", "--allow-unregistered-dialect", "-o", "/dev/null"],
                          input=source, capture_output=True, text=True)
    return done.returncode == 0, done.stderr


def check(ee_opt, example):
    """None when the example parses and verifies, else the first error."""
    types = {name: "i1" for name in operands_without_definition(example)}
    # Each round learns the type of one value at least.
    for _ in range(len(types) + 1):
        declared = "".join(f'{name} = "doc.value"() : () -> {kind}\n'
                           for name, kind in types.items())
        ok, errors = parse(ee_opt, declared + example)
        if ok:
            return None
        wanted = EXPECTS.search(errors)
        if not wanted or wanted[1] not in types:
            break
        types[wanted[1]] = wanted[2]
    first = next((line for line in errors.splitlines() if "error:" in line), errors)
    return first.strip()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ee-opt", required=True)
    parser.add_argument("files", nargs="+")
    options = parser.parse_args()
    faults = examples = 0
    for path in options.files:
        text = open(path).read()
        starts = [(m.start(), m[2]) for m in DEF.finditer(text)] + [(len(text), None)]
        for (begin, op), (end, _) in zip(starts, starts[1:]):
            fences = FENCE.findall(text[begin:end])
            if not fences:
                faults += 1
                print(f"{path}: op {op} has no example")
            for fence in fences:
                examples += 1
                error = check(options.ee_opt, textwrap.dedent(fence))
                if error:
                    faults += 1
                    print(f"{path}: example of op {op}: {error}")
    print(f"{examples} examples, {faults} faults")
    return 1 if faults or not examples else 0


if __name__ == "__main__":
    sys.exit(main())
