# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Pictures of a run: its training curve, and loss and agreement against cost. Needs matplotlib (extra `train`)."""

import csv
import re
from pathlib import Path


def _pyplot():
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def training_curve(folder) -> Path:
    """curve.png beside curve.csv: every loss of the log against tokens."""
    folder, plt = Path(folder), _pyplot()
    with open(folder / "curve.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    figure, axes = plt.subplots(figsize=(7, 4))
    for name in [n for n in rows[0] if n not in ("step", "tokens", "seconds")]:
        points = [(int(r["tokens"]), float(r[name])) for r in rows if r.get(name)]
        axes.plot(*zip(*points), label=name, marker="o" if len(points) < 20 else None, linewidth=1)
    axes.set(xlabel="tokens", ylabel="nats per token")
    axes.legend()
    figure.tight_layout()
    figure.savefig(folder / "curve.png", dpi=100)
    plt.close(figure)
    return folder / "curve.png"


def _family(policy: str) -> str:
    """What a line of the picture joins: policies that differ in the numbers of their names only."""
    return re.split(r"[\d>]", policy)[0].strip()


def cost_curve(result: dict, path) -> Path:
    """Loss and agreement against the weights a token reads, in cost units; random exits dashed."""
    plt = _pyplot()
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
    for policy in dict.fromkeys(_family(p["policy"]) for p in result["points"]):
        points = sorted((p for p in result["points"] if _family(p["policy"]) == policy), key=lambda p: p["weights"])
        cost = [p["weights"] for p in points]
        (line,) = left.plot(cost, [p["loss"] for p in points], marker=".", label=policy)
        right.plot(cost, [p["agreement"] for p in points], marker=".", label=policy, color=line.get_color())
        shown = [p for p in points if p["random_loss"] is not None]
        left.plot([p["weights"] for p in shown], [p["random_loss"] for p in shown], "--", color=line.get_color(), linewidth=0.8)
        right.plot([p["weights"] for p in shown], [p["random_agreement"] for p in shown], "--", color=line.get_color(), linewidth=0.8)
    left.set(xlabel="weights read per token, cost units", ylabel="nats per token")
    right.set(xlabel="weights read per token, cost units", ylabel="agreement with full depth")
    left.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    plt.close(figure)
    return Path(path)
