#!/usr/bin/env python3
"""Errors of networks that clamp a linear form, measured with numpy alone. Prints JSON.

    python clamp_errors.py temperature 1 2 2.725 …            # one head over anchors 1 apart: largest error at each c
    python clamp_errors.py scaled CHECKPOINT FROM 12 8 …      # query weights scaled from c = FROM to each c
    python clamp_errors.py checkpoints FOLDER …               # each network as it is

The last two read attention_stack checkpoints of the task truncated_linear, whose inputs are uniform, and take 20,000 random sequences.

Needs numpy.
"""

import argparse
import json
from pathlib import Path

import numpy as np

import headway_reference

SEQUENCES = 20_000


def kappa(c, intervals=40, per_interval=256):
    """Largest |head(u) - clamp(u)| for anchors 0, 1, …, intervals and scores -c (u - k)^2; the nearest anchor for c = inf."""
    anchors = np.arange(intervals + 1.0)
    u = np.arange(-3 * per_interval, (intervals + 3) * per_interval) / per_interval
    if np.isinf(c):
        # Just beside the middle between two anchors.
        return 0.5
    weights = headway_reference.softmax(-c * (u[:, None] - anchors) ** 2)
    return float(np.abs(weights @ anchors - u.clip(0, intervals)).max())


def examples(folder):
    """Inputs and targets of the checkpoint's own task."""
    task = json.loads((Path(folder) / "config.json").read_text())["experiment"]["task"]["truncated_linear"]
    law = task["input"]["uniform"]
    shape = (SEQUENCES, task["seq_len"], task["d_in"])
    x = np.random.default_rng(0).uniform(law["low"], law["high"], shape).astype(np.float32)
    weights, offsets = (np.array(task["given"][key]) for key in ("weights", "offsets"))
    forms = (x.astype(np.float64) * weights).sum(-1) + offsets
    return x, forms.clip(task["low"], task["high"])[..., None] * task["target_scale"]


def errors(model, x, y):
    error = np.concatenate([model(part) for part in np.array_split(x, 20)]) - y
    return {"mean_square": float((error**2).mean()), "largest": float(np.abs(error).max())}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["temperature", "scaled", "checkpoints"])
    parser.add_argument("words", nargs="+")
    args = parser.parse_args()
    if args.what == "temperature":
        print(json.dumps({c: kappa(float(c)) for c in args.words}))
        return
    if args.what == "checkpoints":
        found = {}
        for folder in args.words:
            found[folder] = errors(headway_reference.load(folder), *examples(folder))
        print(json.dumps(found))
        return
    folder, start, *temperatures = args.words
    x, y = examples(folder)
    found = {}
    for c in temperatures:
        model = headway_reference.load(folder)
        for layer in model.network.layers:
            for heads in layer.heads:
                heads.query = heads.query * np.float32(float(c) / float(start))
        found[c] = errors(model, x, y)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
