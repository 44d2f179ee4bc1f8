# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What the exits beside this file do on text the model writes itself, in ONNX Runtime.

    python examples/exits/smollm2/measure.py MODEL_DIR        (a folder of ee.write_llama; needs pip install ./python[oracle])

The full model continues each prompt greedily; then each position of that text is asked again with exits enabled, so
one wrong token does not spoil those after it.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from ee.exit_spec import load_spec
from ee.insert_exits import write_exits
from ee.oracle import Oracle

PROMPTS = """The capital of France is
Once upon a time, there was a
Water boils at
The most important thing about software is
In 1969, astronauts
Photosynthesis is the process by which
My favourite recipe for bread starts with
The history of the Roman Empire
To install the package, run
She opened the door and
Machine learning models are
def fibonacci(n):""".splitlines()


def main(folder: Path, steps: int = 48) -> None:
    specs, fill = load_spec(Path(__file__).with_name("spec.toml"))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        write_exits(folder / "model.onnx", Path(temporary) / "exits.onnx", specs, fill, exit_depth=True)
        oracle = Oracle(Path(temporary) / "exits.onnx")
        same, depth = [], []
        for prompt in PROMPTS:
            ids = tokenizer.encode(prompt).ids
            full = oracle.generate(ids, steps, eos=[2], exits=False).ids
            rows = np.array([ids + full[:-1]])
            result = oracle.run(rows, enabled=np.arange(rows.shape[1])[None] >= len(ids))
            same += list(result["logits"][0].argmax(-1)[len(ids) :] == full[1:])
            depth += list(result["exit_depth"][0, len(ids) :])
            print(repr(prompt), repr(tokenizer.decode(oracle.generate(ids, steps, eos=[2]).ids)), flush=True)
    shares = ", ".join(f"{np.mean(np.array(depth) == k):.1%} at {k}" for k in sorted(set(depth)))
    print(f"{len(same)} tokens: agreement {np.mean(same):.1%}, mean depth {np.mean(depth):.2f}, rows {shares}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
