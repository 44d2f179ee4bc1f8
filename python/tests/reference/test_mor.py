# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A10 to A13 and C1: Mixture-of-Recursions against a masked dense numpy model that runs every row through every recursion."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from ee.errors import UserError
from ee.reference import kv_bytes
from ee.reference.generate import Rows, generate, teacher_forced
from ee.reference.kv import KVError
from ee.reference.model import Config, Model, random_weights
from ee.reference.mor import MoR, Routing
from ee.reference.trace import DepthTrace

from .masked import Masked, causal

R, BLOCKS, STEPS = 3, 2, 17
ENDS = {"cycle": 0, "middle_cycle": 1}
TOKENS = np.random.default_rng(7).integers(0, 43, STEPS).tolist()


def model(pattern, seed=0, lora_rank=0, token_choice=False, mlp=False):
    loop = (0, 1) if pattern == "cycle" else (1, 2)
    layout = loop * R if pattern == "cycle" else (0, *loop * R, 3)
    config = Config(vocab=43, hidden=32, heads=4, kv_heads=2, head_dim=8, ffn=48, layout=layout, lora_scale=0.7)
    weights = random_weights(config, seed, lora_rank=lora_rank)
    rng = np.random.default_rng(seed + 100)
    for r in range(1 if token_choice else R):
        outputs = R if token_choice else 1
        if mlp:
            weights[f"routers.{r}.up.weight"] = torch.from_numpy(rng.standard_normal((64, 32)))
            weights[f"routers.{r}.down.weight"] = torch.from_numpy(rng.standard_normal((outputs, 64)) * 0.3)
        else:
            weights[f"routers.{r}.weight"] = torch.from_numpy(rng.standard_normal((outputs, 32)))
    return Model(config, weights)


def dense_router(w, r, h):
    """z [T, outputs] in numpy; an MLP router by the error function."""
    if f"routers.{r}.weight" in w:
        return h @ w[f"routers.{r}.weight"].T
    inner = h @ w[f"routers.{r}.up.weight"].T
    return (inner * 0.5 * (1 + np.vectorize(math.erf)(inner / math.sqrt(2)))) @ w[f"routers.{r}.down.weight"].T


def squash(z, rule):
    return {"sigmoid": lambda: rule.alpha / (1 + np.exp(-z)), "tanh": lambda: rule.alpha * np.tanh(z), "raw": lambda: z}[rule.gate]()


def dense_expert(m, tokens, rule, ends, select):
    """logits [T, V] and selections [R, T]; `select(r, z, w, before)` -> bool [T] is written by each test."""
    dense, steps = Masked(m.weights, m.config), len(tokens)
    layout, full = m.config.layout, causal(steps)
    h = dense.embed(tokens)
    for layer in range(ends):
        h = dense.block(layout[layer], h, full, layer)
    before, chosen, first = np.ones(steps, bool), [], []
    for r in range(R):
        z = dense_router(dense.w, r, h / rule.temperature)[:, 0]
        w = squash(z, rule)
        now = select(r, z, w, before)
        x = h
        for j in range(BLOCKS):
            layer = ends + r * BLOCKS + j
            if rule.kv == "skip":
                x = dense.block(layout[layer], x, full & now[None, :], layer)
            elif r == 0:
                first.append(x)
                x = dense.block(layout[layer], x, full, layer)
            else:
                behind = np.where(now[:, None], x, first[j]) if rule.update_cache else first[j]
                x = dense.block(layout[layer], x, full, layer, keys_from=behind, key_layer=ends + j)
        h = np.where(now[:, None], h + (w[:, None] * x if rule.gating == "weighted" else x), h)
        chosen.append(now)
        before = now
    for layer in range(len(layout) - ends, len(layout)):
        h = dense.block(layout[layer], h, full, layer)
    return dense.lm_head(dense.final_norm(h)), np.array(chosen)


def by_threshold(rule):
    return lambda r, z, w, before: before & (z > rule.thetas[r])


def by_top_k(capacities):
    def select(r, z, w, before):
        k = max(1, int(capacities[r] * len(w)))
        best = sorted((i for i in range(len(w)) if before[i]), key=lambda i: (-w[i], i))[:k]
        return np.isin(np.arange(len(w)), best)

    return select


def run(m, rule, ends, tokens=TOKENS, chunk=None, follow=None):
    method = MoR(m, rule, ends, trace=DepthTrace(follow))
    return teacher_forced(method, [tokens], chunk=chunk)[0].numpy(), method


GATES = [("sigmoid", 0.1, "weighted"), ("tanh", 0.5, "weighted"), ("raw", 1.0, "weighted"), ("sigmoid", 0.1, "additive")]


@pytest.mark.parametrize("pattern", ENDS)
@pytest.mark.parametrize("gate, alpha, gating", GATES)
def test_A10_expert_choice_training_parity(pattern, gate, alpha, gating):
    m, capacities = model(pattern), (1.0, 0.6, 0.3)
    for kv in ("skip", "share"):
        rule = Routing(R, "top_k", capacities=capacities, gate=gate, alpha=alpha, gating=gating, temperature=1.3, kv=kv)
        got, method = run(m, rule, ENDS[pattern])
        wanted, chosen = dense_expert(m, TOKENS, rule, ENDS[pattern], by_top_k(capacities))
        np.testing.assert_allclose(got, wanted, atol=1e-10)
        assert chosen.sum(1).tolist() == [17, 10, 5]  # int(0.6 * 17), int(0.3 * 17) of the FULL length
        assert method.trace.depths(0) == chosen.sum(0).tolist()


def test_A10_mlp_routers():
    """d -> 2d -> gelu -> o, for expert choice and for token choice."""
    m, rule = model("middle_cycle", mlp=True), Routing(R, "top_k", capacities=(1.0, 0.6, 0.3), temperature=1.3)
    got, method = run(m, rule, 1)
    wanted, chosen = dense_expert(m, TOKENS, rule, 1, by_top_k(rule.capacities))
    np.testing.assert_allclose(got, wanted, atol=1e-10)
    assert method.trace.depths(0) == chosen.sum(0).tolist()
    m, rule = model("cycle", token_choice=True, mlp=True), Routing(R, "token_choice", gate="softmax", alpha=1.0)
    got, method = run(m, rule, 0, chunk=4)
    wanted, depth = dense_token_choice(m, TOKENS, rule, 0)
    np.testing.assert_allclose(got, wanted, atol=1e-10)
    assert method.trace.depths(0) == depth.tolist() and len(set(depth.tolist())) > 1
    del m.weights["routers.0.down.weight"]
    with pytest.raises(UserError, match=r"routers.0.down.weight must be \[3, 64\], but got no such tensor"):
        MoR(m, rule)


def test_A10_rows_run_are_hierarchical_and_ascending():
    """S_{r+1} is a subset of S_r, each level is written once per selected row in ascending order, also when r = 0 selects."""
    m, written = model("middle_cycle", seed=2), []
    rule = Routing(R, "top_k", capacities=(0.7, 0.45, 0.01))
    method = MoR(m, rule, 1)
    plain = method.kv.write
    method.kv.write = lambda s, level, position, *rest: (written.append((level, position)), plain(s, level, position, *rest))
    teacher_forced(method, [TOKENS])
    rows = [[p for level, p in written if level == 1 + r * BLOCKS] for r in range(R)]
    assert [len(x) for x in rows] == [11, 7, 1]  # int(11.9), int(7.65), max(1, int(0.17))
    assert all(x == sorted(x) for x in rows)
    assert set(rows[2]) <= set(rows[1]) <= set(rows[0])
    for r in range(R):
        assert [p for level, p in written if level == 2 + r * BLOCKS] == rows[r]


def test_A10_router_scores_are_read_before_each_recursion():
    """The trace's z at decision r is the router on the residual stream after the update of recursion r - 1."""
    m = model("cycle", seed=4)
    rule = Routing(R, "top_k", capacities=(1.0, 1.0, 1.0), alpha=0.3)
    _, method = run(m, rule, 0)
    dense = Masked(m.weights, m.config)
    h = dense.embed(TOKENS)
    for r in range(R):
        z = h @ dense.w[f"routers.{r}.weight"][0]
        got = [method.trace.scores[0, p][r]["z"] for p in range(STEPS)]
        np.testing.assert_allclose(got, z, atol=1e-10)
        x = dense.block(1, dense.block(0, h, causal(STEPS)), causal(STEPS))
        h = h + (0.3 / (1 + np.exp(-z)))[:, None] * x


@pytest.mark.parametrize("pattern", ENDS)
@pytest.mark.parametrize("kv", ["skip", "share"])
def test_A13_threshold_rule_equals_masked_dense(pattern, kv):
    """Key j is visible at recursion r iff j <= i and depth_j > r (skip), or iff j <= i, from recursion 0 (share)."""
    depths = set()
    for seed in range(3):
        m = model(pattern, seed, lora_rank=2)
        rule = Routing(R, thetas=(-1.0, 0.0, 0.5), alpha=0.4, kv=kv)
        got, method = run(m, rule, ENDS[pattern])
        wanted, chosen = dense_expert(m, TOKENS, rule, ENDS[pattern], by_threshold(rule))
        np.testing.assert_allclose(got, wanted, atol=1e-10)
        assert method.trace.depths(0) == chosen.sum(0).tolist()
        depths |= set(method.trace.depths(0))
    assert depths == {0, 1, 2, 3}


@pytest.mark.parametrize("pattern", ENDS)
@pytest.mark.parametrize("kv", ["skip", "share"])
def test_A11_causal_and_independent_of_chunks(pattern, kv):
    ends = ENDS[pattern]
    for rule in (Routing(R, thetas=(-1.0, 0.0, 0.0), kv=kv), Routing(R, "token_choice", gate="softmax", alpha=1.0, kv=kv)):
        m = model(pattern, seed=1, token_choice=rule.rule == "token_choice")
        whole, method = run(m, rule, ends)
        depths = method.trace.depths(0)
        assert len(set(depths)) > 1
        for chunk in (1, 2, 7):
            pieces, other = run(m, rule, ends, chunk=chunk)
            np.testing.assert_allclose(pieces, whole, atol=1e-11)
            assert other.trace.depths(0) == depths
            assert other.kv.entries.keys() == method.kv.entries.keys()
        for cut in (1, 6, 16):
            changed = TOKENS[:cut] + [(t + 5) % 43 for t in TOKENS[cut:]]
            later, other = run(m, rule, ends, tokens=changed)
            np.testing.assert_allclose(later[:cut], whole[:cut], atol=1e-12)
            assert other.trace.depths(0)[:cut] == depths[:cut]
            assert np.abs(later[cut:] - whole[cut:]).max() > 0.1


def test_A11_top_k_is_not_causal_and_refuses_pieces():
    """What the threshold rule is for: under top-k a later token changes earlier depths."""
    m = model("cycle", seed=1)
    rule = Routing(R, "top_k")
    _, method = run(m, rule, 0)
    changed = [run(m, rule, 0, tokens=TOKENS[:-1] + [t])[1].trace.depths(0)[:-1] for t in range(43)]
    assert any(depths != method.trace.depths(0)[:-1] for depths in changed)
    with pytest.raises(UserError, match="use 'threshold'"):
        run(m, rule, 0, chunk=2)


def test_A11_generation_equals_the_dense_model_on_its_own_text():
    m = model("middle_cycle", seed=5)
    rule = Routing(R, thetas=(-0.5, 0.0, 0.5))
    method = MoR(m, rule, 1)
    made = generate(method, [TOKENS[:4], TOKENS[4:6]], 8, chunk=3)
    for s, prompt in enumerate((TOKENS[:4], TOKENS[4:6])):
        text = prompt + made.tokens[s]
        logits, chosen = dense_expert(m, text[:-1], rule, 1, by_threshold(rule))
        assert logits.argmax(1)[len(prompt) - 1 :].tolist() == made.tokens[s]
        assert method.trace.depths(s) == chosen.sum(0).tolist()


def dense_token_choice(m, tokens, rule, ends, depth=None):
    dense, steps = Masked(m.weights, m.config), len(tokens)
    layout, full = m.config.layout, causal(steps)
    h = dense.embed(tokens)
    for layer in range(ends):
        h = dense.block(layout[layer], h, full, layer)
    z = dense_router(dense.w, 0, h / rule.temperature)
    p = rule.alpha * (np.exp(z) / np.exp(z).sum(1, keepdims=True) if rule.gate == "softmax" else 1 / (1 + np.exp(-z)))
    e = (p + np.array(rule.bias)).argmax(1) if depth is None else np.array(depth) - 1
    x, out, first = h, h.copy(), []
    for r in range(R):
        for j in range(BLOCKS):
            layer = ends + r * BLOCKS + j
            if rule.kv == "share":
                first += [x] if r == 0 else []
                x = dense.block(layout[layer], x, full, layer, keys_from=first[j], key_layer=ends + j)
            else:
                x = dense.block(layout[layer], x, full & (e >= r)[None, :], layer)
        for i in np.flatnonzero(e == r):
            out[i] = h[i] + p[i, r] * x[i]
    for layer in range(len(layout) - ends, len(layout)):
        out = dense.block(layout[layer], out, full, layer)
    return dense.lm_head(dense.final_norm(out)), e + 1


@pytest.mark.parametrize("pattern", ENDS)
@pytest.mark.parametrize("gate, alpha", [("softmax", 1.0), ("sigmoid", 0.1)])
@pytest.mark.parametrize("kv", ["skip", "share"])
def test_A12_token_choice_equals_masked_dense(pattern, gate, alpha, kv):
    m = model(pattern, seed=3, lora_rank=2, token_choice=True)
    for bias in ((0.0, 0.0, 0.0), (0.2, -0.3, 0.1)):
        rule = Routing(R, "token_choice", gate=gate, alpha=alpha, bias=bias, kv=kv)
        got, method = run(m, rule, ENDS[pattern])
        wanted, depth = dense_token_choice(m, TOKENS, rule, ENDS[pattern])
        np.testing.assert_allclose(got, wanted, atol=1e-10)
        assert method.trace.depths(0) == depth.tolist()


@pytest.mark.parametrize("bias, depths", [((9, 0, 0), {1}), ((0, -9, 0), {1, 3}), ((0, 0, 9), {3}), ((-9, 0, -9), {2})])
def test_A12_recursions_without_rows(bias, depths):
    """No row, or no row that ends, at some recursion; the bias moves choices only, weights stay the unbiased p."""
    m = model("middle_cycle", seed=3, token_choice=True)
    rule = Routing(R, "token_choice", gate="softmax", alpha=1.0, bias=bias)
    got, method = run(m, rule, 1)
    assert set(method.trace.depths(0)) == depths
    np.testing.assert_allclose(got, dense_token_choice(m, TOKENS, rule, 1)[0], atol=1e-10)
    assert method.kv.total("q", range(1 + max(depths) * BLOCKS, 1 + R * BLOCKS)) == 0


def test_A12_a_sequence_without_rows_does_not_shift_its_neighbours():
    """Two texts in one call, of which the first has no row at r = 1: each gives what it gives alone."""
    m = model("cycle", seed=3, token_choice=True)
    rule = Routing(R, "token_choice", gate="softmax", alpha=1.0)
    script = {(0, p): 1 for p in range(STEPS)} | {(1, p): 1 + p % 3 for p in range(STEPS)}
    method = MoR(m, rule, 0, trace=DepthTrace(script))
    both = teacher_forced(method, [TOKENS, TOKENS[::-1]])
    for s, text in enumerate((TOKENS, TOKENS[::-1])):
        wanted, _ = dense_token_choice(m, text, rule, 0, depth=[script[s, p] for p in range(STEPS)])
        np.testing.assert_allclose(both[s].numpy(), wanted, atol=1e-10)


def test_A13_sharing_never_projects_keys_after_recursion_0():
    m = model("middle_cycle", seed=1)
    rule = Routing(R, thetas=(0.5, 0.0, -0.5), kv="share")
    for chunk in (None, 2):
        _, method = run(m, rule, 1, chunk=chunk)
        depths = method.trace.depths(0)
        assert 0 in depths and 3 in depths
        later, kv = range(1 + BLOCKS, 1 + R * BLOCKS), method.kv
        assert kv.total("kv", later) == 0
        assert kv.total("kv", [1, 2]) == 2 * STEPS and kv.total("kv", [0, 7]) == 2 * STEPS
        assert kv.total("q", later) == BLOCKS * (sum(d > 1 for d in depths) + sum(d > 2 for d in depths))
        # every query of recursion r >= 1 reads all positions up to its own, from recursion 0's levels
        reads = sum(p + 1 for p in range(STEPS)) + sum((p + 1) * (max(d, 1) - 1) for p, d in enumerate(depths))
        assert kv.reads[0, 1] == kv.reads[0, 2] == reads
        assert {level for _, level, _ in kv.entries} == {0, 1, 2, 7}


def test_A13_update_cache_replaces_for_one_recursion_only():
    m = model("middle_cycle", seed=1)
    rule = Routing(R, thetas=(-1.0, 0.0, 0.0), alpha=0.4, kv="share", update_cache=True)
    got, method = run(m, rule, 1)
    wanted, chosen = dense_expert(m, TOKENS, rule, 1, by_threshold(rule))
    np.testing.assert_allclose(got, wanted, atol=1e-10)
    plain, other = run(m, replace(rule, update_cache=False), 1)
    assert np.abs(plain - got).max() > 1e-3
    assert method.kv.entries.keys() == other.kv.entries.keys()
    for key in [k for k in method.kv.entries if k[1] in (1, 2)]:  # what is stored is recursion 0's, untouched
        assert all(torch.equal(a, b) for a, b in zip(method.kv.entries[key], other.kv.entries[key], strict=True))
    assert method.kv.total("kv", range(3, 7)) == BLOCKS * (chosen[1].sum() + chosen[2].sum())
    pieces, _ = run(m, rule, 1, chunk=2)  # earlier calls' replacements are gone: the documented dependence
    assert np.abs(pieces - got).max() > 1e-6


def test_A13_a_query_reads_only_rows_that_ran():
    """Scripted depths; with a hole dug into the store the next row's read raises instead of skipping it."""
    m = model("middle_cycle", seed=1)
    script = {(0, p): (3, 1, 2, 3, 0)[p % 5] for p in range(STEPS)}
    got, method = run(m, Routing(R), 1, chunk=7, follow=script)
    assert method.trace.depths(0) == [script[0, p] for p in range(STEPS)]
    levels = {level: {p for _, other, p in method.kv.entries if other == level} for level in range(8)}
    for r in range(R):
        ran = {p for p in range(STEPS) if script[0, p] > r}
        assert levels[1 + r * BLOCKS] == levels[2 + r * BLOCKS] == ran
        assert method.kv.reads[0, 1 + r * BLOCKS] == sum(len([j for j in ran if j <= i]) for i in ran)
    rule = Routing(R)
    wanted, _ = dense_expert(m, TOKENS, rule, 1, lambda r, z, w, before: np.array([script[0, p] > r for p in range(STEPS)]))
    np.testing.assert_allclose(got, wanted, atol=1e-10)
    holed = MoR(m, rule, 1, trace=DepthTrace({**script, (0, STEPS): 3}))
    teacher_forced(holed, [TOKENS])
    del holed.kv.entries[0, 5, 3]
    with pytest.raises(KVError, match="position 3 was never written"):
        holed.run([Rows(0, (1,), STEPS, 0)])


@pytest.mark.parametrize("rule", ["threshold", "token_choice"])
def test_C1_the_dictionary_holds_what_the_formula_says(rule):
    m = model("middle_cycle", seed=6, token_choice=rule == "token_choice")
    gate = "softmax" if rule == "token_choice" else "sigmoid"
    shape = kv_bytes.KvShape(m.config.kv_heads, m.config.head_dim, element_bytes=8)
    for kv in ("skip", "share"):
        _, method = run(m, Routing(R, rule, gate=gate, kv=kv), 1)
        stored = sum(t.numel() * t.element_size() for entry in method.kv.entries.values() for t in entry)
        skip = kv_bytes.recursion_skip(2, BLOCKS, R, method.trace.depths(0))
        assert stored == kv_bytes.total_bytes(shape, skip if kv == "skip" else kv_bytes.recursion_share(2, BLOCKS, STEPS))


def test_infinite_thetas_force_depths():
    m = model("cycle")
    for depth in range(R + 1):
        thetas = tuple(-math.inf if r < depth else math.inf for r in range(R))
        _, method = run(m, Routing(R, thetas=thetas), 0)
        assert method.trace.depths(0) == [depth] * STEPS


@pytest.mark.parametrize(
    "arguments, named",
    [
        ({"rule": "greedy"}, "rule is 'greedy'"),
        ({"kv": "copy"}, "kv is 'copy'"),
        ({"gate": "softmax"}, "gate is 'softmax', it must be one of sigmoid, tanh, raw"),
        ({"rule": "token_choice", "gate": "tanh"}, "gate is 'tanh', it must be one of softmax, sigmoid"),
        ({"gating": "sum"}, "gating is 'sum'"),
        ({"thetas": (0.0,)}, "thetas has 1 entries"),
        ({"update_cache": True}, "update_cache goes with kv 'share'"),
        ({"rule": "token_choice", "gate": "softmax", "gating": "additive"}, "must be weighted"),
    ],
)
def test_refused_routings(arguments, named):
    with pytest.raises(UserError, match=named):
        Routing(R, **arguments)


def test_refused_models():
    m = model("middle_cycle")
    with pytest.raises(UserError, match="layout: must be 0 . 3 x blocks"):
        MoR(m, Routing(R), ends=0)
    with pytest.raises(UserError, match=r"routers.0.weight must be \[3, 32\], but got \[1, 32\]"):
        MoR(m, Routing(R, "token_choice", gate="softmax"), ends=1)
    with pytest.raises(UserError, match="depth of position 0 is 0"):
        run(model("cycle", token_choice=True), Routing(R, "token_choice", gate="softmax"), 0, follow={(0, p): 0 for p in range(STEPS)})
