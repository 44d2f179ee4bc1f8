# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Learn-then-Test on the trained models: thresholds by target, and how often the promise broke over resplits.

With exact K,V a trace says what a policy does, and resplits are of the trace. Otherwise candidates are read off a trace of
training text and run on held-out text; what the trace of that text says about them is given beside. Each resplit draws
documents anew to test on; the promise is checked on all of them and on those left out. Promises: agreement with full
depth, or nats of loss above it (cut at +-1 per token).
"""

import dataclasses
import sys

from _common import show, table
from _training import FIT, SAMPLE, flags, text

MODELS = ("layerskip", "looped", "mor", "staged")
EPSILON = 0.05
TARGETS = {"agreement 0.95": (0.05, "agreement", "betting"), "agreement 0.90": (0.10, "agreement", "betting"), "0.02 nats": (0.02, "loss", "betting")}


def page(result) -> str:
    head = f"epsilon {result['epsilon']}, {result['resplits']} resplits by document: at most {result['allowed']} broken promises are explained by chance.\n\n"
    rows = [
        [r["model"], r["criterion"], r["tested_on"], r["target"], f"{r['full_cost']:.2f}", f"{r['cost']:.2f}", f"{r['risk']:.4f}", r["violations"], r["held_out"], r["full_depth"]]
        for r in result["rows"]
    ]
    names = ["model", "criterion", "tested on", "promise", "cost units at full depth", "of the policy (mean)", "risk (mean)", "broken", "broken on the documents left out", "full depth chosen"]
    said = [[r["model"], f"{r['cost']:.2f}", f"{r['agreement_by_trace']:.3f}", f"{r['agreement_run']:.3f}"] for r in result["run"]]
    return (
        head + table(names, rows) + "\nAgreement of policies by the trace of the same text, in which all rows stop at one depth, and as run:\n\n"
        + table(["model", "cost units", "by the trace", "run"], said)
    )  # fmt: skip


def main(argv):
    from ee.calibrate.ltt import Target, resplits
    from ee.calibrate.outcome import outcome
    from ee.data.reader import open_tokens, validation_windows
    from ee.models import Decoder
    from ee.train.data import spread
    from ee.train.execute import execute
    from ee.train.traces import trace

    parser = flags("calibrate", __doc__, 0)
    parser.add_argument("--resplits", type=int, default=200)
    parser.add_argument("--policies", type=int, default=10, help="candidates to run where K,V are not exact (default 10)")
    options = parser.parse_args(argv)
    import torch

    torch.set_num_threads(options.threads)
    data, rows, run = text(options.cache), [], []
    held_out, training = (validation_windows(open_tokens(data, split), 128) for split in ("valid", "train"))
    for name in MODELS:
        folder = options.cache / "train" / name / "fitted"
        if not folder.exists():
            print(f"{name}: not trained here; ./evidence train-{name} first")
            continue
        model = Decoder.load(folder).eval()
        exact = model.config.kv_fill == "exact"
        for criterion in ("router",) if model.config.router else ("probe", "margin") if exact else ("probe",):
            sample = spread(held_out, (4 if exact else 2) * options.sample)
            made = trace(model, sample, criterion)
            if not exact:
                executed = execute(model, sample, trace(model, spread(training, FIT), criterion), Target(0.1), options.policies, criterion)
                run += [{"model": name, "cost": float(c), "agreement_by_trace": outcome(made, t).agreement, "agreement_run": float(a.mean())}
                        for t, c, a in zip(executed.thresholds, executed.cost, executed.agrees)]  # fmt: skip
            for label, (delta, risk, p_value) in TARGETS.items():
                target = Target(delta, EPSILON, risk, p_value=p_value)
                done = resplits(made, target, options.resplits) if exact else executed.resplits(target, options.resplits)
                rows.append({"model": name, "criterion": criterion, "tested_on": "trace" if exact else "runs", "target": label, "full_cost": float(made.cost[-1]), **dataclasses.asdict(done)})
                print(rows[-1], flush=True)
    if not rows:
        sys.exit(f"error: none of {', '.join(MODELS)} has been trained below {options.cache}; ./evidence train-layerskip")
    show(["model", "criterion", "promise", "cost", "broken"], [[r["model"], r["criterion"], r["target"], f"{r['cost']:.2f}", r["violations"]] for r in rows])
    return {
        "epsilon": EPSILON, "resplits": options.resplits, "allowed": done.allowed, "rows": rows, "run": run,
        "ok": all(r["violations"] <= done.allowed for r in rows),
    }  # fmt: skip
