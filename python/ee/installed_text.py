# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Text to fit and calibrate on, from what is installed on any machine: READMEs, licences, package descriptions.

Nothing is downloaded. The list of files is a pure function of what lies in the folders: sorted, each content once,
split by file (never within one) by the hash of its content.
"""

import hashlib
import itertools
import sysconfig
from pathlib import Path

PATTERNS = ("*.md", "*.rst", "*.txt", "METADATA", "README*", "copyright")
SPLITS = ("fit", "fit", "fit", "fit", "fit", "fit", "calibrate", "calibrate", "report", "report")


def default_roots() -> list[Path]:
    """System documentation and the installed Python packages."""
    return [Path("/usr/share/doc"), Path(sysconfig.get_paths()["purelib"])]


def _is_prose(text: str) -> bool:
    """Mostly letters and spaces, ASCII, of some length: keeps tables, word lists and binary out."""
    if len(text) < 600 or not text.isascii():
        return False
    plain = sum(c.isalpha() or c in " ,.'" for c in text)
    return plain / len(text) > 0.85 and text.count(" ") / len(text) > 0.12


def texts(roots=None, characters: int = 6000) -> dict[str, list[str]]:
    """{'fit': [...], 'calibrate': [...], 'report': [...]}: the first `characters` of each distinct file of prose."""
    seen: dict[str, str] = {}
    for root in roots or default_roots():
        root = Path(root)
        paths = [root] if root.is_file() else sorted({p for pattern in PATTERNS for p in root.rglob(pattern)})
        for path in paths:
            try:
                with open(path, encoding="utf-8") as file:
                    text = file.read(characters)
            except (OSError, UnicodeDecodeError):
                continue
            # Licence texts differ by a name in line one: judge sameness by the middle.
            key = hashlib.sha256(" ".join(text[len(text) // 3 : len(text) // 3 + 400].split()).encode()).hexdigest()
            if key not in seen and _is_prose(text):
                seen[key] = text
    result: dict[str, list[str]] = {name: [] for name in sorted(set(SPLITS))}
    for key, text in sorted(seen.items()):
        result[SPLITS[int(key[:8], 16) % len(SPLITS)]].append(text)
    return result


def chunks(tokenizer, documents: list[str], length: int, tokens: int) -> list[list[int]]:
    """Token ids of `documents` cut into pieces of `length` (a shorter last piece is dropped), up to `tokens` in all:
    first the first piece of every document, then the second ones, so that few tokens still come from many files."""
    encoded = [tokenizer.encode(text, add_special_tokens=False).ids for text in documents]
    longest = max(map(len, encoded), default=0)
    pieces = (ids[i : i + length] for i in range(0, longest, length) for ids in encoded if len(ids) >= i + length)
    return list(itertools.islice(pieces, max(1, tokens // length)))
