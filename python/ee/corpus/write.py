# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Writes the corpus: every case's files, their inputs, ONNX Runtime's outputs, the reference's, and manifest.json.

For a case NAME = METHOD-FILL-RULE, and NAME.script where decisions are inputs:
    NAME.opsetN.onnx            the model; tensors of 256 bytes and more in METHOD.data, shared by all files of the method
    NAME.npz                    input.*: what to feed; reference.*: outputs f64 / i64 / bool of the float64 reference; scores f64
                                [.., decisions], NaN where a row was not asked; margin f64, least |score - threshold| of a row
                                (inf without one); generated.*: greedy continuations of the prompts, where the method has them
    NAME.opsetN.outputs.npz     what ONNX Runtime gave
Equal bytes on each run on one machine: times are printed, never stored.
"""

import fnmatch
import gc
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from ..errors import UserError
from ..folders import write_json
from .cases import OPSETS, Answer, Case, Subject, all_cases
from .compare import NEAR, TOLERANCE, compare, compare_generation, runner
from .files import WeightFile, exported, relabelled, save, scripted, values

MANIFEST = "manifest.json"
ARRAYS = {
    "input.*": "graph inputs by name",
    "reference.*": "outputs of the float64 reference by name",
    "scores": "f64 [.., decisions]: what each decision compared; NaN where the row was not asked or its decision was given",
    "margin": "f64: least |score - threshold| of the row's decisions, inf where there is none",
    "generated.*": "i64: text that the reference's generator continues from the prompts, and counts of drafts",
}


@dataclass
class _Part:
    """A case with its own decisions, or with scripted ones: what goes in, and what the reference says comes out."""

    stem: str
    scripted: bool
    given: dict[str, np.ndarray]
    answer: Answer
    generated: dict[str, np.ndarray]

    def save(self, folder: Path) -> None:
        arrays = {f"input.{n}": x for n, x in self.given.items()} | {f"reference.{n}": x for n, x in self.answer.outputs.items()}
        arrays |= {"scores": self.answer.scores, "margin": self.answer.margin} | {f"generated.{n}": x for n, x in self.generated.items()}
        np.savez(folder / f"{self.stem}.npz", **arrays)


def _parts(case: Case, subject: Subject) -> list[_Part]:
    found = []
    for script in (False,) if case.variant else (False, True):
        generation = subject.generation if subject.generation and subject.generation.scripted == script else None
        found.append(
            _Part(
                stem=case.name + (".script" if script else ""),
                scripted=script,
                given=subject.inputs | (subject.script(subject.table) if script else {}),
                answer=subject.reference(subject.table if script else None),
                generated=generation.reference() if generation else {},
            )
        )
    return found


class Writer:
    """Writes cases into a folder; `entries` are the manifest's, `problems` the lines about what disagrees."""

    def __init__(self, folder: Path, report: Callable[[str], None]):
        self.folder, self.report = folder, report
        self.entries: list[dict] = []
        self.problems: list[str] = []
        self.weights: dict[str, WeightFile] = {}
        self.last = time.monotonic()

    def write(self, case: Case, opsets: tuple[int, ...]) -> None:
        """All files of one case in `opsets`."""
        subject, models = case.build(), {}
        if case.method not in self.weights:
            self.weights[case.method] = WeightFile(self.folder / f"{case.method}.data")
        parts = _parts(case, subject)
        for part in parts:
            part.save(self.folder)
        for opset in opsets:
            # The exporter writes the same nodes at 18 and 20, as the tests hold for every op.
            same = opset == 20 and 18 in models
            models[opset] = relabelled(models[18], 20) if same else exported(subject.module, subject.inputs, subject.outputs, opset)
            for part in parts:
                self._file(
                    case, subject, part, opset, scripted(models[opset], subject.script(subject.table)) if part.scripted else models[opset]
                )

    def _file(self, case: Case, subject: Subject, part: _Part, opset: int, model: onnx.ModelProto) -> None:
        stem, weights = f"{part.stem}.opset{opset}", self.weights[case.method]
        path = self.folder / f"{stem}.onnx"
        save(model, path, weights)
        run = runner(path)
        outputs = run(part.given)
        np.savez(self.folder / f"{stem}.outputs.npz", **outputs)
        found = compare(subject, outputs, part.answer)
        problem = found.problem or (compare_generation(part.generated, subject.generation.replay(run)) if part.generated else "")
        depths = {str(k): int(n) for k, n in zip(*np.unique(outputs["depth"], return_counts=True))}
        self.entries.append(
            {
                "name": stem,
                "method": case.method,
                "fill": case.fill,
                "rule": case.rule,
                "decisions": "script" if part.scripted else "rule",
                "opset": opset,
                "file": path.name,
                "weights": weights.path.name,
                "arrays": f"{part.stem}.npz",
                "outputs": f"{stem}.outputs.npz",
                "graph_inputs": values(model.graph.input),
                "graph_outputs": values(model.graph.output),
                "decided_by": subject.decide,
                "causal": case.causal,
                "settings": subject.settings,
                "seeds": {"weights": subject.seed, "texts": subject.seed + 1},
                "model": vars(subject.config) | {"layout": list(subject.config.layout)},
                "error": float(f"{found.error:.2e}"),
                "near": found.near,
                "depths": depths,
            }
        )
        before, self.last = self.last, time.monotonic()
        shown = " ".join(f"{k}:{n}" for k, n in depths.items())
        self.report(
            f"{path.name:64} error {found.error:.1e}  depths {shown:20} {self.last - before:5.1f} s"
            + (f"  DISAGREES: {problem}" if problem else "")
        )
        if problem:
            self.problems.append(f"{path.name}: {problem}")


def chosen(only: str | None, opset: int | None) -> list[tuple[Case, tuple[int, ...]]]:
    """The cases whose names match the shell pattern `only`, each with its opsets, or with `opset` alone."""
    if opset is not None and opset not in OPSETS:
        raise UserError(f"--opset {opset} is not one of {', '.join(map(str, OPSETS))}")
    cases = [c for c in all_cases() if only is None or fnmatch.fnmatchcase(c.name, only)]
    if not cases:
        raise UserError(f"--only '{only}' matches no case; names are METHOD-FILL-RULE, such as {all_cases()[0].name}")
    found = [(c, tuple(o for o in c.opsets if opset in (None, o))) for c in cases]
    if not any(opsets for _, opsets in found):
        raise UserError(f"--opset {opset}: none of the cases that --only '{only}' matches is written in it")
    return [(c, opsets) for c, opsets in found if opsets]


def write_corpus(out: Path, picked: Sequence[tuple[Case, tuple[int, ...]]], report: Callable[[str], None] = print) -> list[str]:
    """Writes cases `picked`, each in its opsets, to `out`, which is replaced if it is a corpus and must not exist otherwise.
    Returns what disagrees, one line per file; then nothing is written."""
    out, start = Path(out), time.monotonic()
    if out.exists() and not (out / MANIFEST).is_file():
        raise UserError(f"{out}: must be a new folder or an earlier corpus, and it has no {MANIFEST}")
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        writer = Writer(folder, report)
        with _quick_exports():
            for case, opsets in picked:
                writer.write(case, opsets)
                gc.collect()
        write_json(folder / MANIFEST, {"version": 1, "tolerance": TOLERANCE, "near": NEAR, "arrays": ARRAYS, "files": writer.entries})
        size = sum(f.stat().st_size for f in folder.iterdir())
        if not writer.problems:
            _replace(folder, out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    methods = len({e["method"] for e in writer.entries})
    verdict = f"{len(writer.problems)} disagree, nothing written" if writer.problems else "all agree with the reference"
    report(f"{len(writer.entries)} files of {methods} methods, {size / 1e6:.1f} MB, {time.monotonic() - start:.0f} s: {verdict}")
    return writer.problems


@contextmanager
def _quick_exports() -> Iterator[None]:
    """The exporter makes many objects and little garbage: collecting once per case saves a fifth of its time. Its warnings are
    about its own insides."""
    enabled = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        gc.unfreeze()
        if enabled:
            gc.enable()


def _replace(folder: Path, out: Path) -> None:
    """`folder` becomes `out`; an earlier one is moved aside first, so that there is never a mixture."""
    folder.chmod(0o755)
    old = Path(f"{folder}.old")
    if out.exists():
        os.replace(out, old)
    os.replace(folder, out)
    shutil.rmtree(old, ignore_errors=True)
