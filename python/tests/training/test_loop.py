# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The training loop: resuming changes nothing, a budget ends annealed, every recipe's objective learns."""

import dataclasses
import itertools

import pytest

torch = pytest.importorskip("torch")

from ee import UserError  # noqa: E402
from ee.models import ModelConfig  # noqa: E402
from ee.train.loop import Run  # noqa: E402
from ee.train.objectives import OBJECTIVES, dropped_layers  # noqa: E402
from ee.train.optimiser import Optimiser  # noqa: E402
from ee.train.recipes import RECIPES  # noqa: E402

SHAPE = {"vocab": 32, "hidden": 32, "heads": 2, "kv_heads": 1, "head_dim": 16, "ffn": 64}


def small(name: str):
    """A recipe with its own structure on a tiny width."""
    recipe = RECIPES[name]
    return dataclasses.replace(recipe, config=dataclasses.replace(recipe.config, **SHAPE), steps=40, batch=8, length=24, warmup=4)


def batches(recipe):
    """Counting modulo the vocabulary from a random start: learned in a few steps."""

    def make(step):
        start = torch.randint(0, 32, (recipe.batch, 1), generator=torch.Generator().manual_seed(step))
        return (start + torch.arange(recipe.length + 1)) % 32

    return make


def run(recipe, folder, minutes=5.0, steps=None):
    """On a clock that stands still unless it is asked: a second each time, so results do not depend on the machine."""
    training = Run(recipe, folder, batches(recipe), lambda m: {"full": 0.0}, minutes, say=lambda line: None, clock=itertools.count().__next__)
    if steps is not None:  # stop in the middle, as a kill would, at a checkpoint
        original = training.progress
        training.progress = lambda: 1.0 if training.steps_done >= steps else original()
    training.run(log_every=10)
    return training


@pytest.mark.parametrize("name", ["dense", "layerskip", "mor", "looped"])
def test_each_objective_learns(name, tmp_path):
    training = run(small(name), tmp_path)
    assert training.steps_done == 40
    assert training.rows[-1]["full"] < 0.5 * training.rows[0]["full"]
    assert (tmp_path / "model.safetensors").exists() and (tmp_path / "curve.csv").read_text().startswith("step,tokens,seconds")


def test_resumed_run_equals_an_uninterrupted_one(tmp_path):
    whole = run(small("mor"), tmp_path / "whole")
    run(small("mor"), tmp_path / "parts", steps=17)
    parts = run(small("mor"), tmp_path / "parts")
    assert parts.steps_done == 40
    for (name, a), b in zip(whole.model.state_dict().items(), parts.model.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_a_finished_run_is_written_out_from_its_state_alone(tmp_path):
    run(small("dense"), tmp_path / "whole")
    (tmp_path / "state").mkdir()
    (tmp_path / "state/state.pt").write_bytes((tmp_path / "whole/state.pt").read_bytes())
    assert run(small("dense"), tmp_path / "state").steps_done == 40
    for name in ("curve.csv", "ee_config.json", "model.safetensors"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "state" / name).read_bytes(), name


def test_another_recipe_does_not_resume(tmp_path):
    run(small("mor"), tmp_path, steps=2)
    with pytest.raises(UserError, match="another recipe"):
        run(small("dense"), tmp_path)
    (tmp_path / "state.pt").write_bytes(b"no state")
    with pytest.raises(UserError, match="state.pt"):
        run(small("mor"), tmp_path)


def test_a_budget_ends_annealed(tmp_path):
    recipe = dataclasses.replace(small("dense"), steps=1_000_000)
    training = run(recipe, tmp_path, minutes=2)
    # A second of 120 per step, so the last one begins with a hundred-and-twentieth of the run left.
    assert training.steps_done == 120 and training.spent == 120
    left = recipe.floor + (1 - recipe.floor) * 2 / 120
    rates = [g["lr"] for part in training.optimiser.parts for g in part.param_groups]
    assert max(rates) == pytest.approx(left * max(recipe.adam_rate, recipe.muon_rate))


def test_learning_rate_by_hand():
    recipe = dataclasses.replace(small("dense"), warmup=10, floor=0.1)
    optimiser = Optimiser(torch.nn.Linear(2, 2), recipe)
    assert [optimiser.rate(s, p) for s, p in ((0, 0.0), (4, 0.0), (9, 0.1), (50, 0.5))] == [0.1, 0.5, 1.0, 1.0]
    assert optimiser.rate(80, 0.75) == pytest.approx(0.55) and optimiser.rate(99, 1.0) == pytest.approx(0.1)


def test_layer_dropout_rates():
    generator = torch.Generator().manual_seed(0)
    counts = torch.zeros(6)
    for step in range(4000):
        for layer in dropped_layers(step, 6, 0.15, generator):
            counts[layer] += 1
    want = torch.tensor([0.15 * (2 ** (l / 5) - 1) for l in range(6)])
    assert counts[0] == 0 and (counts / 4000 - want).abs().max() < 0.02


def test_divergence_is_said_in_one_line(tmp_path):
    recipe = small("dense")
    training = Run(recipe, tmp_path, batches(recipe), lambda m: {}, 5.0, say=lambda line: None)
    with torch.no_grad():
        training.model.model.embed_tokens.weight.fill_(float("inf"))
    with pytest.raises(UserError, match="at step 0"):
        training.run()


def test_recipes_name_objectives_and_fit_their_shapes():
    for name, recipe in RECIPES.items():
        assert recipe.objective in OBJECTIVES, name
        if recipe.objective == "looped":
            assert len(recipe.options.depth_odds) == len(recipe.config.exits) + 1, name
    with pytest.raises(UserError):
        ModelConfig(**SHAPE, block=0)
