# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Thresholds for exit points and routers, from depth traces: `python -m ee.calibrate TRACE.npz -o policy.toml`.

Learn-then-Test with its promise on unseen documents is the default; threshold sweeps, FREE's estimator and thetas for
given capacities are the others. Scores and thresholds are in logit space throughout.
"""

from .ltt import Resplits, Target, learn_then_test, resplits
from .outcome import NEVER, Outcome, bootstrap, forced, outcome, random_exits, token_values
from .policy import write_policy
from .search import capacity_thresholds, coordinate_search, free_threshold, separate_path, shared_grid
from .trace_file import TraceFile

__all__ = [
    *("NEVER", "Outcome", "Resplits", "Target", "TraceFile", "bootstrap", "capacity_thresholds", "coordinate_search", "forced"),
    *("free_threshold", "learn_then_test", "outcome", "random_exits", "resplits", "separate_path", "shared_grid"),
    *("token_values", "write_policy"),
]
