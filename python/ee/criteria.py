# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Exit criteria as ordinary ONNX nodes. The node patterns below are a contract: the compiler raises exactly these.

Every score is f32 [batch, seq] in logit space (log-odds of a number in [0, 1]), because in probability space f32
saturates: everything above 1 - 6e-8 is 1. z are the exit head's logits [B,S,V], h the tapped state after layer k
[B,S,D], g the state after layer k-1; `last` is the int64 constant [-1].

  rest(z), shared by the next three; sum over all entries but one maximum of exp(z - max), exact when small:
      m    = ReduceMax(z, last; keepdims=1)
      e    = Exp(Sub(z, m))
      top  = Equal(z, m)
      rest = Add(ReduceSum(Where(top, 0, e), last; keepdims=0), Sub(ReduceSum(Cast<f32>(top), last; keepdims=0), 1))
  max_prob: log(p1/(1-p1)) = -log(rest)
      score = Neg(Log(rest))
  margin: with q = p1 - p2 and a = exp(z2 - z1): log(q/(1-q)) = log(1 - a) - log(rest + a)
      t     = TopK(z, [2]; axis=-1, largest=1, sorted=1).values         [B,S,2]
      a     = Squeeze(Exp(Sub(Slice(t, [1],[2],[-1]), Slice(t, [0],[1],[-1]))), last)
      score = Sub(Log(Sub(1, a)), Log(Add(rest, a)))
  entropy: with u = H/ln V: log((1-u)/u) = log(ln V - H) - log(H); d = Sub(z, m)
      H     = Sub(Softplus(Log(rest)), Div(ReduceSum(Mul(d, e), last; keepdims=0), Add(rest, 1)))
              Softplus(Log(x)) is log(1+x) without loss at small x; torch exports Log(Add(rest, 1)) instead
      score = Sub(Log(Relu(Sub(lnV, H))), Log(H))
  cosine: with c = cos(h, g): log((1+c)/(1-c)) = log |h'+g'|^2 - log |h'-g'|^2, h' = h/|h|; no cancellation near c = 1
      h'    = Div(h, ReduceL2(h, last; keepdims=1));  g' likewise
      score = Sub(Log(ReduceSumSquare(Add(h', g'), last; keepdims=0)), Log(ReduceSumSquare(Sub(h', g'), last; keepdims=0)))
  probe: w.h + b, w f32 [D,1], b f32 []
      score = Add(Squeeze(MatMul(h, w), last), b)
  script: a graph input `script.NAME` f32 [B,S] in place of any score; for oracles that force decisions.

Log(0) = -inf is meant: a score of +inf always leaves (when enabled), -inf and NaN never do.
"""

import numpy as np
from onnx import TensorProto

from .onnx_builder import GraphBuilder

ON_LOGITS, ON_HIDDEN = ("max_prob", "margin", "entropy"), ("cosine", "probe")
CRITERIA = (*ON_LOGITS, *ON_HIDDEN)


def _last(g: GraphBuilder) -> str:
    return g.constant("exit.last", np.array([-1], np.int64))


def _rest(g: GraphBuilder, z: str, p: str) -> str:
    """Also makes p.d = z - m and p.e = exp(d)."""
    g.constant("exit.zero", np.float32(0))
    g.constant("exit.one", np.float32(1))
    m = g.op("ReduceMax", [z, _last(g)], p + ".m", keepdims=1)
    e = g.op("Exp", [g.op("Sub", [z, m], p + ".d")], p + ".e")
    top = g.op("Equal", [z, m], p + ".top")
    others = g.op("ReduceSum", [g.op("Where", [top, "exit.zero", e], p + ".others"), "exit.last"], p + ".sum", keepdims=0)
    count = g.op("ReduceSum", [g.op("Cast", [top], p + ".one", to=TensorProto.FLOAT), "exit.last"], p + ".count", keepdims=0)
    return g.op("Add", [others, g.op("Sub", [count, "exit.one"], p + ".ties")], p + ".rest")


def max_prob(g: GraphBuilder, z: str, p: str) -> str:
    return g.op("Neg", [g.op("Log", [_rest(g, z, p)], p + ".logrest")], p)


def margin(g: GraphBuilder, z: str, p: str) -> str:
    rest = _rest(g, z, p)
    starts = [g.constant(f"exit.i{i}", np.array([i], np.int64)) for i in range(3)]
    top2 = g.op("TopK", [z, starts[2]], [p + ".top2", p + ".top2.index"], axis=-1, largest=1, sorted=1)
    z1, z2 = (g.op("Slice", [top2, starts[i], starts[i + 1], "exit.last"], f"{p}.z{i + 1}") for i in (0, 1))
    a = g.op("Squeeze", [g.op("Exp", [g.op("Sub", [z2, z1], p + ".gap")], p + ".ratio"), "exit.last"], p + ".a")
    won = g.op("Log", [g.op("Sub", ["exit.one", a], p + ".won")], p + ".logwon")
    return g.op("Sub", [won, g.op("Log", [g.op("Add", [rest, a], p + ".lost")], p + ".loglost")], p)


def entropy(g: GraphBuilder, z: str, p: str, vocab: int) -> str:
    rest, top = _rest(g, z, p), g.constant(f"exit.ln{vocab}", np.float32(np.log(vocab)))
    log_sum = g.op("Softplus", [g.op("Log", [rest], p + ".logrest")], p + ".logsum")
    de = g.op("ReduceSum", [g.op("Mul", [p + ".d", p + ".e"], p + ".de"), "exit.last"], p + ".sumde", keepdims=0)
    h = g.op("Sub", [log_sum, g.op("Div", [de, g.op("Add", [rest, "exit.one"], p + ".s")], p + ".mean")], p + ".H")
    left = g.op("Log", [g.op("Relu", [g.op("Sub", [top, h], p + ".free")], p + ".free0")], p + ".logfree")
    return g.op("Sub", [left, g.op("Log", [h], p + ".logH")], p)


def cosine(g: GraphBuilder, h: str, previous: str, p: str) -> str:
    last = _last(g)
    a, b = (g.op("Div", [x, g.op("ReduceL2", [x, last], f"{p}.{n}norm", keepdims=1)], f"{p}.{n}") for x, n in ((h, "h"), (previous, "g")))
    plus, minus = (
        g.op("Log", [g.op("ReduceSumSquare", [g.op(kind, [a, b], f"{p}.{kind}"), last], f"{p}.{kind}2", keepdims=0)], f"{p}.log{kind}")
        for kind in ("Add", "Sub")
    )
    return g.op("Sub", [plus, minus], p)


def probe(g: GraphBuilder, h: str, p: str, weight: np.ndarray, bias: float) -> str:
    w = g.constant(p + ".weight", np.asarray(weight, np.float32).reshape(-1, 1))
    b = g.constant(p + ".bias", np.float32(bias))
    return g.op("Add", [g.op("Squeeze", [g.op("MatMul", [h, w], p + ".dot"), _last(g)], p + ".row"), b], p)


def score_of_logits(criterion: str, z: np.ndarray) -> np.ndarray:
    """The same scores in numpy, for calibration; z [..., V] -> [...] in z's own precision."""
    m = z.max(-1, keepdims=True)
    d = z - m
    e = np.exp(d)
    top = z == m
    rest = np.where(top, 0, e).sum(-1) + (top.sum(-1) - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        if criterion == "max_prob":
            return -np.log(rest)
        if criterion == "margin":
            two = np.partition(z, -2, axis=-1)[..., -2:]
            a = np.exp(two[..., 0] - two[..., 1])
            return np.log(1 - a) - np.log(rest + a)
        h = np.log1p(rest) - (d * e).sum(-1) / (rest + 1)
        return np.log(np.maximum(np.log(z.shape[-1]) - h, 0)) - np.log(h)


def score_of_states(h: np.ndarray, previous: np.ndarray) -> np.ndarray:
    """The cosine score in numpy; [..., D] -> [...]."""
    a, b = (x / np.sqrt((x * x).sum(-1, keepdims=True)) for x in (h, previous))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(((a + b) ** 2).sum(-1)) - np.log(((a - b) ** 2).sum(-1))
