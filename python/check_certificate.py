#!/usr/bin/env python3
"""Check a constructed checkpoint's certificate with numpy alone: the target, the error and the bound, each computed anew.

`headway construct` writes beside the weights what it claims, and the points at which its model was farthest from the target:

    certificate.json      what was proved and measured
    hardest.safetensors   inputs [points, seq_len, d_in], targets [points, seq_len, d_out], scored [seq_len]
    train.toml            the task: formulas, a table, forms, a network, or a regression

Nothing of that is taken on trust. The target is computed from the task, or, where a task drew its numbers from a seed, from what the
weights say that they compute; it is compared with the stored one, and the network with it, at the stored points, at random ones and
in corners. The bound is derived from sizes and temperature read off the weights, and from slopes of the formula bounded over boxes by
formulas.py; a claim below what follows is refused. This script shares no code with Headway.

Needs Python 3.11 and numpy 1.24 or newer.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
import tomllib
from pathlib import Path

import numpy as np

import formulas
import headway_reference as reference

TARGET_ROUNDING = 2.0**-24
"""Targets are stored in float32: each may be off by this much of itself."""

SLACK = 0.03
"""A claim may be this much below what is derived here: suprema are known to a hundredth on either side."""

RANDOM = 64
"""Random points beside the stored ones."""


class Problem(Exception):
    """Something in the folder is not what it claims to be."""


def check(condition, message):
    if not condition:
        raise Problem(message)


# ---------------------------------------------------------------------------------------------------------------------
# Attention to anchors, in units of their distance.


def moments(u, anchors, c):
    """Mean and variance of the anchor that softmax(−c (u − k)²) picks among 0 … anchors − 1, for every u."""
    k = np.arange(anchors)
    weights = reference.softmax(-c * (u[:, None] - k) ** 2)
    mean = weights @ k
    return mean, weights @ k**2 - mean**2


def clamp_error(c, intervals, heads):
    """sup |Σ_h head_h(u) − clamp(u)| in units of the distance, for heads in a row."""
    heads, intervals = min(heads, 4), min(intervals, 24)
    u = np.arange(-6 * 512, (heads * intervals + 6) * 512) / 512
    found = sum(moments(u - h * intervals, intervals + 1, c)[0] for h in range(heads))
    return np.abs(found - np.clip(u, 0, heads * intervals)).max()


# ---------------------------------------------------------------------------------------------------------------------
# A folder.


class Folder:
    def __init__(self, path):
        path = Path(path)
        self.certificate = json.loads((path / "certificate.json").read_text(encoding="utf-8"))
        experiment = tomllib.loads((path / "train.toml").read_text(encoding="utf-8"))
        ((self.kind, self.task),) = experiment["task"].items()
        self.points = reference.read_safetensors(path / "hardest.safetensors")
        self.models = {dtype: reference.load(path, dtype) for dtype in (np.float32, np.float64)}
        self.weights = {k: v.astype(float) for k, v in reference.read_safetensors(path / "model.safetensors").items()}
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        dims = config["dims"]
        self.n, self.d_in, self.d_out = dims["seq_len"], dims["input"]["continuous"]["d_in"], dims["d_out"]
        self.layers = self.models[np.float64].network.layers

    @property
    def name(self):
        return self.certificate["construction"]

    def size(self, name):
        return int(self.certificate["sizes"][name])

    def ends(self):
        """Ends of every input number, [n · d_in] each; nothing on a sphere."""
        if self.kind == "in_context_regression":
            y = 30 * self.task["noise"]  # the task's noise is a thirtieth of the largest label
            high = np.tile([self.task["input"]["uniform"]["high"]] * self.task["d"] + [y], self.n)
            high[-1] = 0.0
            return -high, high
        place = self.task["domain"] if self.kind == "function" else self.task["input"]
        if place == "sphere":
            return None
        box = place.get("cube", place.get("uniform"))
        count = self.n * self.d_in
        return np.full(count, float(box["low"])), np.full(count, float(box["high"]))

    def inputs(self):
        """The stored points, random ones, and corners. [points, n, d_in]"""
        rng = np.random.default_rng(0)
        stored, ends = self.points["inputs"].astype(float), self.ends()
        if ends is None:
            more = rng.normal(size=(RANDOM, self.n, self.d_in))
            more /= np.linalg.norm(more, axis=-1, keepdims=True)
        else:
            low, high = ends
            inside = rng.uniform(low, high, size=(RANDOM, len(low)))
            corners = np.where(rng.random((RANDOM // 4, len(low))) < 0.5, low, high)
            more = np.concatenate([inside, corners]).reshape(-1, self.n, self.d_in)
        if "gap" in self.certificate["domain"] or "above all others" in self.certificate["domain"]:
            more = more[:0]  # promised where one cell leads clearly; the stored points are such
        return np.concatenate([stored, more]).astype(np.float32)

    def claimed(self):
        return self.certificate["bound"]["value"], self.certificate["rounding"]["value"]


# ---------------------------------------------------------------------------------------------------------------------
# Targets, from the task.


def target(folder, x):
    """What the task makes of inputs [points, n, d_in], in double precision; nothing where a seed drew it."""
    x = x.astype(float)
    task = folder.task
    match folder.kind:
        case "function":
            if task.get("domain") == "sphere":
                x = x / np.linalg.norm(x, axis=-1, keepdims=True)
            if "table" in task:
                return np.interp(x, task["table"]["x"], task["table"]["y"])
            trees = [formulas.parse(output) for output in task["outputs"]]
            every = {f"x{i + 1}_{j + 1}": x[:, i, j] for i in range(folder.n) for j in range(folder.d_in)}
            y = np.empty((len(x), folder.n, len(trees)))
            for i in range(folder.n):
                own = {f"x{j + 1}": x[:, i, j] for j in range(folder.d_in)}
                for o, tree in enumerate(trees):
                    y[:, i, o] = formulas.evaluate(tree, every | own | {"i": np.float64(i + 1)})
            return y
        case "truncated_linear" if "given" in task:
            w, t = np.array(task["given"]["weights"]), np.array(task["given"]["offsets"])
            return np.clip((w * x).sum(axis=-1) + t, task["low"], task["high"])[..., None]
        case "relu_network" if "given" in task:
            return relu_network(x, *given_network(task))
        case "in_context_regression":
            return descent(x, task["gradient_descent"]["steps"], task["gradient_descent"]["rate"])
    return None


def given_network(task):
    given = task["given"]
    return tuple(np.array(given[name]) for name in ("weights_in", "bias_in", "weights_out", "bias_out"))


def relu_network(x, weights_in, bias_in, weights_out, bias_out):
    y = np.maximum(x.reshape(len(x), -1) @ weights_in.T + bias_in, 0) @ weights_out.T + bias_out
    return y.reshape(len(x), x.shape[1], -1)


def descent(x, steps, rate):
    """w · x_q at the last position after steps of gradient descent on 1/(2N) Σ (w · x_i − y_i)²; 0 elsewhere."""
    inputs, labels, query = x[:, :-1, :-1], x[:, :-1, -1], x[:, -1, :-1]
    w = np.zeros_like(query)
    for _ in range(steps):
        residuals = np.einsum("bnd,bd->bn", inputs, w) - labels
        w -= rate * np.einsum("bnd,bn->bd", inputs, residuals) / inputs.shape[1]
    y = np.zeros((*x.shape[:2], 1))
    y[:, -1, 0] = (w * query).sum(axis=-1)
    return y


# What the weights say that they compute, where a seed drew it.


def forms_of(folder):
    """w [n, d_in] and t [n] of a clamp, off the map or the queries."""
    n, d = folder.n, folder.d_in
    low, high = folder.task["low"], folder.task["high"]
    if folder.name == "truncated-linear":
        weight = folder.weights["layers.0.map.project.weight"].reshape(-1, 4, n, d)
        bias = folder.weights["layers.0.map.project.bias"].reshape(-1, 4)
        return np.array([weight[i, 0, i] for i in range(n)]), bias[:n, 0] + (low + high) / 2
    # Head 0: 2 β w by the columns of x, 2 β (t − m) and β by those of positions, all times √2.
    query = folder.weights["layers.0.heads.0.query.weight"]
    position = query[:, -n:]
    factor = 2 * position[1, 0]
    step = (high - low) / (folder.size("H") * (n - 1))
    w = query[0, :-n] / factor
    w = np.tile(w, (n, 1)) if len(w) == d else w.reshape(n, d)
    return w, position[0] / factor + low + step * (n - 1) / 2


def network_of(folder):
    """The ReLU network of a folder: u' = A x + b off the first layer, y = C h + e off the last, in double precision."""
    layers, form = folder.layers, form_of(folder)
    flat = folder.n * folder.d_in
    probe = np.concatenate([np.zeros((1, flat)), np.eye(flat)]).reshape(-1, folder.n, folder.d_in)
    first = layers[0].map(probe)[:, :, 0] if form == "t1" else layers[0](probe)[0][:, :, 0]
    shift = 0.5 if form == "s" else 0.0
    bias, weights = first[0] + shift, (first[1:] - first[0]).T
    model = folder.models[np.float64].network
    units = layers[-1].keys - 2 if form != "s" else len(bias)
    if form == "t1":
        units = folder.size("units")
    bias, weights = bias[:units], weights[:units]
    if form == "s":
        return weights, bias, model.project.weight, model.project.bias
    probe = np.concatenate([np.zeros((1, units)), np.eye(units)])[..., None]
    last = layers[-1](probe)[0][:, : folder.n].reshape(len(probe), -1)
    return weights, bias, (last[1:] - last[0]).T, last[0]


def form_of(folder):
    if folder.models[np.float64].network.project is not None:
        return "s"
    return "t1" if len(folder.layers) == 2 else "t2"


def target_of_weights(folder, x):
    if folder.kind == "truncated_linear":
        w, t = forms_of(folder)
        return np.clip((w * x.astype(float)).sum(axis=-1) + t, folder.task["low"], folder.task["high"])[..., None]
    return relu_network(x.astype(float), *network_of(folder))


# ---------------------------------------------------------------------------------------------------------------------
# Bounds.


def claimed_constant(folder, letter):
    """A constant that was given, off the certificate: the claim is then under the condition that it is true."""
    for term in folder.certificate["bound"]["terms"]:
        found = re.search(rf"\b{letter} = ([-+.\deE]+) \(as given\)", term["formula"])
        if term.get("basis") == "given" and found:
            return float(found[1])
    return math.inf


def suprema(folder, low, high, names, what):
    """sup over all outputs of slope, bend or size: least and most."""
    trees = [formulas.parse(output) for output in folder.task["outputs"]]

    def bounds(a, b):
        pairs = [getattr(formulas.enclose(tree, a, b, table), what)() for tree in trees for table in names]
        return np.maximum.reduce([np.broadcast_to(p[0], len(a)) for p in pairs]), np.maximum.reduce(
            [np.broadcast_to(p[1], len(a)) for p in pairs]
        )

    return formulas.supremum(bounds, low, high)


def constant(folder, letter, low, high, names, what):
    least, most = suprema(folder, low, high, names, what)
    given = claimed_constant(folder, letter)
    check(given >= least * (1 - SLACK), f"{letter} = {given} is refuted: {least:.4g} is reached")
    return min(most, given)


def bound_of_clamp(folder):
    low, high = folder.task["low"], folder.task["high"]
    if folder.name == "truncated-linear":
        intervals, heads = folder.size("p"), 1
        beta = folder.weights["layers.0.heads.0.query.weight"][1, 1] / math.sqrt(2)
        anchors = folder.weights["layers.0.map.project.bias"].reshape(-1, 4)[: intervals + 1, 2]
        check(np.allclose(np.diff(anchors), (high - low) / intervals, rtol=1e-3), "the anchors are not evenly spaced")
    else:
        intervals, heads = folder.n - 1, folder.size("H")
        beta = folder.weights["layers.0.heads.0.query.weight"][1, -1] / math.sqrt(2)
    step = (high - low) / (intervals * heads)
    return min(clamp_error(beta * step**2, intervals, heads) * step, high - low)


def bound_of_activation(folder):
    """On a fine lattice, and by what formula and head may do between its points."""
    low, high = (ends[0] for ends in folder.ends())
    z = folder.weights["layers.0.map.position"]
    unit = folder.weights["layers.0.map.project.weight"][0, 0]  # 1 / distance
    sharp = folder.weights["layers.0.heads.0.query.weight"][1, 1] / math.sqrt(folder.layers[0].heads[0].query.shape[0])
    keys = slice(0, folder.size("p") + 2 * folder.size("padding") + 1)
    slopes, offsets, values = z[keys, 2], z[keys, 3], z[keys, 4]
    count = 1 << 14
    x = np.linspace(low, high, count + 1)
    head = np.empty_like(x)
    for part in np.array_split(np.arange(count + 1), 64):
        w = x[part] * unit + z[0, 0]
        head[part] = reference.softmax(sharp * (w[:, None] * slopes + offsets)) @ values
    task = folder.task
    if "table" in task:
        wanted = np.interp(x, task["table"]["x"], task["table"]["y"])
        slope = np.abs(np.diff(task["table"]["y"]) / np.diff(task["table"]["x"])).max()
        stray = slope * (high - low) / count / 2
    else:
        tree = formulas.parse(task["outputs"][0])
        wanted = np.broadcast_to(formulas.evaluate(tree, {"x1": x, "x1_1": x}), x.shape)
        jet = formulas.enclose(tree, x[:-1, None], x[1:, None], {"x1": 0, "x1_1": 0})
        step = (high - low) / count
        with np.errstate(all="ignore"):
            parts = [
                jet.value.high - jet.value.low,
                (jet.gradient[0].high - jet.gradient[0].low) * step / 4,
                jet.second[0][0].most() * step**2 / 8,
            ]
            stray = np.fmin.reduce([np.broadcast_to(np.where(np.isnan(p), np.inf, p), count) for p in parts]).max()
    # |head''| is at most 4 c² (distance)⁻² max |V_k+1 − V_k| E |k − mean|³, and that at c ≥ 1 at most once.
    step = (high - low) * unit / count
    own = np.abs(np.diff(values)).max() * 4 * sharp**2 * step**2 / 8
    found = np.abs(head - wanted).max()
    return found + stray + own


def bound_of_relu_network(folder):
    weights, bias, output, _ = network_of(folder)
    low, high = folder.ends()
    largest = np.maximum(weights * low, weights * high).sum(axis=1) + bias
    check(np.all(largest <= 1 + 1e-4), "hidden units are not normalised to 1")
    form = form_of(folder)
    if form == "t2":
        key_width = folder.layers[1].heads[0].query.shape[0]
        beta = folder.layers[1].heads[0].query[0, 0] / math.sqrt(key_width)
        one_signed = max(np.maximum(output, 0).sum(axis=1).max(), np.maximum(-output, 0).sum(axis=1).max())
        t = np.linspace(1.0, 1.6, 6001)
        return (t / (1 + np.exp(t))).max() * one_signed / beta
    total = np.abs(output).sum(axis=1).max()
    heads = folder.size("H") if form == "t1" else 1
    intervals = folder.size("p")
    if form == "t1":
        beta = folder.layers[0].heads[0].query[1, 1] / math.sqrt(2)
    else:
        scores = folder.weights["readout.softmax.scores.weight"]
        beta = np.diff(scores[:, 0]).mean() * intervals / 2
    step = 1 / (intervals * heads)
    return clamp_error(beta * step**2, intervals, heads) * step * total


def names_of(folder):
    """Variables of every position in a box of the whole sequence."""
    every = {f"x{i + 1}_{j + 1}": i * folder.d_in + j for i in range(folder.n) for j in range(folder.d_in)}
    own = lambda i: {f"x{j + 1}": i * folder.d_in + j for j in range(folder.d_in)}  # noqa: E731
    return [every | own(i) | {"i": float(i + 1)} for i in range(folder.n)]


def bound_of_grid(folder):
    low, high = folder.ends()
    cells = folder.size("G")
    check(folder.layers[0].keys == cells ** len(low), "there are not as many keys as cells")
    c = folder.layers[0].heads[0].query[-1, len(low)] / math.sqrt(len(low) + 1)
    u = np.arange(-256, cells * 512 - 255) / 512 if cells < 40 else np.arange(-256, 20 * 512) / 512
    mean, variance = moments(u, min(cells, 60), c)
    square = (variance + (mean - u) ** 2).max()
    lipschitz = constant(folder, "L", low, high, names_of(folder), "slope")
    size = suprema(folder, low, high, names_of(folder), "size")[1]
    return min(lipschitz * math.sqrt(square * (((high - low) / cells) ** 2).sum()), 2 * size)


def fit_is_within(folder, aim, most=400_000):
    """Whether |f − network| ≤ aim all over the box: by the value at the centre of a part and slopes over it, halving parts."""
    weights, bias, output, shift = network_of(folder)
    low, high = folder.ends()
    centres, radius, looked = (low + high)[None] / 2, (high - low) / 2, 0
    trees = [formulas.parse(text) for text in folder.task["outputs"]]
    rows = [(tree, names) for names in names_of(folder) for tree in trees]
    while len(centres):
        looked += len(centres)
        if looked > most:
            return False
        u, far = centres @ weights.T + bias, np.abs(weights) @ radius
        slope = np.where(u >= far, 1.0, np.where(u <= -far, 0.0, 0.5))
        unsure = np.where(slope == 0.5, 0.5, 0.0)
        found = np.maximum(u, 0) @ output.T + shift
        by_axis, good = np.zeros_like(centres), np.ones(len(centres), bool)
        for o, (tree, names) in enumerate(rows):
            variables = {k: centres[:, v] if isinstance(v, int) else np.float64(v) for k, v in names.items()}
            here = np.abs(formulas.evaluate(tree, variables) - found[:, o])
            if not (here <= aim).all():
                return False
            jet = formulas.enclose(tree, centres - radius, centres + radius, names)
            middle = (slope * output[o]) @ weights
            steep = [np.maximum(np.abs(s.low - middle[:, i]), np.abs(s.high - middle[:, i])) for i, s in enumerate(jet.gradient)]
            part = (np.stack(steep, axis=1) + (unsure * np.abs(output[o])) @ np.abs(weights)) * radius
            by_axis += part
            good &= here + part.sum(axis=1) * (1 + 1e-12) <= aim
        centres, by_axis = centres[~good], by_axis[~good]
        axis = int(by_axis.sum(axis=0).argmax())
        radius = radius.copy()
        radius[axis] /= 2
        step = np.zeros_like(radius)
        step[axis] = radius[axis]
        centres = np.concatenate([centres - step, centres + step])
    return True


def bound_of_max_affine(folder):
    z, d = folder.weights["layers.0.map.position"], folder.d_in
    sharp = folder.weights["layers.0.heads.0.query.weight"]
    sharp = sharp[d, d] / math.sqrt(folder.layers[0].heads[0].query.shape[0])
    cells = folder.size("cells")
    first = folder.n if folder.layers[0].keys < len(z) else 0
    values = z[first : first + cells, 2 * d + 2 :]
    if "G" not in folder.certificate["sizes"]:
        gap = float(re.search(r"([-+.\deE]+) (?:above|at least)|gap of ([-+.\deE]+)", folder.certificate["domain"])[1])
        spread = (values.max(axis=0) - values.min(axis=0)).max()
        return min((cells - 1) * math.exp(-sharp * gap), 1) * spread
    per_axis, padding = folder.size("G"), folder.size("padding")
    low, high = (ends[:d] for ends in folder.ends())
    h = (high[0] - low[0]) / per_axis
    u = np.arange(-256, min(per_axis, 24) * 256 + 1) / 512
    mean, variance = moments(u + padding, min(per_axis, 24) + 2 * padding, sharp)
    off = np.abs(mean - padding - u)
    square, ripple = (variance + off**2).max(), off.max()
    names = [{f"x{j + 1}": j for j in range(d)}]
    low, high = low - padding * h, high + padding * h
    lipschitz = constant(folder, "L", low, high, names, "slope")
    by_slope = lipschitz * math.sqrt(d * square) * h
    if any(term["name"] == "curvature" for term in folder.certificate["bound"]["terms"]):
        curvature = constant(folder, "M", low, high, names, "bend")
        return min(by_slope, lipschitz * math.sqrt(d) * ripple * h + curvature * d * square * h * h / 2)
    return min(by_slope, 2 * suprema(folder, low, high, names, "size")[1])


def bound_of_prefix(folder):
    """Means over the prefix at many points of the sphere: no bound can be below what they give."""
    d = folder.d_in
    z = folder.weights["layers.0.map.position"]
    keys, rng = z[1:, d : 2 * d], np.random.default_rng(1)
    lam = np.linalg.norm(keys, axis=1).mean()
    keys = keys / np.linalg.norm(keys, axis=1, keepdims=True)
    x = rng.normal(size=(512, d))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    cosine = np.clip(x @ keys.T, -1, 1)
    weights, angle = reference.softmax(lam * cosine), np.arccos(cosine)
    side = weights @ keys - (weights * cosine).sum(axis=1, keepdims=True) * x
    ripple = (np.linalg.norm(side, axis=1) + (weights * (angle - np.sin(angle))).sum(axis=1)).max()
    mean, square = (weights * angle).sum(axis=1).max(), (weights * angle**2).sum(axis=1).max()
    # Slopes along great circles between neighbours, which none that holds everywhere is below.
    t = np.linalg.qr(np.stack([x, rng.normal(size=x.shape)], axis=-1))[0][..., 1]
    ahead = [(x * math.cos(a) + t * math.sin(a))[:, None] for a in (-1e-3, 0.0, 1e-3)]
    below, here, above = (target(folder, points)[:, 0] for points in ahead)
    slope = (np.abs(above - below) / 2e-3).max()
    curve = (np.abs(above - 2 * here + below) / 1e-6).max()
    curve = curve if any(term["name"] == "curvature" for term in folder.certificate["bound"]["terms"]) else math.inf
    return min(slope * mean, slope * ripple + curve * square / 2)


def largest_residual(steps, rate, lam, n, y):
    """Above every |w · x_i − y_i| after so many steps on n examples, for η λ ≤ 2."""
    base = 1 - rate * lam
    low = 0.0 if base < 0 and steps > 0 and steps % 2 == 0 else base**steps
    return ((1 + low) / 2 + (1 - low) / 2 * math.sqrt(n)) * y


def bound_of_descent(folder):
    """E1: softmax at scores of scale δ is linear up to δ². E2: two squares per product, interpolated between anchors."""
    task = folder.task
    d, n, rate, steps = task["d"], task["n_points"], task["gradient_descent"]["rate"], task["gradient_descent"]["steps"]
    x, y = task["input"]["uniform"]["high"], 30 * task["noise"]
    lam = d * x**2
    if "delta" not in folder.certificate["sizes"]:
        return bound_of_squares(folder, d, n, rate, steps, x, y)
    # W_O of a step is −η/δ.
    delta = -rate / folder.layers[1].heads[-1].output[d + 1, 0]
    gains = []
    for s in range(steps):
        at = [rate * math.sqrt(h) * abs(1 - rate * h) ** s for h in (lam, min(lam, 1 / (rate * (2 * s + 1))))]
        gains.append(max(at))
    each, drift = [], 0.0
    for t in range(steps + 1):
        drift = sum(v * gain for v, gain in zip(reversed(each), gains))
        largest = largest_residual(t, rate, lam, n, y) + math.sqrt(lam) * drift
        mean = y + math.sqrt(lam) * drift
        each.append(mean * delta**2 * max(largest**2 / 6, mean**2 / 2) * math.cosh(delta * largest))
    return math.sqrt(lam) * drift


def bound_of_squares(folder, d, n, rate, steps, x, y):
    """Attention to anchors is off by ripples of its mean and its mean square, which drift and reach of the anchors depend on."""
    c, padding = folder.certificate["sizes"]["c"], folder.size("padding")
    u = np.linspace(0, 1, 4097)
    mean, variance = moments(u + 40, 81, c)
    mu, nu = np.abs(mean - u - 40).max(), np.abs(variance + (mean - u - 40) ** 2 - 1 / (2 * c)).max()
    lam = d * x**2
    residual = max(largest_residual(t, rate, lam, n, y) for t in range(steps))
    balance, drift = math.sqrt(x / residual), 0.0
    for _ in range(100):
        reach = balance * (residual + math.sqrt(lam) * drift) + x / balance
        spacing = 2 * reach / (folder.size("p") - 2 * padding)
        drift = rate * steps * math.sqrt(d) * (reach * spacing * mu + spacing**2 * nu / 2)
    time = rate * steps
    weight = y * min(time * math.sqrt(lam), (math.sqrt(2) if rate * lam > 1 else 1) * math.sqrt(time))
    return math.sqrt(lam) * drift + spacing * mu * math.sqrt(lam) * (weight + drift) / reach


BOUNDS = {
    "truncated-linear": bound_of_clamp,
    "truncated-linear-heads": bound_of_clamp,
    "activation": bound_of_activation,
    "relu-network": bound_of_relu_network,
    "max-affine": bound_of_max_affine,
    "prefix": bound_of_prefix,
    "in-context-gd": bound_of_descent,
}


def derived(folder):
    """What follows from weights and task at least."""
    if folder.name != "seq2seq":
        return BOUNDS[folder.name](folder)
    if "G" in folder.certificate["sizes"]:
        return bound_of_grid(folder)
    compiled = bound_of_relu_network(folder)
    if folder.kind == "relu_network":
        return compiled
    # As claimed, if that can be proved; weights are rounded to float32.
    rounding = folder.certificate["rounding"]["value"]
    fit = next(term["value"] for term in folder.certificate["bound"]["terms"] if term["name"] == "fit")
    check(fit_is_within(folder, fit + rounding), f"that the fit is within {fit:.4g} everywhere does not follow")
    return compiled + fit


# ---------------------------------------------------------------------------------------------------------------------


def verify(path):
    """Lines about a folder; raises Problem where something is not as claimed."""
    folder = Folder(path)
    certificate = folder.certificate
    bound, rounding = folder.claimed()
    for part in ("bound", "rounding"):
        terms = [term["value"] for term in certificate[part]["terms"]]
        check(all(value >= 0 for value in terms), f"a term of the {part} is negative")
        check(math.isclose(sum(terms), certificate[part]["value"], rel_tol=1e-9, abs_tol=1e-300), f"the terms of the {part} do not add up")
    measured = any(term.get("basis") == "measured" for term in certificate["bound"]["terms"])
    check(certificate["holds"] and not measured, "NOT CERTIFIED: the bound rests on what was measured at points")
    check(bound + rounding <= certificate["tolerance"] * (1 + 1e-9), "the bound is beyond the tolerance")
    scored = folder.points["scored"] > 0
    x = folder.inputs()
    wanted, source = target(folder, x), "from the task"
    if wanted is None:
        wanted, source = target_of_weights(folder, x), "drawn from a seed, read off the weights"
    stored = folder.points["targets"].astype(float)
    slack = TARGET_ROUNDING * np.abs(stored) + (1e-12 if source == "from the task" else rounding)
    off = np.abs(stored - wanted[: len(stored)])[:, scored]
    check((off <= slack[:, scored] + 1e-300).all(), f"stored targets are off by {off.max():.4g} from those of the task")
    lines = [f"ok   target: {source}, {len(x)} points"]
    for dtype, model in folder.models.items():
        error = np.abs(model(x).astype(float) - wanted)[:, scored].max()
        allowed = bound + rounding + TARGET_ROUNDING * np.abs(wanted).max()
        check(error <= allowed, f"{np.dtype(dtype)}: an error of {error:.4g} is beyond {allowed:.4g}")
        lines.append(f"ok   {np.dtype(dtype)}: largest error {error:.4g}, bound with rounding {allowed:.4g}")
    follows = derived(folder)
    check(bound >= follows * (1 - SLACK) - 1e-12, f"a bound of {bound:.4g} is claimed where {follows:.4g} follows")
    lines.append(f"ok   bound: {bound:.4g} claimed, {follows:.4g} follows")
    return lines


def main():
    parser = argparse.ArgumentParser(
        description="Check a constructed checkpoint's certificate with numpy alone, in float32 and in float64.",
        epilog="Exit code 0 when target, errors and bound are as claimed, 1 when one is not or the folder holds no certificate.",
    )
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="folder that `headway construct` wrote")
    args = parser.parse_args()
    try:
        print("\n".join(verify(args.checkpoint)))
    except Problem as problem:
        sys.exit(f"FAIL {problem}")
    except (OSError, KeyError, ValueError, formulas.FormulaError, reference.CheckpointError, reference.InputError) as problem:
        sys.exit(f"error: {args.checkpoint}: {problem!r}")


if __name__ == "__main__":
    main()
