# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Torch's own export of SmolLM2 compiles, and writes the same greedy ids as the writer's file.

transformers' Llama goes through torch.onnx.export: dynamo, optimised (the default) and with optimize=False, and the
legacy exporter, with dynamic batch and sequence, without KV inputs; the compiler introduces the cache. --layers cuts
the model, for a quick look.
"""

import logging
import shutil
import sys
import time
import warnings

from _common import SOURCE, Bench, call, hf_llama, parser, show, table, words
from exits import differences


def export(model, path, opset, optimize, dynamo):
    """A folder with model.onnx and its weights, whole or not at all."""
    import torch

    class Logits(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, input_ids, attention_mask):
            return self.model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).logits

    partial = path.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    ids, names = torch.randint(0, model.config.vocab_size, (2, 7)), ["input_ids", "attention_mask"]
    if dynamo:
        shape = {0: torch.export.Dim("batch"), 1: torch.export.Dim("seq")}
        options = {"dynamo": True, "optimize": optimize, "dynamic_shapes": (shape, shape), "external_data": True}
    else:
        options = {"dynamo": False, "dynamic_axes": {name: {0: "batch", 1: "seq"} for name in [*names, "logits"]}}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it tells that torchvision is not there
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(Logits().eval(), (ids, torch.ones_like(ids)), str(partial / "model.onnx"), opset_version=opset, verbose=False,
                          input_names=names, output_names=["logits"], **options)  # fmt: skip
    shutil.rmtree(path, ignore_errors=True)
    partial.replace(path)


def parse(name):
    """(opset, optimize, dynamo) of "18", "18-plain", "legacy17"."""
    opset = int(name.removeprefix("legacy").removesuffix("-plain"))
    return opset, not name.endswith("-plain"), not name.startswith("legacy")


def page(result) -> str:
    return table(["export", "compile s", "prompts", "tokens each", "prompts that differ"],
                 [[r["export"], r.get("compile_seconds", ""), result["prompts"], result["tokens"], r.get("different", "does not compile")] for r in result["exports"]])  # fmt: skip


def main(argv):
    flags = parser("torch-export", __doc__)
    flags.add_argument("--layers", type=int, help="default: all")
    flags.add_argument("--exports", default="18,18-plain,20,20-plain,23,23-plain,legacy17", help="opset, -plain: optimize=False, legacy: dynamo=False")
    flags.add_argument("--prompts", type=int, default=20)
    flags.add_argument("--tokens", type=int, default=32)
    flags.add_argument("--again", action="store_true", help="export anew")
    options = flags.parse_args(argv)
    bench, rows = Bench(options), []
    writer = bench.model()
    if options.layers:
        writer = bench.work / f"layers-{options.layers}"
        if not (writer / "model.onnx").is_file():
            call([sys.executable, "-m", "ee.write_llama", SOURCE, writer, "--layers", options.layers])
    prompts, model = bench.prompts(options.prompts), None
    want = bench.generate(bench.artifact("f32", source=writer / "model.onnx"), prompts, options.tokens, eos="none")
    for name in options.exports.split(","):
        folder = bench.work / f"torch-{writer.name}-{name}"
        begin, row = time.monotonic(), {"export": name}
        if options.again or not (folder / "model.onnx").is_file():
            model = model or hf_llama(writer, options.threads)
            export(model, folder, *parse(name))
            for file in ("tokenizer.json", "config.json", "generation_config.json"):
                if (writer / file).is_file():
                    shutil.copy(writer / file, folder)
            row["export_seconds"] = round(time.monotonic() - begin, 1)
        source = folder / "model.onnx"
        try:
            begin = time.monotonic()
            artifact = bench.artifact("f32", source=source)
            row["compile_seconds"] = round(time.monotonic() - begin, 1)
            wrong = differences(want, bench.generate(artifact, prompts, options.tokens, eos="none"), ("ids",))
            row |= {"different": len(wrong), "first": wrong[:1]}
        except SystemExit as error:
            row["error"] = str(error)
            print(f"{name}: {error}\n  {words(bench.compiler_command(bench.work / 'x.ee', 'f32', None, None, source))}", flush=True)
        rows.append(row)
        print(row, flush=True)
    show(["export", "export s", "compile s", f"prompts of {len(prompts)} that differ"],
         [[r["export"], r.get("export_seconds"), r.get("compile_seconds"), r.get("different", "does not compile")] for r in rows])  # fmt: skip
    return {"ok": all(r.get("different") == 0 for r in rows), "layers": options.layers or bench.layers(), "prompts": len(prompts), "tokens": options.tokens, "exports": rows}
