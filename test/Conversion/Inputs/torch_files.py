# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Exports random 2-layer decoders with torch: one file per way to export that a user may choose.

torch_files.py OUT_DIR [NAMES...]"""

import logging
import sys
import warnings

warnings.simplefilter("ignore")
logging.disable(logging.WARNING)

import torch  # noqa: E402
from transformers import (  # noqa: E402
    DynamicCache, LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM,
)  # fmt: skip

LAYERS, HEAD_DIM, KV_HEADS = 2, 8, 2
FAMILIES = {"llama": (LlamaConfig, LlamaForCausalLM), "qwen2": (Qwen2Config, Qwen2ForCausalLM), "qwen3": (Qwen3Config, Qwen3ForCausalLM)}
# name: family, opset, cache, attention_mask, position_ids, dynamo, optimize, attention
FILES = {
    "dynamo18": ("llama", 18, True, True, False, True, True, "sdpa"),
    "dynamo18_plain": ("llama", 18, False, True, False, True, True, "sdpa"),
    "dynamo18_raw": ("llama", 18, True, True, False, True, False, "sdpa"),
    "dynamo18_only_ids": ("llama", 18, False, False, False, True, False, "sdpa"),
    "dynamo18_positions": ("llama", 18, True, False, True, True, True, "sdpa"),
    "dynamo20": ("llama", 20, True, True, True, True, True, "eager"),
    "dynamo23": ("llama", 23, True, True, False, True, True, "sdpa"),
    "dynamo23_raw": ("llama", 23, True, True, False, True, False, "sdpa"),
    "legacy17": ("llama", 17, True, True, True, False, True, "sdpa"),
    "legacy14_plain": ("llama", 14, False, True, False, False, True, "eager"),
    "qwen2": ("qwen2", 18, True, True, False, True, True, "sdpa"),
    "qwen3": ("qwen3", 23, True, True, False, True, True, "sdpa"),
}


class Logits(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask=None, position_ids=None, past=None):
        given = {"attention_mask": attention_mask, "position_ids": position_ids}
        given = {k: v for k, v in given.items() if v is not None}
        if past is None:
            return self.model(input_ids=input_ids, use_cache=False, **given).logits
        cache = DynamicCache()
        for i, (keys, values) in enumerate(past):
            cache.update(keys, values, i)
        out = self.model(input_ids=input_ids, past_key_values=cache, use_cache=True, **given)
        return out.logits, *(t for layer in out.past_key_values.layers for t in (layer.keys, layer.values))


def make(family, attention):
    config, model = FAMILIES[family]
    extra = {"head_dim": HEAD_DIM} if family == "qwen3" else {}
    torch.manual_seed(0)
    # A large spread makes the layers matter: an error in one shows in the logits.
    model = model(config(vocab_size=96, hidden_size=32, intermediate_size=48, num_hidden_layers=LAYERS, num_attention_heads=4,
                         num_key_value_heads=KV_HEADS, max_position_embeddings=128, tie_word_embeddings=True, initializer_range=0.25, **extra))  # fmt: skip
    for parameter in model.parameters():
        if parameter.dim() == 1:
            parameter.data = 0.75 + 0.5 * torch.rand_like(parameter)
    model.eval().set_attn_implementation(attention)
    return Logits(model).eval()


def export(path, family, opset, cache, mask, positions, dynamo, optimize, attention):
    batch, seq, past = 2, 5, 3 if cache else 0
    args, dims = {"input_ids": torch.randint(0, 96, (batch, seq))}, {"input_ids": {0: "batch", 1: "seq"}}
    if mask:
        args["attention_mask"], dims["attention_mask"] = torch.ones(batch, past + seq, dtype=torch.int64), {0: "batch", 1: "total"}
    if positions:
        args["position_ids"] = torch.arange(past, past + seq).expand(batch, seq).contiguous()
        dims["position_ids"] = {0: "batch", 1: "seq"}
    model, kv_dims = make(family, attention), {0: "batch", 2: "past"}
    if cache:
        args["past"] = [(torch.randn(batch, KV_HEADS, past, HEAD_DIM), torch.randn(batch, KV_HEADS, past, HEAD_DIM)) for _ in range(LAYERS)]
    if dynamo:
        known = {name: torch.export.Dim(name) for name in ("batch", "seq", "past")}
        shapes = {k: {i: known.get(d, torch.export.Dim.DYNAMIC if cache else known["seq"]) for i, d in v.items()} for k, v in dims.items()}
        if cache:
            shapes["past"] = [({i: known[d] for i, d in kv_dims.items()},) * 2] * LAYERS
        torch.onnx.export(model, (), path, kwargs=args, dynamic_shapes=shapes, dynamo=True, opset_version=opset, optimize=optimize,
                          external_data=False, verbose=False)  # fmt: skip
        return
    names = [f"past.{i}.{t}" for i in range(LAYERS if cache else 0) for t in ("key", "value")]
    axes = dims | {"logits": {0: "batch", 1: "seq"}} | {n: kv_dims for n in names}
    torch.onnx.export(model, tuple(args.get(k) for k in ("input_ids", "attention_mask", "position_ids", "past")), path, dynamo=False,
                      opset_version=opset, input_names=[k for k in args if k != "past"] + names,
                      output_names=["logits"] + [n.replace("past", "present") for n in names], dynamic_axes=axes)  # fmt: skip


out, chosen = sys.argv[1], sys.argv[2:] or list(FILES)
for name in chosen:
    export(f"{out}/{name}.onnx", *FILES[name])
