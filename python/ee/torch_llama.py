# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A plain torch Llama, float32 or float64, for teacher-forced logits. No transformers, no cache, no fusion.

In float64 every constant (rotary angles, scale, epsilon) is float64 too: that run is the truth errors are measured
against. In float32 the rotary angles are formed in float32, as transformers does: that is "PyTorch f32".
"""

import numpy as np
import torch

from .checkpoint import Checkpoint


class TorchLlama:
    """All weights in memory in `dtype`. `logits(ids)` maps i64 [B,S] to dtype [B,S,V]."""

    def __init__(self, checkpoint: Checkpoint, dtype: torch.dtype = torch.float32):
        self.config, self.dtype = checkpoint.config, dtype
        self.w = {n: torch.from_numpy(checkpoint.tensor(n)).to(dtype) for n in self.config.tensor_shapes()}
        self.head = self.w["model.embed_tokens.weight" if self.config.tied else "lm_head.weight"]

    def _linear(self, module: str, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.linear(x, self.w[module + ".weight"], self.w.get(module + ".bias"))

    def norm(self, x: torch.Tensor, name: str = "model.norm.weight") -> torch.Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.config.eps) * self.w[name]

    def _rope(self, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        d = self.config.head_dim
        frequency = 1.0 / self.config.rope_theta ** (torch.arange(0, d, 2).to(self.dtype) / d)
        angle = torch.arange(length).to(self.dtype)[:, None] * frequency
        return angle.cos(), angle.sin()

    def _attention(self, x: torch.Tensor, p: str) -> torch.Tensor:
        c, (batch, length, _) = self.config, x.shape
        cos, sin = self._rope(length)

        def split(name: str, heads: int, rotate: bool) -> torch.Tensor:
            y = self._linear(p + name, x).view(batch, length, heads, c.head_dim).transpose(1, 2)
            if rotate:
                a, b = y.chunk(2, -1)
                y = torch.cat([a * cos - b * sin, b * cos + a * sin], -1)
            return y.repeat_interleave(c.heads // heads, 1)

        q, k, v = split("q_proj", c.heads, True), split("k_proj", c.kv_heads, True), split("v_proj", c.kv_heads, False)
        z = q @ k.transpose(-1, -2) * c.head_dim**-0.5
        z = z.masked_fill(torch.ones(length, length, dtype=torch.bool).triu(1), -torch.inf)
        y = z.softmax(-1) @ v
        return self._linear(p + "o_proj", y.transpose(1, 2).reshape(batch, length, -1))

    @torch.no_grad()
    def states(self, ids) -> list[torch.Tensor]:
        """Residual stream [B,S,D] after 0, 1, ... layers, before the final norm."""
        h = [self.w["model.embed_tokens.weight"][torch.as_tensor(np.asarray(ids))]]
        for i in range(self.config.layers):
            p = f"model.layers.{i}."
            x = h[-1] + self._attention(self.norm(h[-1], p + "input_layernorm.weight"), p + "self_attn.")
            n = self.norm(x, p + "post_attention_layernorm.weight")
            gated = torch.nn.functional.silu(self._linear(p + "mlp.gate_proj", n)) * self._linear(p + "mlp.up_proj", n)
            h.append(x + self._linear(p + "mlp.down_proj", gated))
        return h

    @torch.no_grad()
    def logits(self, ids) -> torch.Tensor:
        return self.norm(self.states(ids)[-1]) @ self.head.T

    def generate(self, prompt: list[int], steps: int, eos=()) -> list[int]:
        """Greedy continuation by running the whole sequence again at each step; small models only."""
        out = list(prompt)
        while len(out) < len(prompt) + steps:
            out.append(int(self.logits([out])[0, -1].argmax()))
            if out[-1] in eos:
                break
        return out[len(prompt) :]
