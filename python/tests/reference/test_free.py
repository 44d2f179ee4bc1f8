# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""FREE: debts, deep passes, rollback and flush, against dense full-model forwards on the emitted text."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from ee.errors import UserError  # noqa: E402
from ee.reference.criteria import threshold  # noqa: E402
from ee.reference.free import Free  # noqa: E402
from ee.reference.free_threshold import AdaptiveThreshold, fitted_threshold  # noqa: E402
from ee.reference.generate import Control, FixedDepth, Rows, generate, teacher_forced  # noqa: E402
from ee.reference.noise import Noise, Sampler  # noqa: E402
from ee.reference.trace import DepthTrace  # noqa: E402

from .dense import Dense, text, tiny  # noqa: E402

SHALLOW, LAYERS = 2, 5
PROMPTS = [text(6, 1), text(3, 2), text(4, 3)]


def model_for(seed=0):
    return tiny(layers=LAYERS, seed=seed, head_scale=1.5)


def margins(z):
    p = np.exp(z - z.max(-1, keepdims=True))
    p = np.sort(p / p.sum(-1, keepdims=True), -1)
    return p[..., -1] - p[..., -2]


def plain_free(model, prompt, steps, lam):
    """FREE's text in a few dense lines: rows leave on their shallow margin; the stack never changes a value."""
    dense, out, depth = Dense(model), list(prompt), [LAYERS] * len(prompt)
    while len(out) < len(prompt) + steps:
        shallow = dense.logits(out, depth=SHALLOW)[-1]
        if len(out) > len(prompt):
            depth.append(SHALLOW if margins(shallow) > lam else LAYERS)
        out.append(int((shallow if depth[-1] == SHALLOW else dense.logits(out)[-1]).argmax()))
    return out[len(prompt) :], depth


@pytest.mark.parametrize("lam", [0.1, 0.3, 0.5])
def test_A2_caches_equal_the_full_models_after_every_deep_pass(lam):
    model, dense, deep_calls = model_for(), Dense(model_for()), 0
    for prompt in PROMPTS:
        method, out = Free(model, SHALLOW, threshold("margin", lam)), list(prompt)
        rows = Rows(0, tuple(prompt), 0, len(prompt))
        for _ in range(20):
            logits = method.run([rows])[0]
            debts = method.debts(0)
            assert debts == list(range(len(out) - len(debts), len(out)))
            states = dense.states(out)
            for layer in range(LAYERS):
                # What is stored: everything in the shallow layers, all but the debts in the deep ones; and it is exact.
                stored = len(out) - (len(debts) if layer >= SHALLOW else 0)
                assert method.kv.positions(0, layer) == list(range(stored))
                if not debts:
                    k, v = dense.keys_values(layer, states[layer])
                    got = method.kv.gather(0, layer, range(stored))
                    assert np.abs(got[0].numpy() - k).max() < 1e-11 and np.abs(got[1].numpy() - v).max() < 1e-11
            if not debts:
                deep_calls += 1
                assert np.abs(logits[-1].numpy() - dense.head(states[-1])[-1]).max() < 1e-11
            out.append(int(logits[-1].numpy().argmax()))
            rows = Rows(0, (out[-1],), len(out) - 1, len(prompt))
    assert 3 < deep_calls < 55  # more than the three prompts, fewer than all rows


@pytest.mark.parametrize("lam", [0.1, 0.3, 0.5])
def test_A2_any_batch_size(lam):
    model = model_for()
    want = [plain_free(model, prompt, 18, lam) for prompt in PROMPTS]
    assert {d for _, depth in want for d in depth} == {SHALLOW, LAYERS}
    for prompts, expected in ((PROMPTS, want), (PROMPTS[1:], want[1:]), (PROMPTS[:1], want[:1])):
        method = Free(model, SHALLOW, threshold("margin", lam))
        got = generate(method, prompts, 18, chunk=2)
        assert got.tokens == [t for t, _ in expected]
        assert [method.trace.depths(s) for s in range(len(prompts))] == [depth for _, depth in expected]


def test_A2_no_work_is_done_twice():
    model = model_for()
    method = Free(model, SHALLOW, threshold("margin", 0.3))
    generate(method, PROMPTS, 18)
    paid = sum(len(p) + 17 for p in PROMPTS) - sum(len(method.debts(s)) for s in range(3))
    assert set(method.kv.ops.values()) == {1}
    assert method.kv.total("kv", range(SHALLOW)) == SHALLOW * sum(len(p) + 17 for p in PROMPTS)
    assert method.kv.total("kv", range(SHALLOW, LAYERS)) == (LAYERS - SHALLOW) * paid


@pytest.mark.parametrize("lam", [1.0, 1.5])
def test_A3_lambda_one_is_full_greedy(lam):
    model = model_for()
    method = Free(model, SHALLOW, threshold("margin", lam))
    assert generate(method, PROMPTS, 15).tokens == [Dense(model).greedy(p, 15) for p in PROMPTS]
    assert {d for s in range(3) for d in method.trace.depths(s)} == {LAYERS}


def test_A3_negative_lambda_is_shallow_only():
    """Without prompt rows nothing is ever deep: teacher-forced, and with a prompt whose text starts at its last row."""
    model = model_for()
    method = Free(model, SHALLOW, threshold("margin", -0.5))
    ids = text(12)
    got = teacher_forced(method, [ids])[0]
    assert np.abs(got.numpy() - Dense(model).logits(ids, depth=SHALLOW)).max() < 1e-11
    assert method.debts(0) == list(range(12)) and all(not method.kv.positions(0, layer) for layer in range(SHALLOW, LAYERS))
    # The first token comes from the prompt's deep row; from then on the text is the shallow model's.
    for prompt in PROMPTS:
        method = Free(model, SHALLOW, threshold("margin", -0.5))
        first = Dense(model).greedy(prompt, 1)
        want = first + Dense(model).greedy(prompt + first, 14, depth=SHALLOW)
        assert generate(method, [prompt], 15).tokens[0] == want
        assert method.kv.positions(0, LAYERS - 1) == list(range(len(prompt)))


def first_wrong(model, prompt, steps):
    """The first generated row whose shallow argmax is not the full model's next token, in the full model's text."""
    dense, full = Dense(model), Dense(model).greedy(prompt, steps)
    ids = prompt + full
    shallow = dense.logits(ids, depth=SHALLOW).argmax(-1)
    return next(i for i in range(len(prompt), len(ids) - 2) if shallow[i] != ids[i + 1]), full


@pytest.mark.parametrize("rule", ["mismatch", "cross-entropy"])
@pytest.mark.parametrize("behind", [0, 1, 3])
def test_A5_a_wrong_shallow_token_is_taken_back(rule, behind):
    """A scripted wrong exit, followed by `behind` more exits and a deep row: the text equals the run without them."""
    model = model_for(seed=1)
    prompt, steps = PROMPTS[0], 14
    wrong, full = first_wrong(model, prompt, steps)
    dense = Dense(model)
    # The wrong text: shallow tokens at `wrong`, wrong + 1, ..., wrong + behind.
    ids = (prompt + full)[: wrong + 1]
    for _ in range(behind + 1):
        ids.append(int(dense.logits(ids, depth=SHALLOW)[-1].argmax()))
    losses = [-math.log(np.exp(z[t]) / np.exp(z).sum()) for z, t in zip(dense.logits(ids)[wrong:-1], ids[wrong + 1 :])]
    depth = {(0, p): LAYERS for p in range(len(prompt) + steps)}
    depth.update({(0, p): SHALLOW for p in range(wrong, wrong + behind + 1)})
    bound = "mismatch" if rule == "mismatch" else losses[0] - 1e-6
    seen = []

    class Watched(Free):
        def truncate(self, sequence, length):
            super().truncate(sequence, length)
            seen.append((length, [self.kv.positions(0, layer) for layer in range(LAYERS)]))
            # The exits happen once; after taking back, the rows are deep.
            self.trace.script = dict.fromkeys(depth, LAYERS)

    method = Watched(model, SHALLOW, 0.0, rollback=bound, trace=DepthTrace(follow=depth))
    got = generate(method, [prompt], steps)
    # Accepted rows are those up to the wrong one: wrong + 1 of them stay in every cache.
    assert seen == [(wrong + 1, [list(range(wrong + 1))] * LAYERS)]
    assert method.taken_back == behind + 1
    want = ids[: wrong + 1] + [int(dense.logits(ids[: wrong + 1])[-1].argmax())]
    want += dense.greedy(want, len(prompt) + steps - len(want))
    assert prompt + got.tokens[0] == want == prompt + full
    assert len(got.logits[0]) == steps


def test_A5_only_the_failing_row_counts():
    """With three exits of which only the second fails, the first one stays and one row more than it is kept."""
    model = model_for(seed=2)
    prompt, dense = PROMPTS[1], Dense(model)
    ids = prompt + dense.greedy(prompt, 1)
    start = len(ids) - 1
    for _ in range(3):
        ids.append(int(dense.logits(ids, depth=SHALLOW)[-1].argmax()))
    losses = [-math.log(np.exp(z[t]) / np.exp(z).sum()) for z, t in zip(dense.logits(ids)[start:-1], ids[start + 1 :])]
    assert losses[1] > losses[0] > 0  # what seed 2 gives; the bound lies between
    depth = {(0, p): SHALLOW if start <= p < start + 3 else LAYERS for p in range(20)}
    method = Free(model, SHALLOW, 0.0, rollback=(losses[0] + losses[1]) / 2, trace=DepthTrace(follow=depth))
    emitted = []
    rows = Rows(0, tuple(prompt), 0, len(prompt), 9)
    emitted.append(method.advance([rows], Control())[0])
    for position in range(start, start + 4):
        emitted.append(method.advance([Rows(0, (ids[position],), position, len(prompt), 9)], Control())[0])
    assert [e.drop for e in emitted] == [0, 0, 0, 0, 2] and method.taken_back == 2
    assert emitted[-1].tokens == [int(dense.logits(ids[: start + 2])[-1].argmax())]
    assert all(method.kv.positions(0, layer) == list(range(start + 2)) for layer in range(LAYERS))


@pytest.mark.parametrize("pick", [None, Sampler(Noise(3), 0.8)])
def test_A5_mismatch_rollback_with_flush_is_the_full_model(pick):
    model = model_for()
    picked = {} if pick is None else {"pick": pick}
    want = generate(FixedDepth(model), PROMPTS, 16, **picked).tokens
    total = 0
    for lam in (0.1, 0.4):
        method = Free(model, SHALLOW, threshold("margin", lam), rollback="mismatch", flush=True)
        got = generate(method, PROMPTS, 16, **picked)
        assert got.tokens == want
        total += method.taken_back
        assert all(method.debts(s) == [] for s in range(3))
    assert total > 5
    if pick is None:
        assert want == [Dense(model).greedy(p, 16) for p in PROMPTS]


def test_A5_end_token_inside_a_debt_is_taken_back():
    """A wrong shallow token that ends the text: with flush and rollback the text goes on as the full model's."""
    model = model_for(seed=1)
    prompt, steps = PROMPTS[0], 14
    wrong, full = first_wrong(model, prompt, steps)
    eos = {int(Dense(model).logits((prompt + full)[: wrong + 1], depth=SHALLOW)[-1].argmax())} - set(full)
    assert eos
    depth = {(0, p): SHALLOW if p == wrong else LAYERS for p in range(len(prompt) + steps)}
    cut = generate(Free(model, SHALLOW, 0.0, trace=DepthTrace(follow=depth)), [prompt], steps, eos=eos)
    assert cut.tokens[0] == (full[: wrong - len(prompt) + 1] + list(eos))
    method = Free(model, SHALLOW, 0.0, rollback="mismatch", flush=True, trace=DepthTrace(follow=depth))

    class Once(dict):
        """Follows the script until tokens were taken back."""

        def __getitem__(self, row):
            return LAYERS if method.taken_back else super().__getitem__(row)

    method.trace.script = Once(depth)
    assert generate(method, [prompt], steps, eos=eos).tokens[0] == full


def test_flush_pays_all_debts():
    model = model_for()
    for flush in (False, True):
        method = Free(model, SHALLOW, threshold("margin", -1), flush=flush)
        tokens = generate(method, [PROMPTS[0]], 9).tokens[0]
        ids = (PROMPTS[0] + tokens)[:-1]
        assert len(method.debts(0)) == (0 if flush else 8)
        if flush:
            k, v = Dense(model).keys_values(LAYERS - 1, Dense(model).states(ids)[LAYERS - 1])
            got = method.kv.gather(0, LAYERS - 1, range(len(ids)))
            assert np.abs(got[0].numpy() - k).max() < 1e-11 and np.abs(got[1].numpy() - v).max() < 1e-11


def test_causal_and_chunk_invariant():
    model, ids, prompt, cut = model_for(), text(16, 5), 4, 11

    def run(tokens, chunk):
        method = Free(model, SHALLOW, threshold("margin", 0.25))
        return teacher_forced(method, [tokens], prompt=prompt, chunk=chunk)[0], method.trace.depths(0), method.debts(0)

    logits, depths, debts = run(ids, None)
    shallow, full = Dense(model).logits(ids, depth=SHALLOW), Dense(model).logits(ids)
    known = [LAYERS if i < prompt or margins(shallow[i]) <= 0.25 else SHALLOW for i in range(16)]
    assert len([d for d, rest in zip(depths, known) if d != rest]) == 0 and depths[prompt:].count(SHALLOW) >= 3
    # Whatever the stack was, every row's logits are those of a full forward at its own depth.
    want = np.where(np.array(known)[:, None] == SHALLOW, shallow, full)
    settled = [i for i in range(16) if i not in debts]
    assert np.abs(logits.numpy() - want).max() < 1e-11 and settled
    for chunk in (1, 2, 7):
        again, same, owed = run(ids, chunk)
        assert same == depths and owed == debts and (again - logits).abs().max() < 1e-11
    other = ids[:cut] + text(5, 77)
    again, same, _ = run(other, 7)
    assert same[:cut] == depths[:cut] and (again[:cut] - logits[:cut]).abs().max() < 1e-11
    assert (again[cut:] - logits[cut:]).abs().max() > 0.1


def test_threshold_is_passed_not_reached():
    model, ids = model_for(), text(1)
    scout = Free(model, SHALLOW, math.inf)
    teacher_forced(scout, [ids])
    score = scout.trace.scores[0, 0][SHALLOW]["margin"]
    assert score == pytest.approx(threshold("margin", float(margins(Dense(model).logits(ids, depth=SHALLOW)[0]))), abs=1e-10)
    for theta, depth in ((score, LAYERS), (math.nextafter(score, -math.inf), SHALLOW)):
        method = Free(model, SHALLOW, theta)
        teacher_forced(method, [ids])
        assert method.trace.depths(0) == [depth]


def test_A4_the_estimator_sees_rows_of_deep_passes_that_pay_debts():
    model, dense = model_for(), Dense(model_for())
    estimator = AdaptiveThreshold(0.4)
    method = Free(model, SHALLOW, estimator)
    evidence, lam = [], 0.4
    for prompt in PROMPTS:
        method.kv.truncate_all(0, 0)
        got = generate(method, [prompt], 18)
        tokens, depth = plain_free(model, prompt, 18, lam)
        assert got.tokens[0] == tokens
        ids = (prompt + tokens)[:-1]
        shallow, full = dense.logits(ids, depth=SHALLOW), dense.logits(ids)
        stack = []
        for i in range(len(prompt), len(ids)):
            stack.append(i)
            if depth[i] == LAYERS:
                if len(stack) > 1:
                    evidence += [(margins(shallow[j]), shallow[j].argmax() == full[j].argmax()) for j in stack]
                stack = []
        assert estimator.confidences == pytest.approx([c for c, _ in evidence], abs=1e-12)
        assert estimator.same == [bool(s) for _, s in evidence]
        lam = fitted_threshold(*zip(*evidence))  # what the next sequence runs with
    assert estimator.fits == 2 and estimator.value != 0.4 and len(evidence) > 15


def test_bad_settings_are_refused():
    model = model_for()
    for shallow in (0, LAYERS):
        with pytest.raises(UserError, match=f"^shallow: must be 1..4 layers, but got {shallow}"):
            Free(model, shallow, 0.0)
    with pytest.raises(UserError, match="^rollback: must be a cross-entropy in nats or 'mismatch', but got 'argmax'"):
        Free(model, SHALLOW, 0.0, rollback="argmax")
