# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""python -m ee.train RECIPE DATA OUT [--minutes M]: train one of the recipes on text that `python -m ee.data` wrote."""

import argparse
import dataclasses
import sys

from ..errors import run_main
from .data import prepare
from .flags import add_training, take_flags
from .loop import Run
from .recipes import RECIPES


def _arguments(argv) -> argparse.Namespace:
    table = "\n".join(f"  {name:14} {r.about}" for name, r in RECIPES.items())
    parser = argparse.ArgumentParser(
        prog="python -m ee.train", description=__doc__, epilog="recipes:\n" + table, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe", choices=RECIPES, metavar="RECIPE")
    parser.add_argument("data", help="folder written by python -m ee.data")
    parser.add_argument("out", help="folder of this run; a run that is there is resumed")
    add_training(parser, 12, None)
    return parser.parse_args(argv)


def main(argv) -> None:
    args = _arguments(argv)
    take_flags(args)
    recipe = RECIPES[args.recipe]
    recipe = dataclasses.replace(recipe, steps=recipe.steps if args.steps is None else args.steps, options=dataclasses.replace(recipe.options, seed=args.seed))
    recipe, read, validate = prepare(recipe, args.data, args.seed)
    Run(recipe, args.out, read, validate, args.minutes, args.device, args.seed, lambda line: print(line, flush=True)).run()


if __name__ == "__main__":
    sys.exit(run_main(main))
