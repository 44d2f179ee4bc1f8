# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Train an encoder with an exit after every layer on package descriptions; accuracy against mean layers, by rule."""

import json

from _common import table
from _training import flags, text, train


def page(result) -> str:
    rows = [[p["rule"], p["setting"], f"{p['mean_depth']:.2f}", f"{p['accuracy']:.4f}", f"{p['agreement']:.4f}", f"{p['random_accuracy']:.4f}" if "random_accuracy" in p else ""]
            for p in result["points"]]  # fmt: skip
    return (
        f"{result['classes']} sections, {result['training_texts']:,} texts to train on, {result['held_out_texts']:,} held out.\n\n"
        + table(["rule", "setting", "mean layers", "accuracy", "agreement with the last layer", "accuracy of random exits"], rows)
    )


def main(argv):
    from ee.models.encoder import Encoder
    from ee.train import classifier

    options = flags("train-classifier", __doc__, 15).parse_args(argv)
    folder = train("classifier", options, 2400)
    training, held_out = classifier.load(text(options.cache), 32)
    model = Encoder.load(folder).eval()
    points = classifier.curve(classifier.all_logits(model, held_out), held_out.label)
    print(json.dumps(points, indent=1))
    return {"classes": len(training.classes), "training_texts": len(training.label), "held_out_texts": len(held_out.label), "points": points}
