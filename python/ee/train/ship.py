# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""python -m ee.train.ship RUN RESULT DATA OUT: a trained model as a folder that can be given away, with its card.

RUN is a run's folder after its measurement (`./evidence train-NAME`), RESULT the JSON that wrote, DATA the text's folder.
The card says what the text was, how and how long the model was trained, and what its depth buys.
"""

import argparse
import math
import shutil
import sys
from pathlib import Path

from ..errors import UserError, run_main
from ..folders import TOKENIZER, whole_folder
from ..models import Decoder
from ..models.folder import CONFIG, WEIGHTS
from ..shapes import read_shaped
from .plots import cost_curve, training_curve
from .recipes import RECIPES
from .record import check_belongs, full_depths, read_record

LARGEST = 16 * 2**20
MANIFEST = {"packages": [{"name": str, "version": str, "registry": str}]}


def _best(points: list[dict], ratio: float) -> dict | None:
    """The point of least loss among those that cost at most 1 / `ratio` of full depth's multiply-adds."""
    full = max(p["macs"] for p in full_depths(points))
    cheap = [p for p in points if p["macs"] * ratio <= full and p["random_loss"] is not None]
    return min(cheap, key=lambda p: p["loss"], default=None)


def _parameters(recipe: str) -> int:
    return sum(p.numel() for p in RECIPES[recipe].build().parameters())


def card(name: str, record: dict, manifest: dict, size: int) -> str:
    """The README of a model whose weights are `size` bytes."""
    result, recipe = record["result"], RECIPES[record["result"]["recipe"]]
    c, run = result["config"], result["run"]
    fixed = full_depths(result["points"])
    lines = [
        f"# {name}", "", f"{recipe.about[0].upper()}{recipe.about[1:]}. A demonstration model of {result['parameters']:,} parameters; it has the register of its text and little sense.", "",
        "| | |", "|---|---|",
        f"| layers run at full depth | {fixed[-1]['mean_depth']:.0f} |",
        f"| hidden, heads / K,V heads, FFN | {c['hidden']}, {c['heads']} / {c['kv_heads']}, {c['ffn']} |",
        f"| vocabulary | {c['vocab']:,}, byte-level BPE |",
        f"| K,V of rows that left | {c['kv_fill']} |",
        f"| trained on | {run['tokens']:,.0f} tokens in {run['seconds'] / 60:.0f} minutes of one CPU thread, batch {recipe.batch} x {recipe.length} |",
        f"| recipe | `python -m ee.train {result['recipe']} DATA RUN --minutes {math.ceil(run['seconds'] / 60)}` ({recipe.objective}), seed {recipe.options.seed} |",
        f"| weights | {size / 2**20:.1f} MiB, bfloat16 matrices |", "",
        "## Text", "", "Rebuilt by `python -m ee.data` from packages; nothing of it is stored here. Validation is by document.", "",
        "| package | version | registry |", "|---|---|---|",
        *(f"| {p['name']} | {p['version']} | {p['registry']} |" for p in manifest["packages"]), "",
        "## What depth buys", "",
        f"Measured on {result['tokens_measured']:,} tokens of {result['documents_measured']} held-out documents, on the weights as they are stored. Costs are per token, in units of one layer's "
        f"{result['unit_macs']:,} multiply-adds (= its weights); the head is counted. Every number: `bench/results/{record['item']}.json`.", "",
        *([f"It was trained with shares {', '.join(f'{x:.3g}' for x in c['capacities'])} of the rows in its recursions; all rows at one depth, full depth too, lie outside of that.", ""] if c["router"] else []),
        "| policy | mean layers | multiply-adds | weights read | loss | above full depth | agreement | random exits: loss |", "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]  # fmt: skip
    shown = fixed + [p for p in (_best(result["points"], r) for r in (1.25, 1.5, 2.0)) if p is not None]
    for i, p in enumerate(shown):
        if p in shown[:i]:
            continue
        setting = ", ".join(f"{k} {v}" for k, v in p["setting"].items())
        random = "" if p["random_loss"] is None else f"{p['random_loss']:.4f}"
        lines.append(f"| {p['policy']} {setting} | {p['mean_depth']:.2f} | {p['macs']:.2f} | {p['weights']:.2f} | {p['loss']:.4f} | {p['excess']:+.4f} | {p['agreement']:.3f} | {random} |")
    lines += ["", "Lowest loss at 1.25, 1.5 and 2 times fewer multiply-adds than full depth, where there is such a policy.", ""]
    if result["beside"]:
        lines += [
            "## Beside models of fixed depth", "",
            "Trained on as many tokens of the same text. This model runs at their cost, within half a percent: the best one or two of its policies, mixed, chosen on the tokens measured; the difference is paired, its interval over documents.", "",
            "| model | its parameters | cost counted in | cost | its loss | this model's | difference |", "|---|--:|---|--:|--:|--:|--:|",
            *(f"| {b['model']} | {_parameters(b['model']):,} | {b['units']} | {b['cost']:.2f} | {b['loss']:.4f} | {b['ours']:.4f} | {b['difference']:+.4f} [{b['interval'][0]:+.4f}, {b['interval'][1]:+.4f}] |" for b in result["beside"]), "",
        ]  # fmt: skip
    lines += ["![Loss and agreement against cost](cost.png)", "", "![Training](curve.png)", ""]
    return "\n".join(lines)


def main(argv) -> None:
    parser = argparse.ArgumentParser(prog="python -m ee.train.ship", description=__doc__.split("\n\n")[0])
    for name in ("run", "result", "data", "out"):
        parser.add_argument(name, type=Path)
    args = parser.parse_args(argv)
    fitted = args.run / "fitted"
    size = (fitted / WEIGHTS).stat().st_size
    if size > LARGEST:
        raise UserError(f"{fitted / WEIGHTS}: {size} bytes; a model that ships has at most {LARGEST}")
    record, manifest = read_record(args.result), read_shaped(args.data / "manifest.json", MANIFEST, "python -m ee.data")
    check_belongs(args.result, record["result"], Decoder.load(fitted).config, args.run)
    out = args.out.resolve()  # the card's title is the folder's name, which `.` does not tell
    text = card(out.name, record, manifest, size)
    with whole_folder(out, owned=(), seal=CONFIG) as folder:
        for source in (fitted / WEIGHTS, fitted / CONFIG, *(args.data / name for name in TOKENIZER), args.run / "curve.csv"):
            shutil.copyfile(source, folder / source.name)
        try:
            training_curve(folder)
            cost_curve(record["result"], folder / "cost.png")
        except ImportError:
            raise UserError("a card has pictures, and matplotlib is not installed; pip install 'adaptive-ee[train]'") from None
        (folder / "README.md").write_text(text)


if __name__ == "__main__":
    sys.exit(run_main(main))
