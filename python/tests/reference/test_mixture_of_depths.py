# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Mixture-of-Depths against a masked dense numpy model: selection, update, keys, causality, chunks, bytes."""

import numpy as np
import pytest
import torch

from ee.errors import UserError
from ee.reference import kv_bytes
from ee.reference.generate import Rows, generate, teacher_forced
from ee.reference.mixture_of_depths import DepthRouting, MixtureOfDepths
from ee.reference.model import Config, Model, random_weights
from ee.reference.trace import DepthTrace

from .masked import Masked, causal

STEPS, LAYERS = 15, 5
TOKENS = np.random.default_rng(13).integers(0, 41, STEPS).tolist()


def model(seed=0, predictors=False):
    config = Config(vocab=41, hidden=24, heads=4, kv_heads=2, head_dim=6, ffn=32, layout=tuple(range(LAYERS)))
    weights, rng = random_weights(config, seed), np.random.default_rng(seed + 70)
    for m in range(3):
        weights[f"routers.{m}.weight"] = torch.from_numpy(rng.standard_normal((1, 24)) * 0.3)
        if predictors:
            weights[f"predictors.{m}.weight"] = torch.from_numpy(rng.standard_normal((1, 24)) * 0.3)
            weights[f"predictors.{m}.bias"] = torch.from_numpy(rng.standard_normal(1) * 0.3)
    return Model(config, weights)


def dense(m, routed, select, weigh, branch, tokens=TOKENS):
    """logits [T, V] and selections; `select(n, z, h)` -> bool [T], `weigh(z)` the gate."""
    oracle, chosen = Masked(m.weights, m.config), []
    h, full = oracle.embed(tokens), causal(len(tokens))
    for layer in range(LAYERS):
        if layer not in routed:
            h = oracle.block(layer, h, full)
            continue
        z = h @ oracle.w[f"routers.{len(chosen)}.weight"][0]
        on = select(len(chosen), z, h)
        f = oracle.block(layer, h, full & on[None, :])
        w = weigh(z)[:, None]
        h = np.where(on[:, None], (1 - w) * h + w * f if branch else h + w * f, h)
        chosen.append(on)
    return oracle.lm_head(oracle.final_norm(h)), np.array(chosen)


def run(m, rule, chunk=None, tokens=TOKENS, **rest):
    method = MixtureOfDepths(m, rule, **rest)
    return teacher_forced(method, [tokens], chunk=chunk)[0].numpy(), method


def best(count):
    return lambda n, z, h: np.isin(np.arange(STEPS), np.argsort(-z, kind="stable")[:count])


@pytest.mark.parametrize("update", ["branch", "block"])
@pytest.mark.parametrize("capacity, count", [(0.125, 1), (0.5, 7), (0.01, 1)])
def test_top_k_equals_masked_dense(update, capacity, count):
    m = model()
    got, method = run(m, DepthRouting(rule="top_k", capacity=capacity, update=update))
    wanted, chosen = dense(m, (1, 3), best(count), lambda z: z, update == "branch")
    np.testing.assert_allclose(got, wanted, atol=1e-10)
    assert [method.selected[0, p] for p in range(STEPS)] == [tuple(row) for row in chosen.T]
    assert method.trace.depths(0) == (3 + chosen.sum(0)).tolist()


@pytest.mark.parametrize("predictors", [False, True])
@pytest.mark.parametrize("gate", ["raw", "sigmoid", "tanh"])
def test_threshold_equals_masked_dense(predictors, gate):
    m, thetas = model(1, predictors), (-0.1, 0.1, 0.0)
    rule = DepthRouting(routed=(1, 2, 3), thetas=thetas, gate=gate, alpha=0.5)
    got, method = run(m, rule)

    def select(n, z, h):
        if predictors:
            z = h @ m.weights[f"predictors.{n}.weight"].numpy()[0] + m.weights[f"predictors.{n}.bias"].numpy()
        return z > thetas[n]

    weigh = {"raw": lambda z: z, "sigmoid": lambda z: 0.5 / (1 + np.exp(-z)), "tanh": lambda z: 0.5 * np.tanh(z)}[gate]
    wanted, chosen = dense(m, (1, 2, 3), select, weigh, True)
    np.testing.assert_allclose(got, wanted, atol=1e-10)
    assert (chosen.any(1) & ~chosen.all(1)).all()
    assert not (chosen[:-1] >= chosen[1:]).all()  # layers decide independently: not a hierarchy
    for n, layer in enumerate((1, 2, 3)):
        ran = np.flatnonzero(chosen[n])
        assert method.kv.positions(0, layer) == ran.tolist()
        assert method.kv.reads[0, layer] == sum(range(1, len(ran) + 1))
        assert method.kv.total("kv", [layer]) == len(ran)


def test_A11_threshold_is_causal_and_independent_of_chunks():
    m, rule = model(2), DepthRouting()
    whole, method = run(m, rule)
    for chunk in (1, 2, 7):
        pieces, other = run(m, rule, chunk)
        np.testing.assert_allclose(pieces, whole, atol=1e-11)
        assert other.selected == method.selected
    for cut in (1, 8, 14):
        later, other = run(m, rule, tokens=TOKENS[:cut] + [(t + 1) % 41 for t in TOKENS[cut:]])
        np.testing.assert_allclose(later[:cut], whole[:cut], atol=1e-12)
        assert all(other.selected[0, p] == method.selected[0, p] for p in range(cut))
    with pytest.raises(UserError, match="use 'threshold'"):
        run(m, DepthRouting(rule="top_k"), 2)


def test_scripted_decisions_and_generation():
    m = model(3)
    script = {(0, p): (p % 2 == 0, p % 3 != 1) for p in range(STEPS)}
    got, method = run(m, DepthRouting(), 4, script=script)
    masks = [np.array([script[0, p][n] for p in range(STEPS)]) for n in range(2)]
    np.testing.assert_allclose(got, dense(m, (1, 3), lambda n, z, h: masks[n], lambda z: z, True)[0], atol=1e-10)
    assert method.trace.depths(0) == [3 + sum(script[0, p]) for p in range(STEPS)]
    made = generate(MixtureOfDepths(m, DepthRouting()), [TOKENS[:4]], 6)
    text = TOKENS[:4] + made.tokens[0]
    logits, _ = dense(m, (1, 3), lambda n, z, h: z > 0, lambda z: z, True, text[:-1])
    assert logits.argmax(1)[3:].tolist() == made.tokens[0]


def test_C1_the_dictionary_holds_what_the_formula_says():
    m = model(1)
    _, method = run(m, DepthRouting(routed=(1, 2, 3)))
    rows = [STEPS] + [sum(taken[n] for taken in method.selected.values()) for n in range(3)]
    stored = sum(t.numel() * t.element_size() for entry in method.kv.entries.values() for t in entry)
    assert stored == kv_bytes.total_bytes(kv_bytes.KvShape(2, 6, 8), kv_bytes.routed_layers(2, rows))


def test_taking_back_forgets_decisions():
    m, rule = model(2), DepthRouting()
    whole, method = run(m, rule)
    kept = dict(method.selected)
    method.truncate(0, 6)
    assert sorted(method.selected) == [(0, p) for p in range(6)]
    again = method.run([Rows(0, tuple(TOKENS[6:]), 6, 0)])[0].numpy()
    np.testing.assert_allclose(again, whole[6:], atol=1e-11)
    assert method.selected == kept


@pytest.mark.parametrize(
    "call, named",
    [
        (lambda: DepthRouting(rule="random"), "rule is 'random'"),
        (lambda: DepthRouting(update="sum"), "update is 'sum'"),
        (lambda: DepthRouting(capacity=0), "capacity is 0"),
        (lambda: MixtureOfDepths(model(), DepthRouting(routed=(3, 1))), "ascending layers"),
        (lambda: MixtureOfDepths(model(), DepthRouting(thetas=(0.0,))), "thetas has 1 entries"),
        (lambda: MixtureOfDepths(model(), DepthRouting(routed=(0, 1, 2, 3))), "routers.3.weight"),
        (lambda: MixtureOfDepths(model(), DepthRouting(), trace=DepthTrace({})), "does not say which layers ran"),
        (lambda: run(model(), DepthRouting(), script={}), "script: must give decisions for sequence 0, position 0"),
    ],
)
def test_refusals(call, named):
    with pytest.raises(UserError, match=named):
        call()
