# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Decoders whose rows leave at exits: CALM, FREE, LayerSkip's self-speculation, Relaxed Recursive Transformers.

    h_0 = embedding, h_(l+1) = block_l(h_l); at an exit after k layers z_k = head(h_k), score = criterion(z_k, h_k, h_(k-1))
    logits  Exit(z_k, what the rest of the model says, score, h_k, enabled), the first exit outermost
    depth   i64 [B, S], layers run
Fill exact: nothing else, all layers run on all rows. Fill propagate: Keep after each layer above an exit.
Rows of the prompt (the first PROMPT ones) are not enabled.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from .. import nn
from ..reference import recursive
from ..reference.calm import Calm
from ..reference.free import Free
from ..reference.generate import generate
from ..reference.model import Config, Model
from ..reference.speculation import SelfSpeculation
from ..reference.trace import DepthTrace
from .answers import answer, followed
from .cases import Answer, Case, Generation, Run, Subject
from .decoder import BATCH, PROMPT, SEQ, Decoder, Weights, after_prompt, between, config, load, texts

STEPS, DRAFTS = 6, 3
LORA = (3, ("q_proj", "v_proj", "up_proj"))


class ExitDecoder(Decoder):
    """Exits after `thetas`' layers; a row leaves where score >= theta."""

    def __init__(self, c: Config, thetas: dict[int, float], criterion: str, fill: str, **more):
        super().__init__(c, **more)
        self.criterion, self.fill, self.keep = criterion, fill, nn.Keep()
        self.points = torch.nn.ModuleDict({str(k): nn.Exit(f"e{k}", theta, criterion) for k, theta in thetas.items()})
        if criterion == "probe":
            self.exits = torch.nn.ModuleDict({str(k): torch.nn.ModuleDict({"probe": torch.nn.Linear(c.hidden, 1)}) for k in thetas})

    def forward(self, input_ids: Tensor, enabled: Tensor) -> tuple[Tensor, Tensor]:
        h, mask, rope = self.begin(input_ids)
        active, taken = None, []
        for l in range(self.config.layers):
            previous, f = h, self.layer(l, h, mask, rope)
            h = f if active is None else self.keep(active, h, f)
            if str(l + 1) not in self.points:
                continue
            point, logits = self.points[str(l + 1)], self.head(h)
            probe = self.exits[str(l + 1)]["probe"] if self.criterion == "probe" else None
            score = nn.score(self.criterion, logits, h, previous, probe)
            leaves = enabled & (score >= point.threshold)
            taken.append((point, l + 1, logits, score, h, leaves))
            if self.fill == "propagate":
                active = ~leaves if active is None else active & ~leaves
        result, depth = self.head(h), torch.full_like(input_ids, self.config.layers)
        for point, k, logits, score, h, leaves in reversed(taken):
            result, depth = point(logits, result, score, h, enabled), torch.where(leaves, k, depth)
        return result, depth


def _subject(
    weights: Weights, module: ExitDecoder, method, thetas: dict[int, float], criterion: str, ids: np.ndarray, generation
) -> Subject:
    """`method(trace)` makes the reference's method; its thresholds are `thetas`."""
    load(module, weights.tensors)
    layers, exits = weights.config.layers, list(thetas)
    table = np.random.default_rng(ids.sum()).choice([*exits, layers], (BATCH, SEQ))
    table[~after_prompt()] = layers

    def script(depth: np.ndarray) -> dict[str, np.ndarray]:
        return {f"script.e{k}": np.where(depth <= k, thetas[k] + 1, thetas[k] - 1).astype(np.float32) for k in exits}

    def reference(depth: np.ndarray | None) -> Answer:
        return answer(method(DepthTrace(followed(depth))), ids, PROMPT, exits, criterion, [thetas[k] for k in exits])

    inputs = {"input_ids": ids, "enabled": after_prompt()}
    settings = {"criterion": criterion, "thresholds": {f"e{k}": t for k, t in thetas.items()}, "strict": False}
    return Subject(
        weights.config, weights.seed, module, inputs, ("logits", "depth"), reference, table, script, settings, generation=generation
    )


def _thetas(model: Model, exits: Sequence[int], criterion: str, ids: np.ndarray) -> dict[int, float]:
    """Per exit a threshold that about half the rows reach when none has left before."""
    asked = Calm(model, exits, np.inf, criterion=criterion, fill="exact")
    scores = answer(asked, ids, PROMPT, exits, criterion, [0.0] * len(exits)).scores
    return {k: between(scores[..., i]) for i, k in enumerate(exits)}


def _greedy(make, ids: np.ndarray) -> Generation:
    """The reference's own greedy text, and the same by running the file on the text so far."""

    def reference() -> dict[str, np.ndarray]:
        return {"tokens": np.array(generate(make(DepthTrace()), ids[:, :PROMPT].tolist(), STEPS).tokens)}

    def replay(run: Run) -> dict[str, np.ndarray]:
        text = ids[:, :PROMPT]
        for _ in range(STEPS):
            enabled = np.broadcast_to(np.arange(text.shape[1]) >= PROMPT, text.shape)
            text = np.concatenate([text, run({"input_ids": text, "enabled": enabled})["logits"][:, -1:].argmax(-1)], 1)
        return {"tokens": text[:, PROMPT:]}

    return Generation(False, reference, replay)


def calm(criterion: str) -> Subject:
    """Exits after 2 and 4 of 6 layers."""
    weights, ids, exits = Weights(config(range(6)), 11, probes=(2, 4)), texts(12), (2, 4)
    model = Model(weights.config, weights.tensors)
    thetas = _thetas(model, exits, criterion, ids)
    if criterion != "probe":
        weights.tensors = {n: t for n, t in weights.tensors.items() if ".probe." not in n}
    module = ExitDecoder(weights.config, thetas, criterion, "propagate")

    def method(trace: DepthTrace) -> Calm:
        return Calm(model, exits, list(thetas.values()), criterion=criterion, trace=trace)

    return _subject(weights, module, method, thetas, criterion, ids, _greedy(method, ids))


def free() -> Subject:
    """Two of four layers are the shallow part. The rule is strict, score > theta, which is score >= the next float32."""
    weights, ids = Weights(config(range(4)), 21), texts(22)
    model = Model(weights.config, weights.tensors)
    theta = _thetas(model, (2,), "margin", ids)[2]
    above = float(np.nextafter(np.float32(theta), np.float32(np.inf)))

    def method(trace: DepthTrace) -> Free:
        return Free(model, 2, theta, trace=trace)

    subject = _subject(
        weights, ExitDecoder(weights.config, {2: above}, "margin", "exact"), method, {2: above}, "margin", ids, _greedy(method, ids)
    )
    subject.settings |= {"strict": True, "theta": theta}
    return subject


def layerskip() -> Subject:
    """The draft exit after two of four layers. With it forced, the file drafts; without, it verifies."""
    weights, ids = Weights(config(range(4)), 31), texts(32)
    model = Model(weights.config, weights.tensors)
    thetas = _thetas(model, (2,), "max_prob", ids)

    def reference() -> dict[str, np.ndarray]:
        method = SelfSpeculation(model, 2, DRAFTS)
        tokens = generate(method, ids[:, :PROMPT].tolist(), STEPS).tokens
        return {"tokens": np.array(tokens), "drafted": np.array(method.drafted), "accepted": np.array(method.accepted)}

    def method(trace: DepthTrace) -> Calm:
        return Calm(model, (2,), thetas[2], criterion="max_prob", fill="exact", trace=trace)

    generation = Generation(True, reference, lambda run: _speculate(run, ids[:, :PROMPT], thetas[2]))
    subject = _subject(weights, ExitDecoder(weights.config, thetas, "max_prob", "exact"), method, thetas, "max_prob", ids, generation)
    subject.settings |= {"drafts": DRAFTS}
    return subject


def _speculate(run: Run, prompts: np.ndarray, theta: float) -> dict[str, np.ndarray]:
    """Greedy self-speculation where every draft and every check is a run of the scripted file on a whole text."""

    def best(text: list[int], shallow: bool) -> np.ndarray:
        ids = np.array([text])
        every = np.full(ids.shape, shallow)
        return run({"input_ids": ids, "enabled": every, "script.e2": np.full(ids.shape, theta, np.float32)})["logits"][0].argmax(-1)

    texts_, drafted, accepted = [], 0, 0
    for prompt in prompts.tolist():
        text, end = list(prompt), len(prompt) + STEPS
        while len(text) < end:
            drafts: list[int] = []
            while len(drafts) < min(DRAFTS, end - len(text) - 1):
                drafts.append(int(best(text + drafts, True)[-1]))
            full = best(text + drafts, False)[len(text) - 1 :].tolist()
            agreed = next((j for j, (d, f) in enumerate(zip(drafts, full)) if d != f), len(drafts))
            text += full[: agreed + 1]
            drafted, accepted = drafted + len(drafts), accepted + agreed
        texts_.append(text[len(prompt) :])
    return {"tokens": np.array(texts_), "drafted": np.array(drafted), "accepted": np.array(accepted)}


def relaxed_recursive(pattern: str, fill: str) -> Subject:
    """Two blocks for six layers (middle patterns: and one more at each end), the mean of the layers of an unshared model, with
    a LoRA per layer by SVD; the head is tied. Exits after the first and the second third of the shared layers, where a cycle ends."""
    ends = int(pattern.startswith("middle"))
    layers, exits = 6 + 2 * ends, (ends + 2, ends + 4)
    source = Weights(config(range(layers), tied=True), 41, head_scale=1.5)
    maps = recursive.sharing(pattern, layers, 3)
    shared = recursive.recursive_weights(source.tensors, maps, "average")
    low, _ = recursive.relax(source.tensors, shared, maps, LORA[0], linears=LORA[1], fold=False)
    c = config(maps.layout, tied=True)
    source.config, source.tensors = c, {}
    source.update(shared | low)
    model, ids = Model(c, source.tensors), texts(42)
    thetas = _thetas(model, exits, "margin", ids)
    module = ExitDecoder(c, thetas, "margin", fill, lora=(range(ends, layers - ends), *LORA))

    def method(trace: DepthTrace) -> Calm:
        return Calm(model, list(thetas), list(thetas.values()), criterion="margin", fill=fill, trace=trace)

    return _subject(source, module, method, thetas, "margin", ids, None)


def cases() -> list[Case]:
    """CALM with five criteria, FREE, LayerSkip, RRT with four sharing patterns and two fills."""
    found = [Case("calm", "propagate", "margin", partial(calm, "margin"))]
    for opset, criterion in ((18, "max_prob"), (20, "entropy"), (23, "cosine"), (18, "probe")):
        found.append(Case("calm", "propagate", criterion, partial(calm, criterion), (opset,), variant=True))
    found += [Case("free", "exact", "margin", free), Case("layerskip", "exact", "max_prob", layerskip)]
    for fill in ("exact", "propagate"):
        found.append(Case("relaxed-recursive", fill, "cycle", partial(relaxed_recursive, "cycle", fill)))
        for opset, pattern in ((18, "sequence"), (20, "middle_cycle"), (23, "middle_sequence")):
            found.append(Case("relaxed-recursive", fill, pattern, partial(relaxed_recursive, pattern, fill), (opset,), variant=True))
    return found
