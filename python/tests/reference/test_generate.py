# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The common loop: greedy and sampled text, chunked prompts, end tokens, tokens taken back; and the random source."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from ee.errors import UserError  # noqa: E402
from ee.reference.generate import Emitted, FixedDepth, Rows, generate, teacher_forced  # noqa: E402
from ee.reference.noise import Noise, Sampler, argmax, greedy, probabilities  # noqa: E402

from .dense import Dense, text, tiny  # noqa: E402

PROMPTS = [text(7, 1), text(1, 2), text(4, 3)]


def test_greedy_equals_dense_in_a_batch_and_in_chunks():
    model = tiny(layers=3)
    want = [Dense(model).greedy(p, 12) for p in PROMPTS]
    for chunk in (None, 1, 2, 7):
        got = generate(FixedDepth(model), PROMPTS, 12, chunk=chunk)
        assert got.tokens == want and got.calls == 12
    logits = Dense(model).logits(PROMPTS[0] + want[0])[6:-1]
    assert np.abs(got.logits[0].numpy() - logits).max() < 1e-11


def test_stops_at_an_end_token():
    model = tiny(layers=3)
    free = [Dense(model).greedy(p, 12) for p in PROMPTS]
    eos = {free[0][4]}
    want = [t[: next((i for i, x in enumerate(t) if x in eos), 11) + 1] for t in free]
    assert min(map(len, want)) < 12
    assert generate(FixedDepth(model), PROMPTS, 12, eos=eos).tokens == want


def test_rows_know_who_is_enabled_and_which_token_they_choose():
    rows = Rows(0, (5, 6, 7, 8), 2, 4)
    assert list(rows.positions) == [2, 3, 4, 5]
    assert rows.enabled == [False, False, True, True]
    assert [rows.step(p) for p in rows.positions] == [-1, 0, 1, 2]


class TakesBack(FixedDepth):
    """Takes the last two tokens back, once, when the text is `at` tokens long, and puts `token` there."""

    def __init__(self, model, at, token, at_the_end=False):
        super().__init__(model)
        self.at, self.token, self.at_the_end, self.done = at, token, at_the_end, False

    def _back(self, sequence, length):
        self.done = True
        self.truncate(sequence, length - 2)
        return Emitted([self.token], torch.zeros(1, 97, dtype=torch.float64), drop=2)

    def advance(self, batch, control):
        (rows,) = batch
        if not self.done and not self.at_the_end and rows.positions.stop == self.at:
            self.run(batch)
            return [self._back(rows.sequence, self.at - 0)]
        return super().advance(batch, control)

    def finish(self, sequence, text, control):
        return self._back(sequence, len(text)) if self.at_the_end and not self.done else None


@pytest.mark.parametrize("at_the_end", [False, True])
def test_tokens_can_be_taken_back(at_the_end):
    model, prompt = tiny(layers=2), text(3)
    first = Dense(model).greedy(prompt, 8)
    kept = first[: 6 if at_the_end else 2] + [96]
    want = kept + Dense(model).greedy(prompt + kept, 8 - len(kept))
    method = TakesBack(model, at=7, token=96, at_the_end=at_the_end)
    got = generate(method, [prompt], 8)
    assert got.tokens == [want] and len(got.logits[0]) == 8 and method.done
    assert method.trace.depths(0) == [2] * (3 + 8 - 1)


def test_sampling_is_a_function_of_the_seed_not_of_the_schedule():
    model = tiny(layers=2)
    alone = generate(FixedDepth(model), [PROMPTS[0]], 10, pick=Sampler(Noise(5))).tokens[0]
    batch = generate(FixedDepth(model), PROMPTS, 10, pick=Sampler(Noise(5)), chunk=2).tokens
    assert batch[0] == alone
    assert generate(FixedDepth(model), [PROMPTS[0]], 10, pick=Sampler(Noise(6))).tokens[0] != alone
    cold = generate(FixedDepth(model), [PROMPTS[0]], 10, pick=Sampler(Noise(5), temperature=1e-6)).tokens[0]
    assert cold == Dense(model).greedy(PROMPTS[0], 10)


def chi_square(counts, p):
    expected = np.asarray(p) * counts.sum()
    return float(((counts - expected) ** 2 / expected).sum())


def test_draws_follow_their_law():
    z = torch.tensor([0.3, -1.0, 1.2, 0.0, -0.4], dtype=torch.float64)
    p, noise, n = probabilities(z, 0.7), Noise(11), 4000
    assert np.allclose(p, np.exp(z.numpy() / 0.7) / np.exp(z.numpy() / 0.7).sum(), atol=1e-15)
    pick = Sampler(noise, 0.7)
    gumbel = np.bincount([pick(z, 0, i) for i in range(n)], minlength=5)
    inverse = np.bincount([noise.categorical(p, "x", 3, i) for i in range(n)], minlength=5)
    # The 99.99 % quantile of chi-square with 4 degrees of freedom is 23.5.
    assert chi_square(gumbel, p) < 23.5 and chi_square(inverse, p) < 23.5
    heads = sum(noise.bernoulli(0.3, "y", 0, i) for i in range(n))
    assert abs(heads - 0.3 * n) < 4 * (n * 0.21) ** 0.5
    assert not any(noise.bernoulli(0.0, "y", 0, i) for i in range(100)) and all(noise.bernoulli(1.0, "y", 0, i) for i in range(100))
    one_hot = torch.tensor([0.0, 0.0, 1.0, 0.0], dtype=torch.float64)
    assert {noise.categorical(one_hot, "x", 0, i) for i in range(200)} == {2}
    uniforms = {float(noise.uniform(*key)[0]) for key in (("a", 0, 0), ("b", 0, 0), ("a", 1, 0), ("a", 0, 1))}
    assert len(uniforms) == 4


def test_ties_go_to_the_lowest_token():
    z = torch.tensor([0.0, 2.0, 1.0, 2.0], dtype=torch.float64)
    assert argmax(z) == greedy(z, 0, 0) == 1


def test_bad_calls_are_refused():
    model = tiny(layers=2)
    for prompts, steps in (([[]], 3), ([[1]], 0)):
        with pytest.raises(UserError, match="^prompts: "):
            generate(FixedDepth(model), prompts, steps)
    with pytest.raises(UserError, match="^chunk: must be at least 1 row, but got 0"):
        teacher_forced(FixedDepth(model), [[1, 2]], chunk=0)
    with pytest.raises(UserError, match=r"^depth: must be 1..2 layers, but got 3"):
        FixedDepth(model, 3)
