# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""GGUF files (architectures llama and qwen2) as checkpoints.

Blocks are dequantised by the `gguf` package (F32, F16, BF16, Q8_0, Q4_0, Q4_1, K-quants, ...). For architecture
`llama` the converter that wrote the file reordered the rows of q and k so that rotary pairs are adjacent
(2i, 2i+1); Hugging Face and ONNX's non-interleaved RotaryEmbedding pair (i, i + d/2), so the order is undone.
"""

from pathlib import Path

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize

from .checkpoint import Checkpoint, LlamaConfig, cut_layers
from .errors import UserError
from .tokenizer_files import tokenizer_from_gguf

LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
TOP_NAMES = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight", "output.weight": "lm_head.weight"}


def unpermute(rows: np.ndarray, heads: int) -> np.ndarray:
    """Rows of q or k [heads*d, ...] from adjacent rotary pairs (2i, 2i+1) back to split halves (i, i + d/2)."""
    half = rows.shape[0] // heads // 2
    return rows.reshape(heads, half, 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def permute(rows: np.ndarray, heads: int) -> np.ndarray:
    """The inverse of `unpermute` (what a GGUF converter does); used to write test files."""
    half = rows.shape[0] // heads // 2
    return rows.reshape(heads, 2, half, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def hf_name(name: str) -> str | None:
    """GGUF tensor name -> Hugging Face name, or None for a tensor that a Llama-family model does not have."""
    if name in TOP_NAMES:
        return TOP_NAMES[name]
    parts = name.split(".")
    if len(parts) == 4 and parts[0] == "blk" and parts[1].isdigit() and parts[2] in LAYER_NAMES and parts[3] in ("weight", "bias"):
        return f"model.layers.{int(parts[1])}.{LAYER_NAMES[parts[2]]}.{parts[3]}"
    return None


def _shortest(value) -> float:
    """A float32 stored in the file as the decimal its author wrote: 9.999999747e-06 -> 1e-05."""
    return float(str(np.float32(value)))


def _parse(md: dict, names: set[str], vocab: int) -> LlamaConfig:
    """Metadata -> LlamaConfig, refusing by key what would change the computation."""
    arch = md.get("general.architecture")
    if arch not in ("llama", "qwen2"):
        raise UserError(f"GGUF: general.architecture = {arch!r} is not supported; accepted: llama, qwen2")

    def get(key: str, default=None):
        value = md.get(f"{arch}.{key}", default)
        if value is None:
            raise UserError(f"GGUF: key {arch}.{key} is missing")
        if isinstance(value, list):
            raise UserError(f"GGUF: {arch}.{key} differs per layer, which is not supported; accepted: one number")
        return value

    def refuse_if(key: str, bad, accepted: str):
        value = md.get(f"{arch}.{key}")
        if value is not None and bad(value):
            raise UserError(f"GGUF: {arch}.{key} = {value!r} is not supported; accepted: {accepted}")

    heads, hidden = get("attention.head_count"), get("embedding_length")
    head_dim = get("attention.key_length", hidden // max(heads, 1))
    refuse_if("attention.value_length", lambda v: v != head_dim, f"{head_dim}, the key length")
    refuse_if("rope.dimension_count", lambda v: v != head_dim, f"{head_dim} (partial rotary is not supported)")
    refuse_if("rope.scaling.type", lambda v: v != "none", "none")
    refuse_if("rope.scaling.factor", lambda v: v not in (0, 1), "1")
    refuse_if("rope.scale_linear", lambda v: v not in (0, 1), "1")
    refuse_if("attention.sliding_window", lambda v: v != 0, "absent")
    refuse_if("expert_count", lambda v: v != 0, "0 (mixture of experts is not supported)")
    for key in ("logit_scale", "residual_scale", "embedding_scale", "attention.scale", "attention.clamp_kqv"):
        refuse_if(key, lambda v: v not in (0, 1), "absent")
    return LlamaConfig(
        layers=get("block_count"),
        hidden=hidden,
        heads=heads,
        kv_heads=get("attention.head_count_kv", heads),
        head_dim=head_dim,
        ffn=get("feed_forward_length"),
        vocab=vocab,
        rope_theta=_shortest(get("rope.freq_base", 10000.0)),
        eps=_shortest(get("attention.layer_norm_rms_epsilon")),
        context=get("context_length"),
        tied="lm_head.weight" not in names,
        qkv_bias="model.layers.0.self_attn.q_proj.bias" in names,
        o_bias="model.layers.0.self_attn.o_proj.bias" in names,
        mlp_bias="model.layers.0.mlp.gate_proj.bias" in names,
    )


def _hf_config(md: dict, config: LlamaConfig) -> dict:
    """A config.json that transformers reads back as the same model."""
    qwen = config.qkv_bias and not config.o_bias
    document = {
        "architectures": ["Qwen2ForCausalLM" if qwen else "LlamaForCausalLM"],
        "model_type": "qwen2" if qwen else "llama",
        **config.hf_fields(),
        "torch_dtype": "float32",
    }
    if qwen:
        document["use_sliding_window"] = False
    else:
        document.update(attention_bias=config.qkv_bias, mlp_bias=config.mlp_bias)
    for key, name in (("bos_token_id", "bos"), ("eos_token_id", "eos"), ("pad_token_id", "padding")):
        if f"tokenizer.ggml.{name}_token_id" in md:
            document[key] = int(md[f"tokenizer.ggml.{name}_token_id"])
    return document


def open_gguf(path: Path, layers: int | None = None, tokenizer: bool = True) -> Checkpoint:
    """Open a GGUF file. Raises `UserError` for other architectures, unknown tensors or a garbled file."""
    try:
        reader = GGUFReader(path)
        md = {key: field.contents() for key, field in reader.fields.items()}
    except (ValueError, IndexError, KeyError, OverflowError, UnicodeDecodeError) as error:
        raise UserError(f"{path.name} is not a readable GGUF file: {error}") from None
    tensors = {}
    for tensor in reader.tensors:
        name = hf_name(tensor.name)
        if name is None:
            hint = " (scaled rotary embedding is not supported)" if tensor.name.startswith("rope_freqs") else ""
            raise UserError(f"GGUF: tensor '{tensor.name}' is not one a Llama-family model has{hint}")
        tensors[name] = tensor
    if "model.embed_tokens.weight" not in tensors:
        raise UserError("GGUF: tensor 'token_embd.weight' is missing")
    full = _parse(md, set(tensors), int(tensors["model.embed_tokens.weight"].shape[-1]))
    expected = set(full.tensor_shapes())
    for names, what in ((expected - set(tensors), "lacks"), (set(tensors) - expected, "has the unexpected")):
        if names:
            raise UserError(f"GGUF: the file {what} tensor for '{sorted(names)[0]}' ({len(names)} such)")
    config = LlamaConfig(**{**full.__dict__, "layers": cut_layers(full.layers, layers)})
    permuted = md["general.architecture"] == "llama"

    def read(name: str) -> np.ndarray:
        tensor = tensors[name]
        try:
            array = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        except NotImplementedError:
            raise UserError(f"GGUF: tensor '{tensor.name}' has type {tensor.tensor_type.name}, which the gguf package cannot dequantise") from None
        if permuted and ".q_proj." in name:
            return unpermute(array, config.heads)
        if permuted and ".k_proj." in name:
            return unpermute(array, config.kv_heads)
        return array

    document = _hf_config(md, config)
    files = {"config.json": document}
    ids = {k: document[k] for k in ("bos_token_id", "eos_token_id", "pad_token_id") if k in document}
    files["generation_config.json"] = ids
    if tokenizer:
        files.update(tokenizer_from_gguf(md))
    return Checkpoint(config, read, files)
