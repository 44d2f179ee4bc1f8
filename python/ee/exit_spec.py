# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Exit specs: where a model may be left, by what criterion, through which head; and their file form (TOML).

The file form is documented in README.md; the compiler reads the same files.
"""

import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

import ml_dtypes  # noqa: F401  (registers bfloat16 with numpy, which safetensors needs)
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from .criteria import CRITERIA
from .errors import UserError
from .fields import Table, is_float32, is_integer, shown

FILLS, HEADS, SPEC_VERSION = ("exact", "propagate"), ("reuse", "map", "lowrank"), 1
FLOATS = ("float16", "bfloat16", "float32", "float64")
HEAD_TENSORS = {"reuse": (), "map": ("map",), "lowrank": ("down", "up")}


@dataclass(frozen=True)
class Head:
    """How the tapped state h becomes logits: lm_head(final_norm(x)) with
    reuse: x = h; map: x = h @ map + bias, map [D,D]; lowrank: x = (h @ down) @ up + bias, [D,r], [r,D].
    Matrices are [in, out]; `bias` [D] may be left out."""

    kind: str = "reuse"
    tensors: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class ExitSpec:
    """One exit after `layer` layers (1 .. layers-1). `threshold` is in logit space; `probe` is (weight [D], bias)."""

    layer: int
    criterion: str = "max_prob"
    threshold: float = 0.0
    head: Head = Head()
    probe: tuple[np.ndarray, float] | None = None
    name: str = ""

    @property
    def label(self) -> str:
        return self.name or f"e{self.layer}"


def check_specs(specs: list[ExitSpec], fill: str, layers: int, hidden: int) -> list[ExitSpec]:
    """The specs sorted by layer; raises `UserError` naming the exit and the field that is wrong."""
    if fill not in FILLS:
        raise UserError(f"fill {shown(fill)} is not one of {', '.join(FILLS)}")
    if not specs:
        raise UserError("no exit given")
    for s in specs:
        if not is_integer(s.layer):
            raise UserError(f"exit '{s.label}': layer {shown(s.layer)} is not an integer")
        _check_name(s.label, f"exit after layer {s.layer}")
    specs = sorted(specs, key=lambda s: s.layer)
    for a, b in zip(specs, specs[1:]):
        if a.layer == b.layer:
            raise UserError(f"exits '{a.label}' and '{b.label}' are both at layer {a.layer}")
    if len({s.label for s in specs}) != len(specs):
        raise UserError("two exits have the same name")
    for s in specs:
        if not 1 <= s.layer < layers:
            raise UserError(f"exit '{s.label}': layer {s.layer} is outside 1..{layers - 1}")
        if s.criterion not in CRITERIA:
            raise UserError(f"exit '{s.label}': criterion {shown(s.criterion)} is not one of {', '.join(CRITERIA)}")
        if not is_float32(s.threshold):
            raise UserError(f"exit '{s.label}': threshold {shown(s.threshold)} is not a finite float32 number")
        if (s.criterion == "probe") and s.probe is None:
            raise UserError(f"exit '{s.label}': criterion 'probe' needs a probe")
        if s.probe is not None and np.size(s.probe[0]) != hidden:
            raise UserError(f"exit '{s.label}': probe weight has {np.size(s.probe[0])} entries, the model's state has {hidden}")
        if s.head.kind not in HEADS:
            raise UserError(f"exit '{s.label}': head kind {shown(s.head.kind)} is not one of {', '.join(HEADS)}")
        _check_head(s, hidden)
    return specs


def _check_name(name: str, where: str) -> None:
    """Names become symbols in the compiler's IR and keys of policy files."""
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", name):
        raise UserError(f"{where}: name {shown(name)} must be 1 to 64 letters, digits, '_', '-' or '.'")


def _check_head(s: ExitSpec, hidden: int) -> None:
    t = s.head.tensors
    for name in HEAD_TENSORS[s.head.kind]:
        if name not in t:
            raise UserError(f"exit '{s.label}': head kind '{s.head.kind}' needs '{name}'")
    down = np.shape(t.get("down", ()))
    rank = down[1] if len(down) == 2 and down[1] else "rank"  # no shape has a word in it: `down` itself is refused
    want = {"map": (hidden, hidden), "down": (hidden, rank), "up": (rank, hidden), "bias": (hidden,)}
    for name, array in t.items():
        if name not in (*HEAD_TENSORS[s.head.kind], "bias") or s.head.kind == "reuse":
            raise UserError(f"exit '{s.label}': head kind '{s.head.kind}' does not take '{name}'")
        if array.shape != want[name]:
            wish = f"[{', '.join(map(str, want[name]))}]"
            raise UserError(f"exit '{s.label}': head '{name}' has shape {list(array.shape)}, expected {wish}")


def load_spec(path) -> tuple[list[ExitSpec], str]:
    """Read spec.toml and the safetensors files it names (beside it); tensors become float32. Returns (specs, fill)."""
    path = Path(path)
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path.name} is not valid TOML: {error}") from None
    if not is_integer(version := document.get("version")) or version != SPEC_VERSION:
        raise UserError(f"{path.name}: version is {shown(version)}, accepted: {SPEC_VERSION}")
    Table(document, path.name).only(("version", "exit"))
    entries = document.get("exit", [])
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise UserError(f"{path.name} has no [[exit]]; each exit is one such table")
    tensors = _Tensors(path.parent)
    read = [_read_exit(Table(entry, f"exit {i}"), tensors) for i, entry in enumerate(entries)]
    if len({fill for _, fill in read}) > 1:
        raise UserError(f"{path.name}: exits disagree about fill; all must have the same")
    return [spec for spec, _ in read], read[0][1]


def _read_exit(exit: Table, tensors: "_Tensors") -> tuple[ExitSpec, str]:
    """One [[exit]] and its fill; `check_specs` looks at what needs the model."""
    name = exit.text("name", None)
    if name is not None:
        _check_name(name, exit.where)
        exit.where = f"exit '{name}'"
    exit.only(("name", "layer", "criterion", "threshold", "fill", "head", "probe"))
    layer, criterion = exit.integer("layer"), exit.text("criterion", "max_prob")
    threshold, fill = exit.number("threshold", 0.0), exit.text("fill", FILLS[0])
    head, probe = Head(), None
    if "head" in exit.table:
        table = Table(exit.table["head"], exit.where + " head")
        kind = table.text("kind")
        if kind not in HEADS:
            raise UserError(f"{table.where}: kind {shown(kind)} is not one of {', '.join(HEADS)}")
        table.only(("kind", *(("weights", *HEAD_TENSORS[kind], "bias") if HEAD_TENSORS[kind] else ())))
        head = Head(kind, {key: tensors.read(table, key) for key in (*HEAD_TENSORS[kind], "bias") if key in table.table})
    if "probe" in exit.table:
        table = Table(exit.table["probe"], exit.where + " probe")
        table.only(("weights", "weight", "bias"))
        weight, bias = tensors.read(table, "weight"), tensors.read(table, "bias")
        if bias.size != 1:
            raise UserError(f"{table.where}: bias has shape {list(bias.shape)}, expected [1]")
        probe = weight.reshape(-1), float(bias.reshape(()))
    return ExitSpec(layer, criterion, threshold, head, probe, name or ""), fill


class _Tensors:
    """The safetensors files of one spec, each read once."""

    def __init__(self, folder: Path):
        self.folder, self.files = folder, {}

    def read(self, table: Table, key: str) -> np.ndarray:
        """The tensor that `key` names in the file that `weights` names, as float32."""
        name, file = table.text(key), table.text("weights")
        # Other folders, hidden names and names that no terminal can show are refused, by the compiler too.
        if not file or "/" in file or file[0] == "." or not file.isprintable():
            raise UserError(f"{table.where}: weights = {shown(file)} is not the plain file name of a file beside the spec")
        if file not in self.files:
            if not (self.folder / file).is_file():
                raise UserError(f"{self.folder / file}: no such file; {table.where} names it as weights")
            try:
                self.files[file] = load_file(self.folder / file)
            except (OSError, KeyError, AttributeError, SafetensorError) as error:  # the middle two: a type numpy does not have
                raise UserError(f"{file} is not a readable safetensors file: {error}") from None
        if name not in self.files[file]:
            raise UserError(f"{table.where}: tensor {shown(name)} is not in {file}")
        array = self.files[file][name]
        if array.dtype.name not in FLOATS:
            raise UserError(f"{table.where}: tensor {shown(name)} has type {array.dtype.name}; accepted: {', '.join(FLOATS)}")
        return array.astype(np.float32)


def save_spec(path, specs: list[ExitSpec], fill: str = "exact", comment: str = "", dtype=np.float16) -> None:
    """Write spec.toml at `path` and its tensors to the same stem with .safetensors, matrices as `dtype`."""
    path = Path(path)
    weights = path.with_suffix(".safetensors").name
    tensors: dict[str, np.ndarray] = {}
    lines = [f"# {line}" for line in comment.splitlines()] + [f"version = {SPEC_VERSION}"]
    for s in specs:
        def put(key: str, array, kind=dtype) -> str:
            name = f"{s.label}.{key}"
            tensors[name] = np.ascontiguousarray(np.asarray(array).astype(kind))
            return f'"{name}"'

        lines += ["", "[[exit]]", f'name = "{s.label}"', f"layer = {s.layer}", f'criterion = "{s.criterion}"']
        lines += [f"threshold = {float(s.threshold)!r}", f'fill = "{fill}"']
        parts = [f'kind = "{s.head.kind}"'] + ([f'weights = "{weights}"'] if s.head.tensors else [])
        parts += [f"{k} = {put(k, v, np.float32 if k == 'bias' else dtype)}" for k, v in s.head.tensors.items()]
        lines.append(f"head = {{ {', '.join(parts)} }}")
        if s.probe is not None:
            weight, bias = put("probe.weight", s.probe[0], np.float32), put("probe.bias", np.float32(s.probe[1]).reshape((1,)), np.float32)
            lines.append(f'probe = {{ weights = "{weights}", weight = {weight}, bias = {bias} }}')
    if tensors:
        (path.parent / weights).write_bytes(save(tensors))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
