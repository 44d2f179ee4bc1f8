# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Tiny models are the same everywhere: weights, tokenizer and files by checksum."""

import hashlib
import json

import numpy as np
import pytest
from tokenizers import Tokenizer

from ee.errors import UserError, run_main
from ee.exit_spec import load_spec
from ee.insert_exits import write_exits
from ee.oracle import Oracle
from ee.tiny import main, tiny_checkpoint, tiny_config, tiny_tokenizer


def test_weights_by_checksum():
    checkpoint = tiny_checkpoint(tiny_config(), seed=0)
    names = list(checkpoint.config.tensor_shapes())
    digest = hashlib.sha256(b"".join(checkpoint.tensor(n).tobytes() for n in names)).hexdigest()
    assert digest == "e15064f1001bf4d1f0a1903e9f505af8b2b00d1fd0d3fe0a5d0ef0fd7081fbaa"
    other = tiny_checkpoint(tiny_config(), seed=1)
    assert all(not np.array_equal(checkpoint.tensor(n), other.tensor(n)) for n in names)


def test_tokenizer_by_checksum_and_round_trip():
    document = tiny_tokenizer(320)["tokenizer.json"]
    assert hashlib.sha256(json.dumps(document["model"], sort_keys=True).encode()).hexdigest() == "6488a3d08a4ac3b835e1eace264c41e116cef780e5620d669e0006ae2c0b0316"
    tokenizer = Tokenizer.from_str(json.dumps(document))
    assert tokenizer.get_vocab_size() == 320
    for text in ("The rows of a batch", "x = [1, 23]\n\tdef f():", "naïve 深い 🙂", "\x00\x7f"):
        ids = tokenizer.encode(text).ids
        assert tokenizer.decode(ids, skip_special_tokens=False) == text
    assert len(tokenizer.encode("The rows of a batch").ids) < 12  # merges are used
    assert tokenizer.encode("a<|im_end|>").ids[-1] == 2
    assert Tokenizer.from_str(json.dumps(tiny_tokenizer(5000)["tokenizer.json"])).get_vocab_size() == 5000


def test_same_command_same_bytes(tmp_path, capsys):
    for name in "ab":
        args = [str(tmp_path / name), "--layers", "3", "--exits", "1,2", "--criterion", "margin", "--fill", "propagate"]
        assert run_main(main, args) == 0
    files = sorted(p.name for p in (tmp_path / "a").iterdir())
    assert files == sorted(
        ["config.json", "exits.toml", "generation_config.json", "model.nocache.onnx", "model.onnx", "model.onnx.data"]
        + ["oracle.onnx", "scripted.onnx", "tokenizer.json", "tokenizer_config.json"]
    )
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    # The spec, applied to the same model without exits, gives the same answers.
    assert run_main(main, [str(tmp_path / "c"), "--layers", "3"]) == 0
    specs, fill = load_spec(tmp_path / "a" / "exits.toml")
    assert fill == "propagate"
    write_exits(tmp_path / "c" / "model.onnx", tmp_path / "c" / "model.onnx", specs, fill, exit_depth=True)
    a, c = (Oracle(tmp_path / p).generate([9, 8, 7], 24) for p in ("a/oracle.onnx", "c/model.onnx"))
    assert a.ids == c.ids and a.exit_depth == c.exit_depth and len(set(a.exit_depth)) > 1
    # Running again without --exits leaves nothing of the first run.
    assert run_main(main, [str(tmp_path / "a"), "--layers", "2"]) == 0
    assert not (tmp_path / "a" / "exits.toml").exists() and not (tmp_path / "a" / "oracle.onnx").exists()


BAD = [
    (["--vocab", "100"], "--vocab 100"),
    (["--hidden", "30"], "--hidden 30"),
    (["--heads", "0"], "--heads 0"),
    (["--kv-heads", "3"], "num_key_value_heads 3"),
    (["--layers", "0"], "'layers'"),
    (["--seed", "-1"], "--seed"),
    (["--exits", "2"], "outside 1..1"),
    (["--exits", "one"], "--exits 'one'"),
    (["--exits", "1", "--threshold", "much"], "--threshold 'much'"),
    (["--hidden", "12", "--heads", "4"], "head_dim 3"),
]


@pytest.mark.parametrize("args, said", BAD, ids=[s for _, s in BAD])
def test_bad_arguments(args, said, tmp_path, capsys):
    assert run_main(main, [str(tmp_path / "m"), *args]) == 1
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_vocabulary_limit():
    with pytest.raises(UserError):
        tiny_tokenizer(258)
