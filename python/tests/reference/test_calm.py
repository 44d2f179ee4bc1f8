# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""CALM against a dense forward with frozen rows, hand-computed thresholds, and causality."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from ee.errors import UserError  # noqa: E402
from ee.reference.calm import Calm, Decay  # noqa: E402
from ee.reference.criteria import CRITERIA, threshold  # noqa: E402
from ee.reference.generate import Rows, generate, teacher_forced  # noqa: E402
from ee.reference.model import Model  # noqa: E402
from ee.reference.trace import DepthTrace  # noqa: E402

from .dense import Dense, text, tiny  # noqa: E402

EXITS = [1, 3, 4]


def frozen(model, ids, depth):
    """States after 0, 1, ... layers when row i stops changing after depth[i] layers; K,V from whatever the rows hold."""
    dense, depth = Dense(model), np.asarray(depth)[:, None]
    states = [dense.embed(ids)]
    for layer in range(model.config.layers):
        states.append(np.where(depth > layer, dense.block(layer, states[-1]), states[-1]))
    return states


def script(depth, sequence=0):
    return DepthTrace(follow={(sequence, i): d for i, d in enumerate(depth)})


@pytest.mark.parametrize("chunk", [None, 1, 2, 7])
def test_A1_state_copied_kv(chunk):
    model, ids = tiny(layers=6), text(15)
    depth = [int(d) for d in np.random.default_rng(2).choice([1, 3, 4, 6], 15)]
    assert set(depth) == {1, 3, 4, 6}
    method = Calm(model, EXITS, 0.0, trace=script(depth))
    got = teacher_forced(method, [ids], chunk=chunk)[0]
    states = frozen(model, ids, depth)
    assert np.abs(got.numpy() - Dense(model).head(states[-1])).max() < 1e-11
    dense = Dense(model)
    for i, d in enumerate(depth):
        left_with = states[d][i]
        for layer in range(d, 6):
            # W_k, W_v of the layer's norm of the state the row left with, at the row's own position.
            k, v = dense.keys_values(layer, left_with[None], [i])
            stored = method.kv.read(0, layer, i)
            assert np.abs(stored[0].numpy() - k[0]).max() < 1e-11 and np.abs(stored[1].numpy() - v[0]).max() < 1e-11
    assert method.trace.depths(0) == depth
    # Skipped layers pay K and V, not attention and MLP.
    assert method.kv.total("kv") == 15 * 6 and method.kv.total("q") == sum(depth)


def test_A1_copied_kv_is_not_the_full_models():
    model, ids = tiny(layers=6), text(8)
    depth = [6, 1, 6, 6, 6, 6, 6, 6]
    propagated = teacher_forced(Calm(model, [1], 0.0, trace=script(depth)), [ids])[0]
    exact = teacher_forced(Calm(model, [1], 0.0, fill="exact", trace=script(depth)), [ids])[0]
    full = Dense(model).logits(ids)
    assert np.abs(exact.numpy()[2:] - full[2:]).max() < 1e-11 < np.abs(propagated.numpy()[2:] - full[2:]).max()
    assert np.abs(exact.numpy()[1] - Dense(model).logits(ids, depth=1)[1]).max() < 1e-11
    assert np.abs(exact.numpy()[0] - full[0]).max() < 1e-11


def test_A1_decay_formula():
    decay = Decay(tau=4.0, tokens=20)
    assert decay(0.8, 0) == pytest.approx(0.8)
    assert decay(0.8, 10) == pytest.approx(0.9 * 0.8 + 0.1 * 0.8 * 0.1353352832366127)  # e^-2
    assert decay(0.8, 10**6) == pytest.approx(0.72)
    model = tiny(layers=2)
    method = Calm(model, [1], threshold("margin", 0.8), decay=decay)
    lam = 0.9 * 0.8 + 0.1 * 0.8 * 0.1353352832366127
    assert method.theta_at(1, 10) == pytest.approx(math.log(lam / (1 - lam)), rel=1e-12)
    # The threshold of a sure row falls from "never": 1 -> 0.9 and a bit.
    assert Calm(model, [1], math.inf, decay=decay).theta_at(1, 10**6) == pytest.approx(math.log(9), rel=1e-9)
    assert Calm(model, [1], math.inf).theta_at(1, 10**6) == math.inf
    cosine = Calm(model, [1], threshold("cosine", 0.8), criterion="cosine", decay=decay)
    assert cosine.theta_at(1, 10) == pytest.approx(math.log((1 + lam) / (1 - lam)), rel=1e-12)


def test_A1_decay_counts_emitted_tokens():
    model, ids = tiny(layers=4), text(12)
    free = Calm(model, [2], math.inf, decay=Decay(0.0, 1))
    teacher_forced(free, [ids], prompt=4)
    score = {p: s[2]["margin"] for (_, p), s in free.trace.scores.items()}
    assert sorted(score) == list(range(4, 12))  # prompt rows are not asked
    theta, decay = max(score.values()) + 1e-3, Decay(3.0, 5)
    method = Calm(model, [2], theta, decay=decay)
    teacher_forced(method, [ids], prompt=4)
    # The row at position 4 is the second one that chooses an emitted token: t = 1.
    p = 1 / (1 + math.exp(-theta))
    lam = [0.9 * p + 0.1 * p * math.exp(-3.0 * t / 5) for t in range(9)]
    # Scores do not depend on later decisions of other rows at the first exit only; compare the rows up to the first leaver.
    leaver = next(q for q in range(4, 12) if score[q] >= math.log(lam[q - 3] / (1 - lam[q - 3])))
    assert method.trace.depths(0)[: leaver + 1] == [4] * leaver + [2]


def test_A1_batch_rule_is_the_minimum():
    """Three sequences with one decode row each: together they leave iff the least sure one may."""
    model, prompt, steps = tiny(layers=4), 3, 1
    ids = [text(4, seed) for seed in range(3)]
    z = [Dense(model).logits(t, depth=2)[3] for t in ids]
    p = [np.sort(np.exp(row) / np.exp(row).sum()) for row in z]
    margin = [x[-1] - x[-2] for x in p]
    low, _, high = sorted(margin)
    for lam, alone, together in (
        (low * 0.99, [2, 2, 2], [2, 2, 2]),
        ((low + high) / 2, [2 if m >= (low + high) / 2 else 4 for m in margin], [4, 4, 4]),
        (high * 1.01, [4, 4, 4], [4, 4, 4]),
    ):
        for rule, want in ((False, alone), (True, together)):
            method = Calm(model, [2], threshold("margin", lam), together=rule)
            method.run([Rows(s, tuple(t[:prompt]), 0, prompt) for s, t in enumerate(ids)])
            method.run([Rows(s, (t[prompt],), prompt, prompt, steps) for s, t in enumerate(ids)])
            assert [method.trace.depth[s, prompt] for s in range(3)] == want
    assert len(set(alone)) == 1 and low < high


def test_A1_batch_of_two_synchronises_every_step():
    model = tiny(layers=4, head_scale=2.0)
    prompts = [text(3, 1), text(5, 2)]
    method = Calm(model, [1, 2, 3], threshold("margin", 0.3), together=True)
    generate(method, prompts, 16)
    first, second = (method.trace.depths(s)[len(p) :] for s, p in enumerate(prompts))
    assert first == second and len(set(first)) > 1
    alone = Calm(model, [1, 2, 3], threshold("margin", 0.3))
    generate(alone, prompts, 16)
    assert alone.trace.depths(0)[3:] != alone.trace.depths(1)[5:]


def test_threshold_is_reached_not_passed():
    model, ids = tiny(layers=3), text(1)
    scout = Calm(model, [1], math.inf)
    teacher_forced(scout, [ids])
    score = scout.trace.scores[0, 0][1]["margin"]
    for theta, depth in ((score, 1), (math.nextafter(score, math.inf), 3)):
        method = Calm(model, [1], theta)
        teacher_forced(method, [ids])
        assert method.trace.depths(0) == [depth]


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("fill", ["propagate", "exact"])
def test_causal_and_chunk_invariant(criterion, fill):
    model = tiny(layers=5, head_scale=1.5, probes=(1, 3))
    ids, cut, prompt = text(14), 9, 3
    scout = Calm(model, [1, 3], math.inf, criterion=criterion)
    teacher_forced(scout, [ids], prompt=prompt)
    # Half way between two scores, so that the last bit of none decides.
    middle = lambda scores: (scores[len(scores) // 2 - 1] + scores[len(scores) // 2]) / 2  # noqa: E731
    theta = [middle(sorted(s[k][criterion] for s in scout.trace.scores.values())) for k in (1, 3)]

    def run(tokens, chunk):
        method = Calm(model, [1, 3], theta, criterion=criterion, fill=fill)
        return teacher_forced(method, [tokens], prompt=prompt, chunk=chunk)[0], method.trace.depths(0)

    logits, depths = run(ids, None)
    assert set(depths) == {1, 3, 5}
    for chunk in (1, 2, 7):
        again, same = run(ids, chunk)
        assert same == depths and (again - logits).abs().max() < 1e-11
    other = ids[:cut] + text(5, seed=8)
    for chunk in (None, 7):
        again, same = run(other, chunk)
        assert same[:cut] == depths[:cut] and (again[:cut] - logits[:cut]).abs().max() < 1e-11
        assert (again[cut:] - logits[cut:]).abs().max() > 0.1


def test_a_trace_is_followed():
    model = tiny(layers=5, head_scale=1.5)
    first = Calm(model, [1, 3], threshold("margin", 0.2))
    text_one = generate(first, [text(3)], 12)
    assert len(set(first.trace.depths(0))) == 3
    again = Calm(model, [1, 3], math.inf, trace=DepthTrace(follow=first.trace))
    text_two = generate(again, [text(3)], 12)
    assert text_two.tokens == text_one.tokens and again.trace.depth == first.trace.depth
    assert again.trace.scores == first.trace.scores


def test_bad_settings_are_refused():
    model = tiny(layers=4)
    for arguments, field in (
        (([0], 0.0), "exits"),
        (([4], 0.0), "exits"),
        (([2, 1], 0.0), "exits"),
        (([1, 2], [0.0]), "theta"),
    ):
        with pytest.raises(UserError, match=f"^{field}: must be"):
            Calm(model, *arguments)
    for tau, tokens in ((-1.0, 5), (1.0, 0)):
        with pytest.raises(UserError, match="^decay: tau must be >= 0 and tokens >= 1"):
            Decay(tau, tokens)
    with pytest.raises(UserError, match="^fill: must be one of propagate, exact, but got 'skip'"):
        Calm(model, [1], 0.0, fill="skip")
    with pytest.raises(UserError, match="exits.1.probe.weight"):
        Calm(Model(model.config, model.weights), [1], 0.0, criterion="probe")
