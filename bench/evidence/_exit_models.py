# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""SmolLM2 with exits from its two sources, and ONNX Runtime as the oracle of either.

`spec`: the writer's file; the compiler inserts the exits of a spec. `torch`: transformers' Llama with exits in its
forward, exported by torch with `ai.adaptive` ops in the file; one exit decides by its probe, one by max probability.
"""

import dataclasses
import shutil
import warnings

import numpy as np
import onnx
from _common import Bench, hf_llama
from ee.adaptive import DOMAIN
from ee.exit_spec import ExitSpec, load_spec
from ee.insert_exits import write_exits
from ee.oracle import Oracle


class SpecModel:
    label = "spec"

    def __init__(self, bench: Bench, options):
        self.bench, self.spec = bench, options.spec
        self.specs, self.fill = load_spec(options.spec)

    def artifact(self, form: str, lowering: str):
        return self.bench.artifact(form, self.spec, lowering)

    def without_exits(self, form: str):
        return self.bench.artifact(form)

    def onnx_file(self):
        """The same exits as `ai.adaptive` nodes."""
        file = self.bench.model() / "exits.onnx"
        write_exits(self.bench.model() / "model.nocache.onnx", file, self.specs, self.fill)
        return file


class TorchModel:
    label = "torch"

    def __init__(self, bench: Bench, options):
        self.bench, self.threads = bench, options.threads
        specs, self.fill = load_spec(options.spec)
        self.specs = [*specs[:-1], dataclasses.replace(specs[-1], criterion="max_prob", threshold=1.0, probe=None)]
        self.folder = bench.work / "torch-exits"
        if not (self.folder / "model.onnx").is_file():
            self.export()

    def export(self) -> None:
        from ee.torch_export import export_causal_lm

        print(f"exporting {self.folder}", flush=True)
        partial, writer = self.folder.with_suffix(".partial"), self.bench.model()
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            export_causal_lm(hf_llama(writer, self.threads), partial / "model.onnx", self.specs, self.fill, opset=23)
        for name in ("tokenizer.json", "config.json", "generation_config.json"):
            shutil.copy(writer / name, partial)
        partial.replace(self.folder)

    def artifact(self, form: str, lowering: str):
        return self.bench.artifact(form, None, lowering, self.folder / "model.onnx")

    def without_exits(self, form: str):
        """None: torch was not asked for a file without exits."""
        return None

    def onnx_file(self):
        return self.folder / "model.onnx"


def models(bench: Bench, options):
    kinds = {kind.label: kind for kind in (SpecModel, TorchModel)}
    return [kinds[name](bench, options) for name in options.models.split(",")]


def with_scores(file, specs: list[ExitSpec], scripted: bool):
    """A file beside `file` whose score of exit NAME is an output `score.NAME`, or, when scripted, an input of that name."""
    model = onnx.load(file, load_external_data=False)
    exits = {onnx.helper.get_node_attr_value(n, "name").decode(): n for n in model.graph.node if n.domain == DOMAIN and n.op_type == "Exit"}
    renamed = {exits[s.label].input[2]: f"score.{s.label}" for s in specs}
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", "seq"]) for name in renamed.values()]
    for node in model.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) + (".unused" if scripted and name in renamed else "") for name in node.output]
    (model.graph.input if scripted else model.graph.output).extend(values)
    target = file.with_name("scores-in.onnx" if scripted else "scores-out.onnx")
    onnx.save(model, target)
    return target


def against_onnxruntime(bench: Bench, model, options) -> dict:
    """`masked` in f32 against ONNX Runtime on the same exits, every row enabled.

    Scripted: depths equal, logits within 1e-4 of the largest. Real: rows whose score lies within 1e-3 of a threshold
    may go either way and are counted; all others agree."""
    ids = np.array(bench.text_ids(options.oracle_rows * 32)[0]).reshape(-1, 32)
    enabled, script = np.ones(ids.shape, bool), np.random.default_rng(2).integers(0, len(model.specs) + 1, ids.shape)
    masked, result = model.artifact("f32", "masked"), {}
    for arm in ("scripted", "real"):
        file = with_scores(model.onnx_file(), model.specs, arm == "scripted")
        inputs, feeds = {"input_ids": ids, "enabled": enabled}, {}
        if arm == "scripted":
            # Exit index, or full depth; ONNX Runtime gets a score on either side of each threshold.
            inputs["script"] = np.where(script < len(model.specs), script, -2)
            feeds = {f"score.{s.label}": np.where(script == i, s.threshold + 1, s.threshold - 1).astype(np.float32) for i, s in enumerate(model.specs)}
        want = Oracle(file, threads=bench.threads).run(ids, enabled=enabled, **feeds)
        file.unlink()
        logits, depth = bench.rows(masked, inputs, ["logits", "exit_depth"])
        scores = {s.label: (want | feeds)[f"score.{s.label}"].reshape(ids.shape) for s in model.specs}
        near, expected = np.zeros(ids.shape, bool), np.full(ids.shape, bench.layers())
        for s in reversed(model.specs):
            expected = np.where(scores[s.label] >= s.threshold, s.layer, expected)
            near |= np.abs(scores[s.label] - s.threshold) < 1e-3
        same = depth == expected
        error = np.abs(logits - want["logits"])[same].max() / np.abs(want["logits"]).max()
        result[arm] = {"rows": ids.size, "rows_by_depth": {int(d): int(n) for d, n in zip(*np.unique(depth, return_counts=True))},
                       "max_error": float(error), "near_threshold": int(near.sum()), "depth_differs": int((~same & ~near).sum())}  # fmt: skip
        print(f"{model.label} against ONNX Runtime, {arm}: {result[arm]}", flush=True)
    result["ok"] = all(r["depth_differs"] == 0 and r["max_error"] <= 1e-4 and len(r["rows_by_depth"]) > 1 for r in (result["scripted"], result["real"]))
    return result
