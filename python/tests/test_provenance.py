# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What an artifact says of its origin, versions, and tokenizers that are left out."""

import hashlib
import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from .ee_tools import generate, needs_tools, ok, run_tool, tool
from .refusals import base, check_refused, work  # noqa: F401 (fixtures)

pytestmark = needs_tools

ROOT = Path(__file__).parents[2]
FLAGS = ("--exits=spec.toml", "--weights=q8", "--cpu-levels=x86-64-v3", "--quiet")


def compiled(folder, out, *flags, epoch=None):
    environment = {k: v for k, v in os.environ.items() if k != "SOURCE_DATE_EPOCH"}
    if epoch is not None:
        environment["SOURCE_DATE_EPOCH"] = epoch
    done = subprocess.run([tool("ee-opt"), "model.onnx", "-o", out, *flags], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / out, done.stderr


def inspect(artifact) -> dict:
    return json.loads(ok("ee-run", "inspect", artifact, "--json"))


def sha256(path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def files(artifact) -> dict:
    return {str(p.relative_to(artifact)): p.read_bytes() for p in artifact.rglob("*") if p.is_file()}


def test_versions_are_the_projects():
    version = re.search(r"project\(.* VERSION ([0-9.]+)\)", (ROOT / "CMakeLists.txt").read_text())[1]
    assert ok("ee-run", "--version") == f"ee-run {version}\n"
    assert re.fullmatch(rf"ee-opt {re.escape(version)} \(LLVM [0-9.]+\)\n", ok("ee-opt", "--version"))


def test_an_artifact_says_where_it_comes_from(work):
    one, _ = compiled(work, "one.ee", *FLAGS, epoch="86399")
    seen = inspect(one)
    assert seen["manifest"] == json.loads((one / "manifest.json").read_text()) and "x86-64-v3" in seen["runs_here"]
    assert seen["manifest"]["provenance"] == {
        "source": {"file": "model.onnx", "sha256": sha256(work / "model.onnx")},
        "exits": {"file": "spec.toml", "sha256": sha256(work / "spec.toml")},
        "exit_lowering": "grouped", "command": ["ee-opt", "model.onnx", *FLAGS], "date": "1970-01-01T23:59:59Z",
    }  # fmt: skip
    text = ok("ee-run", "inspect", one)
    for word in (sha256(work / "model.onnx"), sha256(work / "spec.toml"), "grouped", "--weights=q8", "1970-01-01T23:59:59Z"):
        assert word in text
    # The same again under another name is the same to the byte; without a given date it is today's.
    two, _ = compiled(work, "two.ee", *FLAGS, epoch="86399")
    assert files(one) == files(two)
    three, _ = compiled(work, "three.ee", *FLAGS)
    assert inspect(three)["manifest"]["provenance"]["date"] > "2024"


@pytest.mark.parametrize("epoch", ["soon", "", "-1", "1.5", "99999999999999999999", "999999999999999"])
def test_a_date_that_is_none_is_refused(work, monkeypatch, epoch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
    check_refused(work, "ee-opt", ["model.onnx", "-o", "out.ee"], "SOURCE_DATE_EPOCH")


def test_inspect_verifies_as_json(work):
    target = work / "m.ee" / "policy.toml"
    target.write_bytes(b"x" * target.stat().st_size)
    done = run_tool("ee-run", "inspect", work / "m.ee", "--verify", "--json")
    assert done.returncode == 1 and json.loads(done.stdout)["bad_files"] == ["policy.toml"]


def test_a_tokenizer_can_be_left_out(work):
    document = json.loads((work / "tokenizer.json").read_text())
    document["model"]["byte_fallback"] = True
    (work / "tokenizer.json").write_text(json.dumps(document))
    bare, _ = compiled(work, "bare.ee", *FLAGS, "--tokenizer=none")
    assert not (bare / "tokenizer.json").exists()
    assert all(len(r["ids"]) == 2 for r in generate(bare, work / "ids.txt", 2, "--eos", "none"))
    check_refused(work, "ee-run", ["generate", "bare.ee", "-p", "a"], "--ids")


def test_a_tokenizer_of_another_vocabulary_is_told(work):
    _, said = compiled(work, "same.ee", *FLAGS)
    assert said == ""
    document = json.loads((work / "tokenizer.json").read_text())
    document["added_tokens"].append(document["added_tokens"][0] | {"id": 320, "content": "<|beyond|>"})
    (work / "tokenizer.json").write_text(json.dumps(document))
    _, said = compiled(work, "more.ee", *FLAGS)
    assert "remark: the tokenizer has 321 tokens, the model 320" in said and said.count("\n") == 1
