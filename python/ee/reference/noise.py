# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Randomness as a function of what it is for, and the rules by which a token is picked from logits.

A draw depends on (seed, purpose, sequence, position) alone, never on how many draws came before: the same token gets the
same noise whether it is drafted at a shallow exit, verified at full depth, or run in another batch. That is what couples
draft and target: sample = argmax_i(z_i / temperature + g_i), g_i standard Gumbel, has law softmax(z / temperature)
(Gumbel-max), and two logit rows that are close mostly give the same sample for the same g.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from ..errors import UserError

# Chooses the token at `position` of `sequence` from logits [vocab].
Pick = Callable[[torch.Tensor, int, int], int]


def argmax(x: torch.Tensor) -> int:
    """The lowest index among the maxima of x [n]."""
    return int(np.argmax(x.numpy()))


def greedy(logits: torch.Tensor, sequence: int, position: int) -> int:
    """The likeliest token; ties go to the lowest id."""
    return argmax(logits)


@dataclass(frozen=True)
class Noise:
    """An explicit random source: a counter-based generator keyed by `seed`."""

    seed: int

    def uniform(self, purpose: str, sequence: int, position: int, count: int = 1) -> np.ndarray:
        """`count` numbers in (0, 1)."""
        word = int.from_bytes(purpose.encode()[:8].ljust(8, b"\0"), "little")
        # The lowest counter word counts the blocks within one draw.
        bits = np.random.Philox(key=self.seed, counter=[0, position, sequence, word])
        return (np.random.Generator(bits).integers(0, 1 << 53, count) + 0.5) / float(1 << 53)

    def gumbel(self, purpose: str, sequence: int, position: int, count: int) -> torch.Tensor:
        """[count] standard Gumbel numbers."""
        return torch.from_numpy(-np.log(-np.log(self.uniform(purpose, sequence, position, count))))

    def bernoulli(self, probability: float, purpose: str, sequence: int, position: int) -> bool:
        """True with `probability`; strict, so 0 is never and 1 always true."""
        return bool(self.uniform(purpose, sequence, position)[0] < probability)

    def categorical(self, p: torch.Tensor, purpose: str, sequence: int, position: int) -> int:
        """A sample of the law p [n] by inversion; never an index with p = 0."""
        cumulative = np.cumsum(p.numpy())
        index = int(np.searchsorted(cumulative, self.uniform(purpose, sequence, position)[0] * cumulative[-1], side="right"))
        return min(index, int(np.flatnonzero(p.numpy())[-1]))


@dataclass(frozen=True)
class Sampler:
    """A `Pick`: Gumbel-max sampling with the noise of the token's position."""

    noise: Noise
    temperature: float = 1.0

    def __post_init__(self):
        check_temperature(self.temperature)

    def __call__(self, logits: torch.Tensor, sequence: int, position: int) -> int:
        return argmax(logits / self.temperature + self.noise.gumbel("token", sequence, position, len(logits)))


def check_temperature(temperature: float) -> None:
    """Raises unless it is above 0; greedy picking is `greedy`, not temperature 0."""
    if not temperature > 0:
        raise UserError(f"temperature: must be above 0, but got {temperature}")


def probabilities(logits: torch.Tensor, temperature: float) -> torch.Tensor:
    """softmax(z / temperature); [..., vocab]."""
    return torch.softmax(logits / temperature, -1)

