# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The domain `ai.adaptive`, version 1, as one table: every op with the reference body that defines it.

`table.OPS` is the single source: the onnx schemas, the bodies in the files, the torch ops of `ee.nn` and the page
docs/AdaptiveOnnx.md (`python -m ee.adaptive --markdown`) are made from it.
"""

from .model import attach_bodies, function, register_schemas, registered_schemas
from .table import DOMAIN, OPS, VERSION, AdaptiveOp, Attribute, Value

__all__ = [
    "DOMAIN", "OPS", "VERSION", "AdaptiveOp", "Attribute", "Value", "attach_bodies", "function", "register_schemas",
    "registered_schemas",
]  # fmt: skip
