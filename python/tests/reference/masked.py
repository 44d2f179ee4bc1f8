# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""An independent oracle: numpy blocks over whole sequences with explicit masks, no cache, no gathering, loops over heads.

Every adaptive rule becomes a mask [T, T] and a choice of the states that keys and values are formed from.
"""

import numpy as np


class Masked:
    """Blocks of a Llama on float64 weights; `weights` as the reference has them."""

    def __init__(self, weights, config):
        self.w = {name: np.asarray(tensor, np.float64) for name, tensor in weights.items()}
        self.c = config

    def norm(self, x, name):
        return x / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + self.c.eps) * self.w[name]

    def embed(self, tokens):
        return self.w["model.embed_tokens.weight"][list(tokens)]

    def final_norm(self, h):
        return self.norm(h, "model.norm.weight")

    def lm_head(self, h):
        return h @ self.w["model.embed_tokens.weight" if self.c.tied else "lm_head.weight"].T

    def matrix(self, physical, part, name, layer):
        """W, with the LoRA of unrolled layer `layer` folded in."""
        w = self.w[f"model.layers.{physical}.{part}.{name}.weight"]
        if f"lora.{layer}.{name}.A" in self.w:
            w = w + self.c.lora_scale * self.w[f"lora.{layer}.{name}.B"] @ self.w[f"lora.{layer}.{name}.A"]
        return w

    def rotate(self, x, positions):
        """Rotates pairs (i, i + half) as complex numbers; x [T, head_dim]."""
        half = self.c.head_dim // 2
        angle = np.outer(positions, self.c.rope_theta ** (-np.arange(half) * 2.0 / self.c.head_dim))
        z = (x[:, :half] + 1j * x[:, half:]) * np.exp(1j * angle)
        return np.hstack([z.real, z.imag])

    def block(self, physical, h, mask, layer=None, keys_from=None, key_layer=None):
        """h [T, d] -> [T, d]; row i attends to the j with mask[i, j]; its key j is formed from keys_from[j] (default h).

        keys_from may also be [T, T, d]: then keys_from[i, j] is the state behind key j as row i sees it. Rows without any
        visible key get no attention output: their result is meaningless and must be ignored by the caller.
        """
        p, steps, d = f"model.layers.{physical}.", len(h), self.c.head_dim
        layer = physical if layer is None else layer
        key_layer = layer if key_layer is None else key_layer
        behind = np.broadcast_to(h if keys_from is None else keys_from, (steps, *h.shape))
        where = np.arange(steps)
        x = self.norm(h, p + "input_layernorm.weight")
        y = self.norm(behind, p + "input_layernorm.weight")
        q = x @ self.matrix(physical, "self_attn", "q_proj", layer).T
        k = y @ self.matrix(physical, "self_attn", "k_proj", key_layer).T
        v = y @ self.matrix(physical, "self_attn", "v_proj", key_layer).T
        heads = []
        for head in range(self.c.heads):
            of_query = slice(head * d, head * d + d)
            kv = head * self.c.kv_heads // self.c.heads
            of_key = slice(kv * d, kv * d + d)
            qh = self.rotate(q[:, of_query], where)
            out = np.zeros((steps, d))
            for i in range(steps):
                seen = np.flatnonzero(mask[i])
                if len(seen):
                    s = self.rotate(k[i][:, of_key], where)[seen] @ qh[i] / np.sqrt(d)
                    e = np.exp(s - s.max())
                    out[i] = e / e.sum() @ v[i][seen, of_key]
            heads.append(out)
        h = h + np.hstack(heads) @ self.matrix(physical, "self_attn", "o_proj", layer).T
        n = self.norm(h, p + "post_attention_layernorm.weight")
        g = n @ self.matrix(physical, "mlp", "gate_proj", layer).T
        u = n @ self.matrix(physical, "mlp", "up_proj", layer).T
        return h + (g / (1 + np.exp(-g)) * u) @ self.matrix(physical, "mlp", "down_proj", layer).T


def causal(steps):
    return np.tril(np.ones((steps, steps), bool))
