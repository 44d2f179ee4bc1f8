# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Compares a raised model with ONNX Runtime on the file it was raised from.

    ee-opt ... --mlir-print-op-generic | run_model.py FILE.onnx [--tokens N] [--chunk C] [--tolerance T]

The model is read from standard input in MLIR's generic form and computed in numpy (float64), op by op as the
dialect defines them: no code of the compiler is used. Under fill `propagate` rows that left keep their state. ONNX Runtime runs the file on random tokens, and when
it has KV inputs, again in chunks of C tokens with the cache carried along; all logits must agree. Exits are
selects, with every row enabled. Prints `max relative error` and fails when it exceeds the tolerance.
"""

import argparse
import re
import sys

import numpy as np
import onnx
import onnxruntime as ort


class Op:
    def __init__(self, name, results, operands, attributes, regions, types):
        self.name, self.results, self.operands = name, results, operands
        self.attributes, self.regions, self.types = attributes, regions, types

    def __getitem__(self, key):
        return self.attributes.get(key)


class Parser:
    """Just enough of MLIR's generic form for the adaptive, arith and math dialects."""

    def __init__(self, text):
        self.text, self.at = text, 0

    def peek(self, what):
        self.at = re.compile(r"\s*").match(self.text, self.at).end()
        return self.text.startswith(what, self.at)

    def take(self, what):
        if not self.peek(what):
            return False
        self.at += len(what)
        return True

    def need(self, what):
        if not self.take(what):
            raise SyntaxError(f"expected {what!r} at {self.text[self.at:self.at + 60]!r}")

    def match(self, pattern):
        self.peek("")
        found = re.compile(pattern, re.S).match(self.text, self.at)
        if not found:
            raise SyntaxError(f"expected {pattern} at {self.text[self.at:self.at + 60]!r}")
        self.at = found.end()
        return found.group(0)

    def list(self, close, item):
        items = []
        while not self.take(close):
            items.append(item())
            self.take(",")
        return items

    def type(self):
        """A type, as text; function types as a pair of lists."""
        if self.take("("):
            inputs = self.list(")", self.type)
            self.need("->")
            results = self.list(")", self.type) if self.take("(") else [self.type()]
            return inputs, results
        word = self.match(r"[!A-Za-z_0-9.]+")
        if self.peek("<"):
            start, depth = self.at, 0
            while True:
                depth += {"<": 1, ">": -1}.get(self.text[self.at], 0)
                self.at += 1
                if depth == 0:
                    return word + self.text[start:self.at]
        return word

    def attribute(self):
        if self.take("["):
            return self.list("]", self.attribute)
        if self.take("{"):
            return dict(self.list("}", self.named))
        if self.peek('"'):
            return self.match(r'"(?:[^"\\]|\\.)*"')[1:-1]
        if self.peek("@"):
            return self.match(r'@(?:"[^"]*"|[A-Za-z_0-9.$-]+)').replace('"', "")[1:]
        if self.take("dense<"):
            body = self.match(r'"0x[0-9A-F]*"|[^>]*')
            self.need(">")
            self.need(":")
            return dense(body, self.type())
        if self.take("array<"):
            body = self.match(r"[^>]*")
            self.need(">")
            return [int(x) for x in body.split(":")[1].split(",")] if ":" in body else []
        if self.peek("#"):
            word = self.match(r"#[A-Za-z_0-9.]+")
            return word + (self.match(r"<[^>]*>") if self.peek("<") else "")
        if re.compile(r"-?\d").match(self.text, self.at):
            word = self.match(r"-?(0x[0-9A-F]+|\d+(\.\d*)?([eE][+-]?\d+)?)")
            kind = self.type() if self.take(":") else "f64" if "." in word else "i64"
            if word.startswith("0x"):
                return float(np.array(int(word, 16), np.uint32 if kind == "f32" else np.uint64).view(kind.replace("f", "float")))
            return float(word) if kind.startswith("f") else int(word)
        if re.compile(r"true|false|unit|tensor|i32|f32|!").match(self.text, self.at):
            return self.type()
        raise SyntaxError(f"attribute at {self.text[self.at:self.at + 60]!r}")

    def named(self):
        key = self.match(r'"[^"]*"|[A-Za-z_0-9.$-]+').strip('"')
        return key, self.attribute() if self.take("=") else True

    def op(self):
        results = []
        if self.peek("%"):
            name = self.match(r"%[A-Za-z_0-9]+")
            results = [f"{name}#{i}" for i in range(int(self.match(r"\d+")))] if self.take(":") else [name]
            self.need("=")
        kind = self.match(r'"[^"]*"')[1:-1]
        self.need("(")
        operands = self.list(")", lambda: self.match(r"%[A-Za-z_0-9]+(#\d+)?"))
        attributes = {}
        if self.take("<{"):
            attributes |= dict(self.list("}", self.named))
            self.need(">")
        regions = self.list(")", self.region) if self.take("(") else []
        if self.take("{"):
            attributes |= dict(self.list("}", self.named))
        self.need(":")
        return Op(kind, results, operands, attributes, regions, self.type())

    def region(self):
        """(argument names, ops) of a region of one block."""
        self.need("{")
        arguments = []
        if self.peek("^"):
            self.match(r"\^[A-Za-z_0-9]+")
            if self.take("("):
                arguments = self.list(")", self.argument)
            self.need(":")
        return arguments, self.list("}", self.op)

    def argument(self):
        name = self.match(r"%[A-Za-z_0-9]+")
        self.need(":")
        self.type()
        return name


def dense(body, kind):
    shape = [int(x) for x in re.findall(r"(\d+)x", kind)]
    dtype = {"f32": np.float32, "f64": np.float64, "i64": np.int64, "i32": np.int32}[re.split(r"[x<]", kind.rstrip(">"))[-1]]
    if body.startswith('"'):
        data = np.frombuffer(bytes.fromhex(body[3:-1]), dtype)
        return data.reshape(shape) if data.size == np.prod(shape) else np.full(shape, data[0])
    values = np.array([float(x) for x in re.findall(r"-?\d+\.?\d*(?:[eE][+-]?\d+)?", body)], dtype)
    return values.reshape(shape) if values.size == np.prod(shape) else np.full(shape, values[0], dtype)


SCALAR = {
    "arith.addf": np.add, "arith.subf": np.subtract, "arith.mulf": np.multiply, "arith.divf": np.divide,
    "arith.negf": np.negative, "arith.maximumf": np.maximum, "arith.minimumf": np.minimum, "math.exp": np.exp,
    "math.tanh": np.tanh, "math.sqrt": np.sqrt, "math.log": np.log, "math.absf": np.abs,
    "math.erf": np.vectorize(__import__("math").erf),
}


class Machine:
    def __init__(self, module, initializers):
        self.symbols = {op["sym_name"]: op for op in module.regions[0][1] if op["sym_name"]}
        self.initializers, self.kv = initializers, set()
        self.model = next(op for op in module.regions[0][1] if op.name == "adaptive.model")

    def weight(self, name):
        op = self.symbols[name]
        if op.name == "adaptive.table":
            rows = int(re.search(r"<(\d+)x", op["type"]).group(1))
            angles = np.arange(rows)[:, None] * np.array(op["frequencies"])[None]
            return np.cos(angles) if op["function"] == "cos" else np.sin(angles)
        value = op["value"] if op["value"] is not None else self.initializers[op["tensor"]]
        return (value.T if op["transposed"] else value).astype(np.float64)

    def scalars(self, region, arguments):
        names, ops = region
        values = dict(zip(names, arguments))
        for op in ops[:-1]:
            if op.name == "arith.constant":
                values[op.results[0]] = op["value"]
            else:
                values[op.results[0]] = SCALAR[op.name](*(values[o] for o in op.operands))
        return values[ops[-1].operands[0]]

    def run(self, ids):
        """Logits of the model. Values are computed on demand: a layer under `propagate` asks for earlier scores."""
        names, ops = self.model.regions[0]
        self.values = {names[0]: ids}
        self.makers = {name: op for op in ops for name in op.results}
        self.frozen_by = [op for op in ops if op.name == "adaptive.exit" and op["fill"] in (1, "propagate", "#adaptive<kv_fill propagate>")]
        return self.value(ops[-1].operands[0])

    def value(self, name):
        if name not in self.values:
            op = self.makers[name]
            results = getattr(self, op.name.split(".")[1])(op, None, *map(self.value, op.operands))
            self.values.update(zip(op.results, results if isinstance(results, tuple) else (results,)))
        return self.values[name]

    def left(self, layer):
        """Rows that took an exit before `layer` and whose state is kept, or None."""
        masks = [self.value(op.operands[2]) >= op["threshold"] for op in self.frozen_by if op["depth"] <= layer]
        return np.logical_or.reduce(masks)[:, None] if masks else False

    def block(self, region, arguments, layer):
        names, ops = region
        values = dict(zip(names, arguments))
        for op in ops:
            operands = [values[o] for o in op.operands]
            if op.name == "adaptive.yield":
                return operands[0]
            results = getattr(self, op.name.split(".")[1])(op, layer, *operands)
            values.update(zip(op.results, results if isinstance(results, tuple) else (results,)))

    def use(self, op, layer):
        return self.weight(op["weight"])

    def embed(self, op, layer, ids, table):
        return table[ids]

    def norm(self, op, layer, x, scale, bias=None):
        groups = x.reshape(len(x), -1, len(scale))
        if "layer" in str(op["kind"]) or op["kind"] == 1:
            groups = groups - groups.mean(-1, keepdims=True)
        y = groups / np.sqrt((groups**2).mean(-1, keepdims=True) + op["epsilon"]) * scale
        return (y if bias is None else y + bias).reshape(x.shape)

    def linear(self, op, layer, x, *rest):
        count = op["operandSegmentSizes"][1]
        products = [x @ w.T for w in rest[:count]]
        if not op.regions or not op.regions[0][1]:
            return tuple(products)
        return self.scalars(op.regions[0], [*products, *rest[count:]])

    def map(self, op, layer, *operands):
        return self.scalars(op.regions[0], operands)

    def rope(self, op, layer, x, cos, sin):
        heads = x.reshape(len(x), -1, op["head_dim"]).copy()
        half = cos.shape[1]
        first = slice(0, 2 * half, 2) if op["interleaved"] else slice(0, half)
        second = slice(1, 2 * half, 2) if op["interleaved"] else slice(half, 2 * half)
        c, s = (t[: len(x), None, :] for t in (cos, sin))
        a, b = heads[..., first].copy(), heads[..., second].copy()
        heads[..., first], heads[..., second] = a * c - b * s, b * c + a * s
        return heads.reshape(x.shape)

    def kv_append(self, op, layer, keys, values):
        assert layer not in self.kv, f"layer {layer} appends twice"
        self.kv.add(layer)
        heads, dim = map(int, re.search(r"<(\d+) x (\d+)>", str(op.types[1])).groups())
        return ((keys.reshape(-1, heads, dim), values.reshape(-1, heads, dim)),)

    def attend(self, op, layer, query, kv):
        keys, values = kv
        n, heads = len(query), op["heads"]
        q = query.reshape(n, heads, -1)
        k, v = (np.repeat(t, heads // t.shape[1], axis=1) for t in (keys, values))
        scores = np.einsum("qhd,khd->hqk", q, k) * op["scale"]
        scores[:, np.triu(np.ones((n, n), bool), 1)] = -np.inf
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        return np.einsum("hqk,khd->qhd", weights, v).reshape(n, -1)

    def layers(self, op, layer, h):
        assert not op["kv_only"]
        for times in range(op["times"] or 1):
            for i, names in enumerate(op["weights"]):
                index = op["first"] + times * len(op["weights"]) + i
                body = self.symbols[op["callee"]].regions[0]
                h = np.where(self.left(index), h, self.block(body, [h, *map(self.weight, names)], index))
        return h

    recurse = layers

    def criteria(self, op, layer, z):
        p = np.exp(z - z.max(-1, keepdims=True))
        p /= p.sum(-1, keepdims=True)
        top = np.sort(p, -1)[:, ::-1]
        kind = op["kind"]
        if kind in (0, "max_prob") or "max_prob" in str(kind):
            u = top[:, 0]
        elif kind == 1 or "margin" in str(kind):
            u = top[:, 0] - top[:, 1]
        else:
            u = 1 + (p * np.log(np.maximum(p, 1e-300))).sum(-1) / np.log(z.shape[1])
        return np.log(u) - np.log1p(-u)

    def probe(self, op, layer, h, weight, bias):
        return h @ weight.reshape(-1) + bias[0]

    def cosine(self, op, layer, a, b):
        c = (a * b).sum(-1) / np.sqrt((a * a).sum(-1) * (b * b).sum(-1))
        return np.log(1 + c) - np.log(1 - c)

    def exit(self, op, layer, exit_value, rest_value, score, state):
        leaves = score >= op["threshold"]
        print(f"exit {op['name']} index {op['index']} depth {op['depth']}: {leaves.sum()} of {len(leaves)} rows leave")
        return np.where(leaves[:, None], exit_value, rest_value)


def feed(session, tokens, start, caches):
    """Inputs of one call: `tokens` at positions from `start`, after what the caches hold."""
    n, result, past = len(tokens), {}, iter(caches)
    for item in session.get_inputs():
        if item.name == "input_ids":
            result[item.name] = tokens[None]
        elif item.name == "attention_mask":
            result[item.name] = np.ones((1, start + n), np.int64)
        elif item.name == "position_ids":
            result[item.name] = np.arange(start, start + n)[None]
        elif item.name == "enabled":
            result[item.name] = np.ones((1, n), bool)
        else:
            result[item.name] = next(past)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("file")
    parser.add_argument("--tokens", type=int, default=11)
    parser.add_argument("--chunk", type=int, default=4)
    parser.add_argument("--tolerance", type=float, default=2e-5)
    args = parser.parse_args()
    model = onnx.load(args.file)
    initializers = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    machine = Machine(Parser(sys.stdin.read()).op(), initializers)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(args.file, options)
    vocabulary = session.get_outputs()[0].shape[-1]
    tokens = np.random.default_rng(0).integers(0, vocabulary, args.tokens)
    mine = machine.run(tokens)
    known = {"input_ids", "attention_mask", "position_ids", "enabled"}
    shapes = [[1 if i == 0 else d if isinstance(d, int) else 0 for i, d in enumerate(x.shape)] for x in session.get_inputs() if x.name not in known]
    chunks = [args.tokens] + ([args.chunk] if shapes else [])
    for chunk in chunks:
        caches, rows = [np.zeros(s, np.float32) for s in shapes], []
        for start in range(0, args.tokens, chunk):
            out = session.run(None, feed(session, tokens[start : start + chunk], start, caches))
            rows.append(out[0][0])
            caches = out[1 : 1 + len(shapes)]
        theirs = np.concatenate(rows)
        error = np.abs(mine - theirs).max() / np.abs(theirs).max()
        print(f"chunk {chunk}: max relative error {error:.1e}")
        if not error <= args.tolerance:
            sys.exit(f"error: {error:.3e} exceeds the tolerance {args.tolerance}")


if __name__ == "__main__":
    main()
