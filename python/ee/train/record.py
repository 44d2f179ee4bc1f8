# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What `./evidence train-NAME` wrote about a decoder, checked before a card is made of it."""

import csv
import dataclasses
import json
import math
from pathlib import Path

from ..errors import UserError
from ..models import ModelConfig
from ..shapes import NULL, check_written, read_shaped
from .recipes import RECIPES

POINT = {
    "policy": str, "setting": dict, "mean_depth": float, "macs": float, "weights": float, "loss": float, "excess": float, "agreement": float,
    "random_loss": (float, NULL), "random_agreement": (float, NULL),
}  # fmt: skip
BESIDE = {"model": str, "units": str, "cost": float, "loss": float, "ours": float, "difference": float, "interval": [float]}
RUN = {"step": float, "tokens": float, "seconds": float}
RESULT = {
    "recipe": str, "config": dict, "parameters": int, "run": RUN, "unit_macs": int, "tokens_measured": int, "documents_measured": int,
    "points": [POINT], "beside": [BESIDE],
}  # fmt: skip
WRITER = "./evidence train-NAME, of a decoder,"


def decoder_recipes() -> dict:
    return {name: recipe for name, recipe in RECIPES.items() if isinstance(recipe.config, ModelConfig)}


def full_depths(points: list[dict]) -> list[dict]:
    """The points in which all rows run equally deep, the whole depth last."""
    return [p for p in points if p["policy"] in ("fixed", "forced")]


def read_record(path: Path) -> dict:
    """The record of a training item of a decoder, in all that a card shows of it."""
    record = read_shaped(path, {"item": str, "result": dict}, WRITER)
    if not record["item"].startswith("train-"):
        raise UserError(f"{path}: item: must be train-NAME, but got {record['item']}; {WRITER} writes it")
    check_written(record, {"result": RESULT}, path, WRITER)
    result, known = record["result"], decoder_recipes()
    for field, name in [("recipe", result["recipe"]), *((f"beside[{i}].model", b["model"]) for i, b in enumerate(result["beside"]))]:
        if name not in known:
            raise UserError(f"{path}: result.{field}: must be one of {', '.join(known)}, but got {name}")
    if not full_depths(result["points"]):
        raise UserError(f"{path}: result.points: must have one of policy fixed or forced; {WRITER} writes it")
    if not 0 <= result["run"]["seconds"] < math.inf:
        raise UserError(f"{path}: result.run.seconds: must be at least 0, but got {result['run']['seconds']:g}")
    for i, b in enumerate(result["beside"]):
        if len(b["interval"]) != 2:
            raise UserError(f"{path}: result.beside[{i}].interval: must be two numbers, but got {len(b['interval'])}")
    return record


def _last_step(curve: Path) -> int:
    """Where the log of a run ends; all of it must be numbers, as a picture is made of it."""
    try:
        with open(curve, newline="") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            _ = int(row["tokens"]), [float(value) for value in row.values() if value]
        return int(rows[-1]["step"])
    except (IndexError, KeyError, TypeError, ValueError, csv.Error):
        raise UserError(f"{curve}: must hold rows of numbers with columns step and tokens; python -m ee.train writes it") from None


def check_belongs(path: Path, result: dict, config: ModelConfig, run: Path) -> None:
    """Refuse a record of another model than the one whose run's folder is `run`: its card would be about that one."""
    # Through JSON, in which tuples are lists.
    ours = json.loads(json.dumps(dataclasses.asdict(config)))
    if different := sorted(name for name in ours if result["config"].get(name) != ours[name]):
        name = different[0]
        raise UserError(f"{path}: result.config.{name}: must be that of {run}, {ours[name]}, but got {result['config'].get(name)}")
    step = _last_step(run / "curve.csv")
    if step != result["run"]["step"]:
        raise UserError(f"{path}: result.run.step: must be {step}, where {run} ended, but got {result['run']['step']:g}")
