#!/usr/bin/env python3
"""Check a proof, `proof.json` beside a certificate, from the weights and the task alone.

Networks of several layers have a chain of inequalities between exact rationals, of which each is derived anew (proof_chains.py,
proof_units.py, proof_descent.py, proof_squares.py).
For those of one layer `headway construct … --prove` writes which boxes cover the domain; nothing else of it is used. This script reads the weights
and the task, and bounds the error on each box anew, in double precision rounded outward (formulas: proof_formulas.py), halving a box where its
enclosures need a smaller one.

On a box with middle m and radii r, |h − f| ≤ |h(m) − f(m)| + Σ_j sup |∂h/∂x_j − ∂f/∂x_j| r_j, and at most the distance of the ranges of h and f.
Mixtures and what float32 adds: proof_mixtures.py. Needs Python 3.11 and numpy 1.24 or newer.
"""

import argparse
import json
import sys
import tomllib
from pathlib import Path

import numpy as np

from bound_target import numbers_of
from proof_chains import Steps
from proof_formulas import ZERO, I, Problem, check, constants, formula, parse, table, told
from proof_mixtures import File, U, Weights, errors
from proof_squares import descent
from proof_units import relu_network

CHAINS = {"relu_network": relu_network, "in_context_regression": descent}
DEEPEST, CHUNK = 12, 128  # how often a box may be halved here; boxes that are bounded together, which leave out the same keys


class Question:
    """|mixtures − target| in the variables of one kind of position."""

    def __init__(self, weights, task, positions):
        ((kind, task),) = task.items()
        place = task["domain" if kind == "function" else "input"]
        ends = place.get("cube", place.get("uniform"))
        check(ends is not None and 0 <= min(positions) and max(positions) < weights.n, "the proof is about a box, and positions of the sequence")
        low, high, self.shift, whole = float(ends["low"]), float(ends["high"]), 0.0, weights.readout == "affine"
        if kind == "truncated_linear":
            return self.clamp_question(weights, task, max(abs(low), abs(high)))
        check(kind == "function", "the proof is about a function given by formulas or a table, or about a clamp")
        self.d = weights.n * weights.d_in if whole else weights.d_in
        self.low, self.high = np.full(self.d, low), np.full(self.d, high)
        self.heads = list(weights.heads(positions[0]))
        for other in [] if whole else positions[1:]:
            alike = (np.array_equal(a[key], b[key]) for a, b in zip(self.heads, weights.heads(other)) for key in ("slopes", "offsets", "values"))
            check(all(alike), f"positions {positions[0]} and {other} compute different functions")
        if "table" in task:
            check(self.d == 1, "a table has one variable")
            over = table(task["table"]["x"], task["table"]["y"])
            self.target = lambda jets: iter([over(jets[0])])
            return
        trees = [parse(text) for text in task["outputs"]]

        def target(jets):
            for i in range(weights.n if whole else 1):
                own = {f"x{j + 1}": jets[i * weights.d_in + j] for j in range(weights.d_in)}
                every = {f"x{p + 1}_{j + 1}": jets[p * weights.d_in + j] for p in range(weights.n if whole else 0) for j in range(weights.d_in)}
                index = {"i": (I(float(i + 1)), [ZERO] * self.d)} if whole else {}
                for tree in trees:
                    yield formula(tree, constants(self.d) | own | every | index)

        self.target = target

    def clamp_question(self, weights, task, reach):
        """One variable: the first column of a position's row, w · x + t − m, whose clamp at low − m and high − m, plus m, is the target."""
        low, high = float(task["low"]), float(task["high"])
        centre, n, linear = (low + high) / 2, weights.n, weights.linear
        tree = parse(f"min(max(x1 + ({centre!r}), {low!r}), {high!r})")
        self.d, self.target = 1, lambda jets: iter([formula(tree, constants(1) | {"x1": jets[0]})])
        if weights.layer["map"] == "token_wise" or linear[:, 1:].any():
            self.heads, *ends = weights.heads_of_forms(task["given"], centre, reach)
            self.low, self.high = (np.array([end]) for end in ends)
            return
        check((weights.constant[:n, 1] == weights.constant[0, 1]).all(), "positions compute different functions")
        size = np.abs(linear[:n, 0]).sum(-1) * reach * (1 + 1e-12) + 1e-12
        form = weights.constant[:n, 0]
        w = np.zeros((n, n, weights.d_in))
        w[np.arange(n), np.arange(n)] = task["given"]["weights"]
        self.shift = (np.abs(linear[:n, 0] - w.reshape(n, -1)).sum(-1) * reach + np.abs(form - (np.array(task["given"]["offsets"]) - centre))).max()
        self.shift = self.shift * (1 + 1e-12) + 4 * U * (np.abs(form) + size).max()
        self.low, self.high = np.array([(form - size).min()]), np.array([(form + size).max()])
        noise = (weights.error[0][:n, 0] + weights.error[1][:n, 0].sum(-1) * reach).max()
        weights.linear, weights.error = np.zeros((*weights.constant.shape, 1)), tuple(np.zeros_like(e[..., :1] if e.ndim == 3 else e) for e in weights.error)
        weights.linear[0, 0, 0], weights.error[0][0, 0], weights.constant[0, 0] = 1, noise, 0
        self.heads = list(weights.heads(0))

    def bounds(self, low, high):
        """Bounds on the error in exact arithmetic and on what float32 adds, for boxes [B, d]."""
        exact, rounding, _ = errors(self.heads, self.target, low, high)
        return exact + self.shift, rounding


def boxes(tree, low, high):
    """The boxes of a tree in order: 0 for a box, else the axis from 1 along which it is halved."""
    stack, found = [(low, high)], []
    for digit in tree:
        check(stack and digit in "0123", "the tree of boxes does not end where the domain is covered")
        low, high = stack.pop()
        if digit == "0":
            found.append((low, high))
            continue
        axis = int(digit) - 1
        check(axis < len(low), f"the tree halves axis {axis + 1} of {len(low)}")
        middle, lower, upper = (low[axis] + high[axis]) / 2, high.copy(), low.copy()
        lower[axis] = upper[axis] = middle
        stack += [(upper, high), (low, lower)]
    check(not stack, f"the tree of boxes leaves {len(stack)} parts of the domain uncovered")
    return np.array([low for low, _ in found]), np.array([high for _, high in found])


def with_numbers(task, seed, weights):
    """The task with the numbers that its seed draws, where none are given."""
    ((kind, options),) = task.items()
    n, d_in, d_out = weights.n, weights.d_in, weights.d_out
    if kind == "truncated_linear":
        sizes = {"weights": (n, d_in), "offsets": (n,)}
    elif kind == "relu_network":
        units, outs = options["d_hidden"], n * d_out
        sizes = {"weights_in": (units, n * d_in), "bias_in": (units,), "weights_out": (outs, units), "bias_out": (outs,)}
    else:
        return task
    check(options.get("target_scale", 1.0) == 1.0, "the task has another scale than the construction")
    drawn = numbers_of(options, "given", list(sizes), list(sizes.values()), seed, by_columns=kind == "relu_network")
    return {kind: options | ({} if "given" in options else {"given": dict(zip(sizes, drawn))})}


def verify(path):
    path = Path(path)
    proof, certificate = (json.loads((path / name).read_text(encoding="utf-8")) for name in ("proof.json", "certificate.json"))
    experiment = tomllib.loads((path / "train.toml").read_text(encoding="utf-8"))
    task = with_numbers(experiment["task"], experiment["seed"], File(path))
    claims, examined = (proof["bound"], proof["rounding"]), 0
    if "proof" in certificate:
        check(claims == tuple(certificate[key]["value"] for key in ("bound", "rounding")), "the certificate claims something else than its proof")
        check(sum(claims) <= certificate["tolerance"] * (1 + 1e-12), "the proof does not reach the tolerance")
    said = f"error at most {claims[0]:.6g} in exact arithmetic and {claims[1]:.4g} more in float32"
    if "steps" in proof:
        ((kind, options),) = task.items()
        check(kind in CHAINS, f"no chain is about the task {kind}")
        count = CHAINS[kind](File(path), options, Steps(proof["steps"]), claims)
        return f"ok   proof: {said}, by {count} inequalities between exact rationals"
    weights = Weights(path)
    check(sorted(p for part in proof["parts"] for p in part["positions"]) == list(range(weights.n)), "the parts do not name each position once")
    for part in proof["parts"]:
        question = Question(Weights(path), task, part["positions"])
        low, high = boxes(part["tree"], question.low, question.high)
        for depth in range(DEEPEST + 1):
            again = [np.zeros((0, question.d))], [np.zeros((0, question.d))]
            for at in range(0, len(low), CHUNK):
                a, b = low[at : at + CHUNK], high[at : at + CHUNK]
                found = question.bounds(a, b)
                examined += len(a)
                bad = ~((found[0] <= claims[0]) & (found[1] <= claims[1]))
                if bad.any():
                    worst = int(np.argmax(np.where(bad, found[0], 0)))
                    where = f"{found[0][worst]:.6g} + {found[1][bad].max():.3g} on the box from {a[worst]} to {b[worst]}; claimed: {claims[0]:.6g} + {claims[1]:.3g}"
                    check(depth < DEEPEST and sum(map(len, again[0])) + bad.sum() <= len(low) // 4 + 99, f"the bound does not follow: {where}")
                    axis, every = (b - a)[bad].argmax(-1), np.arange(bad.sum())
                    middle, lower, upper = (a[bad] + b[bad]) / 2, b[bad].copy(), a[bad].copy()
                    lower[every, axis] = upper[every, axis] = middle[every, axis]
                    again[0].extend([a[bad], upper]), again[1].extend([lower, b[bad]])
            low, high = (np.concatenate(ends) for ends in again)
    return f"ok   proof: {said}, on {examined} boxes"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog="Exit code 0 when the bound follows, 1 when it does not.")
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="folder that `headway construct … --prove` wrote")
    path = parser.parse_args().checkpoint
    try:
        print(verify(path))
    except Problem as problem:
        sys.exit(f"FAIL {problem}")
    except (OSError, KeyError, ValueError, IndexError, TypeError) as problem:
        sys.exit(told(path, problem))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
