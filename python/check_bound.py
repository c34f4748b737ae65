#!/usr/bin/env python3
"""Check what `headway certify` says of a trained network, its largest error or its accuracy, from the weights and the task alone.

The folder of a search says what is claimed: `results.json` the bounds, the domain and the target, `state.json` which weights they are about, `boxes.json` bounds
on boxes for training. No box of the search is used: this script halves the domain itself, so that what it verifies covers all of it, and encloses
|network − target| on each part anew, in double precision with every rounding counted. A part on which its enclosure is above the claim is halved again,
until it is below, an error above the claim is found, or too many parts are left; then the bound is not verified. The lower bound is computed anew at
its point. Of an accuracy every word is tried. What it is made of:

    bound_models.py       Taylor models of second order over many boxes at once
    bound_network.py      the network, from its safetensors and config
    bound_target.py       the target: formulas and their second derivatives, the task's own function
    bound_accuracy.py     the words that are answered rightly
    proof_formulas.py     formulas over boxes with slopes, and elementary functions with bounds on their errors
    headway_reference.py  reads weights

Needs Python 3.11 and numpy 1.24 or newer.
"""

import argparse
import hashlib
import json
import sys
import time
from pathlib import Path

import numpy as np

import bound_accuracy
import bound_network
import bound_target
import headway_reference as reference
from bound_models import Rules
from proof_formulas import INF, Problem, check, told

DEEPEST, CHUNK, EVERY = 60, 256, 10.0  # halvings of a part at most; parts that are bounded together; seconds between two lines about progress
MOST = 1 << 22  # parts, or words, that are looked at
CLOSE = 1e-6  # by how much of itself a lower bound may be above what is attained here: exponentials and erf are known to fewer digits than the library has


class Question:
    """|network − target| over parts of a domain."""

    def __init__(self, checkpoint, claim):
        self.network, dims = bound_network.load(checkpoint)
        check("continuous" in dims["input"], "the network reads tokens, and an error is about numbers")
        self.inputs = bound_target.Inputs(dims["seq_len"], reference.vector_width(dims), claim["domain"])
        config = read(checkpoint / "config.json")
        self.target = bound_target.target(claim["target"], config, dims, self.inputs)
        check(claim["arithmetic"] in ("exact", "float32"), f"the arithmetic {claim['arithmetic']} is not known here")
        self.rules = Rules(claim["arithmetic"] == "float32")
        tuned = reference.lora_scale(checkpoint) is not None
        check(not (tuned and self.rules.single), "what float32 adds is not followed through LoRA here")

    def bounds(self, low, high):
        """On each box a bound, an error that is attained in its middle, and the axis along which it is best halved."""
        h = self.network(self.rules, self.inputs.models(low, high)).map(lambda part: part.reshape(len(part), -1))
        f, (least, most) = self.target.over(low, high)
        rules = Rules()
        difference = rules.minus(h, f)
        bottom, top = difference.range()
        ends = h.range()
        apart = np.maximum(ends[1] - least, most - ends[0])  # the ranges alone
        bound = np.fmin(np.maximum(-bottom, top), np.where(np.isnan(apart), INF, np.nextafter(apart, INF)))
        bound = np.where(np.isnan(bound), INF, bound)
        worst, every = bound.argmax(-1), np.arange(len(low))
        attained = (np.abs(difference.c[0]) - difference.e)[every, worst] if not self.rules.single else np.zeros(len(low))
        side = (high - low) / (self.inputs.high - self.inputs.low)
        steep = sum(np.stack([self.moved(model, a)[every, worst] for a in range(h.d)], -1) for model in (h, f))
        total = steep.sum(-1, keepdims=True)
        # Where it is steep and long, for its share of the domain, but no side that is a fifth of the longest: halved alone for ever, it would show nothing.
        worth = np.where(total > 0, steep / np.where(total > 0, total, 1), 0) + 1.5 * side / side.sum(-1, keepdims=True)
        worth = np.where(5 * side > side.max(-1, keepdims=True), worth, 0)
        return bound[every, worst], attained, worth.argmax(-1)

    @staticmethod
    def moved(model, axis):
        """By how much a side changes a model."""
        with_axis = [k for k, monomial in enumerate(bound_target.MONOMIALS[model.d]) if axis in monomial]
        return np.abs(model.c[with_axis]).sum(0)

    def at(self, point):
        """Between which ends the error at a point lies."""
        none, inputs = np.zeros((1, 0)), self.inputs.at(point)
        h = self.network(Rules(), inputs.models(none, none)).map(lambda part: part.reshape(len(part), -1))
        target = bound_target.Target(self.target.trees, inputs)
        difference = Rules().minus(h, target.over(none, none)[0])
        middle, off = np.abs(difference.c[0][0]), difference.e[0]
        return float(np.max(middle - off)), float(np.max(middle + off))

    def search(self, low, high, claims, most, say):
        """The number of parts of some boxes on which their bounds are found; raises Problem where one does not hold or cannot be verified."""
        examined = 0
        for depth in range(DEEPEST + 1):
            left = []
            for at in range(0, len(low), CHUNK):
                a, b, claim = (part[at : at + CHUNK] for part in (low, high, claims))
                bound, attained, axis = self.bounds(a, b)
                examined += len(a)
                top = int((attained - claim).argmax())
                there = self.point((a[top] + b[top]) / 2)
                check(attained[top] <= claim[top], f"the bound is wrong: {claim[top]:.6g} is claimed, and at {there} the error is {attained[top]:.6g}")
                bad = ~(bound <= claim)
                left.append((a[bad], b[bad], claim[bad], axis[bad], bound[bad]))
                say(f"{examined} parts, {len(low) - at - len(a) + sum(2 * len(part[0]) for part in left)} to go")
            low, high, claims, axis, bound = (np.concatenate(parts) for parts in zip(*left))
            if len(low) == 0:
                return examined
            if depth == DEEPEST or examined + 2 * len(low) > most:
                worst = int((bound - claims).argmax())
                where = f"the bound here is above what is claimed, on the worst {bound[worst]:.6g} and not {claims[worst]:.6g}"
                raise Problem(f"not verified: on {len(low)} parts {where}, after {examined} parts")
            middle, every = (low + high) / 2, np.arange(len(low))
            lower, upper = high.copy(), low.copy()
            lower[every, axis] = upper[every, axis] = middle[every, axis]
            low, high, claims = np.concatenate([low, upper]), np.concatenate([lower, high]), np.tile(claims, 2)
        raise AssertionError

    def worst_boxes(self, worst):
        """The boxes that are written for training, as ends of the free numbers, and the bounds on them."""
        sides, bounds = np.array(worst["boxes"], float), np.array(worst["bounds"], float)
        check(sides.shape == (len(bounds), len(self.inputs.names), 2) and len(bounds), "boxes.json does not name a box of all input numbers for each bound")
        for at, name in enumerate(self.inputs.names):
            fixed = self.inputs.fixed.get(name)
            check(fixed is None or (sides[:, at] == fixed).all(), f"boxes.json varies {name}, which is fixed")
        low, high = (sides[:, [self.inputs.names.index(name) for name in self.inputs.free], end] for end in range(2))
        check(((self.inputs.low <= low) & (low <= high) & (high <= self.inputs.high)).all(), "boxes.json has a box outside of the domain")
        return low, high, bounds

    def point(self, x):
        return ", ".join(f"{name} = {value:.6g}" for name, value in zip(self.inputs.free, x))


class Say:
    """Lines about progress, a few a minute."""

    def __init__(self):
        self.last = time.monotonic()

    def __call__(self, text):
        if time.monotonic() > self.last + EVERY:
            self.last = time.monotonic()
            print(text, file=sys.stderr, flush=True)


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def weights_of(folder, claim, checkpoint, digest):
    """The folder of the weights that a claim is about."""
    checkpoint = Path(checkpoint or place(folder, claim["network"]["source"]))
    found = hashlib.sha256((checkpoint / "model.safetensors").read_bytes()).hexdigest()
    check(found == digest, f"the claim is about other weights than those in {checkpoint}")
    return checkpoint


def verify(folder, checkpoint=None, most=MOST, say=None):
    """Lines about a folder; raises Problem where something is not as claimed."""
    folder, say = Path(folder), say or Say()
    claim = read(folder / "results.json")
    if "proved" in claim:
        network, dims = bound_network.load(weights_of(folder, claim, checkpoint, claim["sha256"]))
        yield from bound_accuracy.verify(network, dims, claim, most, say)
        return
    state = read(folder / "state.json")
    upper, lower = claim["upper"], claim["lower"]
    check(upper is not None, "the search has no upper bound yet")
    asked = dict(state["question"])
    for name in ("target", "domain", "arithmetic"):
        check(asked[name] == claim[name], f"results.json and state.json have another {name}")
    rows = np.array(state["open"]).reshape(-1, 2 + 2 * len(state["at"]))
    check(upper == max([state["closed"], *rows[:, 0]]) and lower == state["lower"], "results.json and state.json have other bounds")
    question = Question(weights_of(folder, claim, checkpoint, asked["weights"]), claim)
    point = [claim["at"][name] for name in question.inputs.free]
    inside = (question.inputs.low <= point) & (point <= question.inputs.high)
    check(inside.all() and len(claim["at"]) == len(point), "the lower bound is attained outside of the domain")
    least, largest = question.at(point)
    enough = lower * (1 - CLOSE) - 1e-12
    check(largest >= enough, f"the lower bound is not attained: {lower:.9g} is claimed, and the error at its point is {largest:.9g}")
    if least >= enough:
        yield f"ok   lower: {lower:.6g} claimed, at least {least:.6g} at {question.point(point)}"
    else:
        yield f"ON TRUST lower: {lower:.6g} claimed at {question.point(point)}, where the target jumps, and the error is from {least:.6g} to {largest:.6g}"
    count = question.search(question.inputs.low[None], question.inputs.high[None], np.array([upper]), most, say)
    of = "of the weights in real numbers" if claim["arithmetic"] == "exact" else "in float32, in any order of sums"
    yield f"ok   upper: no error is above {above(upper)}, {of}, on {count} parts of {claim['domain']}"
    if (folder / "boxes.json").is_file():
        low, high, bounds = question.worst_boxes(read(folder / "boxes.json"))
        count = question.search(low, high, bounds, most, say)
        yield f"ok   boxes: {len(bounds)} bounds for training, on {count} parts"


def above(x):
    """Six digits that are not below the number."""
    text = f"{x:.6g}"
    return text if float(text) >= x else f"{x * (1 + 1e-5):.6g}"


def place(folder, source):
    """The checkpoint that the search names, from here or from a folder above it."""
    for parent in [Path(), *folder.resolve().parents]:
        if (parent / source / "model.safetensors").is_file():
            return parent / source
    raise Problem(f"the checkpoint {source} is not there; name it as the second argument")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog="Exit code 0 when all that is claimed is verified, 1 when a claim is wrong, cannot be verified, or is about what is not followed here. "
        "A lower bound at a jump of the target is ON TRUST: which side a point is on is not told."
    )
    parser.add_argument("bound", metavar="BOUND", help="folder that `headway certify` wrote")
    parser.add_argument("checkpoint", metavar="CHECKPOINT", nargs="?", help="folder of the weights, if they are elsewhere now")
    parser.add_argument("--most", type=int, default=MOST, help="parts of the domain, or words, to look at (default: %(default)s)")
    args = parser.parse_args()
    try:
        for line in verify(args.bound, args.checkpoint, args.most):
            print(line, flush=True)
    except Problem as problem:
        sys.exit(f"FAIL {problem}")
    except (OSError, KeyError, ValueError, IndexError, TypeError, RecursionError, reference.CheckpointError) as problem:
        sys.exit(told(args.bound, problem))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
