# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The eager ops of `ee.nn` against the rules row by row, their gradients, and `Recurse` against loops written out."""

import copy
import inspect

import numpy as np
import pytest

from ee.adaptive import OPS
from ee.errors import UserError

from . import adaptive_oracle

torch = pytest.importorskip("torch")
from ee import nn  # noqa: E402
from ee.nn import functional  # noqa: E402

INF, NAN = np.inf, np.nan
EDGE = [0.1, NAN, INF, -INF, 0.0999, 0.1001]


def random_inputs(name: str, rng: np.random.Generator, edge: bool) -> tuple[list, list]:
    """Arrays for one op with special values among the scores, and its attributes in order."""
    masks, score = rng.random((3, 6)) < 0.6, rng.normal(size=(3, 6)).astype(np.float32)
    if edge:
        masks[0], score[0], score[1] = True, EDGE, 0
    h, f = rng.normal(size=(2, 3, 6, 4)).astype(np.float32)
    f[~masks] = NAN
    return {
        "Exit": ([h, f * 0 + h[::-1], score, h, masks], [0.1, "e", "probe"]),
        "Keep": ([masks, h, f], []),
        "RouteThreshold": ([score, masks], [0.1]),
        "RouteTopK": ([score, masks], [0.4]),
        "RouteTokenChoice": ([np.stack([score, score[::-1], np.zeros_like(score)], -1), np.array(1)], []),
        "GateWeighted": ([masks, np.where(masks, np.nan_to_num(score, posinf=3, neginf=-3), NAN).astype(np.float32), h, f], [0.1]),
        "GateAdditive": ([masks, h, f], []),
        "ActiveMask": ([rng.random((3, 1, 5, 6)) < 0.7, masks], []),
        "HaltThreshold": ([score, masks], [0.1]),
        "HaltCdf": ([score, -np.abs(score[::-1]) * 0.1, masks], [0.3]),
        "HaltDelta": ([h, h + rng.normal(size=h.shape).astype(np.float32), masks], [1.0]),
        "HaltPatience": ([rng.random((3, 6)) < 0.5, rng.integers(0, 3, (3, 6)), masks], [2]),
    }[name]


@pytest.mark.parametrize("name", OPS)
def test_eager_ops_follow_the_rules(name):
    rng = np.random.default_rng(3)
    for edge in (True, False, False):
        inputs, attributes = random_inputs(name, rng, edge)
        names = [a.name for a in OPS[name].attributes]
        got = functional.apply(name, *[torch.from_numpy(np.ascontiguousarray(x)) for x in inputs], *attributes)
        with np.errstate(all="ignore"):
            want = adaptive_oracle.RULES[name](*inputs, **dict(zip(names, attributes, strict=True)))
        for g, w in zip(got if isinstance(got, tuple) else (got,), want if isinstance(want, tuple) else (want,), strict=True):
            np.testing.assert_allclose(g.numpy(), w, rtol=1e-6, atol=1e-6)
    parameters = list(inspect.signature(functional.EAGER[name]).parameters)
    assert parameters == [v.name for v in OPS[name].inputs] + names


@pytest.mark.parametrize("name", OPS)
def test_custom_operators_describe_their_outputs(name):
    """The shapes and types that tracing sees are those of the eager op."""
    inputs, attributes = random_inputs(name, np.random.default_rng(4), False)
    tensors = [torch.from_numpy(np.ascontiguousarray(x)) for x in inputs]
    torch.library.opcheck(functional.OPERATORS[name]._opoverload, (*tensors, *attributes), test_utils=("test_schema", "test_faketensor"))


def test_gradients_of_updates():
    """Gradients by hand; a row that is not active passes its own gradient on and gives none to the block, NaN or not."""
    torch.manual_seed(0)
    active, weight = torch.tensor([True, False, True]), torch.randn(3, 4)
    gate, h, f = torch.randn(3), torch.randn(3, 4), torch.randn(3, 4)
    gate[1], f[1] = NAN, NAN
    row, zero = active[:, None], torch.zeros(3, 4)
    for x in (gate, h, f):
        x.requires_grad_()
    (nn.GateWeighted(0.1)(active, gate, h, f) * weight).sum().backward()
    scaled = (0.1 * gate.detach())[:, None]
    assert torch.equal(h.grad, weight)
    torch.testing.assert_close(f.grad, torch.where(row, scaled * weight, zero))
    torch.testing.assert_close(gate.grad, torch.where(active, 0.1 * (weight * f.detach()).sum(-1), 0.0))
    for module, h_grad in ((nn.GateAdditive(), weight), (nn.Keep(), torch.where(row, zero, weight))):
        h.grad = f.grad = None
        (module(active, h, f) * weight).sum().backward()
        assert torch.equal(h.grad, h_grad) and torch.equal(f.grad, torch.where(row, weight, zero))


def test_log_survival_has_the_gradient_of_the_pdf():
    """d/dz of log(1 - sigmoid(z)) is -sigmoid(z); Ouro trains its gates through it."""
    z = torch.tensor([-2.0, 0.0, 40.0], dtype=torch.float64, requires_grad=True)
    _, s = nn.HaltCdf(INF)(z, torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.bool))
    s.sum().backward()
    torch.testing.assert_close(z.grad, -torch.sigmoid(z.detach()))


def test_routers():
    torch.manual_seed(1)
    x = torch.randn(2, 3, 8)
    one, many, mlp = nn.RouterLinear(8, temperature=2.0), nn.RouterLinear(8, 3), nn.RouterMlp(8, 3)
    torch.testing.assert_close(one(x), torch.einsum("bsd,d->bs", x, one.weight[0]) / 2)
    assert many(x).shape == mlp(x).shape == (2, 3, 3) and not [n for n, _ in mlp.named_parameters() if "bias" in n]
    hidden = x @ mlp.up.weight.T
    gelu = hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5))
    torch.testing.assert_close(mlp(x), gelu @ mlp.down.weight.T)


class Line(torch.nn.Module):
    """f(h) = h + W h: rows do not meet, so recursions can be followed row by row."""

    def __init__(self, d: int):
        super().__init__()
        self.linear = torch.nn.Linear(d, d)

    def forward(self, h):
        return h + self.linear(h)


D, R = 8, 4


def line() -> tuple[Line, torch.Tensor]:
    torch.manual_seed(2)
    return Line(D), torch.randn(2, 5, D)


def test_recurse_routing_row_by_row():
    body, h = line()
    routers = [nn.RouterLinear(D) for _ in range(R)]
    for update in (nn.GateWeighted(0.1), nn.GateAdditive(), nn.Keep()):
        got = nn.Recurse(body, R, route=nn.RouteThreshold(-0.2), routers=routers, update=update)(h)
        for b, s in np.ndindex(2, 5):
            x, depth = h[b, s], 0
            for r in range(R):
                z = (routers[r].weight[0] * x).sum()
                if depth < r or not z > -0.2:
                    continue
                f = body(x)
                x = {"GateWeighted": x + 0.1 * torch.sigmoid(z) * f, "GateAdditive": x + f, "Keep": f}[type(update).__name__]
                depth += 1
            torch.testing.assert_close(got.state[b, s], x)
            assert got.depth[b, s] == depth and [bool(a[b, s]) for a in got.active] == [r < depth for r in range(R)]
        assert len(got.depth.unique()) > 2


@pytest.mark.parametrize("bias", [None, [-0.2, 0.3, 0.1, 0.0]])
def test_recurse_token_choice_row_by_row(bias):
    body, h = line()
    router, bias = nn.RouterLinear(D, R), None if bias is None else torch.tensor(bias)
    module = nn.Recurse(body, R, route=nn.RouteTokenChoice(), routers=[router], activation="softmax", choice_bias=bias)
    got, changed = module(h), 0
    for b, s in np.ndindex(2, 5):
        p = (router.weight @ h[b, s]).softmax(-1)
        e, x = int((p if bias is None else p + bias).argmax()), h[b, s]
        changed += e != int(p.argmax())
        for _ in range(e + 1):
            x = body(x)
        torch.testing.assert_close(got.state[b, s], h[b, s] + p[e] * x)
        assert got.depth[b, s] == e + 1
    assert len(got.depth.unique()) > 1 and (changed > 0) == (bias is not None)


@torch.no_grad()
@pytest.mark.parametrize("fill", ["propagate", "exact"])
@pytest.mark.parametrize("rule", ["threshold", "cdf", "delta"])
def test_recurse_halting_row_by_row(fill, rule):
    body, h = line()
    gates = [torch.nn.Linear(D, 1) for _ in range(R - 1)]
    for gate in gates:
        torch.nn.init.normal_(gate.weight)
    halt = {"threshold": nn.HaltThreshold(0.3), "cdf": nn.HaltCdf(0.7), "delta": nn.HaltDelta(0.55)}[rule]
    enabled = torch.tensor([[True, True, True, True, False]] * 2)
    for min_depth in (1, 2):
        module = nn.Recurse(body, R, halt=halt, gates=[] if rule == "delta" else gates, fill=fill, min_depth=min_depth)
        got = module(h, enabled=enabled)
        for b, s in np.ndindex(2, 5):
            x, depth, survival = h[b, s].double(), 0, 1.0
            for r in range(R):
                before, x, depth = x, body(x.float()).double(), r + 1
                if r == R - 1:
                    break
                z = float(gates[r](x.float()))
                survival *= 1 - 1 / (1 + np.exp(-z))
                stop = {
                    "threshold": z >= 0.3,
                    "cdf": 1 - survival >= 1 / (1 + np.exp(-0.7)),
                    "delta": float((x - before).norm() / x.norm()) < 0.55,
                }[rule]
                if stop and depth >= min_depth and enabled[b, s]:
                    break
            torch.testing.assert_close(got.state[b, s], x.float())
            assert got.depth[b, s] == depth
        assert got.depth.min() == min_depth and len(got.depth.unique()) > 1 and (got.depth[:, 4] == R).all()


def test_recurse_follows_a_script():
    body, h = line()
    script = torch.randn(2, 5, R)
    depth = (script <= 0).to(torch.int64).argmax(-1) + (script > 0).all(-1) * R  # first entry that is not above 0
    routed = nn.Recurse(body, R, route=nn.RouteThreshold(), routers=[nn.RouterLinear(D) for _ in range(R)], update=nn.Keep())
    assert torch.equal(routed(h, script=script).depth, depth)
    for halt in (nn.HaltThreshold(), nn.HaltDelta(0.1)):
        gates = [torch.nn.Linear(D, 1) for _ in range(R - 1)] if isinstance(halt, nn.HaltThreshold) else []
        stops = (script[..., : R - 1] >= 0).to(torch.int64)
        want = torch.where(stops.any(-1), stops.argmax(-1) + 1, R)
        assert torch.equal(nn.Recurse(body, R, halt=halt, gates=gates)(h, script=script[..., : R - 1]).depth, want)


def test_lora_per_depth():
    """W + s B A of the unrolled layer, formed explicitly; copies of a model stay apart; B = 0 changes nothing."""
    torch.manual_seed(3)
    # In float64: x (W + B A) and x W + x A B round apart in float32, and by how much depends on the processor's matrix kernels.
    blocks, h = [Line(D), Line(D)], torch.randn(2, 5, D, dtype=torch.float64)
    lora = nn.DepthLora(blocks, 2, rank=3, targets=["linear"], scale=0.5, first=1)
    module = nn.Recurse(torch.nn.ModuleList(blocks), 2, lora=lora).double()
    assert sorted(n for n, _ in lora.named_parameters()) == sorted(f"{i}.linear.{m}" for i in (1, 2, 3, 4) for m in "AB")
    plain = module(h).state
    x = h
    for block in blocks * 2:
        x = block(x)
    torch.testing.assert_close(plain, x)
    for p in lora.parameters():
        torch.nn.init.normal_(p)
    x, weights = h, dict(lora.named_parameters())
    for layer in range(4):
        linear = blocks[layer % 2].linear
        x = x + x @ (linear.weight + 0.5 * weights[f"{layer + 1}.linear.B"] @ weights[f"{layer + 1}.linear.A"]).T + linear.bias
    twin = copy.deepcopy(module)
    torch.testing.assert_close(module(h).state, x)
    for p in lora.parameters():
        torch.nn.init.zeros_(p)
    torch.testing.assert_close(twin(h).state, x)
    torch.testing.assert_close(module(h).state, plain)
    with pytest.raises(UserError, match="targets: 'q_proj' is not a linear of the body; it has linear"):
        nn.DepthLora(blocks, 2, 3, ["q_proj"])


REFUSED = [
    (dict(fill="exact", route=nn.RouteThreshold(), routers=[nn.RouterLinear(D)] * R), "fill 'exact' is not one of propagate, skip, share"),
    (dict(halt=nn.HaltCdf(), gates=[]), f"gates: 0 given, HaltCdf over {R} recursions needs {R - 1}"),
    (dict(route=nn.RouteThreshold(), routers=[nn.RouterLinear(D)]), f"routers: 1 given, routing over {R} recursions needs {R}"),
    (dict(route=nn.RouteThreshold(), routers=[nn.RouterLinear(D)] * R, halt=nn.HaltThreshold()), "halt and route were both given"),
    (dict(choice_bias=torch.zeros(R)), "choice_bias is for token choice"),
    (dict(activation="relu"), "activation 'relu' is not one of sigmoid"),
    (dict(min_depth=R + 1), f"min_depth {R + 1} is outside 1..{R}"),
]


@pytest.mark.parametrize("arguments, message", REFUSED)
def test_recurse_refuses(arguments, message):
    with pytest.raises(UserError, match=message.replace("(", r"\(")):
        nn.Recurse(Line(D), R, **arguments)


def test_refused_when_run():
    halting, h = nn.Recurse(Line(D), 2, halt=nn.HaltThreshold(), gates=[torch.nn.Linear(D, 1)], fill="skip"), torch.zeros(1, 2, D)
    with pytest.raises(UserError, match="fill 'skip' needs the attention mask"):
        halting(h)
    routing = nn.Recurse(Line(D), 1, route=nn.RouteThreshold(), routers=[nn.RouterLinear(D)])
    with pytest.raises(UserError, match="enabled was given, but routing has no early halt"):
        routing(h, enabled=torch.ones(1, 2, dtype=torch.bool))
    with pytest.raises(UserError, match="fill 'share' needs blocks that return"):
        nn.Recurse(Line(D), 2, halt=nn.HaltThreshold(), gates=[torch.nn.Linear(D, 1)], fill="share")(torch.zeros(1, 2, D))
