# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What holds for the sizes of every decoder here, whichever class keeps them."""

import dataclasses
import typing
from collections.abc import Iterable

from .errors import UserError
from .fields import is_float32, is_integer, shown

_FITS = {
    int: (is_integer, "an integer"),
    float: (is_float32, "a finite float32 number"),
    bool: (lambda value: isinstance(value, bool), "true or false"),
    str: (lambda value: isinstance(value, str), "a string"),
}


def check_types(config) -> None:
    """Each field of the dataclass `config` holds what its annotation says: int, float, bool, str, or a tuple of one of them.
    Files are read without a schema, so this is where a wrong type is found. Raises `UserError` naming the field."""
    for name, kind in typing.get_type_hints(type(config)).items():
        if name not in (f.name for f in dataclasses.fields(config)):
            continue
        value, inner = getattr(config, name), typing.get_args(kind)
        fits, wish = _FITS[inner[0] if inner else kind]
        if inner and not isinstance(value, (tuple, list)):
            raise UserError(f"{name}: must be a list, but got {shown(value)}")
        for i, part in enumerate(value if inner else [value]):
            if not fits(part):
                raise UserError(f"{name}{f'[{i}]' if inner else ''}: must be {wish}, but got {shown(part)}")


def check_sizes(config, names: Iterable[str] = ()) -> None:
    """Counts (those of an attention block with its MLP, and `names`) are at least 1, K,V heads divide the query heads, and a
    head has pairs to rotate. Raises `UserError` naming the field."""
    for name in ("vocab", "hidden", "heads", "kv_heads", "head_dim", "ffn", *names):
        if getattr(config, name) < 1:
            raise UserError(f"{name}: must be at least 1, but got {getattr(config, name)}")
    if config.heads % config.kv_heads:
        raise UserError(f"kv_heads: must divide heads {config.heads}, but got {config.kv_heads}")
    if config.head_dim % 2:
        raise UserError(f"head_dim: must be even, but got {config.head_dim}")
