"""A folder that `headway construct` wrote: its task, its weights, and what both say that the network computes.

Targets come from the task, or, where a task drew its numbers from a seed, from the weights. What a certificate says in words of target and
domain is written here a second time, from the task, and compared.
"""

from __future__ import annotations

import functools
import json
import math
import re
import tomllib
from pathlib import Path

import numpy as np

import formulas
import headway_reference as reference

RANDOM = 64
"""Random points beside the stored ones."""

ROUNDOFF = 2.0**-24
"""ε, half a unit in the last place of 1 in float32."""


class Problem(Exception):
    """Something in the folder is not what it claims to be."""


def check(condition, message):
    if not condition:
        raise Problem(message)


class Folder:
    def __init__(self, path):
        self.path = path = Path(path)
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
        self.interpreter = None
        """What prompts hold beside data, where they hold an algorithm."""

    @property
    def name(self):
        return self.certificate["construction"]

    def size(self, name):
        return int(self.certificate["sizes"][name])

    def ends(self):
        """Ends of every input number, [n · d_in] each; nothing on a sphere."""
        if self.kind in ("in_context_regression", "in_context_kernel"):
            high = np.tile([self.task["input"]["uniform"]["high"]] * self.task["d"] + [largest_label(self)], self.n)
            high[-1] = 0.0
            return -high, high
        if self.kind == "in_context_network":
            ends = {name: self.task[name]["uniform"]["high"] for name in ("weights", "outputs", "input")}
            units = [*[ends["weights"]] * self.task["d"], ends["outputs"]]
            data = [*[ends["input"]] * self.task["d"], largest_label(self)]
            high = np.array(units * self.task["units"] + data * (self.task["n_points"] + 1))
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
        stored, ends = self.points["inputs"].astype(float), None if self.interpreter else self.ends()
        if self.interpreter:
            more = np.concatenate(list(self.interpreter.inputs(RANDOM))).reshape(-1, self.n, self.d_in)
        elif ends is None:
            more = rng.normal(size=(RANDOM, self.n, self.d_in))
            more /= np.linalg.norm(more, axis=-1, keepdims=True)
        else:
            low, high = ends
            inside = rng.uniform(low, high, size=(RANDOM, len(low)))
            corners = np.where(rng.random((RANDOM // 4, len(low))) < 0.5, low, high)
            more = np.concatenate([inside, corners]).reshape(-1, self.n, self.d_in)
        if has_given_cells(self):
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
            return clamp(folder, x)
        case "relu_network" if "given" in task:
            return relu_network(x, *given_network(task))
        case "in_context_regression":
            return descent(x, task["gradient_descent"])
        case "in_context_kernel":
            return richardson(x, task)
        case "in_context_network":
            return trained(x, task)
        case "in_context_algorithm":
            return folder.interpreter.target(x)
    return None


def target_of_weights(folder, x):
    """The same where a seed drew it: by what the weights say that they compute."""
    if folder.kind == "truncated_linear":
        return clamp(folder, x.astype(float))
    return relu_network(x.astype(float), *network_of(folder))


def clamp(folder, x):
    w, t = forms_of(folder)
    return np.clip((w * x).sum(axis=-1) + t, folder.task["low"], folder.task["high"])[..., None]


def given_network(task):
    given = task["given"]
    return tuple(np.array(given[name]) for name in ("weights_in", "bias_in", "weights_out", "bias_out"))


def relu_network(x, weights_in, bias_in, weights_out, bias_out):
    y = np.maximum(x.reshape(len(x), -1) @ weights_in.T + bias_in, 0) @ weights_out.T + bias_out
    return y.reshape(len(x), x.shape[1], -1)


def loss_of(options):
    """Name of the loss that is descended on, and the threshold of Huber's."""
    loss = options.get("loss", "squared")
    return (loss, None) if isinstance(loss, str) else ("huber", loss["huber"].get("threshold", 0.5))


def descent(x, options):
    """w · x_q at the last position after steps of proximal gradient descent on the mean loss of the examples with penalties; 0 elsewhere."""
    inputs, labels, query = x[:, :-1, :-1], x[:, :-1, -1], x[:, -1, :-1]
    rate, (loss, threshold) = options["rate"], loss_of(options)
    slope = {
        "squared": lambda z: z - labels,
        "logistic": lambda z: 1 / (1 + np.exp(-z)) - (1 + labels) / 2,
        "huber": lambda z: np.clip(z - labels, -threshold, threshold),
    }[loss]
    w = np.zeros_like(query)
    for _ in range(options["steps"]):
        slopes = slope(np.einsum("bnd,bd->bn", inputs, w))
        w = w - rate * (np.einsum("bnd,bn->bd", inputs, slopes) / inputs.shape[1] + options.get("ridge", 0.0) * w)
        w = np.sign(w) * np.maximum(np.abs(w) - rate * options.get("lasso", 0.0), 0)
    y = np.zeros((*x.shape[:2], 1))
    y[:, -1, 0] = (w * query).sum(axis=-1)
    return y


def richardson(x, task):
    """Σ_i α_i k(x_i, x_q) at the last position, with α after steps of Richardson's iteration on (K + λ I) α = y; 0 elsewhere."""
    inputs, labels, options = x[..., :-1], x[:, :-1, -1], task["richardson"]
    apart = ((inputs[:, :, None] - inputs[:, None, :-1]) ** 2).sum(axis=-1)
    kernel = np.exp(-apart / (2 * task["bandwidth"] ** 2))  # [points, n, n - 1], the query's last
    alpha = np.zeros_like(labels)
    for _ in range(options["steps"]):
        residual = np.einsum("bij,bj->bi", kernel[:, :-1], alpha) + options["ridge"] * alpha - labels
        alpha = alpha - options["rate"] * residual
    y = np.zeros((*x.shape[:2], 1))
    y[:, -1, 0] = (kernel[:, -1] * alpha).sum(axis=-1)
    return y


def words_of_kernel_ridge(task):
    options = task["richardson"]
    iteration = f"{options['steps']} steps of Richardson's iteration from 0 at rate {options['rate']} on (K + {options['ridge']} I) alpha = y"
    kernel = f"k(x, x') = exp(-|x - x'|^2 / (2 s^2)), s = {task['bandwidth']}"
    return f"sum_i alpha_i k(x_i, x_q) after {iteration}, {kernel}"


def trained(x, task):
    """f(x_q) at the last position after steps of gradient descent of f(x) = Σ_j a_j tanh(w_j · x) on the examples; 0 elsewhere."""
    r = task["units"]
    w, a = x[:, :r, :-1], x[:, :r, -1]
    inputs, labels, query = x[:, r:-1, :-1], x[:, r:-1, -1], x[:, -1, :-1]
    for _ in range(task["steps"]):
        hidden = np.tanh(np.einsum("brd,bnd->bnr", w, inputs))
        off = np.einsum("bnr,br->bn", hidden, a) - labels
        by_output = np.einsum("bn,bnr->br", off, hidden) / inputs.shape[1]
        by_weight = np.einsum("bn,br,bnr,bnd->brd", off, a, 1 - hidden**2, inputs) / inputs.shape[1]
        w, a = w - task["rate"] * by_weight, a - task["rate"] * by_output
    y = np.zeros((*x.shape[:2], 1))
    y[:, -1, 0] = (a * np.tanh(np.einsum("brd,bd->br", w, query))).sum(axis=-1)
    return y


def words_of_network_descent(task):
    steps = f"{task['steps']} steps of gradient descent of w and a in the prompt at rate {task['rate']} on 1/(2N) sum (f(x_i) - y_i)^2"
    return f"f(x_q), f(x) = sum_j a_j tanh(w_j . x) of {task['units']} units, after {steps}"


def words_of_descent(options):
    loss, threshold = loss_of(options)
    ridge, lasso = options.get("ridge", 0.0), options.get("lasso", 0.0)
    mean = {
        "squared": "1/(2N) sum (w . x_i - y_i)^2",
        "logistic": "1/N sum (ln(1 + exp(w . x_i)) - (1 + y_i) w . x_i / 2)",
        "huber": f"1/N sum huber(w . x_i - y_i), linear beyond {threshold}",
    }[loss]
    proximal = "proximal " if lasso else ""
    penalties = (f" + {ridge} |w|^2/2" if ridge else "") + (f" + {lasso} |w|_1" if lasso else "")
    return f"w . x_q after {options['steps']} steps of {proximal}gradient descent from 0 at rate {options['rate']} on {mean}{penalties}"


def largest_label(folder):
    """The task's noise is a thirtieth of the largest label."""
    return 30 * folder.task["noise"]


def forms_of(folder):
    """w [n, d_in] and t [n] of a clamp: as given, or off the map or the queries."""
    n, d = folder.n, folder.d_in
    low, high = folder.task["low"], folder.task["high"]
    if "given" in folder.task:
        return tuple(np.array(folder.task["given"][name]) for name in ("weights", "offsets"))
    if is_causal(folder):
        probe = np.concatenate([np.zeros((1, d)), np.eye(d)])[:, None, :].repeat(n, axis=1)
        first = folder.layers[0](probe)[0][:, :n, 0]  # [1 + d, n]
        return (first[1:] - first[0]).T, first[0] + (low + high) / 2
    if folder.name == "truncated-linear":
        width = folder.weights["layers.0.heads.0.query.weight"].shape[1]
        weight = folder.weights["layers.0.map.project.weight"].reshape(-1, width, n, d)
        bias = folder.weights["layers.0.map.project.bias"].reshape(-1, width)
        return np.array([weight[i, 0, i] for i in range(n)]), bias[:n, 0] + (low + high) / 2
    # Head 0: 2 β w by the columns of x, 2 β (t − m) and β by those of positions, all times √2.
    query = folder.weights["layers.0.heads.0.query.weight"]
    position = query[:, -n:]
    factor = 2 * position[1, 0]
    step = (high - low) / (count_of_heads(folder.layers[0]) * (n - 1))
    w = query[0, :-n] / factor
    w = np.tile(w, (n, 1)) if len(w) == d else w.reshape(n, d)
    return w, position[0] / factor + low + step * (n - 1) / 2


def is_causal(folder):
    return len(folder.layers) > 1 and folder.name == "truncated-linear"


def count_of_heads(layer):
    return sum(heads.count for heads in layer.heads)


def network_of(folder):
    """The ReLU network of a folder: u' = A x + b off the first layer, y = C h + e off the last, in double precision."""
    layers, form = folder.layers, form_of(folder)
    flat = folder.n * folder.d_in
    probe = np.concatenate([np.zeros((1, flat)), np.eye(flat)]).reshape(-1, folder.n, folder.d_in)
    # Units stand in the columns of rows; without a causal mask there is one a row.
    first = layers[0].map(probe)[:, : layers[0].queries, :1] if form == "t1" else layers[0](probe)[0]
    rows, columns = first.shape[1:]
    first, units = first.reshape(len(first), -1), rows * columns
    shift = 0.5 if form == "s" else 0.0
    bias, weights = first[0, :units] + shift, (first[1:, :units] - first[0, :units]).T
    if form == "s":
        project = folder.models[np.float64].network.project
        return weights, bias, project.weight, project.bias
    probe = np.concatenate([np.zeros((1, units)), np.eye(units)]).reshape(-1, rows, columns)
    last = layers[-1](probe)[0][:, : folder.n].reshape(len(probe), -1)
    return weights, bias, (last[1:] - last[0]).T, last[0]


def form_of(folder):
    if folder.models[np.float64].network.project is not None:
        return "s"
    return "t1" if len(folder.layers) == 2 else "t2"


# ---------------------------------------------------------------------------------------------------------------------
# Attention to anchors, Δ apart on a line: c = β Δ², intervals of one head, heads in a row, Δ.


def anchors_of_clamp(folder):
    low, high = folder.task["low"], folder.task["high"]
    query = folder.weights[f"layers.{len(folder.layers) - 1}.heads.0.query.weight"]
    if folder.name == "truncated-linear-heads":
        intervals, heads = folder.n - 1, count_of_heads(folder.layers[0])
        beta = query[1, -1] / math.sqrt(2)
    else:
        beta, heads = query[1, 1] / math.sqrt(2), 1
        if is_causal(folder):
            anchors = folder.weights["layers.1.map.position"][folder.n :, 2]
        else:
            anchors = folder.weights["layers.0.map.project.bias"].reshape(-1, query.shape[1])[:, 2]
        intervals = round((high - low) / (anchors[1] - anchors[0]))
        even = np.linspace(low - high, high - low, intervals + 1) / 2
        check(np.allclose(anchors[: intervals + 1], even, rtol=0, atol=1e-6 * (high - low)), "the anchors are not evenly spaced")
    step = (high - low) / (intervals * heads)
    return beta * step**2, intervals, heads, step


def anchors_of_units(folder):
    """Of the hidden units of a ReLU network on [0, 1], by forms t1 and s."""
    if form_of(folder) == "t1":
        heads = count_of_heads(folder.layers[0])
        anchors = folder.weights["layers.0.map.project.bias"].reshape(-1, 4)[:, 2]
        intervals = round(1 / (heads * (anchors[1] - anchors[0])))
        beta = folder.weights["layers.0.heads.0.query.weight"][1, 1] / math.sqrt(2)
    else:
        scores, heads = folder.weights["readout.softmax.scores.weight"][:, 0], 1
        intervals = len(scores) - 1
        beta = np.diff(scores).mean() * intervals / 2
    step = 1 / (intervals * heads)
    return beta * step**2, intervals, heads, step


# ---------------------------------------------------------------------------------------------------------------------
# Attention to cells: rows (w, 1, slope, offset, value), one per position and one per cell, from which a token asks with σ (w, 1).


class Cells:
    """Off the weights: σ, 1/h, and slopes [cells, d], offsets [cells] and values [cells, d_out]."""

    def __init__(self, folder):
        z, d = folder.weights["layers.0.map.position"], folder.d_in
        layer = folder.layers[0]
        self.unit = folder.weights["layers.0.map.project.weight"][0, 0]
        key_width = layer.heads[0].query.shape[0]
        self.sharpness = folder.weights["layers.0.heads.0.query.weight"][d, d] / math.sqrt(key_width)
        self.crossed = layer.keys < len(z)
        answering = z[folder.n if self.crossed else 0 :]
        if folder.name == "activation":
            # Counted from the temperature: ⌈6/√c⌉ beyond both ends.
            low, high = (ends[0] for ends in folder.ends())
            self.intervals = round((high - low) * self.unit)
            self.padding = math.ceil(6 / math.sqrt(self.sharpness * (1 + 1e-6)))
            count = self.intervals + 2 * self.padding + 1
        else:
            count = folder.size("cells")
        check(0 < count <= len(answering), f"{count} cells do not fit into {len(answering)} rows")
        rest = np.delete(answering[count:], 2 * d + 1, axis=1)[:, d + 1 :]
        check(not rest.any(), f"there are more cells than the {count} that the certificate counts")
        cells = answering[:count]
        self.slopes, self.offsets, self.values = cells[:, d + 1 : 2 * d + 1], cells[:, 2 * d + 1], cells[:, 2 * d + 2 :]

    def __len__(self):
        return len(self.offsets)

    def grid(self, folder):
        """Cells per axis of the cube, cells beyond each of its faces, and their side h."""
        low, high = (ends[0] for ends in folder.ends())
        per_axis = round((high - low) * self.unit)
        side = round(len(self) ** (1 / folder.d_in))
        check(side**folder.d_in == len(self) and (side - per_axis) % 2 == 0, f"{len(self)} cells are no grid around {per_axis} per axis")
        return per_axis, (side - per_axis) // 2, (high - low) / per_axis


class Grid:
    """One head over a grid of the whole sequence: rows (x, 1, square, value), one that asks and one for each cell."""

    def __init__(self, folder):
        low, high = folder.ends()
        self.extents, numbers = high - low, len(low)
        width = numbers + 2 + folder.n * folder.d_out
        unit = folder.weights["layers.0.map.project.weight"].reshape(-1, width, numbers)[0, 0, 0]
        self.cells = round(self.extents[0] * unit)
        self.values = folder.weights["layers.0.map.project.bias"].reshape(-1, width)[1:, numbers + 2 :]
        self.sharpness = folder.layers[0].heads[0].query[-1, numbers] / math.sqrt(numbers + 1)
        check(len(self.values) == self.cells**numbers, f"there are {len(self.values)} cells, not {self.cells} per number")


def has_given_cells(folder):
    return folder.name == "max-affine" and "G" not in folder.certificate["sizes"]


def gap_of(folder):
    """By how much a cell must lead for the promise to hold. Neither weights nor task know it: where it is less, a larger bound follows."""
    said = re.search(r"exceeds all others by ([-+.\deE]+) at least$", folder.certificate["domain"])
    check(said, "the domain says of given cells by how much the largest score exceeds all others")
    return float(said[1])


# ---------------------------------------------------------------------------------------------------------------------
# Formulas of the task over boxes.


def names_of(folder):
    """Variables of every position in a box of the whole sequence."""
    every = {f"x{i + 1}_{j + 1}": i * folder.d_in + j for i in range(folder.n) for j in range(folder.d_in)}
    own = lambda i: {f"x{j + 1}": i * folder.d_in + j for j in range(folder.d_in)}  # noqa: E731
    return [every | own(i) | {"i": float(i + 1)} for i in range(folder.n)]


@functools.cache
def suprema(folder, what, beyond=None):
    """sup over all outputs of slope, bend or size: least and most; of one position, on a cube that is larger by `beyond`, or of all."""
    trees = [formulas.parse(output) for output in folder.task["outputs"]]
    low, high = folder.ends()
    names = names_of(folder)
    if beyond is not None:
        d = folder.d_in
        low, high, names = low[:d] - beyond, high[:d] + beyond, [{f"x{j + 1}": j for j in range(d)}]

    def bounds(a, b):
        pairs = [getattr(formulas.enclose(tree, a, b, table), what)() for tree in trees for table in names]
        return np.maximum.reduce([np.broadcast_to(p[0], len(a)) for p in pairs]), np.maximum.reduce(
            [np.broadcast_to(p[1], len(a)) for p in pairs]
        )

    return formulas.supremum(bounds, low, high)


@functools.cache
def extent(folder, every_position):
    """sup f − inf f of the output number where that is most, from below; of positions that are all alike, or of the whole sequence."""
    (low, high), names = folder.ends(), names_of(folder)
    if not every_position:
        low, high, names = low[: folder.d_in], high[: folder.d_in], names[:1]

    def over(tree, table):
        whole = formulas.enclose(tree, low[None], high[None], table).value
        floor, roof = np.min(whole.low), np.max(whole.high)
        if not np.isfinite(roof - floor):
            return 0.0

        def above(a, b):
            value = formulas.enclose(tree, a, b, table).value
            return value.high - floor, value.low - floor

        def below(a, b):
            value = formulas.enclose(tree, a, b, table).value
            return roof - value.low, roof - value.high

        return sum(formulas.supremum(side, low, high)[0] for side in (above, below)) - (roof - floor)

    return max(over(formulas.parse(text), table) for text in folder.task["outputs"] for table in names)


def apart(folder, values):
    """How far a mean of values [keys, outputs] may be from a target, whatever the weights, by the targets that are stored: from below."""
    seen = np.concatenate([values, folder.points["targets"].astype(float).reshape(-1, values.shape[1])])
    # Both are stored in float32.
    return max(np.ptp(seen, axis=0).max() - 4 * ROUNDOFF * np.abs(seen).max(), 0.0)


def within_range(folder, error, values, already=0.0):
    """An error, or what is left beside another of how far a mean of values and a target are apart at most, where that is less."""
    seen = apart(folder, values) - already
    if error > seen and "table" not in folder.task:
        # Somewhere between the points the function may reach farther.
        seen = max(seen, extent(folder, folder.name == "seq2seq") * (1 - 1e-9) - already)
    return min(error, max(seen, 0.0))


def claimed_constant(folder, letter):
    """A constant that was given, off the certificate: the claim is then under the condition that it is true."""
    for term in folder.certificate["bound"]["terms"]:
        found = re.search(rf"\b{letter} = ([-+.\deE]+) \(as given\)", term["formula"])
        if term.get("basis") == "given" and found:
            return float(found[1])
    return math.inf


# ---------------------------------------------------------------------------------------------------------------------
# What a certificate says in words.


def expected_target(folder):
    task, name = folder.task, folder.name
    match folder.kind:
        case "truncated_linear":
            return f"y_i = clamp(w_i . x_i + t_i, {task['low']}, {task['high']})"
        case "in_context_regression":
            return words_of_descent(task["gradient_descent"])
        case "in_context_kernel":
            return words_of_kernel_ridge(task)
        case "in_context_network":
            return words_of_network_descent(task)
        case "in_context_algorithm":
            return folder.interpreter.text()
        case "relu_network":
            units = len(task["given"]["bias_in"]) if "given" in task else task["d_hidden"]
            return f"Y = W2 relu(W1 vec(X) + b1) + b2 with {units} hidden units" + misses_of_samples(folder)
    if "table" in task:
        function = f"straight lines through {len(task['table']['x'])} points, constant beyond"
    else:
        function = ", ".join(task["outputs"])
    if name == "activation":
        return f"y_i = {function} of every number"
    if name == "prefix":
        y = "y = f(x / |x|)" if folder.n == 1 else "y_i = f(x_i / |x_i|)"
        return f"{y} on the {'circle' if folder.d_in == 2 else 'sphere'}, f(x) = {function}"
    if name == "max-affine":
        attention = "cross-attention" if Cells(folder).crossed else "self-attention"
        if has_given_cells(folder):
            return f"y_i = value of the cell with the largest a_k . x_i + b_k, by {attention}"
        return f"y_i = f(x_i) by {attention}, f(x) = {function}"
    return function


def misses_of_samples(folder):
    """How far a network is off that was fitted to samples: known from them alone, and no part of what is promised."""
    said = re.search(r", off by \S+ at \d+ held-out samples and by \S+ at the \d+ fitted ones$", folder.certificate["target"])
    return said[0] if said and folder.name == "seq2seq" else ""


def expected_domain(folder):
    if folder.interpreter:
        return folder.interpreter.domain()
    ends, d = folder.ends(), folder.d_in
    if ends is None:
        return "every position a point of the unit circle" if d == 2 else f"every position a unit vector of {d} numbers"
    low, high = ends
    if has_given_cells(folder):
        box = f"[{low[0]}, {high[0]}]^{d}"
        return f"every position a point of {box} whose largest score exceeds all others by {gap_of(folder)} at least"
    if np.ptp(low) == np.ptp(high) == 0:
        return f"each of the {len(low)} input numbers in [{low[0]}, {high[0]}]"
    return f"a box of {len(low)} input numbers within [{low.min()}, {high.max()}]"


NUMBER = re.compile(r"[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?")


def same_text(one, other):
    """Whether two texts differ in nothing but how they write their numbers."""
    numbers = [list(map(float, NUMBER.findall(text))) for text in (one, other)]
    return NUMBER.sub("#", one) == NUMBER.sub("#", other) and np.allclose(*numbers, rtol=1e-9, atol=0)


def check_texts(folder):
    # The name of a built-in function may stand before its formulas.
    named = folder.certificate["target"]
    named = re.sub(r"\b[a-z]\w*: ", "", named, count=1) if folder.kind == "function" else named
    for what, said, expected in (
        ("target", named, expected_target(folder)),
        ("domain", folder.certificate["domain"], expected_domain(folder)),
    ):
        check(same_text(said, expected), f"the {what} is said to be `{said}`, but that of the task is `{expected}`")


def check_points(folder):
    """The stored points lie in the domain, but for how float32 rounds them."""
    if folder.interpreter:
        folder.interpreter.check_points()
        return
    x, ends = folder.points["inputs"].astype(float), folder.ends()
    if ends is None:
        inside = np.abs(np.linalg.norm(x, axis=-1) - 1) <= 1e-6
    else:
        (low, high), flat = ends, x.reshape(len(x), -1)
        slack = 1e-6 * np.maximum(np.abs(low), np.abs(high))
        inside = (low - slack <= flat) & (flat <= high + slack)
    check(inside.all(), "stored points lie outside the domain")
    if has_given_cells(folder) and len(cells := Cells(folder)) > 1:
        scores = np.sort(x @ cells.slopes.T + cells.offsets, axis=-1)
        lead, slack = scores[..., -1] - scores[..., -2], 1e-6 * np.abs(scores).max()
        check((lead >= gap_of(folder) - slack).all(), "stored points lie outside the domain: a cell leads by less than the gap")
