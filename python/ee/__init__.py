# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Python side of the adaptive-depth compiler; see README.md in this folder.

Names below are loaded when first used, so that the base install needs neither torch nor ONNX Runtime.
"""

import importlib

__version__ = "0.1.0"

_LAZY = {
    "open_checkpoint": "checkpoint",
    "ExitSpec": "exit_spec",
    "Head": "exit_spec",
    "load_spec": "exit_spec",
    "save_spec": "exit_spec",
    "add_exits": "insert_exits",
    "write_exits": "insert_exits",
    "Oracle": "oracle",
    "export": "torch_export",
    "export_causal_lm": "torch_export",
    "UserError": "errors",
}


def __getattr__(name: str):
    if name not in _LAZY:
        raise AttributeError(f"module 'ee' has no attribute {name!r}")
    return getattr(importlib.import_module("." + _LAZY[name], __name__), name)
