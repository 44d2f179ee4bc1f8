# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Muon for the matrices of layers, AdamW for the rest, and a learning rate that always ends annealed."""

import torch
from torch import nn


class Optimiser:
    """Two torch optimisers under one schedule. `rate(progress)` in [0, 1] scales both."""

    def __init__(self, model: nn.Module, recipe):
        self.recipe = recipe
        matrices, rest = [], []
        for name, p in model.named_parameters():
            if p.requires_grad:
                (matrices if p.ndim == 2 and name.startswith("model.layers.") else rest).append(p)
        decayed = [p for p in rest if p.ndim == 2]
        plain = [p for p in rest if p.ndim != 2]
        self.rest = rest
        self.parts = [
            torch.optim.AdamW(
                [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}],
                lr=recipe.adam_rate, betas=(0.9, 0.95), fused=False,
            )
        ]  # fmt: skip
        if matrices:
            self.parts.append(torch.optim.Muon(matrices, lr=recipe.muon_rate, momentum=0.95, weight_decay=recipe.weight_decay))
        self.rates = [[g["lr"] for g in part.param_groups] for part in self.parts]

    def rate(self, step: int, progress: float) -> float:
        """Warm-up by steps; constant; linear to `floor` over the second half of the run."""
        warm = min(1.0, (step + 1) / self.recipe.warmup)
        return warm * (1.0 if progress < 0.5 else 1.0 - (1.0 - self.recipe.floor) * (progress - 0.5) / 0.5)

    def step(self, step: int, progress: float) -> None:
        scale = self.rate(step, progress)
        nn.utils.clip_grad_norm_(self.rest, 1.0)
        for part, rates in zip(self.parts, self.rates):
            for group, rate in zip(part.param_groups, rates):
                group["lr"] = rate * scale
            part.step()
            part.zero_grad(set_to_none=True)

    def state_dict(self) -> list:
        return [part.state_dict() for part in self.parts]

    def load_state_dict(self, states: list) -> None:
        for part, state in zip(self.parts, states):
            part.load_state_dict(state)
