"""A head over anchors beside a curve of one number, bounded over boxes for proof_descent.py, in double precision rounded outward.

Anchors stand one apart, k from the middle, and scores are −c (u − k)². Bounds of mixtures over boxes: proof_mixtures.py.
"""

from functools import lru_cache

import numpy as np

from proof_formulas import ONE, I, constants, exp, formula, parse
from proof_mixtures import INF, U, head_of, mixture, most

PER_ANCHOR, CHUNK, WINDOW = 512, 256, 13  # boxes between neighbouring anchors; boxes at once; anchors on either side whose weights are felt


def study(maps, keys, row, curve, c, end):
    """Upper bounds over |u| ≤ end of |head − curve|, of |head'|, of what noise in scores moves, and of Σ P |V|.

    maps: query, key, value and output of one head with one output; keys: rows of the anchors [K, width]; row: a query's columns as (factor of u,
    constant), [width] each; curve: a formula of x1. Noise of the score of k, in units of 2⁻²⁴: c (2 |u k| + |u² − (u − k)²| + 5 (u − k)²) + 10.
    """
    parts = *maps, keys, *row
    return _study(tuple((part.shape, part.tobytes()) for part in parts), curve, float(c), float(end))


@lru_cache(maxsize=64)
def _study(parts, curve, c, end):
    *maps, keys, linear, constant = (np.frombuffer(data).reshape(shape) for shape, data in parts)
    none = np.zeros_like(constant), np.zeros((len(constant), 1))
    head = head_of(maps, keys, (linear[:, None], constant, *none))
    values, tree, found = head["values"][:, 0], parse(curve), np.zeros(4)
    edges = np.linspace(-end, end, int(np.ceil(2 * end * PER_ANCHOR)) + 1)
    for at in range(0, len(edges) - 1, CHUNK):
        ends = edges[at : at + CHUNK + 1, None]
        low, high = ends[:-1], ends[1:]
        m = (low + high) / 2
        r = np.nextafter(np.maximum(high - m, m - low), INF)[:, 0]
        names = lambda a, b: constants(1) | {"x1": (I(a[:, 0], b[:, 0]), [ONE])}  # noqa: E731
        (middle, whole, slopes, _), = mixture(head, low, high)
        over, point = formula(tree, names(low, high)), formula(tree, names(m, m))
        error = np.nextafter((middle - point[0]).size() + np.nextafter((slopes[0] - over[1][0]).size() * r, INF), INF)
        moved = noise(values, whole, c, m[:, 0], r)
        found = np.maximum(found, [error.max(), slopes[0].size().max(), *moved])
    return tuple(map(float, found))


def noise(values, whole, c, m, r):
    """Above Σ P |V − head| γ and Σ P |V|, for boxes m ± r on which the head lies in `whole`."""
    count = len(values)
    k = np.arange(count) - (count - 1) / 2
    near = np.clip(np.rint(m[0] + (count - 1) / 2).astype(int), 0, count - 1)
    kept = slice(max(near - WINDOW, 0), near + WINDOW + 1)
    # Scores relative to that of the anchor next to the first box; all boxes of a chunk lie within half a step of each other.
    score = -c * ((m[:, None] - k) ** 2 - (m[:, None] - k[near]) ** 2)
    apart = 2 * c * np.abs(k - k[near]) * r[:, None] + 16 * U * (1 + c * k.max() ** 2)
    up, down = exp(score + apart)[0] * (1 + 2e-14), exp(score - apart)[0] * (1 - 2e-14)
    rest = np.delete(up, kept, axis=1).sum(-1)
    k, values, up, down, apart = k[kept], values[kept], up[:, kept], down[:, kept], np.abs(m[:, None] - k[kept]) + r[:, None]
    size = np.abs(m)[:, None] + r[:, None]
    gamma = c * (2 * size * np.abs(k) + np.abs(k) * (np.abs(2 * m[:, None] - k) + 2 * r[:, None]) + 5 * apart**2) + 10
    off = np.maximum(np.abs(values - whole.low[:, None]), np.abs(values - whole.high[:, None])) * gamma
    share = (up + down) / 2
    share = share / share.sum(-1, keepdims=True)
    largest = np.abs(values).max() * 2 * (c * 8 * (k.max() + size.max() + count) ** 2 + 10)
    of = lambda v: most(v, down, up, (v * share).sum(-1), rest * (largest + 1)).max() * (1 + 1e-12)  # noqa: E731
    return of(off), of(np.abs(values) + 0 * off)
