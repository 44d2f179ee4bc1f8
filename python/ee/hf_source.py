# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Hugging Face folders (config.json, *.safetensors, sharded or not) as checkpoints.

Everything in config.json that would change the computation is either understood or refused by name: a writer
that ignores a field it does not know would make a model that runs and is wrong.
"""

from pathlib import Path

import ml_dtypes  # noqa: F401  (registers bfloat16 with numpy, which safetensors needs)
import numpy as np
from safetensors import SafetensorError, safe_open

from .checkpoint import Checkpoint, LlamaConfig, cut_layers, read_json
from .errors import UserError

MODEL_TYPES = ("llama", "mistral", "qwen2")
TEXT_FILES = ("tokenizer.json", "tokenizer_config.json", "generation_config.json")


def _refuse(field: str, value, accepted: str):
    raise UserError(f"config.json: {field} = {value!r} is not supported; accepted: {accepted}")


def _rope(config: dict) -> float:
    """The rotary base; refuses every rope variant. Both spellings (rope_scaling, rope_parameters) are read."""
    theta = config.get("rope_theta")
    for name in ("rope_scaling", "rope_parameters"):
        rope = config.get(name) or {}
        if not isinstance(rope, dict):
            _refuse(name, rope, "an object or null")
        kind = rope.get("rope_type", rope.get("type", "default"))
        if kind != "default":
            _refuse(f"{name}.rope_type", kind, "default")
        if float(rope.get("partial_rotary_factor", 1)) != 1:
            _refuse(f"{name}.partial_rotary_factor", rope["partial_rotary_factor"], "1")
        unknown = set(rope) - {"rope_type", "type", "rope_theta", "partial_rotary_factor"}
        if unknown:
            _refuse(f"{name}.{sorted(unknown)[0]}", rope[sorted(unknown)[0]], "rope_type default without scaling")
        theta = rope.get("rope_theta", theta)
    return float(10000.0 if theta is None else theta)


def _integer(config: dict, name: str, default=None) -> int:
    value = config.get(name, default)
    value = default if value is None else value
    if not isinstance(value, int) or isinstance(value, bool):
        raise UserError(f"config.json: {name} = {value!r} is not an integer")
    return value


def parse_config(config: dict) -> LlamaConfig:
    """config.json -> LlamaConfig; `UserError` names the first field that this package cannot honour."""
    kind = config.get("model_type")
    if kind not in MODEL_TYPES:
        _refuse("model_type", kind, ", ".join(MODEL_TYPES))
    if config.get("hidden_act", "silu") not in ("silu", "swish"):
        _refuse("hidden_act", config["hidden_act"], "silu")
    if config.get("quantization_config"):
        _refuse("quantization_config", "...", "absent (dequantise first) or a GGUF file")
    for name in ("num_local_experts", "num_experts", "n_routed_experts"):
        if config.get(name):
            _refuse(name, config[name], "absent (mixture of experts is not supported)")
    if float(config.get("partial_rotary_factor") or 1) != 1:
        _refuse("partial_rotary_factor", config["partial_rotary_factor"], "1")
    # Qwen2 writes sliding_window always and switches it with use_sliding_window; Mistral has no switch.
    if config.get("sliding_window") is not None and config.get("use_sliding_window", kind != "qwen2"):
        _refuse("sliding_window", config["sliding_window"], "null")
    if any(t != "full_attention" for t in config.get("layer_types") or []):
        _refuse("layer_types", sorted(set(config["layer_types"])), "full_attention in every layer")
    heads, hidden = _integer(config, "num_attention_heads"), _integer(config, "hidden_size")
    if config.get("head_dim") is None and (heads < 1 or hidden % heads):
        raise UserError(f"config.json: hidden_size {hidden} is not a multiple of num_attention_heads {heads}")
    bias = bool(config.get("attention_bias", False))
    return LlamaConfig(
        layers=_integer(config, "num_hidden_layers"),
        hidden=hidden,
        heads=heads,
        kv_heads=_integer(config, "num_key_value_heads", heads),
        head_dim=_integer(config, "head_dim", hidden // max(heads, 1)),
        ffn=_integer(config, "intermediate_size"),
        vocab=_integer(config, "vocab_size"),
        rope_theta=_rope(config),
        eps=float(config.get("rms_norm_eps", 1e-6)),
        context=_integer(config, "max_position_embeddings", 2048),
        tied=bool(config.get("tie_word_embeddings", False)),
        qkv_bias=kind == "qwen2" or bias,
        o_bias=kind != "qwen2" and bias,
        mlp_bias=bool(config.get("mlp_bias", False)),
    )


def _shards(folder: Path) -> dict[str, Path]:
    """Tensor name -> file, from the index when there is one, else from every *.safetensors in the folder."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        table = read_json(index).get("weight_map")
        if not isinstance(table, dict):
            raise UserError(f"{index.name} has no weight_map")
        for name in table.values():
            if not isinstance(name, str) or Path(name).name != name:
                raise UserError(f"{index.name}: shard {name!r} is not a plain file name")
        return {tensor: folder / name for tensor, name in table.items()}
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        with _open(path) as handle:
            found.update({name: path for name in handle.keys()})
    if not found:
        raise UserError(f"folder '{folder}' holds no *.safetensors file")
    return found


def _open(path: Path):
    try:
        return safe_open(path, framework="numpy")
    except SafetensorError as error:
        raise UserError(f"{path.name} is not a readable safetensors file: {error}") from None


def open_hf_folder(folder: Path, layers: int | None = None) -> Checkpoint:
    """Open a Hugging Face folder. Raises `UserError` for unknown structure, missing or superfluous tensors."""
    if not (folder / "config.json").is_file():
        raise UserError(f"folder '{folder}' has no config.json")
    document = read_json(folder / "config.json")
    full = parse_config(document)
    where = _shards(folder)
    if full.tied is False and "tie_word_embeddings" not in document and "lm_head.weight" not in where:
        full = LlamaConfig(**{**full.__dict__, "tied": True})
    expected = full.tensor_shapes()
    missing = sorted(set(expected) - set(where))
    if missing:
        raise UserError(f"checkpoint lacks tensor '{missing[0]}' ({len(missing)} missing)")
    # A tied model may still store its head, and old files store the rope table; neither is a weight of its own.
    extra = sorted(n for n in set(where) - set(expected) if n != "lm_head.weight" and not n.endswith("rotary_emb.inv_freq"))
    if extra:
        raise UserError(f"checkpoint has tensor '{extra[0]}', which a Llama-family model does not use ({len(extra)} such)")
    config = LlamaConfig(**{**full.__dict__, "layers": cut_layers(full.layers, layers)})
    document = {**document, "num_hidden_layers": config.layers}
    if document.get("layer_types"):
        document["layer_types"] = document["layer_types"][: config.layers]
    files = {"config.json": document}
    files.update({n: read_json(folder / n) for n in TEXT_FILES if (folder / n).is_file()})
    handles = {}

    def read(name: str) -> np.ndarray:
        path = where[name]
        if path not in handles:
            handles[path] = _open(path)
        try:
            array = handles[path].get_tensor(name)
        except SafetensorError as error:
            raise UserError(f"{path.name}: tensor '{name}': {error}") from None
        if array.dtype.name not in ("float32", "float16", "bfloat16", "float64"):
            raise UserError(f"tensor '{name}' has type {array.dtype.name}; accepted: float32, float16, bfloat16")
        return array.astype(np.float32)

    return Checkpoint(config, read, files)
