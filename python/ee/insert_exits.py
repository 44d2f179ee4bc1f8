# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Exits put into an ONNX decoder, ours (`llama_onnx`) or another exporter's, with or without KV cache.

    python -m ee.insert_exits MODEL.onnx SPEC.toml OUT.onnx [--scripted] [--exit-depth]

`residual_stream` finds the states h.0 .. h.L and the nodes of the final norm and LM head. For each exit after layer k:
x = h.k through the head's map, a copy of those nodes (same weights) that reads x and makes `exit.NAME.logits`, a score by
`criteria`, and one `Exit` node; exits nest, shallowest outermost:
    logits = Exit(e0.logits, Exit(e1.logits, ... full logits))
fill 'exact' adds nothing else: layers above run on every row, so their K,V are the full model's.
fill 'propagate' adds, for every layer i from the first exit on, h.(i+1) = Keep(active.i, h.i, layer_i(h.i)) with
    left.NAME = And(enabled, GreaterOrEqual(score, threshold));  active = And over exits so far of Not(left.NAME)
so a row that left keeps its state and later layers compute its K,V from it (CALM).
New input: `enabled` bool [batch, seq]. With `scripted`, inputs `script.NAME` f32 [batch, seq] replace all scores.
With `exit_depth`, output `exit_depth` i64 [batch, seq]: layers run for the row.
"""

import argparse
import os
import shutil
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto

from . import criteria
from .adaptive import DOMAIN, attach_bodies
from .errors import UserError, one_line, run_main
from .exit_spec import ExitSpec, check_specs, load_spec
from .folders import check_output_file, whole_file
from .onnx_builder import GraphBuilder
from .residual_stream import find_stream, reads


def _topological(nodes: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Nodes in an order in which every value is made before it is used; keeps the given order where it can."""
    maker = {out: i for i, n in enumerate(nodes) for out in n.output if out}
    order, state = [], [0] * len(nodes)
    for root in range(len(nodes)):
        stack = [root]
        while stack:
            i = stack[-1]
            waiting = [maker[x] for x in reads(nodes[i]) if x in maker and state[maker[x]] == 0]
            if state[i] == 0 and waiting:
                stack += reversed(waiting)
                continue
            stack.pop()
            if state[i] == 0:
                state[i] = 1
                order.append(nodes[i])
    return order


class _Inserter(GraphBuilder):
    """The new nodes of one model; `model` is read only."""

    def __init__(self, model: onnx.ModelProto):
        super().__init__()
        self.stream = find_stream(model)
        self.layers = len(self.stream.states) - 1

    def head_state(self, s: ExitSpec, h: str) -> str:
        """The tapped state through the exit's own linear map."""
        p, t, x = f"exit.{s.label}", s.head.tensors, h
        for name in ("map", "down", "up"):
            if name in t:
                x = self.op("MatMul", [x, self.constant(f"{p}.{name}", t[name].astype(np.float32))], f"{p}.{name}.out")
        if "bias" in t:
            x = self.op("Add", [x, self.constant(p + ".bias", t["bias"].astype(np.float32))], p + ".mapped")
        return x

    def head(self, p: str, x: str) -> str:
        """The model's final norm and LM head on x; returns `p`.logits."""
        new = {self.stream.states[-1]: x, self.stream.logits: p + ".logits"}
        for node in self.stream.head:
            for out in node.output:
                if out:
                    new.setdefault(out, f"{p}.{out}")
        for node in self.stream.head:
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            copy.ClearField("metadata_props")
            for names in (copy.input, copy.output):
                names[:] = [new.get(x, x) for x in names]
            copy.name = "/" + next(out for out in copy.output if out)
            self.nodes.append(copy)
        return p + ".logits"

    def exit(self, s: ExitSpec, scripted: bool) -> tuple[str, str, str]:
        """Head, score; returns (logits, score, hidden)."""
        h, p = self.stream.states[s.layer], f"exit.{s.label}"
        logits, score = self.head(p, self.head_state(s, h)), p + ".score"
        if scripted:
            self.input(f"script.{s.label}", TensorProto.FLOAT, self.stream.batch_seq)
            return logits, f"script.{s.label}", h
        if s.criterion == "max_prob":
            criteria.max_prob(self, logits, score)
        elif s.criterion == "margin":
            criteria.margin(self, logits, score)
        elif s.criterion == "entropy":
            criteria.entropy(self, logits, score, self.stream.vocab)
        elif s.criterion == "cosine":
            criteria.cosine(self, h, self.stream.states[s.layer - 1], score)
        else:
            criteria.probe(self, h, score, *s.probe)
        return logits, score, h


def _check_names(graph: onnx.GraphProto, g: GraphBuilder) -> None:
    """New names must be free; a second producer of a name would be found only by whoever runs the file."""
    taken = {x.name for x in (*graph.input, *graph.initializer)} | {out for n in graph.node for out in n.output}
    new = {x.name for x in g.inputs} | set(g.initializers)
    if clash := sorted(taken & new):
        raise UserError(f"the model has a value named '{clash[0]}', which exits need; rename it")


def add_exits(model: onnx.ModelProto, specs: list[ExitSpec], fill: str = "exact", scripted: bool = False, exit_depth: bool = False) -> onnx.ModelProto:
    """A new model with exits (see the module's text). External weights are neither read nor copied.

    `model` is a decoder, loaded with or without external data. Raises `UserError`."""
    g = _Inserter(model)
    h, logits_name, batch_seq = g.stream.states, g.stream.logits, g.stream.batch_seq
    specs = check_specs(specs, fill, g.layers, g.stream.hidden)
    result = onnx.ModelProto()
    result.CopyFrom(model)
    g.input("enabled", TensorProto.BOOL, batch_seq)
    exits = [(s, *g.exit(s, scripted)) for s in specs]
    rename = {logits_name: logits_name + ".full"}
    if fill == "propagate" or exit_depth:
        for s, _, score, _ in exits:
            sure = g.op("GreaterOrEqual", [score, g.constant(f"exit.{s.label}.threshold", np.float32(s.threshold))], f"sure.{s.label}")
            g.op("And", ["enabled", sure], f"left.{s.label}")
    if fill == "propagate":
        active = ""
        for i in range(specs[0].layer, g.layers):
            for s in specs:
                if s.layer == i:
                    stays = g.op("Not", [f"left.{s.label}"], f"stays.{s.label}")
                    active = g.op("And", [active, stays], f"active.{s.label}") if active else stays
            rename[h[i + 1]] = h[i + 1] + ".layer"
            g.op("Keep", [active, h[i], h[i + 1] + ".layer"], h[i + 1], domain=DOMAIN)
    rest = rename[logits_name]
    for position, (s, logits, score, tapped) in reversed(list(enumerate(exits))):
        out = f"exit.{s.label}.out" if position else logits_name
        criterion = "script" if scripted else s.criterion
        inputs = [logits, rest, score, tapped, "enabled"]
        rest = g.op("Exit", inputs, out, domain=DOMAIN, threshold=float(s.threshold), name=s.label, criterion=criterion)
    if exit_depth:
        depth = g.constant("exit.depth.full", np.int64(g.layers))
        for position, (s, *_) in reversed(list(enumerate(exits))):
            out = f"exit.{s.label}.depth" if position else "exit_depth"
            depth = g.op("Where", [f"left.{s.label}", g.constant(f"exit.depth.{s.layer}", np.int64(s.layer)), depth], out)
        g.output("exit_depth", TensorProto.INT64, batch_seq)
    _check_names(model.graph, g)
    # Only producers are renamed: readers of h.K now see the kept state, readers of logits the exits' result.
    for node in result.graph.node:
        for i, out in enumerate(node.output):
            if out in rename:
                node.output[i] = rename[out]
                node.name = "/" + rename[out]  # the new producer of `out` carries the old name
    nodes = _topological([*result.graph.node, *g.nodes])
    del result.graph.node[:]
    result.graph.node.extend(nodes)
    result.graph.initializer.extend(g.initializers.values())
    result.graph.input.extend(g.inputs)
    result.graph.output.extend(g.outputs)
    return attach_bodies(result)


def write_exits(source, out, specs: list[ExitSpec], fill: str = "exact", scripted: bool = False, exit_depth: bool = False) -> None:
    """`add_exits` from file to file. Weights stay in the source's .data file, which is copied when `out` lies in another
    folder (onnx refuses links there); the exits' own tensors are stored in `out` itself."""
    source, out = Path(source), Path(out)
    check_output_file(out)
    try:
        model = onnx.load(source, load_external_data=False)
    except OSError:
        raise
    except Exception as error:  # protobuf's DecodeError has no stable home; its text may have several lines
        raise UserError(f"{source} is not a readable ONNX file: {one_line(error, None)}") from None
    result = add_exits(model, specs, fill, scripted, exit_depth)
    files = {e.value for t in model.graph.initializer for e in t.external_data if e.key == "location"}
    for file in sorted(files):
        have, want = source.parent / file, out.parent / file
        if Path(file).name != file:
            raise UserError(f"{source}: external data '{file}' is not a plain file name")
        if not have.is_file():
            raise UserError(f"{have}: no such file; {source} keeps its weights there")
        if want.exists() and os.path.samefile(have, want):
            continue
        shutil.copyfile(have, want)
    with whole_file(out) as partial:
        onnx.save(result, partial)
        onnx.checker.check_model(str(partial), full_check=True)


def main(argv) -> int:
    parser = argparse.ArgumentParser(prog="python -m ee.insert_exits", description=__doc__.split("\n\n")[0])
    parser.add_argument("model")
    parser.add_argument("spec")
    parser.add_argument("out")
    parser.add_argument("--scripted", action="store_true", help="scores become graph inputs script.NAME")
    parser.add_argument("--exit-depth", action="store_true", help="add the output exit_depth")
    args = parser.parse_args(argv)
    specs, fill = load_spec(args.spec)
    write_exits(args.model, args.out, specs, fill, args.scripted, args.exit_depth)
    print(f"{args.out}: {len(specs)} exits ({', '.join(s.label for s in specs)}), fill {fill}")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_main(main))
