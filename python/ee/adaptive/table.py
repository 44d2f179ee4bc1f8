# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The table of `ai.adaptive` ops: signatures, shapes, rules, bodies.

Shapes: values are [..., D], masks, scores and gates have one axis less, [...]; in a decoder [batch, seq, hidden] and
[batch, seq]. Scores, thetas and gate logits are f32 in logit space. Every input is required. String attributes are
tags for readers; the compiler checks them against the dataflow. Update rules and routers are those of
Mixture-of-Recursions (2507.10524) and Mixture-of-Depths (2404.02258), halting by cdf is Ouro's (2510.25741), by latent
difference Huginn's (2502.05171), by patience PABEE's (2006.04152).
"""

from collections.abc import Callable
from dataclasses import dataclass

import onnx
from onnx import AttributeProto

from . import bodies

DOMAIN, VERSION = "ai.adaptive", 1
FLOAT, INT, STRING = AttributeProto.FLOAT, AttributeProto.INT, AttributeProto.STRING
F32, I64, BOOL = "tensor(float)", "tensor(int64)", "tensor(bool)"


@dataclass(frozen=True)
class Value:
    """An input or output: `type` is a tensor type or a variable over the float types; `shape` as text."""

    name: str
    type: str
    shape: str
    doc: str = ""


@dataclass(frozen=True)
class Attribute:
    """A required attribute; `type` is an onnx.AttributeProto type."""

    name: str
    type: int
    doc: str


@dataclass(frozen=True)
class AdaptiveOp:
    """One op. `formula` defines the outputs, `doc` adds strictness, ties and special values, `use` says what it is for."""

    name: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    attributes: tuple[Attribute, ...]
    formula: str
    doc: str
    use: str
    body: Callable[[], list[onnx.NodeProto]]

    @property
    def text(self) -> str:
        """All of it as one paragraph, for doc strings in files."""
        return f"{self.use} {self.formula}. {self.doc}"


ACTIVE = Value("active", BOOL, "[...]", "rows that take part so far")
RUNNING = Value("running", BOOL, "[...]", "rows that have not halted yet")
STILL_RUNNING = Value("still_running", BOOL, "[...]", "rows that go on")
SCORE = Value("score", F32, "[...]", "in logit space")
H = Value("h", "T", "[..., D]", "state before the block")
F_H = Value("f_h", "T", "[..., D]", "what the block made of it")
VALUE = Value("value", "T", "[..., D]")
SELECTED = Value("selected", BOOL, "[...]")

_OPS = (
    AdaptiveOp(
        "Exit",
        (
            Value("exit_value", "T", "[..., D]", "what the row has if it leaves here"),
            Value("rest_value", "T", "[..., D]", "what it has if it goes on"),
            SCORE,
            Value("hidden", "T2", "[..., H]", "the tapped state; not read by the body"),
            Value("enabled", BOOL, "[...]", "rows that may leave"),
        ),
        (VALUE,),
        (
            Attribute("threshold", FLOAT, "in logit space"),
            Attribute("name", STRING, "the exit's name, unique in the file"),
            Attribute("criterion", STRING, "tag: what the score measures"),
        ),
        "value = where(enabled AND score >= threshold, exit_value, rest_value)",
        "Not strict: a score equal to the threshold leaves. +inf always leaves, -inf and NaN never do. A lazy select: what only rest_value "
        "needs is the continuation and is not computed for rows that leave. hidden is there so that a policy may choose another "
        "criterion that the compiler made.",
        "An exit point.",
        bodies.exit_body,
    ),
    AdaptiveOp(
        "Keep",
        (ACTIVE, H, F_H),
        (VALUE,),
        (),
        "value = where(active, f_h, h)",
        "A row that is not active keeps its state; f_h of such a row is not read, NaN included.",
        "The row's state goes through the block f, or stays.",
        bodies.keep_body,
    ),
    AdaptiveOp(
        "RouteThreshold",
        (SCORE, ACTIVE),
        (SELECTED,),
        (Attribute("theta", FLOAT, "in logit space"),),
        "selected = active AND score > theta",
        "Strict: a score equal to theta is not selected, nor is NaN. Row by row, hence causal.",
        "Routers at inference: Mixture-of-Recursions (theta = logit of the probability, 0 for 0.5), Mixture-of-Depths.",
        bodies.route_threshold_body,
    ),
    AdaptiveOp(
        "RouteTopK",
        (Value("score", F32, "[..., S]", "in logit space; S is the sequence"), Value("active", BOOL, "[..., S]", ACTIVE.doc)),
        (Value("selected", BOOL, "[..., S]"),),
        (Attribute("capacity", FLOAT, "share of the sequence, in (0, 1]"),),
        "selected = active AND rank < k, rank = number of rows of the sequence that come before, k = min(S, max(1, int(capacity * S))), the product in float32",
        "S is the full length, also when few rows are active; the product is formed in float32 and truncated. Rows are ordered by "
        "active first, then higher score, then lower position. Scores of -inf and NaN count as the lowest finite float32 number. "
        "With fewer than k active rows all of them are selected. Sequence scope: the result at a position depends on later "
        "positions, so a file with this op is not causal.",
        "Expert-choice routing as in training; nested by passing the previous selection as active.",
        bodies.route_top_k_body,
    ),
    AdaptiveOp(
        "RouteTokenChoice",
        (Value("scores", F32, "[..., R]", "one per depth, balance bias included"), Value("depth", I64, "[]", "this recursion, 0-based")),
        (
            Value("selected", BOOL, "[...]", "the row runs this recursion"),
            Value("last", BOOL, "[...]", "it is the row's last one"),
        ),
        (),
        "selected = depth <= e, last = depth == e, e = argmax over the last axis of scores",
        "Ties: the lower depth wins. NaN counts as -inf; a row of nothing but -inf runs depth 0 only. The weight of the update "
        "is an ordinary value without the bias: entry `depth` of the router's activated scores, read where last holds.",
        "Token-choice routing (Mixture-of-Recursions): each token fixes its depth once.",
        bodies.route_token_choice_body,
    ),
    AdaptiveOp(
        "GateWeighted",
        (ACTIVE, Value("gate", F32, "[...]", "after the router's activation (sigmoid, tanh or none)"), H, F_H),
        (VALUE,),
        (Attribute("alpha", FLOAT, "scale of the gate"),),
        "value = where(active, h + (gate * alpha) * f_h, h)",
        "gate * alpha is formed in float32 and rounded to the type of h before it multiplies f_h. A row that is not active keeps h; its "
        "gate and f_h are not read, NaN included. f_h is whatever the block gives: in Mixture-of-Recursions it already contains its "
        "own residual, in Mixture-of-Depths it does not.",
        "Gated update of routed rows.",
        bodies.gate_weighted_body,
    ),
    AdaptiveOp(
        "GateAdditive",
        (ACTIVE, H, F_H),
        (VALUE,),
        (),
        "value = where(active, h + f_h, h)",
        "A row that is not active keeps h; its f_h is not read, NaN included.",
        "Update of routed rows without a gate.",
        bodies.gate_additive_body,
    ),
    AdaptiveOp(
        "ActiveMask",
        (
            Value("mask", BOOL, "[Q, K] or [B or 1, N or 1, Q, K]", "true where query q may see key k"),
            Value("active", BOOL, "[B, K]", "keys that exist"),
        ),
        (Value("visible", BOOL, "[B, N or 1, Q, K]"),),
        (),
        "visible = mask AND active[:, None, None, :]",
        "B batch, N heads, Q queries, K keys. Broadcast as ONNX does after active has become [B, 1, 1, K]; a mask of rank 3 would put "
        "its batch where heads belong and is not accepted. A query whose keys are all invisible belongs to a row that is not active; "
        "what attention gives there (NaN, in some spellings) is not read by the gate or Keep that follows.",
        "Rows that skipped a block are invisible as keys there: KV by recursion.",
        bodies.active_mask_body,
    ),
    AdaptiveOp(
        "HaltThreshold",
        (SCORE, RUNNING),
        (STILL_RUNNING,),
        (Attribute("theta", FLOAT, "in logit space"),),
        "still_running = running AND NOT (score >= theta)",
        "Not strict, as Exit: a score equal to theta halts; NaN goes on. A row that halted stays halted.",
        "Loops with a halting score: learned gates, confidence at each loop.",
        bodies.halt_threshold_body,
    ),
    AdaptiveOp(
        "HaltCdf",
        (
            Value("gate_logit", F32, "[...]", "z of this loop; it halts here with probability sigmoid(z) if it got here"),
            Value("log_survival", F32, "[...]", "log of the probability to have got here; 0 before the first loop"),
            RUNNING,
        ),
        (STILL_RUNNING, Value("new_log_survival", F32, "[...]", "to be passed on")),
        (Attribute("theta", FLOAT, "logit of the quantile q: log(q / (1 - q)); +inf for q = 1"),),
        "new_log_survival = where(running, log_survival - softplus(gate_logit), log_survival); "
        "still_running = running AND NOT (new_log_survival <= -softplus(theta))",
        "cdf_r = 1 - prod_{j<=r} (1 - sigmoid(z_j)) reaches q exactly if log_survival <= log(1 - q) = -softplus(theta); in this form float32 "
        "does not saturate. Not strict: cdf equal to q halts; NaN goes on. The last loop takes the rest of the distribution: "
        "nothing is asked after it. A floor of m loops leaves still_running of the first m - 1 unread and passes running on.",
        "Ouro's Q-exit.",
        bodies.halt_cdf_body,
    ),
    AdaptiveOp(
        "HaltDelta",
        (Value("h", "T", "[..., D]", "state after this loop"), Value("previous", "T", "[..., D]", "state after the loop before"), RUNNING),
        (STILL_RUNNING,),
        (Attribute("epsilon", FLOAT, "relative change, >= 0"),),
        "still_running = running AND NOT (|h - previous| / |h| < epsilon), Euclidean norms over the last axis",
        "Strict: a change equal to epsilon goes on. Computed in float32. h = 0 gives inf or NaN and goes on.",
        "Huginn's latent difference; universal transformers.",
        bodies.halt_delta_body,
    ),
    AdaptiveOp(
        "HaltPatience",
        (
            Value("agrees", BOOL, "[...]", "this prediction equals the one before; for regression, |difference| < tau"),
            Value("count", I64, "[...]", "agreements in a row so far; 0 at the start"),
            RUNNING,
        ),
        (STILL_RUNNING, Value("new_count", I64, "[...]", "to be passed on")),
        (Attribute("patience", INT, "agreements in a row that suffice, >= 1"),),
        "new_count = where(running, where(agrees, count + 1, 0), count); still_running = running AND NOT (new_count >= patience)",
        "The first prediction has none before it: pass agrees = false there. As an exit's score: Cast(new_count) to float with "
        "threshold = patience.",
        "Patience-based early exit (PABEE).",
        bodies.halt_patience_body,
    ),
)

OPS = {op.name: op for op in _OPS}
