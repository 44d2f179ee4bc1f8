# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Plain text from manual pages written with the man macros (man(7)); enough of roff for running text.

Own conversion and not groff, so that the text is the same on every machine. Fonts and requests that only move ink are
dropped, paragraphs are joined to one line; no-fill parts (.nf, .EX) keep their lines; tables (.TS) are left out.
"""

import re

_SPECIAL = {
    "em": "-", "en": "-", "hy": "-", "bu": "*", "co": "(C)", "aq": "'", "dq": '"', "lq": '"', "rq": '"', "oq": "'", "cq": "'", "ga": "`",
    "ha": "^", "ti": "~", "rs": "\\", "ul": "_", "<=": "<=", ">=": ">=", "!=": "!=", "->": "->", "<-": "<-", "mu": "x", "+-": "+-",
    "pl": "+", "mi": "-", "at": "@", "sh": "#", "Do": "$", "bv": "|", "or": "|", "la": "<", "ra": ">", "de": " degrees", "tm": "(TM)",
}  # fmt: skip
_BREAKS = {".PP", ".P", ".LP", ".TP", ".TQ", ".IP", ".HP", ".RS", ".RE", ".sp", ".br"}
_FONTS = {".B", ".I", ".SM", ".SB"}
_ALTERNATE = {".BR", ".RB", ".BI", ".IB", ".IR", ".RI"}
_UNTIL = {".de": "..", ".ig": "..", ".TS": ".TE", ".EQ": ".EN"}
_ESCAPES = [  # in this order: what may contain a backslash first
    (re.compile(r'\\".*|\\#.*'), ""),
    (re.compile(r"\\f(\[[^\]]*\]|\(..|.)|\\s([+-]?\d+|\([+-]?\d\d)|\\m\[[^\]]*\]|\\[hvwlLZDX]'[^']*'|\\k."), ""),
    (re.compile(r"\\[*n](\[[^\]]*\]|\(..|.)"), ""),
    (re.compile(r"\\\[u([0-9A-F]{4,5})\]"), lambda m: chr(int(m[1], 16))),
    (re.compile(r"\\\[([^\]]*)\]|\\\((..)"), lambda m: _SPECIAL.get(m[1] or m[2], "")),
    (re.compile(r"\\[&|^/,:%)c!?dut{}a]"), ""),
    (re.compile(r"\\([-~0e ' .`])"), lambda m: {"~": " ", "0": " ", "e": "\\"}.get(m[1], m[1])),
]


def _plain(line: str) -> str:
    """`line` without roff's escape sequences."""
    for pattern, replacement in _ESCAPES:
        line = pattern.sub(replacement, line)
    return line


def _arguments(rest: str) -> list[str]:
    """The arguments of a macro line: blanks separate, quotes group, "" inside quotes is a quote."""
    found = re.finditer(r'"((?:[^"]|"")*)(?:"|$)|([^\s"](?:\\ |\S)*)', rest)
    return [m[1].replace('""', '"') if m[1] is not None else m[2] for m in found]


def man_text(source: str) -> str:
    """The running text of one page: sections as lines in capitals, paragraphs separated by empty lines."""
    paragraphs: list[str] = []
    words: list[str] = []
    fill, until = True, None

    def flush() -> None:
        text = (" " if fill else "\n").join(words).strip("\n")
        if text.strip():
            paragraphs.append(text)
        words.clear()

    for line in re.sub(r"\\\n", "", source).splitlines():
        name = line.split(None, 1)[0] if line[:1] in (".", "'") and len(line) > 1 else ""
        if name.startswith("'"):
            name = "." + name[1:]
        if until is not None:
            until = None if name == until or line == until else until
        elif name in _UNTIL:
            flush()
            until = _UNTIL[name]
        elif not name:
            if line.strip():
                words.append(_plain(line) if not fill else _plain(line).strip())
            else:
                flush()
        else:
            arguments = [_plain(a) for a in _arguments(line[len(name) :])]
            if name in (".SH", ".SS"):
                flush()
                paragraphs.append(" ".join(arguments))
            elif name in (".nf", ".EX", ".fi", ".EE"):
                flush()
                fill = name in (".fi", ".EE")
            elif name in _BREAKS:
                flush()
                if name == ".IP" and arguments:
                    words.append(arguments[0])
            elif name in _FONTS:
                words.append(" ".join(arguments))
            elif name in _ALTERNATE:
                words.append("".join(arguments))
            elif name in (".UR", ".MT") and arguments:
                words.append(arguments[0])
    flush()
    return "\n\n".join(p for p in paragraphs if p.strip()) + "\n"
