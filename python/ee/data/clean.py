# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Normal form of a text, and removal of what occurs twice: documents, near-copies, boilerplate paragraphs."""

import hashlib
import re
import unicodedata
from dataclasses import dataclass, replace

import numpy as np

SHINGLE = 8  # words in a row that make one shingle
NEAR = 0.5  # a document goes when more than this share of its shingles occurs in earlier documents
BOILERPLATE = 60, 3  # a paragraph of that many characters or more is kept once when that many documents have it


@dataclass(frozen=True)
class Document:
    """One text with its source's name and domain; `name` is "source/name"."""

    source: str
    domain: str
    name: str
    text: str

    @property
    def digest(self) -> bytes:
        """SHA-256 of the text; what splits and order are made of."""
        return hashlib.sha256(self.text.encode()).digest()


def normal(text: str) -> str:
    """NFC, newline ends of line, no control characters, no blanks at line ends, at most one empty line in a row."""
    text = unicodedata.normalize("NFC", text).replace("\r\n", "\n").replace("\r", "\n").replace("\t", " ")
    text = re.sub(r".\x08", "", text)  # overstruck bold and underline
    text = re.sub("[\x00-\x09\x0b-\x1f\x7f-\x9f\u00ad\u200b-\u200f\ufeff\ufffd]", "", text)
    text = re.sub("[\u00a0\u2000-\u200a\u202f]", " ", text)
    text = re.sub(r" +$", "", text, flags=re.M)
    return re.sub(r"\n{3,}", "\n\n", text).strip("\n") + "\n"


def is_prose(text: str, letters: float = 0.62) -> bool:
    """At least `letters` of the characters that are not blanks are letters; the rest is tables, code and drawings."""
    dense = [c for c in text if not c.isspace()]
    return len(dense) >= 40 and sum(c.isalpha() for c in dense) >= letters * len(dense)


def without_boilerplate(documents: list[Document]) -> list[Document]:
    """Paragraphs that many documents share (licences, standing remarks) stay in the first of them only."""
    size, often = BOILERPLATE
    split = [re.split(r"\n\n", d.text.rstrip("\n")) for d in documents]
    keys = [[" ".join(p.lower().split()) for p in paragraphs] for paragraphs in split]
    count: dict[str, int] = {}
    for own in keys:
        for key in set(own):
            if len(key) >= size:
                count[key] = count.get(key, 0) + 1
    seen: set[str] = set()
    result = []
    for document, paragraphs, own in zip(documents, split, keys):
        kept = []
        for paragraph, key in zip(paragraphs, own):
            if count.get(key, 0) >= often:
                if key in seen:
                    continue
                seen.add(key)
            kept.append(paragraph)
        result.append(document if len(kept) == len(paragraphs) else replace(document, text=normal("\n\n".join(kept))))
    return result


def shingles(words: np.ndarray) -> np.ndarray:
    """uint64 hashes of every run of SHINGLE words of [n] word hashes; a text shorter than that is one shingle."""
    if len(words) < SHINGLE:
        words = np.concatenate([words, np.zeros(SHINGLE - len(words), np.uint64)])
    result = np.zeros(len(words) - SHINGLE + 1, np.uint64)
    for i in range(SHINGLE):  # polynomial modulo 2**64
        result = result * np.uint64(0x9E3779B97F4A7C15) + words[i : i + len(result)]
    return result


def without_copies(documents: list[Document]) -> list[Document]:
    """Documents whose text is new: exact copies go, and those of whose shingles more than NEAR were in earlier ones.

    A shingle belongs to the first document that has it, whether or not that one is kept.
    """
    exact: set[bytes] = set()
    kept = [d for d in documents if d.digest not in exact and not exact.add(d.digest)]
    known: dict[str, int] = {}

    def word_hash(word: str) -> int:
        if word not in known:
            known[word] = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "little")
        return known[word]

    parts = [np.unique(shingles(np.array([word_hash(w) for w in re.findall(r"\w+", d.text.lower())], np.uint64))) for d in kept]
    if not parts:
        return []
    ends = np.cumsum([len(p) for p in parts])
    hashes = np.concatenate(parts)
    _, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    owner = np.searchsorted(ends, first, side="right")[inverse]
    result = []
    for i, (document, part) in enumerate(zip(kept, parts)):
        own = owner[ends[i] - len(part) : ends[i]]
        if (own < i).mean() <= NEAR:
            result.append(document)
    return result
