# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A trained model on disk: ee_config.json and model.safetensors in one folder."""

import dataclasses
import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ..errors import UserError, one_line

CONFIG, WEIGHTS = "ee_config.json", "model.safetensors"


def save(folder, config, tensors: dict[str, torch.Tensor]) -> None:
    """`config` is a dataclass; tensors are stored as they are."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(json.dumps(dataclasses.asdict(config), indent=2) + "\n")
    save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, folder / WEIGHTS)


def load(folder, kind, build) -> torch.nn.Module:
    """The model `build(config)` with the folder's weights as float32; `kind` is the config's class. Unknown, missing and bad
    fields and tensors are one-line errors."""
    folder = Path(folder)
    try:
        fields = json.loads((folder / CONFIG).read_text())
        config = kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()})
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as e:
        raise UserError(f"{folder / CONFIG}: no model config: {e}") from None
    model = build(config)
    try:
        model.load_state_dict({name: tensor.float() for name, tensor in load_file(folder / WEIGHTS).items()})
    except (OSError, RuntimeError, SafetensorError) as e:
        raise UserError(f"{folder / WEIGHTS}: {one_line(e, None)}") from None
    return model
