# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Train the recipe `mor` (Mixture-of-Recursions, R = 3) and measure loss, agreement and cost against mean depth."""

from _training import flags, measure, page, report  # noqa: F401  (the results page uses `page`)


def main(argv):
    result = measure("mor", flags("train-mor", __doc__, 40).parse_args(argv), steps=4000)
    report(result)
    return result
