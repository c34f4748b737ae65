"""Bound and rounding of gradient descent in context, derived anew from the task and from the weights.

What is known of every iterate, whatever the prompt within its box, and what the parts of a step are off by: docs/theory/in-context-gd.md.
Scales, temperatures and values at anchors are read off the weights. Sizes and suprema are taken from below where they are not exact.
"""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np

from certificate_anchors import moments
from certificate_folder import ROUNDOFF, check, largest_label, loss_of
from certificate_formula import BEYOND, GATE, Head

SHARPEST = 4e6
"""β u of a gate at the largest u."""


class Descent:
    """Steps of proximal gradient descent on N examples (x, y), all within ± x and ± y, and how far errors may carry w."""

    def __init__(self, folder):
        task, options = folder.task, folder.task["gradient_descent"]
        self.d, self.n, self.steps, self.rate = task["d"], task["n_points"], options["steps"], options["rate"]
        self.ridge, self.lasso = options.get("ridge", 0.0), options.get("lasso", 0.0)
        self.loss, self.threshold = loss_of(options)
        self.x, self.y = task["input"]["uniform"]["high"], largest_label(folder)
        self.curvature = self.d * self.x**2
        self.input_norm = math.sqrt(self.curvature)
        self.bend = 0.25 if self.loss == "logistic" else 1.0
        steep = self.rate * (self.bend * self.curvature + self.ridge)
        check(steep <= 2 * (1 + 1e-9), f"a step of {self.rate} may diverge: it is {steep / 2:.4g} times what is stable")
        self.contraction = max(abs(1 - self.rate * self.ridge), abs(1 - steep))
        # Without a soft threshold, steps on squares are linear maps of w.
        self.is_linear = self.loss == "squared" and not self.lasso
        self.weight_norm = self.largest_weight(steep)
        # Rows of the first layer are (x, y) alone by E1, and hold w and products as well by E2.
        self.is_mirrored = folder.layers[0].heads[0].output.shape[0] == self.d + 1

    @property
    def start(self):
        """Above the loss of w = 0."""
        if self.loss == "logistic":
            return math.log(2)
        if self.loss == "huber" and self.y > self.threshold:
            return self.threshold * (self.y - self.threshold / 2)
        return self.y**2 / 2

    @property
    def slope_limit(self):
        return {"squared": math.inf, "huber": self.threshold, "logistic": (1 + self.y) / 2}[self.loss]

    @property
    def mean_slope(self):
        """Above the root mean square of slopes of any iterate."""
        if self.loss == "logistic":
            return self.y / 2 + min(0.5, self.input_norm * self.weight_norm / 4)
        return min(math.sqrt(2 * self.start), self.slope_limit)

    def largest_weight(self, steep):
        """Above |w| of any iterate: by steps one after the other, and by how far F can fall."""
        time = self.rate * self.steps
        fast = 1.0
        if steep > 1:
            fast = math.sqrt(2) if self.is_linear else 1 / math.sqrt(2 - steep) if steep < 2 else math.inf
        slope = self.slope_limit if self.loss == "logistic" else self.mean_slope
        bounds = [time * self.input_norm * slope, fast * math.sqrt(2 * time * self.start)]
        if self.ridge:
            bounds.append(math.sqrt(2 * self.start / self.ridge))
        if self.lasso:
            bounds.append(self.start / self.lasso)
        return min(bounds)

    def largest_slope(self, steps):
        """Above every slope after so many steps."""
        if self.loss == "logistic":
            return self.mean_slope
        if self.is_linear and not self.ridge:
            return self.largest_residual(steps)
        return min(self.slope_limit, math.sqrt(self.n) * self.mean_slope, self.input_norm * self.weight_norm + self.y)

    def largest_residual(self, steps):
        """The same of squares without penalties, for η λ ≤ 2."""
        base = 1 - self.rate * self.curvature
        low = 0.0 if base < 0 and steps > 0 and steps % 2 == 0 else base**steps
        return ((1 + low) / 2 + (1 - low) / 2 * math.sqrt(self.n)) * self.y

    def gain(self, s):
        """How far slopes that are off by 1 in the root mean square move w, s steps later."""
        if not self.is_linear:
            return self.rate * self.input_norm * self.contraction**s
        inner = (1 - self.rate * self.ridge) / (self.rate * (2 * s + 1))
        ends = self.curvature, min(max(inner, 0.0), self.curvature)
        return max(self.rate * math.sqrt(h) * abs(1 - self.rate * (h + self.ridge)) ** s for h in ends)


class Gates:
    """A soft threshold: β off the queries, and the largest |u| that follows."""

    def __init__(self, layer, column, threshold):
        self.beta = layer.heads[-1].query[0, column] / 2
        check(self.beta > 0, "a gate is not one")
        self.threshold, self.reach = threshold, SHARPEST / self.beta - threshold
        self.error = 2 * GATE / self.beta

    def noise(self, rows):
        return 2.002 * ROUNDOFF * (720 * rows**2 + 16) / self.beta


class HyperbolicTangent:
    """A head over anchors for tanh(z / 2), off the layer's rows beyond those of data."""

    def __init__(self, folder, descent, rows):
        d = descent.d
        weight, table = folder.weights["layers.2.map.project.weight"], folder.weights["layers.2.map.position"]
        k = np.arange(len(table) - rows) - (len(table) - rows - 1) / 2
        anchors = table[rows:, 2 * d + 6]
        check((anchors == k).all() and (table[rows:, 2 * d + 7] == -(k**2)).all(), "anchors of the logistic loss are not even")
        self.head = Head(table[rows:, 2 * d + 8], BEYOND)
        self.reach = 0.5 * self.head.intervals / weight[2 * d + 2, 2 * d + 1]
        end = self.reach / 2
        self.error = self.head.error(SimpleNamespace(forms=[(None, None, -end, end)], what=("tanh", None))) / 2
        self.steepness = max(0.25 * self.head.slope * self.head.intervals / self.reach, 0.25)


class Mirrored:
    """Off the weights of E1: δ, by which a step's output is −η/δ, δ', by which that of a readout is 3/δ', and the parts of other models."""

    def __init__(self, folder, descent):
        self.descent, d = descent, descent.d
        self.rows = 2 * descent.n + 3
        sloped = descent.loss != "squared"
        self.depth = 1 + 2 * sloped + (descent.lasso > 0)
        layers = descent.steps * self.depth + 2
        check(len(folder.layers) == layers, f"so many steps take {layers} layers, not {len(folder.layers)}")
        self.delta = -descent.rate / folder.layers[1 + 2 * sloped].heads[-1].output[d + 1, 0]
        self.readout = 3 / folder.layers[-1].heads[0].output[0, 0]
        self.scale = 3 / folder.layers[1].heads[-1].output[2 * d + 1, 0] if sloped else None
        self.slopes = None
        if descent.loss == "huber":
            self.slopes = Gates(folder.layers[2], 2 * d + 2, descent.threshold)
            self.steepness = 1.1
        elif sloped:
            self.slopes = HyperbolicTangent(folder, descent, self.rows)
            self.steepness = self.slopes.steepness
        tau = descent.rate * descent.lasso
        self.gates = Gates(folder.layers[self.depth], d + 1, tau) if descent.lasso else None
        self.drift, self.largest = self.follow()

    def of_prediction(self, drift):
        z = self.descent.input_norm * (self.descent.weight_norm + drift)
        return self.steepness * self.scale**4 * z**5 / 180

    def follow(self):
        """E_k, and above every slope of the actual iteration."""
        descent, far = self.descent, self.descent.input_norm
        gains = [descent.gain(s) for s in range(descent.steps)]
        each, drift, largest_of_all, by_gates = [], 0.0, 0.0, 0.0
        for t in range(descent.steps):
            off = self.of_prediction(drift) + self.slopes.error if self.slopes else 0.0
            largest, mean = (
                min(exact + descent.bend * far * drift, descent.slope_limit) + off for exact in (descent.largest_slope(t), descent.mean_slope)
            )
            each.append(mean * self.delta**2 * max(largest**2 / 6, mean**2 / 2) * math.cosh(self.delta * largest) + off)
            if self.gates:
                by_gates += math.sqrt(descent.d) * self.gates.error * descent.contraction**t
            drift = sum(v * gain for v, gain in zip(reversed(each), gains)) + by_gates
            largest_of_all = max(largest_of_all, largest)
        return drift, largest_of_all

    def bound(self):
        return self.descent.input_norm * self.drift

    def rounding(self):
        descent, d, n, k = self.descent, self.descent.d, self.descent.n, self.descent.steps
        far = descent.input_norm
        reach = far * (descent.weight_norm + self.drift)
        each, form, layers = k * descent.rate * descent.curvature * ROUNDOFF, reach + descent.y, k * self.depth
        terms = {"mean of mirrored inputs": each * (n / 2 + 10) / self.delta}
        if self.slopes:
            terms["scores"] = each * 14 * self.largest
            terms["predictions of examples"] = each * self.steepness * (12 / self.scale + (d + 12) * reach)
            terms["slopes of the loss"] = each / ROUNDOFF * self.slopes_are_off_by(reach)
        else:
            terms["scores"] = each * (d + 12) * form
        if self.depth > 1:
            terms["carried examples"] = each * 4 * (layers - k) * (form + self.largest)
        if self.gates:
            own = self.gates.noise(self.rows) + 10 * ROUNDOFF * (self.gates.reach + self.gates.threshold)
            terms["soft threshold"] = k * far * math.sqrt(d) * own
        factors = k if descent.ridge or self.depth > 1 else 0
        terms["state"] = (4 * layers + factors + d + 8) * ROUNDOFF * reach
        terms["readout"] = 12 * ROUNDOFF / self.readout
        return terms

    def slopes_are_off_by(self, reach):
        y = self.descent.y
        if isinstance(self.slopes, Gates):
            return self.slopes.noise(self.rows) + 20 * ROUNDOFF * (reach + y + self.slopes.threshold)
        return sum(self.slopes.head.noise()) / 2 + self.steepness * 3 * ROUNDOFF * reach + 8 * ROUNDOFF * (1 + y) / 2


class Squares:
    """Off the weights of E2: anchors on [−R, R], the part ± U of it that is used, balance α, stretch σ, and ripples of c = β Δ²."""

    def __init__(self, folder, descent):
        self.descent, d, layer = descent, descent.d, folder.layers[0]
        heads, anchor = layer.heads[1], 2 * d + 1
        anchors = folder.weights["layers.0.map.position"][descent.n + 2 :, anchor]
        self.intervals, self.end = len(anchors) - 1, anchors.max()
        self.spacing = 2 * self.end / self.intervals
        self.beta = heads.query[d + 1, anchor + 3] / math.sqrt(d + 2)
        self.sharpness = c = self.beta * self.spacing**2
        # What is missing beyond the ends weighs 1e-16 at most.
        padding = max(math.ceil(math.sqrt(37 / c + 0.25) - 1e-6) - 1, 1)
        self.reach = self.end - self.spacing * padding
        self.balance = abs(heads.key[d, anchor]) / 2
        self.stretch = 1 / folder.layers[-1].heads[0].output[0, 0]
        residual = max(map(descent.largest_residual, range(descent.steps)))
        # The reach is what residuals need that have drifted.
        self.drift = max(((self.reach - descent.x / self.balance) / self.balance - residual) / descent.input_norm, 0.0)
        u = np.linspace(0, 1, 4097)
        mean, variance = moments(u + 40, 81, c)
        self.mean, self.square = np.abs(mean - u - 40).max(), np.abs(variance + (mean - u - 40) ** 2 - 1 / (2 * c)).max()
        distance = np.arange(81) - (u + 40)[:, None]
        weights = np.exp(-c * distance**2)
        self.fourth = ((weights * distance**4).sum(-1) / weights.sum(-1)).max()

    def bound(self):
        # Errors of products that the anchors' reach must hold, which depends on them.
        descent = self.descent
        product = self.reach * self.spacing * self.mean + self.spacing**2 * self.square / 2
        drift = descent.rate * descent.steps * math.sqrt(descent.d) * product
        return descent.input_norm * drift + self.spacing * self.mean / self.stretch

    def rounding(self):
        descent = self.descent
        d, n, k, x, y, root = descent.d, descent.n, descent.steps, descent.x, descent.y, math.sqrt(descent.d)
        weight, reach = descent.weight_norm + self.drift, self.reach
        data, input_norm = x * y, descent.input_norm
        # Root mean square distance of attention from u, and the root of its fourth moment.
        width = self.spacing * math.sqrt(0.5 / self.sharpness + self.square)
        fourth = max(1.8 * width**2, self.spacing**2 * math.sqrt(self.fourth))
        near, terms = reach + max(1.4 * width, math.sqrt(fourth)), min(2 * math.sqrt(16.7 / self.sharpness) + 1, self.intervals + 1) + 8
        # What L_k w is off by on its row: logarithms, exponentials, the mean of N.
        copies = 14 * weight + (n + 14) * descent.rate * root * data

        def noise(form, factor):
            at = lambda l: (d + 6) * (2 * l * form + l**2) + 2 * factor * input_norm * self.end * copies  # noqa: E731, E741
            return self.beta * ROUNDOFF * at(near) * math.exp(2 * self.beta * ROUNDOFF * at(self.end))

        products = noise(self.balance * (input_norm * weight + y) + x / self.balance, self.balance)
        readout = noise(self.stretch * input_norm * weight, self.stretch)
        gain = input_norm * k * descent.rate * root
        return {
            "scores of products": gain * (reach * width + fourth / 2) * products,
            "sums of squares": gain * 2 * terms * ROUNDOFF * (reach + width) ** 2 / 4,
            "averages": gain * (n + 14) * ROUNDOFF * data,
            "state": 14 * k * ROUNDOFF * input_norm * weight,
            "prediction": (width * readout + terms * ROUNDOFF * (reach + width)) / self.stretch,
        }


def plan_of(folder):
    descent = Descent(folder)
    return Mirrored(folder, descent) if descent.is_mirrored else Squares(folder, descent)


def bound_of_descent(folder):
    """E1: softmax at scores of scale δ is linear up to δ². E2: two squares per product, interpolated between anchors."""
    return plan_of(folder).bound()


def rounding_of_descent(folder):
    return plan_of(folder).rounding()
