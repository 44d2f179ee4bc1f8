# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What the training items share: text made when missing, a run that resumes, and the measurement of its curve."""

import argparse
import csv
import dataclasses
import sys
from pathlib import Path

from _common import ROOT, call, show, table

SAMPLE, FIT = 384, 512  # windows of 128 tokens: to measure on, and (of training text) to fit probes and thresholds on


def flags(item: str, doc: str, minutes: float) -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(prog=f"./evidence {item}", description=doc.splitlines()[0])
    result.add_argument("--cache", type=Path, default=ROOT / "models-cache", help="text, runs and downloads, made when missing")
    result.add_argument("--minutes", type=float, default=minutes, help=f"wall-clock budget of the training (default {minutes:g})")
    result.add_argument("--threads", type=int, default=1)
    result.add_argument("--sample", type=int, default=SAMPLE, help=f"windows of held-out text to measure on (default {SAMPLE})")
    return result


def text(cache: Path) -> Path:
    """The folder of `python -m ee.data`, made when missing."""
    folder = cache / "data"
    if not (folder / "manifest.json").exists():
        call([sys.executable, "-m", "ee.data", folder])
    return folder


def train(recipe: str, options, steps: int | None = None) -> Path:
    """The finished run of a recipe; resumes one that was cut off, does nothing for one that is done."""
    folder = options.cache / "train" / recipe
    if not (folder / "model.safetensors").exists():
        command = [sys.executable, "-m", "ee.train", recipe, text(options.cache), folder, "--minutes", options.minutes, "--threads", options.threads]
        call(command + (["--steps", steps] if steps else []))
    return folder


def last_row(folder: Path) -> dict[str, float]:
    """Where a run ended: step, tokens, seconds."""
    with open(folder / "curve.csv", newline="") as file:
        *_, last = csv.DictReader(file)
    return {name: float(last[name]) for name in ("step", "tokens", "seconds")}


def measure(recipe: str, options) -> dict:
    """Train (or take) the run, measure every policy on held-out documents, also beside models of fixed depth."""
    import torch

    from ee.data.reader import open_tokens, validation_windows
    from ee.models import Decoder
    from ee.train import few_rows
    from ee.train.data import spread
    from ee.train.evaluate import Evaluation
    from ee.train.recipes import RECIPES

    folder = train(recipe, options)
    torch.set_num_threads(options.threads)
    # What ships is rounded, so that is what is measured.
    model, data = Decoder.load(folder).round_matrices(), text(options.cache)
    held_out = spread(validation_windows(open_tokens(data, "valid"), 128), options.sample)
    training = open_tokens(data, "train")
    fit, evaluation = spread(validation_windows(training, 128), FIT), Evaluation(model, held_out)
    if model.config.router:
        evaluation.routed(spread(fit, FIT // 2))
    else:
        evaluation.with_exits(fit, training.ids)
    model.save(folder / "fitted", narrow=True)
    if evaluation.heads:
        few_rows.save(evaluation.heads, folder / "fitted")
    run = last_row(folder)
    beside = []
    for name in RECIPES[recipe].beside:
        other = train(name, options, int(run["step"]))
        beside += [{"tokens": last_row(other)["tokens"], **dataclasses.asdict(b)} for b in evaluation.beside(name, Decoder.load(other).round_matrices())]
    c, losses = model.config, evaluation.full.losses
    return {
        "recipe": recipe, "config": dataclasses.asdict(c), "parameters": sum(p.numel() for p in model.parameters()), "run": run,
        "unit_macs": c.layer_macs(), "tokens_measured": len(losses), "documents_measured": len(set(held_out.document.tolist())),
        "full_loss": float(losses.mean()), "points": [dataclasses.asdict(p) for p in evaluation.points],
        "beside": beside,
    }  # fmt: skip


def page(result: dict) -> str:
    head = (
        f"{result['parameters']:,} parameters, {result['run']['tokens']:,.0f} tokens in {result['run']['seconds'] / 60:.0f} minutes; measured on "
        f"{result['tokens_measured']:,} held-out tokens of {result['documents_measured']} documents. One cost unit is {result['unit_macs']:,} multiply-adds.\n\n"
    )
    rows = [
        [p["policy"] + " " + ", ".join(f"{k} {v}" for k, v in p["setting"].items()), f"{p['mean_depth']:.2f}", f"{p['macs']:.2f}", f"{p['weights']:.2f}",
         f"{p['loss']:.4f}", f"{p['excess']:+.4f} [{p['excess_interval'][0]:+.4f}, {p['excess_interval'][1]:+.4f}]", f"{p['agreement']:.3f}",
         "" if p["random_loss"] is None else f"{p['random_loss']:.4f}", "" if p["random_agreement"] is None else f"{p['random_agreement']:.3f}"]
        for p in result["points"]
    ]  # fmt: skip
    text = head + table(["policy", "mean depth", "macs", "weights", "loss", "above full depth", "agreement", "random loss", "random agreement"], rows)
    if not result.get("beside"):
        return text
    named = lambda parts: " and ".join(f"{share:.0%} {policy} {', '.join(str(v) for v in setting.values())}" for policy, setting, share in parts)  # noqa: E731
    rows = [
        [f"{b['model']}, {b['tokens']:,.0f} tokens", b["units"], f"{b['cost']:.2f}", f"{b['loss']:.4f}", f"{b['ours']:.4f}",
         f"{b['difference']:+.4f} [{b['interval'][0]:+.4f}, {b['interval'][1]:+.4f}]", named(b["mixture"])]
        for b in result["beside"]
    ]  # fmt: skip
    names = ["fixed depth, same text", "cost counted in", "cost", "its loss", "this model's", "difference", "by"]
    return text + "\nAt the cost of models of fixed depth, by the best one or two of the policies above:\n\n" + table(names, rows)


def report(result: dict) -> None:
    show(["policy", "depth", "macs", "loss", "excess", "agreement"],
         [[p["policy"], f"{p['mean_depth']:.2f}", f"{p['macs']:.2f}", f"{p['loss']:.4f}", f"{p['excess']:+.4f}", f"{p['agreement']:.3f}"] for p in result["points"]])  # fmt: skip


def item(doc: str, recipe: str, minutes: float):
    """`main` of the item that trains `recipe` and measures it."""

    def main(argv):
        result = measure(recipe, flags(f"train-{recipe}", doc, minutes).parse_args(argv))
        report(result)
        return result

    return main
