# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Train the larger model (`staged`: four routed stages of three layers) and measure loss, agreement and cost against mean depth."""

from _training import flags, measure, page, report  # noqa: F401  (the results page uses `page`)


def main(argv):
    result = measure("staged", flags("train-staged", __doc__, 85).parse_args(argv))
    report(result)
    return result
