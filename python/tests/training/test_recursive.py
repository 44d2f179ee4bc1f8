# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A Llama turned into a recursive model: full rank is the source, lower ranks are nearer the more they have, training helps."""

import pytest

torch = pytest.importorskip("torch")

from ee import UserError  # noqa: E402
from ee.checkpoint import LlamaConfig  # noqa: E402
from ee.models import Decoder, ModelConfig  # noqa: E402
from ee.train.loop import Run  # noqa: E402
from ee.train.recipes import Distilled  # noqa: E402
from ee.train.recursive import convert, distilled, truncate  # noqa: E402

SOURCE = LlamaConfig(6, 32, 4, 2, 8, 48, 61, 1000.0, 1e-5, 64, True)
IDS = torch.randint(0, 61, (2, 12), generator=torch.Generator().manual_seed(0))


def source() -> Decoder:
    torch.manual_seed(0)
    model = Decoder(ModelConfig(61, 32, 4, 2, 8, 48, block=6, rope_theta=1000.0)).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(1 + 0.2 * torch.randn_like(p) if p.ndim == 1 else 0.3 * torch.randn_like(p))
    return model


@torch.no_grad()
def distance(a: Decoder, b: Decoder) -> float:
    want = a(IDS)
    return float((want - b(IDS)).abs().max() / want.abs().max())


@pytest.mark.parametrize("pattern", ["cycle", "middle_cycle"])
@pytest.mark.parametrize("init", ["stepwise", "average", "lower", "upper"])
def test_full_rank_is_the_source(pattern, init):
    model = source()
    full = convert(model.state_dict(), SOURCE, 2, 48, pattern, init)
    assert full.config.layout == {"cycle": [0, 1, 2, 0, 1, 2], "middle_cycle": [0, 1, 2, 1, 2, 3]}[pattern]
    assert distance(model, full) < 1e-4
    without = convert(model.state_dict(), SOURCE, 2, 0, pattern, init)
    assert distance(model, without) > 0.1


def test_truncation_is_what_a_conversion_of_that_rank_gives():
    weights = source().state_dict()
    large, small = (convert(weights, SOURCE, 2, rank) for rank in (20, 6))
    assert distance(small, truncate(large, 6)) < 1e-4
    errors = [distance(source(), truncate(large, rank)) for rank in (20, 0)]
    assert errors[0] < errors[1]
    assert truncate(large, 0).lora is None


def test_uptraining_brings_the_model_nearer_to_its_teacher(tmp_path):
    teacher = source()
    model = convert(teacher.state_dict(), SOURCE, 2, 4)
    batches = lambda step: torch.randint(0, 61, (8, 17), generator=torch.Generator().manual_seed(step))  # noqa: E731
    recipe = Distilled(model.config, "recursive", "", batch=8, length=16, steps=60, warmup=5, adam_rate=3e-3)
    # Its targets are noise, so only the half of the loss that follows the teacher can be learned.
    run = Run(recipe, tmp_path, batches, lambda m: {}, 1e6, say=lambda line: None, build=lambda: model, objective=distilled(teacher))
    run.run(log_every=10)
    assert run.rows[-1]["distance"] < 0.85 * run.rows[0]["distance"]


def test_what_cannot_be_converted():
    weights = source().state_dict()
    with pytest.raises(UserError, match="pattern"):
        convert(weights, SOURCE, 2, 4, "sequence")
    with pytest.raises(UserError, match="biases"):
        convert(weights, LlamaConfig(6, 32, 4, 2, 8, 48, 61, 1000.0, 1e-5, 64, False), 2, 4)
