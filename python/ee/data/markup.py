# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Plain text from the other forms the sources come in: HTML pages, reStructuredText, compressed streams."""

import html.parser
import re
import struct
import zlib

_BLOCKS = {"p", "div", "h1", "h2", "h3", "h4", "h5", "h6", "li", "dt", "dd", "tr", "blockquote", "pre", "ul", "ol", "dl"} | {"table", "section"}
_SKIPPED = {"script", "style", "head", "nav"}


class _Page(html.parser.HTMLParser):
    """Collects text; an element whose id or class matches `navigation` is left out with everything inside it."""

    navigation = re.compile(r"navigation|docnav|\btoc\b|banner|title_?bar|page-links|footer")
    void = {"br", "img", "hr", "meta", "link", "input", "col", "wbr"}

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.open: list[tuple[str, bool]] = []  # (tag, whether its text is left out)
        self.pre = 0

    def handle_starttag(self, tag, attributes):
        if tag == "br":
            self.parts.append("\n")
        if tag in _BLOCKS:
            self.parts.append("\n\n" if not self.pre else "\n")
        if tag in self.void:
            return
        if tag in ("p", "li", "dt", "dd") and self.open and self.open[-1][0] == tag:  # end tags that HTML lets out
            self.open.pop()
        label = " ".join(v or "" for k, v in attributes if k in ("id", "class"))
        hidden = bool(self.open and self.open[-1][1]) or tag in _SKIPPED or bool(self.navigation.search(label))
        self.open.append((tag, hidden))
        self.pre += tag == "pre"

    def handle_startendtag(self, tag, attributes):
        if tag == "br" or tag in _BLOCKS:
            self.parts.append("\n")

    def handle_endtag(self, tag):
        if tag in [t for t, _ in self.open]:
            while self.open.pop()[0] != tag:
                pass
        self.pre -= tag == "pre" and self.pre > 0
        if tag in _BLOCKS:
            self.parts.append("\n\n" if not self.pre else "\n")

    def handle_data(self, data):
        if not (self.open and self.open[-1][1]):
            self.parts.append(data if self.pre else re.sub(r"\s+", " ", data))


def html_text(page: str) -> str:
    """The text of an HTML page: blocks separated by empty lines, navigation left out."""
    parser = _Page()
    parser.feed(page)
    parser.close()
    lines = (line.strip() for line in "".join(parser.parts).splitlines())
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"


_ROLE = re.compile(r":[a-zA-Z:+-]+:`([^`<]*?)\s*(?:<[^`>]*>)?`")
_LINK = re.compile(r"`([^`<]+?)\s*<[^`>]*>`__?")
_UNDERLINE = re.compile(r"^([=\-~^\"'*+#.`:_])\1{2,}\s*$")


def rst_text(source: str) -> str:
    """reStructuredText without its markup: heading lines, directives with their options, tables and roles go."""
    lines: list[str] = []
    skip_indent: int | None = None  # inside a directive whose content is not running text
    for line in source.expandtabs(8).splitlines():
        indent = len(line) - len(line.lstrip())
        if skip_indent is not None:
            if not line.strip() or indent > skip_indent:
                continue
            skip_indent = None
        text = line.strip()
        if text.startswith(".. "):
            if not re.match(r"\.\. (note|warning|important|tip|hint|attention|seealso)::", text):
                skip_indent = indent
            continue
        if _UNDERLINE.match(text) or re.match(r"^[+|][-=+| ]*[+|]$|^=+( +=+)+$", text) or text.startswith("|") and text.endswith("|"):
            continue
        line = _LINK.sub(r"\1", _ROLE.sub(r"\1", line)).replace("``", "").replace("**", "")
        if text != "::":
            lines.append(re.sub(r"::$", ":", line.rstrip()))
    return "\n".join(lines)


def lzw(data: bytes, flags: int) -> bytes:
    """Decompress the body of a stream of the Unix program compress (.Z), whose third header byte is `flags`: LZW,
    codes of 9 to `flags & 31` bits, least significant bit first, code 256 clears the table when `flags & 128`.

    Codes come in groups of eight of one width, and a group is padded to its full length when the width changes.
    """
    widest, block, out = flags & 31, bool(flags & 128), bytearray()
    table = [bytes([i]) for i in range(256)] + ([b""] if block else [])
    width, group, bit, previous = 9, 0, 0, b""
    total = len(data) * 8
    view = memoryview(data)
    while bit + width <= total:
        first = bit >> 3
        code = (int.from_bytes(view[first : first + 4], "little") >> (bit & 7)) & ((1 << width) - 1)
        bit += width
        if code == 256 and block:
            bit = group + -(-(bit - group) // (8 * width)) * 8 * width
            group, width, previous = bit, 9, b""
            del table[257:]
            continue
        entry = table[code] if code < len(table) else previous + previous[:1]
        out += entry
        if previous and len(table) < 1 << widest:
            table.append(previous + entry[:1])
        previous = entry
        if len(table) > (1 << width) - 1 and width < widest:
            bit = group + -(-(bit - group) // (8 * width)) * 8 * width
            group, width = bit, width + 1
    return bytes(out)


def r_strings(record: bytes) -> tuple[int, list[str]]:
    """Bytes used by, and the longest character vector of, the R data record that `record` begins with (a .rdb chunk:
    4 bytes length, zlib, R serialisation in XDR).

    In the serialisation a character vector is the flag word 16, a count, then per string the flag word of a CHARSXP
    (type 9 in its low byte), a length in bytes (-1 for NA) and the bytes; all words big-endian.
    """
    stream = zlib.decompressobj()
    data = stream.decompress(record[4:])
    best: list[str] = []
    at = data.find(b"\0\0\0\x10")
    while 0 <= at <= len(data) - 8:
        (count,) = struct.unpack_from(">i", data, at + 4)
        strings, here = [], at + 8
        while len(strings) < count and here + 8 <= len(data) and data[here + 3] == 9:
            (length,) = struct.unpack_from(">i", data, here + 4)
            strings.append(data[here + 8 : here + 8 + max(length, 0)].decode("utf-8", "replace"))
            here += 8 + max(length, 0)
        if count == len(strings) > len(best):
            best = strings
        at = data.find(b"\0\0\0\x10", here if strings else at + 1)
    return len(record) - len(stream.unused_data), best
