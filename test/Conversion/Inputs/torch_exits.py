# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A random Llama with exits, exported by `ee.torch_export`.

torch_exits.py OUT.onnx OPSET FILL LAYER:CRITERION:THRESHOLD..."""

import logging
import sys
import warnings

warnings.simplefilter("ignore")
logging.disable(logging.WARNING)

import numpy as np  # noqa: E402
import torch  # noqa: E402
from ee.exit_spec import ExitSpec  # noqa: E402
from ee.torch_export import export_causal_lm  # noqa: E402
from transformers import LlamaConfig, LlamaForCausalLM  # noqa: E402

out, opset, fill, *exits = sys.argv[1:]
torch.manual_seed(0)
model = LlamaForCausalLM(LlamaConfig(vocab_size=96, hidden_size=32, intermediate_size=48, num_hidden_layers=4, num_attention_heads=4,
                                     num_key_value_heads=2, max_position_embeddings=128, tie_word_embeddings=True, initializer_range=0.25)).eval()  # fmt: skip
specs = []
for text in exits:
    layer, criterion, threshold = text.split(":")
    probe = (np.random.default_rng(0).standard_normal(32).astype(np.float32), 0.25) if criterion == "probe" else None
    specs.append(ExitSpec(int(layer), criterion, float(threshold), probe=probe))
export_causal_lm(model, out, specs, fill=fill, opset=int(opset))
