# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A Hugging Face Llama (tiny, random weights) with two exits as ONNX: python llama_exits.py OUT.onnx"""
import sys
import ee
from transformers import LlamaConfig, LlamaForCausalLM
config = LlamaConfig(vocab_size=96, hidden_size=32, intermediate_size=48, num_hidden_layers=4, num_attention_heads=4,
                     num_key_value_heads=2, initializer_range=0.2)
model = LlamaForCausalLM(config)
exits = [ee.ExitSpec(1, "max_prob", -2.0), ee.ExitSpec(2, "cosine", 2.0)]
ee.export_causal_lm(model, sys.argv[1], exits)
