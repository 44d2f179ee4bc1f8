# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""python -m ee.adaptive --markdown [FILE]: the page docs/AdaptiveOnnx.md, to FILE or standard output."""

import argparse
from pathlib import Path

from ..errors import run_main
from .markdown import page


def main(argv) -> int:
    parser = argparse.ArgumentParser(prog="python -m ee.adaptive", description=__doc__.split(": ")[1])
    parser.add_argument("--markdown", nargs="?", const="-", required=True, metavar="FILE", help="write the page; FILE - or none: standard output")
    file = parser.parse_args(argv).markdown
    if file == "-":
        print(page(), end="")
    else:
        Path(file).write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_main(main))
