# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Speed of this build beside an earlier one: each compiles SmolLM2 itself and serves it, in turns, on every cell of the grid.

    ./evidence bench-before --before BUILD      BUILD: the build folder of the earlier commit, holds bin/ee-opt and bin/ee-run

A cell is a weight format, with or without the shipped exits, and a test of ee-run bench (prefill, decode by batch). Each
round runs both builds in fresh processes one after the other, the order changing from round to round; the ratio of a
cell is the median over rounds of after / before, with its least and most. The aim: 0.98 or more in every cell. A run
that was stopped goes on where it was (--fresh begins anew).
"""

import hashlib
import json
import os
import shutil
import statistics
from pathlib import Path

from _common import FORMATS, ROOT, Bench, call, parser, show, table

AIM = 0.98


def page(result) -> str:
    cells = result["cells"]
    tests = list(dict.fromkeys(c["test"] for c in cells))
    by = {}
    for c in cells:
        by.setdefault((c["format"], c["exits"]), {})[c["test"]] = c
    say = lambda c: f"{c['ratio']:.3f} [{c['least']:.2f} {c['most']:.2f}] ({c['after']:.0f})" if c else "-"  # noqa: E731
    return (f"{result['threads']} threads. After / before: the median of {result['rounds']} alternating rounds, least and most in brackets, tokens per second after in parentheses.\n\n"
            + table(["format", "exits", *tests], [[f, "yes" if e else "no", *(say(row.get(t)) for t in tests)] for (f, e), row in by.items()]))  # fmt: skip


def artifact(bench: Bench, name: str, form: str, spec: Path | None) -> Path:
    """SmolLM2 as `bench`'s compiler makes it; kept under the hash of the compiler."""
    tag = hashlib.sha256(bench.opt.read_bytes()).hexdigest()[:12]
    path = bench.work / f"before-{name}-{tag}-{form}{'-exits' if spec else ''}.ee"
    if not (path / "manifest.json").is_file():
        shutil.rmtree(path, ignore_errors=True)
        print(f"compiling {path.name}", flush=True)
        call(bench.compiler_command(path, form, spec, None))
    return path


def measure(bench: Bench, model: Path, options) -> dict[str, float]:
    """{test: tokens per second} of one fresh process per grid."""
    rates = {}
    for grid in (["-p", options.prompt, "-n", 0, "-b", 1], ["-p", 0, "-n", options.tokens, "-b", options.batches]):
        said = json.loads(call([bench.run, "bench", model, "-t", bench.threads, "-r", 1, "-o", "json", *grid]))
        for r in said["results"]:
            arm = "" if r["arm"] == "full" else f" {r['arm']}"
            rates[f"{r['test']} b{r['batch']}{arm}"] = r["tokens_per_second"]
    return rates


def main(argv):
    flags = parser("bench-before", __doc__)
    flags.add_argument("--before", type=Path, required=True, help="build folder of the earlier commit")
    flags.add_argument("--formats", default=FORMATS)
    flags.add_argument("--spec", default=ROOT / "examples/exits/smollm2/spec.toml", help="exit spec, or 'none' for the plain model only")
    flags.add_argument("--rounds", type=int, default=5)
    flags.add_argument("--prompt", type=int, default=512)
    flags.add_argument("--tokens", type=int, default=64)
    flags.add_argument("--batches", default="1,8,32")
    flags.add_argument("--fresh", action="store_true", help="forget the rounds of a run that was stopped")
    options = flags.parse_args(argv)
    after = Bench(options)
    options.build = options.before
    before = Bench(options)
    specs = [None] + ([Path(options.spec)] if str(options.spec) != "none" else [])
    sides = {"before": before, "after": after}
    key = hashlib.sha256(b"".join(tool.read_bytes() for side in sides.values() for tool in (side.opt, side.run))
                         + repr([options.prompt, options.tokens, options.batches, after.threads]).encode()).hexdigest()[:12]  # fmt: skip
    log = after.work / f"bench-before-{key}.jsonl"
    if options.fresh:
        log.unlink(missing_ok=True)
    done = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    for number in range(options.rounds):
        for form in options.formats.split(","):
            for spec in specs:
                where = {"round": number, "format": form, "exits": spec is not None}
                if any(where.items() <= d.items() for d in done):
                    continue
                models = {name: artifact(side, name, form, spec) for name, side in sides.items()}
                order = list(sides) if number % 2 == 0 else list(sides)[::-1]
                entry = where | {name: measure(sides[name], models[name], options) for name in order} | {"load_average": os.getloadavg()[0]}
                done.append(entry)
                with log.open("a") as out:
                    out.write(json.dumps(entry) + "\n")
                print(f"[{number + 1}/{options.rounds}] {form}{' exits' if spec else ''}: "
                      + ", ".join(f"{t} {entry['after'][t] / entry['before'][t]:.3f}" for t in entry["after"] if t in entry["before"]), flush=True)  # fmt: skip
    cells = []
    for form in options.formats.split(","):
        for exits in (False, True)[: len(specs)]:
            rounds = [d for d in done if d["format"] == form and d["exits"] == exits and d["round"] < options.rounds]
            for test in rounds[0]["after"]:
                ratios = [d["after"][test] / d["before"][test] for d in rounds]
                cells.append({"format": form, "exits": exits, "test": test, "ratio": statistics.median(ratios), "least": min(ratios), "most": max(ratios),
                              "before": statistics.median(d["before"][test] for d in rounds), "after": statistics.median(d["after"][test] for d in rounds)})  # fmt: skip
    show(["format", "exits", "test", "before", "after", "ratio", "least", "most"],
         [[c["format"], c["exits"], c["test"], f"{c['before']:.1f}", f"{c['after']:.1f}", f"{c['ratio']:.3f}", f"{c['least']:.3f}", f"{c['most']:.3f}"] for c in cells])  # fmt: skip
    below = [c for c in cells if c["ratio"] < AIM]
    print(f"{len(below)} of {len(cells)} cells below {AIM}")
    return {"ok": not below, "threads": after.threads, "rounds": options.rounds, "cells": cells}
