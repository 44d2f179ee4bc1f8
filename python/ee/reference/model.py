# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The decoder that every method runs: Llama blocks in float64, on a flat dict of weights in Hugging Face naming.

An UNROLLED layer l = 0..L-1 is one application of a block; `Config.layout[l]` is the PHYSICAL block whose weights it
uses, so a recursive model is a layout that names blocks more than once. Linear weights are [out, in].

  RMSNorm        y = x / sqrt(mean(x^2) + eps) * g
  linear         y = W x (+ b) + s B_l A_l x            LoRA of unrolled layer l, A [rank, in], B [out, rank], when present
  RoPE           halves a, b of a head, angle p * theta^(-2i/head_dim): (a cos - b sin, b cos + a sin), p = true position
  attention      softmax(q . k / sqrt(head_dim)) v over an explicit list of keys; kv head = head // (heads / kv_heads)
  block          h <- h + P1(o(attention(N1(h))));  h <- h + P2(down(silu(gate(n)) * up(n))), n = N2(h)
  head           z = W_head N(h), W_head = embedding when tied

P1, P2 are the identity, or the RMSNorms `input_layernorm_2`, `post_attention_layernorm_2` where the weights have them
(Ouro's sandwich norms). K is stored after rotation. Sources: Touvron et al. 2023 (LLaMA), Su et al. 2021 (RoPE),
Hu et al. 2021 (LoRA), Bae et al. 2024 (LoRA per depth).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from ..errors import UserError
from ..sizes import check_sizes

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
MLP = ("gate_proj", "up_proj", "down_proj")
LINEARS = ATTENTION + MLP
EMBED, HEAD, FINAL_NORM = "model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"


@dataclass(frozen=True)
class Config:
    """Sizes of a model. `layout[l]` is the physical block of unrolled layer l."""

    vocab: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    layout: tuple[int, ...]
    rope_theta: float = 10000.0
    eps: float = 1e-5
    tied: bool = False
    lora_scale: float = 1.0

    def __post_init__(self):
        object.__setattr__(self, "layout", tuple(self.layout))
        check_sizes(self)
        if not self.layout or min(self.layout) < 0:
            raise UserError(f"layout: must name a block >= 0 for each of one or more layers, but got {self.layout}")

    @property
    def layers(self) -> int:
        """Number of unrolled layers, L."""
        return len(self.layout)

    def linear_shape(self, name: str) -> tuple[int, int]:
        """[out, in] of a linear of a block."""
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return {
            "q_proj": (q, self.hidden),
            "k_proj": (kv, self.hidden),
            "v_proj": (kv, self.hidden),
            "o_proj": (self.hidden, q),
            "gate_proj": (self.ffn, self.hidden),
            "up_proj": (self.ffn, self.hidden),
            "down_proj": (self.hidden, self.ffn),
        }[name]

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the tensors without which there is no model; each physical block once."""
        shapes: dict[str, tuple[int, ...]] = {EMBED: (self.vocab, self.hidden)}
        for block in sorted(set(self.layout)):
            prefix = f"model.layers.{block}."
            shapes[prefix + "input_layernorm.weight"] = (self.hidden,)
            shapes[prefix + "post_attention_layernorm.weight"] = (self.hidden,)
            for name in LINEARS:
                shapes[f"{prefix}{'self_attn' if name in ATTENTION else 'mlp'}.{name}.weight"] = self.linear_shape(name)
        shapes[FINAL_NORM] = (self.hidden,)
        if not self.tied:
            shapes[HEAD] = (self.vocab, self.hidden)
        return shapes


def rmsnorm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """x [..., d], weight [d] -> [..., d]."""
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + eps) * weight


def rope(x: torch.Tensor, positions: Sequence[int], theta: float) -> torch.Tensor:
    """Rotates x [rows, heads, head_dim]; `positions` are the rows' true positions in their sequence."""
    half = x.shape[-1] // 2
    frequency = theta ** -(torch.arange(half, dtype=torch.float64) / half)
    angle = torch.tensor([float(p) for p in positions], dtype=torch.float64)[:, None, None] * frequency
    a, b, cos, sin = x[..., :half], x[..., half:], angle.cos(), angle.sin()
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """One row: q [heads, head_dim] over its visible keys k, v [keys, kv_heads, head_dim] -> [heads * head_dim]."""
    group = q.shape[0] // k.shape[1]
    k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    weight = torch.softmax(torch.einsum("hd,khd->hk", q, k) * q.shape[-1] ** -0.5, -1)
    return torch.einsum("hk,khd->hd", weight, v).reshape(-1)


@dataclass
class Model:
    """Config and weights (float64). A row is one token of one sequence; h is the residual stream [rows, hidden]."""

    config: Config
    weights: Mapping[str, torch.Tensor]
    lora: frozenset[tuple[int, str]] = field(init=False)

    def __post_init__(self):
        self.weights = as_float64(self.weights)
        for name, shape in self.config.tensor_shapes().items():
            if name not in self.weights or tuple(self.weights[name].shape) != shape:
                got = tuple(self.weights[name].shape) if name in self.weights else "no such tensor"
                raise UserError(f"weights: {name} must be {list(shape)}, but got {got}")
        names = [n.split(".") for n in self.weights if n.startswith("lora.") and n.endswith(".A")]
        self.lora = frozenset((int(n[1]), n[2]) for n in names)

    def _block(self, layer: int) -> str:
        return f"model.layers.{self.config.layout[layer]}."

    def linear(self, layer: int, name: str, x: torch.Tensor) -> torch.Tensor:
        """A linear of unrolled layer `layer`; x [rows, in] -> [rows, out]."""
        module = self._block(layer) + ("self_attn." if name in ATTENTION else "mlp.") + name
        y = x @ self.weights[module + ".weight"].T
        if module + ".bias" in self.weights:
            y = y + self.weights[module + ".bias"]
        if (layer, name) in self.lora:
            a, b = (self.weights[f"lora.{layer}.{name}.{part}"] for part in "AB")
            y = y + self.config.lora_scale * (x @ a.T @ b.T)
        return y

    def norm(self, layer: int, name: str, x: torch.Tensor) -> torch.Tensor:
        """A norm of unrolled layer `layer`; the identity where the weights do not have it."""
        weight = self.weights.get(f"{self._block(layer)}{name}.weight")
        return x if weight is None else rmsnorm(x, weight, self.config.eps)

    def embed(self, tokens: Sequence[int]) -> torch.Tensor:
        """[rows] -> [rows, hidden]."""
        return self.weights[EMBED][torch.as_tensor(list(tokens), dtype=torch.int64)]

    def final_norm(self, h: torch.Tensor) -> torch.Tensor:
        """[..., hidden] -> [..., hidden]."""
        return rmsnorm(h, self.weights[FINAL_NORM], self.config.eps)

    def head(self, h: torch.Tensor) -> torch.Tensor:
        """Logits of residual states, through final norm and LM head: [..., hidden] -> [..., vocab]."""
        return self.final_norm(h) @ self.weights[EMBED if self.config.tied else HEAD].T

    def queries(self, layer: int, h: torch.Tensor, positions: Sequence[int]) -> torch.Tensor:
        """[rows, heads, head_dim], rotated."""
        q = self.linear(layer, "q_proj", self.norm(layer, "input_layernorm", h))
        return rope(q.view(len(h), self.config.heads, -1), positions, self.config.rope_theta)

    def keys_values(self, layer: int, h: torch.Tensor, positions: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """What layer `layer` would store for these rows: K (rotated) and V, each [rows, kv_heads, head_dim]."""
        x = self.norm(layer, "input_layernorm", h)
        k, v = (self.linear(layer, name, x).view(len(h), self.config.kv_heads, -1) for name in ("k_proj", "v_proj"))
        return rope(k, positions, self.config.rope_theta), v

    def after_attention(self, layer: int, h: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The rest of the block: h [rows, hidden] and attention's result y [rows, heads * head_dim] -> next h."""
        h = h + self.norm(layer, "input_layernorm_2", self.linear(layer, "o_proj", y))
        n = self.norm(layer, "post_attention_layernorm", h)
        gated = torch.nn.functional.silu(self.linear(layer, "gate_proj", n)) * self.linear(layer, "up_proj", n)
        return h + self.norm(layer, "post_attention_layernorm_2", self.linear(layer, "down_proj", gated))


def as_float64(weights: Mapping[str, object]) -> dict[str, torch.Tensor]:
    """Tensors or arrays of any floating type to float64 tensors; float64 tensors are shared, not copied."""
    return {n: (t if isinstance(t, torch.Tensor) else torch.from_numpy(np.asarray(t))).to(torch.float64) for n, t in weights.items()}


def random_weights(
    config: Config, seed: int, head_scale: float = 1.0, lora_rank: int = 0, probes: Sequence[int] = ()
) -> dict[str, torch.Tensor]:
    """Random float64 weights whose greedy text wanders: an embedding small beside what layers add, so that a tied head
    does not repeat the last token, and attention sharp enough that the text does not settle.

    Logits have a spread of 3 * `head_scale`: larger heads are surer, so more rows leave. `lora_rank` > 0 gives every
    linear of every unrolled layer a LoRA; `probes` lists the exits (layers run before them) that get a probe."""
    rng = np.random.default_rng(seed)

    def normal(shape: Sequence[int], scale: float) -> torch.Tensor:
        return torch.from_numpy(rng.standard_normal(tuple(shape)) * scale)

    weights, embed, spread = {}, 0.1, 3 * head_scale
    for name, shape in config.tensor_shapes().items():
        if len(shape) == 1:
            weights[name] = 1 + normal(shape, 0.1)
        elif name in (EMBED, HEAD):
            weights[name] = normal(shape, embed if name == EMBED else spread / config.hidden**0.5)
        else:
            weights[name] = normal(shape, (2 if "q_proj" in name or "k_proj" in name else 1) * shape[1] ** -0.5)
    if config.tied:
        weights[FINAL_NORM] *= spread / (embed * config.hidden**0.5)
    for layer in range(config.layers if lora_rank else 0):
        for name in LINEARS:
            out, inner = config.linear_shape(name)
            weights[f"lora.{layer}.{name}.A"] = normal((lora_rank, inner), inner**-0.5)
            weights[f"lora.{layer}.{name}.B"] = normal((out, lora_rank), 0.3 * lora_rank**-0.5)
    for exit_layer in probes:
        weights[f"exits.{exit_layer}.probe.weight"] = normal((1, config.hidden), 2 / config.hidden**0.5)
        weights[f"exits.{exit_layer}.probe.bias"] = normal((1,), 0.5)
    return weights
