# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Train the recipe `staged-dense` (six layers of fixed depth) on as many tokens as `staged`: what a fixed depth of equal cost reaches."""

from _training import flags, measure, page, report  # noqa: F401  (the results page uses `page`)


def main(argv):
    parser = flags("train-staged-dense", __doc__, 120)
    parser.add_argument("--steps", type=int, required=True, help="steps that `staged` made (its curve.csv says)")
    options = parser.parse_args(argv)
    result = measure("staged-dense", options, steps=options.steps)
    report(result)
    return result
