# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Exports of a random 2-layer Llama by torch, each imported whole.

exports.py EE_IMPORT DIR"""

import logging
import re
import subprocess
import sys
import warnings

import onnx

warnings.simplefilter("ignore")
logging.disable(logging.WARNING)

import torch  # noqa: E402
from transformers import LlamaConfig, LlamaForCausalLM  # noqa: E402

tool, folder = sys.argv[1:]
torch.manual_seed(0)
config = LlamaConfig(vocab_size=320, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
                     num_key_value_heads=2, max_position_embeddings=512, tie_word_embeddings=True)


class Logits(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.model = LlamaForCausalLM(config).eval()

    def forward(self, input_ids, attention_mask):
        return self.model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).logits


def check(name, weights):
    path = f"{folder}/{name}.onnx"
    text = subprocess.run([tool, path], check=True, capture_output=True, text=True).stdout
    proto = onnx.load(path, load_external_data=False)
    kept = set(re.findall(r'"((?:[^"\\]|\\.)*)"', " ".join(re.findall(r"onnx\.names = \[([^\]]*)\]", text))))
    for node in proto.graph.node:
        assert node.op_type == "Constant" or node.output[0] in kept, f"{name}: {node.op_type} {node.output[0]} is gone"
    untyped = [line for line in text.splitlines() if re.search(r"-> .*\bnone\b", line) and "onnx.node" in line]
    assert not untyped, f"{name}: no type: {untyped[:2]}"
    assert text.count("adaptive.weight @") == weights, f"{name}: {text.count('adaptive.weight @')} weights"
    main = re.search(r"func.func @main\((.*)", text).group(1)
    assert main.startswith('%arg0: tensor<?x?xi64> {onnx.dims = ["batch", "seq"], onnx.name = "input_ids"}'), main[:200]
    print(f"{name}: {text.count('onnx.node ')} nodes", flush=True)


model = Logits()
ids, mask = torch.randint(0, 320, (2, 7)), torch.ones(2, 7, dtype=torch.int64)
names = dict(input_names=["input_ids", "attention_mask"], output_names=["logits"])
dims = {0: "batch", 1: "seq"}
for opset, optimize in ((18, True), (20, True), (23, True), (23, False)):
    name = f"dynamo_{opset}{'' if optimize else '_raw'}"
    torch.onnx.export(model, (ids, mask), f"{folder}/{name}.onnx", dynamo=True, opset_version=opset, optimize=optimize, external_data=True,
                      verbose=False, dynamic_shapes={"input_ids": dims, "attention_mask": dims}, **names)
    # The tied embedding and six MLP matrices; attention's are below the size of a weight.
    check(name, 7)
torch.onnx.export(model, (ids, mask), f"{folder}/legacy.onnx", dynamo=False, opset_version=17,
                  dynamic_axes={"input_ids": dims, "attention_mask": dims, "logits": dims}, **names)
check("legacy", 8)  # the head a second time, transposed
