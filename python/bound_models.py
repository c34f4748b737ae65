"""Taylor models over many boxes at once, for check_bound.py: what a number inside a network is on a box, up to an error.

Over the box x_a = m_a + r_a t_a, |t_a| ≤ 1, a model stands for every function Σ_k c_k t^k + η(t) with monomials t^k of degree 2 at most and |η| ≤ e. Products and
functions put what has a higher degree into e; a function of a model is its Taylor polynomial, with the third derivative over the range as its remainder.
Softmax is N/D, N = Σ p_k E(t_k) v_k and D = Σ p_k E(t_k), where t_k are the scores less a polynomial that all have in common and E their exponential.

Rounding: a sum of n products is off by γ_n = n u/(1 − n u) times the sum of the sizes of its terms, in any order, u = 2⁻⁵³. With `single` the network's own
sums are rounded as well, u = 2⁻²⁴. Errors themselves are sums and products of numbers that are not negative, which UP makes up for.
"""

from itertools import combinations_with_replacement

import numpy as np

from proof_formulas import U, erf, exp

INF, UP, TINY = np.inf, 1 + 1e-10, 1e-300
SINGLE, TINIEST, EXP_ROUNDINGS, GELU_ROUNDINGS, ROOT_ROUNDINGS = 2.0**-24, 1.2e-38, 16, 32, 8  # as docs/theory/certify.md states them
FAINT, LIBRARY, LIBRARY_ERF = -600.0, 1.1e-14, 3e-13  # scores so low have no weight; what exponentials and erf of proof_formulas.py are off by
MONOMIALS = [sum((list(combinations_with_replacement(range(d), n)) for n in range(3)), []) for d in range(4)]
DIMENSION = {len(monomials): d for d, monomials in enumerate(MONOMIALS)}
PRODUCTS = [
    [(i, j, m.index(tuple(sorted(a + b)))) for i, a in enumerate(m) for j, b in enumerate(m) if len(a + b) <= 2] for m in MONOMIALS
]


class Taylor:
    """Coefficients c [monomials, boxes, …] and errors e [boxes, …]; where a coefficient is no number the error is infinite."""

    def __init__(self, c, e):
        e = np.where(np.isnan(e), INF, e) * UP + TINY
        if not np.isfinite(c).all():
            e = np.where(np.isfinite(c).all(0), e, INF)
            c = np.where(np.isfinite(c), c, 0.0)
        self.c, self.e, self.d = c, e, DIMENSION[len(c)]

    def parts(self):
        """The sizes of the linear and of the quadratic part."""
        return np.abs(self.c[1 : self.d + 1]).sum(0), np.abs(self.c[self.d + 1 :]).sum(0)

    def radius(self):
        """How far its values are from c_0 at most."""
        return (sum(self.parts()) + self.e) * UP

    def size(self):
        return (np.abs(self.c[0]) + self.radius()) * UP

    def range(self):
        """Ends of all its values: along each axis g t + q t² is exact, other products lie within their size."""
        low, high = self.c[0].copy(), self.c[0].copy()
        monomials = MONOMIALS[self.d]
        for k, monomial in enumerate(monomials[self.d + 1 :], self.d + 1):
            a, b = monomial
            if a != b:
                low, high = low - np.abs(self.c[k]), high + np.abs(self.c[k])
                continue
            g, q = np.abs(self.c[a + 1]), self.c[k]
            inside = np.where(g < 2 * np.abs(q), g * g / np.where(q == 0, 1, 4 * np.abs(q)), 0)  # |value| at the vertex
            high = high + np.where((q < 0) & (inside > 0), inside, np.maximum(g + q, 0 * q))
            low = low - np.where((q > 0) & (inside > 0), inside, np.maximum(g - q, 0 * q))
        slop = self.e * UP + 32 * U * np.abs(self.c).sum(0)
        return low - slop, high + slop

    def within(self, low, high):
        """Itself, or all numbers between two ends that hold its values, where these say more."""
        middle = low + (high - low) / 2
        away = np.maximum(high - middle, middle - low) * (1 + 4 * U)
        narrow = (self.e > away) | (self.radius() > 2 * away)
        constant = np.zeros_like(self.c)
        constant[0] = middle
        return Taylor(np.where(narrow, constant, self.c), np.where(narrow, away, self.e))

    def at(self, index):
        """A part of its shape, by an index behind the boxes."""
        index = index if isinstance(index, tuple) else (index,)
        return Taylor(self.c[(slice(None), slice(None), *index)], self.e[(slice(None), *index)])

    def map(self, of):
        """Moved, repeated or reshaped numbers, by a function of arrays [boxes, …]."""
        return Taylor(np.stack([of(c) for c in self.c]), of(self.e))


def constant(values, like):
    """The same numbers […] on every box."""
    shape = (len(like.e), *np.shape(values))
    c = np.zeros((len(like.c), *shape))
    c[0] = values
    return Taylor(c, np.zeros(shape))


def points(values):
    """Numbers alone. [boxes, …]"""
    return Taylor(values[None], np.zeros(values.shape))


def joined(parts, axis):
    """Models side by side along an axis behind the boxes, counted with them."""
    return Taylor(np.concatenate([part.c for part in parts], axis + 1), np.concatenate([part.e for part in parts], axis))


class Rules:
    """Operations on models, with the rounding of double precision and, if `single`, that of a network in float32."""

    def __init__(self, single=False):
        self.single, self.tiny = (SINGLE, TINIEST) if single else (0.0, TINY)

    def gamma(self, n):
        """γ_n of the network's own roundings, and of those here, of which there are a few more."""
        own = (n + 6) * U
        return (n * self.single / (1 - n * self.single) + own / (1 - own)) * UP

    def affine(self, x, weight, bias=0.0):
        """x Wᵀ + b along the last axis, W [out, in] known up to a rounding."""
        n = weight.shape[-1] + 1
        c, size, bias = x.c @ weight.T, np.abs(weight).T, np.asarray(bias)
        c[0] += bias
        return Taylor(c, (x.e + self.gamma(n) * x.size()) @ size + self.gamma(n) * np.abs(bias) + n * self.tiny)

    def plus(self, x, y):
        return Taylor(x.c + y.c, x.e + y.e + self.gamma(1) * (x.size() + y.size()) + self.tiny)

    def minus(self, x, y):
        return self.plus(x, Taylor(-y.c, y.e))

    def scaled(self, x, by):
        """x times numbers."""
        return Taylor(x.c * by, np.abs(by) * (x.e + self.gamma(1) * x.size()) + self.tiny)

    def product(self, f, g, times, n=1, by=None):
        """A bilinear map of two models, by `times` for arrays [boxes, …], which sums n products; times a number that is rounded itself."""
        found = [None] * len(f.c)
        for i, j, k in PRODUCTS[f.d]:
            part = times(f.c[i], g.c[j])
            found[k] = part if found[k] is None else found[k] + part
        (f1, f2), (g1, g2) = f.parts(), g.parts()
        every_f, every_g = np.abs(f.c[0]) + f1 + f2, np.abs(g.c[0]) + g1 + g2
        e = times(f.e, every_g + g.e) + times(every_f, g.e) + self.gamma(n if by is None else n + 2) * times(every_f + f.e, every_g + g.e)
        if f.d:
            e = e + times(f1, g2) + times(f2, g1 + g2)
        by = 1.0 if by is None else by
        return Taylor(by * np.stack(found), by * e + (n + 2) * self.tiny)

    def of(self, x, value, slope, bend, third):
        """φ(x), from φ, φ' and φ''/2 at c_0, each with what it is off by, and the largest |φ'''|/6 over the range."""
        r1, r2 = x.parts()
        c = slope[0] * x.c
        c[0] = value[0]
        for i, j, k in PRODUCTS[x.d]:
            if 1 <= i <= x.d and 1 <= j <= x.d:
                c[k] += bend[0] * x.c[i] * x.c[j]
        r = x.radius()
        e = np.abs(slope[0]) * x.e + np.abs(bend[0]) * (2 * r1 * r2 + r2 * r2 + x.e * (2 * (r1 + r2) + x.e))
        e = e + value[1] + slope[1] * r + bend[1] * r * r + third * r**3
        e = e + 16 * U * (np.abs(value[0]) + np.abs(slope[0]) * r + np.abs(bend[0]) * r * r)
        return Taylor(c, e)

    def relu(self, x):
        """max(x, 0), between two parallel lines where both signs occur."""
        low, high = x.range()
        share = np.where(low >= 0, 1.0, np.where(high <= 0, 0.0, high / np.where(high > low, high - low, 1)))
        share = np.where(np.isfinite(share), share, 0.0)
        # max(x, 0) − s x is between 0 and the larger of −s low and (1 − s) high.
        above = np.where((low < 0) & (high > 0), np.maximum(-share * low, (1 - share) * high) * (1 + 8 * U), 0)
        c = share * x.c
        c[0] += above / 2
        y = Taylor(c, np.where(share > 0, share * x.e, 0) + above / 2 + 8 * U * (share * np.abs(x.c).sum(0) + above))
        return y.within(np.zeros_like(low), np.maximum(high, 0))

    def gelu(self, x):
        """x Φ(x)"""
        low, high = x.range()
        m = x.c[0]
        bell, off = exp(-m * m / 2)
        bell, off = bell * 0.3989422804014327, off + 1e-15
        law, off_law = 0.5 * (1 + erf(m * 0.7071067811865476)[0]), LIBRARY_ERF + 4 * U
        most = np.maximum(np.abs(low), np.abs(high))
        least = np.where((low <= 0) & (high >= 0), 0, np.minimum(np.abs(low), np.abs(high)))
        cubic = np.maximum(np.abs(most**3 - 4 * least), np.abs(least**3 - 4 * most))  # x³ − 4x for x between the two
        cubic = np.fmin(cubic * 0.39894229 * exp(-np.minimum(least, 30) ** 2 / 2)[0] * 1.001, 0.779)  # and nowhere more
        y = self.of(
            x, (m * law, np.abs(m) * off_law), (law + m * bell, off_law + np.abs(m) * off), ((2 - m * m) * bell / 2, (1 + m * m) * off), cubic / 6
        )
        y.e = y.e + self.single * GELU_ROUNDINGS * most
        return self.below_relu(y, low, high, -0.17)

    def tanh(self, x):
        low, high = x.range()
        part, _ = exp(-2 * np.abs(x.c[0]))
        t = np.sign(x.c[0]) * (1 - part) / (1 + part)
        off = 1e-13
        least = np.where((low <= 0) & (high >= 0), 0, np.minimum(np.abs(low), np.abs(high)))
        part, _ = exp(-2 * least)
        rest = 4 * part / (1 + part) ** 2 * 1.001  # the largest 1 − tanh²
        y = self.of(x, (t, off), (1 - t * t, 2 * off), (-t * (1 - t * t), 2 * off), np.minimum(2.0, 4 * rest) / 6)
        return y.within(np.full_like(low, -1.0), np.full_like(low, 1.0))

    def gelu_tanh(self, x):
        """x/2 (1 + tanh(√(2/π) (x + 0.044715 x³)))"""
        low, high = x.range()
        size, times = np.maximum(np.abs(low), np.abs(high)), np.multiply
        exact = Rules()  # of float32 the stated roundings count
        cube = exact.product(exact.product(x, x, times), x, times)
        argument = exact.scaled(exact.plus(x, exact.scaled(cube, 0.044715)), 0.7978845608028654)
        half = exact.scaled(exact.tanh(argument), 0.5)
        half.c[0] += 0.5
        y = exact.product(x, Taylor(half.c, half.e + 4 * U), times)
        y.e = y.e + self.single * GELU_ROUNDINGS * size
        return self.below_relu(y, low, high, -0.171)

    def below_relu(self, y, low, high, least):
        """GELUs lie between the larger of min(x, 0) and their least value, and max(x, 0)."""
        slack = (1e-12 + self.single * GELU_ROUNDINGS) * np.maximum(np.abs(low), np.abs(high))
        return y.within(np.maximum(np.minimum(low, 0), least) - slack, np.maximum(high, 0) + slack)

    def norm(self, x, centred, gain, bias, epsilon):
        """(x − mean)/√(variance + ε) ⊙ g + b along the last axis, or without the mean."""
        n = x.c.shape[-1]
        if centred:
            x = self.minus(x, self.affine(x, np.full((1, n), 1 / n)))
        square = self.product(x, x, lambda a, b: (a * b).sum(-1, keepdims=True), n, 1 / n)
        square.c[0] += epsilon
        square = Taylor(square.c, square.e + self.gamma(2) * square.size())
        least = epsilon * (1 - 16 * (self.single + U))
        m, low = square.c[0], np.maximum(square.range()[0], least)
        root = 1 / np.sqrt(m)
        rate = self.of(square, (root, 8 * U * root), (-root / m / 2, 8 * U * root / m), (0.375 * root / m**2, 8 * U * root / m**2), 0.3125 * low**-3.5 * 1.001)
        rate.e = rate.e + self.single * ROOT_ROUNDINGS * rate.size()
        y = self.product(x, rate, np.multiply)
        most = np.sqrt(n) * (1 + 1e-9 + (n + 32) * (self.single + U))
        y = y.within(np.full_like(y.e, -most), np.full_like(y.e, most))  # Σ y² ≤ n
        y = self.scaled(y, gain)
        y.c[0] += bias
        return Taylor(y.c, y.e + self.gamma(1) * (y.size() + np.abs(bias)))

    def mixture(self, s, v, seen=None):
        """Σ_k P_k v_k, P = softmax(s): scores [boxes, …, n, m], values [boxes, …, m, width] -> [boxes, …, n, width]; seen [n, m]."""
        m = s.c.shape[-1]
        seen = np.ones(s.c.shape[-2:], bool) if seen is None else seen
        top = np.where(seen, s.c[0], -INF).max(-1, keepdims=True)
        below = np.where(seen, s.c[0] - top, 2 * FAINT)
        kept, radius = seen & (below > FAINT), s.radius()
        widest = np.where(seen, radius, 0).max(-1, keepdims=True)
        faint = np.where(seen & ~kept, np.exp(below + radius + widest + 1), 0).sum(-1)[..., None]  # of keys that are left out
        p = np.where(kept, exp(below)[0], 0)
        p = p / p.sum(-1, keepdims=True)
        common = (p * s.c[1:]).sum(-1, keepdims=True)  # softmax does not see it, whatever it is
        t = np.where(kept, s.c[1:] - common, 0)
        own = s.e + LIBRARY + U * (16 + 4 * np.abs(below)) + 2 * U * (np.abs(s.c[1:]) + np.abs(common)).sum(0)
        own = own + self.single * (2 * (np.abs(below) + radius + widest) + EXP_ROUNDINGS)
        t = Taylor(np.concatenate([np.zeros_like(p)[None], t]), np.where(kept, own, 0))
        weights = self.exponential(t)
        weights = Taylor(p * weights.c, p * (weights.e + 8 * U * weights.size()))
        # A mixture is v̄ + (N − v̄ D)/D.
        total = Taylor(weights.c.sum(-1, keepdims=True), weights.e.sum(-1, keepdims=True) + 2 * (m + 8) * U * weights.size().sum(-1, keepdims=True))
        # The exponential is convex: D is at least that of the mean of t, of which errors alone are left, times the sum of p.
        share = p.sum(-1, keepdims=True)
        left = np.abs((p * t.c[1:]).sum(-1, keepdims=True)).sum(0) + (p * t.e).sum(-1, keepdims=True) + 2 * (m + 8) * U * t.size().max(-1, keepdims=True)
        least = np.maximum(total.range()[0], (1 - (m + 8) * 2 * U) * share * np.exp(-left / share * UP) / UP**2)
        x = total.c[0]
        inverse = self.of(total, (1 / x, 4 * U / x), (-1 / x**2, 4 * U / x**2), (1 / x**3, 4 * U / x**3), np.where(least > 0, least, 0.0) ** -4.0 * 1.001)
        inverse = inverse.within(1 / total.range()[1] / UP, UP / least)
        mean, times = p @ v.c[0], np.matmul
        off = [None] * len(s.c)
        for i, j, k in PRODUCTS[s.d]:
            part = times(weights.c[i], v.c[j]) - (mean * total.c[i] if j == 0 else 0)
            off[k] = part if off[k] is None else off[k] + part
        (w1, w2), (v1, v2) = weights.parts(), v.parts()
        e = times(p + w1 + w2 + weights.e, v.e) + times(weights.e, v1 + v2)
        if s.d:
            e = e + times(w1, v2) + times(w2, v1 + v2)
        for k in range(m):  # what weights are off by counts by how far values are from their mean
            e = e + weights.e[..., k : k + 1] * np.abs(v.c[0][..., k : k + 1, :] - mean)
        size = v.size()
        largest = np.where(seen[..., None], size[..., None, :, :], 0).max(-2) if not seen.all() else size.max(-2, keepdims=True)
        e = e + 4 * U * (m + 16) * (1 + w1.sum(-1, keepdims=True) + w2.sum(-1, keepdims=True)) * (largest + np.abs(mean))
        # Two numbers that are divided by D: a row of shares times what is off.
        y = self.exactly(Taylor(np.stack(off), e), inverse)
        y.c[0] += mean
        sums = self.single and self.gamma(2 * m + 6)
        y = Taylor(y.c, y.e + 2 * U * (np.abs(mean) + y.size()) + (2 * faint + sums) * largest + m * self.tiny)
        (low, high), margin = v.range(), (2 * faint + sums) * largest
        if seen.all():
            return y.within(low.min(-2, keepdims=True) - margin, high.max(-2, keepdims=True) + margin)
        low, high = (np.where(seen[..., None], end[..., None, :, :], other) for end, other in ((low, INF), (high, -INF)))
        return y.within(low.min(-2) - margin, high.max(-2) + margin)

    @staticmethod
    def exactly(f, g):
        """f g in real numbers."""
        return Rules().product(f, g, np.multiply)

    @staticmethod
    def exponential(t):
        """e^t for t with c_0 = 0; e^r − 1 − r − r²/2 = r³/6 (1 + r/4 + r²/20 + …) is the most that is left for |t| ≤ r."""
        one, r = np.ones_like(t.e), t.radius()
        series = 1 / np.maximum(1 - r / 4, 0.01)  # the sum of (r/4)^n
        wide = 6 * (np.expm1(np.minimum(r, 700.0)) * 1.001 - r - r * r / 2) / np.maximum(r, 1) ** 3
        wide = np.where(r < 700, wide, INF)
        return Rules().of(t, (one, 0), (one, 0), (one / 2, 0), np.where(r < 2, series, wide) / 6 * 1.001)
