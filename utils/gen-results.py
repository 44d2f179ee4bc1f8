#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Writes docs/Results.md from bench/results: what was measured, with the command and the commit it was measured at.

utils/gen-results.py            write
utils/gen-results.py --check    change nothing; exit 1 when the page is out of date
"""

import json
import sys

import evidence

PAGE = evidence.ROOT / "docs" / "Results.md"


def section(name, record):
    item = evidence.load(evidence.items()[name])
    where = record["machine"]
    return (
        f"## {name}\n\n{item.__doc__.strip().splitlines()[0]}\n\n{item.page(record['result']).strip()}\n\n"
        f"`{record['command']}` at {record['commit'][:10]}{'+' if record['commit'].endswith('+changes') else ''}, {record['started'][:10]}, "
        f"{where['processors']} x {where.get('model', 'unknown processor')} ({', '.join(where.get('extensions', []))}).\n"
    )


def page():
    files = sorted(evidence.RESULTS.glob("*.json"))
    sections = [section(file.stem, json.loads(file.read_text())) for file in files]
    head = "<!-- Written by utils/gen-results.py from bench/results; do not edit. -->\n# Results\n\n"
    return head + "Each section is the last run of an item of `./evidence`; what the items do is said in `bench/evidence`.\n\n" + "\n".join(sections)


def main(arguments):
    if arguments not in ([], ["--check"]):
        print(f"error: unknown arguments {' '.join(arguments)}; accepted: --check", file=sys.stderr)
        return 1
    text = page()
    if not arguments:
        PAGE.write_text(text)
    elif not PAGE.exists() or PAGE.read_text() != text:
        print("error: docs/Results.md is out of date; run utils/gen-results.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
