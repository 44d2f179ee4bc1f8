# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A Llama forward pass in numpy float32 that hands out every hidden state; what exit fitting measures.

Written from the model's definition, not from the ONNX writer, so that tests may compare the two.
"""

import numpy as np

from .checkpoint import Checkpoint
from .criteria import score_of_logits, score_of_states
from .exit_spec import ExitSpec


class NumpyLlama:
    """All weights in memory as float32, [out, in] as stored. One sequence at a time, no cache."""

    def __init__(self, checkpoint: Checkpoint):
        self.config = checkpoint.config
        self.w = {name: checkpoint.tensor(name) for name in self.config.tensor_shapes()}
        self.head_weight = self.w["model.embed_tokens.weight" if self.config.tied else "lm_head.weight"]

    def _linear(self, module: str, x: np.ndarray) -> np.ndarray:
        y = x @ self.w[module + ".weight"].T
        return y + self.w[module + ".bias"] if self.config.has_bias(module) else y

    def norm(self, x: np.ndarray, name: str = "model.norm.weight") -> np.ndarray:
        """RMSNorm with the weight called `name`; x [S,D]."""
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + np.float32(self.config.eps)) * self.w[name]

    def head(self, h: np.ndarray) -> np.ndarray:
        """lm_head(final_norm(h)): [S,D] -> [S,V]."""
        return self.norm(h) @ self.head_weight.T

    def _rope(self, x: np.ndarray) -> np.ndarray:
        half = self.config.head_dim // 2
        frequency = self.config.rope_theta ** -(np.arange(half) / half)
        angle = np.arange(x.shape[1])[:, None] * frequency
        c, s = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
        a, b = x[..., :half], x[..., half:]
        return np.concatenate([a * c - b * s, b * c + a * s], -1)

    def _attention(self, x: np.ndarray, p: str) -> np.ndarray:
        c, length = self.config, len(x)
        split = lambda y, heads: y.reshape(length, heads, c.head_dim).transpose(1, 0, 2)  # noqa: E731
        q = self._rope(split(self._linear(p + "q_proj", x), c.heads))
        k = self._rope(split(self._linear(p + "k_proj", x), c.kv_heads))
        v = split(self._linear(p + "v_proj", x), c.kv_heads)
        k, v = (np.repeat(a, c.heads // c.kv_heads, axis=0) for a in (k, v))
        z = q @ k.transpose(0, 2, 1) * np.float32(c.head_dim**-0.5)
        z[:, np.triu(np.ones((length, length), bool), 1)] = -np.inf
        e = np.exp(z - z.max(-1, keepdims=True))
        y = (e / e.sum(-1, keepdims=True)) @ v
        return self._linear(p + "o_proj", y.transpose(1, 0, 2).reshape(length, -1))

    def states(self, ids) -> list[np.ndarray]:
        """Residual stream [S,D] after 0, 1, ... layers; the last one is before the final norm."""
        h = [self.w["model.embed_tokens.weight"][np.asarray(ids)]]
        for i in range(self.config.layers):
            p = f"model.layers.{i}."
            x = h[-1] + self._attention(self.norm(h[-1], p + "input_layernorm.weight"), p + "self_attn.")
            n = self.norm(x, p + "post_attention_layernorm.weight")
            gate = self._linear(p + "mlp.gate_proj", n)
            gate = gate / (1 + np.exp(-gate)) * self._linear(p + "mlp.up_proj", n)
            h.append(x + self._linear(p + "mlp.down_proj", gate))
        return h

    def exit_logits(self, spec: ExitSpec, h: np.ndarray) -> np.ndarray:
        """The exit head on tapped states [S,D] -> [S,V]."""
        t = spec.head.tensors
        for name in ("map", "down", "up"):
            h = h @ t[name] if name in t else h
        return self.head(h + t["bias"] if "bias" in t else h)

    def score(self, spec: ExitSpec, states: list[np.ndarray]) -> np.ndarray:
        """The exit's score [S] for every row, from the states of one sequence."""
        h = states[spec.layer]
        if spec.criterion == "probe":
            return h @ np.asarray(spec.probe[0], np.float32).reshape(-1) + np.float32(spec.probe[1])
        if spec.criterion == "cosine":
            return score_of_states(h, states[spec.layer - 1])
        return score_of_logits(spec.criterion, self.exit_logits(spec, h))
