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
from .fields import is_float32, is_integer, shown
from .folders import TOKENIZER

MODEL_TYPES = ("llama", "mistral", "qwen2")
TEXT_FILES = (*TOKENIZER, "generation_config.json")


def _refuse(field: str, value, accepted: str):
    raise UserError(f"config.json: {field} = {shown(value)} is not supported; accepted: {accepted}")


def _rope(config: dict) -> float:
    """The rotary base; refuses every rope variant. Both spellings (rope_scaling, rope_parameters) are read."""
    theta = _number(config, "rope_theta", 10000.0)
    for name in ("rope_scaling", "rope_parameters"):
        rope = config.get(name) or {}
        if not isinstance(rope, dict):
            _refuse(name, rope, "an object or null")
        kind = rope.get("rope_type", rope.get("type", "default"))
        if kind != "default":
            _refuse(f"{name}.rope_type", kind, "default")
        if _number(rope, "partial_rotary_factor", 1, f"{name}.") != 1:
            _refuse(f"{name}.partial_rotary_factor", rope["partial_rotary_factor"], "1")
        unknown = set(rope) - {"rope_type", "type", "rope_theta", "partial_rotary_factor"}
        if unknown:
            _refuse(f"{name}.{sorted(unknown)[0]}", rope[sorted(unknown)[0]], "rope_type default without scaling")
        theta = _number(rope, "rope_theta", theta, f"{name}.")
    return theta


def _field(config: dict, name: str, default, fits, wish: str, parent: str = ""):
    """The field `name`, where null stands for the default as it does for transformers."""
    value = config.get(name)
    value = default if value is None else value
    if not fits(value):
        raise UserError(f"config.json: {parent}{name} = {shown(value)} is not {wish}")
    return value


def _integer(config: dict, name: str, default=None) -> int:
    return _field(config, name, default, is_integer, "an integer")


def _number(config: dict, name: str, default: float, parent: str = "") -> float:
    return float(_field(config, name, default, is_float32, "a finite float32 number", parent))


def _boolean(config: dict, name: str, default: bool) -> bool:
    return _field(config, name, default, lambda value: isinstance(value, bool), "true or false")


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
    if _number(config, "partial_rotary_factor", 1) != 1:
        _refuse("partial_rotary_factor", config["partial_rotary_factor"], "1")
    # Qwen2 writes sliding_window always and switches it with use_sliding_window; Mistral has no switch.
    if config.get("sliding_window") is not None and _boolean(config, "use_sliding_window", kind != "qwen2"):
        _refuse("sliding_window", config["sliding_window"], "null")
    types = config.get("layer_types") or []
    if not isinstance(types, list) or any(t != "full_attention" for t in types):
        _refuse("layer_types", types, "a list with full_attention for every layer")
    heads, hidden = _integer(config, "num_attention_heads"), _integer(config, "hidden_size")
    if config.get("head_dim") is None and (heads < 1 or hidden % heads):
        raise UserError(f"config.json: hidden_size {hidden} is not a multiple of num_attention_heads {heads}")
    if "rms_norm_eps" in config and config["rms_norm_eps"] is None:
        _refuse("rms_norm_eps", None, "a number; transformers has no default for null here")
    bias = _boolean(config, "attention_bias", False)
    return LlamaConfig(
        layers=_integer(config, "num_hidden_layers"),
        hidden=hidden,
        heads=heads,
        kv_heads=_integer(config, "num_key_value_heads", heads),
        head_dim=_integer(config, "head_dim", hidden // max(heads, 1)),
        ffn=_integer(config, "intermediate_size"),
        vocab=_integer(config, "vocab_size"),
        rope_theta=_rope(config),
        eps=_number(config, "rms_norm_eps", 1e-6),
        context=_integer(config, "max_position_embeddings", 2048),
        tied=_boolean(config, "tie_word_embeddings", False),
        qkv_bias=kind == "qwen2" or bias,
        o_bias=kind != "qwen2" and bias,
        mlp_bias=_boolean(config, "mlp_bias", False),
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
    if not path.is_file():
        raise UserError(f"{path}: no such file")
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
    if full.layers > len(where):  # before a list of their tensors is made, which a slip in the count can make endless
        raise UserError(f"config.json: num_hidden_layers = {full.layers} is more than the checkpoint has tensors ({len(where)})")
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
        except (SafetensorError, AttributeError, KeyError) as error:  # the last two: a type numpy does not have
            raise UserError(f"{path.name}: tensor '{name}': {error}") from None
        if array.dtype.name not in ("float32", "float16", "bfloat16", "float64"):
            raise UserError(f"tensor '{name}' has type {array.dtype.name}; accepted: float32, float16, bfloat16")
        return array.astype(np.float32)

    return Checkpoint(config, read, files)
