"""Attention to evenly spaced anchors, in units of their distance."""

from __future__ import annotations

import numpy as np

import headway_reference as reference


def moments(u, anchors, c):
    """Mean and variance of the anchor that softmax(−c (u − k)²) picks among 0 … anchors − 1, for every u."""
    k = np.arange(anchors)
    weights = reference.softmax(-c * (u[:, None] - k) ** 2)
    mean = weights @ k
    return mean, weights @ k**2 - mean**2


def chain(c, intervals, heads):
    """Heads in a row, in units of the distance: sup |Σ_h head_h(u) − clamp(u)|, and sup Σ_h E |k − E k|, which noise in scores multiplies."""
    heads, intervals = min(heads, 4), min(intervals, 24)
    u = np.arange(-6 * 512, (heads * intervals + 6) * 512) / 512
    found, spread, k = 0.0, 0.0, np.arange(intervals + 1)
    for h in range(heads):
        weights = reference.softmax(-c * (u[:, None] - h * intervals - k) ** 2)
        mean = weights @ k
        found += mean
        spread += (weights * np.abs(k - mean[:, None])).sum(axis=1)
    return np.abs(found - np.clip(u, 0, heads * intervals)).max(), spread.max()
