# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Fields of documents that people write (TOML, JSON): typed look-ups whose errors name the place and the field."""

import math
from collections.abc import Iterable
from numbers import Integral, Real

from .errors import UserError

REQUIRED = object()
FLOAT32_MAX = 3.4028234663852886e38


def shown(value) -> str:
    """`value` for a message: one line and not too long, whatever it is."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def is_integer(value) -> bool:
    """Whether `value` is a whole number; True and False, which Python takes for 1 and 0, are none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_float32(value) -> bool:
    """Whether `value` is a number that float32 can hold: finite, and not so large that it would become infinite."""
    return isinstance(value, Real) and not isinstance(value, bool) and bool(abs(value) <= FLOAT32_MAX)


def is_threshold(value) -> bool:
    """`is_float32`, or an infinity, which decides always or never."""
    return is_float32(value) or isinstance(value, float) and math.isinf(value)


class Table:
    """A table of TOML. `where` begins each message, which reads "WHERE: KEY = VALUE is not a ...".

    A key that is not there gives `default`; without one it is an error."""

    def __init__(self, table, where: str):
        if not isinstance(table, dict):
            raise UserError(f"{where} = {shown(table)} is not a table")
        self.table, self.where = table, where

    def only(self, known: Iterable[str]) -> None:
        """Refuse keys other than `known`."""
        if unknown := sorted(set(self.table) - set(known)):
            raise UserError(f"{self.where}: unknown key {unknown[0]!r}; accepted: {', '.join(known)}")

    def integer(self, key: str, default=REQUIRED) -> int:
        return self._get(key, default, is_integer, "an integer")

    def number(self, key: str, default=REQUIRED) -> float:
        return float(self._get(key, default, is_float32, "a finite float32 number"))

    def text(self, key: str, default=REQUIRED) -> str:
        return self._get(key, default, lambda value: isinstance(value, str), "a string")

    def _get(self, key: str, default, fits, wish: str):
        if key not in self.table:
            if default is REQUIRED:
                raise UserError(f"{self.where}: needs '{key}', {wish}")
            return default
        if not fits(self.table[key]):
            raise UserError(f"{self.where}: {key} = {shown(self.table[key])} is not {wish}")
        return self.table[key]
