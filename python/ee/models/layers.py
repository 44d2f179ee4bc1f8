# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The pieces of a Llama-like layer in torch, on rows that need not be all rows of a sequence.

States are [batch, rows, hidden]; `positions` [batch, rows] or [rows] gives each row's true position, ascending, so a
layer can run on the rows a router selected: the causal mask of ascending rows is lower triangular whatever was left
out, and rotary angles come from the true positions. Parameter names are those of Hugging Face's Llama.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn


def wide(x: torch.Tensor) -> torch.Tensor:
    """At least float32: what norms and softmax are formed in, whatever a linear map ran in."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


class RMSNorm(nn.Module):
    def __init__(self, hidden: int, eps: float):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(hidden)), eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.rms_norm(wide(x), self.weight.shape, self.weight, self.eps)


def rotary(positions: torch.Tensor, head_dim: int, theta: float) -> tuple[torch.Tensor, torch.Tensor]:
    """cos and sin [..., rows, head_dim] of the half-split form."""
    inverse = theta ** (-torch.arange(0, head_dim, 2, device=positions.device, dtype=torch.float32) / head_dim)
    angle = positions.unsqueeze(-1).float() * inverse
    angle = torch.cat((angle, angle), -1)
    return angle.cos(), angle.sin()


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """x [batch, heads, rows, head_dim]."""
    a, b = x.chunk(2, -1)
    return x * cos + torch.cat((-b, a), -1) * sin


class Linear(nn.Linear):
    """A linear map without bias, plus an optional low-rank term of the unrolled layer that calls it:
    y = W x + s B A x (Relaxed Recursive Transformers)."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__(inputs, outputs, bias=False)

    def forward(self, x: torch.Tensor, lora=None) -> torch.Tensor:
        y = super().forward(x)
        if lora is not None:
            a, b, scale = lora
            y = y + scale * F.linear(F.linear(x, a), b)
        return y


LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = c.heads, c.kv_heads, c.head_dim
        self.q_proj = Linear(c.hidden, c.heads * c.head_dim)
        self.k_proj = Linear(c.hidden, c.kv_heads * c.head_dim)
        self.v_proj = Linear(c.hidden, c.kv_heads * c.head_dim)
        self.o_proj = Linear(c.heads * c.head_dim, c.hidden)

    def _split(self, x: torch.Tensor, heads: int) -> torch.Tensor:
        return x.unflatten(-1, (heads, self.head_dim)).transpose(1, 2)

    def forward(self, x, rope, mask, lora, shared=None):
        """x [batch, rows, hidden] normalised; mask [rows, keys] or [batch, 1, rows, keys], true where a key is
        seen. `shared` are K, V of
        an earlier recursion, used in place of own ones. Returns the result and the K, V used [batch, kv, keys, dim]."""
        cos, sin = (t.unsqueeze(-3) for t in rope)
        q = rotate(self._split(self.q_proj(x, lora.get("q_proj")), self.heads), cos, sin)
        if shared is None:
            k = rotate(self._split(self.k_proj(x, lora.get("k_proj")), self.kv_heads), cos, sin)
            shared = k, self._split(self.v_proj(x, lora.get("v_proj")), self.kv_heads)
        k, v = shared
        # Query heads of one K,V head lie together: fold them into the rows instead of repeating K and V.
        batch, _, rows, dim = q.shape
        groups = self.heads // self.kv_heads
        q = q.reshape(batch, self.kv_heads, groups * rows, dim)
        scores = wide(torch.matmul(q, k.to(q.dtype).transpose(-1, -2))) * (1 / math.sqrt(dim))
        scores = scores.unflatten(2, (groups, rows)).masked_fill(~(mask if mask.dim() == 2 else mask.unsqueeze(-3)), float("-inf"))
        weights = scores.softmax(-1).flatten(2, 3)
        out = torch.matmul(weights.to(v.dtype), v).unflatten(2, (groups, rows)).flatten(1, 2)
        return self.o_proj(out.transpose(1, 2).flatten(2), lora.get("o_proj")), shared


class MLP(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.gate_proj, self.up_proj = Linear(c.hidden, c.ffn), Linear(c.hidden, c.ffn)
        self.down_proj = Linear(c.ffn, c.hidden)

    def forward(self, x, lora):
        gate = F.silu(self.gate_proj(x, lora.get("gate_proj")))
        return self.down_proj(gate * self.up_proj(x, lora.get("up_proj")), lora.get("down_proj"))


class Layer(nn.Module):
    """One pre-norm decoder layer; f(h) contains its residuals."""

    def __init__(self, c):
        super().__init__()
        self.input_layernorm, self.post_attention_layernorm = RMSNorm(c.hidden, c.eps), RMSNorm(c.hidden, c.eps)
        self.self_attn, self.mlp = Attention(c), MLP(c)

    def forward(self, h, rope, mask, lora=None, shared=None):
        lora = lora or {}
        attended, used = self.self_attn(self.input_layernorm(h), rope, mask, lora, shared)
        h = h + attended
        return h + self.mlp(self.post_attention_layernorm(h), lora), used
