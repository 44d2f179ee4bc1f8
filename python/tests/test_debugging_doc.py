# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The commands of docs/Debugging.md, run as they stand there; their output is what the page shows. Numbers with a
fraction may differ, `...` stands for anything."""

import os
import re
import subprocess
import sys
from pathlib import Path

from .ee_tools import BUILD, needs_tools

pytestmark = needs_tools
ROOT = Path(__file__).resolve().parents[2]
NUMBER = re.compile(r"\d+\.\d+(?:e[+-]\d+)?|\d+e[+-]\d+")


def commands(text: str) -> list[tuple[str, list[str]]]:
    """(command, lines that it prints) of each console block, in order."""
    found = []
    for block in re.findall(r"^```console\n(.*?)^```$", text, re.M | re.S):
        lines = block.splitlines()
        while lines:
            assert lines[0].startswith("$ "), lines[0]
            command = lines.pop(0)[2:]
            while command.count('"') % 2:  # a script goes on until its quote ends
                command += "\n" + lines.pop(0)
            end = next((i for i, line in enumerate(lines) if line.startswith("$ ")), len(lines))
            found.append((command, lines[:end]))
            lines = lines[end:]
    return found


def pattern(lines: list[str]) -> str:
    text = NUMBER.sub("#", "\n".join(lines))
    return "[^\0]*".join(re.escape(part) for part in text.split("..."))


def test_commands(tmp_path):
    path = os.pathsep.join([str(Path(BUILD).resolve() / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT / "python"), "EE_SOURCE": str(ROOT)}
    found = commands((ROOT / "docs/Debugging.md").read_text())
    assert len(found) > 10
    for command, lines in found:
        done = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600)
        printed = (done.stdout + done.stderr).splitlines()
        if done.returncode:
            printed.append(f"[exit code {done.returncode}]")
        shown = NUMBER.sub("#", "\n".join(printed))
        assert re.fullmatch(pattern(lines), shown), f"$ {command}\n{chr(10).join(printed)}"
