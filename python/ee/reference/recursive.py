# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Relaxed Recursive Transformers: a decoder of L layers becomes b shared blocks that are run R times.

Source: "Relaxed Recursive Transformers: Effective Parameter Sharing with Layer-wise LoRA".

Sharing. Unrolled layer l (0-based) runs physical block layout[l]:

    cycle            l mod b                          b = L // R
    sequence         floor(l / R)                     b = L // R
    middle_cycle     0, 1 + (l-1) mod b, b+1          b = (L-2) // R; the first and last layer stay unique
    middle_sequence  0, 1 + floor((l-1) / R), b+1     likewise

When L (or L-2) is no multiple of R, layers of the source are dropped first: bR of them are kept at the rounded points of an
even grid over 0..L-1 (middle: over 1..L-2, plus both ends), halves to even. All formulas below count KEPT layers.

Initialisation of shared block i: `stepwise` takes source layer round(i (L-1) / (b-1)) (middle: 1 + round(i (L-3) / (b-1))),
`lower` the first b layers, `upper` the last b, `random` b different ones in ascending order, `average` the mean over the
layers that share the block.

Relaxation. Unrolled layer l computes y = W' x + s B_l A_l x. With W_l - W' = U S V^T and rank r:
B_l = U_r S_r / s [out, r], A_l = V_r^T [r, in]; the remaining error has Frobenius norm sqrt(sum_{i >= r} S_i^2), and r = min(out, in)
gives W_l back. The RMSNorm gains g are shared with the block, so y = W (g * x^) is not repaired by a LoRA on W alone; `fold`
moves them into the weights first (W diag(g), g = 1), which changes no result and lets full rank reproduce the source model.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch

from ..errors import UserError

PATTERNS = ("cycle", "sequence", "middle_cycle", "middle_sequence")
INITS = ("stepwise", "average", "lower", "upper", "random")
# Which norm feeds a linear map; the two that read no norm are o_proj and down_proj.
NORM_OF = {
    "q_proj": "input_layernorm",
    "k_proj": "input_layernorm",
    "v_proj": "input_layernorm",
    "o_proj": None,
    "gate_proj": "post_attention_layernorm",
    "up_proj": "post_attention_layernorm",
    "down_proj": None,
}
LINEARS = tuple(NORM_OF)


@dataclass(frozen=True)
class Sharing:
    """Who shares with whom. `kept[l]` is the source layer and `layout[l]` the physical block of unrolled layer l."""

    pattern: str
    recursions: int
    kept: tuple[int, ...]
    layout: tuple[int, ...]

    @property
    def ends(self) -> int:
        """Unique layers at each end: 1 for the middle patterns, else 0."""
        return int(self.pattern.startswith("middle"))

    @property
    def shared(self) -> int:
        """b, the number of shared blocks."""
        return (len(self.kept) - 2 * self.ends) // self.recursions

    @property
    def blocks(self) -> int:
        """Physical blocks in all."""
        return self.shared + 2 * self.ends

    def tied(self, block: int) -> tuple[int, ...]:
        """The unrolled layers that run physical block `block`, ascending."""
        return tuple(i for i, owner in enumerate(self.layout) if owner == block)


def grid(first: int, last: int, count: int) -> list[int]:
    """`count` integers from `first` to `last`, evenly spaced, rounded with halves to even; exact, unlike a float grid."""
    if count == 1:
        return [first]
    return [round(first + Fraction(i * (last - first), count - 1)) for i in range(count)]


def sharing(pattern: str, layers: int, recursions: int) -> Sharing:
    """The maps for a source of `layers` layers run as `recursions` loops; drops source layers where needed."""
    if pattern not in PATTERNS:
        raise UserError(f"sharing pattern is '{pattern}', it must be one of {', '.join(PATTERNS)}")
    ends = int(pattern.startswith("middle"))
    if recursions < 1 or layers < 2 * ends + recursions:
        accepted = f"[1, {max(layers - 2 * ends, 1)}] for {layers} layers and pattern {pattern}"
        raise UserError(f"recursions is {recursions}, it must lie in {accepted}")
    base = (layers - 2 * ends) // recursions
    interior = grid(ends, layers - 1 - ends, base * recursions)
    owner = [i % base if pattern.endswith("cycle") else i // recursions for i in range(base * recursions)]
    if not ends:
        return Sharing(pattern, recursions, tuple(interior), tuple(owner))
    return Sharing(pattern, recursions, (0, *interior, layers - 1), (0, *(1 + i for i in owner), base + 1))


def sources(maps: Sharing, init: str, seed: int = 0) -> tuple[tuple[int, ...], ...]:
    """For each physical block the SOURCE layers it is the mean of (one, except for `average`); `seed` is that of `random`."""
    if init not in INITS:
        raise UserError(f"initialisation is '{init}', it must be one of {', '.join(INITS)}")
    layers, ends, base = len(maps.kept), maps.ends, maps.shared
    first, last = ends, layers - 1 - ends
    drawn = sorted(np.random.default_rng(seed).choice(np.arange(first, last + 1), base, replace=False).tolist())
    chosen = {
        "stepwise": lambda i: (grid(first, last, base)[i],),
        "lower": lambda i: (first + i,),
        "upper": lambda i: (last - base + 1 + i,),
        "random": lambda i: (drawn[i],),
        "average": lambda i: maps.tied(ends + i),
    }[init]
    unrolled = [(0,)] * ends + [chosen(i) for i in range(base)] + [(layers - 1,)] * ends
    return tuple(tuple(maps.kept[i] for i in group) for group in unrolled)


def _module(linear: str) -> str:
    return ("self_attn." if linear in ("q_proj", "k_proj", "v_proj", "o_proj") else "mlp.") + linear


def layer_tensor(weights: Mapping, layer: int, name: str, fold: bool = False) -> torch.Tensor:
    """One tensor of a source layer; `name` as after `layers.N.`. An alias of what is stored, unless folding changes it."""
    stored = torch.as_tensor(weights[f"model.layers.{layer}.{name}"])
    linear = name.removesuffix(".weight").rsplit(".", 1)[-1]
    if not fold:
        return stored
    if linear.endswith("layernorm"):
        return torch.ones_like(stored)
    norm = NORM_OF.get(linear) if name.endswith(".weight") else None
    if norm is None:
        return stored
    gain = torch.as_tensor(weights[f"model.layers.{layer}.{norm}.weight"])
    return stored.to(_work(stored)) * gain.to(_work(stored))


def _work(tensor: torch.Tensor) -> torch.dtype:
    """Sums are formed in the tensor's own precision, but at least in float32."""
    return torch.promote_types(tensor.dtype, torch.float32)


def recursive_weights(weights: Mapping, maps: Sharing, init: str, fold: bool = False, seed: int = 0) -> dict[str, torch.Tensor]:
    """The recursive model's weights: blocks 0..b-1 (+ ends), embedding, final norm and head as they are.

    `weights` maps Hugging Face names to torch or numpy arrays and may read lazily. Blocks with one source alias its
    tensors, so only `average` copies (and `fold`).
    """
    prefix = "model.layers.0."
    names = sorted(n.removeprefix(prefix) for n in weights if n.startswith(prefix))
    out = {n: torch.as_tensor(weights[n]) for n in weights if not n.startswith("model.layers.")}
    for block, group in enumerate(sources(maps, init, seed)):
        for name in names:
            total = layer_tensor(weights, group[0], name, fold)
            if len(group) > 1:
                total = total.to(_work(total), copy=True)
                for layer in group[1:]:
                    total += layer_tensor(weights, layer, name, fold)
                total /= len(group)
            out[f"model.layers.{block}.{name}"] = total
    return out


def svd_lora(difference: torch.Tensor, rank: int, scale: float = 1.0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(A [r, in], B [out, r], all singular values) with scale * B A the best rank-r approximation of `difference` [out, in].

    r = min(rank, out, in).
    """
    if rank < 1:
        raise UserError(f"LoRA rank is {rank}, it must be at least 1")
    u, s, vh = torch.linalg.svd(difference, full_matrices=False)
    r = min(rank, len(s))
    return vh[:r].clone(), u[:, :r] * (s[:r] / scale), s


def relax(
    weights: Mapping,
    recursive: Mapping,
    maps: Sharing,
    rank: int,
    scale: float = 1.0,
    linears: tuple[str, ...] = LINEARS,
    fold: bool = True,
) -> tuple[dict[str, torch.Tensor], dict[tuple[int, str], torch.Tensor]]:
    """LoRA tensors for every unrolled layer that shares its block, and the singular values of each difference.

    `recursive` is what `recursive_weights` made of the same `weights` with the same `fold`. Returns
    ({"lora.{l}.{linear}.A" [r, in], "lora.{l}.{linear}.B" [out, r]}, {(l, linear): S [min(out, in)]}).
    """
    unknown = [name for name in linears if name not in LINEARS]
    if unknown:
        raise UserError(f"linears has '{unknown[0]}', it must name some of {', '.join(LINEARS)}")
    lora, spectra = {}, {}
    for depth, (layer, block) in enumerate(zip(maps.kept, maps.layout, strict=True)):
        if len(maps.tied(block)) == 1:
            continue
        for linear in linears:
            name = _module(linear)
            if f"model.layers.{layer}.{name}.bias" in weights:
                raise UserError(f"tensor 'model.layers.{layer}.{name}.bias': a LoRA per depth has no bias; choose linears without one")
            shared = torch.as_tensor(recursive[f"model.layers.{block}.{name}.weight"])
            target = layer_tensor(weights, layer, name + ".weight", fold)
            a, b, s = svd_lora(target.to(_work(target)) - shared.to(_work(target)), rank, scale)
            lora[f"lora.{depth}.{linear}.A"], lora[f"lora.{depth}.{linear}.B"], spectra[depth, linear] = a, b, s
    return lora, spectra


def mixed_depth_linear(
    x: torch.Tensor, weight: torch.Tensor, a: torch.Tensor, b: torch.Tensor, depth: torch.Tensor, scale: float = 1.0
) -> torch.Tensor:
    """One launch for rows at different depths: y_i = W x_i + s B[depth_i] A[depth_i] x_i.

    x [rows, in], weight [out, in], a [depths, r, in], b [depths, out, r], depth i64 [rows] -> [rows, out].
    """
    low = torch.einsum("ri,rki->rk", x, a[depth])
    return x @ weight.T + scale * torch.einsum("rk,rok->ro", low, b[depth])
