# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Who reads which slot of a looped model, simulated without any arithmetic, and the values that follow from it.

`simulate` knows only a layout's definition, scripted depths and the cut into chunks. It gives, for every row and loop that
is run, the keys it sees as {position: origin}, origin = (loop whose weights and position in the loop made the entry, kind),
kind "ran" or "frozen". `logits` then runs dense numpy blocks whose keys are formed from the states of exactly those origins.
"""

import numpy as np

from .masked import Masked


def slot_of(layout, count, r):
    if layout == "depth_indexed":
        return r
    if layout == "single":
        return 0
    return r if layout == "first_then_shared" and r < count - 1 else count - 1 if layout == "first_then_shared" else r % count


def simulate(layout, count, fill, depths, chunks, loops):
    """[(loop, positions run, positions frozen, {row: {key position: origin}})] in order of execution."""
    store, steps, start = {}, [], 0
    for size in chunks:
        rows = range(start, start + size)
        start += size
        for r in range(loops):
            alive = [p for p in rows if depths[p] > r]
            gone = [p for p in rows if depths[p] <= r]
            keep_running = layout == "depth_indexed" and fill == "exact"
            running = list(rows) if keep_running else alive
            frozen = gone if layout == "depth_indexed" and fill == "propagate" else []
            for p in frozen:
                store[p, r] = (r, "frozen")
            share = layout == "depth_indexed" and fill == "share"
            at = 0 if share else slot_of(layout, count, r)
            for p in running:
                if not share or r == 0:
                    store[p, at] = (r, "ran")
            sees = {}
            for p in running:
                keys = [j for j in range(p + 1) if not (layout == "depth_indexed" and fill == "skip" and depths[j] <= r)]
                sees[p] = {j: store[j, at] for j in keys}
            steps.append((r, running, frozen, sees))
            if layout == "depth_indexed" and fill == "copy":
                for p in rows:
                    if depths[p] == r + 1:
                        for later in range(r + 1, loops):
                            store[p, later] = store[p, r]
    return steps


def states(dense, layout_of_layers, loop, e, first, steps, depths, adapter):
    """s [T, d] each row left the loop with; `steps` from `simulate`, `first` s_0, `e` the loop's side input."""
    length, blocks = len(e), loop.blocks
    s, out = first.copy(), np.zeros_like(e)
    origin = {}  # (loop, kind, block, position) -> the state its K,V were formed from
    for r, running, frozen, sees in steps:
        x = s if adapter is None else np.hstack([s, e]) @ adapter.T
        for p in frozen:
            for j in range(blocks):
                origin[r, "frozen", j, p] = x[p]
        mask = np.zeros((length, length), bool)
        for p, keys in sees.items():
            mask[p, list(keys)] = True
        for j in range(blocks):
            for p in running:
                origin[r, "ran", j, p] = x[p]
            behind = np.zeros((length, length, e.shape[1]))
            for p, keys in sees.items():
                for q, (made, kind) in keys.items():
                    behind[p, q] = origin[made, kind, j, q]
            layer = loop.prelude + r * blocks + j
            x = dense.block(layout_of_layers[layer], x, mask, layer, keys_from=behind)
        x = dense.final_norm(x) if loop.norm_each_loop else x
        s = s.copy()
        s[running] = x[running]
        for p in running:
            if depths[p] == r + 1:
                out[p] = s[p]
    return out


def logits(model, loop, tokens, depths, steps, initial=None):
    """The whole looped model under scripted depths."""
    dense, full = Masked(model.weights, model.config), np.tril(np.ones((len(tokens), len(tokens)), bool))
    layers = model.config.layout
    e = dense.embed(tokens)
    for layer in range(loop.prelude):
        e = dense.block(layers[layer], e, full, layer)
    h = states(dense, layers, loop, e, e if initial is None else initial, steps, depths, dense.w.get("adapter.weight"))
    for layer in range(len(layers) - loop.coda, len(layers)):
        h = dense.block(layers[layer], h, full, layer)
    return dense.lm_head(h if loop.norm_each_loop and not loop.coda else dense.final_norm(h))
