# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""f32 greedy text and logits against PyTorch, q4 weights against the initialisers, all formats against f32.

Four parts. `text`: greedy ids of the f32 artifact equal transformers' in float32; a divergence is listed with the gap
between torch's two largest logits there and with what a float64 run picks. `error`: teacher-forced logits against
float64, ours and torch's. `unpack`: packed q4 matrices are the initialisers bit for bit. `formats`: perplexity and
agreement of the likeliest token with f32, over windows of one text.
"""

import json
import time

import numpy as np
from _common import FORMATS, SOURCE, Bench, call, hf_llama, initialisers, parser, show, table, words


def torch_greedy(model, prompts, steps):
    """(ids [steps], top-2 gaps [steps]) by prompt; prompts of one length share a batch, so that nothing is padded."""
    import torch
    from transformers import DynamicCache

    result = [None] * len(prompts)
    for length in sorted({len(p) for p in prompts}):
        members = [i for i, p in enumerate(prompts) if len(p) == length]
        feed, cache, ids, gaps = torch.tensor([prompts[i] for i in members]), DynamicCache(), [], []
        for _ in range(steps):
            top = model(feed, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1].topk(2)
            feed = top.indices[:, :1]
            ids.append(feed[:, 0].numpy())
            gaps.append((top.values[:, 0] - top.values[:, 1]).numpy())
        for column, i in enumerate(members):
            result[i] = [int(s[column]) for s in ids], [float(s[column]) for s in gaps]
    return result


def double_model(bench):
    import torch
    from ee.checkpoint import open_checkpoint
    from ee.torch_llama import TorchLlama

    torch.set_grad_enabled(False)
    return TorchLlama(open_checkpoint(SOURCE), torch.float64)


def text_part(bench, model, options):
    # Few different lengths make few batches for torch.
    prompts = [ids[: len(ids) // 4 * 4 or None] for ids in bench.prompts(options.prompts)]
    artifact = bench.artifact("f32")
    begin = time.monotonic()
    want = torch_greedy(model, prompts, options.tokens)
    torch_seconds, begin = time.monotonic() - begin, time.monotonic()
    flags = {"eos": "none", "logit_hash": False}
    got = bench.generate(artifact, prompts, options.tokens, **flags)
    seconds, divergences, double = time.monotonic() - begin, [], None
    for i, (ours, (ids, gaps)) in enumerate(zip(got, want)):
        if ours["ids"] == ids:
            continue
        step = next((s for s, (a, b) in enumerate(zip(ours["ids"], ids)) if a != b), min(len(ours["ids"]), len(ids)))
        double = double or double_model(bench)
        top = double.logits([prompts[i] + ids[:step]])[0, -1].topk(2)
        divergences.append({
            "prompt": i, "step": step, "ours": ours["ids"][step] if step < len(ours["ids"]) else None, "torch": ids[step],
            "torch_top2_gap": gaps[step], "float64": int(top.indices[0]), "float64_top2_gap": float(top.values[0] - top.values[1]),
        })  # fmt: skip
    print(f"text: {len(prompts) - len(divergences)} of {len(prompts)} prompts x {options.tokens} tokens equal PyTorch f32; "
          f"smallest top-2 gap {min(min(g) for _, g in want):.2e}; torch {torch_seconds:.0f} s, ee-run {seconds:.0f} s", flush=True)  # fmt: skip
    for d in divergences:
        print(f"  prompt {d['prompt']} token {d['step']}: ours {d['ours']}, torch {d['torch']} with gap {d['torch_top2_gap']:.3g}, float64 {d['float64']}")
    return {"prompts": len(prompts), "tokens": options.tokens, "smallest_gap": min(min(g) for _, g in want), "divergences": divergences,
            "command": words(bench.generate_command(artifact, prompts, options.tokens, **flags))}  # fmt: skip


def error_part(bench, model, options):
    import torch

    ids, text = bench.text_ids(options.windows * options.window)
    double, artifact, rows = double_model(bench), bench.artifact("f32"), []
    for window in np.array(ids).reshape(options.windows, options.window):
        truth = double.logits(window[None])[0].numpy()
        scale = np.abs(truth).max()
        theirs = model(torch.from_numpy(window[None])).logits[0].double().numpy()
        ours = bench.logits(artifact, window[None])[0].astype(np.float64)
        rows.append((np.abs(ours - truth).max() / scale, np.abs(theirs - truth).max() / scale))
    ours, theirs = (float(max(column)) for column in zip(*rows))
    print(f"error: over {len(rows)} windows of {options.window} tokens, max |logit - float64| / max |logit|: ours {ours:.3e}, "
          f"PyTorch f32 {theirs:.3e}, ratio {ours / theirs:.2f}", flush=True)  # fmt: skip
    return {"windows": [{"ours": float(a), "torch": float(b)} for a, b in rows], "ours": ours, "torch": theirs, "ratio": ours / theirs, "text_sha256": text}


def unpack_q4(raw: np.ndarray, n: int, k: int) -> np.ndarray:
    """f32 [n, k] of the layout in AdaptiveDialect/Conversion/CPU/Packing.h: panels of 64 outputs, groups of 32 inputs."""
    panels, groups = -(-n // 64), -(-k // 32)
    group = raw.reshape(panels, groups, 1280)
    codes = group[..., :1024].reshape(panels, groups, 4, 64, 4)
    scale = np.ascontiguousarray(group[..., 1024:1152]).view(np.float16).astype(np.float32)
    least = np.ascontiguousarray(group[..., 1152:1280]).view(np.float16).astype(np.float32)
    # Of each byte [c][n][i] the low nibble is input 8 c + i, the high one 8 c + 4 + i.
    code = np.stack([codes & 15, codes >> 4], axis=3).transpose(0, 1, 4, 2, 3, 5)  # [panel, group, n, c, half, i]
    code = code.reshape(panels, groups, 64, 32).astype(np.float32)
    value = scale[..., None] * code + least[..., None]
    return value.transpose(0, 2, 1, 3).reshape(panels * 64, groups * 32)[:n, :k]


def unpack_part(bench, options):
    artifact, model = bench.artifact("q4"), bench.model()
    stored, equal, wrong = initialisers(model / "model.onnx"), 0, []
    for entry in json.loads((artifact / "manifest.json").read_text())["weights"]:
        if entry["format"] != "q4":
            continue
        raw = np.fromfile(artifact / entry["file"], np.uint8, entry["bytes"], offset=entry["offset"])
        name = entry["name"]
        # ".T" marks an initialiser that lies as [in, out].
        want = stored[name[:-2]].T if name.endswith(".T") else stored[name]
        got = unpack_q4(raw, *entry["shape"])
        same = got.shape == want.shape and np.array_equal(got.view(np.uint32), np.ascontiguousarray(want).view(np.uint32))
        equal += same
        if not same:
            wrong.append({"name": name, "max_difference": float(np.abs(got - want).max()) if got.shape == want.shape else None})
    print(f"unpack: {equal} q4 matrices equal their initialisers bit for bit, {len(wrong)} do not {[w['name'] for w in wrong[:5]]}", flush=True)
    return {"equal": equal, "wrong": wrong}


def formats_part(bench, options):
    ids, text = bench.text_ids(options.text_tokens)
    windows = [np.array(ids[i : i + options.context])[None] for i in range(0, len(ids), options.context)]
    rows, best = {}, {}
    for form in options.weights.split(","):
        artifact, nll, counted, best[form] = bench.artifact(form), 0.0, 0, []
        for window in windows:
            logits = bench.logits(artifact, window)[0]
            best[form].append(logits.argmax(-1))
            for row, target in zip(logits, window[0, 1:]):
                z = row.astype(np.float64) - row.max()
                nll += np.log(np.exp(z).sum()) - z[target]
            counted += window.shape[1] - 1
        said = json.loads(call([bench.run, "eval", artifact, "--ids", bench.ids_file([ids]), "-c", options.context, "-t", bench.threads, "--json"]))
        row = {"perplexity": float(np.exp(nll / counted)), "perplexity_of_eval": said["perplexity_full"],
               "top1_agreement": float(np.mean(np.concatenate(best[form]) == np.concatenate(best[options.weights.split(",")[0]])))}  # fmt: skip
        rows[form] = row
    base = rows[options.weights.split(",")[0]]["perplexity"]
    print(f"formats, over {len(ids)} tokens in windows of {options.context}:")
    show(["weights", "perplexity", "of ee-run eval", "against first", "agreement"],
         [[f, f"{r['perplexity']:.4f}", f"{r['perplexity_of_eval']:.4f}", f"{r['perplexity'] / base - 1:+.3%}", f"{r['top1_agreement']:.2%}"] for f, r in rows.items()])  # fmt: skip
    return {"tokens": len(ids), "context": options.context, "text_sha256": text, "formats": rows}


def page(result) -> str:
    parts, lines = {name: result.get(name) for name in ("text", "error", "unpack", "formats")}, []
    if text := parts["text"]:
        lines.append(f"- Greedy ids: {text['prompts'] - len(text['divergences'])} of {text['prompts']} prompts x {text['tokens']} tokens equal PyTorch f32; "
                     f"the smallest gap between torch's two largest logits was {text['smallest_gap']:.1e}.\n")  # fmt: skip
    if error := parts["error"]:
        lines.append(f"- Teacher-forced logits, max error against float64 over max |logit|, {len(error['windows'])} windows: ours {error['ours']:.1e}, "
                     f"PyTorch f32 {error['torch']:.1e}, ratio {error['ratio']:.2f}.\n")  # fmt: skip
    if unpack := parts["unpack"]:
        lines.append(f"- Packed q4 matrices equal to their initialisers bit for bit: {unpack['equal']}, not equal: {len(unpack['wrong'])}.\n")
    if formats := parts["formats"]:
        rows = formats["formats"]
        base = next(iter(rows.values()))["perplexity"]
        lines.append(f"\nFormats over {formats['tokens']} tokens of text, windows of {formats['context']}:\n\n")
        lines.append(table(["weights", "perplexity", "against the first", "same likeliest token as the first"],
                           [[f, f"{r['perplexity']:.3f}", f"{r['perplexity'] / base - 1:+.2%}", f"{r['top1_agreement']:.1%}"] for f, r in rows.items()]))  # fmt: skip
    return "".join(lines)


def main(argv):
    flags = parser("greedy", __doc__)
    flags.add_argument("--parts", default="unpack,text,error,formats")
    flags.add_argument("--prompts", type=int, default=50)
    flags.add_argument("--tokens", type=int, default=64)
    flags.add_argument("--windows", type=int, default=4)
    flags.add_argument("--window", type=int, default=256, help="tokens of a teacher-forced window")
    flags.add_argument("--weights", default=FORMATS, help="formats of the table, the one to compare with first")
    flags.add_argument("--text-tokens", type=int, default=4096)
    flags.add_argument("--context", type=int, default=512)
    options = flags.parse_args(argv)
    bench, parts, result = Bench(options), options.parts.split(","), {}
    layers = bench.layers()
    model = hf_llama(bench.model(), options.threads) if {"text", "error"} & set(parts) else None
    if "unpack" in parts:
        result["unpack"] = unpack_part(bench, options)
    if "text" in parts:
        result["text"] = text_part(bench, model, options)
    if "error" in parts:
        result["error"] = error_part(bench, model, options)
    if "formats" in parts:
        result["formats"] = formats_part(bench, options)
    result["ok"] = (not result.get("unpack", {}).get("wrong") and result.get("unpack", {}).get("equal") in (None, 7 * layers)
                    and not result.get("text", {}).get("divergences") and result.get("error", {}).get("ratio", 0) <= 2)  # fmt: skip
    return result
