"""Target, domain, bound and rounding of the interpreter: one network, and the algorithms that its prompts hold.

The tables of every algorithm are computed here a second time, from the task; stored prompts must hold one of them. What tables are off by is found
on lattices, scales are read off the weights, and what is known of iterates is that of gradient descent in context: docs/theory/interpreter.md.
"""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np

from certificate_anchors import chain
from certificate_descent import Descent
from certificate_folder import ROUNDOFF, check, descent, largest_label
from certificate_formula import Head

AT_KINKS, SMOOTH = 2.75, 0.5
"""c of tables of clamps, and of smooth functions."""
BEYOND = 9
"""Anchors of a smooth function beyond either end of its range."""
SPARE = 40
"""Anchors beyond either end of a table while its values are corrected."""
NULL = 24
"""Score of the empty row beside examples."""
LOGISTIC_BEND = 1 / (6 * math.sqrt(3))
SHIFT, BIAS, SLOPE_KEY, STEP_KEY, OFFSET, VALUE, SECOND = range(7)
"""Columns of a row behind x."""


def options_of(task, name):
    """The algorithm as keys of `gradient_descent`."""
    options = {"steps": task["steps"], "rate": task["rate"]}
    if name == "ridge":
        options["ridge"] = task["ridge"]
    if name in ("lasso", "sparse_logistic"):
        options["lasso"] = task["lasso"]
    if name == "huber":
        options["loss"] = {"huber": {"threshold": task["threshold"]}}
    if name in ("logistic", "sparse_logistic"):
        options |= {"loss": "logistic", "rate": 4 * task["rate"]}
    return options


def short(number):
    """The number with 16 bits."""
    unit = 2.0 ** (math.floor(math.log2(number)) - 15)
    return round(number / unit) * unit


class Table:
    """A function at anchors: f over ± reach for c = 1/2, or factor · clamp(u, −end, end) for c = 2.75."""

    def __init__(self, c, spacing, values, intervals):
        self.c, self.spacing, self.intervals = c, spacing, intervals
        self.k = np.arange(intervals + 1) - intervals // 2
        self.values = values(self.k * spacing)

    @classmethod
    def clamp(cls, end, factor, intervals):
        table = cls(AT_KINKS, 2 * AT_KINKS / short(AT_KINKS * intervals / end), lambda u: factor * u, intervals)
        spread, last = chain(AT_KINKS, intervals, 1), table.spacing * intervals / 2
        table.largest = factor * max(last, end)
        table.error = factor * (spread[0] * table.spacing + abs(last - end))
        noise = 2.25 * ROUNDOFF * AT_KINKS * intervals**2
        felt = 2 * math.ceil(math.sqrt(17 / AT_KINKS)) + 1
        table.noise = factor * spread[1] * table.spacing * math.expm1(2 * noise) / 2 + (2 * felt + 8) * ROUNDOFF * table.largest
        table.slope, table.reach = factor * AT_KINKS / 2, math.inf
        return table

    @classmethod
    def smooth(cls, f, bend, reach, intervals):
        table = cls(SMOOTH, 2 * SMOOTH / short(SMOOTH * (intervals - 2 * BEYOND) / reach), f, intervals)
        # With more anchors at first, since ends of a table spoil values near them.
        k = np.arange(intervals + 2 * SPARE + 1) - intervals // 2 - SPARE
        weights = np.exp(-SMOOTH * (k[:, None] - k) ** 2)
        weights /= weights.sum(axis=1, keepdims=True)
        wanted = corrected = f(k * table.spacing)
        for _ in range(40):
            corrected = corrected + wanted - weights @ corrected
        table.values = corrected[SPARE:-SPARE]
        values = table.values.astype(np.float32).astype(float)
        head = Head(values, BEYOND)
        place = (head.u - intervals // 2) * table.spacing
        table.largest = np.abs(values).max()
        table.error = np.abs(head.found - f(place)).max() + (bend * table.spacing**2 + head.bend) / (8 * 64**2)
        table.noise = sum(head.noise())
        table.slope, table.reach = head.slope / table.spacing, (intervals // 2 - BEYOND) * table.spacing
        return table

    @classmethod
    def nothing(cls, like):
        """Values of 0 at the anchors of another table, or at any."""
        return SimpleNamespace(
            c=like.c, spacing=like.spacing, k=like.k, values=0 * like.k, error=0.0, noise=0.0, slope=0.0, largest=0.0, reach=math.inf
        )


class Algorithm:
    """One of them: its tables, the rows of its prompts, and what is known of its iterates."""

    def __init__(self, folder, name):
        task, self.name, self.options = folder.task, name, options_of(folder.task, name)
        self.y = largest_label(folder)
        rate, ridge, lasso = (self.options.get(key, 0.0) for key in ("rate", "ridge", "lasso"))
        p, reach = task["intervals"], task["reach"]
        self.is_logistic = self.options.get("loss") == "logistic"
        if self.is_logistic:
            self.slopes = Table.smooth(lambda u: rate * np.tanh(u / 2) / 2, rate * LOGISTIC_BEND, reach, p)
        elif name == "huber":
            self.slopes = Table.clamp(task["threshold"], rate, p)
        else:
            self.slopes = Table.smooth(lambda u: rate * u, 0.0, reach, p)
        if lasso:
            self.steps = [Table.clamp(rate * lasso, 1.0, p)] * 2
        elif ridge:
            decay = Table.smooth(lambda v: rate * ridge * v, 0.0, reach, p)
            self.steps = [Table.nothing(decay), decay]
        else:
            self.steps = [Table.nothing(Table(SMOOTH, 1.0, lambda u: u, p))] * 2
        described = {"d": task["d"], "n_points": task["n_points"], "gradient_descent": self.options, "input": task["input"], "noise": task["noise"]}
        self.descent = Descent(SimpleNamespace(task=described, layers=folder.layers))

    def tables(self, d):
        """The rows of both, as float32 holds them."""
        rows = np.zeros((2 * len(self.slopes.k), d + 7))
        half = len(self.slopes.k)
        for part, key, table in ((rows[:half], SLOPE_KEY, self.slopes), (rows[half:], STEP_KEY, self.steps[0])):
            part[:, d + key] = 2 * table.c / table.spacing * table.k
            part[:, d + OFFSET] = -table.c * table.k**2
            part[:, d + VALUE] = table.values
        rows[half:, d + SECOND] = self.steps[1].values
        return rows.astype(np.float32).astype(float)

    def label(self):
        """Column of a label, and its factor."""
        return (BIAS, self.options["rate"] / 2) if self.is_logistic else (SHIFT, 1.0)


class Interpreter:
    def __init__(self, folder):
        self.folder, self.d, self.n = folder, folder.task["d"], folder.task["n_points"]
        self.algorithms = [Algorithm(folder, name) for name in folder.task["algorithms"]]
        self.tables = [algorithm.tables(self.d) for algorithm in self.algorithms]
        self.behind = len(self.tables[0])

    def boxes(self):
        """Ends of every number of a prompt, one pair per algorithm."""
        x = self.folder.task["input"]["uniform"]["high"]
        for algorithm, tables in zip(self.algorithms, self.tables):
            data = np.zeros((self.n + 1, self.d + 7))
            data[:, : self.d] = x
            column, factor = algorithm.label()
            data[:-1, self.d + column] = factor * algorithm.y
            yield tuple(np.concatenate([tables, sign * data]).ravel() for sign in (-1, 1))

    def which(self, x):
        """The algorithm of each prompt; raises where tables are of none."""
        found = np.full(len(x), -1)
        for at, tables in enumerate(self.tables):
            held = np.isclose(x[:, : self.behind], tables, rtol=1e-5, atol=1e-6 * np.abs(tables).max(axis=0)).all(axis=(1, 2))
            found[held] = at
        check((found >= 0).all(), "stored points hold tables that are not those of an algorithm of the task")
        return found

    def check_points(self):
        x = self.folder.points["inputs"].astype(float)
        for (low, high), is_one in zip(self.boxes(), (self.which(x) == np.arange(len(self.algorithms))[:, None])):
            flat = x.reshape(len(x), -1)[is_one]
            slack = 1e-5 * np.maximum(np.abs(low), np.abs(high)) + 1e-9
            check(((low - slack <= flat) & (flat <= high + slack)).all(), "stored points lie outside the domain")

    def inputs(self, count):
        """Random prompts and corners, as many of every algorithm."""
        rng = np.random.default_rng(0)
        each = max(count // len(self.algorithms), 4)
        for low, high in self.boxes():
            yield rng.uniform(low, high, size=(each, len(low)))
            yield np.where(rng.random((each // 4, len(low))) < 0.5, low, high)

    def target(self, x):
        which, y = self.which(x), np.zeros((*x.shape[:2], 1))
        for at, algorithm in enumerate(self.algorithms):
            data = x[which == at, self.behind :]
            column, factor = algorithm.label()
            rows = np.concatenate([data[..., : self.d], data[..., self.d + column, None] / factor], axis=-1)
            y[which == at, -1] = descent(rows, algorithm.options)[:, -1]
        return y

    def text(self):
        names = ", ".join(algorithm.name for algorithm in self.algorithms)
        return f"w . x_q after {self.folder.task['steps']} steps from 0 of the algorithm in the prompt: {names}"

    def domain(self):
        return f"one of {len(self.algorithms)} boxes in each of which {(self.n + 1) * self.d + self.n} input numbers vary"

    def scales(self):
        """δ and δ' off the outputs of the first step's heads."""
        layers, n = self.folder.layers, self.n
        check(len(layers) == 4 * self.folder.task["steps"] + 1, f"so many steps take {4 * self.folder.task['steps'] + 1} layers, not {len(layers)}")
        mean = np.abs(layers[2].heads[1].output).max()
        return 8 / 12 * (math.exp(NULL) + n) / (n * mean), 3 / layers[-1].heads[0].output[0, 0]

    def executed(self):
        return [Executed(algorithm, self.scales()) for algorithm in self.algorithms]


class Executed:
    """How far an algorithm's last w drifts, as `Executed` in the builder's words, derived anew."""

    def __init__(self, algorithm, scales):
        self.algorithm, self.descent, (self.delta, self.read) = algorithm, algorithm.descent, scales
        descent, (values, seconds), rate = self.descent, algorithm.steps, algorithm.descent.rate
        far, root, delta = descent.input_norm, math.sqrt(descent.d), self.delta
        gains = [descent.gain(s) for s in range(descent.steps)]
        each, by_steps, drift, self.score = [], 0.0, 0.0, 0.0
        for t in range(descent.steps):
            z = far * (descent.weight_norm + drift)
            off = descent.bend * self.read**4 * z**5 / 180 + algorithm.slopes.error / rate
            largest, mean = (
                min(exact + descent.bend * far * drift, descent.slope_limit) + off for exact in (descent.largest_slope(t), descent.mean_slope)
            )
            score = delta * rate * largest
            self.score = max(self.score, score)
            each.append(off + mean * score**4 / 30 * math.cosh(2 * score))
            check(z + descent.y <= algorithm.slopes.reach * (1 + 1e-6), f"{algorithm.name}: predictions go beyond the table of slopes")
            check(descent.weight_norm + drift <= seconds.reach * (1 + 1e-6), f"{algorithm.name}: weights go beyond the tables of steps")
            by_steps += root * (2 * values.error + seconds.error) * descent.contraction**t
            drift = sum(v * gain for v, gain in zip(reversed(each), gains)) + by_steps
        self.drift = drift

    @property
    def bound(self):
        z = self.descent.input_norm * (self.descent.weight_norm + self.drift)
        return self.descent.input_norm * self.drift + self.read**4 * z**5 / 180

    def rounding(self):
        descent, algorithm, name = self.descent, self.algorithm, self.algorithm.name
        k, d, n, far, weight = descent.steps, descent.d, descent.n, descent.input_norm, descent.weight_norm + self.drift
        z, each = far * weight, k * descent.curvature
        prediction = 16 / self.read + (d + 12) * z + 3 * (z + descent.y)
        step = lambda of: of.noise + ROUNDOFF * (of.slope * 3 * weight + 4 * of.largest)  # noqa: E731
        terms = {
            f"{name}, mean over examples": each * 1.5 * (n + 48) * ROUNDOFF / self.delta * math.exp(2 * self.score),
            f"{name}, predictions of examples": each * algorithm.slopes.slope * prediction * ROUNDOFF,
            f"{name}, table of slopes": each * (algorithm.slopes.noise + 6 * ROUNDOFF * (algorithm.slopes.largest + descent.rate * descent.y)),
            f"{name}, tables of steps": k * far * math.sqrt(d) * (2 * step(algorithm.steps[0]) + step(algorithm.steps[1])),
            "state": (20 * k + d + 12) * ROUNDOFF * z,
            "readout": 16 * ROUNDOFF / self.read,
        }
        return {name: value for name, value in terms.items() if value}


def bound_of_interpreter(folder):
    return max(one.bound for one in folder.interpreter.executed())


def rounding_of_interpreter(folder):
    """That of the algorithm that is named, which must be the one with the largest."""
    named = folder.certificate["rounding"]["terms"][0]["name"].split(",")[0]
    all_of = {one.algorithm.name: one.rounding() for one in folder.interpreter.executed()}
    check(named in all_of, f"rounding: `{named}` is no algorithm of the task")
    largest = max(sum(terms.values()) for terms in all_of.values())
    check(sum(all_of[named].values()) >= largest * (1 - 1e-3), f"rounding: another algorithm than `{named}` has the largest")
    return all_of[named]
