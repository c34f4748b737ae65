"""Target, bound and rounding of kernel ridge regression in context, derived anew from the task and from the weights.

What is known of the iteration, whatever the prompt within its box, and what kernel values are off by: docs/theory/kernel-ridge.md. The kernel's
bandwidth, the rate, the penalty, the empty row and the anchors are read off the weights and compared with the task. Suprema are taken from below.
"""

from __future__ import annotations

import math

import numpy as np

from certificate_anchors import moments
from certificate_folder import ROUNDOFF, check, largest_label
from certificate_formula import BEYOND_OF_SQUARES, KEYS_FELT, SHARPNESS, Head

CLOSE = 1e-5
"""Weights are those of the task but for how float32 rounds them."""


class Iteration:
    """α ← α − η ((K + λ) α − y) on N examples (x, y), all within ± x and ± y, so many times from 0."""

    def __init__(self, folder):
        task, options = folder.task, folder.task["richardson"]
        self.d, self.n, self.bandwidth = task["d"], task["n_points"], task["bandwidth"]
        self.steps, self.rate, self.ridge = options["steps"], options["rate"], options["ridge"]
        self.x, self.y = task["input"]["uniform"]["high"], largest_label(folder)
        stable = self.rate * (self.n + self.ridge) / 2
        check(stable <= 1 + 1e-6, f"a step of {self.rate} may diverge: it is {stable:.4g} times what is stable")
        self.contraction = max(abs(1 - self.rate * self.ridge), abs(1 - self.rate * (self.n + self.ridge)))
        self.longest = self.d * (self.x / self.bandwidth) ** 2

    def size(self, steps):
        """Above |α| after so many steps."""
        time = self.rate * steps
        if self.ridge:
            time = min(time, max(self.rate, 1 / self.ridge))
        return math.sqrt(self.n) * self.y * time

    def gain(self, s):
        """How far an error of α of length 1 moves the prediction, s steps later."""
        inner = (1 - self.rate * self.ridge) / (self.rate * (2 * s + 1))
        ends = self.n, min(max(inner, 0.0), self.n)
        return max(math.sqrt(h) * abs(1 - self.rate * (h + self.ridge)) ** s for h in ends)

    def follow(self, share):
        """How far the prediction moves for kernel values that are off by this share of 1, in units of it; and above |α| after every step."""
        sizes, factor, drift = [0.0], 0.0, 0.0
        for t in range(1, self.steps):
            sizes.append(self.size(t) + drift)
            step = self.rate * self.n * sizes[-1]
            factor += self.gain(self.steps - 1 - t) * step
            drift = self.contraction * drift + share * step
        last = self.size(self.steps) + drift
        return factor + math.sqrt(self.n) * last, sizes


class Kernel:
    """Off the weights of a folder: what every layer does."""

    def __init__(self, folder):
        self.iteration = it = Iteration(folder)
        layers, d = folder.layers, it.d
        check(len(layers) == it.steps + 1, f"so many steps take {it.steps + 1} layers, not {len(layers)}")
        self.squares(folder)
        alpha = d + 2  # column of what is carried
        for layer in layers[1:]:
            is_last = layer is layers[-1]
            head = layer.heads[-1]
            width = head.query.shape[1]
            # Columns: x, y but in the last layer, norm, alpha, example, silent, nothing, one, …
            first = d if is_last else d + 1
            columns = dict(zip(("norm", "alpha", "example", "silent", "nothing", "one"), range(first, first + 6)))
            # Keys are so wide that √d_key is exact.
            keys = next(4**power for power in range(1, 9) if 4**power >= d + 2)
            root = math.sqrt(keys)
            query, key = np.zeros((keys, width)), np.zeros((keys, width))
            query[range(d), range(d)], key[range(d), range(d)] = root / it.bandwidth**2, 1.0
            query[d, columns["one"]] = query[d + 1, columns["norm"]] = root
            key[d, columns["norm"]], key[d + 1, columns["example"]] = -1.0, -1.0
            self.null = key[d, columns["nothing"]] = head.key[d, columns["nothing"]]
            key[d, columns["silent"]] = -120.0
            are_same = head.query.shape == query.shape and np.allclose(head.query, query, rtol=CLOSE, atol=0) and np.allclose(head.key, key, rtol=CLOSE, atol=0)
            check(are_same, "scores are not those of the kernel")
            value = np.zeros((1, width))
            value[0, columns["alpha"]] = 1.0
            factor = (1.0 if is_last else -it.rate) * (math.exp(self.null) + it.n / 2)
            output = np.zeros((1 if is_last else d + 3, 1))
            output[-1, 0] = factor
            check((head.value == value).all() and np.allclose(head.output, output, rtol=CLOSE, atol=0), "a step is not that of the task")
            if not is_last:
                carried = layer.heads[0].output[alpha]
                wanted = np.zeros_like(carried)
                wanted[d], wanted[alpha] = it.rate, 1 - it.rate * it.ridge
                check(np.allclose(carried, wanted, rtol=CLOSE, atol=1e-7), "what is carried to the next step is not that of the task")

    def squares(self, folder):
        """Anchors of the first layer, evenly spaced, with values that take away what smoothing adds."""
        it, d = self.iteration, self.iteration.d
        table = folder.weights["layers.0.map.position"][it.n + 1 :, d + 1 : d + 4]
        k = np.arange(len(table)) - (len(table) - 1) / 2
        half = ((len(k) - 1 - 2 * BEYOND_OF_SQUARES) / 2) ** 2 / 2
        wanted = np.stack([k, -(k**2), k**2 - 1 / (2 * SHARPNESS) - half], axis=1)
        check((table == wanted.astype(np.float32)).all(), "anchors of squares are not even")
        self.head = Head(table[:, 2], BEYOND_OF_SQUARES)
        heads = folder.layers[0].heads[-1]
        self.spacing = SHARPNESS * math.sqrt(4) / heads.query[0, 0]
        reached = self.spacing * self.head.intervals / 2
        check(math.isclose(reached, it.x, rel_tol=CLOSE), f"squares are those of numbers within ±{reached:.4g}, not ±{it.x}")
        half = (self.spacing / it.bandwidth) ** 2 / 2
        outputs = np.zeros((d + 2, d))
        outputs[d + 1] = half
        check(np.allclose(heads.output, outputs, rtol=CLOSE, atol=0), "squared lengths are not in units of the bandwidth")
        u = np.linspace(0, 1, 4097)
        mean, variance = moments(u + 40, 81, SHARPNESS)
        off = mean - u - 40
        self.mean, self.square = np.abs(off).max(), np.abs(variance + off**2 - 1 / (2 * SHARPNESS)).max()

    def shares(self):
        """What kernel values are off by, as shares of 1: because of squared lengths, and with the empty row as well."""
        it = self.iteration
        square = self.spacing**2 * self.square + 2 * it.x * self.spacing * self.mean
        lengths = math.expm1(it.d * square / it.bandwidth**2)
        empty = it.n * (0.5 + lengths) * math.exp(-self.null)
        return lengths, (1 + lengths) * (1 + empty) - 1

    def bound(self):
        share = self.shares()[1]
        return self.iteration.follow(share)[0] * share

    def rounding(self):
        it = self.iteration
        factor, sizes = it.follow(self.shares()[1])
        square = self.head.of_scores + (2 * KEYS_FELT + 20 + it.d) * self.head.mass
        lengths = it.d * (self.spacing / it.bandwidth) ** 2 * ROUNDOFF * square
        scores = ROUNDOFF * ((it.d + 4) * 2 * it.longest + 5 * self.null + 2 * it.n + 16)
        labels = it.rate * math.sqrt(it.n) * it.y
        state = sum(it.gain(it.steps - 1 - t) * 8 * ROUNDOFF * (sizes[t] + labels) for t in range(it.steps))
        return {
            "squared lengths": 1.01 * factor * math.expm1(lengths),
            "scores and sums": 1.01 * factor * math.expm1(scores),
            "state": state,
        }


def bound_of_kernel_ridge(folder):
    return Kernel(folder).bound()


def rounding_of_kernel_ridge(folder):
    return Kernel(folder).rounding()
