# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""state.pt: what a run resumes from, written whole, and checked before anything of it is used."""

import math
from pathlib import Path

import torch

from ..errors import UserError, one_line
from ..folders import whole_file
from ..shapes import check_shape

STATE = "state.pt"
SHAPE = {
    "recipe": str, "seed": int, "steps": int, "spent": float, "rows": [{"step": int, "tokens": int, "seconds": float}],
    "model": dict, "optimiser": [dict],
}  # fmt: skip


def write_state(path: Path, state: dict) -> None:
    with whole_file(path) as partial:
        torch.save(state, partial)


def read_state(path: Path, recipe: str, seed: int, device: str) -> dict:
    """The state of a run of this recipe and seed; its weights are not looked at."""
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except Exception as e:  # unpickling bytes that are no pickle may raise anything
        raise UserError(f"{path}: not a training state: {one_line(e)}") from None
    check_shape(state, SHAPE, f"{path}: not a training state")
    if state["recipe"] != recipe or state["seed"] != seed:
        raise UserError(f"{path}: made by another recipe or seed; give another folder or remove it")
    if state["steps"] < 0 or not 0 <= state["spent"] < math.inf:
        raise UserError(f"{path}: not a training state: steps {state['steps']} and spent {state['spent']:g} s must be at least 0")
    return state


def load_weights(path: Path, state: dict, model, optimiser) -> None:
    """Put the state's weights and moments into `model` and `optimiser`."""
    for name, part in (("model", model), ("optimiser", optimiser)):
        try:
            part.load_state_dict(state[name])
        except (RuntimeError, KeyError, TypeError, ValueError, AttributeError, IndexError) as e:
            raise UserError(f"{path}: not a training state: {name}: {one_line(e)}") from None
