# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The corpus: every file in ONNX Runtime against the reference, and every case against an export of its whole module."""

import argparse
import contextlib
import json
import logging
import tempfile
import time
import warnings
from pathlib import Path

from _common import show, table

NAMES = ["method", "files", "K,V", "largest error", "rows near a threshold", "cases exported whole", "of them equal"]


def page(result) -> str:
    return (
        f"{result['files']} files, {result['megabytes']:.1f} MB, written and compared in {result['seconds']:.0f} s. Errors are over the largest |logit|.\n\n"
        + table(NAMES, result["rows"]) + "".join(f"\n- {p}" for p in result["problems"])
    )  # fmt: skip


def main(argv):
    parser = argparse.ArgumentParser(prog="./evidence corpus", description=__doc__)
    parser.add_argument("--out", type=Path, help="keep the corpus here (default: write it to a temporary folder)")
    options = parser.parse_args(argv)
    from ee.corpus import all_cases, chosen, write_corpus
    from ee.corpus.whole import difference

    # What the exporter says of each of a hundred exports. torch sets its levels when it is imported.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"torch\.onnx|copyreg")
    with contextlib.ExitStack() as stack:
        temporary = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        out, began = options.out or temporary / "corpus", time.monotonic()
        problems = write_corpus(out, chosen(None, None), lambda line: print(line, flush=True))
        seconds = time.monotonic() - began
        files = [] if problems else json.loads((out / "manifest.json").read_text())["files"]
        size = sum(p.stat().st_size for p in out.iterdir()) if files else 0
        compared: dict[str, list[str]] = {}
        for case in all_cases():
            for opset in set(case.opsets) - {20}:  # which has the nodes of 18
                found = difference(case, opset, temporary)
                compared.setdefault(case.method, []).append(found)
                print(found or f"{case.name} at opset {opset}: equals the whole module's export", flush=True)
    problems += [p for found in compared.values() for p in found if p]
    rows = []
    for method in dict.fromkeys(f["method"] for f in files):
        mine = [f for f in files if f["method"] == method]
        rows.append([method, len(mine), ", ".join(dict.fromkeys(f["fill"] for f in mine)), f"{max(f['error'] for f in mine):.1e}",
                     sum(len(f["near"]) for f in mine), len(compared[method]), compared[method].count("")])  # fmt: skip
    show(NAMES, rows)
    return {"files": len(files), "megabytes": size / 1e6, "seconds": seconds, "rows": rows, "problems": problems, "ok": not problems}
