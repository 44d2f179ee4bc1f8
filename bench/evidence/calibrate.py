# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Learn-then-Test on traces of the trained models: thresholds by target, and how often the promise broke over resplits.

Each resplit draws documents anew into a part that thresholds are chosen on, a part they are tested on, and the rest, on
which the promise is checked, too. Promises: agreement with full depth, or nats of loss above it (cut at +-1 per token).
"""

import dataclasses
import sys

from _common import show, table
from _training import SAMPLE, flags, text

MODELS = ("layerskip", "looped", "mor", "staged")
EPSILON = 0.05


def page(result) -> str:
    head = f"epsilon {result['epsilon']}, {result['resplits']} resplits by document: at most {result['allowed']} broken promises are explained by chance.\n\n"
    rows = [
        [r["model"], r["criterion"], r["target"], f"{r['full_cost']:.2f}", f"{r['cost']:.2f}", f"{r['risk']:.4f}", r["violations"], r["held_out"], r["full_depth"]]
        for r in result["rows"]
    ]
    names = ["model", "criterion", "promise", "cost units at full depth", "of the policy (mean)", "risk (mean)", "broken", "broken on the documents left out", "full depth chosen"]
    return head + table(names, rows)


def main(argv):
    from ee.calibrate.ltt import Target, resplits
    from ee.data.reader import open_tokens, validation_windows
    from ee.models import Decoder
    from ee.train.data import spread
    from ee.train.traces import trace

    parser = flags("calibrate", __doc__, 0)
    parser.add_argument("--resplits", type=int, default=200)
    options = parser.parse_args(argv)
    import torch

    torch.set_num_threads(options.threads)
    rows = []
    for name in MODELS:
        folder = options.cache / "train" / name / "fitted"
        if not folder.exists():
            print(f"{name}: not trained here; ./evidence train-{name} first")
            continue
        model = Decoder.load(folder).eval()
        sample = spread(validation_windows(open_tokens(text(options.cache), "valid"), 128), 4 * SAMPLE)
        for criterion in ("router",) if model.config.router else ("probe", "margin"):
            made = trace(model, sample, criterion)
            for label, target in (("agreement 0.95", Target(0.05, EPSILON)), ("agreement 0.90", Target(0.10, EPSILON)), ("0.02 nats", Target(0.02, EPSILON, "loss", p_value="betting"))):
                done = resplits(made, target, options.resplits)
                allowed = done.allowed
                rows.append({"model": name, "criterion": criterion, "target": label, "full_cost": float(made.cost[-1]), **dataclasses.asdict(done)})
                print(rows[-1], flush=True)
    if not rows:
        sys.exit(f"error: none of {', '.join(MODELS)} has been trained below {options.cache}; ./evidence train-layerskip")
    show(["model", "criterion", "promise", "cost", "broken"], [[r["model"], r["criterion"], r["target"], f"{r['cost']:.2f}", r["violations"]] for r in rows])
    return {"epsilon": EPSILON, "resplits": options.resplits, "allowed": allowed, "rows": rows, "ok": all(r["violations"] <= allowed for r in rows)}
