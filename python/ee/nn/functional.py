# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The ops of `ai.adaptive` on torch tensors: plain torch when run, one custom operator each while a model is exported.

The custom operators `torch.ops.ee.*` are made from the table of `ee.adaptive` and have no derivative of their own; eager
code never meets them, so training costs what plain torch costs. Masked rows are kept out of products before they are
multiplied, because 0 * NaN would otherwise reach the gradients.
"""

import re
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from onnx import AttributeProto
from torch import Tensor

from ..adaptive import OPS
from ..adaptive.bodies import LOWEST
from ..adaptive.table import F32, AdaptiveOp

_KINDS = {AttributeProto.FLOAT: "float", AttributeProto.INT: "int", AttributeProto.STRING: "str"}


def exit_(exit_value: Tensor, rest_value: Tensor, score: Tensor, hidden: Tensor, enabled: Tensor, threshold: float, name: str, criterion: str) -> Tensor:
    return torch.where((enabled & (score >= threshold)).unsqueeze(-1), exit_value, rest_value)


def keep(active: Tensor, h: Tensor, f_h: Tensor) -> Tensor:
    return torch.where(active.unsqueeze(-1), f_h, h)


def route_threshold(score: Tensor, active: Tensor, theta: float) -> Tensor:
    return active & (score > theta)


def top_k_rows(capacity: float, length: int) -> int:
    """k of RouteTopK: min(S, max(1, int(capacity * S))), the product in float32."""
    return min(length, max(1, int(np.float32(capacity) * np.float32(length))))


def route_top_k(score: Tensor, active: Tensor, capacity: float) -> Tensor:
    number = torch.where(score.isnan(), LOWEST, score.detach()).clamp(min=LOWEST)
    order = torch.where(active, number, -torch.inf).sort(dim=-1, descending=True, stable=True).indices
    first = order[..., : top_k_rows(capacity, score.shape[-1])]
    return active & torch.zeros_like(active).scatter(-1, first, torch.ones_like(first, dtype=torch.bool))


def route_token_choice(scores: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:
    choice = torch.where(scores.isnan(), -torch.inf, scores.detach()).argmax(-1)
    return depth <= choice, depth == choice


def gate_weighted(active: Tensor, gate: Tensor, h: Tensor, f_h: Tensor, alpha: float) -> Tensor:
    row = active.unsqueeze(-1)
    weight = torch.where(active, gate, 0).mul(alpha).to(h.dtype).unsqueeze(-1)
    return torch.where(row, h + weight * torch.where(row, f_h, 0), h)


def gate_additive(active: Tensor, h: Tensor, f_h: Tensor) -> Tensor:
    return torch.where(active.unsqueeze(-1), h + f_h, h)


def active_mask(mask: Tensor, active: Tensor) -> Tensor:
    return mask & active[:, None, None, :]


def halt_threshold(score: Tensor, running: Tensor, theta: float) -> Tensor:
    return running & ~(score >= theta)


def halt_cdf(gate_logit: Tensor, log_survival: Tensor, running: Tensor, theta: float) -> tuple[Tensor, Tensor]:
    """logsigmoid(-z) = -softplus(z) = log(1 - sigmoid(z))."""
    new = torch.where(running, log_survival + F.logsigmoid(-gate_logit), log_survival)
    return running & ~(new <= F.logsigmoid(torch.full_like(new, -theta))), new


def halt_delta(h: Tensor, previous: Tensor, running: Tensor, epsilon: float) -> Tensor:
    h, previous = h.detach().float(), previous.detach().float()
    ratio = torch.linalg.vector_norm(h - previous, dim=-1) / torch.linalg.vector_norm(h, dim=-1)
    return running & ~(ratio < epsilon)


def halt_patience(agrees: Tensor, count: Tensor, running: Tensor, patience: int) -> tuple[Tensor, Tensor]:
    new = torch.where(running, torch.where(agrees, count + 1, 0), count)
    return running & ~(new >= patience), new


EAGER: dict[str, Callable] = {
    "Exit": exit_,
    "Keep": keep,
    "RouteThreshold": route_threshold,
    "RouteTopK": route_top_k,
    "RouteTokenChoice": route_token_choice,
    "GateWeighted": gate_weighted,
    "GateAdditive": gate_additive,
    "ActiveMask": active_mask,
    "HaltThreshold": halt_threshold,
    "HaltCdf": halt_cdf,
    "HaltDelta": halt_delta,
    "HaltPatience": halt_patience,
}
# Where the eager form would look at a size, which has to stay symbolic during export.
_FAKE = {"RouteTopK": lambda score, active, capacity: torch.empty_like(active)}


def _custom_operator(op: AdaptiveOp) -> Callable:
    """torch.ops.ee.<snake case>: inputs, then attributes, in the table's order."""
    arguments = [f"Tensor {v.name}" for v in op.inputs] + [f"{_KINDS[a.type]} {a.name}" for a in op.attributes]
    results = ", ".join(["Tensor"] * len(op.outputs))
    name = "ee::" + re.sub(r"(?<!^)(?=[A-Z])", "_", op.name).lower()
    schema = f"({', '.join(arguments)}) -> {results if len(op.outputs) == 1 else '(' + results + ')'}"
    made = torch.library.custom_op(name, EAGER[op.name], mutates_args=(), schema=schema)
    made.register_fake(_FAKE.get(op.name, EAGER[op.name]))
    return made


OPERATORS = {name: _custom_operator(op) for name, op in OPS.items()}


def apply(name: str, *arguments):
    """Op `name` on its inputs and attributes, in the table's order."""
    if not torch.compiler.is_exporting():
        return EAGER[name](*arguments)
    typed = zip(arguments, OPS[name].inputs)
    inputs = [x.float() if v.type == F32 else x for x, v in typed]
    return OPERATORS[name](*inputs, *arguments[len(inputs) :])
