# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""ONNX's node tests through the general path: all of them, as they are and with every dimension unknown.

The expected numbers are those of ONNX's reference implementation. Cases that ee-opt refuses are counted with what it
says; `python/tests/onnx_nodes_refused.txt` pins them."""

import collections
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

from _common import ROOT, parser, show, table


def page(result) -> str:
    return table(["form", "cases", "accepted and run", "wrong"], [[form, *row.values()] for form, row in result["forms"].items()])


def main(argv):
    flags = parser("onnx-nodes", __doc__)
    flags.add_argument("--size", type=int, default=60, help="cases per compiled model")
    options = flags.parse_args(argv)
    os.environ["EE_BUILD_DIR"] = str(options.build.absolute())
    sys.path.insert(0, str(ROOT / "python"))
    from tests import test_onnx_nodes as nodes
    from tests.onnx_nodes import with_unknown_sizes

    work = Path(tempfile.mkdtemp(prefix="onnx-nodes."))
    rows, wrong, refused = {}, [], {}
    try:
        plain = list(nodes.cases().values())
        chosen = nodes.accepted(plain)
        for form, cases in {"as they are": chosen, "unknown sizes": [with_unknown_sizes(c) for c in chosen]}.items():
            said = nodes.lower(cases, work / f"lower {form}".replace(" ", "-"))
            taken = [c for c in cases if not said[c.name]]
            folder = work / form.replace(" ", "-")
            folder.mkdir()
            bad = nodes.run_all(taken, folder, options.size)
            rows[form] = {"cases": len(plain), "accepted": len(taken), "wrong": len(bad)}
            wrong += [f"{form}: {w}" for w in bad]
        said = nodes.lower(plain, work / "refusals")
        for text in filter(None, said.values()):
            kind = re.sub(r"'[^']*'", "X", text.replace(f"{work}/", ""))
            refused[kind] = refused.get(kind, 0) + 1
    finally:
        shutil.rmtree(work, ignore_errors=True)
    show(["form", "cases", "accepted", "wrong"], [[f, *r.values()] for f, r in rows.items()])
    for line in wrong:
        print(line)
    print("most frequent refusals:")
    for text, count in collections.Counter(refused).most_common(12):
        print(f"{count:5} {text}")
    return {"ok": not wrong, "forms": rows, "wrong": wrong, "refusals": refused}
