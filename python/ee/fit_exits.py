# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Exit heads for a model that was not trained for exits, in closed form, on the CPU, in minutes.

    python -m ee.fit_exits SOURCE OUT_DIR --layers 16,24 [--agreement 0.95] [--rank R] [--tokens N] [--text PATH ...]
    python -m ee.fit_exits SOURCE OUT_DIR --recalibrate spec.toml --agreement 0.97      # only new thresholds

For an exit after layer k two things are fitted on text the model reads once:
  map    ridge regression from the state h_k to the final state h_L / rms(h_L). The exit's logits are
         lm_head(final_norm(h_k @ map + bias)), so the map's scale is free and is chosen to suit float16.
  probe  ridge logistic regression on h_k of "the exit's argmax is the full model's". Its score is the log-odds of
         agreeing, so the criterion costs one dot product and the LM head runs only for rows that leave.
Thresholds are the lowest at which, on held-out files, at most 1 - AGREEMENT of all rows emit another token; the
budget is shared evenly between exits. The numbers in fit.json come from a third set of files.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from .checkpoint import open_checkpoint
from .installed_text import chunks, texts
from .errors import UserError, run_main
from .exit_spec import ExitSpec, Head, check_specs, load_spec, save_spec
from .folders import check_output_folder, write_json
from .numpy_llama import NumpyLlama
from .regression import logistic, ridge
from .tiny import parse_layers

CHUNK = 256  # tokens per sequence; rows before position SKIP have too little context to be typical
SKIP = 4


def argmax_rows(model: NumpyLlama, spec: ExitSpec, h: np.ndarray, rows: int = 512) -> np.ndarray:
    """The exit head's argmax for states [N,D], without holding all logits."""
    return np.concatenate([model.exit_logits(spec, h[i : i + rows]).argmax(-1) for i in range(0, len(h), rows)])


def collect(model: NumpyLlama, sequences: list[list[int]], layers: list[int], progress) -> dict:
    """States after each of `layers` and after the last, and the full model's argmax, for all rows of all sequences."""
    states: dict[int, list[np.ndarray]] = {k: [] for k in [*layers, model.config.layers]}
    for i, ids in enumerate(sequences):
        h = model.states(ids)
        for k, parts in states.items():
            parts.append(h[k][SKIP:])
        progress(i + 1, len(sequences))
    result = {k: np.concatenate(parts) for k, parts in states.items()}
    result["full"] = argmax_rows(model, ExitSpec(1), result[model.config.layers])
    return result


def make_head(w: np.ndarray, b: np.ndarray, rank: int | None) -> Head:
    """A head from W and b, scaled by a power of two so that the largest entry is near 256 and small ones keep
    their digits in float16; with `rank`, as two factors by SVD."""
    scale = 2.0 ** np.floor(np.log2(256 / np.abs(w).max()))
    w, b = w * scale, (b * scale).astype(np.float32)
    if rank is None:
        return Head("map", {"map": w.astype(np.float16).astype(np.float32), "bias": b})
    u, s, v = np.linalg.svd(w)
    down, up = u[:, :rank] * np.sqrt(s[:rank]), np.sqrt(s[:rank])[:, None] * v[:rank]
    return Head("lowrank", {"down": down.astype(np.float16).astype(np.float32), "up": up.astype(np.float16).astype(np.float32), "bias": b})


def pick_threshold(score: np.ndarray, wrong: np.ndarray, allowed: int) -> float:
    """The lowest threshold at which at most `allowed` of the rows with score >= threshold are wrong."""
    order = np.argsort(-score, kind="stable")
    failures = np.cumsum(wrong[order])
    count = int(np.searchsorted(failures, allowed, side="right"))
    if count == 0:
        return float(np.nextafter(np.float32(score.max()), np.float32(np.inf)))
    return float(score[order[count - 1]])


def fit(model: NumpyLlama, data: dict, held: dict, layers: list[int], rank: int | None, say, strengths=(1e-4, 1e-3, 1e-2, 1e-1)) -> list[ExitSpec]:
    """Maps and probes for all exits; the ridge strength of each is the best of `strengths` on the held-out rows."""
    last = model.config.layers
    target = data[last] / np.sqrt((data[last] ** 2).mean(-1, keepdims=True))
    specs = []
    for k in layers:
        tried = []
        for strength in strengths:
            spec = ExitSpec(k, "probe", head=make_head(*ridge(data[k], target, strength), rank))
            few = slice(0, 2048)
            tried.append(((argmax_rows(model, spec, held[k][few]) == held["full"][few]).mean(), -strength, spec))
        spec = max(tried, key=lambda t: t[:2])[2]
        say(f"e{k}: map fitted")
        label = argmax_rows(model, spec, data[k]) == data["full"]
        truth = argmax_rows(model, spec, held[k]) == held["full"]
        tried = []
        for strength in (1e-3, 1e-2, 1e-1, 1.0):
            w, b = (np.float32(a) for a in logistic(data[k], label, strength))
            margin = np.where(truth, 1, -1) * (held[k] @ w + b)
            tried.append((np.logaddexp(0, -margin).mean(), strength, (w, float(b))))
        say(f"e{k}: probe fitted")
        specs.append(replace(spec, probe=min(tried, key=lambda t: t[:2])[2]))
    return specs


def measure(model: NumpyLlama, specs: list[ExitSpec], data: dict, agreement: float | None = None) -> tuple[list[ExitSpec], dict]:
    """Walk the exits in order over `data`. With `agreement`, thresholds are chosen on the way; returns specs and facts."""
    rows = len(data["full"])
    here, depth, good, result, facts = np.ones(rows, bool), np.full(rows, model.config.layers), np.ones(rows, bool), [], []
    for s in specs:
        right = argmax_rows(model, s, data[s.layer]) == data["full"]
        score = data[s.layer] @ np.asarray(s.probe[0], np.float32) + np.float32(s.probe[1])
        if agreement is not None:
            s = replace(s, threshold=round(pick_threshold(score[here], ~right[here], int((1 - agreement) / len(specs) * rows)), 3))
        leaves = here & (score >= s.threshold)
        good[leaves], depth[leaves], here = right[leaves], s.layer, here & ~leaves
        facts.append({"exit": s.label, "layer": s.layer, "threshold": s.threshold, "agreement_if_all_left": round(float(right.mean()), 4), "share": round(float(leaves.mean()), 4)})
        result.append(s)
    summary = {"rows": rows, "agreement": round(float(good.mean()), 4), "mean_depth": round(float(depth.mean()), 3), "exits": facts}
    return result, summary


def main(argv) -> int:
    parser = argparse.ArgumentParser(prog="python -m ee.fit_exits", description=__doc__.split("\n\n")[0])
    parser.add_argument("source", help="as for ee.write_llama")
    parser.add_argument("out_dir", help="gets spec.toml, spec.safetensors, fit.json")
    parser.add_argument("--layers", help="layers after which rows may leave, such as 16,24")
    parser.add_argument("--recalibrate", help="a fitted spec.toml to keep but for its thresholds")
    parser.add_argument("--agreement", type=float, default=0.95, help="share of rows that must emit the full model's token; default 0.95")
    parser.add_argument("--rank", type=int, help="low-rank maps; default full")
    parser.add_argument("--tokens", type=int, default=24000, help="tokens to fit on; a quarter as many each to calibrate and to report")
    parser.add_argument("--text", nargs="+", help="files or folders to read instead of the installed documentation")
    args = parser.parse_args(argv)
    if (args.layers is None) == (args.recalibrate is None):
        raise UserError("give either --layers or --recalibrate")
    if not 0 < args.agreement < 1:
        raise UserError(f"--agreement {args.agreement} is outside 0..1")
    if args.tokens < 4 * CHUNK:
        raise UserError(f"--tokens {args.tokens} is below {4 * CHUNK}")
    for path in args.text or ():
        if not Path(path).exists():
            raise UserError(f"--text {path}: no such file or folder")
    check_output_folder(args.out_dir)
    start = time.monotonic()
    checkpoint = open_checkpoint(args.source)
    if "tokenizer.json" not in checkpoint.files:
        raise UserError("the source has no tokenizer.json, which fitting needs to read text")
    c = checkpoint.config
    if args.rank is not None and not 1 <= args.rank < c.hidden:
        raise UserError(f"--rank {args.rank} is outside 1..{c.hidden - 1}")
    old, fill = load_spec(args.recalibrate) if args.recalibrate else ([ExitSpec(k) for k in parse_layers(args.layers, "--layers")], "exact")
    old = check_specs(old, fill, c.layers, c.hidden)
    if args.recalibrate and any(s.probe is None for s in old):
        raise UserError(f"{args.recalibrate}: only exits with a probe can be recalibrated")
    layers = [s.layer for s in old]
    tokenizer = Tokenizer.from_str(json.dumps(checkpoint.files["tokenizer.json"]))
    documents = texts(args.text)
    sizes = {} if args.recalibrate else {"fit": args.tokens}
    sizes |= {"calibrate": args.tokens // 4, "report": args.tokens // 4}
    sequences = {name: chunks(tokenizer, documents[name], min(CHUNK, c.context), size) for name, size in sizes.items()}
    for name, found in sequences.items():
        if not found:
            raise UserError(f"not enough text to {name} on: give more with --text")
    model = NumpyLlama(checkpoint)

    def progress(done: int, total: int) -> None:
        print(f"\r{name}: {done}/{total} sequences, {time.monotonic() - start:.0f} s ", end="" if done < total else "\n", flush=True)

    data = {}
    for name in sizes:
        data[name] = collect(model, sequences[name], layers, progress)
    say = lambda text: print(f"{text}, {time.monotonic() - start:.0f} s", flush=True)  # noqa: E731
    specs = old if args.recalibrate else fit(model, data["fit"], data["calibrate"], layers, args.rank, say)
    specs, calibrated = measure(model, specs, data["calibrate"], args.agreement)
    _, reported = measure(model, specs, data["report"])
    out = Path(args.out_dir)
    out.mkdir(parents=True, exist_ok=True)
    comment = f"Exits fitted by ee.fit_exits for {Path(args.source).name.removeprefix('package:')}; what they do is in fit.json.\nScores and thresholds are log-odds of agreeing with the full model."
    save_spec(out / "spec.toml", specs, fill, comment)
    facts = {"source": Path(args.source).name, "layers": layers, "agreement_asked": args.agreement}
    facts |= {"tokens": {n: len(s) * len(s[0]) for n, s in sequences.items()}, "calibration": calibrated, "held_out": reported}
    write_json(out / "fit.json", facts)
    for e in reported["exits"]:
        print(f"{e['exit']}: threshold {e['threshold']:g}, {e['share']:.1%} of rows leave, agreement if all left {e['agreement_if_all_left']:.1%}")
    print(f"held out: agreement {reported['agreement']:.1%}, mean depth {reported['mean_depth']:.2f} of {c.layers}, {time.monotonic() - start:.0f} s")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_main(main))
