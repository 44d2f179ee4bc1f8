# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Executed policies: what ran is what the thresholds say, and where a trace would have said something else."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from ee import UserError  # noqa: E402
from ee.calibrate.ltt import Target, policies as candidates  # noqa: E402
from ee.calibrate.outcome import outcome  # noqa: E402
from ee.train import execute, policies, traces  # noqa: E402

from .test_measure import make, text  # noqa: E402

ROUTED = {"block": 2, "recursions": 3, "prelude": 1, "coda": 1, "exits": (), "router": True, "capacities": (1.0, 0.6, 0.3), "kv_fill": "skip"}
TARGET = Target(0.1)


def with_probes(**changes):
    model = make(**changes)
    with torch.no_grad():
        for exit_point in model.exits.values():
            exit_point["probe"].weight.normal_(generator=torch.Generator().manual_seed(1))
    return model


def test_with_exact_keys_and_values_the_trace_says_what_runs():
    model, sample = with_probes(kv_fill="exact"), text(rows=30)
    fit, here = traces.trace(model, text(rows=40, seed=9)), traces.trace(model, sample)
    got = execute.execute(model, sample, fit, TARGET, 6, say=lambda line: None)
    assert here.exact and 2 <= len(got.thresholds) <= 6
    for t, agrees, excess, layers, cost in zip(got.thresholds, got.agrees, got.excess, got.layers, got.cost):
        read = outcome(here, t)
        assert agrees.mean() == pytest.approx(read.agreement, abs=2e-3) and excess.mean() == pytest.approx(read.excess, abs=2e-3)
        assert layers == pytest.approx(read.mean_depth, abs=2e-3) and cost == pytest.approx(read.cost, abs=2e-3)


@pytest.mark.parametrize("changes", [ROUTED, {"kv_fill": "propagate"}], ids=["routers", "propagate"])
def test_with_others_it_does_not(changes):
    model, sample = with_probes(**changes), text(rows=30)
    fit, here = traces.trace(model, text(rows=40, seed=9)), traces.trace(model, sample)
    got = execute.execute(model, sample, fit, TARGET, 5, say=lambda line: None)
    assert not here.exact and np.array_equal(got.document, here.document)
    gaps = [abs(agrees.mean() - outcome(here, t).agreement) for t, agrees in zip(got.thresholds, got.agrees)]
    assert max(gaps) > 0.01
    # What ran is the policy itself, by the constants of its own comparison.
    for t, layers in zip(got.thresholds, got.layers):
        if model.config.router:
            ran = policies.run_routed(model, sample, [float("-inf"), *(-t).tolist()])
            passes = (ran.scores[:, 1] > -t[0]).mean()
            assert (ran.depths >= 6).mean() == pytest.approx(passes, abs=1e-6)
        else:
            ran = policies.run(model, sample, policies.probe(dict(zip((2, 4), t.tolist()))))
        assert layers == pytest.approx(ran.depths.mean())


def test_candidates_are_spread_over_cost_in_testing_order():
    fit = traces.trace(with_probes(kv_fill="propagate"), text(rows=40))
    every, some = candidates(fit, TARGET), execute.path(fit, TARGET, 4)
    where = [next(i for i, t in enumerate(every) if np.array_equal(t, s)) for s in some]
    costs = [outcome(fit, t).cost for t in some]
    assert len(some) <= 4 and where == sorted(set(where)) and where[0] == 0 and where[-1] == len(every) - 1
    assert costs == sorted(costs, reverse=True)


def test_a_trace_of_another_model_is_refused():
    fit = traces.trace(with_probes(), text(rows=10))
    with pytest.raises(UserError, match="decides at e2, e4 by rule exit; the model at r1, r2"):
        execute.execute(make(**ROUTED), text(), fit, TARGET, 3)
