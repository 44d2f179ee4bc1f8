# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Self-speculation: greedy text against dense forwards, work against a simulated schedule, laws by exact enumeration."""

import itertools
from functools import cache

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from ee.errors import UserError  # noqa: E402
from ee.reference.generate import FixedDepth, generate, teacher_forced  # noqa: E402
from ee.reference.model import Model  # noqa: E402
from ee.reference.noise import Noise, Sampler  # noqa: E402
from ee.reference.speculation import Ratio, SelfSpeculation, accept_by_ratio, residual  # noqa: E402

from .dense import Dense, text, tiny  # noqa: E402

LAYERS, STEPS = 5, 14
PROMPTS = [text(5, 1), text(1, 2), text(3, 3)]


def agreeing(seed=0, layers=LAYERS, **sizes):
    """A model whose later layers change little, so that drafts are accepted now and then."""
    model = tiny(layers=layers, seed=seed, **sizes)
    weights = dict(model.weights)
    for name in weights:
        if any(f"layers.{i}." in name for i in range(1, layers)) and ("o_proj" in name or "down_proj" in name):
            weights[name] = weights[name] * 0.35
    return Model(model.config, weights)


MODEL = agreeing()


@cache
def choices(ids):
    """Greedy token after `ids`, for every depth 0..L."""
    dense = Dense(MODEL)
    return tuple(int(dense.head(h[-1]).argmax()) for h in dense.states(list(ids)))


@cache
def schedule(prompt, exit_layer, drafts):
    """Self-speculation in tuples: (text, how often each position was fed, drafted, accepted, rounds)."""
    out, fed, drafted, accepted, rounds, done = list(prompt), [0] * (len(prompt) + STEPS), 0, 0, 0, 0
    while len(out) < len(prompt) + STEPS:
        k = min(drafts, len(prompt) + STEPS - len(out) - 1)
        guess = list(out)
        for _ in range(k):
            guess.append(choices(tuple(guess))[exit_layer])
        for position in range(done, len(guess)):
            fed[position] += 1
        good = 0
        while good < k and choices(tuple(guess[: len(out) + good]))[LAYERS] == guess[len(out) + good]:
            good += 1
        out = guess[: len(out) + good] + [choices(tuple(guess[: len(out) + good]))[LAYERS]]
        done, drafted, accepted, rounds = len(out) - 1, drafted + k, accepted + good, rounds + 1
    return tuple(out[len(prompt) :]), tuple(fed), drafted, accepted, rounds


@pytest.mark.parametrize("exit_layer", range(1, LAYERS))
def test_A6_every_exit_layer_and_draft_length_is_full_greedy(exit_layer):
    prompts = PROMPTS[:2]
    want = [Dense(MODEL).greedy(p, STEPS) for p in prompts]
    some = 0
    for drafts in range(1, 9):
        method = SelfSpeculation(MODEL, exit_layer, drafts)
        got = generate(method, prompts, STEPS)
        assert got.tokens == want
        plans = [schedule(tuple(p), exit_layer, drafts) for p in prompts]
        assert [list(plan[0]) for plan in plans] == want
        for s, (_, fed, *_) in enumerate(plans):
            for layer in range(LAYERS):
                # Draft layers run once for each row that is fed, and so do the others.
                for position, times in enumerate(fed):
                    assert method.kv.ops["q", s, layer, position] == method.kv.ops["kv", s, layer, position] == times
                assert method.kv.positions(s, layer) == list(range(len(prompts[s]) + STEPS - 1))
        assert method.drafted == sum(p[2] for p in plans) and method.accepted == sum(p[3] for p in plans)
        assert got.calls == max(p[4] for p in plans)
        some += method.accepted
        assert method.accepted < method.drafted
    assert some > 0


def test_A6_logits_are_the_full_models():
    for chunk in (None, 2):
        method = SelfSpeculation(MODEL, 2, 3)
        got = generate(method, PROMPTS, STEPS, chunk=chunk)
        for prompt, tokens, logits in zip(PROMPTS, got.tokens, got.logits):
            want = Dense(MODEL).logits(prompt + tokens)[len(prompt) - 1 : -1]
            assert np.abs(logits.numpy() - want).max() < 1e-11
    ids = text(9)
    assert np.abs(teacher_forced(SelfSpeculation(MODEL, 2, 3), [ids], chunk=4)[0].numpy() - Dense(MODEL).logits(ids)).max() < 1e-11


def test_A6_end_tokens():
    free = [Dense(MODEL).greedy(p, STEPS) for p in PROMPTS]
    for eos in ({free[0][3]}, {free[1][6], free[2][9]}, {free[0][0]}):
        want = [t[: next((i for i, x in enumerate(t) if x in eos), STEPS - 1) + 1] for t in free]
        for drafts in (1, 4, 8):
            method = SelfSpeculation(MODEL, 2, drafts)
            assert generate(method, PROMPTS, STEPS, eos=eos).tokens == want
            for s, prompt in enumerate(PROMPTS):
                assert method.kv.positions(s, 0) == list(range(len(prompt) + len(want[s]) - 1))


@pytest.mark.parametrize("temperature", [1.0, 0.4])
def test_A7_coupled_sampling_is_the_full_models_sample(temperature):
    pick = Sampler(Noise(17), temperature)
    want = generate(FixedDepth(MODEL), PROMPTS, 12, pick=pick).tokens
    accepted = 0
    for exit_layer, drafts in ((1, 2), (3, 1), (3, 5)):
        method = SelfSpeculation(MODEL, exit_layer, drafts)
        assert generate(method, PROMPTS, 12, pick=pick).tokens == want
        accepted += method.accepted
    assert accepted > 0


def test_A7_coupled_acceptance_has_the_gumbel_couplings_law():
    """P(both samples are i) = 1 / sum_j max(p_j / p_i, q_j / q_i) for shared Gumbel noise."""
    p, q = np.array([0.5, 0.1, 0.15, 0.25]), np.array([0.3, 0.35, 0.15, 0.2])
    want = sum(1 / sum(max(p[j] / p[i], q[j] / q[i]) for j in range(4)) for i in range(4))
    pick, n = Sampler(Noise(2)), 4000
    log_p, log_q = torch.from_numpy(np.log(p)), torch.from_numpy(np.log(q))
    equal = sum(pick(log_p, 0, i) == pick(log_q, 0, i) for i in range(n))
    assert abs(equal / n - want) < 4 * (want * (1 - want) / n) ** 0.5
    independent = float((p * q).sum())
    assert equal / n > independent + 0.2  # coupled, not independent


class Enumerated:
    """A random source that takes every path: `outcomes(f)` yields (probability, f(source)) for each."""

    def __init__(self):
        self.path, self.at, self.weight = [], 0, 1.0

    def _take(self, options):
        options = [(x, w) for x, w in options if w > 0]
        if self.at == len(self.path):
            self.path.append([0, len(options)])
        value, w = options[self.path[self.at][0]]
        self.at, self.weight = self.at + 1, self.weight * w
        return value

    def bernoulli(self, probability, purpose, sequence, position):
        return self._take([(True, probability), (False, 1 - probability)])

    def categorical(self, p, purpose, sequence, position):
        return self._take(list(enumerate(p.tolist())))

    def outcomes(self, f):
        while True:
            self.at, self.weight = 0, 1.0
            result = f(self)
            yield self.weight, result
            while self.path and self.path[-1][0] + 1 == self.path[-1][1]:
                self.path.pop()
            if not self.path:
                return
            self.path[-1][0] += 1


def law_of(f):
    law = {}
    for weight, tokens in Enumerated().outcomes(f):
        law[tuple(tokens)] = law.get(tuple(tokens), 0.0) + weight
    return law


def total_variation(a, b):
    return sum(abs(a.get(x, 0.0) - b.get(x, 0.0)) for x in a.keys() | b.keys()) / 2


def test_A7_residual_by_hand():
    p, q = (torch.tensor(x, dtype=torch.float64) for x in ([0.5, 0.3, 0.2], [0.2, 0.6, 0.2]))
    assert residual(p, q).tolist() == pytest.approx([1.0, 0.0, 0.0])
    assert residual(p, torch.tensor([0.4, 0.2, 0.4], dtype=torch.float64)).tolist() == pytest.approx([0.5, 0.5, 0.0])
    assert residual(p, p).tolist() == p.tolist()


def tables(vocab, length, seed, zeros=False):
    """Laws p, q of the next token after every prefix shorter than `length`."""
    rng = np.random.default_rng(seed)

    def one():
        x = rng.dirichlet(np.ones(vocab))
        if zeros:  # some tokens impossible, under one law or both
            x = np.where(rng.random(vocab) < 0.3, 0, x)
            x[rng.integers(vocab)] += 0.1
        return torch.from_numpy(x / x.sum())

    prefixes = [t for n in range(length) for t in itertools.product(range(vocab), repeat=n)]
    return {t: one() for t in prefixes}, {t: one() for t in prefixes}


def speculative_text(p, q, length, drafts, source):
    """Rounds over tables; drafts are cut where the text has to end."""
    out = ()
    while len(out) < length:
        guess = out
        for _ in range(min(drafts, length - len(out) - 1)):
            guess += (source.categorical(q[guess], "draft", 0, len(guess)),)
        k = len(guess) - len(out)
        laws = torch.stack([p[guess[: len(out) + j]] for j in range(k + 1)])
        drafted = torch.stack([q[guess[: len(out) + j]] for j in range(k)]) if k else laws[:0]
        out += tuple(accept_by_ratio(guess[len(out) :], laws, drafted, source, 0, len(out)))
    return out


def target_law(p, vocab, length):
    law = {}
    for t in itertools.product(range(vocab), repeat=length):
        law[t] = float(np.prod([p[t[:i]][t[i]] for i in range(length)]))
    return law


TABLES = [(5, 2, 1, False), (3, 3, 2, False), (3, 3, 2, True), (2, 4, 3, True), (4, 2, 4, False)]


@pytest.mark.parametrize("vocab, length, drafts, zeros", TABLES)
def test_A7_ratio_law_equals_the_target_law(vocab, length, drafts, zeros):
    p, q = tables(vocab, length, seed=vocab + 10 * length, zeros=zeros)
    got = law_of(lambda source: speculative_text(p, q, length, drafts, source))
    want = target_law(p, vocab, length)
    assert sum(got.values()) == pytest.approx(1, abs=1e-12)
    assert total_variation(got, want) < 1e-12
    assert total_variation(want, target_law(q, vocab, length)) > 0.1  # drafts alone would be another law


def test_A7_ratio_law_of_a_whole_model():
    """Every path of generate() itself on a vocabulary of 3: 2 drafts, 3 tokens, temperature 0.8."""
    model = tiny(layers=2, seed=3, vocab=3, hidden=8, heads=2, kv_heads=1, head_dim=4, ffn=8)
    prompt, dense, temperature = [2, 0], Dense(model), 0.8

    def run(source):
        return generate(SelfSpeculation(model, 1, 2, ratio=Ratio(source, temperature)), [prompt], 3).tokens[0]

    def step(prefix, depth):
        z = dense.logits(prompt + list(prefix), depth=depth)[-1] / temperature
        return torch.from_numpy(np.exp(z) / np.exp(z).sum())

    prefixes = [t for n in range(3) for t in itertools.product(range(3), repeat=n)]
    p, q = ({t: step(t, depth) for t in prefixes} for depth in (2, 1))
    got = law_of(run)
    assert total_variation(got, target_law(p, 3, 3)) < 1e-12
    assert total_variation(target_law(q, 3, 3), target_law(p, 3, 3)) > 0.05


def test_A7_ratio_sampling_by_chi_square():
    vocab, length, n = 4, 2, 5000
    p, q = tables(vocab, length, seed=5)
    want = target_law(p, vocab, length)
    counts = dict.fromkeys(want, 0)
    for seed in range(n):
        counts[speculative_text(p, q, length, 1, Noise(seed))] += 1
    cells = [(counts[t], want[t] * n) for t in want]
    assert min(e for _, e in cells) > 5
    # The 99.99 % quantile of chi-square with 15 degrees of freedom is 44.3.
    assert sum((o - e) ** 2 / e for o, e in cells) < 44.3


def test_A7_ratio_on_a_model_follows_its_noise():
    model = agreeing(seed=2)
    one = generate(SelfSpeculation(model, 2, 3, ratio=Ratio(Noise(4), 0.7)), PROMPTS, 12)
    again = generate(SelfSpeculation(model, 2, 3, ratio=Ratio(Noise(4), 0.7)), PROMPTS, 12, chunk=1)
    other = generate(SelfSpeculation(model, 2, 3, ratio=Ratio(Noise(5), 0.7)), PROMPTS, 12)
    assert one.tokens == again.tokens != other.tokens
    cold = generate(SelfSpeculation(model, 2, 3, ratio=Ratio(Noise(4), 1e-4)), PROMPTS, 12)
    assert cold.tokens == [Dense(model).greedy(p, 12) for p in PROMPTS]


def test_bad_settings_are_refused():
    with pytest.raises(UserError, match="^exit_layer: must be 1..4 layers, but got 5"):
        SelfSpeculation(MODEL, 5, 2)
    with pytest.raises(UserError, match="^drafts: must be at least 1, but got 0"):
        SelfSpeculation(MODEL, 2, 0)
    for settings in (Sampler, Ratio):
        with pytest.raises(UserError, match="^temperature: must be above 0, but got 0"):
            settings(Noise(0), 0.0)
