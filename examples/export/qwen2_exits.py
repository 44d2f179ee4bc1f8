# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A Hugging Face Qwen2 (tiny, random weights) with two exits as ONNX: python qwen2_exits.py OUT.onnx"""
import sys
import ee
from transformers import Qwen2Config, Qwen2ForCausalLM
config = Qwen2Config(vocab_size=96, hidden_size=32, intermediate_size=48, num_hidden_layers=4, num_attention_heads=4,
                     num_key_value_heads=2, initializer_range=0.2)
model = Qwen2ForCausalLM(config)
exits = [ee.ExitSpec(1, "max_prob", -2.0), ee.ExitSpec(3, "margin", -4.0)]
ee.export_causal_lm(model, sys.argv[1], exits, fill="propagate", opset=23)
