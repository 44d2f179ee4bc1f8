# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The shape of a decoder whose depth may vary: which layers exist, how often they run, where a row may stop.

A row goes through `prelude` layers of its own, then `recursions` times through one shared `block` of layers (or, not
`shared`, through as many blocks), then through `coda` layers of its own. A dense model has one recursion. Unrolled layers
are counted from 0; physical layers (`model.layers.i` of the weights) are the prelude's, the block's and the coda's.
"""

from dataclasses import dataclass

from ..errors import UserError
from ..sizes import check_sizes, check_types

FILLS = ("exact", "propagate", "skip", "share")


@dataclass(frozen=True)
class ModelConfig:
    """Sizes are counts of elements. `exits` lists depths (layers run) after which the shared final norm and LM head
    may be read, the full depth excluded; a recursive model's exits lie at ends of recursions.

    `loop_norm`: the final norm is applied at the end of every recursion and its result enters the next one (Ouro).
    `shared`: the recursions run one block; otherwise each has its own (stages of unshared layers, which may be routed).
    `router`: rows enter recursion r by a router's choice (Mixture-of-Recursions), aiming at `capacities[r]` of all rows.
    `gates`: each recursion but the last has a halting gate (Ouro). `kv_fill`: which K,V a row that left presents to
    deeper layers; see docs/AdaptiveOnnx.md.
    """

    vocab: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    block: int
    recursions: int = 1
    shared: bool = True
    prelude: int = 0
    coda: int = 0
    rope_theta: float = 10000.0
    eps: float = 1e-5
    exits: tuple[int, ...] = ()
    loop_norm: bool = False
    lora_rank: int = 0
    lora_scale: float = 1.0
    router: bool = False
    capacities: tuple[float, ...] = ()
    alpha: float = 1.0
    gates: bool = False
    kv_fill: str = "exact"

    def __post_init__(self):
        check_types(self)
        check_sizes(self, ("block", "recursions"))
        for name in ("prelude", "coda", "lora_rank"):
            if getattr(self, name) < 0:
                raise UserError(f"{name}: must be at least 0, but got {getattr(self, name)}")
        for name in ("rope_theta", "eps"):
            if getattr(self, name) <= 0:
                raise UserError(f"{name}: must be greater than 0, but got {getattr(self, name):g}")
        if not all(0 < share <= 1 for share in self.capacities):
            raise UserError(f"capacities: must be shares above 0 and up to 1, but got {list(self.capacities)}")
        if self.kv_fill not in FILLS:
            raise UserError(f"config: kv_fill '{self.kv_fill}' is not one of {', '.join(FILLS)}")
        if self.router and len(self.capacities) != self.recursions:
            raise UserError(f"config: capacities has {len(self.capacities)} entries; a routed model of {self.recursions} recursions needs as many")
        if sorted(set(self.exits)) != list(self.exits) or any(not 0 < e < self.depth for e in self.exits):
            raise UserError(f"config: exits {self.exits} must be ascending depths between 1 and {self.depth - 1}")

    @property
    def depth(self) -> int:
        """Unrolled layers a row of full depth runs."""
        return self.depth_after(self.recursions)

    @property
    def layout(self) -> list[int]:
        """The physical layer of each unrolled layer."""
        blocks = [r if not self.shared else 0 for r in range(self.recursions)]
        loop = [self.prelude + b * self.block + i for b in blocks for i in range(self.block)]
        return list(range(self.prelude)) + loop + list(range(self.physical_layers - self.coda, self.physical_layers))

    @property
    def physical_layers(self) -> int:
        return self.prelude + self.block * (1 if self.shared else self.recursions) + self.coda

    def depth_after(self, recursions):
        """Layers that rows of so many recursions run, coda included; numbers, arrays or tensors."""
        return self.prelude + self.block * recursions + self.coda

    def recursions_of(self, depths):
        """The inverse of `depth_after`."""
        return (depths - self.prelude - self.coda) // self.block

    def layer_macs(self) -> int:
        """Multiply-adds of one layer's linear maps for one row; one cost unit."""
        attention = self.hidden * self.head_dim * 2 * (self.heads + self.kv_heads)
        return attention + 3 * self.hidden * self.ffn

    def kv_macs(self) -> int:
        """Multiply-adds of one layer's K and V projections for one row."""
        return 2 * self.hidden * self.head_dim * self.kv_heads

    def head_macs(self) -> int:
        return self.hidden * self.vocab
