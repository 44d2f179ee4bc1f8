# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A9: sharing maps, initialisation and LoRA of Relaxed Recursive Transformers."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ee.errors import UserError
from ee.reference import recursive as rrt
from ee.reference.model import Config, random_weights

from .masked import Masked, causal

CONFIG = Config(vocab=31, hidden=24, heads=4, kv_heads=2, head_dim=6, ffn=40, layout=tuple(range(8)))
TOKENS = [3, 14, 15, 9, 2, 6]


def logits(weights, config):
    """Dense forward of an unrolled model."""
    model = Masked(weights, config)
    h = model.embed(TOKENS)
    for layer, physical in enumerate(config.layout):
        h = model.block(physical, h, causal(len(TOKENS)), layer=layer)
    return model.lm_head(model.final_norm(h))


@pytest.fixture(scope="module")
def source():
    return random_weights(CONFIG, seed=3)


# pattern, L, R -> layout, kept: written out by hand.
MAPS = [
    ("cycle", 6, 3, [0, 1, 0, 1, 0, 1], [0, 1, 2, 3, 4, 5]),
    ("sequence", 6, 3, [0, 0, 0, 1, 1, 1], [0, 1, 2, 3, 4, 5]),
    ("middle_cycle", 8, 3, [0, 1, 2, 1, 2, 1, 2, 3], [0, 1, 2, 3, 4, 5, 6, 7]),
    ("middle_sequence", 8, 3, [0, 1, 1, 1, 2, 2, 2, 3], [0, 1, 2, 3, 4, 5, 6, 7]),
    # 8 = 3 * 2 + 2: six of eight layers stay; the grid 0, 1.4, 2.8, 4.2, 5.6, 7
    ("cycle", 8, 3, [0, 1, 0, 1, 0, 1], [0, 1, 3, 4, 6, 7]),
    ("sequence", 8, 3, [0, 0, 0, 1, 1, 1], [0, 1, 3, 4, 6, 7]),
    # 9 - 2 = 7 = 3 * 2 + 1: interior grid 1, 2.2, 3.4, 4.6, 5.8, 7
    ("middle_cycle", 9, 3, [0, 1, 2, 1, 2, 1, 2, 3], [0, 1, 2, 3, 5, 6, 7, 8]),
    ("middle_sequence", 9, 3, [0, 1, 1, 1, 2, 2, 2, 3], [0, 1, 2, 3, 5, 6, 7, 8]),
    ("cycle", 5, 3, [0, 0, 0], [0, 2, 4]),
    # halves go to even: the grid 0, 1.5, 3
    ("cycle", 4, 3, [0, 0, 0], [0, 2, 3]),
    ("middle_cycle", 5, 1, [0, 1, 2, 3, 4], [0, 1, 2, 3, 4]),
]


@pytest.mark.parametrize("pattern, layers, recursions, layout, kept", MAPS)
def test_A9_index_maps(pattern, layers, recursions, layout, kept):
    maps = rrt.sharing(pattern, layers, recursions)
    assert list(maps.layout) == layout
    assert list(maps.kept) == kept


def test_A9_index_maps_of_published_shapes():
    """SmolLM-360M, 32 layers, middle-cycle: b = 15 / 10 / 7, and four recursions keep 30 layers."""
    for recursions, base, kept in ((2, 15, 32), (3, 10, 32), (4, 7, 30)):
        maps = rrt.sharing("middle_cycle", 32, recursions)
        assert (maps.shared, len(maps.kept), maps.blocks) == (base, kept, base + 2)
        assert len(set(maps.kept)) == kept and maps.kept[0] == 0 and maps.kept[-1] == 31


def test_A9_every_loop_runs_every_shared_block_once():
    for pattern in rrt.PATTERNS:
        for layers in range(3, 40):
            for recursions in range(1, layers - 1):
                maps = rrt.sharing(pattern, layers, recursions)
                assert list(maps.kept) == sorted(set(maps.kept)) and maps.kept[-1] <= layers - 1
                for block in range(maps.ends, maps.ends + maps.shared):
                    tied = maps.tied(block)
                    assert len(tied) == recursions
                    step = maps.shared if pattern.endswith("cycle") else 1
                    assert all(b - a == step for a, b in zip(tied, tied[1:], strict=False))


INITS = [
    ("cycle", 6, 2, "stepwise", [(0,), (2,), (5,)]),  # 0, 2.5 -> 2, 5
    ("cycle", 6, 3, "stepwise", [(0,), (5,)]),
    ("cycle", 6, 2, "lower", [(0,), (1,), (2,)]),
    ("cycle", 6, 2, "upper", [(3,), (4,), (5,)]),
    ("cycle", 6, 2, "average", [(0, 3), (1, 4), (2, 5)]),
    ("sequence", 6, 3, "average", [(0, 1, 2), (3, 4, 5)]),
    ("sequence", 6, 3, "stepwise", [(0,), (5,)]),
    ("middle_cycle", 8, 2, "stepwise", [(0,), (1,), (4,), (6,), (7,)]),  # 1, 3.5 -> 4, 6
    ("middle_cycle", 8, 2, "lower", [(0,), (1,), (2,), (3,), (7,)]),
    ("middle_cycle", 8, 2, "upper", [(0,), (4,), (5,), (6,), (7,)]),
    ("middle_cycle", 8, 2, "average", [(0,), (1, 4), (2, 5), (3, 6), (7,)]),
    ("middle_sequence", 8, 2, "average", [(0,), (1, 2), (3, 4), (5, 6), (7,)]),
    # Layers 2 and 5 of the eight are dropped first, so the formulas count the six that stay: 0 1 3 4 6 7.
    ("cycle", 8, 3, "average", [(0, 3, 6), (1, 4, 7)]),
    ("cycle", 8, 3, "upper", [(6,), (7,)]),
    ("middle_cycle", 9, 3, "average", [(0,), (1, 3, 6), (2, 5, 7), (8,)]),
    ("cycle", 4, 4, "stepwise", [(0,)]),
]


@pytest.mark.parametrize("pattern, layers, recursions, init, expected", INITS)
def test_A9_initialisation_sources(pattern, layers, recursions, init, expected):
    assert list(rrt.sources(rrt.sharing(pattern, layers, recursions), init)) == expected


def test_A9_random_sources_are_different_interior_layers_in_order():
    maps, seen = rrt.sharing("middle_cycle", 8, 2), set()
    for seed in range(200):
        (first,), *interior, (last,) = rrt.sources(maps, "random", seed)
        drawn = [layer for (layer,) in interior]
        assert (first, last) == (0, 7) and len(drawn) == 3 and drawn == sorted(set(drawn)) and set(drawn) <= set(range(1, 7))
        seen.add(tuple(drawn))
    assert len(seen) == 20  # every choice of 3 out of 6 comes up
    assert rrt.sources(maps, "random", 5) == rrt.sources(maps, "random", 5)


@pytest.mark.parametrize("fold", [False, True])
def test_A9_average_is_the_mean_and_single_sources_are_not_copied(source, fold):
    maps = rrt.sharing("middle_cycle", 8, 3)
    mean = rrt.recursive_weights(source, maps, "average", fold)
    w = {n: t.numpy() for n, t in source.items()}
    for block, (i, j, k) in ((1, (1, 3, 5)), (2, (2, 4, 6))):
        for name, gain in (("self_attn.q_proj", "input_layernorm"), ("mlp.down_proj", None), ("mlp.up_proj", "post_attention_layernorm")):
            gains = [w[f"model.layers.{n}.{gain}.weight"] if fold and gain else 1 for n in (i, j, k)]
            parts = [w[f"model.layers.{n}.{name}.weight"] * g for n, g in zip((i, j, k), gains, strict=True)]
            np.testing.assert_allclose(mean[f"model.layers.{block}.{name}.weight"], sum(parts) / 3, atol=1e-15)
    norm = mean["model.layers.1.input_layernorm.weight"].numpy()
    average = sum(w[f"model.layers.{n}.input_layernorm.weight"] for n in (1, 3, 5)) / 3
    np.testing.assert_allclose(norm, np.ones(24) if fold else average, atol=1e-15)
    step = rrt.recursive_weights(source, maps, "stepwise")
    assert step["model.layers.2.mlp.up_proj.weight"].data_ptr() == source["model.layers.6.mlp.up_proj.weight"].data_ptr()
    assert step["model.embed_tokens.weight"].data_ptr() == source["model.embed_tokens.weight"].data_ptr()
    assert sum(n.startswith("model.layers.") for n in step) == 4 * 9


@pytest.mark.parametrize("init", rrt.INITS)
@pytest.mark.parametrize("pattern", rrt.PATTERNS)
def test_A9_full_rank_lora_reproduces_the_source(source, pattern, init):
    """Any initialisation: W' + s B A = W_l, so the unrolled model gives the source's logits (kept layers, any s)."""
    for recursions in (2, 3):  # 8 layers: 3 does not divide them
        maps = rrt.sharing(pattern, 8, recursions)
        wanted = logits(source, replace(CONFIG, layout=maps.kept))
        shared = rrt.recursive_weights(source, maps, init, fold=True)
        lora, _ = rrt.relax(source, shared, maps, rank=24, scale=0.5)
        got = logits({**shared, **lora}, replace(CONFIG, layout=maps.layout, lora_scale=0.5))
        np.testing.assert_allclose(got, wanted, atol=1e-10)
        without = logits(shared, replace(CONFIG, layout=maps.layout))
        assert np.abs(without - wanted).max() > 0.1


def test_A9_rank_error_is_the_tail_of_the_spectrum(source):
    """Eckart-Young: the error left by rank r has Frobenius norm sqrt(sum_{i >= r} S_i^2)."""
    maps = rrt.sharing("cycle", 8, 2)
    shared = rrt.recursive_weights(source, maps, "average", fold=True)
    for rank in (1, 5, 24):
        lora, spectra = rrt.relax(source, shared, maps, rank, scale=2.0, linears=("q_proj", "down_proj"))
        assert len(lora) == 2 * 2 * 8
        for layer in range(8):
            for name, part, gain in (("q_proj", "self_attn", "input_layernorm"), ("down_proj", "mlp", None)):
                w = source[f"model.layers.{layer}.{part}.{name}.weight"].numpy()
                w = w * source[f"model.layers.{layer}.{gain}.weight"].numpy() if gain else w
                a, b = (lora[f"lora.{layer}.{name}.{x}"].numpy() for x in "AB")
                assert a.shape == (rank, w.shape[1]) and b.shape == (w.shape[0], rank)
                error = w - shared[f"model.layers.{layer % 4}.{part}.{name}.weight"].numpy() - 2.0 * b @ a
                tail = np.linalg.norm(spectra[layer, name][rank:].numpy())
                assert abs(np.linalg.norm(error) - tail) < 1e-12 * np.linalg.norm(w)


def test_A9_without_folding_the_shared_gains_remain(source):
    """Full rank on the weights alone cannot repair shared RMSNorm gains; documented, so pinned."""
    maps = rrt.sharing("cycle", 8, 2)
    shared = rrt.recursive_weights(source, maps, "average")
    lora, _ = rrt.relax(source, shared, maps, rank=24, fold=False)
    error = logits({**shared, **lora}, replace(CONFIG, layout=maps.layout)) - logits(source, CONFIG)
    assert np.abs(error).max() > 1e-3


def test_A9_mixed_depths_in_one_launch_equal_runs_per_depth():
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    x, w, a, b = draw(11, 7), draw(5, 7), draw(4, 3, 7), draw(4, 5, 3)
    depth = torch.tensor([0, 3, 1, 1, 2, 0, 3, 3, 2, 0, 1])
    mixed = rrt.mixed_depth_linear(x, w, a, b, depth, scale=0.7)
    for d in range(4):
        dense = w + 0.7 * b[d] @ a[d]
        torch.testing.assert_close(mixed[depth == d], x[depth == d] @ dense.T, atol=1e-12, rtol=0)


def test_A9_numpy_and_bfloat16_sources():
    """Checkpoints come as numpy arrays or bf16 tensors: means and differences are formed in at least float32."""
    maps = rrt.sharing("cycle", 8, 2)
    source = {n: t.to(torch.bfloat16) for n, t in random_weights(CONFIG, seed=4).items()}
    shared = rrt.recursive_weights(source, maps, "average")
    name = "mlp.up_proj.weight"
    wanted = (source["model.layers.1." + name].double() + source["model.layers.5." + name].double()) / 2
    assert shared["model.layers.1." + name].dtype == torch.float32
    torch.testing.assert_close(shared["model.layers.1." + name].double(), wanted, atol=1e-7, rtol=0)
    arrays = {n: t.float().numpy() for n, t in source.items()}
    again = rrt.recursive_weights(arrays, maps, "average")
    assert all(torch.equal(again[n], shared[n].float()) for n in shared)
    lower = rrt.recursive_weights(arrays, maps, "lower")
    assert lower["model.layers.0." + name].data_ptr() == arrays["model.layers.0." + name].ctypes.data


@pytest.mark.parametrize(
    "call, named",
    [
        (lambda: rrt.sharing("ring", 8, 2), "sharing pattern is 'ring'"),
        (lambda: rrt.sharing("cycle", 8, 9), "recursions is 9"),
        (lambda: rrt.sharing("middle_cycle", 8, 7), r"it must lie in \[1, 6\]"),
        (lambda: rrt.sources(rrt.sharing("cycle", 8, 2), "first"), "initialisation is 'first'"),
        (lambda: rrt.svd_lora(torch.ones(2, 2), 0), "LoRA rank is 0"),
    ],
)
def test_refusals(call, named):
    with pytest.raises(UserError, match=named):
        call()


def test_biases_are_refused(source):
    maps = rrt.sharing("cycle", 8, 2)
    weights = {**source, **{f"model.layers.{i}.self_attn.q_proj.bias": torch.zeros(24) for i in range(8)}}
    shared = rrt.recursive_weights(weights, maps, "average")
    with pytest.raises(UserError, match="q_proj.bias"):
        rrt.relax(weights, shared, maps, 2)
    with pytest.raises(UserError, match="linears has 'qkv_proj'"):
        rrt.relax(weights, shared, maps, 2, linears=("up_proj", "qkv_proj"))
