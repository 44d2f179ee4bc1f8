# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Exits: `grouped` equals `masked` bit for bit, and exact KV equals the full model's.

For each weight format, with scripted exits (drawn per token: full depth, each exit, by criterion) and with real ones,
all prompts run under `masked` and under `grouped` at each batch width. More prompts than the width arrive as others
end, so prompts and generated tokens of all depths share launches. Compared per token: id, depth, hash of the logits.
`kv`: with all debts paid, the KV of every level after text written with exits equals that of the same text at full
depth, and full depth in the artifact with exits equals the artifact without.
"""

import json
from pathlib import Path

import numpy as np
from _common import FORMATS, ROOT, Bench, parser, show, words

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


def compare(bench, form, arm, masked, grouped, prompts, options):
    exits = len(json.loads((grouped / "manifest.json").read_text())["exits"])
    script = scripts(len(prompts), options.tokens, exits, 1) if arm == "scripted" else None
    reference = (masked, prompts, options.tokens, script)
    want = bench.generate(*reference, batch=16)
    rows = []
    for width in options.batches:
        flags, count = {"batch": width, "chunk": options.chunk}, len(prompts) if width >= 4 else options.narrow_prompts
        part, part_script = prompts[:count], script and script[:count]
        got = bench.generate(grouped, part, options.tokens, part_script, **flags)
        wrong, depth = differences(want[:count], got), np.concatenate([r["exit_depth"] for r in got])
        rows.append({"weights": form, "exits": arm, "batch": width, "prompts": len(part), "tokens": len(depth),
                     "mean_depth": round(float(depth.mean()), 3), "different": len(wrong)})  # fmt: skip
        if wrong:
            rows[-1] |= {"first": wrong[:3], "masked": words(bench.generate_command(*reference, batch=16)),
                         "grouped": words(bench.generate_command(grouped, part, options.tokens, part_script, **flags))}  # fmt: skip
        print(f"{form} {arm} batch {width}: {len(wrong)} of {len(part)} prompts differ", flush=True)
        if wrong:
            print(f"DIFFERS {form} {arm} batch {width}: {wrong[0]}\n  {rows[-1]['masked']}\n  {rows[-1]['grouped']}", flush=True)
    return rows


def kv_part(bench, form, plain, grouped, prompts, options):
    """16 sequences at a time: with --kv-hash all of a call's sequences stay in memory."""
    result = {"weights": form, "prompts": len(prompts), "kv_different": [], "logits_different": []}
    for begin in range(0, len(prompts), 16):
        part = prompts[begin : begin + 16]
        written = bench.generate(grouped, part, options.tokens, kv_hash=True)
        ids = [r["ids"] for r in written]
        full = bench.generate(grouped, part, options.tokens, forced=ids, force_full=True, kv_hash=True)
        without = bench.generate(plain, part, options.tokens, forced=ids)
        for i, (a, b, c) in enumerate(zip(written, full, without)):
            if a["kv_hash"] != b["kv_hash"]:
                levels = [k for k, (x, y) in enumerate(zip(a["kv_hash"], b["kv_hash"])) if x != y]
                result["kv_different"].append({"prompt": begin + i, "levels": levels})
            if b["logit_hash"] != c["logit_hash"]:
                result["logits_different"].append(begin + i)
        if result["kv_different"] and "command" not in result:
            result["command"] = words(bench.generate_command(grouped, part, options.tokens, kv_hash=True))
            result["full_command"] = words(bench.generate_command(grouped, part, options.tokens, forced=ids, force_full=True, kv_hash=True))
    print(f"kv {form}: {len(prompts)} prompts, KV differs from full depth in {len(result['kv_different'])}, full-depth logits differ from "
          f"the artifact without exits in {len(result['logits_different'])}", flush=True)  # fmt: skip
    if "command" in result:
        print(f"  {result['kv_different'][:3]}\n  {result['command']}\n  {result['full_command']}", flush=True)
    return result


def oracle_part(bench, masked, options):
    """`masked` in f32 against ONNX Runtime on the same model with the exits as `ai.adaptive` nodes, every row enabled.

    Scripted: depths equal, logits within 1e-4 of the largest. Real: rows whose score lies within 1e-3 of a threshold
    may go either way and are counted; all others agree."""
    import onnx
    from ee.exit_spec import load_spec
    from ee.insert_exits import write_exits
    from ee.oracle import Oracle

    specs, fill = load_spec(options.spec)
    ids = np.array(bench.text_ids(options.oracle_rows * 32)[0]).reshape(-1, 32)
    enabled, script = np.ones(ids.shape, bool), np.random.default_rng(2).integers(0, len(specs) + 1, ids.shape)
    result = {}
    for arm in ("scripted", "real"):
        file = bench.model() / f"exits-{arm}.onnx"
        write_exits(bench.model() / "model.onnx", file, specs, fill, scripted=arm == "scripted", exit_depth=True)
        inputs, feeds = {"input_ids": ids, "enabled": enabled}, {}
        if arm == "scripted":
            # Exit index, or full depth; ONNX Runtime gets a score on either side of each threshold.
            inputs["script"] = np.where(script < len(specs), script, -2)
            feeds = {f"script.{s.label}": np.where(script == i, s.threshold + 1, s.threshold - 1).astype(np.float32) for i, s in enumerate(specs)}
        else:
            loaded = onnx.load(file, load_external_data=False)
            loaded.graph.output.extend(onnx.helper.make_tensor_value_info(f"exit.{s.label}.score", onnx.TensorProto.FLOAT, None) for s in specs)
            onnx.save(loaded, file)
        want = Oracle(file, threads=bench.threads).run(ids, enabled=enabled, **feeds)
        logits, depth = bench.rows(masked, inputs, ["logits", "exit_depth"])
        near = np.zeros(ids.shape, bool)
        if arm == "real":
            for s in specs:
                near |= np.abs(want[f"exit.{s.label}.score"].reshape(ids.shape) - s.threshold) < 1e-3
        same = depth == want["exit_depth"]
        error = np.abs(logits - want["logits"])[same].max() / np.abs(want["logits"]).max()
        result[arm] = {"rows": ids.size, "rows_by_depth": {int(d): int(n) for d, n in zip(*np.unique(depth, return_counts=True))},
                       "max_error": float(error), "near_threshold": int(near.sum()), "depth_differs": int((~same & ~near).sum())}  # fmt: skip
        file.unlink()
        print(f"oracle, {arm}: {result[arm]}", flush=True)
    result["ok"] = all(r["depth_differs"] == 0 and r["max_error"] <= 1e-4 for r in result.values())
    return result


def main(argv):
    flags = parser("exits", __doc__)
    flags.add_argument("--spec", type=Path, default=ROOT / "examples/exits/smollm2/spec.toml", help="exit spec")
    flags.add_argument("--weights", default=FORMATS)
    flags.add_argument("--prompts", type=int, default=200)
    flags.add_argument("--tokens", type=int, default=24)
    flags.add_argument("--batches", default="1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16")
    flags.add_argument("--narrow-prompts", type=int, default=200, help="prompts at batch widths below 4, which take longest")
    flags.add_argument("--chunk", type=int, default=7, help="prompt tokens per wave of `grouped`; `masked` takes the default")
    flags.add_argument("--kv-prompts", type=int, default=32)
    flags.add_argument("--oracle-rows", type=int, default=16, help="sequences of 32 tokens to compare with ONNX Runtime; 0 leaves it out")
    options = flags.parse_args(argv)
    options.batches = [int(b) for b in options.batches.split(",")]
    options.narrow_prompts = min(options.narrow_prompts, options.prompts)
    bench, rows, kv = Bench(options), [], []
    prompts = bench.prompts(options.prompts)
    for form in options.weights.split(","):
        grouped, masked = (bench.artifact(form, options.spec, lowering) for lowering in ("grouped", "masked"))
        for arm in ("scripted", "real"):
            rows += compare(bench, form, arm, masked, grouped, prompts, options)
        kv.append(kv_part(bench, form, bench.artifact(form), grouped, prompts[: options.kv_prompts], options))
    keys = ("weights", "exits", "batch", "prompts", "tokens", "mean_depth", "different")
    show(keys, [[row[k] for k in keys] for row in rows])
    ok = not any(row["different"] for row in rows) and not any(k["kv_different"] or k["logits_different"] for k in kv)
    oracle = oracle_part(bench, bench.artifact("f32", options.spec, "masked"), options) if options.oracle_rows else None
    ok &= oracle is None or oracle["ok"]
    return {"ok": ok, "masked_against_onnxruntime": oracle, "grouped_against_masked": rows, "kv": kv}
