# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`ee.export`: torch.onnx.export that keeps exits as `ai.adaptive` nodes with their bodies in the file.

The exporter inlines every function it is given and then fails on ours, so nodes are emitted without a body (which
needs a registered schema) and the bodies are appended afterwards. `optimize=False` keeps weight names, stores a
shared weight once, and avoids the exporter's batch-1 rotary tables at opset 23.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import onnx
import onnxscript
import torch

from . import nn
from .adaptive import DOMAIN, OPS, VERSION, AdaptiveOp, attach_bodies, registered_schemas
from .errors import UserError
from .nn.functional import OPERATORS

OPSETS = (18, 20, 23)
_KINDS = {onnx.AttributeProto.FLOAT: float, onnx.AttributeProto.INT: int, onnx.AttributeProto.STRING: str}


def _translation(op: AdaptiveOp) -> Callable:
    """A body-less node of `op`. The exporter reads the signature to tell inputs from attributes."""
    make = getattr(onnxscript.values.Opset(DOMAIN, VERSION), op.name)

    def translate(*arguments):
        inputs, attributes = arguments[: len(op.inputs)], arguments[len(op.inputs) :]
        return make(*inputs, **{a.name: value for a, value in zip(op.attributes, attributes, strict=True)})

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter(v.name, kind) for v in op.inputs]
    parameters += [inspect.Parameter(a.name, kind, annotation=_KINDS[a.type]) for a in op.attributes]
    translate.__signature__ = inspect.Signature(parameters)
    translate.__annotations__ = {a.name: _KINDS[a.type] for a in op.attributes}
    translate.__name__ = op.name
    return translate


def export(model: torch.nn.Module, args: tuple, path, opset: int = 18, dynamic_shapes=None, input_names=None, output_names=None) -> None:
    """Write `model` to `path` (+ `path`.data for the weights) as ONNX, exits kept.

    `args` are example inputs; `dynamic_shapes` as for torch.export (one entry per input). Opset 18, 20 or 23."""
    if opset not in OPSETS:
        raise UserError(f"opset {opset} is not one of {', '.join(map(str, OPSETS))}")
    path = Path(path)
    model.eval()
    with registered_schemas():
        torch.onnx.export(
            model, args, str(path), dynamo=True, optimize=False, opset_version=opset, external_data=True, verbose=False,
            dynamic_shapes=dynamic_shapes, input_names=input_names, output_names=output_names,
            custom_translation_table={OPERATORS[name]._opoverload: _translation(op) for name, op in OPS.items()},
        )  # fmt: skip
    result = attach_bodies(onnx.load(path, load_external_data=False))
    onnx.save(result, path)
    onnx.checker.check_model(str(path), full_check=True)


def export_rows(
    module: torch.nn.Module, inputs: Mapping[str, torch.Tensor], path, opset: int, outputs: Sequence[str], scripts: Sequence[str] = ()
) -> None:  # fmt: skip
    """`export` of a module whose inputs, by name, begin with the axes batch and seq, both dynamic. `scripts` are names of further
    f32 inputs [batch, seq], which the module takes as one list."""
    axes = [torch.export.Dim("batch"), torch.export.Dim("seq")]
    args, names = list(inputs.values()), [*inputs, *scripts]
    shapes = [{i: axes[i] for i in range(min(x.ndim, 2))} for x in args]
    if scripts:
        args.append([torch.zeros(args[0].shape) for _ in scripts])
        shapes.append([dict(enumerate(axes))] * len(scripts))
    export(module, tuple(args), path, opset, tuple(shapes), names, list(outputs))


def export_causal_lm(
    model: torch.nn.Module, path, exits: Sequence, fill: str = "exact", opset: int = 18, scripted: bool = False, exit_depth: bool = False
) -> torch.nn.Module:  # fmt: skip
    """A Hugging Face causal LM with exits, no cache, dynamic batch and sequence; returns the module that was exported.

    Inputs input_ids, attention_mask (i64), enabled (bool) and, with `scripted`, script.NAME (f32) in place of the criteria, all
    [batch, seq]; outputs logits and, with `exit_depth`, exit_depth i64 [batch, seq]."""
    wrapped = nn.CausalLMWithExits(model, list(exits), fill, scripted, exit_depth)
    ids = torch.randint(0, model.config.vocab_size, (2, 7))
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "enabled": torch.ones(2, 7, dtype=torch.bool)}
    scripts = [f"script.{s.label}" for s in wrapped.specs] if scripted else []
    export_rows(wrapped, inputs, path, opset, ["logits", "exit_depth"] if exit_depth else ["logits"], scripts)
    return wrapped
