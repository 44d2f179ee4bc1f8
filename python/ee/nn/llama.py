# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A Llama block for models that are trained and exported here; parameter names and formulas are Hugging Face's.

    n = RMSNorm(h);  h' = h + O attention(rope(Q n), rope(K n), V n);  out = h' + down(silu(gate n') * up n'), n' = RMSNorm(h')

K and V can come from elsewhere, which is what sharing across recursions needs: see `LlamaBlock.forward`.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import functional

KeyValue = tuple[Tensor, Tensor]


def rope_tables(context: int, head_dim: int, theta: float = 10000.0) -> tuple[Tensor, Tensor]:
    """cos and sin f32 [context, head_dim], both halves alike (half-split rotation); angles are formed in float64."""
    exponent = np.arange(0, head_dim, 2, dtype=np.float64) / head_dim
    angle = np.arange(context, dtype=np.float64)[:, None] / theta**exponent
    angle = np.concatenate([angle, angle], -1)
    return torch.tensor(np.cos(angle), dtype=torch.float32), torch.tensor(np.sin(angle), dtype=torch.float32)


def rope_rows(positions: Tensor, head_dim: int, theta: float = 10000.0) -> tuple[Tensor, Tensor]:
    """cos and sin f32 [..., head_dim] of positions [...], formed where they are used: no longest context, any rows."""
    inverse = theta ** (-torch.arange(0, head_dim, 2, device=positions.device, dtype=torch.float32) / head_dim)
    angle = positions.unsqueeze(-1).float() * inverse
    angle = torch.cat([angle, angle], -1)
    return angle.cos(), angle.sin()


def causal_mask(positions: Tensor) -> Tensor:
    """bool [S, S]: the query at row i sees the keys at j with positions[j] <= positions[i]."""
    return positions[None, :] <= positions[:, None]


class RMSNorm(nn.Module):
    """weight * x / sqrt(mean(x^2) + eps) over the last axis, formed in float32 at least."""

    def __init__(self, hidden: int, eps: float = 1e-5):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(hidden)), eps

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        if torch.compiler.is_exporting():
            return self.weight * (x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps))
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x [batch, heads, rows, head_dim], tables [rows, head_dim] or [batch, rows, head_dim]."""
    half = x.shape[-1] // 2
    a, b = x[..., :half], x[..., half:]  # chunk is exported as a sequence
    return x * cos.unsqueeze(-3) + torch.cat([-b, a], -1) * sin.unsqueeze(-3)


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """softmax(q k' / sqrt(head_dim)) v with grouped heads: q [batch, heads, rows, dim], k and v [batch, kv_heads, keys, dim], mask
    [rows, keys] or [batch, 1, rows, keys]. The written-out form is for training: the fused one's backward pass is slow on a
    CPU at short lengths. Query heads of one K,V head lie together, so they are folded into the rows."""
    heads, kv_heads = q.shape[1], k.shape[1]
    groups = heads // kv_heads
    if torch.compiler.is_exporting():
        k, v = (x if groups == 1 else x.repeat_interleave(groups, 1) for x in (k, v))
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    scores = torch.matmul(q.unflatten(1, (kv_heads, groups)).flatten(2, 3), k.to(q.dtype).transpose(-1, -2))
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32)).unflatten(2, (groups, q.shape[2])) * q.shape[-1] ** -0.5
    seen = mask if mask.dim() == 2 else mask.unsqueeze(-3)
    # Finite, so that a row without any visible key gets a meaningless number and not NaN, which would spread as a key's value.
    weights = scores.masked_fill(~seen, torch.finfo(scores.dtype).min).softmax(-1).flatten(2, 3)
    return torch.matmul(weights.to(v.dtype), v).unflatten(2, (groups, q.shape[2])).flatten(1, 2)


class LlamaAttention(nn.Module):
    """Grouped-query attention; the scale is 1/sqrt(head_dim)."""

    def __init__(self, hidden: int, heads: int, kv_heads: int, head_dim: int, bias: bool = False):
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = heads, kv_heads, head_dim
        self.q_proj = nn.Linear(hidden, heads * head_dim, bias=bias)
        self.k_proj = nn.Linear(hidden, kv_heads * head_dim, bias=bias)
        self.v_proj = nn.Linear(hidden, kv_heads * head_dim, bias=bias)
        self.o_proj = nn.Linear(heads * head_dim, hidden, bias=False)

    def _split(self, x: Tensor, heads: int) -> Tensor:
        return x.unflatten(-1, (heads, self.head_dim)).transpose(1, 2)

    def forward(self, x: Tensor, mask: Tensor, rope: tuple[Tensor, Tensor], kv: KeyValue) -> Tensor:
        q = _rotate(self._split(self.q_proj(x), self.heads), *rope)
        k, v = _rotate(self._split(kv[0], self.kv_heads), *rope), self._split(kv[1], self.kv_heads)
        return self.o_proj(_attend(q, k, v, mask).transpose(1, 2).flatten(2))


class LlamaMlp(nn.Module):
    """down(silu(gate x) * up x)"""

    def __init__(self, hidden: int, ffn: int):
        super().__init__()
        self.gate_proj, self.up_proj = nn.Linear(hidden, ffn, bias=False), nn.Linear(hidden, ffn, bias=False)
        self.down_proj = nn.Linear(ffn, hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class LlamaBlock(nn.Module):
    """One decoder block on h [batch, seq, hidden]."""

    def __init__(self, hidden: int, heads: int, kv_heads: int, head_dim: int, ffn: int, eps: float = 1e-5, bias: bool = False):
        super().__init__()
        self.input_layernorm, self.post_attention_layernorm = RMSNorm(hidden, eps), RMSNorm(hidden, eps)
        self.self_attn, self.mlp = LlamaAttention(hidden, heads, kv_heads, head_dim, bias), LlamaMlp(hidden, ffn)

    def forward(
        self, h: Tensor, mask: Tensor, rope: tuple[Tensor, Tensor], kv: KeyValue | None = None, active: Tensor | None = None
    ) -> tuple[Tensor, KeyValue]:
        """Returns (f(h), (K, V)), K and V [batch, seq, kv_heads * head_dim] before the rotation.

        `mask` bool [rows, keys] or [batch, 1, rows, keys]; `rope` the tables' rows of these positions. `kv` replaces this
        block's own K and V; with `active` [batch, seq] it does so only for rows that are not active."""
        n, attention = self.input_layernorm(h), self.self_attn
        if kv is None or active is not None:
            own = attention.k_proj(n), attention.v_proj(n)
            kv = own if kv is None else tuple(functional.apply("Keep", active, old, new) for old, new in zip(kv, own))
        h = h + attention(n, mask, rope, kv)
        return h + self.mlp(self.post_attention_layernorm(h)), kv
