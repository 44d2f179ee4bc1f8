# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Modules in function form (docs/Architecture.md) as tests write, compile and run them."""

from pathlib import Path

import numpy as np

from .ee_tools import ok

MLIR = {"float32": "f32", "float64": "f64", "float16": "f16", "bool": "i1", "int8": "i8", "uint8": "i8", "int16": "i16",
        "uint16": "i16", "int32": "i32", "uint32": "i32", "int64": "i64", "uint64": "i64"}


def tensor(dtype, *shape) -> str:
    """MLIR's name of a tensor type; a dimension that is no integer is dynamic. `dtype` is NumPy's or MLIR's."""
    element = MLIR.get(str(np.dtype(dtype)) if dtype not in ("bf16", "f16", "f32", "f64", "i1") and not str(dtype).startswith("i") else dtype, dtype)
    return "tensor<" + "".join(f"{d if isinstance(d, int) else '?'}x" for d in shape) + f"{element}>"


def elementwise(name: str, body: str, source: str, target: str, rank: int = 1) -> str:
    """A linalg.generic over one dynamic dimension: `body` computes %r from %a."""
    return f"""
  %e_{name} = tensor.empty(%n) : tensor<?x{target}>
  %{name} = linalg.generic {{indexing_maps = [affine_map<(i) -> (i)>, affine_map<(i) -> (i)>], iterator_types = ["parallel"]}}
      ins(%x : tensor<?x{source}>) outs(%e_{name} : tensor<?x{target}>) {{
  ^bb0(%a: {source}, %out: {target}):
    {body}
    linalg.yield %r : {target}
  }} -> tensor<?x{target}>"""


def unary_module(bodies: dict, source: str, targets: dict | None = None, extra: str = "") -> str:
    """A function with one input `x` and one output per body."""
    targets = {name: (targets or {}).get(name, source) for name in bodies}
    results = ", ".join(f'tensor<?x{t}> {{ee.name = "{n}"}}' for n, t in targets.items())
    text = f'func.func @main(%x: tensor<?x{source}> {{ee.name = "x"{extra}}}) -> ({results}) {{\n  %c0 = arith.constant 0 : index\n'
    text += f"  %n = tensor.dim %x, %c0 : tensor<?x{source}>"
    text += "".join(elementwise(n, b, source, targets[n]) for n, b in bodies.items())
    text += "\n  return " + ", ".join(f"%{n}" for n in bodies) + " : " + ", ".join(f"tensor<?x{t}>" for t in targets.values()) + "\n}\n"
    return text


def compile_text(folder: Path, text: str, *flags) -> Path:
    """The artifact of a module given as text."""
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "f.mlir"
    source.write_text(text)
    ok("ee-opt", source, "-o", folder / "f.ee", "--quiet", *flags)
    return folder / "f.ee"


def bindings(folder: Path, inputs: dict) -> list[str]:
    args = []
    for name, array in inputs.items():
        np.save(folder / f"in-{name}.npy", array)
        args += ["--input", f"{name}=@{folder}/in-{name}.npy"]
    return args


def run_artifact(artifact: Path, inputs: dict, outputs, *flags) -> dict:
    """Outputs by name."""
    folder = artifact.parent
    args = bindings(folder, inputs)
    for name in outputs:
        args += ["--output", f"{name}={folder}/out-{name}.npy"]
    ok("ee-run", "run", artifact, *args, *flags)
    return {name: np.load(folder / f"out-{name}.npy") for name in outputs}
