# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Torch's own export of SmolLM2 compiles, and writes the same greedy ids as the writer's file.

transformers' Llama goes through torch.onnx.export(dynamo=True), optimised (the default) and with optimize=False, with
dynamic batch and sequence, without KV inputs; the compiler introduces the cache. --layers cuts the model, for a quick look.
"""

import logging
import shutil
import sys
import time
import warnings

from _common import SOURCE, Bench, call, hf_llama, parser, show, words
from exits import differences


def export(model, path, opset, optimize):
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
    ids = torch.randint(0, model.config.vocab_size, (2, 7))
    shape = {0: torch.export.Dim("batch"), 1: torch.export.Dim("seq")}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it tells that torchvision is not there
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(Logits().eval(), (ids, torch.ones_like(ids)), str(partial / "model.onnx"), dynamo=True, optimize=optimize, opset_version=opset,
                          external_data=True, verbose=False, input_names=["input_ids", "attention_mask"], output_names=["logits"], dynamic_shapes=(shape, shape))  # fmt: skip
    shutil.rmtree(path, ignore_errors=True)
    partial.replace(path)


def main(argv):
    flags = parser("torch-export", __doc__)
    flags.add_argument("--layers", type=int, help="default: all")
    flags.add_argument("--opsets", default="18,23")
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
    for opset in map(int, options.opsets.split(",")):
        for optimize in (True, False):
            folder = bench.work / f"torch-{writer.name}-{opset}{'' if optimize else '-plain'}"
            begin, exported = time.monotonic(), None
            if options.again or not (folder / "model.onnx").is_file():
                model = model or hf_llama(writer, options.threads)
                export(model, folder, opset, optimize)
                for name in ("tokenizer.json", "config.json", "generation_config.json"):
                    if (writer / name).is_file():
                        shutil.copy(writer / name, folder)
                exported = round(time.monotonic() - begin, 1)
            source, row = folder / "model.onnx", {"opset": opset, "optimize": optimize, "export_seconds": exported}
            try:
                begin = time.monotonic()
                artifact = bench.artifact("f32", source=source)
                row["compile_seconds"] = round(time.monotonic() - begin, 1)
                wrong = differences(want, bench.generate(artifact, prompts, options.tokens, eos="none"), ("ids",))
                row |= {"different": len(wrong), "first": wrong[:1]}
            except SystemExit as error:
                row["error"] = str(error)
                print(f"opset {opset}, optimize={optimize}: {error}\n  {words(bench.compiler_command(bench.work / 'x.ee', 'f32', None, None, source))}", flush=True)
            rows.append(row)
    show(["opset", "optimize", "export s", "compile s", f"prompts of {len(prompts)} that differ"],
         [[r["opset"], r["optimize"], r["export_seconds"], r.get("compile_seconds"), r.get("different", "does not compile")] for r in rows])  # fmt: skip
    return {"ok": all(r.get("different") == 0 for r in rows), "layers": options.layers, "prompts": len(prompts), "tokens": options.tokens, "exports": rows}
