"""Target, bound and rounding of the training of a network in its prompt, derived anew from the task and from the weights.

What is known of all weights of the trained network, and what a step is off by: docs/theory/network-descent.md. Scales of scores are read off the weights, and
every head is compared with what the task says that it does.
"""

from __future__ import annotations

import math

import numpy as np

from certificate_folder import ROUNDOFF, check, largest_label

ROOM = 0.02
"""How far weights may be off in all."""
NULL = 20
"""Score of the empty row beside examples."""
TERMS = ((1, 2 / 3), (-1, -2 / 3), (2, -1 / 12), (-2, 1 / 12))
CLOSE = 1e-5
"""Weights are those of the task but for how float32 rounds them."""


class Training:
    """Steps of gradient descent of Σ_j a_j tanh(w_j · x), and what is known of its weights."""

    def __init__(self, folder):
        task = folder.task
        self.d, self.r, self.n, self.steps, self.rate = (task[key] for key in ("d", "units", "n_points", "steps", "rate"))
        w, a, x = (task[key]["uniform"]["high"] for key in ("weights", "outputs", "input"))
        y = largest_label(folder)
        far, start, time = math.sqrt(self.d) * x, self.r * a + y, self.rate * self.steps
        self.far, self.output = far, a + time * start + ROOM
        self.weight = math.sqrt(self.d) * w + time * self.output * far * start + ROOM
        self.gradient = math.sqrt(self.r + self.r * (self.output * far) ** 2)
        c = 4 / (3 * math.sqrt(3)) * self.output * far**2
        bend = (c + math.sqrt(c**2 + 4 * far**2)) / 2
        self.largest, self.mean = self.r * self.output + y, start + self.gradient * ROOM
        steep = self.rate * (self.gradient**2 + start * (1 + self.rate * self.gradient**2) * bend)
        check(steep <= 2 * (1 + 1e-6), f"at a rate of {self.rate} the loss may rise: it is {steep:.4g} over its curvature, of which 2 are safe")
        self.growth = sum((1 + self.rate * self.mean * bend) ** s for s in range(self.steps))
        self.cost = self.gradient * self.rate * self.growth


def heads_of(layer):
    """Query [d_key, width], key, value [d_value, width] and output [d_out, d_value] of each head, queries without the factor √d_key."""
    for group in layer.heads:
        parts = [np.split(part, group.count) for part in (group.query, group.key, group.value)]
        for query, key, value, output in zip(*parts, np.split(group.output, group.count, axis=1)):
            yield query / math.sqrt(len(query)), key, value, output


def at(width, *places):
    """A matrix [rows, width] with these numbers: (row, column, number)."""
    matrix = np.zeros((1 + max(row for row, _, _ in places), width))
    for row, column, value in places:
        matrix[row, column] = value
    return matrix


class Network:
    """Off the weights of a folder: that every head does what the task says, and δ."""

    def __init__(self, folder):
        self.training = of = Training(folder)
        layers = folder.layers
        check(len(layers) == 2 * of.steps + 2, f"so many steps take {2 * of.steps + 2} layers, not {len(layers)}")
        self.delta = None
        for step in range(of.steps):
            self.hidden(list(heads_of(layers[1 + 2 * step]))[1:], of.d + 1 + of.r, True)
            self.descent(list(heads_of(layers[2 + 2 * step]))[1:])
        self.hidden(list(heads_of(layers[-1])), of.d + 1 + of.r, False)

    @staticmethod
    def same(found, wanted, what):
        check(found.shape == wanted.shape and np.allclose(found, wanted, rtol=CLOSE, atol=1e-12), f"{what} is not that of the task")

    def hidden(self, heads, after, is_step):
        """Columns: row, last, unit, then sign in a step, nothing, silent, …, one."""
        d, r = self.training.d, self.training.r
        check(len(heads) == r, f"{r} hidden units take as many heads, not {len(heads)}")
        sign = after if is_step else None
        nothing = after + is_step
        silent, one = nothing + 1, nothing + 2
        for j, (query, key, value, output) in enumerate(heads):
            width = query.shape[1]
            self.same(query, at(width, *((c, c, 2.0) for c in range(d)), (d, one, 1.0)), "the score of a hidden unit")
            others = [(d, d + 1 + other, -120.0) for other in range(r) if other != j]
            own = [(d, nothing, math.log(2)), (d, silent, -120.0)]
            self.same(key, at(width, *((c, c, 1.0) for c in range(d)), *own, *others), "the key of a hidden unit")
            if not is_step:
                self.same(value, at(width, (0, d, 1.0)), "the value of a hidden unit")
                self.same(output, np.ones((1, 1)), "the output of a hidden unit")
                continue
            self.same(value, at(width, (0, sign, 1.0), (1, d, 1.0), (2, nothing, 1.0)), "the value of a hidden unit")
            wanted = np.zeros((d + 2 + 2 * r, 3))
            wanted[d + 1 + j, 0] = wanted[d + 1 + 2 * r, 1] = 1.0
            wanted[d + 1 + r + j, 2] = 2.0
            self.same(output, wanted, "the output of a hidden unit")

    def descent(self, heads):
        """Columns: row, last, error, hidden, slope, pick, other, data, nothing, silent, one, …"""
        of, d, r = self.training, self.training.d, self.training.r
        check(len(heads) == 16 * r + 4, f"a step of {r} units takes {16 * r + 4} heads, not {len(heads)}")
        last, error = d, d + 1
        hidden, slope, pick, other = (d + 2 + part * r for part in range(4))
        data, nothing, silent, one = (d + 2 + 4 * r + part for part in range(4))
        mean = (math.exp(NULL) + of.n) / of.n
        # The last four heads move every a_j; of the first of them δ is read.
        delta = heads[-4][0][0, pick]
        check(delta > 0 and (self.delta is None or math.isclose(delta, self.delta, rel_tol=CLOSE)), "steps have different scales")
        self.delta = delta
        by_error, by_slope = delta / of.largest, delta / of.output
        for at_head, (query, key, value, output) in enumerate(heads[:-4]):
            j, (e, g) = at_head // 16, divmod(at_head % 16, 4)
            (m, c), (m_slope, c_slope), width = TERMS[e], TERMS[g], query.shape[1]
            self.same(query, at(width, (0, last, m_slope * by_slope), (1, one, m * by_error), (2, one, 1.0), (3, other + j, 60.0)), "a step's score")
            keys = at(width, (0, slope + j, 1.0), (1, error, 1.0), (2, silent, -120.0), (2, nothing, NULL), (3, nothing, 1.0))
            self.same(key, keys, "a step's key")
            self.same(value, at(width, *((c, c, 1.0) for c in range(d))), "a step's value")
            factor = -of.rate * c * c_slope * mean / (by_error * by_slope)
            self.same(output, np.vstack([factor * np.eye(d), np.zeros((1, d))]), "a step's output")
        for (m, c), (query, key, value, output) in zip(TERMS, heads[-4:]):
            width = query.shape[1]
            self.same(query, at(width, *((j, pick + j, m * delta) for j in range(r)), (r, one, 1.0), (r + 1, data, 60.0)), "a step's score")
            keys = at(width, *((j, hidden + j, 1.0) for j in range(r)), (r, silent, -120.0), (r, nothing, NULL), (r + 1, nothing, 1.0))
            self.same(key, keys, "a step's key")
            self.same(value, at(width, (0, error, 1.0)), "a step's value")
            wanted = np.zeros((d + 1, 1))
            wanted[last] = -of.rate * c * mean / delta
            self.same(output, wanted, "a step's output")

    def terms(self):
        """What roundings and denominators of heads multiply."""
        of, p = self.training, self.delta
        cancel = sum(abs(c) * math.exp(abs(m) * p) for m, c in TERMS) / p
        return math.sqrt(of.r) * (cancel**2 * of.largest * of.output * of.far + cancel * of.mean)

    def bound(self):
        of, p = self.training, self.delta
        share = p**4 * math.cosh(2 * p) / 30
        linear = math.sqrt(of.r) * of.mean * (of.output * of.far * ((1 + share) ** 2 - 1) + share)
        return of.cost * (linear + self.terms() * of.n * math.expm1(4 * p) * math.exp(-NULL))

    def rounding(self):
        of = self.training
        hidden = 1.01 * ROUNDOFF * ((of.d + 10) * 2 * of.weight * of.far + 40)
        answer = of.r * of.output * (hidden + (of.r + 6) * ROUNDOFF)
        means = 1.01 * self.terms() * ROUNDOFF * (2 * of.n + 200 + (of.r + 14) * 4 * self.delta)
        both = of.output * of.far
        units = 1.01 * math.sqrt(of.r) * ((both + 1) * (answer + 2 * ROUNDOFF * of.largest) + (2 * both + 1) * of.mean * hidden)
        state = 24 * ROUNDOFF * math.sqrt(of.r) * (of.weight + of.output)
        off = of.growth * (of.rate * (means + units) + state) + self.bound() / of.gradient
        check(off <= ROOM, f"weights may be off by {off:.4g}, of which nothing is known")
        return {"means over examples": of.cost * means, "hidden units": of.cost * units, "state": of.gradient * of.growth * state, "answer": answer}


def bound_of_network_descent(folder):
    return Network(folder).bound()


def rounding_of_network_descent(folder):
    return Network(folder).rounding()
