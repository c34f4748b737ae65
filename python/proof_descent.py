"""Chains of inequalities of gradient descent in context, for check_proof.py: form e1, a head a step (docs/theory/in-context-gd.md).

Other losses than squares take two more layers a step, the Lasso one (docs/theory/statistical-models.md). Layers: proof_descent_layers.py.
"""

from fractions import Fraction as Q

import numpy as np

from proof_anchors import study
from proof_chains import CLOSE, EPS, GAP, columns, exp, root, rounded
from proof_descent_layers import GATE_KEY, PLACE, SHARPNESS, Layers, places
from proof_formulas import check

SHARPEST = 4 * 10**6  # a gate's score at most
BEYOND = 4  # anchors of the head for tanh beyond either end of its range


class Task:
    """Steps of proximal gradient descent, with what is known of every iterate."""

    def __init__(self, task):
        options = task["gradient_descent"]
        self.d, self.n, self.k = task["d"], task["n_points"], options["steps"]
        self.rate, self.ridge, self.lasso = (Q(float(options.get(key, 0.0))) for key in ("rate", "ridge", "lasso"))
        self.x, self.noise = Q(float(task["input"]["uniform"]["high"])), Q(float(task["noise"]))
        loss = options.get("loss", "squared")
        self.loss = loss if isinstance(loss, str) else next(iter(loss))
        self.kink = Q(float(loss["huber"].get("threshold", 0.5))) if self.loss == "huber" else None
        check(self.loss in ("squared", "huber", "logistic"), f"no chain is about the loss {self.loss}")
        self.curvature, self.bend = self.d * self.x**2, Q(1, 4) if self.loss == "logistic" else Q(1)
        steep = self.rate * (self.bend * self.curvature + self.ridge)
        check(0 < steep <= 2 * (1 + Q(1, 10**9)), "steps of this size may diverge")
        self.is_sloped, self.is_linear = self.loss != "squared", self.loss == "squared" and not self.lasso
        self.depth = 1 + 2 * self.is_sloped + (self.lasso > 0)
        # What is left of an error after a step: the contraction q, and by how much F falls.
        self.left = max(abs(1 - self.rate * self.ridge), abs(1 - steep))
        self.fast = Q(1) if steep <= 1 else 1 / (2 - steep) if steep < 2 else None
        if self.is_linear and steep > 1:
            self.fast = Q(2) if self.fast is None else min(Q(2), self.fast)

    def start(self, steps, y):
        """F(0)."""
        if self.loss == "logistic":
            check(y <= 1 + Q(1, 10**9), "labels of the logistic loss lie within 1")
            start = steps.next("F(0)", Q(0))
            check(exp(start) >= 2 * CLOSE, "the step `F(0)` claims less than ln 2")
            return start
        return steps.next("F(0)", self.loss_of(y))

    def loss_of(self, y):
        return self.kink * (y - self.kink / 2) if self.loss == "huber" and y > self.kink else y**2 / 2

    def weights(self, far, start, slope):
        """Bounds on |w|, of which any will do."""
        time = self.rate * self.k
        yield time * far * slope
        if self.fast is not None:
            yield root(self.fast * 2 * time * start)
        if self.ridge:
            yield root(2 * start / self.ridge)
        if self.lasso:
            yield start / self.lasso

    def residual(self, t, root_n, y):
        """Squares without penalties, step t."""
        base = 1 - self.rate * self.curvature
        low = Q(0) if base < 0 and t > 0 and t % 2 == 0 else base**t
        return ((1 + low) / 2 + (1 - low) / 2 * root_n) * y

    def gain(self, s):
        """How far an error of slopes moves w, s steps later: the maximum of η √h |1 − η (h + λ₂)|^s."""
        inner = min(max((1 - self.rate * self.ridge) / (self.rate * (2 * s + 1)), Q(0)), self.curvature)
        squares = [self.rate**2 * h * (1 - self.rate * (h + self.ridge)) ** (2 * s) for h in (self.curvature, inner)]
        return root(rounded(max(squares)))


class Scales:
    """Scales of scores as fractions, read off queries and outputs alike; roots are off by 2⁻⁶⁰."""

    def __init__(self, weights, task):
        self.weights, d, depth = weights, task.d, task.depth
        check(len(weights.stack["layers"]) == task.k * depth + 2 and weights.stack["readout"] == "rows", f"{task.k} steps take {task.k * depth + 2} layers")
        layers = range(1, task.k * depth + 1, depth)
        steps = [layer + 2 * task.is_sloped for layer in layers]
        size = 2 if task.is_sloped else d + 2
        self.delta = [one for layer in steps for one in self.of(layer, 1, task.rate, size, slice(0, -1))]
        self.last = self.of(task.k * depth + 1, 0, Q(3), d)
        self.predictions = [one for layer in layers if task.is_sloped for one in self.of(layer, 1, Q(3), d + 1, slice(0, -1))]
        self.tanh = [Anchors(weights, task, layer + 1) for layer in layers if task.loss == "logistic"]
        self.clamps = [one for layer in layers if task.loss == "huber" for one in self.sharpness(layer + 1)]
        self.gates = [one for layer in layers if task.lasso for one in self.sharpness(layer + depth - 1)]

    def of(self, layer, head, output, size, rows=slice(None)):
        query, out = (self.weights.arrays[f"layers.{layer}.heads.{head}.{part}.weight"] for part in ("query", "output"))
        asked = [Q(abs(float(x))) / root(size) * way for x in query[rows][query[rows] != 0].flat for way in (1, CLOSE)]
        found = [output / Q(abs(float(x))) for x in out[out != 0].flat]
        check(asked and found, f"layers.{layer} has no scale")
        return asked + found

    def sharpness(self, layer):
        """β of gates, whose queries are twice that."""
        query = self.weights.arrays[f"layers.{layer}.heads.1.query.weight"][::GATE_KEY]
        found = [Q(float(x)) / 2 for x in query[query != 0].flat]
        check(found and min(found) > 0, "a gate is not one")
        return found


class Gates:
    """Soft thresholds S(u), by gates v σ(β v) that are off by `gate`/β, of which there are two."""

    def __init__(self, beta, blunt, gate, rows):
        self.beta, self.blunt, self.error = beta, blunt, 2 * gate * blunt
        self.most = SHARPEST * blunt  # |v| at most, τ included
        self.noise = Q(2002, 1000) * EPS * (720 * rows**2 + 16) * blunt

    def check_reach(self, v):
        check(max(self.beta) * v <= SHARPEST, "numbers of a gate are beyond what float32 tells apart from other rows")


class Anchors:
    """The head for tanh(z / 2) / 2 of a layer, as the file has it."""

    def __init__(self, weights, task, layer):
        d, rows = task.d, 2 * task.n + 3
        self.columns = columns(("x", d), ("y", 1), ("w", d), ("slope", 1), ("argument", 1), *PLACE, ("anchor", 1), ("offset", 1), ("value", 1))
        of, width = self.columns
        table, project = (weights.arrays[f"layers.{layer}.map.{part}"] for part in ("position", "project.weight"))
        check(table.shape[1] == width and project.shape == (width, 2 * d + 2) and len(table) > rows + 2 * BEYOND + 1, f"layers.{layer} has no anchors")
        self.keys = np.ascontiguousarray(table[rows:])
        self.values, self.factor = self.keys[:, of["value"][0]], float(project[of["argument"][0], 2 * d + 1])
        check(self.factor > 0, "the argument of an anchor's head has no scale")
        self.k, self.intervals = places(len(self.values)), len(self.values) - 1 - 2 * BEYOND
        self.maps = [weights.arrays[f"layers.{layer}.heads.1.{part}.weight"] for part in ("query", "key", "value")]
        self.maps.append(weights.arrays[f"layers.{layer}.heads.1.output.weight"][2 * d + 1 :])
        unit = np.eye(width)
        self.row = unit[of["argument"][0]], unit[of["one"][0]]

    def study(self):
        """Suprema over all |z| ≤ reach; the argument is u = z · factor."""
        return map(Q, study(self.maps, self.keys, self.row, f"tanh(x1/{2 * self.factor!r})/2", SHARPNESS, self.intervals / 2))


class Predictions:
    """z = w · x of every row at scale δ'', of which slopes are made."""

    def __init__(self, steps, scales):
        self.coarse = steps.next("1/delta''", max(1 / one for one in scales.predictions))
        self.scale = steps.next("delta''", max(scales.predictions))

    def of_prediction(self, z):
        off = self.scale**4 * z**5 / 180
        self.check_reach(z + off)
        return self.steep * off


class LogisticSlopes(Predictions):
    """tanh(z / 2) / 2 − y / 2, by the heads over anchors of all steps."""

    def __init__(self, task, steps, scales, gate, y):
        super().__init__(steps, scales)
        found = [list(head.study()) for head in scales.tanh]
        error, slope, noise, mass = (max(column) for column in zip(*found))
        factors = [Q(head.factor) for head in scales.tanh]
        self.reach = min(Q(head.intervals, 2) / factor for head, factor in zip(scales.tanh, factors))
        self.steep = steps.next("slope of the head", max(Q(1, 4), slope * max(factors)))
        self.error = steps.next("slope of the loss", error)
        self.noise, self.mass = steps.next("noise of the head", noise), steps.next("mass of the head", mass)
        # Of the task's labels, not of what is claimed of them: slopes come to this limit.
        self.limit, self.anchors = (1 + 30 * task.noise) / 2, len(scales.tanh[0].values)
        self.most = max(Q(max(head.intervals, *map(abs, head.values))) for head in scales.tanh)

    def check_reach(self, z):
        check(z <= self.reach, "predictions are beyond the anchors")

    def rounding(self, task, z):
        return EPS * (Q(1001, 1000) * self.noise + 34 * self.mass + self.steep * 3 * z + 8 * self.limit)


class HuberSlopes(Predictions):
    """r − S(r) for r = z − y, by gates."""

    anchors = 0

    def __init__(self, task, steps, scales, gate, y):
        super().__init__(steps, scales)
        self.gates = Gates(scales.clamps, steps.next("1/beta of slopes", max(1 / one for one in scales.clamps)), gate, 2 * task.n + 3)
        # d/dr of r − S(r): of its two gates one is flat where β τ is large.
        self.steep, self.shift = Q(11, 10) if task.kink * min(scales.clamps) >= 20 else Q(12, 10), y + task.kink
        self.error = steps.next("slope of the loss", self.gates.error)
        self.limit, self.most = task.kink, self.gates.most

    def check_reach(self, z):
        self.gates.check_reach(z + self.shift)

    def rounding(self, task, z):
        return self.gates.noise + 20 * EPS * (z + self.shift)


def wire(weights, task, scales):
    """Mirror images, steps, the readout: every array but those whose scales are read off."""
    layers, first = Layers(weights, task), lambda found: float(found[0])
    layers.mirrors()
    for t in range(task.k):
        if task.is_sloped:
            layers.predictions(first(scales.predictions))
        if task.loss == "huber":
            layers.clamps(first(scales.clamps), float(task.kink))
        if task.loss == "logistic":
            layers.hyperbolic_tangents(scales.tanh[t])
        layers.step(first(scales.delta), task.is_sloped)
        if task.lasso:
            layers.soft_threshold(first(scales.gates), float(task.rate * task.lasso))
    layers.readout(first(scales.last))


def in_context_gd(weights, task, steps, claims):
    task = Task(task)
    scales, d, n, k, rate = Scales(weights, task), task.d, task.n, task.k, task.rate
    wire(weights, task, scales)
    y = steps.next("y", 30 * task.noise)
    far = steps.next("sqrt(d) x", root(task.curvature))
    root_d, root_n = steps.next("sqrt(d)", root(d)), steps.next("sqrt(N)", root(n))
    coarse = steps.next("1/delta", max(1 / one for one in scales.delta))
    delta = steps.next("delta", max(scales.delta))
    coarse_last = steps.next("1/delta'", max(1 / one for one in scales.last))
    last = steps.next("delta'", max(scales.last))
    start, slope = y**2 / 2, y
    if not task.is_linear:
        start = task.start(steps, y)
    if task.loss == "huber":
        slope = steps.next("mean slope", either=[task.kink, root(2 * start)])
    if task.loss == "logistic":
        weight = steps.next("|w|", either=list(task.weights(far, start, (1 + y) / 2)))
        slope = steps.next("mean slope", y / 2 + min(Q(1, 2), far * weight / 4))
    else:
        weight = steps.next("|w|", either=list(task.weights(far, start, slope)))

    if task.is_linear:
        each = lambda t: [root_n * y, far * weight + y] if task.ridge else [task.residual(t, root_n, y)]  # noqa: E731
        slopes = [steps.next(f"residual {t}", either=each(t)) for t in range(k)]
        gains = [steps.next(f"gain {s}", task.gain(s)) for s in range(k)]
    else:
        limit = [task.kink] if task.loss == "huber" else []
        either = [slope] if task.loss == "logistic" else [*limit, root_n * slope, far * weight + y]
        slopes = [steps.next("largest slope", either=either)] * k
        q, left = steps.next("q", task.left), [Q(1)]
        while len(left) < k:
            left.append(rounded(left[-1] * q))
        gains = [rate * far * part for part in left]
    gate, of, threshold = Q(0), None, None
    if task.loss == "huber" or task.lasso:
        gate = steps.next("gate", Q(0))
        check(gate * exp(1 + gate) >= CLOSE, "the step `gate` claims less than sup t / (1 + exp t)")  # at the largest, e^t (t − 1) = 1
    if task.is_sloped:
        of = (HuberSlopes if task.loss == "huber" else LogisticSlopes)(task, steps, scales, gate, y)
    by_threshold = Q(0)
    if task.lasso:
        threshold = Gates(scales.gates, steps.next("1/beta", max(1 / one for one in scales.gates)), gate, 2 * n + 3)
        by_threshold = steps.next("S", root_d * threshold.error)

    errors, predictions, drift, largest_of_all = [], [], Q(0), Q(0)
    after = lambda found: sum(one * gain for one, gain in zip(reversed(found), gains))  # noqa: E731
    for t in range(k):
        off = Q(0)
        if of:
            predictions.append(steps.next(f"prediction {t}", of.of_prediction(far * (weight + drift))))
            off = predictions[t] + of.error
        largest, mean = (exact + task.bend * far * drift for exact in (slopes[t], slope))
        if of:
            largest, mean = (min(one, of.limit) + off for one in (largest, mean))
        largest_of_all = max(largest_of_all, largest)
        z = rounded(delta * largest)
        cosh = (exp(z) + exp(-z)) / 2 * CLOSE
        errors.append(steps.next(f"step {t}", mean * delta**2 * max(largest**2 / 6, mean**2 / 2) * cosh))
        if threshold:
            threshold.check_reach(weight + drift + rate * far * (mean + errors[t]) + rate * task.lasso)
        total = after(errors) + after(predictions) + (of.error * sum(gains[: t + 1]) if of else 0)
        drift = steps.next(f"drift {t + 1}", total + (by_threshold * sum(left[: t + 1]) if threshold else 0))

    reach, rows, far_off, w = far * (weight + drift), 2 * n + 3 + (of.anchors if of else 0), exp(Q(-GAP)) * CLOSE, weight + drift
    bound = ["softmax is not quite linear"]
    steps.next(bound[0], far * after(errors))
    if of:
        bound += ["predictions of examples", "slopes of the loss"]
        steps.next(bound[1], far * after(predictions))
        steps.next(bound[2], far * of.error * sum(gains))
    if threshold:
        bound.append("soft threshold")
        steps.next("soft threshold", far * by_threshold * sum(left))
    steps.next("readout", last**4 * reach**5 / 180)
    most = max(x for x in (task.x, y, w, of and of.most, threshold and threshold.most) if x)
    through = (1 + 3 * of.coarse) * (1 + of.steep) if of else 1
    shift = (k * task.depth + 1) * 2 * rows * far_off * most
    gain = 1 + 2 * delta * task.x * (root_d * w + 1)
    step = rate * coarse * root_d * (gain + 1) * 2 + 1
    steps.next("rows attended to by mistake", (far * k * step * through + root_d * w) * shift)

    each, rounding = k * rate * task.curvature * EPS, ["mean of mirrored inputs", "scores"]
    steps.next(rounding[0], each * (Q(n, 2) + 10) * coarse)
    if not task.is_linear:
        largest_of_all = steps.next("M", largest_of_all)
    if of:
        steps.next("scores", each * 14 * largest_of_all)
        rounding += ["rounding of predictions", "rounding of slopes"]
        steps.next(rounding[2], each * of.steep * (12 * of.coarse + (d + 12) * reach))
        steps.next(rounding[3], each / EPS * of.rounding(task, reach))
    else:
        steps.next("scores", each * (d + 12) * (reach + y))
    if task.depth > 1:
        rounding.append("carried examples")
        steps.next("carried examples", each * 4 * k * (task.depth - 1) * (reach + y + largest_of_all))
    if threshold:
        rounding.append("rounding of the soft threshold")
        steps.next(rounding[-1], k * far * root_d * (threshold.noise + 10 * EPS * threshold.most))
    factors = k if task.ridge or task.depth > 1 else 0
    steps.next("state", (4 * k * task.depth + factors + d + 8) * EPS * reach)
    steps.next("rounding of the readout", 12 * EPS * coarse_last)
    return steps.end([*bound, "readout", "rows attended to by mistake"], [*rounding, "state", "rounding of the readout"], claims)
