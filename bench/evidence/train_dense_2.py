# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Train the recipe `dense-2` (two layers of fixed depth) and measure loss, agreement and cost against mean depth."""

from _training import item, page  # noqa: F401  (the results page uses `page`)

main = item(__doc__, "dense-2", 40, steps=4000)
