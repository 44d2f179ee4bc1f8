# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What holds for the sizes of every decoder here, whichever class keeps them."""

from collections.abc import Iterable

from .errors import UserError


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
