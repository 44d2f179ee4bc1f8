# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Torch modules for adaptive depth: eager semantics equal to the reference bodies of `ai.adaptive`, differentiable where
a derivative exists, and kept as single nodes by `ee.export`.

Values are [batch, seq, hidden] (or [..., D]), masks, scores and gates [batch, seq] (or [...]); scores in logit space.
"""

from .causal_lm import CausalLMWithExits
from .llama import LlamaBlock, RMSNorm, causal_mask, rope_rows, rope_tables
from .modules import (
    ActiveMask,
    Exit,
    GateAdditive,
    GateWeighted,
    HaltCdf,
    HaltDelta,
    HaltPatience,
    HaltThreshold,
    Keep,
    RouterLinear,
    RouterMlp,
    RouteThreshold,
    RouteTokenChoice,
    RouteTopK,
)
from .recurse import DepthLora, Recurse, Recursed
from .scores import score

__all__ = [
    "ActiveMask", "CausalLMWithExits", "DepthLora", "Exit", "GateAdditive", "GateWeighted", "HaltCdf", "HaltDelta", "HaltPatience",
    "HaltThreshold", "Keep", "LlamaBlock", "RMSNorm", "Recurse", "Recursed", "RouteThreshold", "RouteTokenChoice", "RouteTopK",
    "RouterLinear", "RouterMlp", "causal_mask", "rope_rows", "rope_tables", "score",
]  # fmt: skip
