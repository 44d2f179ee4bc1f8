# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Llama blocks that a model's export calls by name, so that the body of each kind of block is exported once per opset.

The exporter's time is spent in the blocks, and a model of the corpus applies four to eight of them. Inside `outlined()` a
block's call becomes one node `ee.corpus.NAME`, whose inputs are the state, mask, rotary tables, K,V where they come from
elsewhere, and the block's weights; NAME says which kind of call it is. `function` exports that kind by `ee.export`, makes
inputs of its weights, and `inline` puts the nodes in the place of the calls. The result is the unrolled graph over the
model's own initialisers that `ee.export` writes without this, except that each block derives its sizes anew.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache, partial
from pathlib import Path

import onnx
import onnx.inliner
import torch
from onnx import helper
from torch import Tensor

from .. import nn
from ..torch_export import export

DOMAIN = "ee.corpus"
_outlining = False
_kinds: dict[str, Callable[[], "_Kind"]] = {}  # met so far

Lora = tuple[nn.DepthLora, int]


class Block(nn.LlamaBlock):
    """`LlamaBlock`; `lora` is a `DepthLora` over this block and the recursion that it is applied at."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.itself = (self,)  # while a model is traced, `self` is a proxy

    def _run(self, h: Tensor, mask: Tensor, rope: tuple[Tensor, Tensor], kv=None, active=None):
        return super().forward(h, mask, rope, kv, active)

    def forward(self, h: Tensor, mask: Tensor, rope: tuple[Tensor, Tensor], kv=None, active=None, lora: Lora | None = None):
        if _outlining:
            return _call(self, lora, h, mask, rope, kv, active)
        with nullcontext() if lora is None else lora[0].applied([self], lora[1]):
            return self._run(h, mask, rope, kv, active)


class SandwichBlock(Block):
    """Ouro's block: an RMSNorm before and after attention, before and after the MLP."""

    def __init__(self, hidden: int, heads: int, kv_heads: int, head_dim: int, ffn: int, eps: float = 1e-5):
        super().__init__(hidden, heads, kv_heads, head_dim, ffn, eps)
        self.input_layernorm_2, self.post_attention_layernorm_2 = nn.RMSNorm(hidden, eps), nn.RMSNorm(hidden, eps)

    def _run(self, h: Tensor, mask: Tensor, rope: tuple[Tensor, Tensor], kv=None, active=None):
        n, attention = self.input_layernorm(h), self.self_attn
        if kv is not None:
            raise NotImplementedError("a block with four norms makes its own K and V")
        kv = attention.k_proj(n), attention.v_proj(n)
        h = h + self.input_layernorm_2(attention(n, mask, rope, kv))
        return h + self.post_attention_layernorm_2(self.mlp(self.post_attention_layernorm(h))), kv


class _Kind(torch.nn.Module):
    """One kind of call as a model of its own: `lora` is rank, targets and scale; lists `kv` and `active` are as long as it has them."""

    def __init__(self, block: Block, lora: tuple[int, Sequence[str], float] | None, mask_rank: int, kv: int, active: int):
        super().__init__()
        self.block, self.mask_rank, self.kv, self.active = block, mask_rank, kv, active
        self.lora = None if lora is None else nn.DepthLora([block], 1, *lora)

    def forward(self, h: Tensor, mask: Tensor, cos: Tensor, sin: Tensor, kv: list[Tensor], active: list[Tensor]):
        lora = None if self.lora is None else (self.lora, 0)
        state, made = self.block(h, mask, (cos, sin), tuple(kv) or None, active[0] if active else None, lora)
        return state if kv and not active else (state, *made)


def _call(block: Block, lora: Lora | None, h: Tensor, mask: Tensor, rope, kv, active):
    """The node that stands for the call, and a note of what it stands for."""
    kv, active, weights, low = list(kv or ()), [] if active is None else [active], list(block.parameters()), None
    if lora is not None:
        added = [p for t in lora[0].targets for p in lora[0].get_submodule(f"{lora[0].first + lora[1]}.{t}").parameters()]
        weights, low = weights + added, (len(added[0]), lora[0].targets, lora[0].scale)
    given = ("Shared" if not active else "Copied") if kv else ""
    relaxed = "" if low is None else "_".join(["Lora", *low[1]])
    name = "_".join(part for part in (type(block).__name__, f"mask{mask.ndim}", given, relaxed) if part)
    _kinds.setdefault(name, partial(_Kind, block.itself[0], low, mask.ndim, len(kv), len(active)))
    width = block.self_attn.k_proj.out_features
    shapes = [h.shape] + ([(*h.shape[:-1], width)] * 2 if active or not kv else [])
    made = torch.onnx.ops.symbolic_multi_out(
        f"{DOMAIN}::{name}", [h, mask, *rope, *kv, *active, *weights], dtypes=[h.dtype] * len(shapes), shapes=shapes, version=1
    )
    return made[0], tuple(made[1:]) or tuple(kv)


@contextmanager
def outlined() -> Iterator[None]:
    """Exports inside see calls of blocks as nodes."""
    global _outlining
    _outlining = True
    try:
        yield
    finally:
        _outlining = False


@cache
def function(name: str, opset: int) -> onnx.FunctionProto:
    """The body of one kind of call, met before."""
    kind, batch, seq = _kinds[name](), 2, 7
    attention, wide = kind.block.self_attn, kind.mask_rank == 4
    b, s = torch.export.Dim("batch"), torch.export.Dim("seq")
    row, angles = {0: b, 1: s}, torch.randn(seq, attention.head_dim)
    mask = torch.ones((batch, 1, seq, seq) if wide else (seq, seq), dtype=torch.bool)
    kv = [torch.randn(batch, seq, attention.k_proj.out_features) for _ in range(kind.kv)]
    active = [torch.ones(batch, seq, dtype=torch.bool) for _ in range(kind.active)]
    args = (torch.randn(batch, seq, attention.k_proj.in_features), mask, angles, angles.clone(), kv, active)
    masked = {0: b, 2: s, 3: s} if wide else {0: s, 1: s}
    shapes = (row, masked, {0: s}, {0: s}, [row] * len(kv), [row] * len(active))
    names = ["h", "mask", "cos", "sin", *("key", "value")[: len(kv)], *["active"][: len(active)]]
    weights = [name for name, _ in kind.named_parameters()]
    outputs = ["f_h"] if kv and not active else ["f_h", "made_key", "made_value"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "block.onnx"
        export(kind, args, path, opset, shapes, names, outputs)
        graph = onnx.load(path).graph
    constants = [helper.make_node("Constant", [], [t.name], value=t) for t in graph.initializer if t.name not in weights]
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("ai.adaptive", 1)]
    return helper.make_function(DOMAIN, name, [*names, *weights], outputs, [*constants, *graph.node], imports)


def inline(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """The model with every outlined call replaced by its body."""
    names = sorted({n.op_type for n in model.graph.node if n.domain == DOMAIN})
    model.functions.extend(function(name, opset) for name in names)
    model = onnx.inliner.inline_selected_functions(model, [(DOMAIN, name) for name in names])
    kept = [o for o in model.opset_import if o.domain != DOMAIN]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    return model
