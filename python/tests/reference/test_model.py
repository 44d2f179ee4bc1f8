# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Blocks, weights and layouts against dense numpy and transformers' Llama."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from ee.errors import UserError  # noqa: E402
from ee.reference.generate import FixedDepth, generate, teacher_forced  # noqa: E402
from ee.reference.model import Config, Model, random_weights  # noqa: E402

from .dense import Dense, text, tiny  # noqa: E402

FORMS = {
    "own head": dict(layers=3),
    "tied head": dict(layers=2, tied=True),
    "shared blocks, LoRA per depth": dict(layout=(0, 1, 2, 1, 2, 3), lora_rank=3, lora_scale=0.7),
    "one KV head per head": dict(layers=2, heads=2, kv_heads=2, head_dim=10, rope_theta=1e6),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_equals_dense_numpy(form):
    model = tiny(**form)
    ids = text(17)
    want = Dense(model).logits(ids)
    assert want.std() > 1  # a model of zeros would agree with anything
    for chunk in (None, 1, 5):
        got = teacher_forced(FixedDepth(model), [ids], chunk=chunk)[0]
        assert np.abs(got.numpy() - want).max() < 1e-11


def test_equals_transformers():
    transformers = pytest.importorskip("transformers")
    model = tiny(layers=3, seed=4)
    c = model.config
    theirs = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=c.vocab,
            hidden_size=c.hidden,
            intermediate_size=c.ffn,
            num_hidden_layers=c.layers,
            num_attention_heads=c.heads,
            num_key_value_heads=c.kv_heads,
            head_dim=c.head_dim,
            rms_norm_eps=c.eps,
            rope_parameters={"rope_type": "default", "rope_theta": c.rope_theta},
            tie_word_embeddings=False,
        )
    ).double()
    missing, unexpected = theirs.load_state_dict(model.weights, strict=False)
    assert not missing and not unexpected
    ids = text(20)
    with torch.no_grad():
        want = theirs(torch.tensor([ids])).logits[0]
    # Their rotary angles are float32 even in a float64 model.
    assert (teacher_forced(FixedDepth(model), [ids])[0] - want).abs().max() < 2e-5


def test_biases_and_sandwich_norms():
    model = tiny(layers=2)
    rng, weights = np.random.default_rng(3), dict(model.weights)
    for block in range(2):
        for name, size in (("q_proj", 64), ("k_proj", 32), ("v_proj", 32)):
            weights[f"model.layers.{block}.self_attn.{name}.bias"] = torch.from_numpy(rng.standard_normal(size))
        for name in ("input_layernorm_2", "post_attention_layernorm_2"):
            weights[f"model.layers.{block}.{name}.weight"] = torch.from_numpy(rng.standard_normal(64))
    changed = Model(model.config, weights)
    ids = text(9)
    want = Dense(changed).logits(ids)
    assert np.abs(want - Dense(model).logits(ids)).max() > 0.1
    assert np.abs(teacher_forced(FixedDepth(changed), [ids])[0].numpy() - want).max() < 1e-11


def test_fixed_depth_is_a_prefix_of_the_stack():
    model = tiny(layers=5)
    ids = text(11)
    method = FixedDepth(model, 2)
    got = teacher_forced(method, [ids], chunk=3)[0]
    assert np.abs(got.numpy() - Dense(model).logits(ids, depth=2)).max() < 1e-11
    assert method.trace.depths(0) == [2] * 11
    assert method.kv.total("kv") == method.kv.total("q", (0, 1)) == 22


def test_random_weights_are_a_function_of_the_seed():
    config = tiny(layers=1).config
    one, two, other = (random_weights(config, s, lora_rank=2, probes=(1,)) for s in (1, 1, 2))
    assert all(torch.equal(one[n], two[n]) for n in one) and one.keys() == other.keys()
    assert not torch.equal(one["lm_head.weight"], other["lm_head.weight"])
    assert one["lora.0.down_proj.A"].shape == (2, 96) and one["lora.0.down_proj.B"].shape == (64, 2)
    assert one["exits.1.probe.weight"].shape == (1, 64) and one["exits.1.probe.bias"].shape == (1,)
    tokens = generate(FixedDepth(tiny(seed=1)), [text(3)], 20).tokens[0]
    assert len(set(tokens)) > 5  # greedy text wanders, so that equal texts mean something


@pytest.mark.parametrize(
    "change, field",
    [(dict(kv_heads=3), "kv_heads"), (dict(head_dim=7), "head_dim"), (dict(layout=()), "layout"), (dict(vocab=0), "vocab")],
)
def test_bad_config_is_refused(change, field):
    sizes = dict(vocab=9, hidden=8, heads=4, kv_heads=2, head_dim=2, ffn=8, layout=(0,))
    Config(**sizes)
    with pytest.raises(UserError, match=f"^{field}: "):
        Config(**(sizes | change))


def test_wrong_weights_are_refused():
    model = tiny(layers=2)
    weights = dict(model.weights)
    weights["model.norm.weight"] = torch.ones(3)
    with pytest.raises(UserError, match=r"model.norm.weight must be \[64\], but got \(3,\)"):
        Model(model.config, weights)
    del weights["model.norm.weight"]
    with pytest.raises(UserError, match="no such tensor"):
        Model(model.config, weights)
