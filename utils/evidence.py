#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Runs bench/evidence/ITEM.py and keeps what it measured.

An item is a Python file with a docstring and `def main(argv) -> dict`. It prints
what a reader wants to see and returns numbers; `"ok": False` in them means the
claim did not hold. bench/results/ITEM.json gets them together with commit,
machine and command line, so that a table in the docs can be traced to a run.
"""

import datetime
import importlib.util
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ITEMS = ROOT / "bench" / "evidence"
RESULTS = ROOT / "bench" / "results"


def items():
    return {path.stem.replace("_", "-"): path
            for path in sorted(ITEMS.glob("*.py")) if not path.stem.startswith("_")}


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(ITEMS))
    spec.loader.exec_module(module)
    return module


def git(*arguments):
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


def machine():
    """What the numbers depend on: processor, its vector extensions, memory."""
    facts = {"system": platform.platform(), "processors": os.cpu_count()}
    try:
        info = Path("/proc/cpuinfo").read_text()
        fields = dict([part.strip() for part in line.split(":", 1)]
                      for line in info.split("\n\n")[0].splitlines() if ":" in line)
        facts["model"] = fields.get("model name", "")
        wanted = ("avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16")
        facts["extensions"] = [f for f in wanted if f in fields.get("flags", "").split()]
        memory = Path("/proc/meminfo").read_text().splitlines()[0].split()
        facts["memory_mib"] = int(memory[1]) // 1024
    except (OSError, ValueError, IndexError):
        pass
    return facts


def main(arguments):
    known = items()
    if not arguments or arguments[0] in ("-h", "--help", "--list"):
        print("usage: ./evidence ITEM [args]\n")
        for name, path in known.items():
            print(f"  {name:18} {(load(path).__doc__ or '').strip().splitlines()[0]}")
        return 0 if arguments else 1
    name, *rest = arguments
    if name not in known:
        print(f"error: no item '{name}'; known: {', '.join(known) or 'none'}", file=sys.stderr)
        return 1
    started, begin = datetime.datetime.now(datetime.timezone.utc), time.monotonic()
    result = load(known[name]).main(rest)
    if not isinstance(result, dict):
        print(f"error: item '{name}' returned no result", file=sys.stderr)
        return 1
    # The results themselves do not make a tree dirty.
    changed = [line for line in git("status", "--porcelain").splitlines()
               if "bench/results/" not in line]
    record = {
        "item": name,
        "commit": git("rev-parse", "HEAD") + ("+changes" if changed else ""),
        "command": "./evidence " + " ".join(arguments),
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - begin, 1),
        "machine": machine(),
        "result": result,
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    target = RESULTS / f"{name}.json"
    partial = target.with_suffix(".partial")
    partial.write_text(json.dumps(record, indent=1) + "\n")
    partial.replace(target)
    print(f"written: {target.relative_to(ROOT)}")
    return 0 if result.get("ok", True) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
