# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Early-exit classifiers against a dense bidirectional encoder and rules computed by hand."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from ee.errors import UserError  # noqa: E402
from ee.reference.classifier import Rule, classify  # noqa: E402
from ee.reference.model import Model  # noqa: E402
from ee.reference.trace import DepthTrace  # noqa: E402

from .dense import Dense, text, tiny  # noqa: E402

LAYERS, CLASSES = 6, 3
SEQUENCES = [text(4 + i % 5, i) for i in range(24)]


def classifier(exits=range(1, LAYERS + 1), seed=0, scale=0.25):
    model = tiny(layers=LAYERS, seed=seed)
    rng, weights = np.random.default_rng(seed + 50), dict(model.weights)
    for k in exits:
        weights[f"exits.{k}.classifier.weight"] = torch.from_numpy(rng.standard_normal((CLASSES, 64)) * scale)
        weights[f"exits.{k}.classifier.bias"] = torch.from_numpy(rng.standard_normal(CLASSES) * 0.1)
    return Model(model.config, weights)


def dense_logits(model, tokens, exits=range(1, LAYERS + 1)):
    """{k: logits [classes]}, bidirectional."""
    dense, everyone = Dense(model), np.ones((len(tokens), len(tokens)), bool)
    h, result = dense.embed(tokens), {}
    for k in range(1, LAYERS + 1):
        h = dense.block(k - 1, h, everyone)
        if k in exits:
            first = dense.norm(h[0], "model.norm.weight")
            result[k] = model.weights[f"exits.{k}.classifier.weight"].numpy() @ first + model.weights[f"exits.{k}.classifier.bias"].numpy()
    return result


def entropy(z):
    p = np.exp(z - z.max())
    p /= p.sum()
    return float(-(p * np.log(p)).sum())


def expected(logits, leaves):
    """Depth of the first exit where `leaves(list of logits so far)` holds, or the last one."""
    keys = sorted(logits)
    return next((k for i, k in enumerate(keys) if leaves([logits[j] for j in keys[: i + 1]])), keys[-1])


def patience(t):
    def leaves(seen):
        last = [int(z.argmax()) for z in seen][-t:]
        return len(last) == t and len(set(last)) == 1

    return leaves


RULES = {
    "entropy 0.6": (Rule("entropy", 0.6), lambda seen: entropy(seen[-1]) < 0.6),
    "entropy 0.9": (Rule("entropy", 0.9), lambda seen: entropy(seen[-1]) < 0.9),
    "normalised 0.5": (Rule("normalised", 0.5), lambda seen: entropy(seen[-1]) / math.log(CLASSES) < 0.5),
    "patience 2": (Rule("patience", 2), patience(2)),
    "patience 3": (Rule("patience", 3), patience(3)),
}


@pytest.mark.parametrize("name", RULES)
def test_rules_equal_dense(name):
    rule, leaves = RULES[name]
    model = classifier()
    tables = [dense_logits(model, tokens) for tokens in SEQUENCES]
    want = [expected(table, leaves) for table in tables]
    assert len(set(want)) >= 3  # the rule has something to decide
    logits, trace = classify(model, SEQUENCES, rule)
    assert [trace.depth[s, 0] for s in range(len(SEQUENCES))] == want
    for z, table, depth in zip(logits, tables, want):
        assert np.abs(z.numpy() - table[depth]).max() < 1e-11


def test_some_layers_may_have_no_exit():
    exits = (2, 5, 6)
    model = classifier(exits, seed=1)
    want = [expected(dense_logits(model, tokens, exits), patience(2)) for tokens in SEQUENCES]
    assert set(want) == {5, 6}
    _, trace = classify(model, SEQUENCES, Rule("patience", 2))
    assert [trace.depth[s, 0] for s in range(len(SEQUENCES))] == want
    assert all(set(scores) <= {2, 5} for scores in trace.scores.values())


def logits_with(predictions):
    return [torch.nn.functional.one_hot(torch.tensor(p), CLASSES).double() for p in predictions]


def test_patience_by_hand():
    def leaves_at(predictions, t):
        seen = logits_with(predictions)
        return next((i + 1 for i in range(len(seen)) if Rule("patience", t).check(seen[: i + 1])[2]), None)

    assert leaves_at([0, 0, 1, 1, 1], 1) == 1
    assert leaves_at([0, 0, 1, 1, 1], 2) == 2
    assert leaves_at([0, 0, 1, 1, 1], 3) == 5
    assert leaves_at([0, 1, 0, 1, 0], 2) is None
    assert leaves_at([2, 1, 1, 1, 1], 4) == 5
    assert Rule("patience", 3).check(logits_with([0, 2, 2]))[:2] == ("patience", 2.0)
    tie = [torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64), torch.tensor([2.0, 0.0, 2.0], dtype=torch.float64)]
    assert Rule("patience", 2).check(tie)[2]  # both predict class 0


def test_entropy_is_strict_and_in_logit_space():
    z = [torch.tensor([1.0, 0.0, -1.0], dtype=torch.float64)]
    h = entropy(z[0].numpy())
    name, score, _ = Rule("entropy", h).check(z)
    assert name == "entropy" and score == pytest.approx(math.log((math.log(3) - h) / h), abs=1e-12)
    assert Rule("entropy", h * (1 + 1e-9)).check(z)[2] and not Rule("entropy", h * (1 - 1e-9)).check(z)[2]
    exact = Rule("normalised", 0.25)
    assert exact.theta(CLASSES) == pytest.approx(math.log(3)) and Rule("entropy", 0.25 * math.log(3)).theta(3) == pytest.approx(math.log(3))
    assert not Rule("entropy", 0.0).check([torch.tensor([0.0, -math.inf, -math.inf], dtype=torch.float64)])[2]  # 0 < 0 is false
    assert Rule("entropy", 5.0).check(z)[2]  # S above ln C always leaves
    assert not Rule("entropy", 5.0).check([torch.tensor([math.nan, 0.0, 0.0], dtype=torch.float64)])[2]


def test_scripted_depths():
    model = classifier()
    depth = {(s, 0): 1 + s % LAYERS for s in range(len(SEQUENCES))}
    logits, trace = classify(model, SEQUENCES, Rule("entropy", 0.0), DepthTrace(follow=depth))
    assert trace.depth == depth
    for s, tokens in enumerate(SEQUENCES):
        assert np.abs(logits[s].numpy() - dense_logits(model, tokens)[1 + s % LAYERS]).max() < 1e-11


def test_bad_rules_are_refused():
    with pytest.raises(UserError, match="^rule: must be one of entropy, normalised, patience, but got 'best'"):
        Rule("best", 1)
    for kind, bound in (("entropy", -0.1), ("normalised", 1.5), ("patience", 0), ("patience", 1.5)):
        with pytest.raises(UserError, match="^bound: must be"):
            Rule(kind, bound)
    with pytest.raises(UserError, match="exits.6.classifier.weight"):
        classify(classifier(exits=(1, 2)), SEQUENCES[:1], Rule("patience", 1))
