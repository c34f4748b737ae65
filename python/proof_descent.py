"""The chain of inequalities of gradient descent in context, for check_proof.py: form e1 on squares (docs/theory/in-context-gd.md)."""

import math
from fractions import Fraction as Q

import numpy as np

from proof_chains import CLOSE, EPS, GAP, columns, exp, filled, root, rounded, shaped, wired
from proof_formulas import check


def places(rows):
    return np.arange(rows) - (rows - 1) / 2


def carrying(of, width, target, names):
    """Query, key and value of a head that copies columns from the row whose place stands in a column."""
    query = filled((2, width), (0, of[target], 2 * GAP), (1, of["one"], GAP)) * math.sqrt(2)
    key = filled((2, width), (0, of["place"], 1), (1, of["square"], -1))
    return query, key, np.eye(width)[[column for name in names for column in of[name]]]


def placed(of, rows, width, place):
    every = list(range(rows))
    return filled((rows, width), (every, of["one"], 1), (every, of["place"], place), (every, of["square"], place**2))


def heads(at, query, key, value, output):
    parts = zip(("query", "key", "value", "output"), (query, key, value, output))
    return {f"heads.{at}.{part}.weight": array for part, array in parts}


def wired_descent(weights, d, n, k, rate, ridge, delta, last):
    """Mirror images, k steps, the readout: every array but those whose scales are read off."""
    rows, keep = 2 * n + 3, lambda width, d_in: np.eye(width, d_in)
    of, width = columns(("x", d), ("y", 1), ("one", 1), ("place", 1), ("square", 1), ("self", 1), ("mirrored", 1))
    place = places(n + 2)[np.minimum(np.arange(rows), n + 1)]
    table = placed(of, rows, width, place)
    table[:, of["self"][0]], table[:, of["mirrored"][0]] = place, place[n + 1]
    table[n + 1 : 2 * n + 1, of["mirrored"][0]] = place[:n]
    both = [np.concatenate(pair) for pair in zip(*(carrying(of, width, target, ("x", "y")) for target in ("self", "mirrored")))]
    signs = np.hstack([np.eye(d + 1), -np.eye(d + 1)])
    shaped(weights, 0, rows, rows, rows, (2, 2, d + 1))
    wired(weights, 0, {"map.project.weight": keep(width, d + 1), "map.position": table} | heads(0, *both, signs))

    of, width = columns(("x", d), ("y", 1), ("w", d), ("sign", 1), ("silent", 1), ("one", 1), ("place", 1), ("square", 1))
    table = placed(of, rows, width, places(rows))
    table[n, of["silent"][0]] = table[2 * n + 1 :, of["silent"][0]] = 1
    table[rows - 2, of["sign"][0]], table[rows - 1, of["sign"][0]] = 1, -1
    kept = np.diag([1.0] * (d + 1) + [1 - rate * ridge] * d)
    each, scale = list(range(d)), math.sqrt(d + 2)
    query = filled((d + 2, width), (each, of["w"], delta), (d, of["sign"], -delta), (d + 1, of["one"], -2 * GAP)) * scale
    key = filled((d + 2, width), (each, of["x"], 1), (d, of["y"], 1), (d + 1, of["silent"], 1))
    step = query, key, np.eye(d, width), filled((2 * d + 1, d), ([d + 1 + j for j in each], each, -rate / delta))
    for layer in range(1, k + 1):
        shaped(weights, layer, rows, rows, rows, (1, 2, 2 * d + 1), (1, d + 2, d))
        arrays = heads(0, *carrying(of, width, "place", ("x", "y", "w")), kept) | heads(1, *step)
        wired(weights, layer, {"map.project.weight": keep(width, d + 1 if layer == 1 else 2 * d + 1), "map.position": table} | arrays)

    of, width = columns(("x", d), ("w", d), ("sign", 1))
    project = filled((width, 2 * d + 1), (of["x"], each, 1), (of["w"], [d + 1 + j for j in each], 1))
    table = filled((rows + 4, width), (rows - 2, of["sign"], 1), (rows - 1, of["sign"], -1))
    shaped(weights, k + 1, rows + 4, n + 1, 6, (1, d, 1))
    query, key = filled((d, width), (each, of["x"], last * math.sqrt(d))), filled((d, width), (each, of["w"], 1))
    read = heads(0, query, key, filled((1, width), (0, of["sign"], 1)), np.full((1, 1), 3 / last))
    wired(weights, k + 1, {"map.project.weight": project, "map.position": table} | read)


def scales_of(weights, d, rate, k):
    """δ of every step off its query and its output, and δ' of the readout, as fractions; roots are off by 2⁻⁶⁰."""
    delta = []
    for layer in range(1, k + 1):
        query, output = (weights.arrays[f"layers.{layer}.heads.1.{part}.weight"] for part in ("query", "output"))
        delta += [rate / Q(abs(float(x))) for x in output[output != 0].flat]
        delta += [Q(abs(float(x))) / root(d + 2) * way for x in query[: d + 1][query[: d + 1] != 0].flat for way in (1, CLOSE)]
    query, output = (weights.arrays[f"layers.{k + 1}.heads.0.{part}.weight"] for part in ("query", "output"))
    asked = [Q(abs(float(x))) / root(d) * way for x in query[query != 0].flat for way in (1, CLOSE)]
    check(delta and asked and output.all(), "a step or the readout has no scale")
    return delta, [3 / Q(float(output[0, 0])), *asked]


def in_context_gd(weights, task, steps, claims):
    options = task["gradient_descent"]
    check(options.get("loss", "squared") == "squared" and not options.get("lasso", 0.0), "a chain is about squares without the Lasso")
    d, n, k = task["d"], task["n_points"], options["steps"]
    rate, ridge, x = Q(float(options["rate"])), Q(float(options.get("ridge", 0.0))), Q(float(task["input"]["uniform"]["high"]))
    check(len(weights.stack["layers"]) == k + 2 and weights.stack["readout"] == "rows", f"{k} steps take {k + 2} layers")
    curvature = d * x * x
    check(rate * (curvature + ridge) <= 2 * (1 + Q(1, 10**9)), "steps of this size may diverge")
    delta, last = scales_of(weights, d, rate, k)
    wired_descent(weights, d, n, k, float(rate), float(ridge), float(delta[0]), float(last[0]))

    y = steps.next("y", 30 * Q(float(task["noise"])))
    far = steps.next("sqrt(d) x", root(curvature))
    root_d, root_n = steps.next("sqrt(d)", root(d)), steps.next("sqrt(N)", root(n))
    coarse = steps.next("1/delta", max(1 / one for one in delta))
    delta = steps.next("delta", max(delta))
    coarse_last = steps.next("1/delta'", max(1 / one for one in last))
    last = steps.next("delta'", max(last))
    time, steep = rate * k, rate * (curvature + ridge)
    fast = 1 if steep <= 1 else min(Q(2), 1 / (2 - steep)) if steep < 2 else Q(2)
    bounds = [time * far * y, root(fast * time) * y]
    weight = steps.next("|w|", either=[*bounds, *([y * root(1 / ridge)] if ridge else [])])
    residuals, gains, errors, drift = [], [], [], Q(0)
    for t in range(k):
        base = 1 - rate * curvature
        low = Q(0) if base < 0 and t > 0 and t % 2 == 0 else base**t
        plain = ((1 + low) / 2 + (1 - low) / 2 * root_n) * y
        residuals.append(steps.next(f"residual {t}", either=[root_n * y, far * weight + y] if ridge else [plain]))
    for s in range(k):
        inner = min(max((1 - rate * ridge) / (rate * (2 * s + 1)), Q(0)), curvature)
        squares = [rate**2 * h * (1 - rate * (h + ridge)) ** (2 * s) for h in (curvature, inner)]
        gains.append(steps.next(f"gain {s}", root(rounded(max(squares)))))
    for t in range(k):
        largest, mean = residuals[t] + far * drift, y + far * drift
        z = rounded(delta * largest)
        cosh = (exp(z) + exp(-z)) / 2 * CLOSE
        errors.append(steps.next(f"step {t}", mean * delta**2 * max(largest**2 / 6, mean**2 / 2) * cosh))
        drift = steps.next(f"drift {t + 1}", sum(error * gain for error, gain in zip(reversed(errors), gains)))
    reach, rows, far_off = far * (weight + drift), 2 * n + 3, exp(Q(-GAP)) * CLOSE
    steps.next("softmax is not quite linear", far * drift)
    steps.next("readout", last**4 * reach**5 / 180)
    shift = (k + 1) * 2 * rows * far_off * max(x, y, weight + drift)
    gain = 1 + 2 * delta * x * (root_d * (weight + drift) + 1)
    steps.next("rows attended to by mistake", (far * k * (rate * coarse * root_d * (gain + 1) * 2 + 1) + root_d * (weight + drift)) * shift)
    each = k * rate * curvature * EPS
    steps.next("mean of mirrored inputs", each * (Q(n, 2) + 10) * coarse)
    steps.next("scores", each * (d + 12) * (reach + y))
    steps.next("state", (4 * k + (k if ridge else 0) + d + 8) * EPS * reach)
    steps.next("rounding of the readout", 12 * EPS * coarse_last)
    bound = ("softmax is not quite linear", "readout", "rows attended to by mistake")
    return steps.end(bound, ("mean of mirrored inputs", "scores", "state", "rounding of the readout"), claims)
