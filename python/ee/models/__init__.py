# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Decoders of variable depth in torch: dense, with exits, recursive, looped, routed."""

from .config import ModelConfig
from .decoder import Decoder

__all__ = ["Decoder", "ModelConfig"]
