"""What float32 adds to a constructed network at most, derived anew, term by term, from the weights and the task.

Every sum may be taken in any order: n roundings one after the other count γ_n = n ε / (1 − n ε), ε = 2⁻²⁴. The formulas are those of
docs/theory; sizes, temperatures and values in them are read off the weights, slopes are those of the task's formula. Suprema are taken
from below, over lattices and boxes, so that nothing here is above what its formula says: a term that is stated below it is too small.

What does not count here is `rounding_likely`, which proves nothing.
"""

from __future__ import annotations

import math

import numpy as np

from certificate_anchors import chain, moments
from certificate_bounds import Prefix, beta_of_gates, is_grid, mean_square, moments_of_axis
from certificate_descent import rounding_of_descent
from certificate_folder import (
    ROUNDOFF,
    Cells,
    Grid,
    Problem,
    anchors_of_clamp,
    anchors_of_units,
    check,
    claimed_constant,
    form_of,
    forms_of,
    gap_of,
    has_given_cells,
    is_causal,
    network_of,
    suprema,
    within_range,
)
from certificate_formula import of_formula
from certificate_interpreter import rounding_of_interpreter
from certificate_kernel import rounding_of_kernel_ridge
from certificate_network import rounding_of_network_descent

CLOSE = 1e-4
"""A term may be this much of itself below what is derived here: weights are read as float32 rounded them, by 6e-8 of themselves, which
logarithms of up to 80 make 5e-6 of a weight, and differences of biases as many times more as digits cancel."""


def any_order(n):
    """γ_n"""
    return n * ROUNDOFF / (1 - n * ROUNDOFF) if n * ROUNDOFF < 1 else math.inf


def felt(c):
    """Keys per axis whose weight at sharpness c is above e⁻¹⁷ of the largest: others are below one rounding."""
    return 2 * math.ceil(math.sqrt(17 / c) - 1e-6) + 1


def of_values(keys, largest):
    """Roundings of values, of the sum over so many of them, and of the sum that weights are divided by."""
    return (2 * keys + 8) * ROUNDOFF * largest


def moved(spread, noise):
    """Noise γ in the scores moves Σ P_k V_k by Σ P_k |V_k − mean| (e^2γ − 1)/2 at most."""
    with np.errstate(over="ignore"):
        return float(spread * np.expm1(2 * noise) / 2) if spread > 0 else 0.0


def of_scores_to_anchors(c, intervals, heads, step):
    """A score within Δ of the winner has terms of c p²/2 and c p²/4 and as much in their sum; whatever it is, heads give means of anchors."""
    return min(moved(chain(c, intervals, heads)[1] * step, 2.25 * ROUNDOFF * c * intervals**2), step * intervals)


def beside_the_bound(folder, error, values):
    """An error, or what the bound leaves of how far a mean of values and a target are apart at most: no rounding counts beyond that."""
    return within_range(folder, error, values, folder.claimed()[0])


# ---------------------------------------------------------------------------------------------------------------------
# One for each construction: terms by name, as a certificate names them.


def of_clamp(folder):
    c, intervals, heads, step = anchors_of_clamp(folder)
    low, high = folder.task["low"], folder.task["high"]
    w, t = forms_of(folder)
    reach, largest = folder.ends()[1].max(), max(abs(low), abs(high))
    form = np.abs(w).sum(axis=1) * reach + np.abs(t) + abs(low + high) / 2
    terms = {
        "scores": of_scores_to_anchors(c, intervals, heads, step),
        "linear form": (folder.d_in + 3) * ROUNDOFF * form.max(),
        "values": of_values(felt(c), largest),
    }
    if is_causal(folder):
        mixed = of_mixing(folder.layers[0], folder.d_in, folder.n, (-reach, reach)).max()
        terms["linear form"] = mixed + 4 * ROUNDOFF * form.max()
    if folder.name == "truncated-linear-heads":
        # Two heads at a seam see the form, values count from each head's own end, and full heads add up.
        terms["linear form"] *= 2
        terms["values"] = of_values(felt(c), largest + high - low)
        terms["sum over heads"] = (heads - 1) * ROUNDOFF * max(largest, high - low)
    return terms


def of_activation(folder):
    cells = Cells(folder)
    c, padding, p, values = cells.sharpness, cells.padding, cells.intervals, cells.values[:, 0]
    low, high = (ends[0] for ends in folder.ends())
    spacing = (high - low) / p
    steps, reach = np.abs(np.diff(values)), math.sqrt(40 / c) + 1
    variance = moments(padding + np.arange(512) / 512, 2 * padding + 2, c)[1].max()
    scores = []
    for cell in range(p + 1):
        u = abs(cell - p // 2) + 1
        key = u + reach
        noise = ROUNDOFF * (c * (2 * u * key + key**2 + max(u, reach) ** 2) + 16)
        scores.append(moved(math.sqrt(variance) * steps[cell : cell + 2 * padding + 1].max(), noise))
    size, middle = max(abs(low), abs(high)) / spacing, abs(low + spacing * (p // 2)) / spacing
    shift = ROUNDOFF * (3 * size + 2 * middle + 3 * -(-p // 2))
    return {
        "scores": beside_the_bound(folder, max(scores), cells.values),
        "input": beside_the_bound(folder, 2 * c * variance * steps.max() * shift, cells.values),
        "values": of_values(felt(c), np.abs(values).max()),
    }


def slope_of(folder, beyond=None):
    """L from below, or as given."""
    return min(suprema(folder, "slope", beyond)[0], claimed_constant(folder, "L"))


def of_grid_of_sequence(folder):
    grid, (low, high) = Grid(folder), folder.ends()
    c, count, numbers = grid.sharpness, grid.cells, len(low)
    slope = slope_of(folder)
    spread = slope * math.sqrt(mean_square(c, count) * ((grid.extents / count) ** 2).sum())
    noise = ROUNDOFF * (0.75 * c * count**2 * numbers * (3 + numbers) + 30)
    inputs = 6 * ROUNDOFF * np.linalg.norm(np.maximum(np.abs(low), np.abs(high)))
    return {
        "scores": beside_the_bound(folder, moved(2 * spread, noise), grid.values),
        "input in units of cells": beside_the_bound(folder, slope * inputs, grid.values),
        "values": of_values(min(count, 7) ** numbers, np.abs(grid.values).max()),
    }


def of_mean(folder):
    """Of a grid whose error is one in the mean: a head gives means of values, which are this far apart at most."""
    cells, d = Cells(folder), folder.d_in
    per_axis, padding, h = cells.grid(folder)
    c, rho = cells.sharpness, math.sqrt(moments_of_axis(cells.sharpness, per_axis, padding)[0])
    low, high = (ends[0] for ends in folder.ends())
    token, cell = per_axis / 2, per_axis / 2 + padding
    noise = ROUNDOFF * (c * (d + 2) * d * (2 * token * cell + cell**2) + 16)
    shift = ROUNDOFF * ((3 * max(abs(low), abs(high)) + abs(low + high)) / h + 3 * token)
    span, largest = np.ptp(cells.values, axis=0).max(), np.abs(cells.values).max()
    return {
        "scores": min(moved(2 * folder.claimed()[0], noise), span),
        "input": min(d * c * rho * span * shift, span),
        "values": of_values(min(len(cells), felt(c) ** d), largest),
    }


def of_max_affine(folder):
    if "norm" in folder.certificate:
        return of_mean(folder)
    cells, d = Cells(folder), folder.d_in
    low, high = (ends[0] for ends in folder.ends())
    c, largest, reach = cells.sharpness, np.abs(cells.values).max(), max(abs(low), abs(high))
    if has_given_cells(folder):
        lead, others = c * gap_of(folder), len(cells) - 1
        spread = np.ptp(cells.values, axis=0).max()
        score = (np.abs(cells.slopes).sum(axis=1) * reach + np.abs(cells.offsets)).max()
        noise = ROUNDOFF * ((d + 6) * c * score + 16)
        keys = 1 + math.ceil(others * min(math.exp(17 - lead), 1) * (1 - CLOSE))
        return {
            "scores": min(moved(2 * others * math.exp(-lead) * spread, noise), spread),
            "values": of_values(keys, largest),
        }
    per_axis, padding, h = cells.grid(folder)
    slope = slope_of(folder, padding * h) * math.sqrt(d) * h
    square, _ = moments_of_axis(c, per_axis, padding)
    token, cell = per_axis / 2, per_axis / 2 + padding
    noise = ROUNDOFF * (c * (d + 2) * d * (2 * token * cell + cell**2) + 16)
    shift = ROUNDOFF * ((3 * reach + abs(low + high)) / h + 3 * token)
    return {
        "scores": beside_the_bound(folder, moved(2 * slope * math.sqrt(square), noise), cells.values),
        "input": beside_the_bound(folder, d * 2 * c * square * slope * shift, cells.values),
        "values": of_values(min(len(cells), felt(c) ** d), largest),
    }


def of_prefix(folder):
    prefix, d = Prefix(folder), folder.d_in
    lam, count = prefix.sharpness, len(prefix.values)
    slope = min(prefix.slope, claimed_constant(folder, "L"))
    noise = ROUNDOFF * (lam * (d + 4) * math.sqrt(d) + 16)
    if d == 2:
        keys = felt(lam / 2 * (2 * math.pi / count) ** 2)
    else:
        # Points within the radius at which weights fall below a rounding; on a lattice that is no square, half as many again.
        keys = min(1.5 * math.pi * (17 / (lam / 2 * 4 * math.pi / count) + 1) + 8, count)
    return {
        "scores": min(moved(2 * slope * math.sqrt(prefix.square), noise), max(prefix.apart - folder.claimed()[0], 0.0)),
        "input": 4 * ROUNDOFF * slope,
        "values": of_values(keys, np.abs(prefix.values).max()),
    }


# ---------------------------------------------------------------------------------------------------------------------
# ReLU networks: mixing by logarithms of weights, gates, anchors.


def largest_partial_sums(sizes):
    """Along the last axis, roundings of a sum of these sizes in the worst of all orders: every addition rounds what was added up before."""
    falling = -np.sort(-sizes, axis=-1)
    return (np.cumsum(falling, axis=-1) * (falling > 0))[..., 1:].sum(axis=-1)


def of_mixing(layer, width, keys, interval):
    """Of heads whose softmax weights are numbers of a matrix: what float32 adds to each output number, [queries, d_out].

    Of its rows [rows, width], `keys` hold data, then come those of bias and null; all values lie within `interval`, which holds 0.
    """
    low, high = interval
    reach = max(-low, high)
    # Queries and keys read labels only, so that any rows show the weights. [heads, queries, rows]
    pattern = layer(np.zeros((1, 1, width)))[1][0]
    outputs = np.concatenate([heads.output for heads in layer.heads], axis=1)  # [d_out, heads]
    check(outputs.shape[1] == len(pattern), "a head that mixes has one value")
    top = pattern.max(axis=-1, keepdims=True)
    weights = np.where(pattern > top * np.exp(-79.5), pattern, 0.0)
    scores = np.log(np.where(weights > 0, weights / top, 1.0))
    total = 1 - weights[..., keys + 1]  # without the null row
    # What all scores of a row share, and what each has for itself: exponentials of 6 + 4 |s|, products and factors of 3 |s|.
    mean = (weights * scores).sum(axis=-1, keepdims=True)
    shared = (weights * np.abs(scores - mean)).sum(axis=-1) * 3 / 2
    own = np.sqrt((weights * (6 - 7 * scores) ** 2).sum(axis=-1))
    sums = largest_partial_sums(weights[..., : keys + 1]) + total * (largest_partial_sums(weights) + 4)
    off = (high - low) * shared + own * np.minimum((high - low) / 2, reach * np.sqrt(total)) + reach * sums  # [heads, queries]
    scales = np.abs(outputs)
    off = np.einsum("oh,hq->qo", scales, np.where(total > 0, off, 0.0))
    written = np.einsum("oh,hq->qoh", scales, total * reach)
    return ROUNDOFF * (off + 2 * written.sum(axis=-1) + largest_partial_sums(written)) * 1.001


def placed(folder):
    """Columns and rows in which units stand before they are scattered."""
    layer = folder.layers[-2]
    return layer.heads[0].output.shape[0], layer.queries


def of_relu_network(folder):
    weights, bias, output, shift = network_of(folder)
    form, (low, high) = form_of(folder), folder.ends()
    through = lambda units: (np.abs(output) @ np.broadcast_to(units, len(bias))).max()  # noqa: E731
    total, flat = through(1.0), len(low)
    scatter = lambda: of_mixing(folder.layers[-1], *placed(folder), (0.0, 1.0)).max()  # noqa: E731
    if form == "t1":
        c, intervals, heads, step = anchors_of_units(folder)
        product = (np.abs(weights) @ np.maximum(np.abs(low), np.abs(high)) + np.abs(bias)) * any_order(flat + 2)
        return {
            "linear form": through(product + any_order(3)),
            "scores": total * of_scores_to_anchors(c, intervals, heads, step),
            "sum over heads": total * (of_values(felt(c), 1) + ROUNDOFF * heads),
            "scatter": scatter(),
        }
    middle = ((low + high) / 2).astype(np.float32)
    half = np.maximum(high - middle, middle - low).max()
    gathered = of_mixing(folder.layers[0], folder.d_in, folder.n, (-half, half)).reshape(-1)
    gather = through(gathered + half * np.abs(weights).sum(axis=1) * any_order(1))
    if form == "s":
        c, intervals, heads, step = anchors_of_units(folder)
        sums = (total + np.abs(shift).max()) * any_order(len(bias) + 2)
        return {
            "gather": gather,
            "scores": total * of_scores_to_anchors(c, intervals, heads, step),
            "readout": through(any_order(2 * felt(c) + 8)) + sums,
        }
    beta = beta_of_gates(folder)
    return {
        "gather": gather,
        "gates": total * ROUNDOFF * (0.224 * (8 * 64 + 16) + 4 * 0.44) / beta + through(any_order(4)),
        "scatter": scatter() * (1 + 0.278465 / beta),
    }


ROUNDINGS = {
    "truncated-linear": of_clamp,
    "truncated-linear-heads": of_clamp,
    "activation": of_activation,
    "relu-network": of_relu_network,
    "max-affine": of_max_affine,
    "prefix": of_prefix,
    "in-context-gd": rounding_of_descent,
    "interpreter": rounding_of_interpreter,
    "kernel-ridge": rounding_of_kernel_ridge,
    "network-descent": rounding_of_network_descent,
    "formula": of_formula,
}


def rounding_of(folder):
    """Terms by name."""
    if folder.name == "seq2seq":
        return of_grid_of_sequence(folder) if is_grid(folder) else of_relu_network(folder)
    return ROUNDINGS[folder.name](folder)


def check_rounding(folder):
    """Compares what a certificate states with what follows; the sum of the latter."""
    stated = {term["name"]: term["value"] for term in folder.certificate["rounding"]["terms"]}
    follows = rounding_of(folder)
    for name, least in follows.items():
        if name not in stated:
            raise Problem(f"rounding: the term `{name}` is missing, {least:.4g} follows from the weights")
        check(
            stated[name] >= least * (1 - CLOSE),
            f"rounding: the term `{name}` is stated as {stated[name]:.4g} where {least:.4g} follows from the weights",
        )
    return sum(follows.values())
