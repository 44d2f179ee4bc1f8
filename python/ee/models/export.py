# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""python -m ee.models.export MODEL OUT.onnx: a trained decoder as an ONNX file with its decisions in it.

Inputs input_ids i64 and, where the model has exits, enabled bool, both [batch, seq]; no cache. Outputs logits and depth i64
[batch, seq] (layers run). What decides: a model with a router compares its scores with theta per recursion; one with gates
halts on Ouro's cumulated gates; one with exits compares each exit's probe with a threshold. With `--scripted` the scores
are inputs `script.N` f32 [batch, seq] in the order of the decisions, so that any depth can be forced.
"""

import argparse
import sys

import torch
from torch import nn

from ..errors import UserError, run_main
from ..fields import is_threshold
from ..folders import check_output_file
from ..nn import Exit, functional as ops
from ..torch_export import OPSETS, export_rows
from .decoder import Decoder
from .routed import threshold


class Probed(nn.Module):
    """Exit points by probe: a chain of `Exit` over logits, shallowest outermost."""

    def __init__(self, model: Decoder, thresholds: list[float]):
        super().__init__()
        self.inner, self.thresholds = model, thresholds
        self.points = nn.ModuleList(Exit(f"e{d}", t, "probe") for d, t in zip(model.config.exits, thresholds, strict=True))

    def forward(self, ids, enabled, script=None):
        model, met = self.inner, []

        def leave(depth, h):
            score = model.exits[str(depth)]["probe"](h).squeeze(-1) if script is None else script[len(met)]
            met.append((depth, h, score, enabled & (score >= self.thresholds[len(met)])))
            return met[-1][3]

        for _, h, _ in model.walk(ids, leave):
            pass
        logits, depths = model.exit_logits(h), torch.full_like(ids, model.config.depth)
        for point, (depth, h, score, leaves) in zip(reversed(self.points), reversed(met), strict=True):
            logits = point(model.exit_logits(h), logits, score, h, enabled)
            depths = torch.where(leaves, depth, depths)
        return logits, depths


class Gated(nn.Module):
    """A looped model that halts where the cumulated gates reach sigmoid(theta); the state a row kept is what is read."""

    def __init__(self, model: Decoder, theta: float):
        super().__init__()
        if model.config.kv_fill == "exact":
            raise UserError("gates with kv_fill 'exact' have no kept state to read; use probes (--thresholds)")
        self.inner, self.theta = model, theta

    def forward(self, ids, enabled, script=None):
        model = self.inner
        running = torch.ones_like(ids, dtype=torch.bool)
        survival, depths = torch.zeros(ids.shape), torch.full_like(ids, model.config.depth)
        decided = 0

        def leave(depth, h):
            nonlocal running, survival, depths, decided
            z = model.gates[decided](h).squeeze(-1) if script is None else script[decided]
            still, survival = ops.apply("HaltCdf", z, survival, running, self.theta)
            still = still | (running & ~enabled)
            depths = torch.where(running & ~still, depth, depths)
            left, running, decided = running & ~still, still, decided + 1
            return left

        for _, h, _ in model.walk(ids, leave):
            pass
        return model.exit_logits(h), depths


class Routed(nn.Module):
    """Routers with one theta per recursion; there is no `enabled`, the rule is the same in a prompt."""

    def __init__(self, model: Decoder, thetas: list[float]):
        super().__init__()
        self.inner, self.thetas = model, thetas

    def forward(self, ids, script=None):
        c = self.inner.config
        result = threshold(self.inner, ids, self.thetas, script=script)
        return self.inner.head(result.state), c.depth_after(result.depths)


def decisions(model: Decoder) -> int:
    """How many decisions a row may meet."""
    return model.config.recursions if model.config.router else len(model.config.exits)


def threshold_count(model: Decoder) -> int:
    """How many numbers set the decisions: one per recursion of a routed model, one for gates, one per exit."""
    c = model.config
    return c.recursions if c.router else 1 if c.gates else len(c.exits)


def adaptive_module(model: Decoder, thresholds: list[float]) -> nn.Module:
    """`model` with its decisions. Thresholds in logit space: theta per recursion, one theta for gates, or one per exit."""
    c, want = model.config, threshold_count(model)
    if len(thresholds) != want:
        raise UserError(f"--thresholds has {len(thresholds)} numbers, the model's {'routers need' if c.router else 'gates need' if c.gates else 'exits need'} {want}")
    if bad := [t for t in thresholds if not is_threshold(t)]:
        raise UserError(f"--thresholds has {bad[0]}; accepted: finite float32 numbers, and inf or -inf to decide always or never")
    return Routed(model, thresholds) if c.router else Gated(model, thresholds[0]) if c.gates else Probed(model, thresholds)


def write(model: Decoder, path, thresholds: list[float], opset: int = 20, scripted: bool = False) -> nn.Module:
    """The file at `path` (+ `path`.data); returns the module that was exported."""
    module = adaptive_module(model.eval(), thresholds)
    ids = torch.randint(0, model.config.vocab, (2, 7))
    inputs = {"input_ids": ids}
    if not model.config.router:
        inputs["enabled"] = torch.ones(2, 7, dtype=torch.bool)
    scripts = [f"script.{i}" for i in range(decisions(model))] if scripted else []
    export_rows(module, inputs, path, opset, ["logits", "depth"], scripts)
    return module


def main(argv) -> None:
    parser = argparse.ArgumentParser(prog="python -m ee.models.export", description=__doc__.split("\n\n")[0])
    parser.add_argument("model", help="folder with ee_config.json and model.safetensors")
    parser.add_argument("out", help="the ONNX file; weights go beside it")
    parser.add_argument("--thresholds", help="logits, comma separated: one per recursion of a routed model, one for gates, one per exit; default 0")
    parser.add_argument("--opset", type=int, default=20, choices=OPSETS)
    parser.add_argument("--scripted", action="store_true", help="scores are inputs, to force depths")
    args = parser.parse_args(argv)
    check_output_file(args.out)
    model = Decoder.load(args.model)
    try:
        thresholds = [float(t) for t in args.thresholds.split(",")] if args.thresholds is not None else [0.0] * threshold_count(model)
    except ValueError:
        raise UserError(f"--thresholds '{args.thresholds}' is not a list of numbers such as 0,1.5") from None
    write(model, args.out, thresholds, args.opset, args.scripted)
    print(f"{args.out}: {model.config.depth} layers, {decisions(model)} decisions, opset {args.opset}")


if __name__ == "__main__":
    sys.exit(run_main(main))
