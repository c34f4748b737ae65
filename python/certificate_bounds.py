"""Bounds in exact arithmetic, derived anew: from sizes and temperature read off the weights, and from slopes of the task's formula.

Each `bound_of_…` gives what follows at least; a certificate that claims less is refused. The formulas are those of docs/theory.
"""

from __future__ import annotations

import math

import numpy as np

import formulas
import headway_reference as reference
from certificate_anchors import chain, moments
from certificate_descent import bound_of_descent
from certificate_folder import (
    Cells,
    Grid,
    anchors_of_clamp,
    anchors_of_units,
    apart,
    check,
    claimed_constant,
    form_of,
    gap_of,
    has_given_cells,
    names_of,
    network_of,
    suprema,
    target,
    within_range,
)
from certificate_formula import bound_of_formula
from certificate_interpreter import bound_of_interpreter
from certificate_kernel import bound_of_kernel_ridge
from certificate_network import bound_of_network_descent

SLACK = 0.03
"""A claim may be this much below what is derived here: suprema are known to a hundredth on either side."""

HALVINGS = 16
"""Halvings of a step over which a formula is steep without bound, as at the end of a root."""


# ---------------------------------------------------------------------------------------------------------------------
# One for each construction.


def constant(folder, letter, what, beyond=None):
    least, most = suprema(folder, what, beyond)
    given = claimed_constant(folder, letter)
    check(given >= least * (1 - SLACK), f"{letter} = {given} is refuted: {least:.4g} is reached")
    return min(most, given)


def bound_of_clamp(folder):
    c, intervals, heads, step = anchors_of_clamp(folder)
    return min(chain(c, intervals, heads)[0] * step, folder.task["high"] - folder.task["low"])


def strays(tree, x):
    """Points x, more of them where the formula is steep without bound, and how far it is from a line between neighbours at most."""
    for _ in range(HALVINGS):
        jet = formulas.enclose(tree, x[:-1, None], x[1:, None], {"x1": 0, "x1_1": 0})
        step = np.diff(x)
        with np.errstate(all="ignore"):
            parts = [
                jet.value.high - jet.value.low,
                (jet.gradient[0].high - jet.gradient[0].low) * step / 4,
                jet.second[0][0].most() * step**2 / 8,
            ]
            stray = np.fmin.reduce([np.broadcast_to(np.where(np.isnan(p), np.inf, p), len(step)) for p in parts]).max()
        steep = ~np.isfinite(np.broadcast_to(jet.gradient[0].most(), len(step)))
        if not steep.any():
            break
        x = np.sort(np.concatenate([x, ((x[:-1] + x[1:]) / 2)[steep]]))
    return x, stray


def bound_of_activation(folder):
    """On a fine lattice, and by what formula and head may do between its points."""
    low, high = (ends[0] for ends in folder.ends())
    cells = Cells(folder)
    unit, sharp, middle = cells.unit, cells.sharpness, folder.weights["layers.0.map.position"][0, 0]
    slopes, offsets, values = cells.slopes[:, 0], cells.offsets, cells.values[:, 0]
    count = 1 << 14
    x = np.linspace(low, high, count + 1)
    task = folder.task
    if "table" in task:
        wanted = np.interp(x, task["table"]["x"], task["table"]["y"])
        slope = np.abs(np.diff(task["table"]["y"]) / np.diff(task["table"]["x"])).max()
        stray = slope * (high - low) / count / 2
    else:
        tree = formulas.parse(task["outputs"][0])
        x, stray = strays(tree, x)
        wanted = np.broadcast_to(formulas.evaluate(tree, {"x1": x, "x1_1": x}), x.shape)
    head = np.empty_like(x)
    for part in np.array_split(np.arange(len(x)), 64):
        w = x[part] * unit + middle
        head[part] = reference.softmax(sharp * (w[:, None] * slopes + offsets)) @ values
    # |head''| is at most 4 c² (distance)⁻² max |V_k+1 − V_k| E |k − mean|³, and that at c ≥ 1 at most once.
    step = (high - low) * unit / count
    own = np.abs(np.diff(values)).max() * 4 * sharp**2 * step**2 / 8
    found = np.abs(head - wanted).max()
    return within_range(folder, found + stray + own, cells.values)


def bound_of_relu_network(folder):
    weights, bias, output, _ = network_of(folder)
    low, high = folder.ends()
    largest = np.maximum(weights * low, weights * high).sum(axis=1) + bias
    check(np.all(largest <= 1 + 1e-4), "hidden units are not normalised to 1")
    if form_of(folder) == "t2":
        beta = beta_of_gates(folder)
        one_signed = max(np.maximum(output, 0).sum(axis=1).max(), np.maximum(-output, 0).sum(axis=1).max())
        t, lowest = np.linspace(1.0, 1.6, 6001), np.minimum(weights * low, weights * high).sum(axis=1) + bias
        # However blunt, a gate gives between 0 and u', and half of it at most on the wrong side.
        return min((t / (1 + np.exp(t))).max() / beta, max(-lowest.min(), 1) / 2) * one_signed
    c, intervals, heads, step = anchors_of_units(folder)
    return min(chain(c, intervals, heads)[0] * step, 1) * np.abs(output).sum(axis=1).max()


def beta_of_gates(folder):
    heads = folder.layers[1].heads[0]
    return heads.query[0, 0] / math.sqrt(len(heads.query) / heads.count)


def mean_square(c, cells):
    """sup E (u − k)² over a line of so many cells, in units of one."""
    u = np.arange(-256, min(cells, 20) * 512 - 255) / 512
    mean, variance = moments(u, min(cells, 60), c)
    return (variance + (mean - u) ** 2).max()


def bound_of_grid(folder):
    grid = Grid(folder)
    spacing = math.sqrt(((grid.extents / grid.cells) ** 2).sum())
    lipschitz = constant(folder, "L", "slope")
    return within_range(folder, lipschitz * math.sqrt(mean_square(grid.sharpness, grid.cells)) * spacing, grid.values)


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


def moments_of_axis(c, per_axis, padding):
    """sup E (w − k)² and sup |w − E k| of one axis of a padded grid, in units of its cells."""
    per_axis = min(per_axis, 24)
    u = np.arange(-256, per_axis * 256 + 1) / 512
    mean, variance = moments(u + padding, per_axis + 2 * padding, c)
    off = np.abs(mean - padding - u)
    return (variance + off**2).max(), off.max()


def shares_of_axis(c, side, reach, count=4096):
    """Means over each cell of an axis of the weights of cells from `reach` before it to `reach` behind it, [side, 2 reach + 1]."""
    w = (np.arange(count) + 0.5) / count - 0.5
    found = np.zeros((side, 2 * reach + 1))
    for at in range(side):
        k = np.arange(max(at - reach - 6, 0), min(at + reach + 7, side))
        weights = reference.softmax(-c * (w[:, None] - (k - at)) ** 2).mean(axis=0)
        near = np.abs(k - at) <= reach
        found[at, k[near] - at + reach] = weights[near]
    return found


def in_the_mean(folder, power):
    """By Jensen's inequality: means of weights over cells times powers of how far values are from the formula's range there."""
    cells, d = Cells(folder), folder.d_in
    per_axis, padding, h = cells.grid(folder)
    low, c, side = folder.ends()[0][0], cells.sharpness, per_axis + 2 * padding
    trees = [formulas.parse(output) for output in folder.task["outputs"]]
    names = {f"x{j + 1}": j for j in range(d)} | {f"x1_{j + 1}": j for j in range(d)}
    # The first axis is the fastest.
    place = np.stack(np.unravel_index(np.arange(side**d), (side,) * d, order="F"), axis=-1)
    first = low + h * (place - padding)
    with np.errstate(all="ignore"):
        jets = [formulas.enclose(tree, first, first + h, names).value for tree in trees]
    ends = [np.stack([np.broadcast_to(getattr(jet, end), len(place)) for jet in jets], axis=-1) for end in ("low", "high")]
    span = (ends[1].max(axis=0) - ends[0].min(axis=0)).max()
    reach = next((r for r in (4, 3, 2, 1) if (2 * r + 1) ** d <= 6600), 1)
    shares, total = shares_of_axis(c, side, reach), np.zeros(len(place))
    for step in np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * d, indexing="ij"), axis=-1).reshape(-1, d):
        there = place + step
        good = ((there >= 0) & (there < side)).all(axis=1)
        at = np.ravel_multi_index(tuple(there[good].T), (side,) * d, order="F")
        value = cells.values[at]
        far = np.maximum(np.abs(value - ends[0][good]), np.abs(ends[1][good] - value)).max(axis=1)
        total[good] += np.prod([shares[place[good, j], step[j] + reach] for j in range(d)], axis=0) * np.minimum(far, span) ** power
    inside = ((place >= padding) & (place < per_axis + padding)).all(axis=1)
    beyond = min(d * sum(2 * math.exp(-c * ((m - 0.5) ** 2 - 0.25)) for m in range(reach + 1, reach + 60)), 1.0)
    return (total[inside].mean() + beyond * span**power) ** (1 / power)


def bound_of_max_affine(folder):
    cells, d = Cells(folder), folder.d_in
    if "norm" in folder.certificate:
        return in_the_mean(folder, folder.certificate["norm"])
    if has_given_cells(folder):
        return min((len(cells) - 1) * math.exp(-cells.sharpness * gap_of(folder)), 1) * np.ptp(cells.values, axis=0).max()
    per_axis, padding, h = cells.grid(folder)
    square, ripple = moments_of_axis(cells.sharpness, per_axis, padding)
    lipschitz = constant(folder, "L", "slope", padding * h)
    by_slope = within_range(folder, lipschitz * math.sqrt(d * square) * h, cells.values)
    if any(term["name"] == "curvature" for term in folder.certificate["bound"]["terms"]):
        curvature = constant(folder, "M", "bend", padding * h)
        return min(by_slope, lipschitz * math.sqrt(d) * ripple * h + curvature * d * square * h * h / 2)
    return by_slope


class Prefix:
    """Means over the prefix, and slopes of the formula, at many points of the circle or the sphere: suprema from below."""

    def __init__(self, folder):
        d = folder.d_in
        z, rng = folder.weights["layers.0.map.position"], np.random.default_rng(1)
        keys, self.values = z[folder.n :, d : 2 * d], z[folder.n :, 2 * d :]
        self.sharpness = lam = np.linalg.norm(keys, axis=1).mean()
        keys = keys / np.linalg.norm(keys, axis=1, keepdims=True)
        x = rng.normal(size=(1024, d))
        # Half of them near the poles, where a Fibonacci lattice is least even.
        x[512:] = x[512:] * math.sqrt(4 * math.pi / len(keys)) + np.sign(x[512:, -1:]) * np.eye(d)[-1]
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        cosine = np.clip(x @ keys.T, -1, 1)
        weights, angle = reference.softmax(lam * cosine), np.arccos(cosine)
        side = weights @ keys - (weights * cosine).sum(axis=1, keepdims=True) * x
        self.ripple = (np.linalg.norm(side, axis=1) + (weights * (angle - np.sin(angle))).sum(axis=1)).max()
        self.mean, self.square = (weights * angle).sum(axis=1).max(), (weights * angle**2).sum(axis=1).max()
        # The token itself has value 0.
        self.apart = max(apart(folder, self.values), np.abs(self.values).max())
        # Slopes along great circles between neighbours, which none that holds everywhere is below.
        self.slope = self.curve = 0.0
        for _ in range(8):
            t = np.linalg.qr(np.stack([x, rng.normal(size=x.shape)], axis=-1))[0][..., 1]
            ahead = [np.repeat((x * math.cos(a) + t * math.sin(a))[:, None], folder.n, axis=1) for a in (-1e-3, 0.0, 1e-3)]
            below, here, above = (target(folder, points)[:, 0] for points in ahead)
            self.slope = max(self.slope, (np.abs(above - below) / 2e-3).max())
            self.curve = max(self.curve, (np.abs(above - 2 * here + below) / 1e-6).max())


def bound_of_prefix(folder):
    prefix = Prefix(folder)
    by_slope = min(prefix.slope * prefix.mean, prefix.apart)
    if any(term["name"] == "curvature" for term in folder.certificate["bound"]["terms"]):
        return min(by_slope, prefix.slope * prefix.ripple + prefix.curve * prefix.square / 2)
    return by_slope


BOUNDS = {
    "truncated-linear": bound_of_clamp,
    "truncated-linear-heads": bound_of_clamp,
    "activation": bound_of_activation,
    "relu-network": bound_of_relu_network,
    "max-affine": bound_of_max_affine,
    "prefix": bound_of_prefix,
    "in-context-gd": bound_of_descent,
    "interpreter": bound_of_interpreter,
    "kernel-ridge": bound_of_kernel_ridge,
    "network-descent": bound_of_network_descent,
    "formula": bound_of_formula,
}


def is_grid(folder):
    """Whether a function of a sequence was looked up on a grid, by one layer; what was fitted takes more, or a softmax after it."""
    return folder.name == "seq2seq" and len(folder.layers) == 1 and folder.models[np.float64].network.softmax is None


def bound_of(folder):
    """What follows from weights and task at least."""
    if folder.name != "seq2seq":
        return BOUNDS[folder.name](folder)
    if is_grid(folder):
        return bound_of_grid(folder)
    compiled = bound_of_relu_network(folder)
    if folder.kind == "relu_network":
        return compiled
    # As claimed, if that can be proved; weights are rounded to float32.
    rounding = folder.certificate["rounding"]["value"]
    fit = next(term["value"] for term in folder.certificate["bound"]["terms"] if term["name"] == "fit")
    check(fit_is_within(folder, fit + rounding), f"that the fit is within {fit:.4g} everywhere does not follow")
    return compiled + fit
