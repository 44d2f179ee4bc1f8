# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Row-count invariance: a request gives the same logit bits however it is served.

The reference of each (weight format, CPU level) is every prompt alone, one thread, whole chunks. Against it: batches
of 2, 7 and 16, one and two threads, shuffled pages, preempted and resumed (asked for, and for want of pages), prompts
in chunks of 1, 5 and 64. Also with exits, where tokens leave by criterion.
"""

from pathlib import Path

from _common import FORMATS, ROOT, Bench, parser, show, table, words
from exits import differences

VARIANTS = {
    "alone, 2 threads": {"threads": 2},
    "batch 2": {"batch": 2},
    "batch 7": {"batch": 7, "threads": 2},
    "batch 16": {"batch": 16},
    "batch 16, 2 threads": {"batch": 16, "threads": 2},
    "chunk 1": {"batch": 7, "chunk": 1},
    "chunk 5": {"batch": 7, "chunk": 5},
    "pages shuffled": {"batch": 16, "shuffle_pages": 12345},
    "preempted": {"batch": 7, "preempt_every": 3},
    "few pages": {"batch": 16, "kv_pages": 7, "threads": 2},
    "all at once": {"batch": 16, "chunk": 5, "shuffle_pages": 99, "preempt_every": 4, "kv_pages": 9, "threads": 2},
}


def requests(bench, count):
    """Prompts of 1 to about 150 tokens, so that some need several chunks and several pages."""
    short = bench.prompts(200)[:: 200 // count][:count]
    return [sum((short[(i + j) % count] for j in range(12)), p) if i % 4 == 0 else p for i, p in enumerate(short)]


def page(result) -> str:
    return table(["weights", "exits", "level", "requests", "tokens", f"of {len(VARIANTS)} ways to serve them, differ"],
                 [[r["weights"], "yes" if r["exits"] else "no", r["level"], r["prompts"], r["tokens"], sum(map(bool, r["different"].values()))] for r in result["cells"]])  # fmt: skip


def main(argv):
    flags = parser("rows", __doc__)
    flags.add_argument("--weights", default=FORMATS)
    flags.add_argument("--levels", help="CPU levels, default: all of the artifact")
    flags.add_argument("--prompts", type=int, default=16)
    flags.add_argument("--tokens", type=int, default=12)
    flags.add_argument("--spec", default=ROOT / "examples/exits/smollm2/spec.toml", help="exit spec, or 'none' for the plain model only")
    options = flags.parse_args(argv)
    bench, rows = Bench(options), []
    prompts = requests(bench, options.prompts)
    for form in options.weights.split(","):
        for spec in [None] + ([Path(options.spec)] if str(options.spec) != "none" else []):
            artifact = bench.artifact(form, spec, spec and "grouped")
            for level in options.levels.split(",") if options.levels else bench.levels(artifact):
                base = {"batch": 1, "threads": 1, "chunk": 64, "cpu_level": level}
                want = bench.generate(artifact, prompts, options.tokens, **base)
                row = {"weights": form, "exits": spec is not None, "level": level, "prompts": len(prompts),
                       "tokens": sum(len(r["ids"]) for r in want), "different": {}}  # fmt: skip
                for name, variant in VARIANTS.items():
                    wrong = differences(want, bench.generate(artifact, prompts, options.tokens, **base | variant))
                    row["different"][name] = len(wrong)
                    if wrong:
                        row.setdefault("first", {})[name] = {"difference": wrong[0], "command": words(bench.generate_command(artifact, prompts, options.tokens, **base | variant))}
                        row["reference"] = words(bench.generate_command(artifact, prompts, options.tokens, **base))
                        print(f"DIFFERS {form} {level} {name}: {wrong[0]}\n  {row['reference']}\n  {row['first'][name]['command']}", flush=True)
                rows.append(row)
                print(f"{form} {'with' if spec else 'without'} exits, {level}: {sum(map(bool, row['different'].values()))} of {len(VARIANTS)} variants differ", flush=True)
    show(["weights", "exits", "level", "requests", "tokens", *VARIANTS],
         [[r["weights"], r["exits"], r["level"], r["prompts"], r["tokens"], *(n or "same" for n in r["different"].values())] for r in rows])  # fmt: skip
    return {"ok": bool(rows) and not any(any(r["different"].values()) for r in rows), "longest_prompt": max(map(len, prompts)), "cells": rows}
