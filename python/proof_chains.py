"""Chains of inequalities in exact rationals, for check_proof.py: every step anew, from the weights, the task and the steps before it.

Numbers of float32 and float64 are fractions, and so is everything that is computed from them here. Roots are compared as squares; exponentials are
known to 2⁻⁹⁰ of themselves, which is added. A step is refused where its right-hand side, with what earlier steps claim, is above what it
claims. The formulas are those of docs/theory; what they are made of is read off the weights. Chains of gradient descent: proof_descent.py.
"""

import math
import re
from fractions import Fraction as Q

import numpy as np

from proof_formulas import check

EPS = Q(1, 2**24)
CLOSE = 1 + Q(1, 2**60)  # above what exponentials and roots here are off by
NOTHING = -Q(159, 2)  # scores below this stand for weights of 0
APART, GAP = 64, 60


def fraction(text):
    """`m`, `m/2^k` or `m*2^k` as the number that it is."""
    check(re.fullmatch(r"\d+([*/]2\^\d{1,6})?", text), f"{text} is no fraction")
    if "/2^" in text:
        m, k = text.split("/2^")
        return Q(int(m), 2 ** int(k))
    m, _, k = text.partition("*2^")
    return Q(int(m) * 2 ** int(k or 0))


def exact(x):
    return np.vectorize(Q, otypes=[object])(np.asarray(x, float))


def rounded(x, bits=128):
    """x ≥ 0, up to 2^(1 − bits) of itself above."""
    if x == 0:
        return x
    shift = bits - x.numerator.bit_length() + x.denominator.bit_length()
    scaled = x * Q(2) ** shift
    return Q(-(-scaled.numerator // scaled.denominator)) / Q(2) ** shift


def exp(x):
    """e^x, off by less than 2⁻⁹⁰ of itself: halved until it is small, then squared again."""
    halvings = max(0, math.ceil(abs(x)).bit_length() + 3)
    y = rounded(abs(x) / 2**halvings, 160)
    total = term = Q(1)
    for i in range(1, 24):  # y < 1/8: what is left out is below 8⁻²⁴/24!
        term = rounded(term * y / i, 160)
        total += term
    for _ in range(halvings):
        total = rounded(total * total, 160)
    return total if x >= 0 else rounded(1 / total, 160)


def root(x):
    """Above √x."""
    x = Q(x)
    scale = 4 ** max(0, 70 + x.denominator.bit_length() - x.numerator.bit_length())
    return Q(math.isqrt(int(x * scale)) + 1) / Q(math.isqrt(scale))


def any_order(n):
    return n * EPS / (1 - n * EPS)


class Steps:
    """The claims of a chain, one after the other."""

    def __init__(self, steps):
        self.left, self.known = [(step["name"], fraction(step["at_most"])) for step in steps], {}

    def next(self, name, least=None, either=()):
        """The next claim: it must be for `name`, and at least `least`, or at least one of several."""
        check(self.left, f"the chain ends before the step `{name}`")
        (found, value), *self.left = self.left
        check(found == name, f"the chain has the step `{found}` where `{name}` follows")
        for one in either or [least]:
            if value >= one:
                self.known[name] = value
                return value
        check(False, f"the step `{name}` claims {float(value):.9g}, but {float(min(either or [least])):.9g} follows")

    def end(self, bound, rounding, claims):
        check(not self.left, f"the chain goes on with `{self.left[0][0]}` after its end" if self.left else "")
        for what, terms, claim in (("bound", bound, claims[0]), ("rounding", rounding, claims[1])):
            total = sum(self.known[name] for name in terms)
            check(total <= Q(claim), f"the {what} is said to be {claim:.9g}, but its terms add up to {float(total):.9g}")
        return len(self.known)


def columns(*parts):
    """Columns of a space by name, and its width."""
    found, at = {}, 0
    for name, size in parts:
        found[name], at = list(range(at, at + size)), at + size
    return found, at


def filled(shape, *entries):
    """A matrix of zeros but for (row, column, value), each a number or a list."""
    matrix = np.zeros(shape)
    for row, column, value in entries:
        matrix[row, column] = value
    return matrix


def shaped(weights, layer, rows, queries, keys, *heads):
    """Whether a layer has these sizes, heads as (count, d_key, d_value)."""
    spec = weights.stack["layers"][layer]
    found = [tuple(group[size] for size in ("count", "d_key", "d_value")) for group in spec["heads"]]
    sizes = spec["map"], spec["rows"], spec.get("queries") or spec["rows"], spec.get("keys") or spec["rows"], found
    check(sizes == ("token_wise", rows, queries, keys, list(heads)), f"layers.{layer} has other sizes than the construction gives it")


def wired(weights, layer, expected):
    """Whether the arrays of a layer are as a construction writes them, up to their rounding."""
    for part, array in expected.items():
        found = weights.arrays[f"layers.{layer}.{part}"]
        alike = found.shape == array.shape and np.allclose(found, array, rtol=2e-7, atol=0)
        check(alike, f"layers.{layer}.{part} is not what the construction writes")
