# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The residual stream of an ONNX decoder that somebody else wrote, found by dataflow alone.

A residual addition is Add(x, b) where x reaches b: b = branch(x). From the logits backwards the latest one makes h.L, the
state after the last layer; what lies between h.L and the logits is the final norm and the LM head. Following the x of each
addition gives the stream down to the embedding. A branch that contains attention begins a layer, so with the additions
attention, MLP, attention, MLP ... (or one addition per layer, where both are parallel) h.k is the stream's value before the
attention of layer k. Names, opsets, metadata and how attention or norms are spelled play no part.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import onnx
from onnx import AttributeProto, TensorProto

from .errors import UserError

# Inputs whose numbers matter, where not all do: these ops take only a size, or of the second input only the type.
BY_VALUE = {"Shape": 0, "Size": 0, "CastLike": 1}
ATTENTION = {"Softmax", "Attention", "MultiHeadAttention", "GroupQueryAttention"}
OLDEST_OPSET = 18


@dataclass(frozen=True)
class Stream:
    """`states`: names of h.0 .. h.L, f32 [batch, seq, hidden]; `head`: the nodes from h.L to the output `logits`, in order;
    `batch_seq`: the dimensions of the token ids, names or numbers."""

    states: list[str]
    head: list[onnx.NodeProto]
    logits: str
    hidden: int
    vocab: int
    batch_seq: list


def reads(node: onnx.NodeProto) -> Iterable[str]:
    """The values a node reads, those that its subgraphs take from outside included."""
    yield from (x for x in node.input if x)
    for attribute in node.attribute:
        graphs = [attribute.g] if attribute.type == AttributeProto.GRAPH else attribute.graphs
        for graph in graphs:
            own = {x.name for x in (*graph.input, *graph.initializer)} | {o for n in graph.node for o in n.output}
            yield from (x for n in graph.node for x in reads(n) if x not in own)


class _Graph:
    """Who makes what, in an order in which makers come before readers."""

    def __init__(self, model: onnx.ModelProto):
        self.nodes = list(model.graph.node)  # ONNX requires topological order
        self.maker = {out: i for i, n in enumerate(self.nodes) for out in n.output if out}
        # Values that depend on the graph's inputs. A constant that many nodes share reaches almost everything, too.
        self.activations = {v.name for v in model.graph.input} - {t.name for t in model.graph.initializer}
        for node in self.nodes:
            if self.activations.intersection(reads(node)):
                self.activations.update(node.output)
        inferred = onnx.shape_inference.infer_shapes(model).graph
        self.types = {v.name: v.type.tensor_type for v in (*inferred.value_info, *inferred.output, *inferred.input)}

    def strip(self, value: str) -> str:
        """The value behind Identity nodes."""
        while value in self.maker and self.nodes[self.maker[value]].op_type == "Identity":
            value = self.nodes[self.maker[value]].input[0]
        return value

    def between(self, start: str, end: str) -> set[int]:
        """Nodes that read `start`, directly or not, and that `end` needs; where only a size or a type is read does not count."""
        first, found, seen = self.maker.get(start, -1), set(), {}
        stack = [(self.maker[end], False)] if end in self.maker else []
        while stack:
            i, back = stack.pop()
            inputs = list(reads(self.nodes[i]))[: BY_VALUE.get(self.nodes[i].op_type)]
            makers = [self.maker[x] for x in inputs if x in self.maker and self.maker[x] > first]
            if back:
                if start in inputs or any(seen[m] for m in makers):
                    seen[i] = True
                    found.add(i)
            elif i not in seen:
                seen[i] = False
                stack.append((i, True))
                stack += [(m, False) for m in makers if m not in seen]
        return found

    def residual(self, i: int) -> tuple[str, str] | None:
        """(x, branch) if node i is Add(x, branch(x))."""
        if self.nodes[i].op_type != "Add" or self.nodes[i].domain:
            return None
        a, b = (self.strip(x) for x in self.nodes[i].input)
        if a == b or not {a, b} <= self.activations:
            return None
        for x, branch in ((a, b), (b, a)):
            if self.maker.get(x, -1) < self.maker.get(branch, -1) and self.between(x, branch):
                return x, branch
        return None


def _logits(graph: onnx.GraphProto) -> str:
    names = [o.name for o in graph.output]
    return "logits" if "logits" in names else names[0]


def _batch_seq(graph: onnx.GraphProto) -> list:
    weights = {t.name for t in graph.initializer}
    for value in graph.input:
        t = value.type.tensor_type
        ids = t.elem_type in (TensorProto.INT64, TensorProto.INT32) and len(t.shape.dim) == 2 and value.name not in weights
        if ids and (value.name == "input_ids" or sum(v.type.tensor_type.elem_type == t.elem_type for v in graph.input) == 1):
            return [d.dim_param or d.dim_value for d in t.shape.dim]
    raise UserError(f"no input 'input_ids' [batch, seq] of integers; the inputs are {', '.join(v.name for v in graph.input)}")


def _check_head(g: _Graph, head: list[onnx.NodeProto], states: list[str], logits: str) -> None:
    """The head must be a function of h.L alone and must treat all positions alike, because exits copy it."""
    from_last = {states[-1]} | {o for n in head for o in n.output}
    for node in head:
        what = f"node '{node.name}' ({node.op_type}) between the last residual addition and '{logits}'"
        if any(a.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) for a in node.attribute):
            raise UserError(f"{what} has subgraphs, which exits cannot copy")
        if node.op_type in ("Gather", "GatherND", "GatherElements"):
            raise UserError(f"{what} picks positions; exits need logits of all positions")
        if node.op_type == "Add" and all(x in from_last for x in node.input):
            raise UserError(f"{what} adds two values of the last state: a layer whose addition is not Add(x, branch(x))")
        for x in node.input:
            if x in g.maker and x not in from_last and g.between(states[0], x):
                raise UserError(f"{what} reads '{x}', which comes from an earlier state; exits need a head that reads the last one only")


def find_stream(model: onnx.ModelProto) -> Stream:
    """See the module's text. Weights may be external and need not be loaded. Raises `UserError`."""
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    if opset < OLDEST_OPSET:
        raise UserError(f"the model's opset is {opset}; exits need {OLDEST_OPSET} or later (onnx.version_converter raises it)")
    if any(n.domain == "ai.adaptive" for n in model.graph.node):
        raise UserError("the model has exits already (nodes of domain ai.adaptive); give the file it was made from")
    g, logits = _Graph(model), _logits(model.graph)
    stream, kinds = [], []
    for i in range(g.maker.get(logits, -1), -1, -1):
        if g.residual(i) and g.between(g.nodes[i].output[0], logits):
            stream.append(g.nodes[i].output[0])
            break
    while stream:
        value = stream[-1]
        pair = g.residual(g.maker[value]) if value in g.maker else None
        if pair is None:
            break
        kinds.append(any(g.nodes[j].op_type in ATTENTION for j in g.between(*pair)))
        stream.append(pair[0])
    if not any(kinds):
        called = {n.op_type for n in model.graph.node} & {f.name for f in model.functions}
        hint = f"; it calls functions ({', '.join(sorted(called))}): inline them first (onnx.inliner)" if called else ""
        what = "no residual additions Add(x, branch(x))" if not stream else f"{len(kinds)} residual additions without attention in a branch"
        raise UserError(f"no decoder layers found: {what} behind output '{logits}'{hint}")
    # From the last to the first: the value an attention branch starts from is the state after the layer below.
    states = [stream[0]] + [stream[i + 1] for i, attends in enumerate(kinds) if attends]
    states.reverse()
    inner = g.between(states[-1], logits)
    head = [g.nodes[i] for i in sorted(inner)]
    _check_head(g, head, states, logits)
    tensor, result = g.types.get(states[-1], onnx.TypeProto.Tensor()), g.types.get(logits, onnx.TypeProto.Tensor())
    for name, t in ((states[-1], tensor), (logits, result)):
        if t.elem_type != TensorProto.FLOAT:
            raise UserError(f"'{name}' is {TensorProto.DataType.Name(t.elem_type)}; exits are made for FLOAT models")
        if len(t.shape.dim) != 3 or not t.shape.dim[2].dim_value:
            raise UserError(f"'{name}' has no known shape [batch, seq, n] with n a number; run onnx.shape_inference or export again")
    seq = _batch_seq(model.graph)
    if result.shape.dim[1].dim_value and result.shape.dim[1].dim_value != seq[1]:
        raise UserError(f"'{logits}' has {result.shape.dim[1].dim_value} positions, the token ids have {seq[1]}; exits need logits of all positions")
    return Stream(states, head, logits, tensor.shape.dim[2].dim_value, result.shape.dim[2].dim_value, seq)
