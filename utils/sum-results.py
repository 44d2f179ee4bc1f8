#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Sums the JUnit files of several test runners into one line.

    utils/sum-results.py [--status NAME=EXIT]... NAME=FILE.xml...

Prints failed tests, why tests were skipped, a row per runner and, last, the line
`N passed, N failed` (`, N skipped` when there are any). A runner whose file is
missing or unreadable, that ran no test, or that ended badly although no test of
its failed, counts as one failure: silence is no success.
"""

import collections
import sys
import xml.etree.ElementTree as ET


def read_cases(path):
    """(name, outcome, message) of each test case in a JUnit file."""
    cases = []
    for case in ET.parse(path).getroot().iter("testcase"):
        name = "::".join(part for part in (case.get("classname"), case.get("name")) if part)
        outcome, message = "passed", ""
        for child in case:
            tag = child.tag.rsplit("}", 1)[-1]
            if tag in ("failure", "error"):
                outcome, message = "failed", child.get("message") or ""
            elif tag == "skipped" and outcome != "failed":
                outcome, message = "skipped", child.get("message") or ""
        # ctest marks a test that could not run by its status alone.
        if outcome == "passed" and case.get("status") in ("notrun", "disabled"):
            outcome, message = "skipped", case.get("status")
        if outcome == "passed" and case.get("status") == "fail":
            outcome = "failed"
        cases.append((name, outcome, message))
    return cases


def pair(argument):
    name, separator, value = argument.partition("=")
    if not separator or not name or not value:
        sys.exit(f"error: expected NAME=VALUE, but got '{argument}'")
    return name, value


def main(arguments):
    statuses, files = {}, []
    arguments = list(arguments)
    while arguments:
        argument = arguments.pop(0)
        if argument in ("-h", "--help"):
            print(__doc__)
            return 0
        if argument == "--status":
            if not arguments:
                sys.exit("error: --status needs NAME=EXIT")
            name, value = pair(arguments.pop(0))
            statuses[name] = value
        else:
            files.append(pair(argument))
    if not files:
        sys.exit("error: no result files given; see --help")

    totals = {"passed": 0, "failed": 0, "skipped": 0}
    rows = []
    for name, path in files:
        reasons = collections.Counter()
        counts = dict.fromkeys(totals, 0)
        try:
            cases = read_cases(path)
        except (OSError, ET.ParseError) as error:
            print(f"FAILED  {name}: no results: {error}")
            cases = []
            counts["failed"] += 1
        else:
            if not any(outcome != "skipped" for _, outcome, _ in cases):
                print(f"FAILED  {name}: ran no test")
                counts["failed"] += 1
        for case, outcome, message in cases:
            counts[outcome] += 1
            first = message.strip().splitlines()[0] if message.strip() else "no reason given"
            if outcome == "failed":
                print(f"FAILED  {name}: {case} ({first})")
            elif outcome == "skipped":
                reasons[first] += 1
        for reason, count in sorted(reasons.items()):
            print(f"SKIPPED {name}: {count} ({reason})")
        if statuses.get(name, "0") != "0" and not counts["failed"]:
            print(f"FAILED  {name}: ended with status {statuses[name]}")
            counts["failed"] += 1
        rows.append((name, counts))
        for outcome in totals:
            totals[outcome] += counts[outcome]
    for name, counts in rows:
        print(f"{name:8}" + "  ".join(f"{counts[o]:5} {o}" for o in totals))
    line = f"{totals['passed']} passed, {totals['failed']} failed"
    if totals["skipped"]:
        line += f", {totals['skipped']} skipped"
    print(line)
    return 1 if totals["failed"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
