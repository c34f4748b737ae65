"""Formulas over boxes, for check_proof.py: values and slopes as intervals in double precision, rounded outward.

Sums and products are rounded by one unit in the last place outward. The elementary functions are written here from their series, each with a
bound on its error, so that nothing rests on a system's library: logarithm and arc tangent start from the library's value and bound how far it is off.
"""

import ast
import math

import numpy as np

U, INF = 2.0**-53, np.inf
np.seterr(all="ignore")


class Problem(Exception):
    pass


def check(condition, message):
    if not condition:
        raise Problem(message)


def told(path, problem):
    """An error that a folder's files cause, in words."""
    if isinstance(problem, OSError):
        return f"error: {problem.filename or path}: {problem.strerror or problem}"
    said = f"{problem} is missing" if isinstance(problem, KeyError) else f"{problem} ({type(problem).__name__})"
    return f"error: {path}: a file is not as `headway` writes it: {said}"


# Elementary functions: (value, bound on its error). Horner's rule with n coefficients is off by at most 2 n u Σ |c_i| |r|^i.
def exp(x):
    x = np.clip(x, -2000, 2000)
    k = np.rint(x / math.log(2))
    r = (x - k * 0.693147180369123816490) - k * 1.90821492927058770002e-10  # ln 2 in two parts, the first with 21 zero bits
    p = np.zeros_like(r)
    for i in range(14, -1, -1):
        p = p * r + 1 / math.factorial(i)
    value = np.ldexp(p, k.astype(int))  # |r| < 0.35: 30 u e^0.7, 0.35^15/15!, and the error of r stay below 1e-14
    return value, 1e-14 * value + 1e-300


def wave(x, quarter):
    """sin(x + quarter π/2)"""
    q = np.rint(x * (2 / math.pi))
    r = (x - q * 1.57079632673412561417) - q * 6.07710050650619224932e-11  # π/2 in two parts
    s, c = np.zeros_like(r), np.zeros_like(r)
    for i in range(10, -1, -1):
        s, c = s * -(r * r) + 1 / math.factorial(2 * i + 1), c * -(r * r) + 1 / math.factorial(2 * i)
    which = (q + quarter) % 4
    value = np.select([which == 0, which == 1, which == 2], [s * r, c, -s * r], -c)
    return value, np.where(np.abs(x) < 1e5, 1e-14 + 1e-15 * np.abs(x), INF)


def ln(x):
    y = np.log(x)  # a guess: ln x = y + ln z with z = x exp(−y), and |ln z| ≤ 2 |z − 1|
    value, off = exp(-y)
    away = np.abs(x * value - 1) + np.abs(x) * off + 8 * U
    return y, np.where(away < 0.5, 2 * away, INF)


def atan(x):
    t, off = np.arctan(x), 1e-13 * (1 + np.abs(x))  # a guess: tan(atan x − t) = (x cos t − sin t)/(cos t + x sin t)
    (s, _), (c, _) = wave(t, 0), wave(t, 1)
    return t, (np.abs(x * c - s) + off) / (c + x * s - off)


def erf(x):
    y = np.clip(x, -6, 6)
    term, total = np.ones_like(y), np.ones_like(y)
    for n in range(200):  # 2y/√π e^{−y²} Σ (2y²)^n / (1·3·…·(2n + 1)), all terms positive
        term = term * (2 * y * y) / (2 * n + 3)
        total = total + term
    return np.where(np.abs(x) > 6, np.sign(x), 2 / math.sqrt(math.pi) * y * exp(-y * y)[0] * total), np.full_like(x, 2e-13)


class I:
    """Numbers between two ends, rounded outward; what is not a number is everything."""

    def __init__(self, low, high=None, ulps=0):
        low, high = np.asarray(low, float), np.asarray(low if high is None else high, float)
        for _ in range(ulps):
            low, high = np.nextafter(low, -INF), np.nextafter(high, INF)
        self.low, self.high = np.where(np.isnan(low), -INF, low), np.where(np.isnan(high), INF, high)

    def __neg__(self):
        return I(-self.high, -self.low)

    def __add__(self, other):
        return I(self.low + other.low, self.high + other.high, 1)

    def __sub__(self, other):
        return self + -other

    def __mul__(self, other):
        pairs = [(a, b) for a in (self.low, self.high) for b in (other.low, other.high)]
        ends = [np.where((a == 0) | (b == 0), 0.0, a * b) for a, b in pairs]
        return I(np.minimum.reduce(ends), np.maximum.reduce(ends), 1)

    def inverse(self):
        return I(1 / self.high, 1 / self.low, 1).unless((self.low <= 0) & (self.high >= 0))

    def unless(self, bad):
        return I(np.where(bad, -INF, self.low), np.where(bad, INF, self.high))

    def size(self):
        return np.maximum(np.abs(self.low), np.abs(self.high))

    def abs(self):
        return I(np.where((self.low <= 0) & (self.high >= 0), 0.0, np.minimum(np.abs(self.low), np.abs(self.high))), self.size())

    def hull(self, other):
        return I(np.minimum(self.low, other.low), np.maximum(self.high, other.high))

    def rising(self, of):
        (a, da), (b, db) = of(self.low), of(self.high)
        return I(a - da, b + db, 1)

    def meets(self, phase, period):
        return ~(np.floor((self.high - phase) / period + 1e-9) < np.ceil((self.low - phase) / period - 1e-9))

    def sin(self, quarter=0):
        (a, da), (b, db) = wave(self.low, quarter), wave(self.high, quarter)
        top, bottom = (self.meets(turn * math.pi / 2, 2 * math.pi) for turn in (1 - quarter, -1 - quarter))
        return I(np.where(bottom, -1, np.minimum(a - da, b - db)), np.where(top, 1, np.maximum(a + da, b + db)), 1)

    def power(self, n):
        if n < 0:
            return self.power(-n).inverse()
        base, ends = (self.abs() if n % 2 == 0 else self), []
        for x in (base.low, base.high):
            product = ONE
            for _ in range(n):
                product = product * I(x)
            ends.append(product)
        return I(ends[0].low, ends[1].high)


ONE, TWO, HALF, ZERO = I(1.0), I(2.0), I(0.5), I(0.0)
PI, E, LN2, LN10, ROOT2, BELL, ERF = (
    I(x, ulps=8) for x in (math.pi, math.e, math.log(2), math.log(10), math.sqrt(2), 1 / math.sqrt(2 * math.pi), 2 / math.sqrt(math.pi))
)


def kinked(x, below, above):
    return I(np.where(x.low >= 0, above, below), np.where(x.high <= 0, below, above))


def steps(x, of):
    value = I(of(x.low), of(x.high))
    return value, ZERO.unless(value.low < value.high) + ZERO * x


def e(x):
    return x.rising(exp)


def root(x):
    value = I(np.maximum(np.nextafter(np.sqrt(x.low), 0), 0), np.nextafter(np.sqrt(x.high), INF)).unless(~(x.low >= 0))
    return value, HALF * value.inverse()


def sigmoid(x):
    s = (ONE + e(-x)).inverse()
    return s, s * (ONE - s)


def tanh(x):
    t = ONE - TWO * (ONE + e(TWO * x)).inverse()
    return t, ONE - t.power(2)


def gelu(x):
    law = HALF * (ONE + (x * ROOT2.inverse()).rising(erf))
    return x * law, law + x * (BELL * e(-(HALF * x.power(2))))


def logarithm(x, unit):
    return (x.rising(ln) * unit.inverse()).unless(~(x.low > 0)), (x * unit).inverse()


def tan(x):
    low, high = (I(v).sin() * I(v).sin(1).inverse() for v in (x.low, x.high))
    value = I(low.low, high.high).unless(x.meets(math.pi / 2, math.pi))
    return value, ONE + value.power(2)


def arcsine(x):  # asin x = atan(x/√(1 − x²))
    ends = [I(v) * root(ONE - I(v).power(2))[1] * TWO for v in (x.low, x.high)]
    return I(ends[0].low, ends[1].high).rising(atan).unless(~(x.size() < 1)), TWO * root(ONE - x.power(2))[1]


def angle(a, b):
    """The angle of the point (x, y), which jumps along the negative half of the axis; between, corners have the extreme ones."""
    y, x = a[0], b[0]
    cut, ends = (x.low <= 0) & (y.low <= 0) & (y.high >= 0), []
    for v, u in ((v, u) for v in (y.low, y.high) for u in (x.low, x.high)):
        t = np.arctan2(v, u)  # a guess: the tangent of what is missing is (v cos t − u sin t)/(u cos t + v sin t)
        (s, _), (c, _), off = wave(t, 0), wave(t, 1), 1e-13 * (np.abs(u) + np.abs(v))
        along = u * c + v * s - off
        miss = np.where(along > 0, (np.abs(v * c - u * s) + off) / along, INF)
        ends.append((t - miss, t + miss))
    turn = np.nextafter(math.pi, INF)
    low, high = np.minimum.reduce([end[0] for end in ends]), np.maximum.reduce([end[1] for end in ends])
    value = I(np.where(cut, -turn, np.maximum(low, -turn)), np.where(cut, turn, np.minimum(high, turn)), 1)
    part = (x.power(2) + y.power(2)).inverse()
    return value, [(x * part * dy + -(y * part) * dx).unless(cut) for dy, dx in zip(a[1], b[1])]


def table(x, y):
    """Straight lines through points, constant beyond, as a function of one jet over boxes."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    slopes, slack = np.concatenate([[0.0], np.diff(y) / np.diff(x), [0.0]]), 32 * U * np.abs(y).max()

    def over(jet):
        value, (slope,) = jet
        first, last = np.searchsorted(x, value.low, "left"), np.searchsorted(x, value.high, "right")
        low, high = np.interp(value.low, x, y), np.interp(value.high, x, y)
        ends = [np.concatenate([[a, b], y[i:j]]) for a, b, i, j in zip(low, high, first, last)]
        touched = [slopes[i : j + 1] for i, j in zip(first, last)]  # at a point, the lines on both sides
        steep = I([t.min() for t in touched], [t.max() for t in touched], 8)
        return I([e.min() - slack for e in ends], [e.max() + slack for e in ends], 1), [steep * slope]

    return over


FUNCTIONS = {
    "abs": lambda x: (x.abs(), kinked(x, -1.0, 1.0)),
    "relu": lambda x: (I(np.maximum(x.low, 0), np.maximum(x.high, 0)), kinked(x, 0.0, 1.0)),
    **{name: lambda x, of=of: steps(x, of) for name, of in (("ceil", np.ceil), ("floor", np.floor), ("signum", np.sign))},
    "step": lambda x: steps(x, lambda v: (v >= 0) * 1.0),
    **{"sqrt": root, "sigmoid": sigmoid, "tanh": tanh, "gelu": gelu, "tan": tan, "asin": arcsine},
    "acos": lambda x: (HALF * PI - arcsine(x)[0], -arcsine(x)[1]),
    "atan": lambda x: (x.rising(atan), (ONE + x.power(2)).inverse()),
    "silu": lambda x: (x * sigmoid(x)[0], sigmoid(x)[0] + x * sigmoid(x)[1]),
    "exp": lambda x: (e(x), e(x)),
    **{name: lambda x, unit=unit: logarithm(x, unit) for name, unit in (("ln", ONE), ("log2", LN2), ("log10", LN10))},
    "sin": lambda x: (x.sin(), x.sin(1)),
    "cos": lambda x: (x.sin(1), -x.sin()),
    "sinh": lambda x: (HALF * (e(x) - e(-x)), HALF * (e(x.abs()) + e(-x.abs()))),
    "cosh": lambda x: (HALF * (e(x.abs()) + e(-x.abs())), HALF * (e(x) - e(-x))),
    "erf": lambda x: (x.rising(erf), ERF * e(-x.power(2))),
}


def formula(node, names):
    """Value and slopes of a formula over boxes."""
    of = lambda inner: formula(inner, names)  # noqa: E731
    then = lambda jet, both: (both[0], [both[1] * g for g in jet[1]])  # noqa: E731
    times = lambda a, b: (a[0] * b[0], [g * b[0] + a[0] * h for g, h in zip(a[1], b[1])])  # noqa: E731
    match node:
        case ast.Constant(value=value):
            return I(float(value)), [ZERO] * names[""]
        case ast.Name(id=name):
            return names[name]
        case ast.UnaryOp(op=op, operand=inner):
            return of(inner) if isinstance(op, ast.UAdd) else then(of(inner), (-of(inner)[0], -ONE))
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            a, b = of(left), of(right)
            n = float(b[0].low) if b[0].low.ndim == 0 and b[0].low == b[0].high else None
            if n is not None and n == int(n) and abs(n) <= 1024:
                return then(a, (a[0].power(int(n)), I(n) * a[0].power(int(n) - 1)))
            exponent = times(then(a, FUNCTIONS["ln"](a[0])), b)  # a power of 0 is not followed
            return then(exponent, FUNCTIONS["exp"](exponent[0]))
        case ast.BinOp(left=left, op=op, right=right):
            a, b = of(left), of(right)
            if isinstance(op, ast.Mult) and ast.dump(left) == ast.dump(right):
                return then(a, (a[0].power(2), TWO * a[0]))
            if isinstance(op, ast.Add | ast.Sub):
                b = b if isinstance(op, ast.Add) else (-b[0], [-g for g in b[1]])
                return a[0] + b[0], [g + h for g, h in zip(a[1], b[1])]
            return times(a, b if isinstance(op, ast.Mult) else then(b, (b[0].inverse(), -(b[0].power(2).inverse()))))
        case ast.Call(func=ast.Name(id="min" | "max" as name), args=args):
            sign = ONE if name == "max" else -ONE
            jets = [then(of(arg), (sign * of(arg)[0], sign)) for arg in args]
            a = jets[0]
            for b in jets[1:]:
                above, below = a[0].low > b[0].high, b[0].low > a[0].high

                def pick(p, q, above=above, below=below):
                    both = p.hull(q)
                    ends = ((p.low, q.low, both.low), (p.high, q.high, both.high))
                    return I(*(np.where(above, x, np.where(below, y, z)) for x, y, z in ends))

                a = I(np.maximum(a[0].low, b[0].low), np.maximum(a[0].high, b[0].high)), [pick(g, h) for g, h in zip(a[1], b[1])]
            return then(a, (sign * a[0], sign))
        case ast.Call(func=ast.Name(id="atan2"), args=[a, b]):
            return angle(of(a), of(b))
        case ast.Call(func=ast.Name(id=name), args=[inner]) if name in FUNCTIONS:
            return then(of(inner), FUNCTIONS[name](of(inner)[0]))
    raise Problem(f"a formula has something that is not followed here: {ast.unparse(node)}")


def parse(text):
    try:
        return ast.parse(text.replace("^", "**"), mode="eval").body
    except SyntaxError as problem:
        raise Problem(f"{text} is no formula: {problem}") from None


def constants(d):
    return {"": d, "PI": (PI, [ZERO] * d), "E": (E, [ZERO] * d)}
