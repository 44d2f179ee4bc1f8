# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Artifacts held against each other by `ee-run compare`, which sees what no artifact can say of itself."""

import json

from .ee_tools import compile_model, generate, needs_tools, run_tool
from .refusals import base, check_refused, work  # noqa: F401 (fixtures)

pytestmark = needs_tools


def compiled(work, name, *flags):
    compile_model(work / "model.onnx", work / name, f"--exits={work / 'spec.toml'}", "--weights=q8", "--cpu-levels=x86-64-v3", *flags)


def compare(work, *args):
    done = run_tool("ee-run", "compare", *args, "--json", cwd=work)
    assert done.returncode in (0, 1) and done.stderr == b"", done.stderr
    out = json.loads(done.stdout)
    assert done.returncode == (0 if out["equal"] else 1)
    return out


def test_compare_sees_a_wrong_lowering(work):
    """`masked` is the reference; an artifact whose rows leave always stands for a lowering that gets the decision wrong."""
    compiled(work, "masked.ee", "--exit-lowering=masked")
    compiled(work, "grouped.ee")
    (work / "spec.toml").write_text((work / "spec.toml").read_text().replace("threshold = 0.5", "threshold = -1e9"))
    compiled(work, "always.ee")
    prompts = ("--ids", "ids.txt", "-n", "12", "--eos", "none")
    same = compare(work, "masked.ee", "grouped.ee", *prompts)
    assert same["equal"] and same["first"] is None and (same["prompts"], same["tokens"]) == (2, 24) and not any(same["different"].values())
    # eval cannot see it: its full arm is the same artifact. What compare says is counted here from what generate says.
    a, b = (generate(work / f"{name}.ee", work / "ids.txt", 12, "--eos", "none", "--logit-hash") for name in ("masked", "always"))
    got = compare(work, "masked.ee", "always.ee", *prompts)
    keys = {"depths": "exit_depth", "logits": "logit_hash", "ids": "ids"}
    off = {name: [(p, t) for p in range(2) for t in range(12) if a[p][key][t] != b[p][key][t]] for name, key in keys.items()}
    assert off["depths"] and not got["equal"]
    assert {name: got["different"][name] for name in keys} == {name: len(places) for name, places in off.items()}
    prompt, token = min(sum(off.values(), []))
    first = got["first"]
    assert (first["prompt"], first["token"], first["position"]) == (prompt, token, len(a[prompt]["prompt_ids"]) + token - 1)
    assert first["what"] == [{"depths": "depth", "logits": "logits", "ids": "id"}[name] for name in keys if (prompt, token) in off[name]]
    for side, result in (("a", a), ("b", b)):
        assert first[side] == {"id": result[prompt]["ids"][token], "depth": result[prompt]["exit_depth"][token], "logit_hash": result[prompt]["logit_hash"][token]}
    # At full depth both are the same model again, and so is what they print for people.
    assert compare(work, "masked.ee", "always.ee", *prompts, "--force-full")["equal"]
    done = run_tool("ee-run", "compare", "masked.ee", "always.ee", *prompts, cwd=work)
    assert done.returncode == 1 and f"first difference: prompt {prompt + 1}, token {token + 1}" in done.stdout.decode()


def test_compare_refuses(work):
    compile_model(work / "model.onnx", work / "plain.ee", "--cpu-levels=x86-64-v3")
    for args, said in (
        (["m.ee"], "other"), (["m.ee", "m.ee"], "-p TEXT"), (["m.ee", "none.ee", "--ids", "ids.txt"], "none.ee"),
        (["m.ee", "plain.ee", "--ids", "ids.txt", "--kv-hash"], "KV levels"),
        (["m.ee", "m.ee", "--ids", "ids.txt", "-n", "1000"], "-n is 1000"),
    ):  # fmt: skip
        check_refused(work, "ee-run", ["compare", *args], said)
