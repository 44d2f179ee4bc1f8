# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The torch decoders against Hugging Face's Llama, against their own unrolled copies, and against brute force."""

import dataclasses
import json

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from ee import UserError  # noqa: E402
from ee.errors import run_main  # noqa: E402
from ee.models import Decoder, ModelConfig, export  # noqa: E402
from ee.models.encoder import EncoderConfig  # noqa: E402
from ee.models.routed import threshold, top_k  # noqa: E402

TINY = ModelConfig(vocab=61, hidden=32, heads=4, kv_heads=2, head_dim=8, ffn=48, block=2, rope_theta=1000.0)


def make(seed=0, **changes) -> Decoder:
    """A random model whose rows differ: weights large enough that depth matters."""
    torch.manual_seed(seed)
    model = Decoder(dataclasses.replace(TINY, **changes)).double().eval()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(1 + 0.2 * torch.randn_like(p) if p.ndim == 1 and p.shape[0] > 1 else torch.randn_like(p) * 0.3)
    return model


def ids(batch=2, seq=11, seed=1):
    return torch.randint(0, TINY.vocab, (batch, seq), generator=torch.Generator().manual_seed(seed))


def test_dense_equals_transformers():
    model = make(block=3)
    c = model.config
    config = transformers.LlamaConfig(
        vocab_size=c.vocab, hidden_size=c.hidden, num_attention_heads=c.heads, num_key_value_heads=c.kv_heads, head_dim=c.head_dim,
        intermediate_size=c.ffn, num_hidden_layers=3, rms_norm_eps=c.eps, rope_theta=c.rope_theta, tie_word_embeddings=True,
        attn_implementation="eager",
    )  # fmt: skip
    theirs = transformers.LlamaForCausalLM(config).double().eval()
    theirs.load_state_dict({**model.state_dict(), "lm_head.weight": model.model.embed_tokens.weight})
    with torch.no_grad():
        want, got = theirs(ids()).logits, model(ids())
    # Our norm, softmax and angles are formed in float32 by design.
    assert (want - got).abs().max() / want.abs().max() < 1e-5


def unrolled(model: Decoder) -> Decoder:
    """The same function with one physical layer per unrolled one; low-rank terms added into the weights."""
    c = model.config
    flat = Decoder(ModelConfig(c.vocab, c.hidden, c.heads, c.kv_heads, c.head_dim, c.ffn, block=c.depth, rope_theta=c.rope_theta)).double()
    weights = {k: v for k, v in model.state_dict().items() if k.startswith(("model.embed", "model.norm"))}
    for l, physical in enumerate(c.layout):
        for name, value in model.state_dict().items():
            if name.startswith(f"model.layers.{physical}."):
                leaf = name.split(".")[-2]
                if c.prelude <= l < c.depth - c.coda and leaf.endswith("_proj"):
                    low = model.lora.get_submodule(f"{l}.{leaf}")
                    value = value + c.lora_scale * low.B @ low.A
                weights[name.replace(f"layers.{physical}.", f"layers.{l}.", 1)] = value
    flat.load_state_dict(weights)
    return flat


def test_recursion_with_low_rank_terms_equals_its_unrolled_copy():
    model = make(prelude=1, recursions=3, coda=1, lora_rank=2, lora_scale=0.5)
    with torch.no_grad():
        assert torch.allclose(model(ids()), unrolled(model)(ids()), atol=1e-9, rtol=1e-6)


def test_fill_exact_takes_every_row_from_the_full_run():
    model = make(block=4, exits=(1, 3))
    depths = torch.tensor([1, 3, 4])[torch.randint(0, 3, (2, 11), generator=torch.Generator().manual_seed(3))]
    with torch.no_grad():
        full = dict(model.states(ids()))
        state, got = model.adaptive(ids(), lambda d, h: depths == d)
    assert torch.equal(got, depths)
    for b in range(2):
        for t in range(11):
            assert torch.equal(state[b, t], full[int(depths[b, t])][b, t])


@pytest.mark.parametrize("fill", ["propagate", "skip", "share"])
def test_fills_equal_a_row_by_row_brute_force(fill):
    """Rows one after the other with an explicit list of K,V per layer: what each earlier row presents there."""
    model = make(recursions=3, exits=(2, 4), kv_fill=fill)
    c, x = model.config, ids(1, 7)
    depths = torch.tensor([[6, 2, 4, 2, 6, 4, 2]])
    with torch.no_grad():
        state, _ = model.adaptive(x, lambda d, h: depths == d)
        stored: list[list] = [[] for _ in range(c.depth)]
        for t in range(7):
            h = model.model.embed_tokens(x[:, t : t + 1])
            for l in range(c.depth):
                layer = model.model.layers[c.layout[l]]
                runs, n = l < int(depths[0, t]), layer.input_layernorm(h)
                if fill == "propagate" or runs and (fill == "skip" or l < c.block):
                    stored[l].append((t, layer.self_attn.k_proj(n), layer.self_attn.v_proj(n)))
                if not runs:
                    continue
                seen = stored[l % c.block] if fill == "share" else stored[l]
                # The row among its keys, each at its own position: only the last one's result is looked at.
                rows = torch.cat([torch.zeros_like(h)] * (len(seen) - 1) + [h], 1)
                rope = model.rope(torch.tensor([p for p, _, _ in seen]))
                kv = tuple(torch.cat([s[i] for s in seen], 1) for i in (1, 2))
                h = layer(rows, torch.ones(len(seen), len(seen), dtype=torch.bool), rope, kv)[0][:, -1:]
            assert torch.allclose(h, state[:, t : t + 1], atol=1e-6), (fill, t)


def routed_model():
    return make(prelude=1, recursions=3, coda=1, router=True, capacities=(1.0, 0.6, 0.3), kv_fill="skip", alpha=0.7)


def test_gathered_training_equals_masked_inference_at_the_same_choice():
    model = routed_model()
    with torch.no_grad():
        trained = top_k(model, ids(), model.config.capacities)
        masked = threshold(model, ids(), None, forced=trained.depths)
    assert torch.equal(trained.depths, masked.depths)
    assert trained.depths.eq(0).sum() == 0 and [(trained.depths > r).sum(1).tolist() for r in range(3)] == [[11, 11], [6, 6], [3, 3]]
    assert torch.allclose(trained.state, masked.state, atol=1e-6)


def test_threshold_rule_is_causal_and_top_k_is_not():
    model, x = routed_model(), ids()
    y = x.clone()
    y[:, 6:] = (y[:, 6:] + 7) % TINY.vocab
    with torch.no_grad():
        a, b = (threshold(model, v, [-1.0, 0.0, 0.3]) for v in (x, y))
        assert torch.equal(a.depths[:, :6], b.depths[:, :6]) and torch.equal(a.state[:, :6], b.state[:, :6])
        assert len(set(a.depths.flatten().tolist())) > 1
        changed = [not torch.equal(*(top_k(model, v, model.config.capacities).depths[:, :6] for v in (x, y)))]
    assert any(changed)


def test_save_and_load(tmp_path):
    model = Decoder(dataclasses.replace(TINY, recursions=2, exits=(2,), gates=True, lora_rank=2))
    model.save(tmp_path)
    again = Decoder.load(tmp_path)
    assert again.config == model.config
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True))
    model.round_matrices().save(tmp_path, narrow=True)
    assert (tmp_path / "model.safetensors").stat().st_size < 0.6 * 4 * sum(p.numel() for p in model.parameters()) + 10_000
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), Decoder.load(tmp_path).state_dict().values(), strict=True))
    (tmp_path / "model.safetensors").write_bytes(b"x")
    with pytest.raises(UserError, match="model.safetensors"):
        Decoder.load(tmp_path)


@pytest.mark.parametrize(
    "changes, field",
    [({"kv_heads": 3}, "kv_heads"), ({"head_dim": 7}, "head_dim"), ({"exits": (2,)}, "exits"), ({"kv_fill": "none"}, "kv_fill"),
     ({"router": True}, "capacities"), ({"ffn": 0}, "ffn"), ({"exits": (1.5,)}, r"exits\[0\]"), ({"exits": 1}, "exits: must be a list"),
     ({"block": 1e3}, "block"), ({"hidden": 32.0}, "hidden"), ({"lora_rank": "x"}, "lora_rank"), ({"lora_rank": -1}, "lora_rank"),
     ({"recursions": 1.5}, "recursions"), ({"prelude": -1}, "prelude"), ({"shared": 1}, "shared"), ({"kv_fill": ["exact"]}, "kv_fill"),
     ({"eps": float("nan")}, "eps"), ({"eps": 0}, "eps"), ({"alpha": True}, "alpha"), ({"heads": None}, "heads"),
     ({"router": True, "capacities": (0,)}, "capacities"), ({"capacities": ("all",)}, "capacities")],
)  # fmt: skip
def test_config_names_the_bad_field(changes, field):
    with pytest.raises(UserError, match=field):
        dataclasses.replace(TINY, **changes)


@pytest.mark.parametrize(
    "text, said",
    [('{"exits": [2.5]}', "exits[0]: must be an integer, but got 2.5"), ('{"recursions": 1.5}', "recursions: must be an integer, but got 1.5"),
     ('{"hidden": 32.0}', "hidden"), ('{"magic": 1}', "magic"), ("[]", "no model config"), ("[" * 5000, "no model config"), ("no", "no model config")],
)  # fmt: skip
def test_a_config_file_is_refused_in_one_line(text, said, tmp_path, capsys):
    Decoder(TINY).save(tmp_path / "m")
    path = tmp_path / "m" / "ee_config.json"
    good = json.loads(path.read_text())
    path.write_text(json.dumps({**good, **json.loads(text)}) if text.startswith("{") else text)
    assert run_main(export.main, [str(tmp_path / "m"), str(tmp_path / "m.onnx")]) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"error: {path}: ") and said in err and err.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_an_encoders_config_names_the_bad_field():
    for change, field in (({"layers": 0}, "layers"), ({"hidden": 32.0}, "hidden"), ({"classes": -1}, "classes")):
        with pytest.raises(UserError, match=field):
            EncoderConfig(**{**dict(vocab=50, hidden=32, heads=4, kv_heads=2, head_dim=8, ffn=48, layers=3, classes=5), **change})
