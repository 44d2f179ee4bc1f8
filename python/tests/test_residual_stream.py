# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Finding the residual stream in graphs with other names, other block forms and other heads; and what is refused."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from ee.errors import UserError
from ee.exit_spec import ExitSpec
from ee.insert_exits import add_exits
from ee.onnx_builder import GraphBuilder
from ee.oracle import Oracle
from ee.residual_stream import find_stream

V, D, LAYERS = 13, 8, 3


class Foreign(GraphBuilder):
    """A decoder without any name of ours. `form`: sequential (attention, then MLP), parallel (one addition for both) or
    spelled (sequential, the norm RMS in small nodes whose epsilon takes its type from the mean). The norm is otherwise
    LayerNormalization; the head has a scale and a bias."""

    def __init__(self, form: str = "sequential", seed: int = 0):
        super().__init__()
        self.rng, self.form, self.count, self.epsilon = np.random.default_rng(seed), form, 0, ""
        self.input("tokens", TensorProto.INT64, ["rows", "length"])
        x = self.add("Gather", self.random(V, D), "tokens")
        self.stream = [x]
        for _ in range(LAYERS):
            x = self.layer(x)
            self.stream.append(x)
        self.final(x)

    def random(self, *shape) -> str:
        self.count += 1
        return self.constant(f"w{self.count}", (self.rng.normal(size=shape) / np.sqrt(D)).astype(np.float32))

    def add(self, kind: str, *inputs: str, **attributes) -> str:
        self.count += 1
        return self.op(kind, list(inputs), f"v{self.count}", **attributes)

    def norm(self, x: str) -> str:
        if self.form == "spelled":
            mean = self.add("ReduceMean", self.add("Mul", x, x), self.constant("axis", np.array([-1])))
            if not self.epsilon:  # one node for all norms: it comes before everything
                self.epsilon = self.add("Constant", value=helper.make_tensor("", TensorProto.DOUBLE, [], [1e-5]))
            eps = self.add("CastLike", self.epsilon, mean)
            return self.add("Mul", self.add("Div", x, self.add("Sqrt", self.add("Add", mean, eps))), self.random(D))
        return self.add("LayerNormalization", x, self.random(D))

    def attention(self, n: str) -> str:
        """Not causal: no one asks here."""
        scores = self.add("MatMul", self.add("MatMul", n, self.random(D, D)), self.add("Transpose", n, perm=[0, 2, 1]))
        return self.add("MatMul", self.add("MatMul", self.add("Softmax", scores), n), self.random(D, D))

    def mlp(self, n: str) -> str:
        up = self.add("MatMul", n, self.random(D, 2 * D))
        return self.add("Add", self.add("MatMul", self.add("Tanh", up), self.random(2 * D, D)), self.random(D))

    def layer(self, x: str) -> str:
        n = self.norm(self.add("Identity", x))
        if self.form == "parallel":
            return self.add("Add", self.add("Add", self.attention(n), self.mlp(n)), x)
        x = self.add("Add", self.attention(n), self.add("Identity", x))
        return self.add("Add", x, self.mlp(self.norm(x)))

    def final(self, x: str) -> None:
        scaled = self.add("Mul", self.add("MatMul", self.norm(x), self.random(D, V)), self.constant("cap", np.float32(0.5)))
        self.op("Add", [scaled, self.random(V)], "scores")
        self.output("scores", TensorProto.FLOAT, ["rows", "length", V])

    def file(self, opset: int = 18) -> onnx.ModelProto:
        model = self.model("foreign")
        model.opset_import[0].version = opset
        return model


def run(model: onnx.ModelProto, tmp_path, ids, **feeds) -> dict:
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, tmp_path / "m.onnx")
    return Oracle(tmp_path / "m.onnx").run(ids, tokens=ids, **feeds)


@pytest.mark.parametrize("opset", [18, 23])
@pytest.mark.parametrize("form", ["sequential", "parallel", "spelled"])
def test_states_and_head(form, opset, tmp_path):
    g = Foreign(form)
    stream = find_stream(g.file(opset))
    assert stream.states == g.stream and (stream.logits, stream.hidden, stream.vocab) == ("scores", D, V)
    norm = ["Mul", "ReduceMean", "Add", "Sqrt", "Div", "Mul"] if form == "spelled" else ["LayerNormalization"]
    assert [n.op_type for n in stream.head] == [*norm, "MatMul", "Mul", "Add"] and stream.batch_seq == ["rows", "length"]
    # A model cut after k layers says what an exit after k layers must give.
    ids, specs = np.random.default_rng(1).integers(0, V, (2, 5)), [ExitSpec(1), ExitSpec(2)]
    for fill in ("exact", "propagate"):
        model = add_exits(g.file(opset), specs, fill, scripted=True, exit_depth=True)
        for k in (1, 2, 3):
            cut = g.file()
            made = {n.output[0] for n in stream.head}
            for node in cut.graph.node:
                if node.output[0] in made:
                    node.input[:] = [g.stream[k] if x == g.stream[-1] else x for x in node.input]
            want = run(cut, tmp_path, ids)["scores"]
            leave = {f"script.e{j}": np.full(ids.shape, np.inf if j == k else -np.inf, np.float32) for j in (1, 2)}
            got = run(model, tmp_path, ids, enabled=np.ones(ids.shape, bool), **leave)
            np.testing.assert_allclose(got["scores"], want, rtol=0, atol=1e-6)
            assert (got["exit_depth"] == k).all()


def rewired(change) -> onnx.ModelProto:
    """A sequential decoder after `change(builder, model)`."""
    g = Foreign()
    model = g.file()
    change(g, model)
    return model


def old_opset(g, model):
    model.opset_import[0].version = 17


def last_position(g, model):
    node = next(n for n in model.graph.node if n.op_type == "LayerNormalization" and n.input[0] == g.stream[-1])
    where = list(model.graph.node).index(node)
    model.graph.node.insert(where, helper.make_node("Gather", [g.stream[-1], "at"], ["last"], name="pick", axis=1))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([-1]), "at"))
    node.input[0] = "last"


def sliced_position(g, model):
    last_position(g, model)
    pick = next(n for n in model.graph.node if n.name == "pick")
    pick.op_type, pick.input[:] = "Slice", [g.stream[-1], "at", "end", "axis"]
    pick.ClearField("attribute")
    model.graph.initializer.extend(onnx.numpy_helper.from_array(np.array([i]), n) for i, n in ((2**31, "end"), (1, "axis")))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 1


def bypass(g, model):
    last = model.graph.node[-1]
    assert last.output[0] == "scores"
    w = onnx.numpy_helper.from_array(np.ones((D, V), np.float32), "wide")
    model.graph.initializer.append(w)
    model.graph.node.insert(len(model.graph.node) - 1, helper.make_node("MatMul", [g.stream[1], "wide"], ["around"]))
    last.input[1] = "around"


def half(g, model):
    for tensor in model.graph.initializer:
        tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT16


def half_addition(g, model):
    """The last addition is made in float16, between casts."""
    for node in model.graph.node:
        if node.output[0] == g.stream[-1]:
            node.output[0] = "wide"
            node.input[0], keep = "n16", node.input[0]
            node.input[1], other = "o16", node.input[1]
            where = list(model.graph.node).index(node)
            model.graph.node.insert(where, helper.make_node("Cast", [keep], ["n16"], to=TensorProto.FLOAT16))
            model.graph.node.insert(where, helper.make_node("Cast", [other], ["o16"], to=TensorProto.FLOAT16))
            model.graph.node.insert(where + 3, helper.make_node("Cast", ["wide"], [g.stream[-1]], to=TensorProto.FLOAT))
            return


def no_attention(g, model):
    for node in model.graph.node:
        if node.op_type == "Softmax":
            node.op_type = "Tanh"


def taken(g, model):
    next(n for n in model.graph.node if n.output[0] == g.stream[0]).output[0] = "enabled"
    for node in model.graph.node:
        node.input[:] = ["enabled" if x == g.stream[0] else x for x in node.input]


def no_ids(g, model):
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT32
    model.graph.input.append(helper.make_tensor_value_info("positions", TensorProto.INT32, ["rows", "length"]))


def in_functions(g, model):
    """One opaque node from the embedding to the norm."""
    body = helper.make_function("lib", "Blocks", ["x"], ["y"], [helper.make_node("Tanh", ["x"], ["y"])], [helper.make_opsetid("", 18)])
    nodes = [n for n in model.graph.node if n.op_type == "Gather"] + [helper.make_node("Blocks", [g.stream[0]], [g.stream[-1]], domain="lib")]
    nodes += find_stream(g.file()).head
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.functions.append(body)
    model.opset_import.append(helper.make_opsetid("lib", 1))


REFUSED = [
    (old_opset, "opset is 17; exits need 18 or later"),
    (last_position, r"node 'pick' \(Gather\) between the last residual addition and 'scores' picks positions"),
    (sliced_position, "'scores' has 1 positions, the token ids have length"),
    (bypass, "reads 'around', which comes from an earlier state"),
    (half_addition, r"\(Add\) .* adds two values of the last state"),
    (half, "is FLOAT16; exits are made for FLOAT models"),
    (no_attention, "6 residual additions without attention in a branch behind output 'scores'"),
    (taken, "a value named 'enabled'"),
    (no_ids, "no input 'input_ids'.*the inputs are tokens, positions"),
    (in_functions, r"no residual additions .* behind output 'scores'; it calls functions \(Blocks\): inline them"),
]


@pytest.mark.parametrize("change, said", REFUSED, ids=[c.__name__ for c, _ in REFUSED])
def test_refused(change, said):
    with pytest.raises(UserError, match=said):
        add_exits(rewired(change), [ExitSpec(1)])
