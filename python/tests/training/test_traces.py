# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Traces of trained decoders: calibration's accounting equals running the policy, where K,V do not depend on it."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from ee import UserError  # noqa: E402
from ee.calibrate.outcome import outcome  # noqa: E402
from ee.train import policies, traces  # noqa: E402
from ee.train.cost import cost  # noqa: E402

from .test_measure import make, text  # noqa: E402


def test_a_policy_read_off_the_trace_is_the_policy_run():
    model, sample = make(kv_fill="exact"), text(rows=30)
    with torch.no_grad():
        for exit_point in model.exits.values():
            exit_point["probe"].weight.normal_()
    made = traces.trace(model, sample)
    thresholds = np.array([np.quantile(made.scores[:, 0], 0.6), np.quantile(made.scores[:, 1], 0.5)])
    ran = policies.run(model, sample, policies.probe({2: float(thresholds[0]), 4: float(thresholds[1])}))
    read = outcome(made, thresholds)
    assert read.mean_depth == pytest.approx(ran.depths.mean(), abs=1e-3)
    assert read.loss == pytest.approx(ran.losses.mean(), abs=1e-3)
    assert np.array_equal(made.document, ran.document)


def test_costs_of_a_trace_are_those_of_the_rows_run():
    model, sample = make(kv_fill="skip"), text(rows=12)
    made = traces.trace(model, sample, "margin")
    thresholds = np.array([np.quantile(made.scores[:, 0], 0.6), np.quantile(made.scores[:, 1], 0.5)])
    depths = np.where(made.scores[:, 0] >= thresholds[0], 2, np.where(made.scores[:, 1] >= thresholds[1], 4, 6))
    assert outcome(made, thresholds).cost == pytest.approx(cost(model.config, depths, checks_logits=True).weights, rel=1e-6)


def test_route_traces_hold_forced_depths():
    model = make(block=2, recursions=3, prelude=1, coda=1, exits=(), router=True, capacities=(1.0, 0.6, 0.3), kv_fill="skip")
    sample = text(rows=8)
    made = traces.trace(model, sample)
    assert made.rule == "route" and made.depths.tolist() == [4, 6, 8] and made.names == ("r1", "r2")
    twice = policies.run_routed(model, sample, forced=lambda shape: torch.full(shape, 2))
    assert np.allclose(made.loss[:, 1], twice.losses, atol=1e-6)
    # Nothing passes an infinite theta, everything passes minus infinity.
    assert np.isfinite(made.scores).all() and made.scores.shape == (len(made.document), 2)


def test_what_cannot_be_traced():
    with pytest.raises(UserError, match="no exits"):
        traces.trace(make(exits=()), text())
    with pytest.raises(UserError, match="--criterion"):
        traces.trace(make(), text(), "cosine")
