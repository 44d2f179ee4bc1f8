# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Exit specs: where a model may be left, by what criterion, through which head; and their file form (TOML).

The file form is documented in README.md; the compiler reads the same files.
"""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path

import ml_dtypes  # noqa: F401  (registers bfloat16 with numpy, which safetensors needs)
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from .criteria import CRITERIA
from .errors import UserError

FILLS, HEADS, SPEC_VERSION = ("exact", "propagate"), ("reuse", "map", "lowrank"), 1
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
        raise UserError(f"fill '{fill}' is not one of {', '.join(FILLS)}")
    if not specs:
        raise UserError("no exit given")
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
            raise UserError(f"exit '{s.label}': criterion '{s.criterion}' is not one of {', '.join(CRITERIA)}")
        if not np.isfinite(s.threshold):
            raise UserError(f"exit '{s.label}': threshold {s.threshold} is not a finite number")
        if (s.criterion == "probe") and s.probe is None:
            raise UserError(f"exit '{s.label}': criterion 'probe' needs a probe")
        if s.probe is not None and np.size(s.probe[0]) != hidden:
            raise UserError(f"exit '{s.label}': probe weight has {np.size(s.probe[0])} entries, the model's state has {hidden}")
        if s.head.kind not in HEADS:
            raise UserError(f"exit '{s.label}': head kind '{s.head.kind}' is not one of {', '.join(HEADS)}")
        _check_head(s, hidden)
    return specs


def _check_head(s: ExitSpec, hidden: int) -> None:
    t = s.head.tensors
    for name in HEAD_TENSORS[s.head.kind]:
        if name not in t:
            raise UserError(f"exit '{s.label}': head kind '{s.head.kind}' needs '{name}'")
    rank = t["down"].shape[-1] if s.head.kind == "lowrank" else hidden
    want = {"map": (hidden, hidden), "down": (hidden, rank), "up": (rank, hidden), "bias": (hidden,)}
    for name, array in t.items():
        if name not in (*HEAD_TENSORS[s.head.kind], "bias") or s.head.kind == "reuse":
            raise UserError(f"exit '{s.label}': head kind '{s.head.kind}' does not take '{name}'")
        if array.shape != want[name]:
            raise UserError(f"exit '{s.label}': head '{name}' has shape {list(array.shape)}, expected {list(want[name])}")


def load_spec(path) -> tuple[list[ExitSpec], str]:
    """Read spec.toml and the safetensors files it names (beside it); tensors become float32. Returns (specs, fill)."""
    path = Path(path)
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path.name} is not valid TOML: {error}") from None
    if document.get("version") != SPEC_VERSION:
        raise UserError(f"{path.name}: version is {document.get('version')!r}, accepted: {SPEC_VERSION}")
    files: dict[str, dict] = {}

    def tensor(table: dict, key: str, where: str) -> np.ndarray:
        name, file = table[key], table.get("weights")
        if not isinstance(file, str) or Path(file).name != file:
            raise UserError(f"{where}: weights = {file!r} is not a plain file name beside {path.name}")
        if file not in files:
            try:
                files[file] = load_file(path.parent / file)
            except SafetensorError as error:
                raise UserError(f"{file} is not a readable safetensors file: {error}") from None
        if name not in files[file]:
            raise UserError(f"{where}: tensor '{name}' is not in {file}")
        return files[file][name].astype(np.float32)

    specs, fills = [], set()
    for i, entry in enumerate(document.get("exit") or []):
        where = f"exit '{entry.get('name', i)}'"
        known = {"name", "layer", "criterion", "threshold", "fill", "head", "probe"}
        if set(entry) - known:
            raise UserError(f"{where}: unknown key '{sorted(set(entry) - known)[0]}'; accepted: {', '.join(sorted(known))}")
        if not isinstance(entry.get("layer"), int):
            raise UserError(f"{where}: layer = {entry.get('layer')!r} is not an integer")
        if not isinstance(entry.get("threshold", 0.0), (int, float)):
            raise UserError(f"{where}: threshold = {entry['threshold']!r} is not a number")
        head, probe = entry.get("head", {"kind": "reuse"}), entry.get("probe")
        tensors = {k: tensor(head, k, where + " head") for k in ("map", "down", "up", "bias") if k in head}
        if probe is not None:
            for key in ("weight", "bias"):
                if key not in probe:
                    raise UserError(f"{where}: probe needs '{key}'")
            probe = tensor(probe, "weight", where + " probe").reshape(-1), float(tensor(probe, "bias", where + " probe").reshape(()))
        fills.add(entry.get("fill", "exact"))
        specs.append(
            ExitSpec(
                layer=entry["layer"],
                criterion=entry.get("criterion", "max_prob"),
                threshold=float(entry.get("threshold", 0.0)),
                head=Head(head.get("kind", "reuse"), tensors),
                probe=probe,
                name=entry.get("name", ""),
            )
        )
    if not specs:
        raise UserError(f"{path.name} has no [[exit]]")
    if len(fills) > 1:
        raise UserError(f"{path.name}: exits disagree about fill; all must have the same")
    return specs, fills.pop()


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
