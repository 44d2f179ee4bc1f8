# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The training loop: a wall-clock budget that always ends annealed, resumable at any checkpoint, curves as CSV.

Progress is max(steps done / steps, seconds spent / budget); the learning rate follows it, so a run on a busy machine
ends with fewer steps but properly. Batches are a pure function of the step, so a resumed run sees the same data.
"""

import csv
import time
from pathlib import Path

import torch

from ..errors import UserError
from .objectives import OBJECTIVES
from .optimiser import Optimiser
from .plots import training_curve
from .state import STATE, load_weights, read_state, write_state


class Run:
    """One training in `folder`: state.pt (to resume), curve.csv, and when finished model.safetensors.

    `batches(step)` gives what the objective takes, a tensor or a tuple of them; `validate(model)` a dict of losses, logged with each checkpoint.
    What is made from another model brings its own `build()`, `objective` and, where it is no whole model, `save(model, folder)`.
    `clock()` gives seconds from some start."""

    def __init__(
        self, recipe, folder, batches, validate, minutes: float, device: str = "cpu", seed: int = 0, say=print, build=None, objective=None, save=None,
        clock=time.monotonic,
    ):
        self.recipe, self.folder, self.batches, self.validate = recipe, Path(folder), batches, validate
        self.objective, self.write_model = objective or OBJECTIVES[recipe.objective], save or (lambda model, out: model.save(out))
        self.budget, self.device, self.seed, self.say, self.clock = minutes * 60, device, seed, say, clock
        self.folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(seed)
        self.model = (build or recipe.build)().to(device)
        self.optimiser = Optimiser(self.model, recipe)
        self.steps_done, self.spent, self.rows = 0, 0.0, []
        if (self.folder / STATE).exists():
            self._resume()

    def _resume(self) -> None:
        state = read_state(self.folder / STATE, repr(self.recipe), self.seed, self.device)
        load_weights(self.folder / STATE, state, self.model, self.optimiser)
        self.steps_done, self.spent, self.rows = state["steps"], state["spent"], state["rows"]
        self.say(f"resumed at step {self.steps_done}, {self.spent / 60:.1f} min spent")

    def _save(self) -> None:
        state = {
            "recipe": repr(self.recipe), "seed": self.seed, "steps": self.steps_done, "spent": self.spent, "rows": self.rows,
            "model": self.model.state_dict(), "optimiser": self.optimiser.state_dict(),
        }  # fmt: skip
        write_state(self.folder / STATE, state)

    def _write_curve(self) -> None:
        names = list(dict.fromkeys(k for row in self.rows for k in row))
        with open(self.folder / "curve.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, names, restval="")
            writer.writeheader()
            writer.writerows(self.rows)

    def _to_device(self, batch):
        return tuple(t.to(self.device) for t in batch) if isinstance(batch, tuple) else batch.to(self.device)

    def progress(self) -> float:
        return min(1.0, max(self.steps_done / self.recipe.steps, self.spent / self.budget))

    def run(self, log_every: int = 20, save_every: float = 120.0, validate_every: float = 600.0) -> torch.nn.Module:
        """Train to the end of the steps or of the budget, whichever is first; seconds between saves and validations."""
        sums, counts, saved, checked, shown = {}, {}, self.spent, self.spent, self.clock()
        while self.progress() < 1.0:
            began, step = self.clock(), self.steps_done
            batch = self._to_device(self.batches(step))
            with torch.autocast(self.device.split(":")[0], torch.bfloat16):
                loss, parts = self.objective(self.model, batch, step, self.recipe.options)
            if not torch.isfinite(loss):
                raise UserError(f"{self.folder}: the loss is {loss.item()} at step {step}; lower adam_rate or muon_rate")
            loss.backward()
            self.optimiser.step(step, self.progress())
            for name, value in parts.items():
                sums[name] = sums.get(name, 0.0) + float(value.detach())
                counts[name] = counts.get(name, 0) + 1
            self.steps_done += 1
            self.spent += self.clock() - began
            if self.steps_done % log_every == 0 or self.progress() >= 1.0:
                row = {"step": self.steps_done, "tokens": self.steps_done * self.recipe.batch * self.recipe.length, "seconds": round(self.spent, 1)}
                row |= {k: round(v / counts[k], 4) for k, v in sums.items()}
                if self.spent - checked >= validate_every or self.progress() >= 1.0:
                    checked = self.spent
                    row |= {f"valid.{k}": round(v, 4) for k, v in self.validate(self.model).items()}
                self.rows.append(row)
                sums, counts = {}, {}
                if self.clock() - shown > 10 or "valid.full" in row or self.progress() >= 1.0:
                    shown = self.clock()
                    self.say(self._line(row))
            if self.spent - saved >= save_every or self.progress() >= 1.0:
                saved = self.spent
                self._save()
                self._write_curve()
        self.write_model(self.model, self.folder)
        self._write_curve()  # once more: a finished run may be resumed in a folder that holds its state only
        try:
            training_curve(self.folder)
        except ImportError:
            self.say("no curve.png: matplotlib is not installed (extra `train`)")
        return self.model

    def _line(self, row: dict) -> str:
        progress = self.progress()
        left = self.spent / progress - self.spent if progress else self.budget
        numbers = " ".join(f"{k} {v:.3f}" for k, v in row.items() if k not in ("step", "tokens", "seconds"))
        return f"step {row['step']} {progress:4.0%} {row['tokens'] / self.spent:.0f} tok/s, {left / 60:.1f} min left: {numbers}"
