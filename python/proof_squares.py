"""Chains of inequalities of gradient descent in context in form e2, for check_proof.py: products as differences of squares, interpolated between
anchors (docs/theory/in-context-gd.md).

What anchors are, R, Δ = 2R/p, β, α and σ, is told by the chain, and every array is compared with what the construction writes for them, up to its
rounding. Ripples follow from Poisson's formula, in rational arithmetic.
"""

import math

import numpy as np

from proof_chains import CLOSE, EPS, GAP, Q, columns, exp, filled, root, rounded, shaped, wired
from proof_descent import Task, in_context_gd
from proof_descent_layers import PLACE, carrying, heads, placed, places
from proof_formulas import check

PI = Q(31415926535897932384626433832795028841971, 10**40), Q(31415926535897932384626433832795028841972, 10**40)
STANDS = 1 + Q(1, 2**20)  # what a step that stands in the file is rounded up by
OVER = Q(1, 100)  # how far u may reach beyond the part of the anchors that is left for it, in Δ
WANTED = "product_plus", "product_minus", "state_plus", "state_minus"


class Ripple:
    """Sums over anchors with scores −c (u − k)², c between two ends: |mean − u|, |mean square − 1/(2c)| and the fourth moment at most, where so
    many anchors lie beyond u on either side."""

    def __init__(self, low, high, padding):
        q = [exp(-(PI[0] ** 2) * m * m / high) * CLOSE for m in range(1, 12)]  # what follows is below 1e-500 for c up to 1
        sums = [sum(m**power * one for m, one in enumerate(q, 1)) * CLOSE for power in (0, 1, 2, 4)]
        theta = 1 - 2 * sums[0]
        check(high <= 4 and theta > 0, "anchors are too far apart for Poisson's formula")
        pi = PI[1]
        self.mean, self.square = 2 * pi / low * sums[1] / theta, 2 * (pi / low) ** 2 * sums[2] / theta
        self.fourth = Q(3, 4) / low**2 + 6 * (pi / low) ** 2 * sums[2] / theta / low + 2 * (pi / low) ** 4 * sums[3] / theta
        whole = self.fourth
        for m in range(1, 40):
            t = padding + m - OVER
            weight = 2 * exp(-low * (t * t - Q(1, 4))) * CLOSE
            self.mean += weight * (t + 2)
            self.square += weight * (t * t + 2)
            self.fourth += weight * (t**4 + whole)


class File:
    """The layers of e2, for numbers R, Δ, β, α, σ of double precision."""

    def __init__(self, weights, task):
        self.weights, self.task, self.at, d = weights, task, 0, task.d
        layers = weights.stack["layers"]
        check(len(layers) == 2 * task.k + 1 and weights.stack["readout"] == "rows", f"{task.k} steps take {2 * task.k + 1} layers")
        self.rows = layers[0]["rows"]
        self.p = self.rows - task.n - 3
        self.of, self.width = columns(("x", d), ("y", 1), ("w", d), ("anchor", 1), ("anchor_square", 1), ("value", 1), *PLACE)
        arrays = weights.arrays
        check(self.p >= 1 and arrays["layers.0.map.position"].shape == (self.rows, self.width), "layers.0 has other sizes than the construction gives it")
        key = arrays["layers.0.heads.1.key.weight"]
        self.end = float(arrays["layers.0.map.position"][-1, self.of["anchor"][0]])
        self.beta = float(arrays["layers.0.heads.1.query.weight"][d + 1, self.of["one"][0]]) / math.sqrt(d + 2)
        self.alpha = -float(key[d, self.of["anchor"][0]]) / 2
        self.sigma = 1 / float(arrays[f"layers.{2 * task.k}.heads.0.output.weight"][0, 0])
        check(min(self.end, self.beta, self.alpha, self.sigma) > 0, "anchors have no end, no temperature, no balance or no stretch")

    def told(self, end, beta, alpha, sigma):
        """Compares every array with what is written for these numbers."""
        self.end, self.beta, self.alpha, self.sigma = (float(one / STANDS) for one in (end, beta, alpha, sigma))
        self.anchors = 2 * self.end / self.p * (np.arange(self.p + 1) - self.p / 2)
        far = {float(self.weights.arrays[f"layers.{at}.map.position"][0, self.anchor_square(at)]) for at in (*range(0, 2 * self.task.k, 2), 2 * self.task.k)}
        check(len(far) == 1, "rows that are no anchors stand in different places")
        self.far = far.pop()
        for step in range(self.task.k):
            self.products(step == 0)
            self.averages()
        self.readout()

    def anchor_square(self, at):
        return self.of["anchor_square"][0] if at < 2 * self.task.k else 2 * self.task.d + 1

    def layer(self, shapes, arrays, queries=None, keys=None):
        shaped(self.weights, self.at, self.rows, queries or self.rows, keys or self.rows, *shapes)
        wired(self.weights, self.at, arrays)
        self.at += 1

    def laid(self, table, of):
        first = self.task.n + 2
        table[:first, of["anchor_square"]] = self.far
        table[first:, of["anchor"]], table[first:, of["anchor_square"]] = self.anchors[:, None], self.anchors[:, None] ** 2

    def products(self, is_first):
        d, of, width, each = self.task.d, self.of, self.width, list(range(self.task.d))
        table = placed(of, self.rows, width, places(self.rows))
        self.laid(table, of)
        table[self.task.n + 2 :, of["value"]] = self.anchors[:, None] ** 2 / 4
        asks = filled((d + 2, width), (each, of["x"], self.beta), (d, of["y"], self.beta), (d + 1, of["one"], self.beta)) * math.sqrt(d + 2)
        answers = []
        for channel, sign in ((channel, sign) for channel in each for sign in (1, -1)):
            shared = (each, of["w"], 2 * self.alpha), (d, of["anchor"], -2 * self.alpha), (d + 1, of["anchor_square"], -1)
            answers.append(filled((d + 2, width), *shared, (channel, of["anchor"], 2 * sign / self.alpha)))
        output = filled((3 * d + 1, 2 * d), *((2 * d + 1 + j, [2 * j, 2 * j + 1], [1, -1]) for j in each))
        values = np.tile(filled((1, width), (0, of["value"], 1)), (2 * d, 1))
        arrays = heads(0, *carrying(of, width, "place", ("x", "y", "w")), np.eye(3 * d + 1, 2 * d + 1))
        arrays |= heads(1, np.tile(asks, (2 * d, 1)), np.concatenate(answers), values, output)
        arrays |= {"map.project.weight": np.eye(width, d + 1 if is_first else 2 * d + 1), "map.position": table}
        self.layer([(1, 2, 2 * d + 1), (2 * d, d + 2, 1)], arrays)

    def averages(self):
        d, n, each = self.task.d, self.task.n, list(range(self.task.d))
        silence = ("nothing", 1), ("no_product", 1), ("no_state", 1)
        of, width = columns(("x", d), ("y", 1), ("w", d), ("product", d), *silence, *((name, 1) for name in WANTED), *PLACE)
        table, scale, row = placed(of, self.rows, width, places(self.rows)), 1.125 * max(self.end, 1.0), np.arange(self.rows)
        table[n + 1, of["nothing"]] = 1
        table[(row == n) | (row > n + 1), of["no_product"][0]] = 1
        table[(row < n) | (row > n + 1), of["no_state"][0]] = 1
        factors = np.concatenate([np.zeros(n), [1.0, 0.0], self.anchors])
        for name, sign, members in zip(WANTED, (1, -1, 1, -1), (n, n, 1, 1)):
            with np.errstate(divide="ignore", invalid="ignore"):
                scores = np.log(members * (scale / (sign * factors) - 1))
            table[:, of[name][0]] = np.where(sign * factors > 0, np.fmin(scores, 2 * GAP), 2 * GAP)
        query, key, value, output = [], [], [], []
        rate = float(self.task.rate)
        for name, source, silent, factor in zip(
            WANTED, ("product", "product", "w", "w"), ("no_product", "no_product", "no_state", "no_state"), (-rate * scale, rate * scale, scale, -scale)
        ):
            query.append(filled((2, width), (0, of[name], 1), (1, of["one"], -2 * GAP)) * math.sqrt(2))
            key.append(filled((2, width), (0, of["nothing"], 1), (1, of[silent], 1)))
            value.append(np.eye(width)[of[source]])
            output.append(filled((2 * d + 1, d), ([d + 1 + j for j in each], each, factor)))
        arrays = heads(0, *carrying(of, width, "place", ("x", "y")), np.eye(2 * d + 1, d + 1))
        arrays |= heads(1, *map(np.concatenate, (query, key, value)), np.hstack(output))
        self.layer([(1, 2, d + 1), (4, 2, d)], arrays | {"map.project.weight": np.eye(width, 3 * d + 1), "map.position": table})

    def readout(self):
        d, each = self.task.d, list(range(self.task.d))
        of, width = columns(("x", d), ("w", d), ("anchor", 1), ("anchor_square", 1), ("one", 1))
        table = np.zeros((self.rows, width))
        self.laid(table, of)
        table[:, of["one"]] = 1
        project = filled((width, 2 * d + 1), (of["x"], each, 1), (of["w"], [d + 1 + j for j in each], 1))
        query = filled((d + 1, width), (each, of["x"], self.beta * self.sigma), (d, of["one"], self.beta)) * math.sqrt(d + 1)
        key = filled((d + 1, width), (each, of["w"], 2), (d, of["anchor_square"], -1))
        arrays = heads(0, query, key, filled((1, width), (0, of["anchor"], 1)), np.full((1, 1), 1 / self.sigma))
        self.layer([(1, d + 1, 1)], arrays | {"map.project.weight": project, "map.position": table}, self.task.n + 1, self.p + 1)


def above(claimed, told, name):
    """Whether a number was rounded up as a step that stands in the file is, and not further than the comparison of arrays lets pass."""
    check(claimed >= told, f"the step `{name}` claims {float(claimed):.9g}, but {float(told):.9g} follows")
    return claimed


def squares(weights, options, steps, claims):
    task = Task(options)
    check(task.is_linear and not task.ridge, "form e2 is about squares alone")
    file, d, n, k, x, rate = File(weights, task), task.d, task.n, task.k, task.x, task.rate
    less = 1 - Q(1, 2**22)  # numbers of the file are rounded to float32
    end = steps.next("R", Q(file.end) * less)
    spacing = steps.next("Delta", 2 * end / STANDS / file.p)
    beta = steps.next("beta", Q(file.beta) * less)
    true_end, true_beta = end / STANDS, beta / STANDS
    delta = 2 * true_end / file.p
    sharp = true_beta * delta**2
    sharpness = steps.next("c", sharp)
    alpha, coarse = steps.next("alpha", Q(file.alpha) * less), steps.next("1/alpha", 1 / Q(file.alpha) * less)
    sigma, blunt_sigma = steps.next("sigma", Q(file.sigma) * less), steps.next("1/sigma", 1 / Q(file.sigma) * less)
    above(coarse, 1 / (alpha / STANDS), "1/alpha")
    above(blunt_sigma, 1 / (sigma / STANDS), "1/sigma")
    file.told(end, beta, alpha, sigma)
    padding = max(math.ceil(math.sqrt(37 / float(sharp) + 0.25) - 1e-6) - 1, 1)
    rough = 1 + Q(1, 10**9)
    ripple = Ripple(rounded(sharp / rough), rounded(sharp * rough), padding)
    mean, square = steps.next("mu", ripple.mean), steps.next("nu", ripple.square)
    y = steps.next("y", 30 * task.noise)
    far = steps.next("sqrt(d) x", root(task.curvature))
    root_d, root_n = steps.next("sqrt(d)", root(d)), steps.next("sqrt(N)", root(n))
    norm = steps.next("|w|", either=list(task.weights(far, y**2 / 2, y)))
    residual = steps.next("residual", max(task.residual(t, root_n, y) for t in range(k)))
    drift = steps.next("drift", Q(0))
    reach = steps.next("U", alpha * (residual + far * drift) + x * coarse)
    product = steps.next("product", (2 * reach * spacing * mean + spacing**2 * square) / 2)
    above(drift, rate * k * root_d * product, "drift")
    weight = norm + drift
    form = steps.next("A", alpha * (far * weight + y) + x * coarse)
    inner = true_end - (padding - OVER) * delta
    check(reach <= inner and sigma * far * weight <= inner, "anchors do not reach as far as what is asked of them")
    apart = 2 * form + (2 * GAP + sharpness) / true_beta
    check(Q(file.far) * (1 + Q(1, 10**5)) >= apart, "rows that are no anchors are not far from every query")

    steps.next("interpolation of squares", far * drift)
    steps.next("interpolation of the prediction", spacing * mean * blunt_sigma)
    shift = (2 * k + 1) * 2 * file.rows * exp(Q(-GAP)) * CLOSE * Q(9, 8) * max(end, 1) * max(x, y, weight, end * x)
    moves = root_d * alpha * (x + weight + 1) + coarse
    step = rate * root_d * 2 * (sharpness + 1) * (reach + spacing) * moves + 1
    steps.next("rows attended to by mistake", (far * k * step + (sharpness + 1) * root_d * (x + weight)) * shift)

    blunt = steps.next("1/c", 1 / sharp)
    width = steps.next("width", spacing * root(blunt / 2 + square))
    fourth = steps.next("fourth moment", ripple.fourth)
    spread = steps.next("spread of squares", max(Q(9, 5) * width**2, spacing**2 * root(fourth)))
    near = steps.next("L", reach + max(Q(7, 5) * width, root(spread)))
    felt = steps.next("anchors felt", min(2 * root(Q(167, 10) * blunt) + 1, file.p + 1) + 8)
    copies = 14 * weight + (n + 14) * rate * root_d * x * y
    noise = lambda form, factor, l: beta * EPS * ((d + 6) * (2 * l * form + l * l) + 2 * factor * far * end * copies)  # noqa: E731, E741
    of = lambda form, factor: noise(form, factor, near) * exp(rounded(2 * noise(form, factor, end))) * CLOSE  # noqa: E731
    products = steps.next("noise of products", of(form, alpha))
    read = steps.next("noise of the readout", of(sigma * far * weight, sigma))
    gain = far * k * rate * root_d
    steps.next("scores of products", gain * (reach * width + spread / 2) * products)
    steps.next("sums of squares", gain * 2 * felt * EPS * (reach + width) ** 2 / 4)
    steps.next("averages", gain * (n + 14) * EPS * x * y)
    steps.next("state", 14 * k * EPS * far * weight)
    steps.next("prediction", (width * read + felt * EPS * (reach + width)) * blunt_sigma)
    bound = ("interpolation of squares", "interpolation of the prediction", "rows attended to by mistake")
    return steps.end(bound, ("scores of products", "sums of squares", "averages", "state", "prediction"), claims)


def descent(weights, task, steps, claims):
    """Either form: the first layer of e2 has heads of two sizes."""
    of = squares if len(weights.stack["layers"][0]["heads"]) == 2 else in_context_gd
    return of(weights, task, steps, claims)
