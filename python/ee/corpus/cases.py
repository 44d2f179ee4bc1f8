# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What a case of the corpus is, and the list of all of them.

A case is one method with one KV fill and one rule (criterion, routing rule ...). It has a file with the rule's own decisions
in every opset it asks for, and, unless it is a variant, one whose decisions are scripted.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from ..reference.model import Config

OPSETS = (18, 20, 23)


@dataclass
class Answer:
    """What the reference says. `outputs` float64 / i64 / bool by output name, `depth` among them. `scores` f64
    [..., decisions], NaN where a row was not asked; `margin` f64 [...]: the least |score - threshold| of a row's decisions."""

    outputs: dict[str, np.ndarray]
    scores: np.ndarray
    margin: np.ndarray


# Inputs by name -> outputs by name, of one file in ONNX Runtime.
Run = Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]


@dataclass
class Generation:
    """Text that the reference's generator loop makes with its KV store, and `replay`, which makes it by running the file on
    whole texts: the one with `scripted` decisions, or the other. Both give the same arrays."""

    scripted: bool
    reference: Callable[[], dict[str, np.ndarray]]
    replay: Callable[[Run], dict[str, np.ndarray]]


@dataclass
class Subject:
    """A built case. `inputs` and `outputs` are those of the module, in order. Output `decide` holds the decisions: `reference`
    can be told to follow such an array, and `script` turns it into the inputs `script.NAME` of the scripted file. `table` holds
    the decisions of that file. Weights are drawn from `seed`, texts from `seed` + 1."""

    config: Config
    seed: int
    module: torch.nn.Module
    inputs: dict[str, np.ndarray]
    outputs: tuple[str, ...]
    reference: Callable[[np.ndarray | None], Answer]
    table: np.ndarray
    script: Callable[[np.ndarray], dict[str, np.ndarray]]
    settings: dict
    decide: str = "depth"
    generation: Generation | None = None


@dataclass(frozen=True)
class Case:
    """`variant` cases come in one opset and with their own decisions only. `causal`: a row depends on no later one."""

    method: str
    fill: str
    rule: str
    build: Callable[[], Subject]
    opsets: tuple[int, ...] = OPSETS
    variant: bool = False
    causal: bool = True

    @property
    def name(self) -> str:
        return f"{self.method}-{self.fill}-{self.rule}"


def all_cases() -> list[Case]:
    """Every case, in the order in which they are written."""
    from . import classifier, exits, looped, mixture_of_depths, mor

    return [case for family in (exits, mor, mixture_of_depths, looped, classifier) for case in family.cases()]
