# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Bad artifacts and bad input of ee-run: exit code 1, one line on standard error that names what is wrong."""

import hashlib
import json
import os
import shutil

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from tokenizers import Tokenizer

from .ee_tools import compile_model, cpu_levels, needs_tools, ok, write_lists
from .refusals import base, cases, check_refused, nothing, put, work, wrote  # noqa: F401 (fixtures)

pytestmark = needs_tools


# --- artifacts ---------------------------------------------------------------------------------------------------

GENERATE = ["generate", "m.ee", "--ids", "ids.txt", "-n", "2"]


def manifest(change_document):
    def change(w):
        path = w / "m.ee" / "manifest.json"
        document = json.loads(path.read_text())
        change_document(document)
        path.write_text(json.dumps(document))

    return change


def set_at(*keys, to):
    def change(document):
        for key in keys[:-1]:
            document = document[key]
        assert isinstance(document, list) or keys[-1] in document
        document[keys[-1]] = to

    return manifest(change)


def drop(*keys):
    def change(document):
        for key in keys[:-1]:
            document = document[key]
        del document[keys[-1]]

    return manifest(change)


def rehashed(path, text):
    """A file of the artifact replaced, with the manifest telling the truth about it."""

    def change(w):
        (w / "m.ee" / path).write_text(text)
        entry = {"path": path, "bytes": len(text), "sha256": hashlib.sha256(text.encode()).hexdigest()}
        manifest(lambda d: d["files"].__setitem__([f["path"] for f in d["files"]].index(path), entry))(w)

    return change


def flip(path, at):
    def change(w):
        data = bytearray((w / "m.ee" / path).read_bytes())
        data[at] ^= 1
        (w / "m.ee" / path).write_bytes(bytes(data))

    return change


def gone(path):
    return lambda w: (w / "m.ee" / path).unlink()


SO, WEIGHTS = "cpu/x86-64-v3.so", "weights/cpu-f32.safetensors"
ARTIFACTS = {
    "code changed": (flip(SO, 5000), SO),
    "code cut": (lambda w: os.truncate(w / "m.ee" / SO, 1000), SO),
    "code gone": (gone(SO), SO),
    "code is a fifo": (lambda w: (gone(SO)(w), os.mkfifo(w / "m.ee" / SO)), SO),
    "code is a link": (lambda w: (shutil.move(w / "m.ee" / SO, w / "x.so"), (w / "m.ee" / SO).symlink_to(w / "x.so")), SO),
    "weights gone": (gone(WEIGHTS), WEIGHTS),
    "weights cut": (lambda w: os.truncate(w / "m.ee" / WEIGHTS, 8192), WEIGHTS),
    "weights longer": (lambda w: (w / "m.ee" / WEIGHTS).open("ab").write(b"x"), WEIGHTS),
    "tokenizer gone": (gone("tokenizer.json"), "tokenizer.json"),
    "tokenizer changed": (flip("tokenizer.json", 100), "tokenizer.json"),
    "tokenizer that is no JSON": (rehashed("tokenizer.json", "{"), "tokenizer.json"),
    "tokenizer of another kind": (rehashed("tokenizer.json", '{"model": {"type": "Unigram", "vocab": []}}'), "Unigram"),
    "policy changed": (flip("policy.toml", 5), "policy.toml"),
    "policy changed and readable": (lambda w: (w / "m.ee/policy.toml").write_text((w / "m.ee/policy.toml").read_text().replace("min_depth = 0", "min_depth = 1")), ["policy.toml", "hash"]),
    "policy gone": (gone("policy.toml"), "policy.toml"),
    "manifest gone": (gone("manifest.json"), "m.ee"),
    "manifest empty": (put("m.ee/manifest.json", ""), "manifest.json"),
    "manifest cut": (lambda w: os.truncate(w / "m.ee" / "manifest.json", 700), "manifest.json"),
    "manifest is a list": (put("m.ee/manifest.json", "[]"), "manifest.json"),
    "manifest deeply nested": (put("m.ee/manifest.json", "[" * 200000), "manifest.json"),
    "another format": (set_at("format", to="zip"), "format"),
    "version of the future": (set_at("format_version", to=99), ["format_version", "99"]),
    "version of the past": (set_at("format_version", to=1), ["format_version", "this runtime reads 2"]),
    "version as text": (set_at("format_version", to="2"), "format_version"),
    "stage ABI of the future": (set_at("stage_abi", to=99), ["stage_abi", "99"]),
    "unknown kind": (set_at("kind", to="sculptor"), "kind"),
    "no model": (drop("model"), "model"),
    "no files": (drop("files"), "files"),
    "no program": (drop("program"), "program"),
    "no kv": (drop("kv"), "kv"),
    "no code": (set_at("cpu", to=[]), "m.ee"),
    "code for another machine": (set_at("cpu", 0, "level", to="riscv"), "riscv"),
    "code file outside": (set_at("cpu", 0, "file", to="../x.so"), "x.so"),
    "absolute code file": (set_at("cpu", 0, "file", to="/lib/x.so"), "x.so"),
    "wrong hash": (set_at("cpu", 0, "sha256", to="0" * 64), ""),
    "hash of words": (set_at("files", 1, "sha256", to="yes"), "sha256"),
    "vocabulary 0": (set_at("model", "vocab", to=0), "vocab"),
    "vocabulary below zero": (set_at("model", "vocab", to=-320), "vocab"),
    "vocabulary too large": (set_at("model", "vocab", to=1 << 50), "vocab"),
    "layers below zero": (set_at("model", "layers", to=-1), "layers"),
    "eos outside": (set_at("model", "eos", to=[5000]), "eos"),
    "row of no bytes": (set_at("rows", "row_bytes", to=0), "row"),
    "column outside of the row": (set_at("rows", "columns", 0, "offset", to=1 << 20), "columns"),
    "weight outside of its file": (set_at("weights", 1, "offset", to=1 << 40), "weights[1]"),
    "weight offset below zero": (set_at("weights", 1, "offset", to=-64), "weights[1]"),
    "page of no bytes": (set_at("kv", "levels", 0, "page_bytes", to=0), "kv"),
    "pages of no positions": (set_at("kv", "page_positions", to=0), "page_positions"),
    "unknown fill": (set_at("kv", "levels", 0, "fill", to="never"), "fill"),
    "unknown node": (set_at("program", 0, "kind", to="dance"), ["program", "dance"]),
    "node of version 1": (set_at("program", 1, "kind", to="stage"), ["program", "run"]),
    "edge to nowhere": (set_at("program", 0, "next", to=99), "program[0]"),
    "edge below zero": (set_at("program", 0, "next", to=-1), "program[0]"),
    "edge to itself": (set_at("program", 1, "next", to=1), "program"),
    "stage that is not there": (set_at("program", 1, "stage", to=99), "program[1]"),
    "symbol that is not there": (set_at("stages", 0, "symbol", to="ee_stage_gone"), "ee_stage_gone"),
    "arena below zero": (set_at("stages", 0, "arena", "per_row", to=-64), "stages[0]"),
    "exit at depth 99": (set_at("exits", 0, "depth", to=99), "exits[0]"),
    "threshold as text": (set_at("exits", 0, "threshold", to="high"), "threshold"),
}


@cases(ARTIFACTS)
def test_artifact(work, case):
    change, said = case
    change(work)
    check_refused(work, "ee-run", GENERATE, said)


@pytest.mark.parametrize("path", [WEIGHTS, SO, "tokenizer.json", "policy.toml"])
def test_verify_finds_each_changed_file(work, path):
    flip(path, 60)(work)
    check_refused(work, "ee-run", ["inspect", "m.ee", "--verify"], path)


def test_verify_reads_no_file_outside(work):
    manifest(lambda d: d["files"].append({"path": "../ids.txt", "bytes": 10, "sha256": "0" * 64}))(work)
    check_refused(work, "ee-run", ["inspect", "m.ee", "--verify"], "../ids.txt")


def test_no_artifact(work):
    check_refused(work, "ee-run", ["generate", "none.ee", "-p", "x"], "none.ee")
    check_refused(work, "ee-run", ["generate", "ids.txt", "-p", "x"], "ids.txt")
    check_refused(work, "ee-run", ["inspect", "."], "manifest.json")


# --- options and files of ee-run ------------------------------------------------------------------------------------


def npy(name, array):
    return lambda w: np.save(w / name, array)


def npy_bytes(data):
    return lambda w: (w / "bad.npy").write_bytes(data)


def npy_header(text):
    return npy_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + bytes(64))


RUN = ["run", "m.ee", "--input", "input_ids=@ids.npy"]
SCRIPTED = [*RUN, "--input", "script=@script.npy", "--input", "enabled=@enabled.npy"]


def masked(mask):
    """A model that declares an attention mask, and a value for it."""
    declare = manifest(lambda d: d["model"]["inputs"].append({"name": "mask", "role": "attention_mask"}))
    return lambda w: (declare(w), np.save(w / "m.npy", np.array(mask)))


MASKED = [*RUN, "--input", "mask=@m.npy"]


def scripted(script, enabled):
    return lambda w: (np.save(w / "script.npy", np.array(script)), np.save(w / "enabled.npy", np.array(enabled)))


BAD_IDS = ["run", "m.ee", "--input", "input_ids=@bad.npy"]
SERVE = {
    "no subcommand": (nothing, [], ["generate", "run", "eval", "inspect", "bench"]),
    "unknown subcommand": (nothing, ["paint"], ["paint", "generate", "run", "eval", "inspect", "bench"]),
    "unknown flag": (nothing, [*GENERATE, "--frobnicate"], "frobnicate"),
    "no prompt": (nothing, ["generate", "m.ee"], "-p"),
    "two kinds of prompt": (nothing, [*GENERATE, "-p", "x"], "-p"),
    "prompts missing": (nothing, ["generate", "m.ee", "--prompts", "none.txt"], "none.txt"),
    "prompts empty": (wrote("p.txt", "\n\n"), ["generate", "m.ee", "--prompts", "p.txt"], "p.txt"),
    "prompts with a bad escape": (wrote("p.txt", "a\n\nb \\x\n"), ["generate", "m.ee", "--prompts", "p.txt"], "p.txt:3"),
    "prompts is a folder": (nothing, ["generate", "m.ee", "--prompts", "m.ee"], "m.ee"),
    "ids of words": (wrote("i.txt", "5 6\n7 eight\n"), ["generate", "m.ee", "--ids", "i.txt"], "i.txt:2"),
    "ids below zero": (wrote("i.txt", "5 -6\n"), ["generate", "m.ee", "--ids", "i.txt", "-n", "2"], "-6"),
    "ids beyond the vocabulary": (wrote("i.txt", "5 320\n"), ["generate", "m.ee", "--ids", "i.txt", "-n", "2"], "320"),
    "ids beyond 64 bits": (wrote("i.txt", "5 99999999999999999999\n"), ["generate", "m.ee", "--ids", "i.txt"], "i.txt:1"),
    "prompt too long": (wrote("i.txt", "5 " * 97), ["generate", "m.ee", "--ids", "i.txt", "-n", "1"], "96"),
    "more tokens than positions": (nothing, [*GENERATE[:-1], "95"], ["-n", "1 to 94", "96"]),
    "tokens of a large number": (nothing, [*GENERATE[:-1], "9223372036854775807"], ["-n", "1 to 94"]),
    "tokens below zero": (nothing, [*GENERATE[:-1], "-1"], "-1"),
    "tokens of words": (nothing, [*GENERATE[:-1], "many"], "many"),
    "tokens beyond 64 bits": (nothing, [*GENERATE[:-1], "99999999999999999999"], ["--tokens", "99999999999999999999"]),
    "seed below zero": (nothing, [*GENERATE, "--seed", "-1"], ["--seed", "-1"]),
    "seed beyond 64 bits": (nothing, [*GENERATE, "--seed", "18446744073709551616"], ["--seed", "18446744073709551616"]),
    "shuffle below zero": (nothing, [*GENERATE, "--shuffle-pages", "-1"], "--shuffle-pages"),
    "min depth beyond 64 bits": (nothing, [*GENERATE, "--min-depth", "99999999999999999999"], "--min-depth"),
    "logit hash without JSON": (nothing, [*GENERATE, "--logit-hash"], ["--logit-hash", "--json"]),
    "KV hash without JSON": (nothing, [*GENERATE, "--kv-hash"], ["--kv-hash", "--json"]),
    "unknown level": (nothing, [*GENERATE, "--cpu-level", "mmx"], "mmx"),
    "level that was not compiled": (nothing, [*GENERATE, "--cpu-level", "avx512"], "avx512"),
    "threads below zero": (nothing, [*GENERATE, "-t", "-1"], "-1"),
    "a million threads": (nothing, [*GENERATE, "-t", "1000000"], "1000000"),
    "batch 0": (nothing, [*GENERATE, "--batch", "0"], "--batch"),
    "batch below zero": (nothing, [*GENERATE, "--batch", "-4"], "--batch"),
    "chunk 0": (nothing, [*GENERATE, "--chunk", "0"], "chunk"),
    "chunk below zero": (nothing, [*GENERATE, "--chunk", "-1"], "chunk"),
    "rows 0": (nothing, [*GENERATE, "--max-rows", "0"], "rows"),
    "rows without end": (nothing, [*GENERATE, "--max-rows", "9223372036854775807"], "rows"),
    "debt cap below zero": (nothing, [*GENERATE, "--debt-cap", "-1"], "debt"),
    "pages below zero": (nothing, [*GENERATE, "--kv-pages", "-1"], "pages"),
    "pages without end": (nothing, [*GENERATE, "--kv-pages", "9223372036854775807"], "pages"),
    "preempt below zero": (nothing, [*GENERATE, "--preempt-every", "-2"], "preempt"),
    "temperature below zero": (nothing, [*GENERATE, "--temp", "-1"], "temp"),
    "temperature nan": (nothing, [*GENERATE, "--temp", "nan"], "temp"),
    "temperature inf": (nothing, [*GENERATE, "--temp", "inf"], "temp"),
    "top-k below zero": (nothing, [*GENERATE, "--temp", "1", "--top-k", "-1"], "top-k"),
    "top-p 0": (nothing, [*GENERATE, "--temp", "1", "--top-p", "0"], "top-p"),
    "top-p 2": (nothing, [*GENERATE, "--temp", "1", "--top-p", "2"], "top-p"),
    "min-p 2": (nothing, [*GENERATE, "--temp", "1", "--min-p", "2"], "min-p"),
    "min-p below zero": (nothing, [*GENERATE, "--temp", "1", "--min-p", "-0.5"], "min-p"),
    "eos of words": (nothing, [*GENERATE, "--eos", "end"], "--eos"),
    "eos beyond the vocabulary": (nothing, [*GENERATE, "--eos", "320"], "320"),
    "colour of another kind": (nothing, [*GENERATE, "--color", "pink"], "pink"),
    "threshold without value": (nothing, [*GENERATE, "--threshold", "e1"], "e1"),
    "threshold of words": (nothing, [*GENERATE, "--threshold", "e1=high"], "high"),
    "threshold nan": (nothing, [*GENERATE, "--threshold", "e1=nan"], "nan"),
    "threshold of no exit": (nothing, [*GENERATE, "--threshold", "e7=1"], "e7"),
    "min depth beyond": (nothing, [*GENERATE, "--min-depth", "3"], "--min-depth"),
    "max depth below zero": (nothing, [*GENERATE, "--max-depth", "-1"], "--max-depth"),
    "policy missing": (nothing, [*GENERATE, "--policy", "none.toml"], "none.toml"),
    "policy that is not TOML": (wrote("p.toml", "= 1"), [*GENERATE, "--policy", "p.toml"], "p.toml"),
    "policy with an unknown key": (wrote("p.toml", "magic = 1"), [*GENERATE, "--policy", "p.toml"], "magic"),
    "policy with an unknown exit": (wrote("p.toml", "[exits.e9]\nthreshold = 1.0"), [*GENERATE, "--policy", "p.toml"], "e9"),
    "policy with an unknown key in an exit": (wrote("p.toml", "[exits.e1]\nmagic = 1.0"), [*GENERATE, "--policy", "p.toml"], "magic"),
    "policy version 9": (wrote("p.toml", "version = 9"), [*GENERATE, "--policy", "p.toml"], "version"),
    "policy threshold nan": (wrote("p.toml", "[exits.e1]\nthreshold = nan"), [*GENERATE, "--policy", "p.toml"], "threshold"),
    "policy flag as text": (wrote("p.toml", 'force_full = "yes"'), [*GENERATE, "--policy", "p.toml"], "force_full"),
    "policy depth below zero": (wrote("p.toml", "min_depth = -1"), [*GENERATE, "--policy", "p.toml"], "min_depth"),
    "script missing": (nothing, [*GENERATE, "--script", "none.txt"], "none.txt"),
    "script for fewer prompts": (wrote("s.txt", "0 0\n"), [*GENERATE, "--script", "s.txt"], "s.txt"),
    "script of words": (wrote("s.txt", "0 0\n0 x\n"), [*GENERATE, "--script", "s.txt"], "s.txt:2"),
    "script names no exit": (wrote("s.txt", "0 0\n0 1\n"), [*GENERATE, "--script", "s.txt"], ""),
    "script below -2": (wrote("s.txt", "0 0\n0 -3\n"), [*GENERATE, "--script", "s.txt"], "-3"),
    "forced ids for fewer prompts": (wrote("f.txt", "7 7\n"), [*GENERATE, "--force-ids", "f.txt"], "f.txt"),
    "forced ids beyond the vocabulary": (wrote("f.txt", "7 7\n7 320\n"), [*GENERATE, "--force-ids", "f.txt"], "320"),
    "trace in a missing folder": (nothing, [*GENERATE, "--trace", "none/t.jsonl"], "none/t.jsonl"),
    "run without input": (nothing, ["run", "m.ee"], "input_ids"),
    "run with an unknown input": (nothing, [*RUN, "--input", "pixels=@ids.npy"], "pixels"),
    "run with an input given twice": (nothing, [*RUN, "--input", "input_ids=@ids.npy"], "input_ids"),
    "run with a binding without name": (nothing, [*RUN, "--input", "=@ids.npy"], "=@ids.npy"),
    "run with a binding without file": (nothing, [*RUN, "--input", "enabled="], "enabled"),
    "npy missing": (nothing, BAD_IDS, "bad.npy"),
    "npy empty": (npy_bytes(b""), BAD_IDS, "bad.npy"),
    "npy of words": (npy_bytes(b"1 2 3\n"), BAD_IDS, "bad.npy"),
    "npy of version 9": (npy_bytes(b"\x93NUMPY\x09\x00" + bytes(200)), BAD_IDS, "bad.npy"),
    "npy cut": (lambda w: (npy("bad.npy", np.zeros((4, 9), np.int64))(w), os.truncate(w / "bad.npy", 140)), BAD_IDS, "bad.npy"),
    "npy with a broken header": (npy_header("{'descr': "), BAD_IDS, "bad.npy"),
    "npy with a huge shape": (npy_header("{'descr': '<i8', 'fortran_order': False, 'shape': (9223372036854775807, 9223372036854775807), }"), BAD_IDS, "bad.npy"),
    "npy with a shape below zero": (npy_header("{'descr': '<i8', 'fortran_order': False, 'shape': (-1, 3), }"), BAD_IDS, "bad.npy"),
    "npy with objects": (npy_header("{'descr': '|O', 'fortran_order': False, 'shape': (1, 3), }"), BAD_IDS, "bad.npy"),
    "npy with floats as ids": (npy("bad.npy", np.ones((1, 3), np.float32)), BAD_IDS, "input_ids"),
    "npy of rank 1": (npy("bad.npy", np.ones(3, np.int64)), BAD_IDS, "input_ids"),
    "npy of rank 3": (npy("bad.npy", np.ones((1, 3, 1), np.int64)), BAD_IDS, "input_ids"),
    "npy without rows": (npy("bad.npy", np.ones((0, 3), np.int64)), BAD_IDS, "input_ids"),
    "npy with ids beyond the vocabulary": (npy("bad.npy", np.full((1, 3), 320)), BAD_IDS, "320"),
    "npy with ids below zero": (npy("bad.npy", np.full((1, 3), -1)), BAD_IDS, "-1"),
    "npy longer than the model": (npy("bad.npy", np.ones((1, 97), np.int64)), BAD_IDS, "96"),
    "enabled of another shape": (npy("e.npy", np.ones((1, 4), bool)), [*RUN, "--input", "enabled=@e.npy"], "enabled"),
    "enabled as integers": (npy("e.npy", np.ones((1, 3), np.int64)), [*RUN, "--input", "enabled=@e.npy"], "enabled"),
    "script array names no exit": (npy("s.npy", np.full((1, 3), 5)), [*RUN, "--input", "script=@s.npy"], "script"),
    "script out of a row that is not enabled": (scripted([[0, 0, -2]], [[True, False, True]]), SCRIPTED, ["script", "enabled", "[0, 1]", "exit 0"]),
    "attention mask with a zero": (masked([[1, 1, 0]]), MASKED, ['"mask"', "[0, 2]"]),
    "attention mask of another shape": (masked([[1, 1, 1, 1]]), MASKED, ['"mask"', "(1, 4)"]),
    "attention mask of floats": (masked([[1.0, 1.0, 1.0]]), MASKED, ['"mask"', "f8"]),
    "attention mask that the model has not": (npy("mask.npy", np.ones((1, 3), np.int64)), [*RUN, "--input", "mask=@mask.npy"], ['"mask"', "input_ids"]),
    "unknown output": (nothing, [*RUN, "--output", "pixels=p.npy"], "pixels"),
    "output in a missing folder": (nothing, [*RUN, "--output", "logits=none/l.npy"], "none/l.npy"),
    "tolerance below zero": (nothing, [*RUN, "--expect", "logits=@ids.npy", "--rtol", "-1"], "--rtol"),
    "expected file missing": (nothing, [*RUN, "--expect", "logits=@none.npy"], "none.npy"),
    "eval without text": (nothing, ["eval", "m.ee"], "--file"),
    "eval of a missing file": (nothing, ["eval", "m.ee", "-f", "none.txt"], "none.txt"),
    "eval of nothing": (wrote("t.txt", ""), ["eval", "m.ee", "-f", "t.txt"], "text"),
    "eval with a window of 1": (nothing, ["eval", "m.ee", "--ids", "ids.txt", "-c", "1"], "context"),
    "eval with a window beyond the model": (nothing, ["eval", "m.ee", "--ids", "ids.txt", "-c", "97"], "96"),
    "bench without repeats": (nothing, ["bench", "m.ee", "-p", "8", "-n", "0", "-r", "0"], "-r"),
    "bench beyond the positions": (nothing, ["bench", "m.ee", "-p", "97", "-n", "0"], "96"),
    "bench of nothing": (nothing, ["bench", "m.ee", "-p", "0", "-n", "0"], ["-p", "-n"]),
    "bench seed below zero": (nothing, ["bench", "m.ee", "--seed", "-1"], "--seed"),
    "bench beyond 64 bits": (nothing, ["bench", "m.ee", "-p", "8,99999999999999999999"], ["-p", "99999999999999999999"]),
    "bench in another format": (nothing, ["bench", "m.ee", "-o", "pdf"], "pdf"),
    "bench with a batch of 0": (nothing, ["bench", "m.ee", "-p", "8", "-n", "0", "-b", "0"], "-b"),
}


@cases(SERVE)
def test_serve(work, case):
    change, args, said = case
    change(work)
    check_refused(work, "ee-run", args, said)


def test_level_of_another_machine(base, work):
    """Code for a level this machine lacks is refused by name, and the message says what there is."""
    if "avx512" in cpu_levels():
        pytest.skip("this machine runs every level")
    compile_model(work / "model.onnx", work / "wide.ee", "--cpu-levels=avx512")
    check_refused(work, "ee-run", ["generate", "wide.ee", "--ids", "ids.txt"], "avx512")


def test_tokens_by_default_fit(work):
    """96 positions, three of them taken: 94 tokens, of which the last needs none."""
    (work / "i.txt").write_text("5 6 7\n")
    out = json.loads(ok("ee-run", "generate", work / "m.ee", "--ids", work / "i.txt", "--eos", "none", "--json"))
    assert len(out["ids"]) == 94


def test_streamed_text_ends_in_one_newline(work):
    """Whether or not the text brings it."""
    tokenizer = Tokenizer.from_file(str(work / "tokenizer.json"))
    (letter,), (newline,) = tokenizer.encode("a").ids, tokenizer.encode("\n").ids
    for ids, text in (([letter, newline], "a\n"), ([letter, letter], "aa\n"), ([newline, newline], "\n\n")):
        write_lists(work / "f.txt", [ids])
        assert ok("ee-run", "generate", work / "m.ee", "-p", "a", "-n", "2", "--eos", "none", "--force-ids", work / "f.txt") == text


def test_scripts_of_rows_that_may_not_leave(work):
    """Full depth and "by criterion" are no exits."""
    scripted([[0, -1, -2]], [[True, False, False]])(work)
    ok("ee-run", "run", *[work / a if a == "m.ee" else a.replace("@", f"@{work}/") for a in SCRIPTED[1:]])


@pytest.mark.parametrize("dtype", [bool, np.int64])
def test_an_attention_mask_of_ones(work, dtype):
    masked(np.ones((1, 3), dtype))(work)
    ok("ee-run", "run", work / "m.ee", "--input", f"input_ids=@{work}/ids.npy", "--input", f"mask=@{work}/m.npy")


def test_the_good_ones_work(work):
    """What all these cases were made of: without it they would prove nothing."""
    ok("ee-run", "generate", work / "m.ee", "--ids", work / "ids.txt", "-n", "2")
    ok("ee-run", "run", work / "m.ee", "--input", f"input_ids=@{work / 'ids.npy'}")
    ok("ee-run", "inspect", work / "m.ee", "--verify")
    assert numpy_helper.to_array(onnx.load(work / "model.onnx").graph.initializer[0]).size
