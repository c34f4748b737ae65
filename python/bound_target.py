"""The target of a bound over boxes, for check_bound.py: the formulas of a certificate, or the function of its task, as Taylor models.

The second derivatives come from the derivatives of a formula, written down as formulas themselves and followed with slopes by proof_formulas.py.
On boxes where they do not exist the slopes over the box have to do. Constants that a task draws are drawn again from its seed.
"""

import ast
import copy
import math
import re
import struct

import numpy as np

import proof_formulas
from bound_models import MONOMIALS, Taylor
from proof_formulas import INF, ONE, ZERO, I, check

# Derivatives by the argument u. Functions that jump have none, and neither has atan2 here: slopes over boxes are taken for these.
DERIVATIVES = {
    "abs": "2*step(u) - 1",
    "relu": "step(u)",
    "sqrt": "0.5/sqrt(u)",
    "exp": "exp(u)",
    "ln": "1/u",
    "log2": "1/(u*ln(2))",
    "log10": "1/(u*ln(10))",
    "sin": "cos(u)",
    "cos": "-sin(u)",
    "tan": "1 + tan(u)^2",
    "asin": "1/sqrt(1 - u^2)",
    "acos": "-1/sqrt(1 - u^2)",
    "atan": "1/(1 + u^2)",
    "sinh": "cosh(u)",
    "cosh": "sinh(u)",
    "tanh": "1 - tanh(u)^2",
    "sigmoid": "sigmoid(u)*(1 - sigmoid(u))",
    "silu": "sigmoid(u)*(1 + u*(1 - sigmoid(u)))",
    "gelu": "0.5*(1 + erf(u/sqrt(2))) + u*exp(-u^2/2)/sqrt(2*PI)",
    "erf": "2/sqrt(PI)*exp(-u^2)",
}


class Rough(Exception):
    """A formula without second derivatives."""


def derivative(node, names):
    """The derivative of a formula as text, where names have these derivatives; None for 0."""
    of = lambda inner: derivative(inner, names)  # noqa: E731
    text = lambda inner: f"({ast.unparse(inner)})"  # noqa: E731
    plus = lambda a, b: f"{a} + {b}" if a and b else a or b  # noqa: E731
    times = lambda a, b: a and f"({a})*({b})"  # noqa: E731
    match node:
        case ast.Constant():
            return None
        case ast.Name(id=name):
            return names.get(name)
        case ast.UnaryOp(op=op, operand=inner):
            return of(inner) if isinstance(op, ast.UAdd) else times(of(inner), "-1")
        case ast.BinOp(left=a, op=ast.Add(), right=b):
            return plus(of(a), of(b))
        case ast.BinOp(left=a, op=ast.Sub(), right=b):
            return plus(of(a), times(of(b), "-1"))
        case ast.BinOp(left=a, op=ast.Mult(), right=b):
            return plus(times(of(a), text(b)), times(of(b), text(a)))
        case ast.BinOp(left=a, op=ast.Div(), right=b):
            return plus(times(of(a), f"1/{text(b)}"), times(of(b), f"-{text(a)}/{text(b)}^2"))
        case ast.BinOp(left=a, op=ast.Pow(), right=b):
            try:
                less = repr(ast.literal_eval(b) - 1)  # whole numbers stay whole
            except ValueError:
                less = f"{text(b)} - 1"
            by = f"{text(b)}*{text(a)}^({less})"
            return plus(times(of(a), by), times(of(b), f"{text(node)}*ln{text(a)}"))
        case ast.Call(func=ast.Name(id="min" | "max" as name), args=[a, *others]):
            slope = of(a)
            for b in others:
                above = f"step({text(a)} - {text(b)})" if name == "max" else f"step({text(b)} - {text(a)})"
                slope = plus(times(slope, above), times(of(b), f"1 - {above}"))
                a = ast.Call(ast.Name(name), [a, b], [])
            return slope
        case ast.Call(func=ast.Name(id=name), args=[inner]) if name in DERIVATIVES:
            inside = of(inner)
            return times(inside, re.sub(r"\bu\b", lambda _: text(inner), DERIVATIVES[name]))
    raise Rough


class Target:
    """Formulas of the numbers of a sequence, one for each output number of each position."""

    def __init__(self, trees, inputs):
        self.trees, self.inputs, self.d = trees, inputs, len(inputs.free)
        self.slopes = [self.derivatives(tree, i) if isinstance(tree, ast.AST) else None for tree, i in trees]

    def derivatives(self, tree, position):
        found = []
        for name in self.inputs.free:
            own = f"x{name.split('_')[1]}" if name.startswith(f"x{position + 1}_") else name
            try:
                slope = derivative(tree, {name: "1", own: "1"})
            except Rough:
                return None
            found.append(slope and proof_formulas.parse(slope))
        return found

    def over(self, low, high):
        """Models over boxes [boxes, free] -> [boxes, outputs], and the ends of their ranges."""
        m = (low + high) / 2
        r = np.nextafter(np.maximum(high - m, m - low), INF)
        found = [self.one(at, low, high, m, r) for at in range(len(self.trees))]
        models, ranges = zip(*found)
        joined = Taylor(np.stack([model.c for model in models], -1), np.stack([model.e for model in models], -1))
        return joined, tuple(np.stack([one[end] for one in ranges], -1) for end in range(2))

    def one(self, at, low, high, m, r):
        (tree, position), slopes = self.trees[at], self.slopes[at]
        value, gradient = self.follow(tree, position, low, high)
        middle, at_middle = self.follow(tree, position, m, m)
        value, middle = (I(np.broadcast_to(x.low, len(m)), np.broadcast_to(x.high, len(m))) for x in (value, middle))
        model = self.model(middle, gradient, None, r)
        if slopes is not None:
            bends = [self.follow(slope, position, low, high)[1] if slope is not None else [ZERO] * self.d for slope in slopes]
            smooth = self.model(middle, at_middle, bends, r)
            is_better = smooth.e < model.e
            model = Taylor(np.where(is_better, smooth.c, model.c), np.where(is_better, smooth.e, model.e))
        return model.within(value.low, value.high), (value.low, value.high)

    def follow(self, tree, position, low, high):
        """Value and slopes of a formula over boxes."""
        names = self.inputs.jets(low, high, position)
        if isinstance(tree, ast.AST):
            return proof_formulas.formula(tree, names)
        x, slopes = names["x1"]  # a table is a function of one number
        value, (steep,) = tree((I(np.broadcast_to(x.low, len(low)), np.broadcast_to(x.high, len(low))), [ONE]))
        return value, [steep * slope for slope in slopes]

    def model(self, middle, slopes, bends, r):
        """f(m) + Σ s_a r_a t_a, or with half of the second derivatives over the box and slopes in the middle."""
        c, e = np.zeros((len(MONOMIALS[self.d]), len(r))), np.zeros(len(r))
        for k, monomial in enumerate(MONOMIALS[self.d]):
            if len(monomial) == 0:
                part = middle
            elif len(monomial) == 1:
                part = slopes[monomial[0]] * I(r[:, monomial[0]])
            elif bends is None:
                continue
            else:
                a, b = monomial
                part = bends[a][b] * I(r[:, a]) * I(r[:, b]) * I(0.5 if a == b else 1.0)
            half = part.high / 2 + part.low / 2
            c[k] = half
            e += np.nextafter(np.maximum(part.high - half, half - part.low), INF)
        return Taylor(c, e)


class Inputs:
    """The numbers of a sequence: free ones between ends, or fixed."""

    def __init__(self, seq_len, d_in, text):
        """From the domain in words, as in `x1_1 in [-1, 1], x2_1 in [0, 1]; x3_1 = 0.5`."""
        self.seq_len, self.d_in = seq_len, d_in
        self.names = [f"x{i + 1}_{j + 1}" for i in range(seq_len) for j in range(d_in)]
        varied, _, rest = text.partition("; ")
        sides = re.findall(r"(x\d+_\d+) in \[([^,\]]+), ([^,\]]+)\](?:, |$)", varied)
        self.free = [name for name, _, _ in sides]
        self.low, self.high = (np.array([float(side[end]) for side in sides]) for end in (1, 2))
        others = re.fullmatch(r"the other (\d+) at (\S+)", rest)
        if others:
            left = [name for name in self.names if name not in self.free]
            check(len(left) == int(others[1]), f"{others[1]} numbers are said to be fixed, but {len(left)} are not free")
            self.fixed = dict.fromkeys(left, float(others[2]))
        else:
            self.fixed = {name: float(value) for name, value in re.findall(r"(x\d+_\d+) = (\S+?)(?:, |$)", rest)}
        both = sorted([*self.free, *self.fixed])
        check(both == sorted(self.names), f"the domain `{text}` does not name each of the {len(self.names)} input numbers once")
        check(1 <= len(self.free) <= 3 and np.isfinite([self.low, self.high]).all() and (self.low < self.high).all(), f"`{text}` is no domain")

    def at(self, point):
        """With every number fixed."""
        inputs = copy.copy(self)
        inputs.free, inputs.fixed = [], self.fixed | dict(zip(self.free, map(float, point)))
        return inputs

    def numbers(self, free, fixed):
        return [free(self.free.index(name)) if name in self.free else fixed(self.fixed[name]) for name in self.names]

    def jets(self, low, high, position):
        """Values and slopes of the names that a formula at a position may use."""
        d = len(self.free)
        every = self.numbers(
            lambda a: (I(low[:, a], high[:, a]), [ONE if a == b else ZERO for b in range(d)]), lambda value: (I(value), [ZERO] * d)
        )
        own = {f"x{j + 1}": every[position * self.d_in + j] for j in range(self.d_in)}
        return proof_formulas.constants(d) | own | dict(zip(self.names, every)) | {"i": (I(float(position + 1)), [ZERO] * d)}

    def models(self, low, high):
        """The whole sequence as models over boxes [boxes, free] -> [boxes, seq_len, d_in]."""
        m = (low + high) / 2
        r = np.nextafter(np.maximum(high - m, m - low), INF) if self.free else m
        c = np.zeros((len(MONOMIALS[low.shape[1]]), len(low), len(self.names)))
        for at, name in enumerate(self.names):
            if name in self.free:
                a = self.free.index(name)
                c[0, :, at] = m[:, a]
                if low.shape[1]:
                    c[a + 1, :, at] = r[:, a]
            else:
                c[0, :, at] = self.fixed[name]
        c = c.reshape(*c.shape[:2], self.seq_len, self.d_in)
        return Taylor(c, np.zeros(c.shape[1:]))


def split(text):
    """Formulas that commas outside of brackets separate."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def balanced(terms):
    """A sum as text, in brackets that are not deep."""
    if len(terms) == 1:
        return terms[0]
    half = len(terms) // 2
    return f"({balanced(terms[:half])} + {balanced(terms[half:])})"


def target(text, config, dims, inputs):
    """The target that a certificate names: its formulas, or the function of the task in the checkpoint's config."""
    experiment = config.get("experiment") or {}
    ((kind, task),) = experiment.get("task", {"": {}}).items()
    n, d_out = dims["seq_len"], dims["d_out"]
    single = lambda x: float(np.float32(x))  # noqa: E731
    form = lambda weights, names: [f"{w!r}*{name}" for w, name in zip(weights, names)]  # noqa: E731
    clamp = re.fullmatch(r"(?:(\S+) )?clamp\(w_i \. x_i \+ t_i, (\S+), (\S+)\) with the task's w and t", text)
    network = re.fullmatch(r"the task's ReLU network of (\d+) units", text)
    if clamp:
        check(kind == "truncated_linear", f"the target is a clamp, but the task of the checkpoint is {kind}")
        ends, scale = [single(task[key]) for key in ("low", "high")], single(task["target_scale"])
        check([float(part) for part in clamp.groups("1")] == [float(x) for x in (scale, task["low"], task["high"])], f"the task has another target than `{text}`")
        w, t = numbers_of(task, "given", ("weights", "offsets"), [(n, inputs.d_in), (n,)], experiment["seed"])
        lines = [balanced([*form(w[i], (f"x{j + 1}" for j in range(inputs.d_in))), f"{t[i]!r}"]) for i in range(n)]
        texts = [(f"{scale!r}*min(max({line}, {ends[0]!r}), {ends[1]!r})", i) for i, line in enumerate(lines)]
    elif network:
        check(kind == "relu_network" and int(network[1]) == task["d_hidden"], f"the task of the checkpoint is {kind}, which has another target")
        flat, units, outs = len(inputs.names), task["d_hidden"], n * d_out
        keys, sizes = ("weights_in", "bias_in", "weights_out", "bias_out"), [(units, flat), (units,), (outs, units), (outs,)]
        w, b, v, c = numbers_of(task, "given", keys, sizes, experiment["seed"], by_columns=True)
        hidden = [f"relu({balanced([*form(w[k], inputs.names), repr(b[k])])})" for k in range(units)]
        scale = single(task["target_scale"])
        texts = [(f"{scale!r}*{balanced([*form(v[at], hidden), repr(c[at])])}", at // d_out) for at in range(outs)]
    elif text == "the task's table":
        check(kind == "function" and "table" in task and inputs.d_in == 1, "the task of the checkpoint has no table")
        return Target([(proof_formulas.table(task["table"]["x"], task["table"]["y"]), i) for i in range(n)], inputs)
    else:
        formulas = split(text)
        check(len(formulas) == d_out, f"{len(formulas)} formulas are given for {d_out} output numbers of a position")
        texts = [(formula, i) for i in range(n) for formula in formulas]
    return Target([(proof_formulas.parse(formula), i) for formula, i in texts], inputs)


def numbers_of(task, given, keys, shapes, seed, by_columns=False):
    """Constants of a task in float32, as they are given or drawn: one matrix after the other, N(0, 1)."""
    if task.get(given):
        return [np.float32(task[given][key]).astype(float).reshape(shape).tolist() for key, shape in zip(keys, shapes)]
    draw, found = normals(seed), []
    for shape in shapes:
        numbers = np.float32([next(draw) for _ in range(math.prod(shape))]).astype(float)
        found.append((numbers.reshape(shape[::-1]).T if by_columns else numbers.reshape(shape)).tolist())
    return found


def words(seed, stream=1):
    """ChaCha with 8 rounds, keyed by the seed and the stream of a task's constants: 64-bit words."""
    key = struct.unpack("<8I", seed.to_bytes(8, "little") + bytes([stream]) + bytes(23))
    quarters = [(0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15), (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)]
    full = 0xFFFFFFFF
    for counter in range(2**32):
        start = [0x61707865, 0x3320646E, 0x79622D32, 0x6B206574, *key, counter, 0, 0, 0]
        x = list(start)
        for a, b, c, d in quarters * 4:
            for p, q, r, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
                x[p] = (x[p] + x[q]) & full
                x[r] ^= x[p]
                x[r] = (x[r] << turn | x[r] >> (32 - turn)) & full
        x = [(one + other) & full for one, other in zip(x, start)]
        yield from (low | high << 32 for low, high in zip(x[::2], x[1::2]))


def normals(seed):
    """N(0, 1) by the ziggurat of Doornik (2005) with 256 layers of one area."""
    tail, area = 3.654152885361008796, 0.00492867323399
    bell = lambda x: math.exp(-x * x / 2)  # noqa: E731
    edges = [area / bell(tail), tail]
    while len(edges) < 256:
        edges.append(math.sqrt(-2 * math.log(area / edges[-1] + bell(edges[-1]))))
    edges.append(0.0)
    draw = words(seed)
    open_unit = lambda: (next(draw) >> 12) * 2.0**-52 + 2.0**-53  # noqa: E731
    while True:
        word = next(draw)
        layer, u = word & 0xFF, (word >> 12) * 2.0**-51 - 1
        x = u * edges[layer]
        if abs(x) < edges[layer + 1]:
            yield x
        elif layer == 0:
            while True:
                past, y = math.log(open_unit()) / tail, math.log(open_unit())
                if -2 * y >= past * past:
                    break
            yield past - tail if u < 0 else tail - past
        else:
            below, above = bell(edges[layer + 1]), bell(edges[layer])
            if below + (above - below) * ((next(draw) >> 11) * 2.0**-53) < bell(x):
                yield x
