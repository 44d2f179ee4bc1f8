# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A Llama-family checkpoint as an ONNX graph of opset 23 (RMSNormalization, RotaryEmbedding, Attention).

Values (batch B, sequence S, past P):
    input_ids i64 [B,S], position_ids i64 [B,S], past.I.key/past.I.value f32 [B,kv_heads,P,head_dim]
    logits f32 [B,S,vocab], present.I.key/present.I.value f32 [B,kv_heads,P+S,head_dim]
    h.K f32 [B,S,hidden]: the residual stream after K layers (h.0 is the embedding); exits tap these
    norm.out f32 [B,S,hidden]: the final norm; lm_head: the head as [hidden, vocab]
Linear weights are stored [in, out] under their Hugging Face names, as every exporter stores them. A tied head is
one initialiser: the embedding, read through a Transpose node.
"""

import numpy as np
from onnx import ModelProto, TensorProto

from .checkpoint import Checkpoint, LlamaConfig
from .onnx_builder import GraphBuilder, WeightFile


def rope_tables(config: LlamaConfig) -> tuple[np.ndarray, np.ndarray]:
    """cos and sin [context, head_dim/2] in float32. Angles are formed in float64: in float32 the angle of position
    8000 is already off by 5e-4."""
    exponent = np.arange(0, config.head_dim, 2, dtype=np.float64) / config.head_dim
    angle = np.arange(config.context, dtype=np.float64)[:, None] / config.rope_theta**exponent
    return np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)


class LlamaGraph(GraphBuilder):
    """The graph of one checkpoint; `exits` of other modules reuse `norm` and `head`."""

    def __init__(self, checkpoint: Checkpoint, weights: WeightFile):
        super().__init__(weights)
        self.checkpoint, self.config = checkpoint, checkpoint.config

    def linear(self, module: str, x: str, out: str) -> str:
        tensor = self.checkpoint.tensor
        weight = self.weight(module + ".weight", lambda: tensor(module + ".weight").T)
        if not self.config.has_bias(module):
            return self.op("MatMul", [x, weight], out)
        bias = self.weight(module + ".bias", lambda: tensor(module + ".bias"))
        return self.op("Add", [self.op("MatMul", [x, weight], out + ".matmul"), bias], out)

    def norm(self, name: str, x: str, out: str) -> str:
        scale = self.weight(name, lambda: self.checkpoint.tensor(name))
        return self.op("RMSNormalization", [x, scale], out, axis=-1, epsilon=self.config.eps)

    def layer(self, i: int, x: str, cache: bool) -> str:
        c, p = self.config, f"model.layers.{i}."
        n = self.norm(p + "input_layernorm.weight", x, f"n1.{i}")
        q, k, v = (self.linear(f"{p}self_attn.{s}_proj", n, f"{s}.{i}") for s in "qkv")
        tables = ["rope.cos", "rope.sin", "position_ids"]
        q, k = (self.op("RotaryEmbedding", [a, *tables], a + ".rot", num_heads=h) for a, h in ((q, c.heads), (k, c.kv_heads)))
        inputs, outputs = [q, k, v], [f"attn.{i}"]
        if cache:
            inputs += ["", f"past.{i}.key", f"past.{i}.value"]
            outputs += [f"present.{i}.key", f"present.{i}.value"]
            for name in inputs[4:]:
                self.input(name, TensorProto.FLOAT, ["batch", c.kv_heads, "past", c.head_dim])
            for name in outputs[1:]:
                self.output(name, TensorProto.FLOAT, ["batch", c.kv_heads, "past + seq", c.head_dim])
        self.op("Attention", inputs, outputs, is_causal=1, q_num_heads=c.heads, kv_num_heads=c.kv_heads, scale=c.head_dim**-0.5)
        x = self.op("Add", [x, self.linear(p + "self_attn.o_proj", f"attn.{i}", f"o.{i}")], f"mid.{i}")
        n = self.norm(p + "post_attention_layernorm.weight", x, f"n2.{i}")
        gate, up = (self.linear(f"{p}mlp.{s}_proj", n, f"{s}.{i}") for s in ("gate", "up"))
        silu = self.op("Mul", [gate, self.op("Sigmoid", [gate], f"sigmoid.{i}")], f"silu.{i}")
        gated = self.op("Mul", [silu, up], f"gated.{i}")
        return self.op("Add", [x, self.linear(p + "mlp.down_proj", gated, f"down.{i}")], f"h.{i + 1}")

    def head(self) -> str:
        """The LM head as [hidden, vocab]; for a tied model a view of the embedding."""
        if self.config.tied:
            return self.op("Transpose", ["model.embed_tokens.weight"], "lm_head", perm=[1, 0])
        return self.weight("lm_head.weight", lambda: self.checkpoint.tensor("lm_head.weight").T)


def build_llama(checkpoint: Checkpoint, weights: WeightFile, cache: bool = True) -> ModelProto:
    """The whole model; `cache` adds past/present inputs and outputs. Weights not yet in `weights` are written."""
    c, g = checkpoint.config, LlamaGraph(checkpoint, weights)
    g.input("input_ids", TensorProto.INT64, ["batch", "seq"])
    g.input("position_ids", TensorProto.INT64, ["batch", "seq"])
    g.output("logits", TensorProto.FLOAT, ["batch", "seq", c.vocab])
    g.weight("rope.cos", lambda: rope_tables(c)[0])
    g.weight("rope.sin", lambda: rope_tables(c)[1])
    embedding = g.weight("model.embed_tokens.weight", lambda: checkpoint.tensor("model.embed_tokens.weight"))
    x = g.op("Gather", [embedding, "input_ids"], "h.0")
    for i in range(c.layers):
        x = g.layer(i, x, cache)
    g.op("MatMul", [g.norm("model.norm.weight", x, "norm.out"), g.head()], "logits")
    return g.model("llama")
