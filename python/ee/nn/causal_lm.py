# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A Hugging Face Llama-like decoder with exits, by forward hooks on its layers."""

import torch
from torch import nn

from ..exit_spec import ExitSpec, check_specs
from .modules import Exit, Keep
from .scores import score


class CausalLMWithExits(nn.Module):
    """A Hugging Face Llama-like model with exits: forward(input_ids, attention_mask, enabled[, scripts]) -> logits, or
    (logits, depth) with `exit_depth`: i64, layers run. All inputs [batch, seq]. The mask is an input because transformers
    otherwise guesses packed sequences from the positions. With `scripted`, `scripts` holds one f32 score per exit, shallowest
    first, in place of the criteria.

    Exits are forward hooks on `model.model.layers`, there only while `forward` runs, so the model itself stays as it was; the head is the exit's map, then the model's own norm and
    `lm_head`. `fill` as in `insert_exits`: exact leaves the layers alone, propagate freezes the rows that left."""

    def __init__(self, model: nn.Module, exits: list[ExitSpec], fill: str = "exact", scripted: bool = False, exit_depth: bool = False):
        super().__init__()
        self.model, self.fill, self.scripted, self.exit_depth = model, fill, scripted, exit_depth
        body = model.model
        self.specs = check_specs(exits, fill, len(body.layers), model.config.hidden_size)
        self.exits = nn.ModuleList(Exit(s.label, s.threshold, "script" if scripted else s.criterion) for s in self.specs)
        self.maps = nn.ModuleList(self._maps(s) for s in self.specs)
        self.probes = nn.ModuleList(self._probe(s) for s in self.specs)
        self._keep, self._run = Keep(), None

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
                scripts = run["scripts"]
                value = scripts[j] if self.scripted else score(s.criterion, logits, h, run["states"][-2], self.probes[j])
                run["exits"].append((self.exits[j], logits, value, h))
                if self.fill == "propagate":
                    stays = ~(run["enabled"] & (value >= s.threshold))
                    run["active"] = stays if run.get("active") is None else run["active"] & stays
        return h if tail is None else (h, *tail)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, enabled: torch.Tensor, scripts: list[torch.Tensor] | None = None):
        self._run = {"exits": [], "enabled": enabled, "scripts": scripts}
        layers = self.model.model.layers
        hooks = [layers[0].register_forward_pre_hook(lambda m, args, kwargs: self._first(args, kwargs), with_kwargs=True)]
        hooks += [layer.register_forward_hook(lambda m, args, out, i=i: self._after(i, out)) for i, layer in enumerate(layers)]
        try:
            result = self.model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).logits
        finally:
            for hook in hooks:
                hook.remove()
        for module, logits, value, h in reversed(self._run["exits"]):
            result = module(logits, result, value, h, enabled)
        if self.exit_depth:
            depth = torch.full_like(input_ids, len(layers))
            for s, (_, _, value, _) in reversed(list(zip(self.specs, self._run["exits"]))):
                depth = torch.where(enabled & (value >= s.threshold), s.layer, depth)
            result = (result, depth)
        self._run = None
        return result
