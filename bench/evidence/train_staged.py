# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Train the larger model (`staged`: four routed stages of three layers) and measure loss, agreement and cost against mean depth."""

from _training import item, page  # noqa: F401  (the results page uses `page`)

main = item(__doc__, "staged", 85)
