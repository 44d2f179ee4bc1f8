# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Train the recipe `dense` (six layers of fixed depth) and measure loss, agreement and cost against mean depth."""

from _training import item, page  # noqa: F401  (the results page uses `page`)

main = item(__doc__, "dense", 40)
