# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The trainings, as one table: model shape, objective, batch and optimiser. `python -m ee.train NAME ...` runs one."""

import hashlib
from dataclasses import dataclass, field

from ..models import Decoder, ModelConfig
from ..models.encoder import Encoder, EncoderConfig


@dataclass(frozen=True)
class Options:
    """Numbers of an objective; each uses those it names. Odds need not sum to one."""

    seed: int = 0
    layer_dropout: float = 0.15
    exit_weight: float = 0.6
    distill: float = 0.5
    depth_odds: tuple[float, ...] = ()
    mixed_every: int = 2
    router_weight: float = 0.02
    capacity_warmup: int = 200


@dataclass(frozen=True)
class Recipe:
    """`batch` windows of `length` tokens a step; learning rates after `warmup` steps, falling linearly to `floor` of
    themselves over the second half of the run. Matrices of layers are trained by Muon, everything else by AdamW. `beside`:
    recipes of fixed depth that it is compared with, trained on as many tokens of the same text."""

    config: ModelConfig | EncoderConfig
    objective: str
    about: str
    batch: int = 8
    length: int = 128
    steps: int = 4000
    warmup: int = 50
    adam_rate: float = 4e-3
    muon_rate: float = 0.02
    weight_decay: float = 0.05
    floor: float = 0.02
    beside: tuple[str, ...] = field(default=(), repr=False)  # no part of a run's identity
    options: Options = field(default_factory=Options)

    def build(self) -> Decoder | Encoder:
        """A new model with random weights from torch's generator."""
        return (Encoder if isinstance(self.config, EncoderConfig) else Decoder)(self.config)


@dataclass(frozen=True)
class Distilled(Recipe):
    """The training of something made from a finished model, towards that model's distribution: all by AdamW and slowly, since it
    starts near its goal. `teacher` (see `fingerprint`) and `made` are here so that a run resumes with the same ones only."""

    muon_rate: float = 0.0
    weight_decay: float = 0.0
    teacher: str = ""
    made: str = ""


def fingerprint(model: Decoder) -> str:
    """A name for the model's weights, the same for the same bits."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy())
    return digest.hexdigest()


def _small(**shape) -> ModelConfig:
    return ModelConfig(**{"vocab": 2048, "hidden": 192, "heads": 4, "kv_heads": 2, "head_dim": 48, "ffn": 512, "block": 6, **shape})


_SMALL_DENSE = ("dense-2", "dense-4", "dense")

RECIPES = {
    "dense": Recipe(_small(), "dense", "six layers, fixed depth"),
    "dense-2": Recipe(_small(block=2), "dense", "two layers: what a fixed depth of this cost reaches"),
    "dense-4": Recipe(_small(block=4), "dense", "four layers: what a fixed depth of this cost reaches"),
    "layerskip": Recipe(_small(exits=(2, 4)), "early_exit", "six layers, exits after 2 and 4 through the shared head", beside=_SMALL_DENSE),
    "mor": Recipe(
        _small(block=2, recursions=3, prelude=1, coda=1, router=True, capacities=(1.0, 2 / 3, 1 / 3), kv_fill="skip"),
        "routed", "Mixture-of-Recursions, 1 + 3 x 2 + 1 layers, expert choice, recursion-wise KV", beside=_SMALL_DENSE,
    ),
    "looped": Recipe(
        _small(block=2, recursions=3, exits=(2, 4), loop_norm=True, lora_rank=8, gates=True, kv_fill="propagate"),
        "looped", "three loops of two layers with a low-rank term per depth", beside=_SMALL_DENSE, options=Options(depth_odds=(0.3, 0.35, 0.35), exit_weight=0.3, mixed_every=3),
    ),
    "staged": Recipe(
        ModelConfig(
            2048, 256, 4, 2, 64, 576, block=3, recursions=4, shared=False, router=True, capacities=(1.0, 0.55, 0.35, 0.2), kv_fill="skip",
        ),
        "routed", "the larger one: four stages of three layers each, rows are routed on or leave", batch=32, steps=12000, adam_rate=3e-3, beside=("staged-dense",),
    ),
    "staged-dense": Recipe(
        ModelConfig(2048, 256, 4, 2, 64, 576, block=6), "dense", "six layers of the larger one's shape: what a fixed depth of its usual cost reaches",
        batch=32, steps=12000, adam_rate=3e-3,
    ),
    "classifier": Recipe(
        EncoderConfig(2048, 128, 4, 4, 32, 384, layers=6, classes=0), "classifier",
        "an encoder of six layers with an exit after each, on package descriptions (its classes are the data's)", batch=64, length=32, steps=4000, adam_rate=2e-3,
    ),
}  # fmt: skip
