# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Early-exit classification of Debian package descriptions into archive sections: data, batches, and exit rules.

One line of text each, so easy and hard texts differ widely ("Python binding for ..." against "collection of tools"). Split
by the hash of the description; descriptions that occur twice (transitional packages, language packs) are kept once.
"""

import hashlib
import re
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..criteria import score_of_logits
from ..errors import UserError, one_line

PAD = 0
LEAST = 400  # descriptions a section needs to become a class
HELD_OUT = 0.1


@dataclass(frozen=True)
class Texts:
    """ids [n, length] int64 padded with PAD, present [n, length] bool, label [n] int64; `classes` are section names."""

    ids: np.ndarray
    present: np.ndarray
    label: np.ndarray
    classes: tuple[str, ...]


def descriptions(dump: str | None = None) -> list[tuple[str, str]]:
    """(description, section) of every package that apt knows; sorted, each description once. Archive areas are dropped."""
    if dump is None:
        try:
            dump = subprocess.run(["apt-cache", "dumpavail"], capture_output=True, text=True, check=True).stdout
        except (OSError, subprocess.CalledProcessError) as e:
            raise UserError(f"apt-cache dumpavail: {e}; package lists are needed (apt-get update)") from None
    found = {}
    for entry in dump.split("\n\n"):
        fields = dict(re.findall(r"^(Section|Description): (.*)$", entry, re.M))
        if len(fields) == 2:
            found.setdefault(fields["Description"].strip(), fields["Section"].rpartition("/")[2])
    if not found:
        raise UserError("apt-cache dumpavail: no package descriptions; run apt-get update first")
    return sorted(found.items())


def _held_out(text: str) -> bool:
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 2**32 < HELD_OUT


def texts(tokenizer, length: int, pairs=None, least: int = LEAST) -> tuple[Texts, Texts]:
    """(training, held out). Sections with fewer than `least` descriptions are left out."""
    pairs = descriptions() if pairs is None else pairs
    counts = Counter(section for _, section in pairs)
    classes = tuple(sorted(section for section, n in counts.items() if n >= least))
    if len(classes) < 2:
        raise UserError(f"descriptions: {len(classes)} sections have at least {least} entries, two are needed")
    parts = []
    for held_out in (False, True):
        chosen = [(text, classes.index(section)) for text, section in pairs if section in classes and _held_out(text) == held_out]
        ids = np.full((len(chosen), length), PAD, np.int64)
        present = np.zeros((len(chosen), length), bool)
        for row, (text, _) in enumerate(chosen):
            tokens = tokenizer.encode(text, add_special_tokens=False).ids[:length]
            ids[row, : len(tokens)], present[row, : len(tokens)] = tokens, True
        keep = present.any(1)
        if not keep.any():
            raise UserError(f"descriptions: none of {len(chosen)} {'held out' if held_out else 'to train on'} has a token of the tokenizer; make it with python -m ee.data")
        parts.append(Texts(ids[keep], present[keep], np.array([label for _, label in chosen])[keep], classes))
    return parts[0], parts[1]


def load(folder, length: int) -> tuple[Texts, Texts]:
    """(training, held out) with the tokenizer of a folder that `python -m ee.data` wrote."""
    from tokenizers import Tokenizer

    path = Path(folder) / "tokenizer.json"
    if not path.is_file():
        raise UserError(f"{path}: no such file; python -m ee.data {folder} writes it")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as e:  # the library raises nothing more special
        raise UserError(f"{path}: not a tokenizer: {one_line(e)}; python -m ee.data {folder} writes it") from None
    return texts(tokenizer, length)


def batches(data: Texts, size: int, seed: int):
    """step -> (ids, present, label), a pure function of the step."""

    def make(step: int):
        generator = np.random.Generator(np.random.Philox(key=seed, counter=[0, step, 0, 0]))
        rows = generator.integers(0, len(data.label), size)
        return tuple(torch.from_numpy(a[rows]) for a in (data.ids, data.present, data.label))

    return make


@torch.no_grad()
def all_logits(model, data: Texts, batch: int = 512) -> np.ndarray:
    """[layers, n, classes] float64."""
    device = next(model.parameters()).device
    parts = [
        model(*(torch.from_numpy(a[i : i + batch]).to(device) for a in (data.ids, data.present))).double().cpu().numpy()
        for i in range(0, len(data.label), batch)
    ]
    return np.concatenate(parts, 1)


def entropy_exit(logits: np.ndarray, most: float) -> np.ndarray:
    """Layers run [n]: the first layer whose entropy, over ln(classes), is below `most` (DeeBERT; strict), else all."""
    sure = score_of_logits("entropy", logits) > np.log1p(-most) - np.log(most)
    sure[-1] = True
    return sure.argmax(0) + 1


def patience_exit(logits: np.ndarray, patience: int) -> np.ndarray:
    """Layers run [n]: the first layer whose answer is that of the `patience` layers before it (PABEE), else all."""
    answers = logits.argmax(-1)
    depth = np.full(answers.shape[1], len(answers))
    same = np.zeros(answers.shape[1], int)
    for layer in range(1, len(answers)):
        same = np.where(answers[layer] == answers[layer - 1], same + 1, 0)
        depth = np.where((same >= patience) & (depth == len(answers)), layer + 1, depth)
    return depth


def curve(logits: np.ndarray, label: np.ndarray, seed: int = 0) -> list[dict]:
    """Accuracy and mean layers of fixed depths, entropy thresholds and patience, beside random exits of the same histogram."""
    layers, rng = len(logits), np.random.default_rng(seed)
    right = logits.argmax(-1) == label
    final = logits[-1].argmax(-1)

    def point(rule: str, setting: float, depth: np.ndarray, random: bool) -> dict:
        chosen = right[depth - 1, np.arange(len(label))]
        result = {"rule": rule, "setting": setting, "mean_depth": float(depth.mean()), "accuracy": float(chosen.mean())}
        result["agreement"] = float((logits.argmax(-1)[depth - 1, np.arange(len(label))] == final).mean())
        if random:
            result["random_accuracy"] = float(np.mean([right[rng.permutation(depth) - 1, np.arange(len(label))].mean() for _ in range(20)]))
        return result

    points = [point("fixed", d, np.full(len(label), d), False) for d in range(1, layers + 1)]
    points += [point("entropy", s, entropy_exit(logits, s), True) for s in (0.02, 0.05, 0.1, 0.2, 0.3, 0.4)]
    return points + [point("patience", t, patience_exit(logits, t), True) for t in range(1, layers - 1)]
