# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Compile time and memory of ee-opt, start to first token and memory of ee-run, per weight format.

Each time is the median of --repeats fresh processes. Memory is the peak resident set as the kernel counts it, mapped
files included. `first token` is from the start of the process to the first byte of text, with the files in the page cache.
The aims: under 20 s and under twice the weights to compile; 0.4 s and 300 MB to run in q4.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _common import FORMATS, ROOT, Bench, parser, show, table, words


def measure(command):
    """(seconds, seconds to the first byte of output or None, peak MiB, seconds of CPU) of one process."""
    with tempfile.TemporaryFile() as log:
        begin = time.monotonic()
        child = subprocess.Popen([str(w) for w in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log)
        first = time.monotonic() - begin if child.stdout.read(1) else None
        child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)
        seconds, child.returncode = time.monotonic() - begin, os.waitstatus_to_exitcode(status)
        if child.returncode:
            log.seek(0)
            sys.exit(f"error: {words(command)} failed:\n" + log.read().decode(errors="replace")[-2000:])
    return seconds, first, usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime


def middle(values):
    return {"median": round(statistics.median(values), 3), "least": round(min(values), 3), "most": round(max(values), 3)}


def page(result) -> str:
    return f"Weights of the model: {result['model_weights_mib']:.0f} MiB.\n\n" + table(
        ["weights", "compile s", "compiler's peak MiB", "artifact MiB", "first token s", "peak MiB of ee-run"],
        [[f, r["compile_seconds"]["median"], f"{r['compile_peak_mib']:.0f}", r["artifact_mib"], r["first_token_seconds"]["median"], f"{r['run_peak_mib']:.0f}"]
         for f, r in result["formats"].items()])  # fmt: skip


def main(argv):
    flags = parser("compile-time", __doc__)
    flags.add_argument("--exits", default=str(ROOT / "examples/exits/smollm2/spec.toml"), help="exit spec, or 'none'")
    flags.add_argument("--weights", default=FORMATS)
    flags.add_argument("--repeats", type=int, default=3)
    options = flags.parse_args(argv)
    bench = Bench(options)
    weights_mib = sum(f.stat().st_size for f in bench.model().glob("model.onnx.data*")) / 2**20
    spec, rows = None if options.exits == "none" else Path(options.exits), {}
    work = Path(tempfile.mkdtemp(prefix="compile-time.", dir=bench.work))
    try:
        for form in options.weights.split(","):
            artifact, compiled = work / f"{form}.ee", []
            for _ in range(options.repeats):
                shutil.rmtree(artifact, ignore_errors=True)
                compiled.append(measure(bench.compiler_command(artifact, form, spec, None)))
            size = sum(f.stat().st_size for f in artifact.rglob("*") if f.is_file()) / 2**20
            command = [bench.run, "generate", artifact, "-t", bench.threads, "-p", "The capital of France is", "-n", "16", "--temp", "0"]
            ran = [measure(command) for _ in range(options.repeats)]
            rows[form] = {
                "compile_seconds": middle([r[0] for r in compiled]), "compile_cpu_seconds": middle([r[3] for r in compiled]),
                "compile_peak_mib": max(r[2] for r in compiled), "artifact_mib": round(size, 1),
                "first_token_seconds": middle([r[1] for r in ran]), "run_cpu_seconds": middle([r[3] for r in ran]), "run_peak_mib": max(r[2] for r in ran),
            }  # fmt: skip
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(f"{bench.model()} ({weights_mib:.0f} MiB of weights), {options.repeats} runs each, load {os.getloadavg()[0]:.1f}")
    show(["weights", "compile s", "CPU s", "peak MiB", "of weights", "artifact MiB", "first token s", "16 tokens CPU s", "peak MiB"],
         [[f, r["compile_seconds"]["median"], r["compile_cpu_seconds"]["median"], f"{r['compile_peak_mib']:.0f}", f"{r['compile_peak_mib'] / weights_mib:.2f}",
           r["artifact_mib"], r["first_token_seconds"]["median"], r["run_cpu_seconds"]["median"], f"{r['run_peak_mib']:.0f}"] for f, r in rows.items()])  # fmt: skip
    return {"model_weights_mib": round(weights_mib, 1), "load_average": os.getloadavg(), "formats": rows}
