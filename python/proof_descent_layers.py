"""The layers of gradient descent in context in form e1, as the construction writes them, for proof_descent.py."""

import math

import numpy as np

from proof_chains import GAP, columns, filled, shaped, wired

GATE_KEY = 4
SHARPNESS = 0.5  # c of the head for tanh
NOBODY = -0.25 - GAP / SHARPNESS
PLACE = ("one", 1), ("place", 1), ("square", 1)


def places(rows):
    return np.arange(rows) - (rows - 1) / 2


def carrying(of, width, target, names):
    """Query, key and value of a head that copies columns from the row whose place stands in a column."""
    query = filled((2, width), (0, of[target], 2 * GAP), (1, of["one"], GAP)) * math.sqrt(2)
    key = filled((2, width), (0, of["place"], 1), (1, of["square"], -1))
    return query, key, np.eye(width)[[column for name in names for column in of[name]]]


def placed(of, rows, width, place):
    every = list(range(rows))
    return filled((rows, width), (every, of["one"], 1), (every, of["place"], place), (every, of["square"], place**2))


def heads(at, query, key, value, output):
    parts = zip(("query", "key", "value", "output"), (query, key, value, output))
    return {f"heads.{at}.{part}.weight": array for part, array in parts}


class Layers:
    """The layers of e1 in order: every array is compared with what the construction writes, up to its rounding, for scales read off the file."""

    def __init__(self, weights, task):
        self.weights, self.task, self.at = weights, task, 0
        self.d, self.n, self.rows, self.d_in = task.d, task.n, 2 * task.n + 3, task.d + 1

    def data(self, width):
        """Columns of the data that a layer reads, which are the first of its own."""
        return np.eye(width, self.d_in)

    def layer(self, rows, queries, keys, shapes, arrays):
        shaped(self.weights, self.at, rows, queries, keys, *shapes)
        wired(self.weights, self.at, arrays)
        self.at, self.d_in = self.at + 1, len(arrays["heads.0.output.weight"])

    def mirrors(self):
        d, n, rows = self.d, self.n, self.rows
        of, width = columns(("x", d), ("y", 1), *PLACE, ("self", 1), ("mirrored", 1))
        place = places(n + 2)[np.minimum(np.arange(rows), n + 1)]
        table = placed(of, rows, width, place)
        table[:, of["self"][0]], table[:, of["mirrored"][0]] = place, place[n + 1]
        table[n + 1 : 2 * n + 1, of["mirrored"][0]] = place[:n]
        both = [np.concatenate(pair) for pair in zip(*(carrying(of, width, target, ("x", "y")) for target in ("self", "mirrored")))]
        signs = np.hstack([np.eye(d + 1), -np.eye(d + 1)])
        arrays = {"map.project.weight": self.data(width), "map.position": table} | heads(0, *both, signs)
        self.layer(rows, rows, rows, [(2, 2, d + 1)], arrays)

    def step(self, delta, from_slopes):
        d, n, rows = self.d, self.n, self.rows
        of, width = columns(("x", d), ("y", 1), ("w", d), *([("slope", 1)] if from_slopes else []), ("sign", 1), ("silent", 1), *PLACE)
        table = placed(of, rows, width, places(rows))
        table[n, of["silent"][0]] = table[2 * n + 1 :, of["silent"][0]] = 1
        table[rows - 2, of["sign"][0]], table[rows - 1, of["sign"][0]] = 1, -1
        kept = np.diag([1.0] * (d + 1) + [float(1 - self.task.rate * self.task.ridge)] * d)
        each = list(range(d))
        if from_slopes:
            size, asks, answers = 2, [(0, of["sign"], delta)], [(0, of["slope"], 1)]
        else:
            size, asks, answers = d + 2, [(each, of["w"], delta), (d, of["sign"], -delta)], [(each, of["x"], 1), (d, of["y"], 1)]
        query = filled((size, width), *asks, (size - 1, of["one"], -2 * GAP)) * math.sqrt(size)
        key = filled((size, width), *answers, (size - 1, of["silent"], 1))
        output = filled((2 * d + 1, d), ([d + 1 + j for j in each], each, -float(self.task.rate) / delta))
        arrays = heads(0, *carrying(of, width, "place", ("x", "y", "w")), kept) | heads(1, query, key, np.eye(d, width), output)
        arrays |= {"map.project.weight": self.data(width), "map.position": table}
        self.layer(rows, rows, rows, [(1, 2, 2 * d + 1), (1, size, d)], arrays)

    def predictions(self, scale):
        """z = w · x of every row, by a head that reads w, −w and four empty rows."""
        d, rows, each = self.d, self.rows, list(range(self.d))
        of, width = columns(("x", d), ("y", 1), ("w", d), ("sign", 1), ("silent", 1), *PLACE)
        table = placed(of, rows + 4, width, places(rows + 1)[np.minimum(np.arange(rows + 4), rows)])
        table[: rows - 2, of["silent"][0]] = 1
        table[rows - 2, of["sign"][0]], table[rows - 1, of["sign"][0]] = 1, -1
        query = filled((d + 1, width), (each, of["x"], scale), (d, of["one"], -2 * GAP)) * math.sqrt(d + 1)
        key = filled((d + 1, width), (each, of["w"], 1), (d, of["silent"], 1))
        read = heads(1, query, key, filled((1, width), (0, of["sign"], 1)), filled((2 * d + 2, 1), (2 * d + 1, 0, 3 / scale)))
        arrays = heads(0, *carrying(of, width, "place", ("x", "y", "w")), np.eye(2 * d + 2, 2 * d + 1)) | read
        arrays |= {"map.project.weight": self.data(width), "map.position": table}
        self.layer(rows + 4, rows, rows + 4, [(1, 2, 2 * d + 1), (1, d + 1, 1)], arrays)

    def gates(self, of, width, beta, pairs, outputs):
        """Heads v σ(β v) of columns v, of which there are pairs (above, below)."""
        query, key, value = [], [], []
        for column in (column for pair in pairs for column in pair):
            asks = [(0, column, beta), (1, of["place"], 2 * GAP), (2, of["one"], GAP), (3, of["square"], -GAP)]
            query.append(filled((GATE_KEY, width), *asks) * 2)
            key.append(filled((GATE_KEY, width), (0, of["one"], 1), (1, of["place"], 1), (2, of["square"], -1), (3, of["one"], 1)))
            value.append(filled((1, width), (0, column, 1)))
        return heads(1, *map(np.concatenate, (query, key, value)), outputs)

    def from_one(self, of, width):
        """Rows at places 1, 2, … and an empty one."""
        table = placed(of, self.rows + 1, width, np.arange(1, self.rows + 2))
        table[self.rows] = 0
        return table

    def clamps(self, beta, threshold):
        """r − S(r) for r = z − y, in every row."""
        d, rows, every = self.d, self.rows, list(range(self.rows))
        of, width = columns(("x", d), ("y", 1), ("w", d), ("slope", 1), ("above", 1), ("below", 1), *PLACE)
        table, project, z, y = self.from_one(of, width), np.eye(width, 2 * d + 2), 2 * d + 1, d
        for name, sign in (("slope", 1), ("above", 1), ("below", -1)):
            project[of[name], z], project[of[name], y] = sign, -sign
            table[every, of[name]] = 0 if name == "slope" else -threshold
        outputs = filled((2 * d + 2, 2), (2 * d + 1, [0, 1], [-1, 1]))
        arrays = heads(0, *carrying(of, width, "place", ("x", "y", "w", "slope")), np.eye(2 * d + 2))
        arrays |= self.gates(of, width, beta, [(of["above"][0], of["below"][0])], outputs)
        self.layer(rows + 1, rows, rows + 1, [(1, 2, 2 * d + 2), (2, GATE_KEY, 1)], arrays | {"map.project.weight": project, "map.position": table})

    def hyperbolic_tangents(self, head):
        """tanh(z / 2) / 2 − y / 2, in every row, by a head over anchors."""
        d, rows, count, unit = self.d, self.rows, len(head.values), 2 * SHARPNESS
        of, width, every = *head.columns, list(range(self.rows))
        table, project = placed(of, rows + count, width, places(rows + 1)[np.minimum(np.arange(rows + count), rows)]), np.eye(width, 2 * d + 2)
        project[of["slope"]] = filled((1, 2 * d + 2), (0, d, -0.5))
        project[of["argument"]] = filled((1, 2 * d + 2), (0, 2 * d + 1, head.factor))
        table[every, of["offset"]] = NOBODY
        anchors = list(range(rows, rows + count))
        table[anchors, of["anchor"]], table[anchors, of["offset"]] = head.k, -(head.k**2)
        table[anchors, of["value"]] = head.values
        query = filled((GATE_KEY, width), (0, of["argument"], unit), (1, of["one"], unit))
        key = filled((GATE_KEY, width), (0, of["anchor"], 2), (1, of["offset"], 1))
        output = filled((2 * d + 2, 1), (2 * d + 1, 0, 0.5))
        arrays = heads(0, *carrying(of, width, "place", ("x", "y", "w", "slope")), np.eye(2 * d + 2))
        arrays |= heads(1, query, key, filled((1, width), (0, of["value"], 1)), output)
        arrays |= {"map.project.weight": project, "map.position": table}
        self.layer(rows + count, rows, rows + count, [(1, 2, 2 * d + 2), (1, GATE_KEY, 1)], arrays)

    def soft_threshold(self, beta, threshold):
        """S of every coordinate of the two states."""
        d, rows = self.d, self.rows
        of, width = columns(("x", d), ("y", 1), ("above", d), ("below", d), *PLACE)
        table, project = self.from_one(of, width), np.eye(width, 2 * d + 1)
        for name, sign in (("above", 1), ("below", -1)):
            project[of[name], [d + 1 + j for j in range(d)]] = sign
            for row in (rows - 2, rows - 1):
                table[row, of[name]] = -threshold
        pairs = list(zip(of["above"], of["below"]))
        outputs = filled((2 * d + 1, 2 * d), *((d + 1 + j, [2 * j, 2 * j + 1], [1, -1]) for j in range(d)))
        arrays = heads(0, *carrying(of, width, "place", ("x", "y")), np.eye(2 * d + 1, d + 1)) | self.gates(of, width, beta, pairs, outputs)
        shapes = [(1, 2, d + 1), (2 * d, GATE_KEY, 1)]
        self.layer(rows + 1, rows, rows + 1, shapes, arrays | {"map.project.weight": project, "map.position": table})

    def readout(self, scale):
        d, rows, each = self.d, self.rows, list(range(self.d))
        of, width = columns(("x", d), ("w", d), ("sign", 1))
        project = filled((width, 2 * d + 1), (of["x"], each, 1), (of["w"], [d + 1 + j for j in each], 1))
        table = filled((rows + 4, width), (rows - 2, of["sign"], 1), (rows - 1, of["sign"], -1))
        query, key = filled((d, width), (each, of["x"], scale * math.sqrt(d))), filled((d, width), (each, of["w"], 1))
        read = heads(0, query, key, filled((1, width), (0, of["sign"], 1)), np.full((1, 1), 3 / scale))
        self.layer(rows + 4, self.n + 1, 6, [(1, d, 1)], {"map.project.weight": project, "map.position": table} | read)
