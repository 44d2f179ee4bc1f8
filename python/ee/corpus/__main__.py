# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""python -m ee.corpus OUT [--only PATTERN] [--opset N]: writes the corpus; exit code 1 if a file disagrees with the reference."""

import argparse
import logging
from pathlib import Path

from ..errors import UserError, run_main


class _Parser(argparse.ArgumentParser):
    """Bad arguments are one line, as all user errors."""

    def error(self, message: str):
        raise UserError(f"{message}; usage: {self.prog} OUT [--only PATTERN] [--opset N]")


def main(argv) -> int:
    parser = _Parser(
        prog="python -m ee.corpus", description="Tiny ONNX models of every method of adaptive depth, with what they must compute"
    )
    parser.add_argument("out", help="folder to write; appears whole or not at all")
    parser.add_argument("--only", metavar="PATTERN", help="cases whose name METHOD-FILL-RULE matches this shell pattern")
    parser.add_argument("--opset", type=int, metavar="N", help="18, 20 or 23; default all")
    args = parser.parse_args(argv)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    from .write import chosen, write_corpus

    return 1 if write_corpus(Path(args.out), chosen(args.only, args.opset), lambda line: print(line, flush=True)) else 0


if __name__ == "__main__":
    raise SystemExit(run_main(main))
