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


class Writer:
    """Writes cases into a folder; `entries` are the manifest's, `problems` the lines about what disagrees."""

    def __init__(self, folder: Path, report: Callable[[str], None]):
        self.folder, self.report = folder, report
        self.entries: list[dict] = []
        self.problems: list[str] = []
        self.weights: dict[str, WeightFile] = {}

    def write(self, case: Case, opsets: tuple[int, ...]) -> None:
        """All files of one case in `opsets`."""
        start = time.monotonic()
        subject = case.build()
        self.weights.setdefault(case.method, WeightFile(self.folder / f"{case.method}.data"))
        inputs = [subject.inputs] if case.variant else [subject.inputs, subject.inputs | subject.script(subject.table)]
        answers = [subject.reference(None)] if case.variant else [subject.reference(None), subject.reference(subject.table)]
        texts = subject.generation.reference() if subject.generation and not (case.variant and subject.generation.scripted) else {}
        for kind, (given, answer) in enumerate(zip(inputs, answers)):
            generated = texts if subject.generation and subject.generation.scripted == bool(kind) else {}
            self._save_arrays(_stem(case, kind), given, answer, generated)
        models: dict[int, onnx.ModelProto] = {}
        for opset in opsets:
            # The exporter writes the same nodes at 18 and 20, as the tests hold for every op.
            same = opset == 20 and 18 in models
            models[opset] = relabelled(models[18], 20) if same else exported(subject.module, subject.inputs, subject.outputs, opset)
            for kind, (given, answer) in enumerate(zip(inputs, answers)):
                generated = texts if subject.generation and subject.generation.scripted == bool(kind) else {}
                model = onnx.ModelProto()
                model.CopyFrom(models[opset])
                model = scripted(model, subject.script(subject.table)) if kind else model
                start = self._file(case, subject, opset, kind, model, given, answer, generated, start)

    def _file(self, case: Case, subject: Subject, opset: int, kind: int, model, given, answer: Answer, generated, start: float) -> float:
        """One file; returns the time at which it was done."""
        stem = f"{_stem(case, kind)}.opset{opset}"
        path = self.folder / f"{stem}.onnx"
        save(model, path, self.weights[case.method])
        run = runner(path)
        outputs = run(given)
        np.savez(self.folder / f"{stem}.outputs.npz", **outputs)
        found = compare(subject, outputs, answer)
        problem = found.problem or (compare_generation(generated, subject.generation.replay(run)) if generated else "")
        depths = dict(zip(*(x.tolist() for x in np.unique(outputs["depth"], return_counts=True))))
        self.entries.append(
            {
                "name": stem,
                "method": case.method,
                "fill": case.fill,
                "rule": case.rule,
                "decisions": "script" if kind else "rule",
                "opset": opset,
                "file": path.name,
                "weights": self.weights[case.method].path.name,
                "arrays": f"{_stem(case, kind)}.npz",
                "outputs": f"{stem}.outputs.npz",
                "graph_inputs": values(model.graph.input),
                "graph_outputs": values(model.graph.output),
                "decided_by": subject.decide,
                "causal": case.causal,
                "settings": subject.settings,
                "model": vars(subject.config) | {"layout": list(subject.config.layout)},
                "error": float(f"{found.error:.2e}"),
                "near": found.near,
                "depths": {str(k): n for k, n in depths.items()},
            }
        )
        done = time.monotonic()
        shown = " ".join(f"{k}:{n}" for k, n in depths.items())
        self.report(f"{path.name:64} error {found.error:.1e}  depths {shown:24} {done - start:5.1f} s" + (f"  DISAGREES: {problem}" if problem else ""))
        if problem:
            self.problems.append(f"{path.name}: {problem}")
        return done

    def _save_arrays(self, stem: str, given: dict[str, np.ndarray], answer: Answer, generated: dict[str, np.ndarray]) -> None:
        arrays = {f"input.{n}": x for n, x in given.items()} | {f"reference.{n}": x for n, x in answer.outputs.items()}
        arrays |= {"scores": answer.scores, "margin": answer.margin} | {f"generated.{n}": x for n, x in generated.items()}
        np.savez(self.folder / f"{stem}.npz", **arrays)


def _stem(case: Case, kind: int) -> str:
    return case.name + (".script" if kind else "")


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
