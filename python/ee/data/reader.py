# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Token files and what training and validation take from them.

`train.bin` and `valid.bin` are little-endian uint16 token ids: every document is followed by END (id 0). The index
beside a file lists its documents in order.
"""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..shapes import read_shaped

END = 0  # <|endoftext|>
WRITER = "python -m ee.data"


@dataclass(frozen=True)
class DocumentEntry:
    """`tokens` ids from `offset` on (END not counted) are the document; `bytes` is its length in UTF-8."""

    name: str
    domain: str
    offset: int
    tokens: int
    bytes: int


@dataclass(frozen=True)
class Tokens:
    """One split: `ids` [n] uint16, mapped and not read; its documents in order."""

    ids: np.ndarray
    documents: list[DocumentEntry]


@dataclass(frozen=True)
class Windows:
    """Rows of validation text. `inputs`, `targets` [rows, length] int64, `mask` [rows, length] bool (False: padding, not
    to be scored), `document` [rows] int64 into Tokens.documents. Every token of a document, and the END after it, is the
    target of exactly one unmasked place, so sums of loss divide by the documents' bytes to exact bits per byte."""

    inputs: np.ndarray
    targets: np.ndarray
    mask: np.ndarray
    document: np.ndarray

    @property
    def token_document(self) -> np.ndarray:
        """[scored tokens] the document of each, row after row."""
        return np.repeat(self.document, self.mask.sum(1))


def _documents(index: Path) -> list[DocumentEntry]:
    """The entries of an index file: at least one, each beginning right after the END of the one before."""
    shape = {field.name: field.type for field in fields(DocumentEntry)}
    entries = read_shaped(index, {"documents": [shape]}, WRITER)["documents"]
    if not entries:
        raise UserError(f"{index}: lists no document; rebuild with {WRITER}")
    end = 0
    for i, entry in enumerate(entries):
        if unknown := sorted(set(entry) - set(shape)):
            raise UserError(f"{index}: documents[{i}].{unknown[0]}: no such field; known are {', '.join(shape)}")
        if entry["offset"] != end or entry["tokens"] < 0 or entry["bytes"] < 0:
            raise UserError(f"{index}: documents[{i}]: must start at token {end} and have counts of at least 0; rebuild with {WRITER}")
        end += entry["tokens"] + 1
    return [DocumentEntry(**entry) for entry in entries]


def open_tokens(folder: str | Path, split: str = "train") -> Tokens:
    """The split `train` or `valid` of a folder that `python -m ee.data` wrote."""
    path, index = Path(folder) / f"{split}.bin", Path(folder) / f"{split}.index.json"
    documents = _documents(index)
    # Before it is mapped: numpy refuses an empty file and half a token in words that do not name it.
    size, wanted = path.stat().st_size, 2 * (documents[-1].offset + documents[-1].tokens + 1)
    if size != wanted:
        raise UserError(f"{path}: has {size} bytes, but {index.name} lists documents of {wanted}; rebuild with {WRITER}")
    return Tokens(np.memmap(path, np.dtype("<u2"), "r"), documents)


def windows(ids: np.ndarray, step: int, batch: int, length: int, seed: int) -> np.ndarray:
    """[batch, length + 1] int64: the batch of one training step, a pure function of its arguments.

    Starts are uniform over the stream: 64 random bits from Philox with key `seed` and counter `step`, modulo the number
    of starts (bias below 2**-39 for streams of up to 2**25 tokens). So a resumed run sees the batches it would have seen.
    inputs = result[:, :-1], targets = result[:, 1:].
    """
    starts = len(ids) - length
    if starts < 1:
        raise UserError(f"windows of {length} + 1 tokens need more than {length} tokens, the file has {len(ids)}")
    generator = np.random.Philox(key=seed, counter=[0, step, 0, 0])  # word 0 counts within a step
    start = (generator.random_raw(batch) % np.uint64(starts)).astype(np.int64)
    return ids[start[:, None] + np.arange(length + 1)].astype(np.int64)


def validation_windows(tokens: Tokens, length: int, domains: set[str] | None = None, per_document: int | None = None) -> Windows:
    """The documents (of `domains`) cut into rows of `length` that do not overlap, each document starting with END as
    context; at most `per_document` rows of one document, its first ones. No randomness."""
    inputs, targets, mask, owner = [], [], [], []
    for number, entry in enumerate(tokens.documents):
        if domains is not None and entry.domain not in domains:
            continue
        own = np.full(entry.tokens + 2, END, np.int64)
        own[1:] = tokens.ids[entry.offset : entry.offset + entry.tokens + 1]
        rows = -(-(entry.tokens + 1) // length)
        rows = rows if per_document is None else min(rows, per_document)
        for row in range(rows):
            piece = own[row * length : (row + 1) * length + 1]
            padding = (0, length + 1 - len(piece))
            full = np.pad(piece, padding, constant_values=END)
            inputs.append(full[:-1])
            targets.append(full[1:])
            mask.append(np.arange(length) < len(piece) - 1)
            owner.append(number)
    if not inputs:
        known = sorted({d.domain for d in tokens.documents})
        raise UserError(f"domains {sorted(domains or ())}: no document; there are {', '.join(known)}")
    return Windows(np.stack(inputs), np.stack(targets), np.stack(mask), np.array(owner))
