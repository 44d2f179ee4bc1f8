# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Text that `ee.data` wrote, in the ids of another model's tokenizer: what a converted checkpoint is trained and measured on."""

from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

from ..data.reader import open_tokens
from ..errors import UserError, one_line

SPAN = 4  # stored tokens that are read per token wanted; other tokenizers have larger vocabularies and so fewer tokens
TRIES = 64  # documents looked at per window before the text is given up as too short


class OtherTokens:
    """One split of the text in `folder` as windows of `length` + 1 ids of `tokenizer`; a window lies in one document."""

    def __init__(self, folder, tokenizer: Tokenizer, split: str, length: int):
        self.stored, self.tokenizer, self.length = open_tokens(folder, split), tokenizer, length
        self.where, path = f"{folder}: {split}", Path(folder) / "tokenizer.json"
        try:
            self.own = Tokenizer.from_file(str(path))
        except Exception as e:  # the package raises nothing narrower
            raise UserError(f"{path}: no tokenizer: {one_line(e)}; rebuild with python -m ee.data") from None
        self.ends = np.cumsum([entry.tokens + 1 for entry in self.stored.documents])

    def _window(self, number: int, start: int) -> list[int] | None:
        """From token `start` of document `number` on; None where too little is left."""
        entry = self.stored.documents[number]
        stop = min(entry.tokens, start + SPAN * self.length)
        words = self.own.decode(self.stored.ids[entry.offset + start : entry.offset + stop].tolist())
        ids = self.tokenizer.encode(words, add_special_tokens=False).ids
        return ids[: self.length + 1] if len(ids) > self.length else None

    def _none(self) -> UserError:
        return UserError(f"{self.where} has no document of more than {self.length} tokens of the source's tokenizer; give a folder with longer ones")

    def first(self, count: int) -> torch.Tensor:
        """[at most count, length + 1]: the beginnings of documents in a fixed random order; for measurements."""
        pieces = []
        for number in np.random.default_rng(0).permutation(len(self.stored.documents)):
            window = self._window(number, 0)
            if window is not None:
                pieces.append(window)
            if len(pieces) == count:
                break
        if not pieces:
            raise self._none()
        return torch.tensor(pieces)

    def batch(self, step: int, size: int, seed: int) -> torch.Tensor:
        """[size, length + 1] from places anywhere in the text, a pure function of the arguments."""
        generator, pieces = np.random.Generator(np.random.Philox(key=seed, counter=[0, step, 0, 0])), []
        for _ in range(TRIES * size):
            place = int(generator.integers(0, self.ends[-1]))
            number = int(np.searchsorted(self.ends, place, side="right"))
            entry = self.stored.documents[number]
            window = self._window(number, max(0, min(place - entry.offset, entry.tokens - SPAN * self.length)))
            if window is not None:
                pieces.append(window)
            if len(pieces) == size:
                return torch.tensor(pieces)
        raise self._none()
