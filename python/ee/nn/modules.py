# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""One module per op of `ai.adaptive` (attributes in the constructor, inputs in `forward`), and routers.

Rules, strictness and special values: docs/AdaptiveOnnx.md. Thresholds are in logit space.
"""

import torch
from torch import Tensor, nn

from . import functional


class Exit(nn.Module):
    """where(enabled AND score >= threshold, exit_value, rest_value); values [..., D], score f32 and enabled [...]."""

    def __init__(self, name: str, threshold: float, criterion: str = "max_prob"):
        super().__init__()
        self.name, self.threshold, self.criterion = name, float(threshold), criterion

    def forward(self, exit_value: Tensor, rest_value: Tensor, score: Tensor, hidden: Tensor, enabled: Tensor) -> Tensor:
        return functional.apply("Exit", exit_value, rest_value, score, hidden, enabled, self.threshold, self.name, self.criterion)


class Keep(nn.Module):
    """where(active, f_h, h): a row goes through a block, or keeps its state."""

    def forward(self, active: Tensor, h: Tensor, f_h: Tensor) -> Tensor:
        return functional.apply("Keep", active, h, f_h)


class RouteThreshold(nn.Module):
    """active AND score > theta (strict)."""

    def __init__(self, theta: float = 0.0):
        super().__init__()
        self.theta = float(theta)

    def forward(self, score: Tensor, active: Tensor) -> Tensor:
        return functional.apply("RouteThreshold", score, active, self.theta)


class RouteTopK(nn.Module):
    """The k best active rows of the sequence (last axis), k = min(S, max(1, int(capacity * S))); ties: lower position."""

    def __init__(self, capacity: float):
        super().__init__()
        self.capacity = float(capacity)

    def forward(self, score: Tensor, active: Tensor) -> Tensor:
        return functional.apply("RouteTopK", score, active, self.capacity)


class RouteTokenChoice(nn.Module):
    """scores [..., R], depth i64 [] -> (depth <= e, depth == e), e = argmax of scores, lower depth on ties."""

    def forward(self, scores: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:
        return functional.apply("RouteTokenChoice", scores, depth)


class GateWeighted(nn.Module):
    """where(active, h + (gate * alpha) * f_h, h); `gate` [...] is the router's value after its activation."""

    def __init__(self, alpha: float = 0.1):
        super().__init__()
        self.alpha = float(alpha)

    def forward(self, active: Tensor, gate: Tensor, h: Tensor, f_h: Tensor) -> Tensor:
        return functional.apply("GateWeighted", active, gate, h, f_h, self.alpha)


class GateAdditive(nn.Module):
    """where(active, h + f_h, h)."""

    def forward(self, active: Tensor, h: Tensor, f_h: Tensor) -> Tensor:
        return functional.apply("GateAdditive", active, h, f_h)


class ActiveMask(nn.Module):
    """mask [Q, K] or [B or 1, N or 1, Q, K] AND active [B, K] on the key side."""

    def forward(self, mask: Tensor, active: Tensor) -> Tensor:
        return functional.apply("ActiveMask", mask, active)


class HaltThreshold(nn.Module):
    """running AND NOT score >= theta."""

    def __init__(self, theta: float = 0.0):
        super().__init__()
        self.theta = float(theta)

    def forward(self, score: Tensor, running: Tensor) -> Tensor:
        return functional.apply("HaltThreshold", score, running, self.theta)


class HaltCdf(nn.Module):
    """Ouro's Q-exit at quantile q with theta = log(q / (1 - q)); log_survival is 0 before the first loop.

    forward(gate_logit, log_survival, running) -> (still_running, new_log_survival)."""

    def __init__(self, theta: float = 0.0):
        super().__init__()
        self.theta = float(theta)

    def forward(self, gate_logit: Tensor, log_survival: Tensor, running: Tensor) -> tuple[Tensor, Tensor]:
        return functional.apply("HaltCdf", gate_logit, log_survival, running, self.theta)


class HaltDelta(nn.Module):
    """running AND NOT |h - previous| / |h| < epsilon."""

    def __init__(self, epsilon: float):
        super().__init__()
        self.epsilon = float(epsilon)

    def forward(self, h: Tensor, previous: Tensor, running: Tensor) -> Tensor:
        return functional.apply("HaltDelta", h, previous, running, self.epsilon)


class HaltPatience(nn.Module):
    """Stops after `patience` agreements in a row; forward(agrees, count, running) -> (still_running, new_count)."""

    def __init__(self, patience: int):
        super().__init__()
        self.patience = int(patience)

    def forward(self, agrees: Tensor, count: Tensor, running: Tensor) -> tuple[Tensor, Tensor]:
        return functional.apply("HaltPatience", agrees, count, running, self.patience)


class RouterLinear(nn.Linear):
    """z = W (x / temperature), no bias: x [..., hidden] -> [...] for one output, [..., outputs] for more."""

    def __init__(self, hidden: int, outputs: int = 1, temperature: float = 1.0):
        super().__init__(hidden, outputs, bias=False)
        self.temperature = float(temperature)

    def forward(self, x: Tensor) -> Tensor:
        z = super().forward(x if self.temperature == 1.0 else x / self.temperature)
        return z.squeeze(-1) if self.out_features == 1 else z


class RouterMlp(nn.Module):
    """z = W2 gelu(W1 (x / temperature)), hidden -> 2 hidden -> outputs, no bias; output as RouterLinear."""

    def __init__(self, hidden: int, outputs: int = 1, temperature: float = 1.0):
        super().__init__()
        self.up, self.down = nn.Linear(hidden, 2 * hidden, bias=False), RouterLinear(2 * hidden, outputs)
        self.temperature = float(temperature)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(torch.nn.functional.gelu(self.up(x / self.temperature)))
