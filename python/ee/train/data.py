# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Batches of a training run, and its quick validation; the careful measurement is in `evaluate.py`."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from ..checkpoint import read_json
from ..data.reader import Tokens, Windows, open_tokens, validation_windows, windows
from ..errors import UserError
from ..models import Decoder
from ..models.encoder import EncoderConfig
from ..models.routed import threshold
from . import classifier

CHECKED = 64  # windows of held-out text that the quick validation reads


def check_vocabulary(ids: np.ndarray, vocab: int, where) -> None:
    """Refuse text of another tokenizer: no model has a row for a token past its vocabulary."""
    if ids.size and int(ids.max()) >= vocab:
        raise UserError(f"{where}: has token {ids.max()}, but the model's vocabulary is 0..{vocab - 1}; python -m ee.data --vocab {vocab} writes text for it")


def batches(folder, recipe, seed: int) -> Callable[[int], torch.Tensor]:
    """step -> ids [batch, length + 1], a pure function of the step."""
    ids = open_tokens(folder).ids
    check_vocabulary(ids, recipe.config.vocab, folder)
    windows(ids, 0, 1, recipe.length, seed)  # too short a text is refused before a run's folder is made
    return lambda step: torch.from_numpy(windows(ids, step, recipe.batch, recipe.length, seed))


def text_of(model: Decoder, where, folder, split: str = "train") -> Tokens:
    """A split of the text in `folder`, refused where it is not in the tokens of `model`, which came from the folder `where`."""
    text, theirs, own = open_tokens(folder, split), Path(folder) / "tokenizer.json", Path(where) / "tokenizer.json"
    check_vocabulary(text.ids, model.config.vocab, folder)
    # Runs of recipes bring no tokenizer: theirs is the text's.
    if own.exists() and theirs.exists() and read_json(own) != read_json(theirs):
        raise UserError(f"{folder}: its tokenizer.json is not that of {where}; give text in the model's tokens")
    return text


def spread(all_windows: Windows, rows: int) -> Windows:
    """At most `rows` windows, evenly spread, so that every domain is met."""
    pick = np.unique(np.linspace(0, len(all_windows.document) - 1, min(rows, len(all_windows.document))).round().astype(int))
    return Windows(all_windows.inputs[pick], all_windows.targets[pick], all_windows.mask[pick], all_windows.document[pick])


def sample_text(folder, split: str, vocab: int, length: int, rows: int) -> Windows:
    """At most `rows` windows, spread over the documents of a split, for a model of `vocab` tokens."""
    text = spread(validation_windows(open_tokens(folder, split), length), rows)
    check_vocabulary(np.maximum(text.inputs, text.targets), vocab, folder)
    return text


def pieces(text: Windows, batch: int, device="cpu") -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """(inputs, targets, mask) of `batch` windows at a time, in order."""
    for i in range(0, len(text.document), batch):
        yield tuple(torch.from_numpy(a[i : i + batch]).to(device) for a in (text.inputs, text.targets, text.mask))


def trained_thetas(config) -> list[float]:
    """sigma(z) > 1/2, which the auxiliary loss aims at; where the capacity is 1 every row passes."""
    return [float("-inf") if capacity >= 1 else 0.0 for capacity in config.capacities]


def outputs(model: Decoder, x: torch.Tensor) -> dict[int, torch.Tensor]:
    """Logits at every exit and at full depth, all rows running to full depth; for a routed model, full depth is the
    threshold rule at theta 0 (which is what it is trained for), with no threshold where all rows were to pass."""
    c = model.config
    if c.router:
        return {c.depth: model.head(threshold(model, x, trained_thetas(c)).state)}
    return {d: model.exit_logits(h) for d, h in model.states(x) if d in (*c.exits, c.depth)}


@torch.no_grad()
def validation_losses(model: Decoder, sample: Windows) -> dict[str, float]:
    """Mean loss in nats per token at each exit and at full depth."""
    device = next(model.parameters()).device
    sums: dict[str, float] = {}
    for x, y, mask in pieces(sample, 8, device):
        for depth, logits in outputs(model, x).items():
            name = "full" if depth == model.config.depth else f"exit{depth}"
            losses = F.cross_entropy(logits.float().flatten(0, 1), y.flatten(), reduction="none").view_as(y)
            sums[name] = sums.get(name, 0.0) + float((losses * mask).sum())
    return {name: value / float(sample.mask.sum()) for name, value in sums.items()}


def prepare(recipe, folder, seed: int):
    """(recipe, batches, validate) of a run on the text in `folder`; an encoder gets its classes from the data."""
    if not isinstance(recipe.config, EncoderConfig):
        sample = sample_text(folder, "valid", recipe.config.vocab, recipe.length, CHECKED)
        return recipe, batches(folder, recipe, seed), lambda model: validation_losses(model, sample)
    training, held_out = classifier.load(folder, recipe.length)
    for part in (training, held_out):
        check_vocabulary(part.ids, recipe.config.vocab, folder)
    recipe = dataclasses.replace(recipe, config=dataclasses.replace(recipe.config, classes=len(training.classes)))

    def accuracies(model) -> dict[str, float]:
        right = (classifier.all_logits(model, held_out).argmax(-1) == held_out.label).mean(1)
        return {"full": float(right[-1]), "exit1": float(right[0])}

    return recipe, classifier.batches(training, recipe.batch, seed), accuracies
