# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Exits: `grouped` equals `masked` bit for bit, `masked` equals ONNX Runtime, and exact KV equals the full model's.

For SmolLM2 with a spec and for torch's export with `ai.adaptive` ops, for each weight format, with scripted exits (drawn per token: full depth, each exit, by criterion) and with real ones,
all prompts run under `masked` and under `grouped` at each batch width. More prompts than the width arrive as others
end, so prompts and generated tokens of all depths share launches. Compared per token: id, depth, hash of the logits.
`kv`: with all debts paid, the KV of every level after text written with exits equals that of the same text at full
depth, and full depth in the artifact with exits equals the artifact without.
"""

import json
from pathlib import Path

import numpy as np
from _common import FORMATS, ROOT, Bench, parser, show, table, words

FIELDS = ("ids", "exit_depth", "logit_hash", "finish")


def differences(want, got, fields=FIELDS):
    """One entry per prompt that differs: the first step and what differs there."""
    found = []
    for i, (a, b) in enumerate(zip(want, got)):
        for field in fields:
            if a[field] != b[field]:
                step = next((s for s, (x, y) in enumerate(zip(a[field], b[field])) if x != y), min(len(a[field]), len(b[field])))
                found.append({"prompt": i, "field": field, "step": step, "want": a[field][step : step + 1], "got": b[field][step : step + 1]})
                break
    return found


def scripts(count, tokens, exits, seed):
    """An exit index, -1 (by criterion) or -2 (full depth) per token."""
    return np.random.default_rng(seed).integers(-2, exits, (count, tokens)).tolist()


def compare(bench, model, form, arm, prompts, widths, options):
    grouped, masked = (model.artifact(form, lowering) for lowering in ("grouped", "masked"))
    exits = len(json.loads((grouped / "manifest.json").read_text())["exits"])
    script = scripts(len(prompts), options.tokens, exits, 1) if arm == "scripted" else None
    reference = (masked, prompts, options.tokens, script)
    want = bench.generate(*reference, batch=16)
    rows = []
    for width in widths:
        flags, count = {"batch": width, "chunk": options.chunk}, len(prompts) if width >= 4 else options.narrow_prompts
        part, part_script = prompts[:count], script and script[:count]
        got = bench.generate(grouped, part, options.tokens, part_script, **flags)
        wrong, depth = differences(want[:count], got), np.concatenate([r["exit_depth"] for r in got])
        rows.append({"model": model.label, "weights": form, "exits": arm, "batch": width, "prompts": len(part), "tokens": len(depth),
                     "mean_depth": round(float(depth.mean()), 3), "different": len(wrong)})  # fmt: skip
        if wrong:
            rows[-1] |= {"first": wrong[:3], "masked": words(bench.generate_command(*reference, batch=16)),
                         "grouped": words(bench.generate_command(grouped, part, options.tokens, part_script, **flags))}  # fmt: skip
        print(f"{model.label} {form} {arm} batch {width}: {len(wrong)} of {len(part)} prompts differ", flush=True)
        if wrong:
            print(f"DIFFERS {model.label} {form} {arm} batch {width}: {wrong[0]}\n  {rows[-1]['masked']}\n  {rows[-1]['grouped']}", flush=True)
    return rows


def kv_part(bench, model, form, prompts, options):
    """16 sequences at a time: with --kv-hash all of a call's sequences stay in memory."""
    grouped, plain = model.artifact(form, "grouped"), model.without_exits(form)
    result = {"model": model.label, "weights": form, "prompts": len(prompts), "kv_different": [], "logits_different": []}
    for begin in range(0, len(prompts), 16):
        part = prompts[begin : begin + 16]
        written = bench.generate(grouped, part, options.tokens, kv_hash=True)
        ids = [r["ids"] for r in written]
        full = bench.generate(grouped, part, options.tokens, forced=ids, force_full=True, kv_hash=True)
        without = bench.generate(plain, part, options.tokens, forced=ids) if plain else full
        for i, (a, b, c) in enumerate(zip(written, full, without)):
            if a["kv_hash"] != b["kv_hash"]:
                levels = [k for k, (x, y) in enumerate(zip(a["kv_hash"], b["kv_hash"])) if x != y]
                result["kv_different"].append({"prompt": begin + i, "levels": levels})
            if b["logit_hash"] != c["logit_hash"]:
                result["logits_different"].append(begin + i)
        if result["kv_different"] and "command" not in result:
            result["command"] = words(bench.generate_command(grouped, part, options.tokens, kv_hash=True))
            result["full_command"] = words(bench.generate_command(grouped, part, options.tokens, forced=ids, force_full=True, kv_hash=True))
    print(f"kv {model.label} {form}: {len(prompts)} prompts, KV differs from full depth in {len(result['kv_different'])}, full-depth logits differ from "
          f"the artifact without exits in {len(result['logits_different'])}", flush=True)  # fmt: skip
    if "command" in result:
        print(f"  {result['kv_different'][:3]}\n  {result['command']}\n  {result['full_command']}", flush=True)
    return result


def page(result) -> str:
    groups = {}
    for row in result["grouped_against_masked"]:
        groups.setdefault((row["model"], row["weights"], row["exits"]), []).append(row)
    grouped = table(["model", "weights", "exits", "batch widths", "prompts", "tokens", "mean depth", "prompts that differ"],
                    [[*key, f"{min(r['batch'] for r in rows)} to {max(r['batch'] for r in rows)} ({len(rows)})", max(r["prompts"] for r in rows), max(r["tokens"] for r in rows),
                      f"{rows[-1]['mean_depth']:.2f}", sum(r["different"] for r in rows)] for key, rows in groups.items()])  # fmt: skip
    oracle = table(["model", "decisions", "rows", "max error of logits", "within 1e-3 of a threshold", "other depths that differ"],
                   [[model, arm, r["rows"], f"{r['max_error']:.1e}", r["near_threshold"], r["depth_differs"]]
                    for model, arms in result["masked_against_onnxruntime"].items() for arm, r in arms.items() if arm != "ok"])  # fmt: skip
    kv = table(["model", "weights", "prompts", "KV that differs from full depth", "full-depth logits that differ from the model without exits"],
               [[k["model"], k["weights"], k["prompts"], len(k["kv_different"]), len(k["logits_different"]) if k["model"] == "spec" else "-"] for k in result["kv"]])  # fmt: skip
    return f"`grouped` against `masked` (ids, depths, logit bits):\n\n{grouped}\n`masked` in f32 against ONNX Runtime:\n\n{oracle}\nKV under `exact` on the text written with exits:\n\n{kv}"


def main(argv):
    flags = parser("exits", __doc__)
    flags.add_argument("--spec", type=Path, default=ROOT / "examples/exits/smollm2/spec.toml", help="exit spec")
    flags.add_argument("--models", default="spec,torch")
    flags.add_argument("--weights", default=FORMATS)
    flags.add_argument("--prompts", type=int, default=200)
    flags.add_argument("--tokens", type=int, default=12)
    flags.add_argument("--batches", default="1,2,3,4,5,7,8,11,16")
    flags.add_argument("--torch-batches", default="1,7,16", help="batch widths of the torch model")
    flags.add_argument("--narrow-prompts", type=int, default=200, help="prompts at batch widths below 4, which take longest")
    flags.add_argument("--chunk", type=int, default=7, help="prompt tokens per wave of `grouped`; `masked` takes the default")
    flags.add_argument("--kv-prompts", type=int, default=32)
    flags.add_argument("--oracle-rows", type=int, default=16, help="sequences of 32 tokens to compare with ONNX Runtime; 0 leaves it out")
    options = flags.parse_args(argv)
    widths = {label: [int(b) for b in text.split(",")] for label, text in (("spec", options.batches), ("torch", options.torch_batches))}
    options.narrow_prompts = min(options.narrow_prompts, options.prompts)
    # Not needed by `page`, which has numpy and nothing else.
    from _exit_models import against_onnxruntime, models

    bench, rows, kv, oracle = Bench(options), [], [], {}
    prompts = bench.prompts(options.prompts)
    for model in models(bench, options):
        for form in options.weights.split(","):
            for arm in ("scripted", "real"):
                rows += compare(bench, model, form, arm, prompts, widths[model.label], options)
            kv.append(kv_part(bench, model, form, prompts[: options.kv_prompts], options))
        if options.oracle_rows:
            oracle[model.label] = against_onnxruntime(bench, model, options)
    keys = ("model", "weights", "exits", "batch", "prompts", "tokens", "mean_depth", "different")
    show(keys, [[row[k] for k in keys] for row in rows])
    ok = not any(row["different"] for row in rows) and not any(k["kv_different"] or k["logits_different"] for k in kv)
    ok &= all(found["ok"] for found in oracle.values())
    return {"ok": ok, "masked_against_onnxruntime": oracle, "grouped_against_masked": rows, "kv": kv}
