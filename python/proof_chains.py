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


# ---------------------------------------------------------------------------------------------------------------------
# relu-network, form t2. Without a causal mask there is a unit a row; with it, the units of a position stand in the columns of its row.


class Mixing:
    """Heads whose softmax weights are numbers of matrices: rows of labels before, then those of bias and null."""

    def __init__(self, weights, layer, keys):
        self.keys, self.heads = keys, []
        constant = weights.arrays[f"layers.{layer}.map.position"]
        linear = weights.arrays[f"layers.{layer}.map.project.weight"]  # [width, d_in]
        spec = weights.stack["layers"][layer]
        self.rows, self.queries = spec["rows"], spec.get("queries") or spec["rows"]
        check(spec["map"] == "token_wise" and spec.get("keys") in (None, self.rows), "the rows of a mixing are not its keys")
        data = (linear != 0).any(-1)
        self.middle = -constant[:keys, data]
        check(((linear == 0) | (linear == 1)).all() and (linear.sum(1) <= 1).all(), "rows do not copy numbers")
        labels = constant[:, ~data]
        check(not constant[keys:, data].any() and ((labels == 0) | (labels == 1)).all(), "rows have something else than labels")
        for at, group in enumerate(spec["heads"]):
            q, k, v, o = (weights.arrays[f"layers.{layer}.heads.{at}.{part}.weight"] for part in ("query", "key", "value", "output"))
            check(not q[:, data].any() and not k[:, data].any(), "scores of a mixing depend on the input")
            for head in range(group["count"]):
                of, to = (slice(head * group[d], (head + 1) * group[d]) for d in ("d_key", "d_value"))
                asks = q[of] @ constant[: self.queries].T  # [d_key, queries]
                unit = math.sqrt(group["d_key"])
                check(np.allclose(asks, unit * np.eye(*asks.shape), rtol=1e-6, atol=0), "a query of a mixing is not its own label")
                score = exact(k[of] @ constant.T)  # one label a row, so that sums are exact; [queries, rows]
                value = v[to]
                check(len(value) == 1, "a head that mixes has one value")
                source = (value[:, data] @ linear[data])[0]  # what it reads of the data
                check(((source == 0) | (source == 1)).all() and source.sum() == 1, "a value of a mixing is not one number")
                offset = np.where(data, 0.0, value[0]) @ constant.T
                check(not np.delete(offset, keys).any(), "rows other than that of bias have values of their own")
                self.heads.append(self.one(score, int(source.argmax()), exact(offset), exact(o[:, to][:, 0])))
        if weights.stack.get("causal"):
            ahead = (j for rows, *_ in self.heads for i, row in enumerate(rows) for j in row if i < j < keys)
            check(next(ahead, None) is None, "a mask hides a row that a mixing reads")

    def one(self, score, channel, offset, output):
        """Softmax weights w with their scores, ln w relative to the largest."""
        rows = []
        for row in score:
            top = max(row)
            scores = {j: s - top for j, s in enumerate(row) if s - top > NOTHING}
            weights = {j: exp(s) for j, s in scores.items()}
            total = sum(weights.values())
            rows.append({j: (w / total, scores[j]) for j, w in weights.items()})
        return rows, channel, offset, output

    def matrix(self, d_in, d_out):
        """C [queries, d_out, keys, d_in], positive and negative part, and offsets of the rows of bias, [queries, d_out]."""
        shape = (self.queries, d_out, self.keys, d_in)
        parts, offsets = [np.full(shape, Q(0), object) for _ in "+-"], np.full(shape[:2], Q(0), object)
        for rows, channel, offset, output in self.heads:
            for i, row in enumerate(rows):
                for c, o in enumerate(output):
                    for j, (w, _) in row.items():
                        if o and j < self.keys:
                            parts[0 if o > 0 else 1][i, c, j, channel] += abs(o) * w
                        elif o and j == self.keys:
                            offsets[i, c] += o * w * offset[j]
        return *parts, offsets

    def leak(self, reach):
        return 2 * self.rows * exp(Q(-80)) * sum(max(abs(o) for o in output) for *_, output in self.heads) * reach

    def rounding(self, low, high, d_out):
        """What float32 adds to each number, [queries, d_out], in any order of sums; values lie within an interval that holds 0."""
        reach, found = max(-low, high), np.full((self.queries, d_out), Q(0), object)
        written = [[[] for _ in range(d_out)] for _ in range(self.queries)]
        for rows, _, _, output in self.heads:
            for i, row in enumerate(rows):
                total = 1 - row.get(self.keys + 1, (Q(0), 0))[0]
                if total <= Q(1, 2**80):
                    continue
                mean = sum(w * s for w, s in row.values())
                shared = sum(w * abs(s - mean) for w, s in row.values()) * 3 / 2
                own = root(sum(w * (6 - 7 * s) ** 2 for w, s in row.values()))
                sums = in_any_order([w for j, (w, _) in row.items() if j <= self.keys])
                sums += total * (in_any_order([w for w, _ in row.values()]) + 4)
                off = (high - low) * shared + own * min((high - low) / 2, reach * root(total)) + reach * sums
                for c, o in enumerate(output):
                    if o:
                        found[i, c] += abs(o) * off
                        written[i][c].append(abs(o) * total * reach)
        for i in range(self.queries):
            for c in range(d_out):
                found[i, c] = rounded(EPS * (found[i, c] + 2 * sum(written[i][c]) + in_any_order(written[i][c])) * Q(1001, 1000) * CLOSE)
        return found


def in_any_order(sizes):
    """Roundings of a sum in the worst of all orders, the largest numbers first."""
    total, partial = Q(0), Q(0)
    for at, size in enumerate(sorted(sizes, reverse=True)):
        partial += size
        total += partial if at else 0
    return total


def wired_gates(weights, rows, count):
    """A row holds a u' in every column, 1, and its labels as a query and as a key; the row after them is a key for all, with values 0."""
    of, width = columns(("u", count), ("unit", 1), ("query", rows), ("key", rows))
    scale, every = math.sqrt(rows + 1), list(range(rows))
    shaped(weights, 1, rows + 1, rows, rows + 1, (count, rows + 1, 1))
    beta = weights.arrays["layers.1.heads.0.query.weight"][0, 0]
    check(beta > 0, "a gate is not one")
    labels = [(every, of["unit"], 1), (every, of["query"], 1), (every, of["key"], 1), (rows, of["key"], 1)]
    asks = [filled((rows + 1, width), (0, u, beta), ([j + 1 for j in every], of["query"], APART * scale)) for u in of["u"]]
    answers = filled((rows + 1, width), (0, of["unit"], 1), ([j + 1 for j in every], of["key"], 1))
    wired(weights, 1, {
        "map.project.weight": np.eye(width, count), "map.position": filled((rows + 1, width), *labels),
        "heads.0.query.weight": np.concatenate(asks), "heads.0.key.weight": np.tile(answers, (count, 1)),
        "heads.0.value.weight": np.eye(count, width), "heads.0.output.weight": np.eye(count),
    })  # fmt: skip


def relu_network(weights, task, steps, claims):
    specs, n, d_in, d_out = weights.stack["layers"], weights.n, weights.d_in, weights.d_out
    check(len(specs) == 3 and weights.stack["readout"] == "rows", "a chain is about form t2 of a ReLU network")
    rows, count = specs[1]["queries"], specs[1]["d_out"]
    low, high = Q(float(task["input"]["uniform"]["low"])), Q(float(task["input"]["uniform"]["high"]))
    gather, scatter = Mixing(weights, 0, n), Mixing(weights, 2, rows)
    # Unit j is Σ A (x − m) + b, an output Σ W h; units are counted row by row, and where there is none A and b are 0.
    plus, minus, offset = gather.matrix(d_in, count)
    units = rows * count
    a, b, middle = (plus - minus).reshape(units, n, d_in), offset.reshape(units), exact(gather.middle)
    lows, highs = low - middle, high - middle
    half = max(max(abs(x) for x in ends.flat) for ends in (lows, highs))
    least = [sum(np.minimum(a[j] * lows, a[j] * highs).flat) + b[j] for j in range(units)]
    most = [sum(np.maximum(a[j] * lows, a[j] * highs).flat) + b[j] for j in range(units)]
    plus, minus, _ = scatter.matrix(count, d_out)
    size = plus + minus
    wired_gates(weights, rows, count)
    query = weights.arrays["layers.1.heads.0.query.weight"]
    beta = Q(float(query[0, 0]))  # times √d_key

    gate = steps.next("gate", Q(0))
    check(gate * exp(1 + gate) >= CLOSE, "the step `gate` claims less than sup t / (1 + exp t)")  # at the largest, e^t (t − 1) = 1
    blunt = steps.next("1/beta", root(len(query)) / beta)
    total = steps.next("S", max(map(sum, size.reshape(-1, units))) * CLOSE)
    one = steps.next("S1", max(sum(row) for part in (plus, minus) for row in part.reshape(-1, units)) * CLOSE)
    low = steps.next("low", max(1, -min(least)))
    top = steps.next("top", max(1, max(most)))
    gathering = steps.next("gathering leak", gather.leak(half) * CLOSE)
    scattering = steps.next("scattering leak", scatter.leak(1) * CLOSE)
    off, each = gather.rounding(-half, half, count).reshape(units), [Q(0)] * units
    there = [j for j in range(units) if any(a[j].flat) or b[j]]
    for at, j in enumerate(there):
        each[j] = steps.next(f"gathered {at + 1}", off[j] + half * sum(map(abs, a[j].flat)) * any_order(1))
    scattered = steps.next("scattered", max(scatter.rounding(Q(0), Q(1), d_out).flat))
    steps.next("gates", min(gate * blunt, low / 2) * one)
    steps.next("other keys of a gate", total * (rows - 1) * exp(Q(-APART)) * CLOSE * 2 * low)
    steps.next("weights of zero", total * gathering + scattering * (top + gate * blunt))
    steps.next("gather", max(sum(w * g for w, g in zip(row, each)) for row in size.reshape(-1, units)) * CLOSE)
    steps.next("rounding of gates", total * (EPS * (Q(224, 1000) * (8 * APART + 16) + Q(176, 100)) * blunt + top * any_order(4)))
    steps.next("scatter", scattered * top * (1 + gate * blunt))
    return steps.end(("gates", "other keys of a gate", "weights of zero"), ("gather", "rounding of gates", "scatter"), claims)
