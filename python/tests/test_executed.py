# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Executed policies: tested like a trace's where both say the same, and the promise where they do not."""

import math
import tomllib
from dataclasses import fields, replace

import numpy as np
import pytest

from ee.calibrate.__main__ import main
from ee.calibrate.executed import Executed
from ee.calibrate.ltt import Target, learn_then_test, policies, unit_risks
from ee.calibrate.outcome import outcome, token_values
from ee.errors import UserError, run_main

from .test_calibrate import hand_trace, synthetic

EPSILON = 0.1


def read_off(trace, path) -> Executed:
    """What running `path` would give if the trace told the truth."""
    values = np.stack([token_values(trace, t) for t in path])
    made = [outcome(trace, t) for t in path]
    return Executed(
        trace.names, trace.rule, path, np.array([o.cost for o in made]), float(trace.cost[-1]), np.array([o.mean_depth for o in made]),
        values[..., 0] > 0.5, values[..., 2].astype(np.float32), trace.document,
    )  # fmt: skip


@pytest.mark.parametrize("target", [Target(0.1), Target(0.1, unit="token"), Target(0.05, risk="loss", p_value="betting")])
def test_the_walk_is_that_of_a_trace(target):
    fit, test = synthetic(400, 3).split((0.4, 0.6), 1)
    path = policies(fit, target)
    run = read_off(test, path)
    for got, want in zip(run.risks(target), unit_risks(test, path, target.risk, target.bound, target.unit), strict=True):
        assert np.allclose(got, want, atol=1e-6)
    passed = run.passed(target, np.ones(len(test.document), bool), seed=4)
    chosen = learn_then_test(fit, test, target, seed=4)
    assert passed and np.array_equal(path[passed - 1], chosen)


def test_tokens_left_out_do_not_count():
    run = read_off(synthetic(60, 5), np.array([[3.0, 3.0], [0.0, 0.0]]))
    keep = run.document < 30
    risks, ids = run.risks(Target(0.1), keep)
    by_hand = [[1 - row[run.document == d].mean() for d in range(30)] for row in run.agrees]
    assert ids.tolist() == list(range(30)) and np.allclose(risks, by_hand)


def test_F_the_promise_is_about_what_ran():
    """Policies that do worse when run than their trace says: promises made from the trace break, from the run they do not."""
    rng, target = np.random.default_rng(0), Target(0.1, EPSILON, p_value="betting")
    population = 400
    said = np.linspace(0.02, 0.2, 19)  # share of wrong tokens by the trace
    broken = {"trace": 0, "run": 0}
    luck = rng.beta(1, 9, population)
    wrong = {"trace": np.outer(said / luck.mean(), luck), "run": np.outer((said + 0.04) / luck.mean(), luck)}
    truth = {name: w.clip(0, 1).mean(1) for name, w in wrong.items()}
    for trial in range(400):
        drawn = rng.integers(0, population, 300)
        for name, w in wrong.items():
            agrees = rng.random((19, 300 * 20)) >= np.repeat(w[:, drawn].clip(0, 1), 20, axis=1)
            document = np.repeat(np.arange(300), 20)
            run = Executed(("e2",), "exit", np.zeros((19, 1)), np.ones(19), 2.0, np.ones(19), agrees, np.zeros(agrees.shape, np.float32), document)
            passed = run.passed(target, np.ones(len(document), bool), trial)
            broken[name] += bool(passed) and truth["run"][passed - 1] > target.delta
    assert broken["run"] / 400 <= EPSILON + 3 * math.sqrt(EPSILON * (1 - EPSILON) / 400) and broken["trace"] / 400 > 0.5


def test_file_round_trip_and_refusals(tmp_path):
    run = read_off(hand_trace(), np.array([[2.0, 3.0], [1.0, 1.0]]))
    run.save(tmp_path / "run.npz")
    again = Executed.load(tmp_path / "run.npz")
    assert all(np.array_equal(getattr(run, f.name), getattr(again, f.name)) for f in fields(Executed))
    for change, message in (
        ({"cost": np.ones(3)}, r"cost is \[3\], must be \[2\]"),
        ({"excess": np.full((2, 4), np.nan)}, "excess has values that are not numbers"),
        ({"agrees": np.ones((2, 4))}, "agrees must have 2 dimensions and hold truth values"),
        ({"document": np.ones((4, 1), int)}, "document must have 1 dimensions"),
        ({"rule": "stop"}, "rule 'stop' is not one of exit, route"),
        ({"thresholds": np.zeros((0, 2)), "cost": np.ones(0), "layers": np.ones(0), "agrees": np.ones((0, 4), bool), "excess": np.ones((0, 4))}, "0 policies"),
    ):
        with pytest.raises(UserError, match=message):
            replace(run, **change)
    np.savez(tmp_path / "short.npz", thresholds=np.zeros((1, 1)))
    with pytest.raises(UserError, match="short.npz: has no array names"):
        Executed.load(tmp_path / "short.npz")


def test_command(tmp_path, capsys):
    fit, test = synthetic(900, 13).split((0.3, 0.7), 1)
    run = read_off(test, policies(fit, Target(0.15)))
    run.save(tmp_path / "run.npz")
    out = tmp_path / "policy.toml"
    assert run_main(main, [str(tmp_path / "run.npz"), "--agreement", "0.85", "--resplits", "20", "-o", str(out)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("Learn-then-Test (hb, 504 documents): agreement >= 0.85 with probability 0.95, by document\n")
    assert "run on 126 other documents" in printed and "20 resplits: " in printed and "read off a trace" not in printed
    exits = tomllib.loads(out.read_text())["exits"]
    chosen = [i for i, t in enumerate(run.thresholds) if all(np.float32(t[p]) == np.float32(exits[n].get("threshold", np.inf)) for p, n in enumerate(run.names))]
    assert chosen and f"cost {run.cost[chosen[0]]:.3f} of 7.000" in printed
    assert run_main(main, [str(tmp_path / "run.npz"), "--agreement", "0.999"]) == 0
    assert "only full depth keeps it" in capsys.readouterr().out
    assert run_main(main, [str(tmp_path / "run.npz"), "--method", "sweep"]) == 1
    assert capsys.readouterr().err.startswith("error: --method ltt without --shared is what executed policies are for")


@pytest.mark.parametrize("exact", [True, False])
def test_a_trace_says_what_its_promise_is_about(exact, tmp_path, capsys):
    replace(synthetic(600, 13), exact=exact).save(tmp_path / "t.npz")
    assert run_main(main, [str(tmp_path / "t.npz"), "--agreement", "0.85", "-o", str(tmp_path / "p.toml")]) == 0
    assert ("read off a trace" in capsys.readouterr().out) != exact
    assert ("# read off a trace" in (tmp_path / "p.toml").read_text()) != exact
