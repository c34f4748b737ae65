#!/usr/bin/env python3
"""Formulas of real numbers, their values, and bounds on them over boxes, with numpy alone.

A second statement of what Headway takes for a formula and of how it bounds slopes; it shares no code with it.

    ast = parse("sin(3*x1_1)*x2_1")
    evaluate(ast, {"x1_1": a, "x2_1": b})                    # arrays in, array out
    supremum(lambda box: enclose(ast, box).slope(), low, high)  # sup of |gradient| over a box, within a hundredth

Needs Python 3.10 and numpy 1.24 or newer.
"""

from __future__ import annotations

import math
import re

import numpy as np

erf = np.vectorize(math.erf, otypes=[np.float64])
TOKEN = re.compile(r"\s*(?:(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)|([^\W\d]\w*)|([-+*/^(),]))")
CONSTANTS = {"PI": math.pi, "E": math.e}


class FormulaError(Exception):
    """A text that is no formula."""


# ---------------------------------------------------------------------------------------------------------------------
# Reading.


def parse(text):
    """A formula as nested tuples: ("number", 2.0), ("variable", "x1"), ("+", a, b), ("sin", a), …"""
    tokens, at = [], 0
    while text[at:].strip():
        found = TOKEN.match(text, at)
        if not found:
            raise FormulaError(f"{text!r}: nothing is meant by {text[at:]!r}")
        tokens.append(found.groups())
        at = found.end()
    return Parser(tokens).whole()


class Parser:
    """Recursive descent: sums of products of signed powers of atoms."""

    def __init__(self, tokens):
        self.tokens, self.at = tokens, 0

    def sign(self, signs):
        token = self.tokens[self.at] if self.at < len(self.tokens) else (None, None, "")
        if token[2] and token[2] in signs:
            self.at += 1
            return token[2]
        return None

    def expect(self, sign):
        if not self.sign(sign):
            raise FormulaError(f"{sign} is missing")

    def whole(self):
        tree = self.sum()
        if self.at < len(self.tokens):
            raise FormulaError(f"{self.tokens[self.at]} does not belong here")
        return tree

    def sum(self):
        tree = self.product()
        while sign := self.sign("+-"):
            tree = (sign, tree, self.product())
        return tree

    def product(self):
        tree = self.signed()
        while sign := self.sign("*/"):
            tree = (sign, tree, self.signed())
        return tree

    def signed(self):
        if sign := self.sign("+-"):
            return ("negate", self.signed()) if sign == "-" else self.signed()
        tree = self.atom()
        return ("^", tree, self.signed()) if self.sign("^") else tree

    def atom(self):
        if self.sign("("):
            tree = self.sum()
            self.expect(")")
            return tree
        number, name, _ = self.tokens[self.at] if self.at < len(self.tokens) else (None, None, None)
        self.at += 1
        if number is not None:
            return ("number", float(number))
        if name is None:
            raise FormulaError("a number, a variable or a function is missing")
        if not self.sign("("):
            return ("number", CONSTANTS[name]) if name in CONSTANTS else ("variable", name)
        tree = self.sum()
        arguments = [tree]
        while self.sign(","):
            arguments.append(self.sum())
        self.expect(")")
        if name in ("min", "max") and len(arguments) > 1:
            tree = arguments.pop()
            while arguments:
                tree = (name, arguments.pop(), tree)
            return tree
        if (name in FUNCTIONS and len(arguments) == 1) or (name == "atan2" and len(arguments) == 2):
            return (name, *arguments)
        raise FormulaError(f"there is no function {name} of {len(arguments)} numbers")


# ---------------------------------------------------------------------------------------------------------------------
# Intervals: two arrays each. NaN ends mean that something may be no number. Every operation is widened by a few roundings.


class Interval:
    def __init__(self, low, high):
        self.low, self.high = np.asarray(low, float), np.asarray(high, float)

    def __add__(self, other):
        return around(self.low + other.low, self.high + other.high)

    def __sub__(self, other):
        return around(self.low - other.high, self.high - other.low)

    def __neg__(self):
        return Interval(-self.high, -self.low)

    def __mul__(self, other):
        def product(a, b):
            zero = ((a == 0) & ~np.isnan(b)) | ((b == 0) & ~np.isnan(a))
            return np.where(zero, 0.0, a * b)  # infinite ends are limits, never reached

        ends = [product(a, b) for a in (self.low, self.high) for b in (other.low, other.high)]
        return around(np.minimum.reduce(ends), np.maximum.reduce(ends))

    def where(self, condition, other):
        """This where the condition holds, the other elsewhere."""
        return Interval(np.where(condition, self.low, other.low), np.where(condition, self.high, other.high))

    def hull(self, other):
        return Interval(np.minimum(self.low, other.low), np.maximum(self.high, other.high))

    def square(self):
        least, most = self.least(), self.most()
        return around(least**2, most**2).within(0, np.inf).where(~np.isnan(self.low), self)

    def reciprocal(self):
        bad = ~((self.low > 0) | (self.high < 0))
        return around(1 / self.high, 1 / self.low).where(~bad, NOTHING)

    def within(self, low, high):
        return Interval(np.clip(self.low, low, high), np.clip(self.high, low, high))

    def most(self):
        """sup |x|"""
        size = np.maximum(np.abs(self.low), np.abs(self.high))
        return np.where(np.isnan(size), np.inf, size)

    def least(self):
        """inf |x|"""
        return np.where(self.low > 0, self.low, np.where(self.high < 0, -self.high, 0.0))


NOTHING = Interval(np.nan, np.nan)
ANYTHING = Interval(-np.inf, np.inf)
ZERO, ONE, TWO, HALF = (Interval(x, x) for x in (0.0, 1.0, 2.0, 0.5))


def around(low, high):
    """Both ends, widened by eight units in the last place; what is 0 stays so."""
    return Interval(low - 2e-15 * np.abs(low), high + 2e-15 * np.abs(high))


def rising(f, x):
    return around(f(x.low), f(x.high))


def meets(x, phase, period):
    """Whether the interval may hold phase + k period, k whole."""
    return np.floor((x.high - phase) / period + 1e-9) >= np.ceil((x.low - phase) / period - 1e-9)


def kink(x):
    """A kink at an end counts as well: slopes jump between this interval and the next."""
    return ANYTHING.where((x.low <= 0) & (x.high >= 0), ZERO)


def slope_of_kink(x, below):
    inside = Interval(below, 1.0)
    return ONE.where((x.low >= 0) & (x.high > 0), Interval(below, below).where((x.high <= 0) & (x.low < 0), inside))


def steps(f):
    def function(x):
        value = Interval(f(x.low), f(x.high))
        slope = ANYTHING.where(value.low < value.high, ZERO)
        return value, slope, slope

    return function


def wave(f, peak):
    def function(x):
        ends = f(x.low), f(x.high)
        seen = around(np.minimum(*ends), np.maximum(*ends)).within(-1, 1)
        low = np.where(meets(x, peak + np.pi, 2 * np.pi), -1.0, seen.low)
        return Interval(low, np.where(meets(x, peak, 2 * np.pi), 1.0, seen.high))

    return function


sine, cosine = wave(np.sin, np.pi / 2), wave(np.cos, 0.0)


def sigmoid(x):
    value = rising(lambda x: 1 / (1 + np.exp(-x)), x).within(0, 1)
    slope = (value * (ONE - value)).within(0, 0.25)
    return value, slope, slope * (ONE - TWO * value)


def tanh(x):
    value = rising(np.tanh, x).within(-1, 1)
    slope = (ONE - value.square()).within(0, 1)
    return value, slope, -(TWO * value * slope)


def silu(x):
    value, first, second = sigmoid(x)
    # Its minimum is −0.27846…
    return (x * value).within(-0.27847, np.inf), value + x * first, TWO * first + x * second


def gelu(x):
    law = rising(lambda x: (1 + erf(x / math.sqrt(2))) / 2, x)
    density = constant(1 / math.sqrt(2 * math.pi)) * exponential(-(HALF * x.square()))
    # Its minimum is −0.16997…
    return (x * law).within(-0.16998, np.inf), law + x * density, density * (TWO - x.square())


def error_function(x):
    slope = constant(2 / math.sqrt(math.pi)) * exponential(-x.square())
    return rising(erf, x).within(-1, 1), slope, -(TWO * x * slope)


def exponential(x):
    return rising(np.exp, x)


def constant(value):
    return around(np.float64(value), np.float64(value))


def root(x):
    good = x.low >= 0
    value = rising(np.sqrt, x).where(good, NOTHING)
    slope = HALF * Interval(1 / value.high, 1 / value.low)
    second = -(slope * HALF * Interval(1 / x.high, 1 / x.low))
    return value, slope.where(good, NOTHING), second.where(good, NOTHING)


def logarithm(f, factor):
    def function(x):
        good = x.low > 0
        slope = x.reciprocal() * constant(factor)
        return rising(f, x).where(good, NOTHING), slope.where(good, NOTHING), -(slope * x.reciprocal()).where(good, NOTHING)

    return function


def arc(f, sign):
    def function(x):
        good = (x.low >= -1) & (x.high <= 1)
        ends = f(np.clip(x.low, -1, 1)), f(np.clip(x.high, -1, 1))
        left = ONE - x.square()
        slope = Interval(1 / np.sqrt(left.high), 1 / np.sqrt(np.maximum(left.low, 0))) * Interval(sign, sign)
        value = around(np.minimum(*ends), np.maximum(*ends)).where(good, NOTHING)
        return value, slope.where(good, NOTHING), ANYTHING.where(good, NOTHING)

    return function


def tangent(x):
    value = rising(np.tan, x).where(~meets(x, np.pi / 2, np.pi), NOTHING)
    slope = ONE + value.square()
    return value, slope, TWO * value * slope


def hyperbolic(x):
    size = Interval(x.least(), x.most())
    return rising(np.sinh, x), rising(np.cosh, size)


def arctangent(x):
    slope = (ONE + x.square()).reciprocal()
    return rising(np.arctan, x), slope, -(TWO * x * slope.square())


# By name: values, and an enclosure of values, first and second derivatives over intervals.
FUNCTIONS = {
    "negate": (np.negative, lambda x: (-x, -ONE, ZERO)),
    "abs": (np.abs, lambda x: (Interval(x.least(), x.most()).where(~np.isnan(x.low), x), slope_of_kink(x, -1.0), kink(x))),
    "relu": (lambda x: np.maximum(x, 0), lambda x: (x.within(0, np.inf), slope_of_kink(x, 0.0), kink(x))),
    "acos": (np.arccos, arc(np.arccos, -1.0)),
    "asin": (np.arcsin, arc(np.arcsin, 1.0)),
    "atan": (np.arctan, arctangent),
    "ceil": (np.ceil, steps(np.ceil)),
    "floor": (np.floor, steps(np.floor)),
    "signum": (np.sign, steps(np.sign)),
    "step": (lambda x: np.heaviside(x, 1.0), steps(lambda x: np.heaviside(x, 1.0))),
    "cos": (np.cos, lambda x: (cosine(x), -sine(x), -cosine(x))),
    "sin": (np.sin, lambda x: (sine(x), cosine(x), -sine(x))),
    "tan": (np.tan, tangent),
    "cosh": (np.cosh, lambda x: (hyperbolic(x)[1], *hyperbolic(x))),
    "sinh": (np.sinh, lambda x: (*hyperbolic(x), hyperbolic(x)[0])),
    "tanh": (np.tanh, tanh),
    "erf": (erf, error_function),
    "exp": (np.exp, lambda x: (exponential(x),) * 3),
    "gelu": (lambda x: x * (1 + erf(x / math.sqrt(2))) / 2, gelu),
    "sigmoid": (lambda x: 1 / (1 + np.exp(-x)), sigmoid),
    "silu": (lambda x: x / (1 + np.exp(-x)), silu),
    "ln": (np.log, logarithm(np.log, 1.0)),
    "log2": (np.log2, logarithm(np.log2, 1 / math.log(2))),
    "log10": (np.log10, logarithm(np.log10, 1 / math.log(10))),
    "sqrt": (np.sqrt, root),
}
BINARY = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "^": np.power,
    "min": np.minimum,
    "max": np.maximum,
    "atan2": np.arctan2,
}


def evaluate(tree, variables):
    """The value of a formula, for arrays by name."""
    kind, *rest = tree
    if kind == "number":
        return np.float64(rest[0])
    if kind == "variable":
        return variables[rest[0]]
    arguments = [evaluate(part, variables) for part in rest]
    with np.errstate(all="ignore"):
        return BINARY[kind](*arguments) if len(arguments) == 2 else FUNCTIONS[kind][0](*arguments)


# ---------------------------------------------------------------------------------------------------------------------
# Over boxes, with derivatives.


def norm(sizes):
    """sqrt(Σ sizes²), infinite where that is beyond double precision."""
    with np.errstate(over="ignore"):
        return np.sqrt(sum(size**2 for size in sizes))


class Jet:
    """Values, slopes [n] and second derivatives [n][n] over many boxes at once; `steepest` bounds the length of the gradient."""

    def __init__(self, value, gradient, second, steepest):
        self.value, self.gradient, self.second = value, gradient, second
        self.steepest = np.fmin(steepest, norm([slope.most() for slope in gradient]))

    def slope(self):
        """|∇f| at most, and at least."""
        return self.steepest, norm([slope.least() for slope in self.gradient])

    def size(self):
        """|f| at most, and at least."""
        return self.value.most(), self.value.least()

    def bend(self):
        """Second derivative along any line at most, and at least."""
        n = len(self.gradient)
        most = np.stack([[np.broadcast_to(s.most(), self.steepest.shape) for s in row] for row in self.second])
        least = [np.broadcast_to(s.least(), self.steepest.shape) for row in self.second for s in row]
        rows = most.sum(axis=1).max(axis=0)
        frobenius = norm(most.reshape(n * n, -1))
        return np.fmin(rows, frobenius) if n > 1 else rows, np.max(least, axis=0)

    def then(self, value, first, second):
        n = range(len(self.gradient))
        hessian = [[first * self.second[i][j] + second * self.gradient[i] * self.gradient[j] for j in n] for i in n]
        steepest = np.where((self.steepest == 0) & ~np.isnan(first.low), 0.0, first.most() * self.steepest)
        return Jet(value, [first * slope for slope in self.gradient], hessian, steepest)

    def combine(self, other, value, of, steepest):
        n = range(len(self.gradient))
        gradient = [of(self.gradient[i], other.gradient[i]) for i in n]
        return Jet(value, gradient, [[of(self.second[i][j], other.second[i][j]) for j in n] for i in n], steepest)

    def times(self, other):
        n, (a, b), (p, q) = range(len(self.gradient)), (self.value, other.value), (self.gradient, other.gradient)
        hessian = [
            [self.second[i][j] * b + a * other.second[i][j] + p[i] * q[j] + p[j] * q[i] for j in n] for i in n
        ]
        with np.errstate(invalid="ignore"):
            parts = [np.where(s == 0, 0.0, v.most() * s) for v, s in ((a, other.steepest), (b, self.steepest))]
        return Jet(a * b, [p[i] * b + a * q[i] for i in n], hessian, parts[0] + parts[1])

    def greatest(self, other):
        a, b = self.value, other.value
        first, second = a.low >= b.high, b.low >= a.high
        value = Interval(np.maximum(a.low, b.low), np.maximum(a.high, b.high))
        pick = lambda s, t: s.where(first, t.where(second, s.hull(t)))  # noqa: E731
        steepest = np.where(first, self.steepest, np.where(second, other.steepest, np.maximum(self.steepest, other.steepest)))
        jet = self.combine(other, value, pick, steepest)
        apart = (a.low > b.high) | (b.low > a.high)
        jet.second = [[s.where(apart, ANYTHING) for s in row] for row in jet.second]
        return jet

    def angle(self, other):
        """The angle of the point (g, f), which jumps along the negative half of the axis."""
        (y, x), n = (self.value, other.value), range(len(self.gradient))
        cut = (x.low <= 0) & (y.low <= 0) & (y.high >= 0)
        ends = [np.arctan2(v, u) for v in (y.low, y.high) for u in (x.low, x.high)]
        value = Interval(-np.pi, np.pi).where(cut, around(np.minimum.reduce(ends), np.maximum.reduce(ends)))
        part = (x.square() + y.square()).reciprocal()
        by_y, by_x, square = x * part, -(y * part), part.square()
        yy, xy = -(TWO * x * y * square), (y.square() - x.square()) * square
        (p, q), both = (self.gradient, other.gradient), lambda i, j: self.gradient[i] * other.gradient[j]
        gradient = [ANYTHING.where(cut, by_y * p[i] + by_x * q[i]) for i in n]
        second = [
            [by_y * self.second[i][j] + by_x * other.second[i][j] + yy * (p[i] * p[j] - q[i] * q[j]) + xy * (both(i, j) + both(j, i)) for j in n]
            for i in n
        ]
        return Jet(value, gradient, [[ANYTHING.where(cut, s) for s in row] for row in second], np.full(np.shape(y.low), np.inf))

    def power(self, other, exponent):
        if exponent is not None and exponent == int(exponent):
            n = int(exponent)
            return self.then(whole_power(self.value, n), *(
                constant(c) * whole_power(self.value, k) if c else ZERO for c, k in ((n, n - 1), (n * (n - 1), n - 2))
            ))
        if exponent is not None:
            b = exponent
            parts = [constant(c) * real_power(self.value, k) for c, k in ((1, b), (b, b - 1), (b * (b - 1), b - 2))]
            return self.then(*parts)
        log = self.then(*FUNCTIONS["ln"][1](self.value)).times(other)
        return log.then(*(exponential(log.value),) * 3)


def whole_power(x, n):
    if n < 0:
        return whole_power(x, -n).reciprocal()
    if n == 0:
        return ONE
    return rising(lambda v: v**n, Interval(x.least(), x.most()) if n % 2 == 0 else x)


def real_power(x, b):
    ends = around(x.low**b, x.high**b) if b >= 0 else around(x.high**b, x.low**b)
    return ends.where((x.low >= 0) if b >= 0 else (x.low > 0), Interval(x.high**b, np.inf).where(x.low == 0, NOTHING))


def enclose(tree, low, high, names):
    """The formula over boxes [boxes, n], for variables by name: a number of the box, or a fixed number as a float."""
    n, shape = low.shape[1], low.shape[:1]
    nothing = [[ZERO] * n for _ in range(n)]

    def walk(tree):
        kind, *rest = tree
        if kind == "number" or (kind == "variable" and isinstance(names[rest[0]], float)):
            value = rest[0] if kind == "number" else names[rest[0]]
            return Jet(Interval(value, value), [ZERO] * n, nothing, np.zeros(shape))
        if kind == "variable":
            at = names[rest[0]]
            gradient = [ONE if i == at else ZERO for i in range(n)]
            return Jet(Interval(low[:, at], high[:, at]), gradient, nothing, np.ones(shape))
        a = walk(rest[0])
        if len(rest) == 1:
            return a.then(*FUNCTIONS[kind][1](a.value))
        if kind == "*" and rest[0] == rest[1]:
            return a.then(a.value.square(), TWO * a.value, TWO)
        b = walk(rest[1])
        if kind in "+-":
            of = Interval.__add__ if kind == "+" else Interval.__sub__
            return a.combine(b, of(a.value, b.value), of, a.steepest + b.steepest)
        if kind == "*":
            return a.times(b)
        if kind == "/":
            value = b.value.reciprocal()
            return a.times(b.then(value, -value.square(), TWO * value.square() * value))
        if kind == "^":
            return a.power(b, rest[1][1] if rest[1][0] == "number" else None)
        if kind == "max":
            return a.greatest(b)
        if kind == "min":
            minus = lambda jet: jet.then(-jet.value, -ONE, ZERO)  # noqa: E731
            return minus(minus(a).greatest(minus(b)))
        if kind == "atan2":
            return a.angle(b)
        raise FormulaError(f"no bounds are known for {kind}")

    with np.errstate(all="ignore"):
        return walk(tree)


ROUNDS = 40
"""Halvings of every side after which what is infinite still is taken to be so."""


def supremum(most_and_least, low, high, boxes=200_000):
    """The supremum over the box [low, high] of what is bounded from above and below over many boxes, to a hundredth: two ends."""
    low, high = np.array([low], float), np.array([high], float)
    best, done, looked, rounds = 0.0, 0.0, 0, 0
    while len(low):
        rounds += 1
        most, least = most_and_least(low, high)
        most, least = np.broadcast_to(most, len(low)), np.broadcast_to(least, len(low))
        middle = (low + high) / 2
        best = max(best, float(np.nanmax(least, initial=0.0)), float(np.nanmax(most_and_least(middle, middle)[1], initial=0.0)))
        looked += len(low)
        open_ = ~(most <= best * 1.01)
        done = max(done, float(most[~open_].max(initial=0.0)))
        if looked > boxes or rounds > ROUNDS * low.shape[1]:
            return best, max(done, float(np.nan_to_num(most[open_], nan=np.inf, posinf=np.inf).max(initial=0.0)))
        low, high, middle = low[open_], high[open_], middle[open_]
        rows, widest = np.arange(len(low)), np.argmax(high - low, axis=1)
        below, above = high.copy(), low.copy()
        below[rows, widest] = above[rows, widest] = middle[rows, widest]
        low, high = np.concatenate([low, above]), np.concatenate([below, high])
    return best, done
