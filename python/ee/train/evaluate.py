# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Loss, agreement and cost against mean depth, for a trained model on held-out documents.

Every point runs its policy for real (`policies.py`). Beside each stands the same model with random exits at the same
histogram. Differences to full depth are paired per token; intervals are 95 % bootstrap over documents, because
tokens of one document are not independent.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch

from ..calibrate.outcome import bootstrap
from ..data.reader import Windows
from ..models import Decoder
from . import gates, policies, probes
from .cost import Cost, cost
from .data import trained_thetas
from .few_rows import FewRows
from .policies import Outcome

PRICES = (0.003, 0.006, 0.01, 0.015, 0.02, 0.03, 0.05, 0.08)
K_ROWS = 8
LEVELS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95)
EQUAL = 0.005  # costs that differ by less are the same: a router's own multiply-adds are a tenth of a percent
POWERS = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0)  # a router's target rates are its training capacities to these powers


def interval(values: np.ndarray, document: np.ndarray) -> tuple[float, float]:
    """95 % bootstrap interval of the mean of `values` [tokens] over documents."""
    low, high = bootstrap(document, values[:, None])[:, 0]
    return float(low), float(high)


@dataclass(frozen=True)
class Point:
    """One policy. `excess` is the mean loss above full depth; intervals are over documents."""

    policy: str
    setting: dict
    mean_depth: float
    macs: float
    weights: float
    loss: float
    excess: float
    excess_interval: tuple[float, float]
    agreement: float
    histogram: dict[int, float]
    random_loss: float | None
    random_agreement: float | None
    gain_interval: tuple[float, float] | None


@dataclass(frozen=True)
class Beside:
    """This model at the cost of one of fixed depth, `units` of multiply-adds or of weights read.

    `mixture` names one or two of the points and the share of text each gets, so that the cost is at most the other's and
    the loss is the least. `difference` is this model's mean loss minus the other's, paired per token; intervals are over documents."""

    model: str
    units: str
    cost: float
    loss: float
    mixture: list[tuple[str, dict, float]]
    ours: float
    difference: float
    interval: tuple[float, float]


def mixture(costs: np.ndarray, losses: np.ndarray, budget: float) -> np.ndarray | None:
    """[points] shares, none negative, sum 1, of least loss among those of mean cost <= budget; None where every point costs more.

    Minimising a linear function under one linear constraint needs at most two points."""
    best, found = np.inf, None
    for i in np.flatnonzero(costs <= budget):
        for j in (i, *np.flatnonzero(costs > budget)):
            share = 1.0 if i == j else (costs[j] - budget) / (costs[j] - costs[i])
            loss = share * losses[i] + (1 - share) * losses[j]
            if loss < best:
                best, found = loss, np.zeros(len(costs))
                found[j] += 1 - share
                found[i] += share
    return found


class Evaluation:
    """All points of one model on one sample of text."""

    def __init__(self, model: Decoder, text: Windows, say=print):
        self.model, self.text, self.say, self.points = model.eval(), text, say, []
        self.losses: list[np.ndarray] = []  # of each point, per token
        self.heads: dict[int, FewRows] = {}  # k-row heads, fitted by `with_exits`
        self.full = policies.full_depth(self.model, text)

    def add(self, policy: str, setting: dict, outcome: Outcome, random: Outcome | None = None, checks_logits: bool = False, probe_rows: int = 0) -> Point:
        price: Cost = cost(self.model.config, outcome.depths, checks_logits, probe_rows)
        excess, depths = outcome.losses - self.full.losses, np.unique(outcome.depths, return_counts=True)
        point = Point(
            policy, setting, float(outcome.depths.mean()), price.macs, price.weights, float(outcome.losses.mean()), float(excess.mean()),
            interval(excess, outcome.document), float((outcome.tokens == self.full.tokens).mean()),
            {int(d): float(n / len(outcome.depths)) for d, n in zip(*depths)},
            None if random is None else float(random.losses.mean()),
            None if random is None else float((random.tokens == self.full.tokens).mean()),
            None if random is None else interval(random.losses - outcome.losses, outcome.document),
        )  # fmt: skip
        self.points.append(point)
        self.losses.append(outcome.losses)
        beside = "" if random is None else f", random {point.random_loss:.4f} / {point.random_agreement:.3f}"
        self.say(f"{policy} {setting}: depth {point.mean_depth:.2f} macs {point.macs:.2f} loss {point.loss:.4f} ({point.excess:+.4f}) agree {point.agreement:.3f}{beside}")
        return point

    def beside(self, name: str, other: Decoder) -> list[Beside]:
        """Against a model of fixed depth on the same text: one entry for each way to count, none where no policy is as cheap."""
        depth, result = other.config.depth, []
        theirs = policies.run(other.eval(), self.text, policies.fixed(depth)).losses
        price = cost(other.config, np.array([depth]))
        for units in ("macs", "weights"):
            budget = getattr(price, units) * other.config.layer_macs() / self.model.config.layer_macs()
            costs = np.array([getattr(p, units) for p in self.points])
            costs[np.abs(costs - budget) <= EQUAL * budget] = budget
            shares = mixture(costs, np.array([p.loss for p in self.points]), budget)
            if shares is None:
                continue
            used = np.flatnonzero(shares)
            difference = sum(shares[i] * self.losses[i] for i in used) - theirs
            named = [(self.points[i].policy, self.points[i].setting, float(shares[i])) for i in used]
            ours = float(sum(shares[i] * self.points[i].loss for i in used))
            result.append(Beside(name, units, budget, float(theirs.mean()), named, ours, float(difference.mean()), interval(difference, self.full.document)))
            self.say(f"beside {name} at {budget:.2f} {units}: {ours:.4f} against {theirs.mean():.4f}")
        return result

    def _adaptive(self, policy: str, setting: dict, make, **flags) -> None:
        outcome = policies.run(self.model, self.text, make)
        histogram = {int(d): float((outcome.depths == d).mean()) for d in np.unique(outcome.depths)}
        random = policies.run(self.model, self.text, policies.random_exits(histogram, 1)) if len(histogram) > 1 else None
        self.add(policy, setting, outcome, random, **flags)

    def with_exits(self, fit_text: Windows, fit_tokens: np.ndarray) -> None:
        """Exits and loops: fixed depths, probes with both labels, the margin of full logits, k-row heads, and gates where there
        are some. `fit_tokens` is the stream of training tokens (for the candidates of k-row heads).

        The `saved` probe predicts the nats that full depth would save; a row leaves when that is less than a price per cost
        unit times the units it saves, so one number gives every exit its own threshold."""
        model, c = self.model, self.model.config
        for depth in (*c.exits, c.depth):
            self.add("fixed", {"depth": depth}, policies.run(model, self.text, policies.fixed(depth)) if depth != c.depth else self.full)
        if not c.exits:
            return
        fitted = probes.fit_exits(model, fit_text, k=K_ROWS, stream=fit_tokens, criteria=("margin",))
        sample, agreement, saved, self.heads = fitted.sample, fitted.probes["agreement"], fitted.probes["saved"], fitted.heads
        probes.install(model, saved)
        full = cost(c, np.array([c.depth])).weights
        for price in PRICES:
            # What leaving saves is counted in weights read: under `exact` the multiply-adds are only put off.
            thresholds = {d: -price * (full - cost(c, np.array([d]), probe_rows=1).weights) for d in c.exits}
            self._adaptive("probe saved", {"price": price}, policies.probe(thresholds), probe_rows=1)
            if c.kv_fill == "exact":
                model.config = dataclasses.replace(c, kv_fill="propagate")
                self._adaptive("probe saved, K,V propagated", {"price": price}, policies.probe(thresholds), probe_rows=1)
                model.config = c
        if c.gates:
            gates.install(model, gates.fit(sample, gates.costs(c)))
            for q in LEVELS:
                self._adaptive("gate cdf", {"q": q}, policies.cumulative(q), probe_rows=1)
        probes.install(model, agreement)
        for level in LEVELS:
            logit = float(np.log(level / (1 - level)))
            self._adaptive("probe agreement", {"level": level}, policies.probe({d: logit for d in c.exits}), probe_rows=1)
            at = float(np.quantile(sample.scores["margin"], level))
            self._adaptive("margin", {"threshold": round(at, 3)}, policies.criterion("margin", {d: at for d in c.exits}), checks_logits=True)
        for level in LEVELS:
            logit = float(np.log(level / (1 - level)))
            self._adaptive("k-row head", {"k": K_ROWS, "level": level}, policies.few_rows(self.heads, logit), probe_rows=K_ROWS + 1)
        probes.install(model, saved)

    def routed(self, fit_text: Windows) -> None:
        """Routers: forced depths, sigma > 1/2, and thresholds that aim at given rates, set one recursion after the other
        on other text (in logit space: sigma is exactly 1 in float32 for a large share of rows)."""
        model, c = self.model, self.model.config
        for r in range(1, c.recursions + 1):
            self.add("forced", {"recursions": r}, policies.run_forced(model, self.text, r) if r != c.recursions else self.full)
        settings = [("sigma > 1/2", trained_thetas(c))]
        for power in POWERS:
            rates = tuple(round(capacity**power, 3) for capacity in c.capacities)
            settings.append((f"rates {', '.join(map(str, rates[1:]))}", target_rates(model, fit_text, rates)))
        for name, thetas in settings:
            outcome = policies.run_routed(model, self.text, thetas)
            recursions = c.recursions_of(outcome.depths)
            shares = np.bincount(recursions, minlength=c.recursions + 1) / len(recursions)
            generator = torch.Generator().manual_seed(1)
            draw = lambda shape: torch.multinomial(torch.from_numpy(shares), shape.numel(), True, generator=generator).view(shape)  # noqa: E731
            self.add(name, {"thetas": [round(t, 4) for t in thetas]}, outcome, policies.run_routed(model, self.text, forced=draw))


def target_rates(model: Decoder, text: Windows, rates: tuple[float, ...]) -> list[float]:
    """theta_r such that the share `rates[r]` of ALL rows passes z_r > theta_r, each with the earlier thetas in place;
    rate 1 gives -inf."""
    thetas: list[float] = []
    for r, rate in enumerate(rates):
        if rate >= 1:
            thetas.append(float("-inf"))
            continue
        # What deeper recursions would do does not matter here: infinite thetas keep them empty.
        outcome = policies.run_routed(model, text, thetas + [float("inf")] * (len(rates) - r))
        alive = model.config.recursions_of(outcome.depths) >= r
        ranked = np.sort(outcome.scores[alive, r])[::-1]
        thetas.append(float(ranked[min(int(rate * len(alive)), len(ranked) - 1)]))
    return thetas
