# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Torch modules for exits: eager semantics equal to the reference bodies of `ai.adaptive`, differentiable, and kept as
single nodes by `ee.export`.

Scores are the formulas of `criteria` (logit space), written with the same sequence of operations, so the exported
nodes are the pattern the compiler raises, up to the exporter's spelling (square as Pow, scalars as Constant + Cast).
"""

import math

import torch
from torch import nn

from .exit_spec import ExitSpec, check_specs


@torch.library.custom_op("ee::exit", mutates_args=())
def _exit(
    exit_value: torch.Tensor, rest_value: torch.Tensor, score: torch.Tensor, hidden: torch.Tensor, enabled: torch.Tensor,
    threshold: float, name: str, criterion: str,
) -> torch.Tensor:  # fmt: skip
    return torch.where((enabled & (score >= threshold)).unsqueeze(-1), exit_value, rest_value)


@_exit.register_fake
def _(exit_value, rest_value, score, hidden, enabled, threshold, name, criterion):
    return torch.empty_like(rest_value)


def _exit_context(ctx, inputs, output):
    _, _, score, _, enabled, threshold, _, _ = inputs
    ctx.save_for_backward((enabled & (score >= threshold)).unsqueeze(-1))


def _exit_backward(ctx, grad):
    (row,) = ctx.saved_tensors
    return torch.where(row, grad, 0), torch.where(row, 0, grad), None, None, None, None, None, None


_exit.register_autograd(_exit_backward, setup_context=_exit_context)


@torch.library.custom_op("ee::keep", mutates_args=())
def _keep(active: torch.Tensor, h: torch.Tensor, f_h: torch.Tensor) -> torch.Tensor:
    return torch.where(active.unsqueeze(-1), f_h, h)


@_keep.register_fake
def _(active, h, f_h):
    return torch.empty_like(f_h)


def _keep_context(ctx, inputs, output):
    ctx.save_for_backward(inputs[0].unsqueeze(-1))


def _keep_backward(ctx, grad):
    (row,) = ctx.saved_tensors
    return None, torch.where(row, 0, grad), torch.where(row, grad, 0)


_keep.register_autograd(_keep_backward, setup_context=_keep_context)


class Exit(nn.Module):
    """where(enabled AND score >= threshold, exit_value, rest_value); values [..., D], score f32 and enabled [...]."""

    def __init__(self, name: str, threshold: float, criterion: str = "max_prob"):
        super().__init__()
        self.name, self.threshold, self.criterion = name, float(threshold), criterion

    def forward(self, exit_value, rest_value, score, hidden, enabled):
        return _exit(exit_value, rest_value, score, hidden, enabled, self.threshold, self.name, self.criterion)


class Keep(nn.Module):
    """where(active, f_h, h): a row goes through a block, or keeps its state."""

    def forward(self, active, h, f_h):
        return _keep(active, h, f_h)


def _rest(z: torch.Tensor) -> torch.Tensor:
    m = z.amax(-1, keepdim=True)
    top = z == m
    e = torch.exp(z - m)
    return torch.where(top, 0.0, e).sum(-1) + (top.to(z.dtype).sum(-1) - 1.0)


def score(criterion: str, logits: torch.Tensor, hidden: torch.Tensor, previous: torch.Tensor, probe: nn.Linear | None = None):
    """The score [...] of `criteria` for logits [..., V], hidden and previous [..., D]."""
    if criterion == "max_prob":
        return -torch.log(_rest(logits))
    if criterion == "margin":
        rest, top2 = _rest(logits), torch.topk(logits, 2).values
        a = torch.exp(top2[..., 1:2] - top2[..., 0:1]).squeeze(-1)
        return torch.log(1.0 - a) - torch.log(rest + a)
    if criterion == "entropy":
        rest, d = _rest(logits), logits - logits.amax(-1, keepdim=True)
        h = torch.log1p(rest) - (d * torch.exp(d)).sum(-1) / (rest + 1.0)
        return torch.log(torch.relu(math.log(logits.shape[-1]) - h)) - torch.log(h)
    if criterion == "cosine":
        a, b = (x / torch.linalg.vector_norm(x, dim=-1, keepdim=True) for x in (hidden, previous))
        return torch.log((a + b).square().sum(-1)) - torch.log((a - b).square().sum(-1))
    return probe(hidden).squeeze(-1)


class CausalLMWithExits(nn.Module):
    """A Hugging Face Llama-like model with exits: forward(input_ids, attention_mask, enabled) -> logits, all inputs
    [batch, seq]. The mask is an input because transformers otherwise guesses packed sequences from the positions.

    Exits are forward hooks on `model.model.layers`; the head is the exit's map, then the model's own norm and
    `lm_head`. `fill` as in `insert_exits`: exact leaves the layers alone, propagate freezes the rows that left."""

    def __init__(self, model: nn.Module, exits: list[ExitSpec], fill: str = "exact"):
        super().__init__()
        self.model, self.fill = model, fill
        body = model.model
        self.specs = check_specs(exits, fill, len(body.layers), model.config.hidden_size)
        self.exits = nn.ModuleList(Exit(s.label, s.threshold, s.criterion) for s in self.specs)
        self.maps = nn.ModuleList(self._maps(s) for s in self.specs)
        self.probes = nn.ModuleList(self._probe(s) for s in self.specs)
        self._keep, self._run = Keep(), None
        body.layers[0].register_forward_pre_hook(lambda m, args, kwargs: self._first(args, kwargs), with_kwargs=True)
        for i, layer in enumerate(body.layers):
            layer.register_forward_hook(lambda m, args, out, i=i: self._after(i, out))

    @staticmethod
    def _linear(weight, bias=None) -> nn.Linear:
        """A linear map from an [in, out] array."""
        weight = torch.as_tensor(weight, dtype=torch.float32)
        linear = nn.Linear(*weight.shape, bias=bias is not None)
        linear.weight.data = weight.T.contiguous()
        if bias is not None:
            linear.bias.data = torch.as_tensor(bias, dtype=torch.float32).reshape(-1)
        return linear

    def _maps(self, s: ExitSpec) -> nn.Module:
        t = s.head.tensors
        chain = [n for n in ("map", "down", "up") if n in t]
        return nn.Sequential(*(self._linear(t[n], t.get("bias") if n == chain[-1] else None) for n in chain))

    def _probe(self, s: ExitSpec) -> nn.Module:
        if s.probe is None:
            return nn.Identity()
        return self._linear(torch.as_tensor(s.probe[0], dtype=torch.float32).reshape(-1, 1), [s.probe[1]])

    def _first(self, args, kwargs) -> None:
        self._run["states"] = [args[0] if args else kwargs["hidden_states"]]

    def _after(self, i: int, out):
        """Collect the state after layer i; under propagate also freeze the rows that left before it."""
        tail, h = (out[1:], out[0]) if isinstance(out, tuple) else (None, out)
        run = self._run
        if run.get("active") is not None:
            h = self._keep(run["active"], run["states"][-1], h)
        run["states"].append(h)
        for j, s in enumerate(self.specs):
            if s.layer == i + 1:
                logits = self.model.lm_head(self.model.model.norm(self.maps[j](h)))
                value = score(s.criterion, logits, h, run["states"][-2], self.probes[j])
                run["exits"].append((self.exits[j], logits, value, h))
                if self.fill == "propagate":
                    stays = ~(run["enabled"] & (value >= s.threshold))
                    run["active"] = stays if run.get("active") is None else run["active"] & stays
        return h if tail is None else (h, *tail)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, enabled: torch.Tensor) -> torch.Tensor:
        self._run = {"exits": [], "enabled": enabled}
        result = self.model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).logits
        for module, logits, value, h in reversed(self._run["exits"]):
            result = module(logits, result, value, h, enabled)
        self._run = None
        return result


