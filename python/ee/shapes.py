# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Values read from files, checked against the shape that their readers rely on.

A shape is a type (`float` takes integers too), a tuple of types, `[shape]` for a list of such items, or a dict of fields that
must be there; fields it does not name may be anything.
"""

import json
from pathlib import Path

from .errors import UserError
from .fields import shown

NULL = type(None)
_NAMES = {dict: "an object", list: "a list", str: "text", int: "an integer", float: "a number", bool: "true or false", NULL: "null"}


def check_shape(value, shape, where: str, field: str = "") -> None:
    """Raises `UserError` that names `where` (a file) and the first field that is missing or of another type."""
    kinds = (dict,) if isinstance(shape, dict) else (list,) if isinstance(shape, list) else shape if isinstance(shape, tuple) else (shape,)
    # type() of plain values: a bool is an int to isinstance, and no count is meant by `true`.
    if not any(isinstance(value, kind) if kind in (dict, list) else type(value) is kind or kind is float and type(value) is int for kind in kinds):
        said = f"{field}: must be" if field else "must hold"
        raise UserError(f"{where}: {said} {' or '.join(_NAMES[kind] for kind in kinds)}, but got {shown(value)}")
    if isinstance(shape, dict):
        for name, inner in shape.items():
            path = f"{field}.{name}" if field else name
            if name not in value:
                raise UserError(f"{where}: {path} is missing")
            check_shape(value[name], inner, where, path)
    elif isinstance(shape, list):
        for i, item in enumerate(value):
            check_shape(item, shape[0], where, f"{field}[{i}]")


def read_shaped(path: str | Path, shape, writer: str):
    """The JSON document at `path`, of `shape`; `writer` is the command that makes such files, for the error."""
    try:
        value = json.loads(Path(path).read_text("utf-8"))
    except (ValueError, RecursionError) as e:
        raise UserError(f"{path}: not JSON: {e}; {writer} writes it") from None
    check_written(value, shape, path, writer)
    return value


def check_written(value, shape, path: str | Path, writer: str) -> None:
    """`check_shape` of what was read from `path`."""
    try:
        check_shape(value, shape, str(path))
    except UserError as e:
        raise UserError(f"{e}; {writer} writes it") from None
