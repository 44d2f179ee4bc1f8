# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A14, A15, A11 and C1: Ouro-like and Huginn-like loops against dense numpy and a simulated slot dictionary."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from ee.errors import UserError
from ee.reference import kv_bytes
from ee.reference.generate import Rows, generate, teacher_forced
from ee.reference.halting import Halting, quantile_threshold
from ee.reference.kv import KV, KVError
from ee.reference.looped import FILLS, Loop, Looped, Slots
from ee.reference.model import Config, Model, random_weights
from ee.reference.trace import DepthTrace

from . import slot_oracle
from .masked import Masked, causal

LOOPS, STEPS = 4, 13
TOKENS = np.random.default_rng(11).integers(0, 37, STEPS).tolist()
OURO = Loop(blocks=2, loops=LOOPS, norm_each_loop=True)
HUGINN = Loop(blocks=2, loops=LOOPS, prelude=1, coda=1)
LAYOUT = {OURO: (0, 1) * LOOPS, HUGINN: (0, *(1, 2) * LOOPS, 3)}


def model(loop, seed=0, lora_rank=0, gates=LOOPS):
    config = Config(vocab=37, hidden=24, heads=4, kv_heads=2, head_dim=6, ffn=32, layout=LAYOUT[loop])
    weights, rng = random_weights(config, seed, lora_rank=lora_rank), np.random.default_rng(seed + 50)
    for r in range(gates):
        weights[f"gates.{r}.weight"] = torch.from_numpy(rng.standard_normal((1, 24)) * 0.4)
        weights[f"gates.{r}.bias"] = torch.from_numpy(rng.standard_normal(1) - 0.5)
    if loop == HUGINN:
        weights["adapter.weight"] = torch.from_numpy(rng.standard_normal((24, 48)) * 0.15)
    return Model(config, weights)


def initial(sequence, positions):
    """s_0 is a function of the row alone."""
    rows = [np.random.default_rng([sequence, p]).standard_normal(24) for p in positions]
    return torch.from_numpy(np.array(rows))


def method_of(m, loop, halting=Halting(), slots=Slots(), follow=None, **rest):
    start = initial if loop == HUGINN else None
    return Looped(m, loop, halting, slots, initial=start, trace=DepthTrace(follow), **rest)


def run(method, chunk=None, tokens=TOKENS):
    return teacher_forced(method, [tokens], chunk=chunk)[0].numpy()


def script_of(depths, sequence=0):
    return {(sequence, p): d for p, d in enumerate(depths)}


def dense_full_depth(m, loop):
    """The states after each loop [LOOPS][T, d], every row running every loop, plain causal attention."""
    dense, h, full = Masked(m.weights, m.config), None, causal(STEPS)
    e = dense.embed(TOKENS)
    for layer in range(loop.prelude):
        e = dense.block(m.config.layout[layer], e, full, layer)
    h, after = (e if loop == OURO else initial(0, range(STEPS)).numpy()), []
    for r in range(LOOPS):
        h = h if loop == OURO else h @ dense.w["adapter.weight"][:, :24].T + e @ dense.w["adapter.weight"][:, 24:].T
        for j in range(loop.blocks):
            layer = loop.prelude + r * loop.blocks + j
            h = dense.block(m.config.layout[layer], h, full, layer)
        h = dense.final_norm(h) if loop.norm_each_loop else h
        after.append(h)
    return after


@pytest.mark.parametrize("gates", [LOOPS, 1])
def test_A14_ouro_norm_gates_and_exit(gates):
    """With exact K,V every loop's states are those at full depth, so exits can be computed afterwards: cdf by products."""
    m = model(OURO, seed=1, lora_rank=2, gates=gates)
    after, depths_seen = dense_full_depth(m, OURO), set()
    hazard = []
    for r, h in enumerate(after):
        gate = r if gates > 1 else 0
        z = h @ m.weights[f"gates.{gate}.weight"].numpy()[0] + m.weights[f"gates.{gate}.bias"].numpy()[0]
        hazard.append(1 / (1 + np.exp(-z)))
    for q, floor, delay in ((0.3, 1, 0), (0.6, 1, 0), (0.6, 2, 0), (0.6, 1, 1), (0.6, 2, 1), (1.0, 1, 0)):
        method = method_of(m, OURO, Halting("gate", quantile_threshold(q), floor, delay))
        got = run(method, chunk=5)
        for i in range(STEPS):
            left, depth = 1.0, LOOPS
            for r in range(1, LOOPS):
                left *= 1 - hazard[r - 1][i]
                if r >= floor and 1 - left >= q:
                    depth = min(LOOPS, r + delay)
                    break
            assert method.trace.depth[0, i] == depth
            depths_seen.add(depth)
            np.testing.assert_allclose(got[i], after[depth - 1][i] @ m.weights["lm_head.weight"].numpy().T, atol=1e-10)
            if q == 1.0:
                assert method.trace.scores[0, i][2]["gate"] == pytest.approx(np.log(hazard[1][i] / (1 - hazard[1][i])))
    assert depths_seen == {1, 2, 3, 4}


def test_A14_huginn_latent_difference_exit():
    m = model(HUGINN, seed=2)
    after = [initial(0, range(STEPS)).numpy(), *dense_full_depth(m, HUGINN)]
    deltas = [np.linalg.norm(b - a, axis=1) / np.linalg.norm(b, axis=1) for a, b in zip(after, after[1:], strict=False)]
    threshold = float(np.median(deltas[1]))
    wanted = [next((r for r in range(1, LOOPS) if deltas[r - 1][i] < threshold), LOOPS) for i in range(STEPS)]
    method = method_of(m, HUGINN, Halting("difference", threshold))
    got = run(method)
    assert method.trace.depths(0) == wanted and len(set(wanted)) >= 2
    dense = Masked(m.weights, m.config)
    s = np.array([after[d][i] for i, d in enumerate(wanted)])
    h = dense.block(3, s, causal(STEPS), LOOPS * 2 + 1)
    np.testing.assert_allclose(got, dense.lm_head(dense.final_norm(h)), atol=1e-10)
    assert method.trace.scores[0, 0][1]["delta"] == pytest.approx(deltas[0][0])


@pytest.mark.parametrize("floor, delay, least", [(1, 0, 1), (2, 0, 2), (1, 1, 2), (2, 1, 3), (3, 2, LOOPS)])
def test_A14_floor_and_delay_hold_for_scripted_exits(floor, delay, least):
    depths = [1 + p % LOOPS for p in range(STEPS)]
    method = method_of(model(OURO), OURO, Halting(min_loops=floor, delay=delay), follow=script_of(depths))
    run(method)
    assert method.trace.depths(0) == [max(d, least) for d in depths]


class Provenance(KV):
    """Notes which loop made each entry, and which entries each query saw. Copies keep their origin."""

    def __init__(self, loop):
        super().__init__()
        self.loop, self.origin, self.kept, self.seen = loop, {}, [], {}
        self.layer, self.readers, self.reading = None, [], False

    def count(self, op, sequence, layer, positions):
        super().count(op, sequence, layer, positions)
        self.layer, self.readers = layer, list(positions) if op == "q" else []

    def write(self, sequence, level, position, entry, overwrite=False):
        super().write(sequence, level, position, entry, overwrite)
        self.kept.append(entry)  # keeps ids unique
        self.origin.setdefault(id(entry), (self.layer - self.loop.prelude) // self.loop.blocks)

    def gather(self, sequence, level, positions):
        positions = list(positions)
        made = {p: self.origin[id(self.entries[sequence, level, p])] for p in positions if (sequence, level, p) in self.entries}
        self.seen[sequence, self.layer, self.readers.pop(0)] = made
        return super().gather(sequence, level, positions)


LAYOUTS = [Slots(fill=fill) for fill in FILLS] + [Slots("single"), Slots("first_then_shared", 2), Slots("first_then_shared", 3)]
LAYOUTS += [Slots("modulo", 2), Slots("modulo", 3)]


def name_of(slots):
    return f"{slots.layout}{slots.count if slots.overwrites else '-' + slots.fill}"


def random_depths(rng, least):
    return [rng.randint(least, LOOPS) for _ in range(STEPS)]


def random_chunks(rng):
    sizes, left = [], STEPS
    while left:
        sizes.append(min(left, rng.randint(1, 5)))
        left -= sizes[-1]
    return sizes


@pytest.mark.parametrize("loop", [OURO, HUGINN], ids=["ouro", "huginn"])
@pytest.mark.parametrize("slots", LAYOUTS, ids=name_of)
def test_A15_layouts_equal_the_dictionary_reference(loop, slots):
    """Scripted exits, random cuts: who reads which loop's entry, and the logits that follow."""
    rng = random.Random(name_of(slots))
    least = slots.number(LOOPS) if slots.overwrites else 1
    m = model(loop, seed=3, lora_rank=0 if slots.overwrites or slots.fill in ("copy", "share") else 2)
    for chunks in ([STEPS], random_chunks(rng), [1] * STEPS):
        depths = random_depths(rng, least)
        kv = Provenance(loop)
        method = method_of(m, loop, Halting(min_loops=least), slots, script_of(depths), kv=kv)
        got, start = [], 0
        for size in chunks:
            got.append(method.run([Rows(0, tuple(TOKENS[start : start + size]), start, 0)])[0].numpy())
            start += size
        assert method.trace.depths(0) == depths
        steps = slot_oracle.simulate(slots.layout, slots.count, slots.fill, depths, chunks, LOOPS)
        for r, running, _, sees in steps:
            for j in range(loop.blocks):
                for p in running:
                    layer = loop.prelude + r * loop.blocks + j
                    assert kv.seen[0, layer, p] == {q: made for q, (made, _) in sees[p].items()}
        start = initial(0, range(STEPS)).numpy() if loop == HUGINN else None
        np.testing.assert_allclose(np.concatenate(got), slot_oracle.logits(m, loop, TOKENS, depths, steps, start), atol=1e-10)


def test_A15_last_exited_is_an_exact_copy():
    m, rng = model(HUGINN, seed=4), random.Random(5)
    depths = random_depths(rng, 1)
    method = method_of(m, HUGINN, slots=Slots(fill="copy"), follow=script_of(depths))
    run(method, chunk=3)
    for p, d in enumerate(depths):
        for j in range(2):
            left_with = method.kv.entries[0, 1 + (d - 1) * 2 + j, p]
            for r in range(d, LOOPS):
                assert all(torch.equal(a, b) for a, b in zip(method.kv.entries[0, 1 + r * 2 + j, p], left_with, strict=True))
    assert method.kv.total("kv", range(1, 9)) == 2 * sum(depths)  # copying projects nothing


def test_A15_work_of_each_fill():
    """Rows of queries and of K,V projections in the loop: exact pays both in full, propagate K,V, copy and skip neither, share K,V of one loop."""
    m = model(OURO, seed=4)
    depths = random_depths(random.Random(6), 1)
    for fill, queries, projections in (
        ("exact", LOOPS * STEPS, LOOPS * STEPS),
        ("propagate", sum(depths), LOOPS * STEPS),
        ("copy", sum(depths), sum(depths)),
        ("skip", sum(depths), sum(depths)),
        ("share", sum(depths), STEPS),
    ):
        method = method_of(m, OURO, slots=Slots(fill=fill), follow=script_of(depths))
        run(method, chunk=4)
        assert (method.kv.total("q"), method.kv.total("kv")) == (2 * queries, 2 * projections)


def test_A15_no_read_of_an_unwritten_slot_under_random_schedules():
    """Many texts over one store, chunks interleaved at random, random layouts, floors and exits: no read raises, and each
    text's logits are those it gets alone. Floors below the slot count are refused before anything runs."""
    rng, m = random.Random(8), model(OURO, seed=5)
    for _ in range(6):
        slots = rng.choice(LAYOUTS)
        least = rng.randint(slots.number(LOOPS) if slots.overwrites else 1, LOOPS)
        cuts = [random_chunks(rng) for _ in range(3)]
        script = {}
        for s in range(3):
            script |= script_of(random_depths(rng, 1), s)  # depths below the floor are raised to it
        method, starts, got = method_of(m, OURO, Halting(min_loops=least), slots, script), [0] * 3, [[] for _ in cuts]
        while any(cuts):
            s = rng.choice([s for s in range(3) if cuts[s]])
            tokens = TOKENS[s:] + TOKENS[:s]
            size = cuts[s].pop(0)
            got[s].append((size, method.run([Rows(s, tuple(tokens[starts[s] : starts[s] + size]), starts[s], 0)])[0]))
            starts[s] += size
        for s in range(3):
            assert method.trace.depths(s) == [max(script[s, p], least) for p in range(STEPS)]
            tokens = TOKENS[s:] + TOKENS[:s]
            steps = slot_oracle.simulate(slots.layout, slots.count, slots.fill, method.trace.depths(s), [n for n, _ in got[s]], LOOPS)
            wanted = slot_oracle.logits(m, OURO, tokens, method.trace.depths(s), steps)
            np.testing.assert_allclose(torch.cat([x for _, x in got[s]]).numpy(), wanted, atol=1e-10)
    for slots in LAYOUTS:
        if slots.number(LOOPS) > 1 and slots.overwrites:
            with pytest.raises(UserError, match="KV slot count is"):
                method_of(m, OURO, Halting("gate", 0.0, min_loops=slots.number(LOOPS) - 1), slots)


def test_A15_the_store_refuses_what_a_floor_would_have_written():
    """The check is not decoration: with it switched off, an early exit makes the next row's read raise."""
    m = model(OURO, seed=5)
    method = method_of(m, OURO, Halting(min_loops=2), Slots("modulo", 2), script_of([1] * STEPS))
    method.halting = Halting(min_loops=1)
    method.trace.script = {(0, p): 1 if p == 0 else 4 for p in range(STEPS)}
    with pytest.raises(KVError, match="position 0 was never written"):
        run(method, chunk=1)


@pytest.mark.parametrize("loop", [OURO, HUGINN], ids=["ouro", "huginn"])
@pytest.mark.parametrize("fill", FILLS)
def test_A11_looped_exits_are_causal_and_independent_of_chunks(loop, fill):
    m = model(loop, seed=1)
    halting = Halting("gate", quantile_threshold(0.6)) if loop == OURO else Halting("difference", 1.15)
    method = method_of(m, loop, halting, Slots(fill=fill))
    whole, depths = run(method), method.trace.depths(0)
    assert len(set(depths)) > 1
    for chunk in (1, 2, 7):
        other = method_of(m, loop, halting, Slots(fill=fill))
        np.testing.assert_allclose(run(other, chunk), whole, atol=1e-11)
        assert other.trace.depths(0) == depths
    for cut in (1, 6, 12):
        other = method_of(m, loop, halting, Slots(fill=fill))
        changed = run(other, tokens=TOKENS[:cut] + [(t + 3) % 37 for t in TOKENS[cut:]])
        np.testing.assert_allclose(changed[:cut], whole[:cut], atol=1e-12)
        assert other.trace.depths(0)[:cut] == depths[:cut]
        assert np.abs(changed[cut:] - whole[cut:]).max() > 0.1


def test_A11_slot_reuse_depends_on_chunks():
    """Why the layouts above are kept apart: a row in the same call shows its current loop, one of an earlier call its last."""
    m, depths = model(OURO, seed=1), [LOOPS] * STEPS
    runs = [run(method_of(m, OURO, Halting(), Slots("single"), script_of(depths)), chunk) for chunk in (None, 1)]
    assert np.abs(runs[0] - runs[1]).max() > 1e-3


def test_A15_generation_equals_the_dictionary_reference():
    m = model(HUGINN, seed=6)
    slots = Slots(fill="propagate")
    method = method_of(m, HUGINN, Halting("difference", 1.15), slots)
    made = generate(method, [TOKENS[:5]], 6, chunk=2)
    text = (TOKENS[:5] + made.tokens[0])[:-1]
    depths = method.trace.depths(0)
    steps = slot_oracle.simulate(slots.layout, slots.count, slots.fill, depths, [2, 2] + [1] * 6, LOOPS)
    wanted = slot_oracle.logits(m, HUGINN, text, depths, steps, initial(0, range(len(text))).numpy())
    assert wanted.argmax(1)[4:].tolist() == made.tokens[0] and len(set(depths)) > 1


def test_prompt_rows_may_be_kept_at_full_depth():
    m = model(OURO, seed=1)
    halting = Halting("gate", quantile_threshold(0.0))
    for chunk in (None, 2):
        method = method_of(m, OURO, halting, prompt_exits=False)
        teacher_forced(method, [TOKENS], prompt=5, chunk=chunk)
        assert method.trace.depths(0) == [LOOPS] * 5 + [1] * (STEPS - 5)


@pytest.mark.parametrize("slots", LAYOUTS, ids=name_of)
def test_C1_the_dictionary_holds_what_the_formula_says(slots):
    m = model(HUGINN)
    least = slots.number(LOOPS) if slots.overwrites else 1
    depths = random_depths(random.Random(9), least)
    method = method_of(m, HUGINN, Halting(min_loops=least), slots, script_of(depths))
    run(method, chunk=4)
    stored = sum(t.numel() * t.element_size() for entry in method.kv.entries.values() for t in entry)
    count = {"single": 1, "depth_indexed": LOOPS}.get(slots.layout, slots.count)
    groups = kv_bytes.looped_slots(2, 2, count, STEPS)
    if slots.fill == "share":
        groups = kv_bytes.looped_slots(2, 2, 1, STEPS)
    if slots.fill == "skip":
        groups = kv_bytes.recursion_skip(2, 2, LOOPS, depths)
    assert stored == kv_bytes.total_bytes(kv_bytes.KvShape(2, 6, 8), groups)


@pytest.mark.parametrize(
    "call, named",
    [
        (lambda: Slots("ring"), "KV layout is 'ring'"),
        (lambda: Slots(fill="guess"), "KV fill is 'guess'"),
        (lambda: Slots("modulo", 0), "KV slot count is 0"),
        (lambda: Slots("single", 2), "goes with first_then_shared and modulo"),
        (lambda: Slots("single", fill="copy"), "goes with depth_indexed"),
        (lambda: Looped(model(OURO), replace(OURO, loops=3)), "layout: must be 0 . 3 x 2 . 0 layers"),
        (lambda: Looped(model(HUGINN), HUGINN), "initial: must be given"),
        (lambda: Looped(model(OURO), OURO, initial=initial), "and for no other"),
        (lambda: Looped(model(OURO, gates=0), OURO, Halting("gate")), "gates.0.weight must be there"),
    ],
)
def test_refusals(call, named):
    with pytest.raises(UserError, match=named):
        call()
