# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""SmolLM2-135M as a Relaxed Recursive Transformer: error and perplexity by rank and initialisation, then a short uptraining.

Middle-cycle sharing, R = 2: the first and the last layer stay, 28 layers between them become 14 run twice, each pass
with a low-rank term per linear map. `error` is the Frobenius norm of all weights' differences over that of the weights.
"""

import sys

import numpy as np
from _common import SOURCE, show, table
from _training import flags, text


def perplexity(logits, ids, batch=4):
    """Of next tokens in windows [n, length + 1]; logits(x [batch, length]) -> [batch, length, vocab]."""
    import torch

    total = 0.0
    with torch.no_grad():
        for i in range(0, len(ids), batch):
            x = ids[i : i + batch]
            total += float(torch.nn.functional.cross_entropy(logits(x[:, :-1]).float().flatten(0, 1), x[:, 1:].flatten(), reduction="sum"))
    return float(np.exp(total / ids[:, 1:].numel()))


def page(result) -> str:
    rows = [[r["init"], r["rank"], f"{r['error']:.4f}", f"{r['perplexity']:.1f}"] for r in result["grid"]]
    u = result["uptraining"]
    return (
        f"The source's perplexity is {result['source_perplexity']:.2f} on {result['tokens']:,} held-out tokens. Full rank: largest difference of a logit over the largest "
        f"|logit| {result['full_rank_error']:.1e}.\n\n" + table(["initialisation", "rank", "error of the weights", "perplexity"], rows) +
        f"\n\nUptraining, {u['init']}, rank {u['rank']}: {u['steps']} steps of {u['tokens_per_step']} tokens, {u['seconds'] / 60:.0f} minutes: perplexity "
        f"{u['before']:.1f} to {u['after']:.1f}; leaving after the first loop {u['exit_before']:.1f} to {u['exit_after']:.1f}."
    )  # fmt: skip


def main(argv):
    import torch

    from ee.checkpoint import open_checkpoint
    from ee.train.recursive import convert, truncate
    from ee.train.retokenise import OtherTokens
    from ee.train.rrt import BATCH, LENGTH, source_tokenizer, source_weights, uptrain

    parser = flags("train-rrt", __doc__, 10)
    parser.add_argument("--ranks", default="0,64,256,512")
    parser.add_argument("--inits", default="stepwise,average,lower,upper")
    parser.add_argument("--uptrain-rank", type=int, default=64)
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    checkpoint, data = open_checkpoint(SOURCE), text(options.cache)
    source = checkpoint.config
    weights, tokenizer = source_weights(checkpoint), source_tokenizer(checkpoint, SOURCE)
    held_out = OtherTokens(data, tokenizer, "valid", LENGTH).first(24)

    # The source itself: one recursion over all its layers.
    teacher = convert(weights, source, 1, 0, "cycle", "stepwise").eval()
    reference = perplexity(teacher, held_out)
    print(f"source: perplexity {reference:.3f}", flush=True)

    def error_of(model):
        """Differences are between the unrolled copies and the source, norm gains folded on both sides."""
        total = 0.0
        for l in range(source.layers):
            own, theirs = model.model.layers[model.config.layout[l]], teacher.model.layers[l]
            for module in ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"):
                a, b = (getattr(x.self_attn, module, None) or getattr(x.mlp, module, None) for x in (own, theirs))
                w = a.weight
                if model.lora is not None and 0 < l < source.layers - 1:
                    low = model.lora.get_submodule(f"{l}.{module}")
                    w = w + low.B @ low.A
                total += float((w - b.weight).double().square().sum().detach())
        return (total / folded) ** 0.5

    folded = sum(float(p.detach().double().square().sum()) for n, p in teacher.named_parameters() if n.endswith("_proj.weight"))
    full = convert(weights, source, 2, max(source.hidden, source.ffn), "middle_cycle", "average").eval()
    with torch.no_grad():
        want, got = teacher(held_out[:4, :-1]), full(held_out[:4, :-1])
    full_rank_error = float((want - got).abs().max() / want.abs().max())
    del full
    print(f"full rank: largest difference of a logit {full_rank_error:.2e} of the largest", flush=True)

    grid, ranks, candidates = [], sorted(map(int, options.ranks.split(","))), {}
    for init in options.inits.split(","):
        # One decomposition serves every rank: the best approximation of a lower rank is its first terms.
        largest = convert(weights, source, 2, ranks[-1], "middle_cycle", init).eval()
        for rank in ranks:
            model = truncate(largest, rank).eval()
            grid.append({"init": init, "rank": rank, "error": error_of(model), "perplexity": perplexity(model, held_out)})
            print(grid[-1], flush=True)
            if rank == options.uptrain_rank:
                candidates[init] = model
    if not candidates:
        sys.exit(f"error: --uptrain-rank {options.uptrain_rank} is not one of --ranks {options.ranks}")

    best = min((g for g in grid if g["rank"] == options.uptrain_rank), key=lambda g: g["perplexity"])
    model = candidates[best["init"]]

    def at_exit(x):
        return next(model.exit_logits(h) for d, h in model.states(x) if d == model.config.exits[0])

    before, exit_before = perplexity(model, held_out), perplexity(at_exit, held_out)
    folder = options.cache / "train" / f"rrt-{best['init']}-{options.uptrain_rank}"
    # A run that is there has trained weights, which the loop puts into the model.
    run = uptrain(model, teacher, f"middle_cycle, {best['init']}", tokenizer, data, folder, options.minutes, say=lambda line: print(line, flush=True))
    model.eval()
    result = {
        "source_perplexity": reference, "tokens": int(held_out[:, 1:].numel()), "full_rank_error": full_rank_error, "grid": grid,
        "uptraining": {
            "init": best["init"], "rank": options.uptrain_rank, "steps": run.steps_done, "tokens_per_step": BATCH * LENGTH, "seconds": run.spent, "before": before,
            "after": perplexity(model, held_out), "exit_before": exit_before, "exit_after": perplexity(at_exit, held_out), "log": run.rows[:: max(1, len(run.rows) // 40)],
        },
        "ok": full_rank_error < 1e-4,
    }  # fmt: skip
    show(["initialisation", "rank", "error", "perplexity"], [[g["init"], g["rank"], f"{g['error']:.4f}", f"{g['perplexity']:.1f}"] for g in grid])
    return result
