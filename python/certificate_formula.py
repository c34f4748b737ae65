"""Bound and rounding of a compiled formula, derived anew from the task's formula and from the weights.

The formula is read a second time, into nodes: input numbers, curves of one number, products, max(u, 0) and |u|, each of affine forms of
those before it. What follows from that is compared with the weights: which node stands in which layer, the affine forms in the maps, the
places of rows, the anchors. The values of curves at anchors and the temperatures of gates are read off the weights, and each head is
compared with its curve on a lattice. Errors of nodes are then added up, from the outputs back to the inputs: what a head is steep in, a
product's factors. Sizes and suprema are taken from below, so that nothing here is above what docs/theory/formula.md says.
"""

from __future__ import annotations

import functools
import math

import numpy as np

import formulas
from certificate_folder import ROUNDOFF, check

SHARPNESS = 0.5
BEYOND, BEYOND_OF_SQUARES = 4, 9
"""Anchors beyond either end of a curve, and of squares."""
LATTICE = 64
"""Points between two anchors."""
GATE = 0.278465
"""sup t / (1 + e^t)"""
GATE_SLOPES = {"relu": 1.1, "abs": 1.2}
JUMPS = ("step", "signum", "ceil", "floor")
KEYS_FELT = 13
"""Anchors whose weight at c = 1/2 is above e⁻¹⁷ of the largest."""


# ---------------------------------------------------------------------------------------------------------------------
# From a formula to nodes. A part is (terms, constant, low, high): a sum of nodes, by number, and the range of its values.


class Node:
    def __init__(self, kind, what, forms, low, high):
        self.kind, self.what, self.forms, self.low, self.high = kind, what, forms, low, high

    @property
    def size(self):
        return max(-self.low, self.high)


def plus(a, factor, b):
    terms = dict(a[0])
    for node, weight in b[0].items():
        terms[node] = terms.get(node, 0.0) + factor * weight
    return {node: weight for node, weight in terms.items() if weight}, a[1] + factor * b[1]


def scaled(a, factor):
    return plus(({}, 0.0), factor, a)


def number(value):
    return {}, value, value, value


def is_number(part):
    return not part[0]


def same(a, b):
    return a[0].keys() == b[0].keys() and np.allclose([a[1], *a[0].values()], [b[1], *(b[0][k] for k in a[0])], rtol=1e-12, atol=1e-300)


def middle(low, high):
    """The middle of a range, or 0 where only roundings set it apart from that."""
    at = (low + high) / 2
    return 0.0 if abs(at) <= 1e-9 * max(-low, high) else at


def curve_values(what, u):
    kind, exponent = what
    with np.errstate(all="ignore"):
        return np.power(u, exponent) if kind == "^" else formulas.FUNCTIONS[kind][0](u)


def curve_over(what, low, high):
    """Values, slopes and second derivatives over intervals."""
    kind, exponent = what
    x = formulas.Interval(low, high)
    if kind != "^":
        with np.errstate(all="ignore"):
            return formulas.FUNCTIONS[kind][1](x)
    one = formulas.Jet(x, [formulas.ONE], [[formulas.ZERO]], np.ones(np.shape(x.low)))
    with np.errstate(all="ignore"):
        jet = one.power(None, exponent)
    return jet.value, jet.gradient[0], jet.second[0][0]


class Reader:
    def __init__(self, n, d_in, low, high):
        self.n, self.d_in, self.low, self.high, self.nodes = n, d_in, low, high, []

    def node(self, kind, what, forms, low, high):
        for at, node in enumerate(self.nodes):
            if (node.kind, node.what) == (kind, what) and all(map(same, node.forms, forms)):
                return {at: 1.0}, 0.0
        self.nodes.append(Node(kind, what, forms, low, high))
        return {len(self.nodes) - 1: 1.0}, 0.0

    def within(self, form, low, high):
        """The part with this form, in the smaller of two ranges."""
        ends = [sum(min(w * self.nodes[k].low, w * self.nodes[k].high) for k, w in form[0].items()) + form[1]]
        ends.append(sum(max(w * self.nodes[k].low, w * self.nodes[k].high) for k, w in form[0].items()) + form[1])
        return *form, max(low, ends[0]), min(high, ends[1])

    def read(self, tree):
        kind, *rest = tree
        if kind == "number":
            return number(rest[0])
        if kind == "variable":
            return self.variable(rest[0])
        parts = [self.read(part) for part in rest]
        return self.one(kind, *parts) if len(parts) == 1 else self.two(kind, *parts)

    def variable(self, name):
        if name == "i":
            return number(1.0) if self.n == 1 else (*self.node("index", None, [], 1.0, self.n), 1.0, self.n)
        position, _, which = name[1:].rpartition("_")
        at = int(which) - 1
        kind, what = ("own", at) if self.n == 1 or not position else ("other", (int(position) - 1, at))
        return *self.node(kind, what, [], self.low, self.high), self.low, self.high

    def one(self, kind, u):
        low, high = u[2:]
        if kind == "negate":
            return *scaled(u, -1.0), -high, -low
        if is_number(u):
            return number(float(formulas.FUNCTIONS[kind][0](np.float64(u[1]))))
        if kind == "relu":
            if low >= 0 or high <= 0:
                return u if low >= 0 else number(0.0)
            return *self.node("relu", None, [u], 0.0, high), 0.0, high
        if kind == "abs":
            return self.size(u)
        if kind in JUMPS:
            value = formulas.FUNCTIONS[kind][1](formulas.Interval(low, high))[0]
            check(value.low == value.high, f"{kind} jumps")
            return number(float(value.low))
        return self.curve((kind, None), u)

    def size(self, u):
        low, high = u[2:]
        if low >= 0 or high <= 0:
            return u if low >= 0 else (*scaled(u, -1.0), -high, -low)
        high = max(-low, high)
        return *self.node("abs", None, [u], 0.0, high), 0.0, high

    def curve(self, what, u):
        value = curve_over(what, *u[2:])[0]
        low, high = float(value.low), float(value.high)
        check(math.isfinite(low) and math.isfinite(high), f"{what[0]} is not finite on [{u[2]}, {u[3]}]")
        shift, reach = (low + high) / 2, (high - low) / 2
        form = self.node("curve", (*what, round(shift, 9)), [u], -reach, reach)
        return *plus(form, shift, ({}, 1.0)), low, high

    def two(self, kind, a, b):
        if kind in "+-":
            sign = 1.0 if kind == "+" else -1.0
            ends = sorted((sign * b[2], sign * b[3]))
            return self.within(plus(a, sign, b), a[2] + ends[0], a[3] + ends[1])
        if kind == "*":
            return self.product(a, b)
        if kind == "/":
            return self.product(a, self.reciprocal(b))
        if kind == "^":
            return self.power(a, b)
        if kind == "atan2":
            return self.angle(a, b)
        apart = self.within(plus(a, -1.0, b), a[2] - b[3], a[3] - b[2])
        is_max = kind == "max"
        if apart[2] >= 0 or apart[3] <= 0:
            return a if (apart[2] >= 0) == is_max else b
        form = plus(plus(scaled(a, 0.5), 0.5, b), 0.5 if is_max else -0.5, self.size(apart))
        pick = max if is_max else min
        return *form, pick(a[2], b[2]), pick(a[3], b[3])

    def product(self, a, b):
        ends = [x * y for x in a[2:] for y in b[2:]]
        if is_number(a) or is_number(b):
            form = scaled(b, a[1]) if is_number(a) else scaled(a, b[1])
            return self.within(form, min(ends), max(ends))
        if same(a, b):
            return self.curve(("^", 2.0), a)
        m, k = middles = tuple(middle(*part[2:]) for part in (a, b))
        reaches = tuple(max(part[3] - at, at - part[2]) for part, at in zip((a, b), middles))
        u, v = plus(a, -m, ({}, 1.0)), plus(b, -k, ({}, 1.0))
        most = reaches[0] * reaches[1]
        form = self.node("product", tuple(round(reach, 9) for reach in reaches), [(*u, -reaches[0], reaches[0]), (*v, -reaches[1], reaches[1])], -most, most)
        form = plus(plus(plus(form, m, b), k, a), -m * k, ({}, 1.0))
        return self.within(form, min(ends), max(ends))

    def reciprocal(self, b):
        check(b[2] > 0 or b[3] < 0, "a division by what may be 0")
        return number(1 / b[1]) if is_number(b) else self.curve(("^", -1.0), b)

    def power(self, a, b):
        if is_number(b):
            if is_number(a):
                return number(a[1] ** b[1])
            return {0.0: number(1.0), 1.0: a}.get(b[1]) or self.curve(("^", b[1]), a)
        if is_number(a) and a[1] > 0:
            log = math.log(a[1])
            return self.curve(("exp", None), self.product(number(log), b))
        return self.curve(("exp", None), self.product(self.curve(("ln", None), a), b))

    def angle(self, y, x):
        quarter = math.pi / 2
        if is_number(y) and is_number(x):
            return number(math.atan2(y[1], x[1]))
        above, over, turn = (y, x, 0.0) if x[2] > 0 else (x, y, quarter if y[2] > 0 else -quarter)
        ratio = self.product(above, self.reciprocal(over))
        if is_number(ratio):
            return number(math.atan(ratio[1]))
        angle = self.curve(("atan", None), ratio)
        sign = 1.0 if turn == 0 else -1.0
        ends = sorted((sign * angle[2] + turn, sign * angle[3] + turn))
        return self.within(plus(scaled(angle, sign), turn, ({}, 1.0)), *ends)


# ---------------------------------------------------------------------------------------------------------------------
# A head over anchors, in units of their distance, off the weights.


class Head:
    """sup |head − curve| on its range, and of slope, E|V − head| γ / ε and E|V| up to half a step beyond it."""

    def __init__(self, values, beyond):
        self.values, self.beyond, self.intervals = values, beyond, len(values) - 1 - 2 * beyond
        half = LATTICE // 2
        u = beyond + np.arange(-half, (self.intervals + 1) * LATTICE - half + 1) / LATTICE
        k = np.arange(len(values))
        weights = np.exp(-SHARPNESS * (u[:, None] - k) ** 2)
        weights /= weights.sum(axis=1, keepdims=True)
        found, mean = weights @ values, weights @ k
        away, off = k - mean[:, None], values - found[:, None]
        expect = lambda of: (weights * of).sum(axis=1)  # noqa: E731
        steepest, near = np.abs(np.diff(values)).max(), 0.5 / LATTICE
        square = expect(away**2)
        fourth = (expect(np.abs(away) ** 3 * (np.abs(away) + expect(np.abs(away))[:, None])) + 3 * square**2).max()
        self.bend = np.abs(expect(away**2 * off)).max() + fourth * steepest * near
        self.slope = np.abs(expect(away * off)).max() + self.bend * near
        v, key = (at - (len(values) - 1) / 2 for at in (u[:, None], k))
        apart = (v - key) ** 2
        gamma = SHARPNESS * (2 * np.abs(v * key) + np.abs(v**2 - apart) + 5 * apart) + 10
        self.of_scores = expect(np.abs(off) * gamma).max()
        self.mass = expect(np.abs(values)).max() + square.max() * steepest * near
        self.u, self.found = u[half:-half], found[half:-half]

    def error(self, node):
        """From the lattice, and by what curve and head may do between its points."""
        low, high = node.forms[0][2:]
        x = np.clip(low + (self.u - self.beyond) / self.intervals * (high - low), low, high)
        miss = np.abs(self.found - curve_values(node.what[:2], x) + middle_of(node)).max()
        value, slope, second = curve_over(node.what[:2], x[:-1], x[1:])
        step = np.diff(x)
        parts = [value.high - value.low, (slope.high - slope.low) * step / 4, second.most() * step**2 / 8]
        with np.errstate(all="ignore"):
            stray = np.fmin.reduce([np.broadcast_to(np.where(np.isnan(part), np.inf, part), len(step)) for part in parts]).max()
        return miss + stray + self.bend / (8 * LATTICE**2)

    def noise(self):
        """What scores, and what values, are off by in float32."""
        return ROUNDOFF * self.of_scores, (2 * KEYS_FELT + 8) * ROUNDOFF * self.mass


def middle_of(node):
    value = curve_over(node.what[:2], *node.forms[0][2:])[0]
    return float(value.low + value.high) / 2


def error_of_squares(intervals):
    """Of the difference of two, each of numbers within ±1."""
    c, spacing = SHARPNESS, 2 / intervals
    u, k = np.linspace(0, 1, 257), np.arange(-40, 42)
    weights = np.exp(-c * (u[:, None] - k) ** 2)
    weights /= weights.sum(axis=1, keepdims=True)
    mean = np.abs(weights @ k - u).max()
    square = np.abs((weights * (k - u[:, None]) ** 2).sum(axis=1) - 1 / (2 * c)).max()
    return 2 * (2 * (1 + spacing / 2) * spacing * mean + spacing**2 * square)


# ---------------------------------------------------------------------------------------------------------------------
# The whole network.


def any_order(n):
    return n * ROUNDOFF / (1 - n * ROUNDOFF)


class Formula:
    """Nodes of a folder's formula, the layers in which they stand, and what each is off by."""

    def __init__(self, folder):
        low, high = folder.ends()
        self.folder, reader = folder, Reader(folder.n, folder.d_in, float(low[0]), float(high[0]))
        self.outputs = [reader.read(formulas.parse(text))[:2] for text in folder.task["outputs"]]
        self.nodes = reader.nodes
        self.schedule()
        check(len(folder.layers) == self.depth, f"the formula takes {self.depth} layers, not {len(folder.layers)}")
        self.heads, self.betas = {}, {}
        incoming = list(range(folder.d_in))
        where = {k: node.what for k, node in enumerate(self.nodes) if node.kind == "own"}
        for layer in range(1, self.depth + 1):
            outgoing = self.examine(layer, incoming, where)
            incoming, where = outgoing, {k: at for at, k in enumerate(outgoing)}
        self.account()

    def schedule(self):
        """In which layer a node is computed, and the last one that needs it."""
        nodes, self.levels = self.nodes, []
        for node in nodes:
            above = [self.levels[k] for form in node.forms for k in form[0]]
            self.levels.append({"own": 0, "index": 0, "other": 1}.get(node.kind, 1 + max(above, default=0)))
        self.used = [any(k in output[0] for output in self.outputs) for k in range(len(nodes))]
        for k in reversed(range(len(nodes))):
            for form in nodes[k].forms if self.used[k] else ():
                for below in form[0]:
                    self.used[below] = True
        self.depth = max([1, *(level for level, used in zip(self.levels, self.used) if used)])
        self.last = [0] * len(nodes)
        for k, node in enumerate(nodes):
            for form in node.forms if self.used[k] else ():
                for below in form[0]:
                    self.last[below] = max(self.last[below], self.levels[k])
        for output in self.outputs:
            for k in output[0]:
                self.last[k] = self.depth

    def examine(self, layer, incoming, where):
        """Compares the map of a layer with the forms of its nodes; reads off values and temperatures. What it hands on."""
        folder, nodes, n = self.folder, self.nodes, self.folder.n
        name = f"layers.{layer - 1}"
        weight, table = folder.weights[f"{name}.map.project.weight"], folder.weights[f"{name}.map.position"]
        computed = [k for k in range(len(nodes)) if self.used[k] and self.levels[k] == layer]
        last = layer == self.depth
        held = sorted(where, key=where.get) if layer > 1 else [k for k in range(len(nodes)) if k in where]
        carried = [k for k in held if self.used[k] and self.last[k] > layer and not last]
        if last:
            forms = [({k: w for k, w in terms.items() if k not in computed}, constant) for terms, constant in self.outputs]
        else:
            forms = [({k: 1.0}, 0.0) for k in carried]
        picked = list(dict.fromkeys(nodes[k].what[1] for k in computed if nodes[k].kind == "other"))
        curves, products = ([k for k in computed if nodes[k].kind == kind] for kind in ("curve", "product"))
        gates = [k for k in computed if nodes[k].kind in GATE_SLOPES]
        count = len(curves) + 2 * len(products)
        others = n + bool(gates)
        anchors = len(table) - others
        columns = len(forms) + len(picked) + count + len(gates) + 3 + ((2 + len(curves)) if count else 0)
        check(table.shape[1] == columns, f"layer {layer} of the formula has {columns} columns, not {table.shape[1]}")
        check((anchors > 0) == (count > 0), f"layer {layer} has {anchors} rows of anchors for {count} heads")
        column = 0

        def holds(form, middle=0.0, unit=1.0):
            nonlocal column
            wanted, fixed = np.zeros(weight.shape[1]), np.full(n, unit * (form[1] - middle))
            for k, w in form[0].items():
                if nodes[k].kind == "index":
                    fixed += unit * w * np.arange(1, n + 1)
                else:
                    wanted[where[k]] += unit * w
            size = 1e-5 * (np.abs(wanted).sum() + np.abs(fixed).max() + abs(unit) * (abs(form[1]) + abs(middle)))
            close = np.abs(weight[column] - wanted).max() <= size and np.abs(table[:n, column] - fixed).max() <= size
            check(close, f"column {column} of layer {layer} holds something else than the formula says")
            check(not table[n:, column].any(), f"column {column} of layer {layer} is not empty beyond the positions")
            column += 1

        for form in forms:
            holds(form)
        for at in picked:
            check(weight[column, at] == 1 and np.count_nonzero(weight[column]) == 1, f"layer {layer} picks something else than number {at + 1}")
            column += 1
        for k in curves:
            (form,) = nodes[k].forms
            holds(form, (form[2] + form[3]) / 2, (anchors - 1 - 2 * BEYOND) / (form[3] - form[2]))
        for k in products:
            u, v = nodes[k].forms
            half = (anchors - 1 - 2 * BEYOND_OF_SQUARES) / 2
            for sign in (1.0, -1.0):
                holds(plus(scaled(u, 0.5 / u[3]), sign * 0.5 / v[3], v), 0.0, half)
        first_gate = column
        for k in gates:
            holds(nodes[k].forms[0])
        places = np.concatenate([np.arange(1, n + 1), [0.0] * (others - n), [2.0 * n + 2] * anchors])
        check((table[:, column] == (np.arange(len(table)) < n)).all(), f"layer {layer} does not mark its positions")
        check((table[:, column + 1] == places).all() and (table[:, column + 2] == places**2).all(), f"layer {layer} does not know its places")
        column += 3
        if count:
            k = np.arange(anchors) - (anchors - 1) / 2
            low = table[:others, column + 1]
            check((table[others:, column] == k).all() and (table[others:, column + 1] == -(k**2)).all(), f"anchors of layer {layer} are not even")
            check((low <= -60 / SHARPNESS).all(), f"rows of layer {layer} that are no anchors are near to some")
            for at, node in enumerate(curves):
                self.heads[node] = Head(table[others:, column + 2 + at], BEYOND)
            for node in products:
                self.heads[node] = squares(anchors)
        if gates:
            # Heads over anchors and gates have keys of four numbers, those that carry and pick two; attention divides by √4.
            wide = [heads for heads in folder.layers[layer - 1].heads if heads.query.shape[0] == 4 * heads.count]
            check(len(wide) == 1, f"layer {layer} has {len(wide)} groups of heads with keys of four numbers")
            rows, place = wide[0].query.reshape(-1, 4, weight.shape[0]) / 2, count
            for at, k in enumerate(gates):
                self.betas[k] = rows[place, 0, first_gate + at]
                place += 2 if nodes[k].kind == "abs" else 1
                check(self.betas[k] > 0, f"a gate of layer {layer} is not one")
        return [] if last else carried + [k for k in computed if self.last[k] > layer]

    def account(self):
        """By node: ε, what float32 adds by kind, and factors on errors of arguments."""
        self.own, self.noise, self.through, nodes = [], [], [], self.nodes
        n = self.folder.n
        sum_of = lambda form, of: sum(abs(w) * of(k) for k, w in form[0].items())  # noqa: E731
        size = lambda k: nodes[k].size  # noqa: E731

        def argument(form, middle=0.0):
            return any_order(len(form[0]) + 3) * (sum_of(form, size) + abs(form[1] - middle))

        for k, node in enumerate(nodes):
            own, noise, through = 0.0, dict.fromkeys(("arguments", "scores", "values", "gates", "carried"), 0.0), []
            if k in self.heads:
                head = self.heads[k]
                scores, values = head.noise()
                if node.kind == "curve":
                    (form,) = node.forms
                    slope = head.slope * head.intervals / (form[3] - form[2])
                    own, through = head.error(node), [slope]
                    noise["arguments"] = slope * argument(form, (form[2] + form[3]) / 2)
                else:
                    (u, v), half = node.forms, head.intervals / 2
                    scale = u[3] * v[3] / half**2
                    own, through = u[3] * v[3] * error_of_squares(head.intervals), [v[3], u[3]]
                    noise["arguments"] = 2 * scale * head.slope * (argument(u) / u[3] + argument(v) / v[3]) / 2 * half
                    scores, values = 2 * scale * scores, 2 * scale * values
                noise.update(scores=scores, values=values)
            elif k in self.betas:
                (form,), beta, gates = node.forms, self.betas[k], 2 if node.kind == "abs" else 1
                own, through = gates * GATE / beta, [GATE_SLOPES[node.kind]]
                noise["arguments"] = through[0] * argument(form)
                of_scores = ROUNDOFF * (0.224 * (720 * n * n + 16) + 4 * 0.44) / beta
                noise["gates"] = gates * (of_scores + 4 * ROUNDOFF * max(-form[2], form[3]))
            layers = max(self.last[k] - self.levels[k] - 1, 0) + (node.kind == "other")
            noise["carried"] = 0.0 if node.kind == "index" else layers * 4 * ROUNDOFF * node.size
            self.own.append(own)
            self.noise.append(noise)
            self.through.append(through)

    def reached(self, output):
        """How much of what each node is off by reaches an output."""
        gains = [abs(output[0].get(k, 0.0)) for k in range(len(self.nodes))]
        for k in reversed(range(len(self.nodes))):
            for form, factor in zip(self.nodes[k].forms, self.through[k]):
                for below, weight in form[0].items():
                    gains[below] += gains[k] * factor * abs(weight)
        return gains

    def bound(self):
        return max(sum(gain * own for gain, own in zip(self.reached(output), self.own)) for output in self.outputs)

    def rounding(self):
        """Terms by name, of the output for which their sum is largest; the least of each where several are nearly so."""
        sums = []
        for output in self.outputs:
            gains = self.reached(output)
            terms = {name: sum(gain * noise[name] for gain, noise in zip(gains, self.noise)) for name in self.noise[0]} if self.noise else {}
            size = sum(abs(w) * self.nodes[k].size for k, w in output[0].items()) + abs(output[1])
            terms["outputs"] = any_order(2 * len(output[0]) + 8) * size
            sums.append(terms)
        most = max(sum(terms.values()) for terms in sums)
        near = [terms for terms in sums if sum(terms.values()) >= 0.98 * most]
        return {name: min(terms[name] for terms in near) for name in near[0]}


@functools.cache
def squares(anchors):
    return Head((np.arange(anchors) - (anchors - 1) / 2) ** 2, BEYOND_OF_SQUARES)


@functools.cache
def formula_of(folder):
    return Formula(folder)


def bound_of_formula(folder):
    return formula_of(folder).bound()


def of_formula(folder):
    return formula_of(folder).rounding()
