# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`LlamaBlock` against Hugging Face's, and every fill of `Recurse` against attention written out key by key."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from ee import nn  # noqa: E402

HIDDEN, HEADS, KV_HEADS, HEAD_DIM, FFN, SEQ, R, CONTEXT = 16, 4, 2, 4, 24, 6, 3, 12


def block(seed: int) -> nn.LlamaBlock:
    torch.manual_seed(seed)
    made = nn.LlamaBlock(HIDDEN, HEADS, KV_HEADS, HEAD_DIM, FFN).double()
    for p in made.parameters():
        torch.nn.init.normal_(p, std=0.4)
    return made


def context(dtype=torch.float64) -> dict:
    cos, sin = nn.rope_tables(CONTEXT, HEAD_DIM, 100.0)
    return {"rope": (cos[:SEQ].to(dtype), sin[:SEQ].to(dtype))}


@torch.no_grad()
def test_block_is_hugging_faces():
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=11, hidden_size=HIDDEN, intermediate_size=FFN, num_hidden_layers=1, num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS, head_dim=HEAD_DIM, rms_norm_eps=1e-5, max_position_embeddings=CONTEXT,
        rope_parameters={"rope_type": "default", "rope_theta": 100.0},
    )  # fmt: skip
    ours, theirs = block(0), transformers.LlamaModel(config).double().eval()
    theirs.layers[0].load_state_dict(ours.state_dict())
    h = torch.randn(2, SEQ, HIDDEN, dtype=torch.float64)
    want = theirs(inputs_embeds=h, use_cache=False).last_hidden_state
    got, _ = ours(h, nn.causal_mask(torch.arange(SEQ)), **context())
    theirs.norm.weight.data.fill_(1)
    got = got * torch.rsqrt(got.square().mean(-1, keepdim=True) + 1e-5)
    torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-6)  # their rotary tables are float32


class ByRow:
    """One block on one row at a time, in numpy: `keys(i)` are (position, k, v) before the rotation."""

    def __init__(self, made: nn.LlamaBlock):
        self.w = {n: p.detach().numpy() for n, p in made.named_parameters()}

    def norm(self, name: str, x: np.ndarray) -> np.ndarray:
        return x / np.sqrt((x * x).mean() + 1e-5) * self.w[name + ".weight"]

    def kv(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        n = self.norm("input_layernorm", x)
        return self.w["self_attn.k_proj.weight"] @ n, self.w["self_attn.v_proj.weight"] @ n

    @staticmethod
    def rotated(x: np.ndarray, position: int) -> np.ndarray:
        """Pairs (m, m + d/2) as complex numbers, turned by position * theta^(-2m/d)."""
        half = HEAD_DIM // 2
        pairs = x.reshape(-1, 2, half)
        turned = (pairs[:, 0] + 1j * pairs[:, 1]) * np.exp(1j * position * 100.0 ** (-2 * np.arange(half) / HEAD_DIM))
        return np.concatenate([turned.real, turned.imag], -1)

    def run(self, x: np.ndarray, position: int, keys: list) -> np.ndarray:
        q = self.rotated(self.w["self_attn.q_proj.weight"] @ self.norm("input_layernorm", x), position)
        heads = []
        for head in range(HEADS):
            group = head * KV_HEADS // HEADS
            s = np.array([q[head] @ self.rotated(k, p)[group] for p, k, _ in keys]) / np.sqrt(HEAD_DIM)
            weight = np.exp(s - s.max()) / np.exp(s - s.max()).sum()
            heads.append(sum(a * v.reshape(KV_HEADS, HEAD_DIM)[group] for a, (_, _, v) in zip(weight, keys)))
        x = x + self.w["self_attn.o_proj.weight"] @ np.concatenate(heads)
        n = self.norm("post_attention_layernorm", x)
        gate = self.w["mlp.gate_proj.weight"] @ n
        return x + self.w["mlp.down_proj.weight"] @ (gate / (1 + np.exp(-gate)) * (self.w["mlp.up_proj.weight"] @ n))


def expected(blocks: list, h: np.ndarray, depth: np.ndarray, fill: str) -> np.ndarray:
    """States [seq, hidden] of one sequence after each row ran `depth` recursions, K,V by the fill's definition. Layers are
    kept per recursion and block: store[r, i][j] = (k, v) that a query at recursion r sees for row j, if any."""
    by_row, store = [ByRow(b) for b in blocks], {}
    frozen, moving = h.copy(), h.copy()
    for r in range(R):
        runs = depth > r
        x = (moving if fill == "exact" else frozen).copy()
        for i, b in enumerate(by_row):
            own = {j: b.kv(x[j]) for j in range(SEQ)}
            if fill == "skip":
                own = {j: kv for j, kv in own.items() if runs[j]}
            if fill == "share" and r:
                own = store[0, i]
            if fill == "copy" and r:
                own = {j: own[j] if runs[j] else store[r - 1, i][j] for j in range(SEQ)}
            store[r, i] = own
            new = x.copy()
            for j in range(SEQ):
                if runs[j] or fill == "exact":
                    new[j] = b.run(x[j], j, [(p, *own[p]) for p in range(j + 1) if p in own])
                elif fill != "propagate":  # there a frozen row has the state it kept, in every block
                    new[j] = np.nan  # only rows that run are computed
            if fill == "copy":
                new[~runs] = 0
            x = new
        moving = np.where(runs[:, None], x, x if fill == "exact" else moving)
        frozen = np.where(runs[:, None], x, frozen)
    return frozen


@torch.no_grad()
@pytest.mark.parametrize("fill", ["propagate", "skip", "share", "copy", "exact"])
def test_fills_key_by_key(fill):
    blocks, rng = [block(1), block(2)], np.random.default_rng(0)
    module = nn.Recurse(torch.nn.ModuleList(blocks), R, halt=nn.HaltThreshold(), gates=[torch.nn.Linear(HIDDEN, 1) for _ in range(R - 1)], fill=fill)
    h = torch.randn(2, SEQ, HIDDEN, dtype=torch.float64)
    depth = rng.integers(1, R + 1, (2, SEQ))
    depth[:, :3] = [[1, 3, 2], [2, 1, 3]]
    script = torch.from_numpy(np.where(np.arange(1, R) >= depth[..., None], 1.0, -1.0))
    got = module(h, nn.causal_mask(torch.arange(SEQ)), script=script, **context())
    np.testing.assert_array_equal(got.depth, depth)
    results = np.stack([expected(blocks, h[b].numpy(), depth[b], fill) for b in range(2)])
    np.testing.assert_allclose(got.state, results, rtol=1e-6, atol=1e-7)
    alone = np.stack([expected(blocks, h[b].numpy(), depth[b], other) for b in range(2) for other in ("exact",)])
    assert fill == "exact" or np.abs(alone - results).max() > 1e-3  # the fill matters


@torch.no_grad()
def test_routed_top_k_sees_selected_rows_only():
    """Train parity of Mixture-of-Recursions: top-k, h + alpha sigma(z) f(h), queries and keys among the selected."""
    blocks, routers = [block(3)], [nn.RouterLinear(HIDDEN).double() for _ in range(R)]
    rules = [nn.RouteTopK((R - r) / R) for r in range(R)]
    module = nn.Recurse(blocks[0], R, route=rules, routers=routers, update=nn.GateWeighted(0.1), fill="skip")
    h = torch.randn(2, SEQ, HIDDEN, dtype=torch.float64)
    got, b = module(h, nn.causal_mask(torch.arange(SEQ)), **context()), ByRow(blocks[0])
    for n in range(2):
        x, alive = h[n].numpy().copy(), list(range(SEQ))
        for r in range(R):
            z = x @ routers[r].weight[0].numpy()
            alive = sorted(sorted(alive, key=lambda j: -z[j])[: max(1, (R - r) * SEQ // R)])
            keys = {j: b.kv(x[j]) for j in alive}
            f = {j: b.run(x[j], j, [(p, *keys[p]) for p in alive if p <= j]) for j in alive}
            for j in alive:
                x[j] = x[j] + 0.1 / (1 + np.exp(-z[j])) * f[j]
            assert got.active[r][n].nonzero().flatten().tolist() == alive
        np.testing.assert_allclose(got.state[n], x, rtol=1e-6, atol=1e-7)
