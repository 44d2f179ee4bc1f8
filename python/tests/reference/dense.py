# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The oracle of these tests: a decoder in plain numpy float64, whole sequences at once, no cache, no rows, no dictionary.

Written from the definitions and in another form than the code under test: RoPE as multiplication of complex numbers,
LoRA merged into the weights, attention as one masked einsum over all pairs.
"""

import numpy as np

from ee.reference.model import Config, Model, random_weights


def tiny(layers=6, seed=0, head_scale=1.0, lora_rank=0, probes=(), **changes) -> Model:
    """A random model: vocabulary 97, hidden 64, 4 query and 2 KV heads."""
    sizes = dict(vocab=97, hidden=64, heads=4, kv_heads=2, head_dim=16, ffn=96, layout=tuple(range(layers)), rope_theta=300.0)
    config = Config(**(sizes | changes))
    return Model(config, random_weights(config, seed, head_scale, lora_rank, probes))


def text(length: int, seed: int = 0, vocab: int = 97) -> list[int]:
    return [int(t) for t in np.random.default_rng(1000 + seed).integers(0, vocab, length)]


class Dense:
    """`states(ids)`: residual stream after 0, 1, ... layers; `logits`; `keys_values(layer, h)` as a cache would hold."""

    def __init__(self, model: Model):
        self.c = model.config
        self.w = {n: t.numpy() for n, t in model.weights.items()}

    def matrix(self, layer, name):
        part = "self_attn" if name in ("q_proj", "k_proj", "v_proj", "o_proj") else "mlp"
        w = self.w[f"model.layers.{self.c.layout[layer]}.{part}.{name}.weight"]
        if f"lora.{layer}.{name}.A" in self.w:
            w = w + self.c.lora_scale * self.w[f"lora.{layer}.{name}.B"] @ self.w[f"lora.{layer}.{name}.A"]
        return w

    def bias(self, layer, name):
        return self.w.get(f"model.layers.{self.c.layout[layer]}.self_attn.{name}.bias", 0.0)

    def norm(self, x, name):
        rms = np.linalg.norm(x, axis=-1, keepdims=True) / np.sqrt(x.shape[-1])
        return self.w[name] * x / np.sqrt(rms**2 + self.c.eps)

    def layer_norm(self, layer, name, x):
        return self.norm(x, f"model.layers.{self.c.layout[layer]}.{name}.weight")

    def turn(self, x, positions):
        """RoPE of x [T, heads, head_dim]: the pair (x_i, x_{i + half}) is a complex number, multiplied by e^{i p f}."""
        half = self.c.head_dim // 2
        z = x[..., :half] + 1j * x[..., half:]
        f = np.array([self.c.rope_theta ** (-2.0 * i / self.c.head_dim) for i in range(half)])
        z = z * np.exp(1j * np.asarray(positions)[:, None, None] * f)
        return np.concatenate([z.real, z.imag], -1)

    def keys_values(self, layer, h, positions=None):
        positions = np.arange(len(h)) if positions is None else positions
        x = self.layer_norm(layer, "input_layernorm", np.asarray(h))
        k, v = (
            (x @ self.matrix(layer, n).T + self.bias(layer, n)).reshape(len(x), self.c.kv_heads, self.c.head_dim)
            for n in ("k_proj", "v_proj")
        )
        return self.turn(k, positions), v

    def block(self, layer, h, mask=None, kv_from=None):
        """One layer on h [T, D]. `mask` [T, T] bool says who sees whom (default causal); `kv_from` gives the states that
        K,V are projected from (default h)."""
        length = len(h)
        mask = np.tril(np.ones((length, length), bool)) if mask is None else mask
        x = self.layer_norm(layer, "input_layernorm", h)
        q = (x @ self.matrix(layer, "q_proj").T + self.bias(layer, "q_proj")).reshape(length, self.c.heads, self.c.head_dim)
        q = self.turn(q, np.arange(length))
        k, v = self.keys_values(layer, h if kv_from is None else kv_from)
        share = self.c.heads // self.c.kv_heads
        q = q.reshape(length, self.c.kv_heads, share, self.c.head_dim)
        scores = np.einsum("tgsd,ugd->gstu", q, k) / np.sqrt(self.c.head_dim)
        scores = np.where(mask, scores, -np.inf)
        e = np.exp(scores - scores.max(-1, keepdims=True))
        y = np.einsum("gstu,ugd->tgsd", e / e.sum(-1, keepdims=True), v).reshape(length, -1) @ self.matrix(layer, "o_proj").T
        h = h + self._sandwich(layer, "input_layernorm_2", y)
        n = self.layer_norm(layer, "post_attention_layernorm", h)
        gate = n @ self.matrix(layer, "gate_proj").T
        y = (gate / (1 + np.exp(-gate)) * (n @ self.matrix(layer, "up_proj").T)) @ self.matrix(layer, "down_proj").T
        return h + self._sandwich(layer, "post_attention_layernorm_2", y)

    def _sandwich(self, layer, name, y):
        present = f"model.layers.{self.c.layout[layer]}.{name}.weight" in self.w
        return self.layer_norm(layer, name, y) if present else y

    def embed(self, ids):
        return self.w["model.embed_tokens.weight"][np.asarray(ids)]

    def head(self, h):
        return self.norm(np.asarray(h), "model.norm.weight") @ self.w["model.embed_tokens.weight" if self.c.tied else "lm_head.weight"].T

    def states(self, ids):
        h = [self.embed(ids)]
        for layer in range(self.c.layers):
            h.append(self.block(layer, h[-1]))
        return h

    def logits(self, ids, depth=None):
        return self.head(self.states(ids)[depth if depth is not None else -1])

    def greedy(self, prompt, steps, depth=None):
        out = list(prompt)
        for _ in range(steps):
            out.append(int(self.logits(out, depth)[-1].argmax()))
        return out[len(prompt) :]
