# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""ONNX Runtime as the oracle: what a file computes there on a whole sequence is the right answer.

Feeds are recognised by the names that `llama_onnx` and `insert_exits` give; a file with `past.*` inputs is decoded
with its cache, one without is run again on the whole sequence at each step.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnxruntime as ort


@dataclass
class Generation:
    """One greedy continuation. `logits` f32 [steps, vocab]: the row each token of `ids` was chosen from;
    `exit_depth` holds layers run per step when the file has an `exit_depth` output."""

    ids: list[int]
    logits: np.ndarray
    exit_depth: list[int] = field(default_factory=list)


class Oracle:
    """A model file in ONNX Runtime on the CPU, one session."""

    def __init__(self, path, threads: int = 0):
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Rewrites that change the arithmetic would make the oracle a moving target; weights stay as stored.
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        self.session = ort.InferenceSession(str(Path(path)), options, providers=["CPUExecutionProvider"])
        self.inputs = {i.name: i for i in self.session.get_inputs()}
        self.outputs = [o.name for o in self.session.get_outputs()]
        self.past = [n for n in self.inputs if n.startswith("past.")]

    def empty_past(self, batch: int) -> dict[str, np.ndarray]:
        """Cache inputs of length 0."""
        shape = lambda i: [batch, i.shape[1], 0, i.shape[3]]  # noqa: E731
        return {n: np.zeros(shape(self.inputs[n]), np.float32) for n in self.past}

    def run(self, ids: np.ndarray, start: int = 0, past: dict | None = None, **feeds: np.ndarray) -> dict[str, np.ndarray]:
        """One call on ids [B,S] at positions start..; `feeds` are further inputs by name (`**{"script.e1": scores}`).
        Missing `enabled` means that nobody may leave. Inputs the file does not have are dropped. Returns outputs by name."""
        ids = np.asarray(ids, np.int64)
        feed = {"input_ids": ids, "position_ids": np.broadcast_to(np.arange(start, start + ids.shape[1]), ids.shape).copy()}
        feed.update(self.empty_past(len(ids)) if past is None else past)
        feed["attention_mask"] = np.ones((len(ids), start + ids.shape[1]), np.int64)
        feed["enabled"] = np.zeros(ids.shape, bool)
        feed.update(feeds)
        return dict(zip(self.outputs, self.session.run(None, {n: v for n, v in feed.items() if n in self.inputs})))

    def generate(self, prompt: list[int], steps: int, eos=(), script: dict[str, np.ndarray] | None = None, exits: bool = True) -> Generation:
        """Greedy continuation of up to `steps` tokens; the end token is the last entry of `ids`.

        Prompt rows are never enabled (they run at full depth, so the first token does too); rows of generated
        tokens are, when `exits`. `script` maps a score input (`script.NAME`) to scores f32 by absolute position."""
        out, logits, depth, past = list(prompt), [], [], None
        for _ in range(steps):
            start = len(out) - 1 if past is not None else 0
            position = np.arange(start, len(out))
            feeds = {"enabled": (position >= len(prompt))[None] & exits}
            feeds.update({n: np.asarray(s, np.float32)[position][None] for n, s in (script or {}).items()})
            result = self.run(np.array([out[start:]]), start, past, **feeds)
            if self.past:
                past = {n: result["present" + n[4:]] for n in self.past}
            logits.append(result["logits"][0, -1])
            if "exit_depth" in result:
                depth.append(int(result["exit_depth"][0, -1]))
            out.append(int(logits[-1].argmax()))
            if out[-1] in eos:
                break
        return Generation(out[len(prompt) :], np.array(logits), depth)
