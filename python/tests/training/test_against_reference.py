# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The torch decoders against the float64 reference, which runs rows one after the other over an explicit KV store."""

import dataclasses

import pytest

torch = pytest.importorskip("torch")

from ee.models import Decoder, ModelConfig  # noqa: E402
from ee.models.routed import threshold  # noqa: E402
from ee.reference.calm import Calm  # noqa: E402
from ee.reference.generate import teacher_forced  # noqa: E402
from ee.reference.looped import Loop, Looped, Slots  # noqa: E402
from ee.reference.model import Config, Model  # noqa: E402
from ee.reference.mor import MoR, Routing  # noqa: E402
from ee.reference.trace import DepthTrace  # noqa: E402

TINY = ModelConfig(vocab=61, hidden=32, heads=4, kv_heads=2, head_dim=8, ffn=48, block=2, rope_theta=1000.0)
IDS = torch.randint(0, TINY.vocab, (2, 11), generator=torch.Generator().manual_seed(1))


def make(**changes) -> tuple[Decoder, Model]:
    """A random decoder, float32, and the reference on the same weights."""
    torch.manual_seed(0)
    model = Decoder(dataclasses.replace(TINY, **changes)).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(1 + 0.2 * torch.randn_like(p) if p.ndim == 1 and p.shape[0] > 1 else torch.randn_like(p) * 0.3)
    c = model.config
    config = Config(c.vocab, c.hidden, c.heads, c.kv_heads, c.head_dim, c.ffn, tuple(c.layout), c.rope_theta, c.eps, True, c.lora_scale)
    return model, Model(config, {n: p.detach().double() for n, p in model.named_parameters()})


def scripted(depths: torch.Tensor, unit: int = 1) -> DepthTrace:
    return DepthTrace({(b, t): int(depths[b, t]) // unit for b in range(2) for t in range(11)})


def close(got: torch.Tensor, want: list[torch.Tensor]) -> None:
    expected = torch.stack(want)
    assert (got.double() - expected).abs().max() < 1e-4 * expected.abs().max()


@pytest.mark.parametrize("fill", ["exact", "propagate"])
def test_exits(fill):
    model, oracle = make(block=5, exits=(1, 3), kv_fill=fill)
    depths = torch.tensor([1, 3, 5])[torch.randint(0, 3, (2, 11), generator=torch.Generator().manual_seed(3))]
    depths[:, 0] = 5  # the reference never lets a text's first token leave: it was given
    with torch.no_grad():
        state, _ = model.adaptive(IDS, lambda d, h: depths == d)
        got = model.exit_logits(state)
    close(got, teacher_forced(Calm(oracle, (1, 3), 0.0, fill=fill, trace=scripted(depths)), IDS.tolist(), prompt=1))


@pytest.mark.parametrize("fill", ["exact", "propagate", "skip"])
def test_loops_with_a_norm_and_low_rank_terms(fill):
    model, oracle = make(recursions=3, exits=(2, 4), loop_norm=True, lora_rank=2, kv_fill=fill)
    depths = torch.tensor([2, 4, 6])[torch.randint(0, 3, (2, 11), generator=torch.Generator().manual_seed(3))]
    with torch.no_grad():
        state, _ = model.adaptive(IDS, lambda d, h: depths == d)
        got = model.exit_logits(state)
    method = Looped(oracle, Loop(2, 3, norm_each_loop=True), slots=Slots(fill=fill), trace=scripted(depths, 2))
    close(got, teacher_forced(method, IDS.tolist()))


def test_routed_recursions():
    model, oracle = make(prelude=1, recursions=3, coda=1, router=True, capacities=(1.0, 0.6, 0.3), kv_fill="skip", alpha=0.7)
    thetas = (-0.5, 0.1, 0.2)
    with torch.no_grad():
        result = threshold(model, IDS, thetas)
    method = MoR(oracle, Routing(3, thetas=thetas, alpha=0.7), ends=1)
    close(model.head(result.state).detach(), teacher_forced(method, IDS.tolist()))
    assert [method.trace.depths(b) for b in range(2)] == result.depths.tolist()
    assert len(set(result.depths.flatten().tolist())) > 2
