# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Muon for the matrices of layers, AdamW for the rest, and a learning rate that always ends annealed."""

import torch
from torch import nn


class Optimiser:
    """Two torch optimisers under one schedule. `rate(progress)` in [0, 1] scales both. With `muon_rate` 0 AdamW does all."""

    def __init__(self, model: nn.Module, recipe):
        self.recipe = recipe
        matrices, rest = [], []
        for name, p in model.named_parameters():
            if p.requires_grad:
                (matrices if recipe.muon_rate and p.ndim == 2 and name.startswith("model.layers.") else rest).append(p)
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
        """Raises `ValueError` where the states are not those of these parameters: torch itself takes a group without a rate,
        and moments of any shape, and fails a step later."""
        if len(states) != len(self.parts):
            raise ValueError(f"must have {len(self.parts)} parts, but has {len(states)}")
        for part, state in zip(self.parts, states, strict=True):
            options = [set(group) for group in part.param_groups]
            part.load_state_dict(state)
            for group, needed in zip(part.param_groups, options, strict=True):
                if missing := sorted(needed - set(group)):
                    raise ValueError(f"a group of {type(part).__name__} has no {missing[0]}")
            for p, moments in part.state.items():
                if any(torch.is_tensor(m) and m.ndim and m.shape != p.shape for m in moments.values()):
                    raise ValueError(f"moments of {type(part).__name__} must have the shape {tuple(p.shape)} of their parameter")
