#!/usr/bin/env python3
"""The forward pass of any Headway checkpoint, rebuilt with numpy alone.

A second, independent statement of what the networks compute: each layer below reads like its formula, with the axes
named beside it. Headway itself is Rust; this file shares no code with it, only the checkpoint folder

    config.json         which model, the sizes of its data, and how it was fine-tuned
    model.safetensors   its weights, linear maps as [out, in], and what LoRA, a prefix or a prompt adds to them

As a library:

    import headway_reference
    model = headway_reference.load("runs/first/checkpoints/step-00001000")  # dtype=np.float64 for twice the digits
    output = model(inputs)                     # [batch, seq_len, d_out]
    output, patterns = model.trace(inputs)     # and per layer the attention pattern, [batch, n_heads, q_len, k_len]

Inputs are vectors [batch, seq_len, d_in] or token ids [batch, seq_len], whichever the model was built for. The paper's
one-layer model returns all its d_model channels, of which the first d_out are the prediction.

Other precisions than f32, which train.precision and train.attention_precision ask for, are not imitated.

Needs Python 3.10 and numpy 1.24 or newer.
"""

from __future__ import annotations

import argparse
import inspect
import json
import math
import sys
from pathlib import Path

import numpy as np

FORMAT = 1
"""Version of the checkpoint folder that this file reads."""

LAYER_NORM_EPSILON = 1e-5
"""Added to the variance in every layer norm."""

LEAST_SHARE = 0.01
"""The least weight of a token."""


class CheckpointError(Exception):
    """A folder that is no checkpoint, or whose weights do not fit its config."""


class InputError(Exception):
    """Inputs that the model was not built for."""


# ---------------------------------------------------------------------------------------------------------------------
# Functions of arrays.


def softmax(scores):
    """exp(s_j) / Σ_k exp(s_k) along the last axis; subtracting the maximum changes nothing but the range of exp."""
    exponentials = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def erf(x):
    """The error function, entry by entry, in the precision of x."""
    return np.vectorize(math.erf, otypes=[np.float64])(x).astype(x.dtype)


def gelu_erf(x):
    """x Φ(x), with Φ the distribution function of the standard normal law."""
    return x * (0.5 * (1 + erf(x / math.sqrt(2))))


def gelu_tanh(x):
    """GELU's tanh approximation: x/2 (1 + tanh(sqrt(2/π) (x + 0.044715 x³)))."""
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def relu(x):
    """max(x, 0)."""
    return np.maximum(x, 0)


def sigmoid(x):
    """1 / (1 + exp(−x))."""
    return 1.0 / (1.0 + np.exp(-x))


def silu(x):
    """x σ(x)."""
    return x * sigmoid(x)


def weighted(scores, share):
    """m s for a score s > 0 of a key with weight m, else s / (m + 1e-5). scores [..., k_len], share m [batch, k_len], or None: 1"""
    if share is None:
        return scores
    m = share[:, None, None, :]
    return np.where(scores > 0, scores * m, scores / (m + 1e-5))


def softmax_pattern(q, k, hidden, bias=0.0, share=None):
    """softmax(weighted(q kᵀ / sqrt(d_head)) + bias) over the visible keys.

    q [batch, n_heads, q_len, d_head], k [batch, n_heads, k_len, d_head], hidden [q_len, k_len] with True where query i
    may not see key j, bias [n_heads, q_len, k_len] -> [batch, n_heads, q_len, k_len], rows sum to one
    """
    scores = weighted(q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1]), share) + bias
    scores[..., hidden] = -np.inf
    return softmax(scores)


def window_pattern(q, k, hidden, size, bias=0.0, share=None):
    """Softmax over the visible keys at distances below `size`; the last query stands where the last key does."""
    q_len, k_len = hidden.shape
    far = np.abs(np.arange(k_len - q_len, k_len)[:, None] - np.arange(k_len)[None, :]) >= size
    return softmax_pattern(q, k, hidden | far, bias, share)


def top_k_pattern(q, k, hidden, count, bias=0.0, share=None):
    """Softmax over the `count` visible keys with the largest scores; of equal ones the first keys count as the larger."""
    scores = weighted(q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1]), share) + bias
    scores[..., hidden] = -np.inf
    order = np.argsort(-scores, axis=-1, kind="stable")
    np.put_along_axis(scores, order[..., count:], -np.inf, axis=-1)
    return softmax(scores)


def sigmoid_pattern(q, k, hidden, bias=0.0, share=None):
    """σ(score − ln n), n the number of keys that the query sees."""
    scores = weighted(q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1]), share) + bias
    visible = (~hidden).sum(axis=-1, keepdims=True).astype(q.dtype)
    return 1 / (1 + visible * np.exp(-scores)) * ~hidden


def relu_over_n_pattern(q, k, hidden, bias=0.0, share=None):
    """max(score, 0) / n, n the number of keys that the query sees."""
    scores = weighted(q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1]), share) + bias
    visible = (~hidden).sum(axis=-1, keepdims=True).astype(q.dtype)
    return relu(scores) / visible * ~hidden


def pattern_of_features(of_q, of_k, levels, hidden):
    """φ(q_i)·φ(k_j) e^(c_j), normalised over the visible keys; of_q and of_k [batch, n_heads, rows, n_features], c [batch, n_heads, k_len]."""
    levels = np.broadcast_to(levels[:, :, None, :], (*of_q.shape[:3], of_k.shape[2])).copy()
    levels[..., hidden] = -np.inf
    weights = of_q @ of_k.swapaxes(-1, -2) * np.exp(levels - levels.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def favor_pattern(q, k, hidden, directions, epsilon, features):
    """Features of x' = x / d^(1/4) by W [n_features, d_head], normalised over the visible keys:

    positive e^(W x' − |x'|²/2) + ε e^c, c the largest exponent of a row; trigonometric e^(|x'|²/2) (cos W x', sin W x'); relu max(W x', 0) + ε.
    """

    def phi(x):
        x = x / x.shape[-1] ** 0.25
        arguments, half_square = x @ directions.T, (x**2).sum(axis=-1, keepdims=True) / 2
        if features == "positive":
            level = (arguments - half_square).max(axis=-1, keepdims=True)
            return np.exp(arguments - half_square - level) + epsilon, level
        if features == "trigonometric":
            return np.concatenate([np.cos(arguments), np.sin(arguments)], axis=-1), half_square
        return relu(arguments) + epsilon, np.zeros_like(half_square)

    (of_q, _), (of_k, level) = phi(q), phi(k)
    return pattern_of_features(of_q, of_k, level[..., 0], hidden)


def combiner_pattern(q, k, hidden, blocks, segment):
    """One softmax over single keys and blocks of keys, by q_i·k_j and q_i·K_t, and within a block the softmax of Q_t·k_j; all / sqrt(d_head).

    K_t and Q_t are the largest entries of the keys and the queries of block t, zero where it has no queries. fixed: single keys of the own
    segment, other segments as blocks. logn: the own key, and for each set bit of the place the block of that many keys before it; without
    a mask also those of the sequence read from its end. axial: a table of places, segment in a row; single keys of the own row, other rows as
    blocks, whose query is the one in the same column and mixes their keys too, for K_t. mixture: single keys of the own row and column, of the
    others the blocks before and behind where they cross. The last query stands at the last key.
    """
    q_len, length = hidden.shape
    missing, d, causal = length - q_len, q.shape[-1], bool(hidden.any())
    pattern = np.zeros((*q.shape[:3], length), q.dtype)
    cells = [divmod(j, segment) for j in range(length)]

    def before(place):
        bits = [level for level in range(place.bit_length()) if place >> level & 1]
        return [range((place >> level << level) - (1 << level), place >> level << level) for level in bits]

    for i in range(q_len):
        place = i + missing
        row, column = divmod(place, segment)
        if blocks == "axial":
            single = [j for j in range(length) if cells[j][0] == row and not hidden[i, j]]
            far = [[j for j in range(length) if cells[j][0] == t] for t in range(cells[-1][0] + 1) if t != row]
            far = [block for block in far if not hidden[i, block[0]]]
        elif blocks == "mixture":
            single = [j for j in range(length) if (cells[j][0] == row or cells[j][1] == column) and not hidden[i, j]]
            far = []
            for side in (-1, 1):
                for t in range(cells[-1][0] + 1):
                    far.append([j for j, (r, c) in enumerate(cells) if r == t != row and side * (c - column) > 0])
                for u in range(segment):
                    far.append([j for j, (r, c) in enumerate(cells) if c == u != column and side * (r - row) > 0])
            far = [block for block in far if block and not hidden[i, block[0]]]
        elif blocks == "fixed":
            own = range(place // segment * segment, min(length, (place // segment + 1) * segment))
            single = [j for j in own if not hidden[i, j]]
            far = [range(t, min(length, t + segment)) for t in range(0, length, segment) if t != own.start]
            far = [block for block in far if not hidden[i, block.start]]
        else:
            single, far = [place], before(place)
            if not causal:
                far += [range(length - block.stop, length - block.start) for block in before(length - 1 - place)]
        within = []
        for block in far:
            queries = [j - missing for j in block if j >= missing]
            if blocks == "axial":
                queries = [j - missing for j in [block[0] + column] if missing <= j < length]
            pooled = q[:, :, queries].max(axis=2) if queries else np.zeros_like(q[:, :, 0])
            within.append(softmax((pooled[:, :, None] * k[:, :, list(block)]).sum(axis=-1) / math.sqrt(d)))
        of_blocks = [
            (weights[..., None] * k[:, :, list(block)]).sum(axis=2) if blocks == "axial" else k[:, :, list(block)].max(axis=2)
            for block, weights in zip(far, within)
        ]
        tops = [k[:, :, j] for j in single] + of_blocks
        outer = softmax(np.stack([(q[:, :, i] * top).sum(axis=-1) for top in tops], axis=-1) / math.sqrt(d))
        for n, j in enumerate(single):
            pattern[:, :, i, j] = outer[..., n]
        for n, block in enumerate(far):
            pattern[:, :, i, list(block)] += outer[..., len(single) + n, None] * within[n]
    return pattern


def linear_pattern(q, k, hidden, bias=0.0, share=None):
    """Features elu(x) + 1, normalised over the visible keys. No scheme gives it a bias, nor has it weights of tokens."""
    phi = lambda x: np.where(x > 0, x + 1, np.exp(np.minimum(x, 0)))
    return pattern_of_features(phi(q), phi(k), np.zeros(k.shape[:3], k.dtype), hidden)


def causal_mask(seq_len):
    """True above the diagonal: query i sees keys 0 … i. [seq_len, seq_len]"""
    return np.triu(np.ones((seq_len, seq_len), dtype=bool), k=1)


def full_mask(seq_len):
    """Nothing is hidden. [seq_len, seq_len]"""
    return np.zeros((seq_len, seq_len), dtype=bool)


def sinusoidal_table(seq_len, d_model):
    """PE[pos, 2i] = sin(pos / 10000^(2i / d_model)), PE[pos, 2i+1] = cos of the same angle. [seq_len, d_model]"""
    channel = np.arange(d_model)
    angle = np.arange(seq_len)[:, None] / 10_000.0 ** ((channel - channel % 2) / d_model)
    return np.where(channel % 2 == 0, np.sin(angle), np.cos(angle))


def rotate(x, places, theta, partial=1.0):
    """Turns channels c and c + w/2 by the angle p θ^(−2c/w) at place p, w = partial d. [batch, n_heads, rows, d] -> the same"""
    width = round(partial * x.shape[-1])
    half = width // 2
    angles = places[:, None] * theta ** (-2.0 * np.arange(half) / width)
    cos, sin = np.cos(angles).astype(x.dtype), np.sin(angles).astype(x.dtype)
    first, second, rest = x[..., :half], x[..., half:width], x[..., width:]
    return np.concatenate([first * cos - second * sin, second * cos + first * sin, rest], axis=-1)


def alibi_slopes(n_heads):
    """2^(−8h/n) for n heads, n a power of two; else those of the power below, then every second one of twice as many."""
    below = 2 ** (n_heads.bit_length() - 1)
    of_power = lambda n: [2.0 ** (-8.0 * (h + 1) / n) for h in range(n)]
    return np.array((of_power(below) + of_power(2 * below)[::2])[:n_heads])


def t5_bucket(distance, buckets, max_distance):
    """Single distances below half of the buckets, then evenly in their logarithm; the last one has all from max_distance on."""
    single = buckets // 2
    growth = np.log2(np.maximum(distance, single) / single) / math.log2(max_distance / single) * (buckets - single)
    return np.where(distance < single, distance, np.minimum(single + growth.astype(int), buckets - 1))


def log_sum_exp(exponents):
    """log Σ exp over a list of arrays."""
    top = np.maximum.reduce(exponents)
    return top + np.log(sum(np.exp(exponent - top) for exponent in exponents))


def attention_kernel(weights, name, config, d_key):
    """The function of queries, keys, hidden pairs and bias that makes a pattern."""
    match config:
        case {"favor": {"n_features": n_features, "directions": _, "epsilon": epsilon, **rest}} if not (
            set(rest) - {"features", "redraw_every"}
        ):
            directions, features = weights.take(f"{name}.kernel.features", n_features, d_key), rest.get("features", "positive")
            # No scheme gives it a bias, nor has it weights of tokens: a config that would is refused.
            return lambda q, k, hidden, bias=0.0, share=None: favor_pattern(q, k, hidden, directions, epsilon, features)
        case {"combiner": {"blocks": blocks, "segment": segment, **rest}} if not rest and blocks in ("fixed", "logn", "axial", "mixture"):
            return lambda q, k, hidden, bias=0.0, share=None: combiner_pattern(q, k, hidden, blocks, segment)
        case {"temperature": {"temperature": temperature, **rest}} if not rest:
            return lambda q, k, hidden, bias=0.0, share=None: softmax_pattern(q / temperature, k, hidden, bias, share)
        case {"window": {"size": size, **rest}} if not rest:
            return lambda q, k, hidden, bias=0.0, share=None: window_pattern(q, k, hidden, size, bias, share)
        case {"top_k": {"k": count, **rest}} if not rest:
            return lambda q, k, hidden, bias=0.0, share=None: top_k_pattern(q, k, hidden, count, bias, share)
        case _:
            return choose("kernel", KERNELS, config)


# The first two are two ways to compute one function.
KERNELS = {
    "softmax": softmax_pattern,
    "naive": softmax_pattern,
    "linear": linear_pattern,
    "sigmoid": sigmoid_pattern,
    "relu_over_n": relu_over_n_pattern,
}
ACTIVATIONS = {"gelu_erf": gelu_erf, "gelu_tanh": gelu_tanh, "relu": relu, "swiglu": silu}


# ---------------------------------------------------------------------------------------------------------------------
# Layers. Each takes its weights by name, calls them in its formula, and owns nothing else.


class Linear:
    """x Wᵀ + b, or x Wᵀ in a network without biases. [..., d_in] -> [..., d_out]"""

    def __init__(self, weights, name, d_in, d_out):
        self.weight = weights.take(f"{name}.weight", d_out, d_in)
        self.bias = weights.take(f"{name}.bias", d_out) if weights.has_biases else np.zeros(d_out, weights.dtype)

    def __call__(self, x):
        return x @ self.weight.T + self.bias


class LayerNorm:
    """(x − mean) / sqrt(variance + ε) ⊙ g + b over the channels. [..., d_model] -> the same"""

    def __init__(self, weights, name, d_model):
        self.weight = weights.take(f"{name}.weight", d_model)
        self.bias = weights.take(f"{name}.bias", d_model)

    def __call__(self, x):
        centred = x - x.mean(axis=-1, keepdims=True)
        variance = (centred**2).mean(axis=-1, keepdims=True)
        return centred / np.sqrt(variance + LAYER_NORM_EPSILON) * self.weight + self.bias


class MultiHeadAttention:
    """head_h = pattern(R(x W_q^h), R(x W_k^g)) (x W_v^g), output = concat(head_1 … head_H) W_o + b_o.

    Heads are contiguous slices of the channels; where keys and values have fewer, as many query heads in a row share one.
    R is what the norm of queries and keys does, then the position scheme; queries are then multiplied by exp(t_h) where heads have a temperature. Values are
    mixed with those of the first layer where there is a value residual. A gate multiplies the concatenation by sigmoid(x W_g). x [batch, rows, d_model] -> output of the same shape, and the pattern.
    """

    def __init__(
        self, weights, name, d_model, n_heads, kernel, d_head=None, n_kv_heads=None, qk_norm="none", gate="none",
        norm_epsilon=None, head_temperature=False, value_residual="none",
    ):
        d_head, n_kv_heads = d_head or d_model // n_heads, n_kv_heads or n_heads
        d_queries, d_keys = n_heads * d_head, n_kv_heads * d_head
        self.query = Linear(weights, f"{name}.query", d_model, d_queries)
        self.key, self.value = (Linear(weights, f"{name}.{part}", d_model, d_keys) for part in ("key", "value"))
        self.output = Linear(weights, f"{name}.output", d_queries, d_model)
        rms = lambda part, offset: RmsNorm(weights, f"{name}.{part}", d_head, offset, norm_epsilon)
        norm = lambda part: choose(
            "qk_norm",
            {"none": lambda: lambda x: x, "rms": lambda: rms(part, 0.0), "zero_centred_rms": lambda: rms(part, 1.0)},
            qk_norm,
        )()
        self.temperature = np.exp(weights.take(f"{name}.temperature.log_scale", n_heads)) if head_temperature else None
        shares = {
            "none": lambda: None,
            "identity": lambda: (0.5, 0.5),
            "learned": lambda: weights.take(f"{name}.value_mix.shares", 2),
        }
        self.shares = choose("value_residual", shares, value_residual)()
        self.query_norm, self.key_norm = norm("query_norm"), norm("key_norm")
        self.gate = choose(
            "gate",
            {"none": lambda: lambda x: 1.0, "sigmoid": lambda: SigmoidGate(weights, f"{name}.gate", d_model, d_queries)},
            gate,
        )()
        self.prefix = Prefix(weights, name, d_keys, d_keys)
        self.n_heads, self.n_kv_heads, self.d_head = n_heads, n_kv_heads, d_head
        self.pattern = attention_kernel(weights, name, kernel, d_head)

    def __call__(self, x, hidden, position=None, in_front=0, share=None, first_values=None):
        """position acts on all rows but the first `in_front`, which are learned and have no place; share weighs rows as keys;
        first_values is a list with the values of the first layer, or empty in the first layer, which puts its own there."""
        q, k, v = self.query_norm(self.split_heads(self.query(x))), self.key(x), self.value(x)
        k = self.merge_heads(self.key_norm(self.split_heads(k)))
        if first_values is not None:
            if not first_values:
                first_values.append(v)
            if self.shares is not None:
                v = self.shares[0] * first_values[0] + self.shares[1] * v
        bias = 0.0
        if position is not None:
            q = position.rotate(q, in_front)
            k = self.merge_heads(position.rotate(self.split_heads(k), in_front))
            bias = np.asarray(position.bias(x.shape[1], in_front), x.dtype)
        if self.temperature is not None:
            q = q * self.temperature[:, None, None]
        rows = k.shape[1]
        k, v, hidden = self.prefix(k, v, hidden)
        if np.ndim(bias):
            bias = np.pad(bias, [(0, 0), (0, 0), (k.shape[1] - rows, 0)])
        if share is not None:
            share = known_in_front(share, k.shape[1] - rows)
        k, v = (np.repeat(self.split_heads(part), self.n_heads // self.n_kv_heads, axis=1) for part in (k, v))
        pattern = self.pattern(q, k, hidden, bias, share)  # [batch, n_heads, rows, length + rows]
        return self.output(self.merge_heads(pattern @ v) * self.gate(x)), pattern

    def split_heads(self, x):
        batch, rows, width = x.shape
        return x.reshape(batch, rows, width // self.d_head, self.d_head).swapaxes(1, 2)  # [batch, n_heads, rows, d_head]

    @staticmethod
    def merge_heads(x):
        batch, n_heads, rows, d_head = x.shape
        return x.swapaxes(1, 2).reshape(batch, rows, n_heads * d_head)  # [batch, rows, n_heads d_head]


class AwareAttention:
    """What is known of a sequence and what is not, read apart with the same scores: h and e [batch, rows, d_model], weights m [batch, rows].

    u = norm(h), s = (u W_q)(u W_k)ᵀ / sqrt(d_head), P = softmax(weighted(s, m)), Q = softmax(weighted(s, max(1 − m, 0.01))), (a, b) =
    softmax(W [the largest score of each row, under both weights] + c); concat(a P e + b Q u) W_o + b_o, and the pattern a P + b Q.
    """

    def __init__(self, weights, name, d_model, n_heads, norm):
        self.norm = norm(f"{name}.norm")
        self.query, self.key, self.output = (
            Linear(weights, f"{name}.{part}", d_model, d_model) for part in ("query", "key", "output")
        )
        self.gate = Linear(weights, f"{name}.gate", 2 * n_heads, 2)
        self.n_heads = n_heads

    def __call__(self, h, e, share):
        u = self.norm(h)
        split = lambda x: x.reshape(*x.shape[:2], self.n_heads, -1).swapaxes(1, 2)  # [batch, n_heads, rows, d_head]
        q, k = split(self.query(u)), split(self.key(u))
        scores = q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1])
        known, hole = weighted(scores, share), weighted(scores, np.maximum(1 - share, LEAST_SHARE))
        maxima = np.concatenate([known.max(axis=-1), hole.max(axis=-1)], axis=1).swapaxes(1, 2)  # [batch, rows, 2 n_heads]
        of_known, of_hole = np.split(softmax(self.gate(maxima))[:, None], 2, axis=-1)  # [batch, 1, rows, 1]
        known, hole = of_known * softmax(known), of_hole * softmax(hole)
        mixed = known @ split(e) + hole @ split(u)
        return self.output(MultiHeadAttention.merge_heads(mixed)), known + hole


class RmsNorm:
    """y = x / sqrt(mean(x²) + ε) ⊙ (offset + weight), over the last axis; the offset of a zero-centred gain is 1. [..., width]"""

    def __init__(self, weights, name, width, offset=0.0, epsilon=None):
        self.gain = weights.take(f"{name}.weight", width) + np.asarray(offset, weights.dtype)
        self.epsilon = 1e-6 if epsilon is None else epsilon

    def __call__(self, x):
        return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + self.epsilon) * self.gain


class SigmoidGate:
    """sigmoid(x W). x [batch, rows, d_model] -> [batch, rows, n_heads d_head]"""

    def __init__(self, weights, name, d_model, width):
        self.weight = weights.take(f"{name}.project.weight", width, d_model)

    def __call__(self, x):
        return sigmoid(x @ self.weight.T)


class Prefix:
    """Learned keys and values in front of those of the rows, seen by every query; none where the file has none.

    k [batch, rows, d_keys], v [batch, rows, d_values], hidden [q_len, rows] -> the same with `length` rows more
    """

    def __init__(self, weights, name, d_keys, d_values):
        self.keys = weights.rows(f"{name}.prefix.keys", d_keys)
        self.values = weights.rows(f"{name}.prefix.values", d_values)

    def __call__(self, k, v, hidden):
        if self.keys is None or self.values is None:
            return k, v, hidden
        seen = np.zeros((len(hidden), len(self.keys)), dtype=bool)
        return before(self.keys, k), before(self.values, v), np.concatenate([seen, hidden], axis=1)


def known_in_front(share, length):
    """Weights of `length` learned rows, 1, in front of those of tokens. [batch, rows] -> [batch, length + rows]"""
    return np.pad(share, [(0, 0), (length, 0)], constant_values=1)


def before(rows, x):
    """The same rows in front of every sequence. [length, width], [batch, n, width] -> [batch, length + n, width]"""
    return np.concatenate([np.broadcast_to(rows, (len(x), *rows.shape)), x], axis=1)


class Ffn:
    """g(x W_1 + b_1) W_2 + b_2 on each token; of swiglu (g(x W_1 + b_1) ⊙ (x W_3 + b_3)) W_2 + b_2. [batch, rows, d_model] -> the same"""

    def __init__(self, weights, name, d_model, d_ffn, activation):
        self.expand = Linear(weights, f"{name}.expand", d_model, d_ffn)
        self.contract = Linear(weights, f"{name}.contract", d_ffn, d_model)
        self.up = Linear(weights, f"{name}.up", d_model, d_ffn) if activation == "swiglu" else lambda x: 1.0
        self.activation = choose("activation", ACTIVATIONS, activation)

    def __call__(self, x):
        return self.contract(self.activation(self.expand(x)) * self.up(x))


class InputMap:
    """The paper's map A: z_i = (x_i W + b) ⊙ m_i, then the interpolation tokens (anchors) as further rows.

    [batch, seq_len, d_in] -> [batch, seq_len + n_anchors, d_model]
    """

    def __init__(self, weights, name, seq_len, d_in, d_model, n_anchors):
        self.project = Linear(weights, f"{name}.project", d_in, d_model)
        self.modulation = weights.take(f"{name}.modulation", seq_len, d_model)
        # A model without anchors has no such tensor; zero rows then stand in for it.
        self.anchors = weights.take(f"{name}.anchors", n_anchors, d_model) if n_anchors else self.modulation[:0]

    def __call__(self, x):
        batch, rows, _ = x.shape
        if rows != len(self.modulation):
            raise InputError(f"this model takes sequences of exactly {len(self.modulation)} vectors, not {rows}")
        anchors = np.broadcast_to(self.anchors, (batch, *self.anchors.shape))
        return np.concatenate([self.project(x) * self.modulation, anchors], axis=1)


class TokenTable:
    """Row `id` of a table. [batch, seq_len] -> [batch, seq_len, d_model]"""

    def __init__(self, weights, name, vocab, d_model):
        self.weight = weights.take(f"{name}.weight", vocab, d_model)

    def __call__(self, tokens):
        return self.weight[tokens]


class Position:
    """A position scheme: rows added to the tokens, a turn of queries and keys, or a bias by offset j − i, [...] -> [n_heads, ...]."""

    def __init__(self, weights, name, kind, seq_len, d_model, n_heads, d_head, causal):
        self.table, self.turn, self.by_offset = None, None, None
        slopes = alibi_slopes(n_heads)[:, None, None]

        def kerple(name, most=np.inf):
            r1, r2 = (weights.take(f"{name}.{r}", n_heads)[:, None, None] for r in ("r1", "r2"))
            return np.maximum(r1, 0.01), np.clip(r2, 0.01, most)

        def kerple_log(name):
            r1, r2 = kerple(name)
            return lambda j_minus_i: -r1 * np.log1p(r2 * np.abs(j_minus_i))

        def kerple_power():
            r1, r2 = kerple(name, 2)
            return lambda j_minus_i: -r1 * np.abs(j_minus_i).astype(float) ** r2

        def t5(name, buckets, max_distance, two_sided):
            count = buckets // 2 if two_sided else buckets
            table = weights.take(f"{name}.table", n_heads, 2 * count - 1 if two_sided else count)

            def bias(j_minus_i):
                later = (count - 1) * (two_sided & (j_minus_i > 0))
                return table[:, later + t5_bucket(np.abs(j_minus_i), count, max_distance)]

            return bias

        def mep(window, learned=None):
            kernels = [lambda at: -slopes * np.abs(at), lambda at: -slopes * np.abs(at) ** 2]
            if learned is None:
                kernels.append(lambda at: -slopes / 2 * np.abs(at))
            else:
                buckets = t5(f"{name}.buckets", two_sided=False, **learned)
                kernels += [kerple_log(f"{name}.log"), lambda at: math.sqrt(d_head) * buckets(at)]

            def bias(j_minus_i):
                exponents = [kernel(j_minus_i) for kernel in kernels]
                if window == "none":
                    return log_sum_exp(exponents) - math.log(len(kernels))
                with np.errstate(divide="ignore"):
                    mean = sum(np.exp(exponent.astype(np.float32)) for exponent in exponents) / len(kernels)
                    return np.maximum(np.log(mean), -1e30)

            return bias

        match kind:
            case {"rope": {"theta": theta, **rest}} if rest.keys() <= {"partial"}:
                self.turn = lambda x, places: rotate(x, places, theta, **rest)
            case {"t5": {"buckets": _, "max_distance": _, **rest}} if not rest:
                self.by_offset = t5(name, two_sided=not causal, **kind["t5"])
            case {"mep": {"window": "none" | "official", **rest}} if rest.keys() <= {"learned"}:
                self.by_offset = mep(**kind["mep"])
            case "alibi":
                self.by_offset = lambda j_minus_i: -slopes * np.abs(j_minus_i)
            case "kerple_log":
                self.by_offset = kerple_log(name)
            case "kerple_power":
                self.by_offset = kerple_power()
            case _:
                tables = {
                    "none": lambda: None,
                    "learned": lambda: weights.take(f"{name}.weight", seq_len, d_model),
                    "sinusoidal": lambda: sinusoidal_table(seq_len, d_model).astype(weights.dtype),
                }
                self.table = choose("position", tables, kind)()

    def __call__(self, x):
        """Adds the table. [batch, seq_len, d_model] -> the same"""
        if self.table is None:
            return x
        rows = x.shape[1]
        if rows > len(self.table):
            raise InputError(f"this model has {len(self.table)} positions, too few for a sequence of {rows}")
        return x + self.table[:rows]

    def rotate(self, x, in_front):
        """[batch, n_heads, rows, d_head] -> the same; rows in front stand at place 0, where nothing turns"""
        if self.turn is None:
            return x
        return self.turn(x, np.maximum(np.arange(x.shape[2]) - in_front, 0))

    def bias(self, rows, in_front):
        """0 for pairs with a row in front. [n_heads, rows, rows]"""
        if self.by_offset is None:
            return 0.0
        at = np.arange(rows)
        return self.by_offset(at - at[:, None]) * ((at[:, None] >= in_front) & (at >= in_front))


class Block:
    """h ← h + σ(s) after(attention(norm(h))), then h ← h + after(ffn(norm(h))) where there is one; norms, gate and residual can be absent."""

    def __init__(self, weights, name, d_model, norm, after, residual, residual_gate, state_mixer, **attention):
        self.residual = residual
        self.attention_norm = norm(f"{name}.attention_norm")
        self.attention_after = after(f"{name}.attention_after_norm")
        self.factor = sigmoid(weights.take(f"{name}.residual_gate", 1)) if residual_gate else 1.0
        self.attention = MultiHeadAttention(weights, f"{name}.attention", d_model, **attention)
        match state_mixer:
            case "none":
                self.ffn = None
            case {"ffn": {"d_ffn": d_ffn, "activation": activation, **rest}} if not rest:
                self.ffn_norm = norm(f"{name}.ffn_norm")
                self.ffn_after = after(f"{name}.ffn_after_norm")
                self.ffn = Ffn(weights, f"{name}.ffn", d_model, d_ffn, activation)
            case _:
                raise CheckpointError(f"state_mixer: `{state_mixer}` is not known to this file")

    def __call__(self, x, hidden, position=None, in_front=0, share=None, first_values=None):
        update, pattern = self.attention(self.attention_norm(x), hidden, position, in_front, share, first_values)
        x = self.add(x, self.attention_after(update) * self.factor)
        if self.ffn is not None:
            x = self.add(x, self.ffn_after(self.ffn(self.ffn_norm(x))))
        return x, pattern

    def add(self, x, update):
        return x + update if self.residual else update


def norms(weights, place, kind, d_model, epsilon):
    """Two functions from names to norms: those before attention, feed-forward network and head, and those after the first two."""
    kinds = {
        "layer": lambda name: LayerNorm(weights, name, d_model),
        "rms": lambda name: RmsNorm(weights, name, d_model, 0.0, epsilon),
        "zero_centred_rms": lambda name: RmsNorm(weights, name, d_model, 1.0, epsilon),
    }
    norm, nothing = choose("norm_kind", kinds, kind), lambda name: lambda x: x
    return choose("norm", {"pre": (norm, nothing), "sandwich": (norm, norm), "none": (nothing, nothing)}, place)


# ---------------------------------------------------------------------------------------------------------------------
# Networks. The keyword arguments after the star are the keys of the model's table in config.json, none more, none less.


class PaperOneLayer:
    """Input map A, one attention over all its rows, first seq_len rows kept.

    Readout `channels` keeps all d_model channels; `softmax` gives y = Σ_c softmax(z)_c z_c, one number per token.
    """

    def __init__(self, weights, dims, *, d_model, n_heads, n_anchors, kernel, readout):
        self.input_map = InputMap(weights, "input_map", dims["seq_len"], vector_width(dims), d_model, n_anchors)
        self.attention = MultiHeadAttention(weights, "attention", d_model, n_heads, kernel)
        readouts = {"channels": lambda z: z, "softmax": lambda z: (softmax(z) * z).sum(axis=-1, keepdims=True)}
        self.readout = choose("readout", readouts, readout)

    def trace(self, x):
        z = self.input_map(x)  # [batch, seq_len + n_anchors, d_model]
        z, pattern = self.attention(z, full_mask(z.shape[1]))
        return self.readout(z[:, : x.shape[1]]), [pattern]


class PaperTwoLayer:
    """Input map A, attention, affine map, attention, first seq_len rows kept, linear readout."""

    def __init__(self, weights, dims, *, d_model, n_heads, n_anchors, kernel):
        self.input_map = InputMap(weights, "input_map", dims["seq_len"], vector_width(dims), d_model, n_anchors)
        self.attention_1 = MultiHeadAttention(weights, "attention_1", d_model, n_heads, kernel)
        self.affine = Linear(weights, "affine", d_model, d_model)
        self.attention_2 = MultiHeadAttention(weights, "attention_2", d_model, n_heads, kernel)
        self.head = Linear(weights, "head", d_model, dims["d_out"])

    def trace(self, x):
        z = self.input_map(x)  # [batch, seq_len + n_anchors, d_model]
        hidden = full_mask(z.shape[1])
        z, pattern_1 = self.attention_1(z, hidden)
        z, pattern_2 = self.attention_2(self.affine(z), hidden)
        return self.head(z[:, : x.shape[1]]), [pattern_1, pattern_2]


class PaperSetKeys:
    """Input map A, one head whose keys' last channel and values' first channel hold set interpolation points."""

    def __init__(self, weights, dims, *, d_model, n_anchors, low, high, inverse_temperature, shift):
        self.input_map = InputMap(weights, "input_map", dims["seq_len"], vector_width(dims), d_model, n_anchors)
        self.query, self.key, self.value, self.output = (
            Linear(weights, f"attention.{name}", d_model, d_model) for name in ("query", "key", "value", "output")
        )
        rows = dims["seq_len"] + n_anchors
        self.points = np.linspace(low, high, rows)  # L_k
        self.keys = np.arange(rows) * (self.points + self.points[0]) - 2 * np.arange(rows) * shift
        self.scale = inverse_temperature / np.sqrt(d_model)

    def trace(self, x):
        z = self.input_map(x)  # [batch, rows, d_model]
        k, v = self.key(z), self.value(z)
        k[..., -1], v[..., 0] = self.keys, self.points
        pattern = softmax(self.scale * (self.query(z) @ k.swapaxes(-1, -2)))  # [batch, rows, rows]
        return self.output(pattern @ v)[:, : x.shape[1]], [pattern[:, None]]


class AttentionStack:
    """Layers of an affine map and attention: H ← Σ_h pattern_h (Z^k W_v^h) W_o^h with Z = map(H).

    Z^q, the first `queries` rows of Z, ask; Z^k, the last `keys` rows, answer. No bias inside attention. If it is causal, a row
    sees itself, the rows above it, and those that belong to no row of H.
    """

    def __init__(self, weights, dims, *, layers, readout, kernel, causal=False):
        rows, width = dims["seq_len"], vector_width(dims)
        self.layers = []
        for at, config in enumerate(layers):
            self.layers.append(StackLayer(weights, f"layers.{at}", rows, width, kernel, causal, **config))
            rows, width = self.layers[-1].queries, config["d_out"]
        self.seq_len, flat = dims["seq_len"], dims["seq_len"] * dims["d_out"]
        self.softmax, self.project = None, None
        match readout:
            case "rows":
                pass
            case "affine":
                self.project = Linear(weights, "readout.project", rows * width, flat)
            case {"softmax": {"width": channels, "d_value": d_value, **rest}} if not rest:
                scores = Linear(weights, "readout.softmax.scores", width, channels)
                values = weights.take("readout.softmax.values.weight", d_value, channels)
                self.softmax = lambda h: softmax(scores(h)) @ values.T
                self.project = Linear(weights, "readout.project", rows * d_value, flat)
            case _:
                raise CheckpointError(f"readout: `{readout}` is not known to this file")

    def trace(self, x):
        patterns = []
        for layer in self.layers:
            x, pattern = layer(x)
            patterns.append(pattern)
        if self.project is None:
            return x[:, : self.seq_len], patterns
        h = self.softmax(x) if self.softmax else x
        return self.project(h.reshape(len(h), -1)).reshape(len(h), self.seq_len, -1), patterns


class StackLayer:
    """One layer of a stack. [batch, rows_in, d_in] -> [batch, queries, d_out], and the patterns of all heads."""

    def __init__(self, weights, name, rows_in, d_in, kernel, causal, *, map, rows, width, heads, d_out, queries=None, keys=None):
        self.queries, self.keys = queries or rows, keys or rows
        asking, answering = np.arange(self.queries)[:, None], np.arange(rows - self.keys, rows)
        self.hidden = (answering > asking) & (answering < rows_in) & causal
        maps = {
            "token_wise": lambda: self.token_wise(
                weights.take(f"{name}.map.project.weight", width, d_in), weights.take(f"{name}.map.position", rows, width)
            ),
            "sequence_wise": lambda: self.sequence_wise(
                Linear(weights, f"{name}.map.project", rows_in * d_in, rows * width), rows
            ),
        }
        self.map = choose("map", maps, map)()
        self.heads = [
            HeadGroup(weights, f"{name}.heads.{at}", width, d_out, kernel, **heads) for at, heads in enumerate(heads)
        ]

    @staticmethod
    def token_wise(weight, position):
        def apply(x):
            z = np.broadcast_to(position, (len(x), *position.shape)).copy()
            z[:, : x.shape[1]] += x @ weight.T
            return z  # [batch, rows, width]

        return apply

    @staticmethod
    def sequence_wise(project, rows):
        return lambda x: project(x.reshape(len(x), -1)).reshape(len(x), rows, -1)

    def __call__(self, x):
        z = self.map(x)
        outputs, patterns = zip(*(heads(z[:, : self.queries], z[:, -self.keys :], self.hidden) for heads in self.heads))
        return sum(outputs), np.concatenate(patterns, axis=1)


class HeadGroup:
    """Heads of one size, without biases, their outputs summed."""

    def __init__(self, weights, name, width, d_out, kernel, *, count, d_key, d_value):
        self.count = count
        self.query = weights.take(f"{name}.query.weight", count * d_key, width)
        self.key = weights.take(f"{name}.key.weight", count * d_key, width)
        self.value = weights.take(f"{name}.value.weight", count * d_value, width)
        self.output = weights.take(f"{name}.output.weight", d_out, count * d_value)
        self.prefix = Prefix(weights, name, count * d_key, count * d_value)
        self.pattern = attention_kernel(weights, name, kernel, d_key)

    def __call__(self, asking, answering, hidden):
        split = lambda x: x.reshape(*x.shape[:2], self.count, -1).swapaxes(1, 2)  # [batch, count, rows, d_head]
        k, v, hidden = self.prefix(answering @ self.key.T, answering @ self.value.T, hidden)
        q, k, v = split(asking @ self.query.T), split(k), split(v)
        pattern = self.pattern(q, k, hidden)  # [batch, count, queries, keys]
        return MultiHeadAttention.merge_heads(pattern @ v) @ self.output.T, pattern


class TensorPool:
    """V = mean over t of x_t ⊗ x_t (⊗ x_t), x_t = [h_t W, time code, 1]; the power γ of its spectrum; its distinct entries.

    [batch, seq_len, d_model] -> [batch, entries]
    """

    def __init__(self, weights, name, d_model, *, order, features, time, gamma, power):
        self.weight = weights.take(f"{name}.project.weight", features, d_model)
        self.order, self.time, self.gamma, self.exponent = order, time, gamma, power

    @staticmethod
    def power(c, p):
        """sign(c) |c|^p, smoothed where |c| is below 1e-4."""
        return c * (c * c + 1e-8) ** ((p - 1) / 2)

    def __call__(self, h):
        n = h.shape[1]
        places = lambda count: np.linspace(0, 1, count) if count > 1 else np.full(count, 0.5)
        codes = np.exp(-(((places(n)[:, None] - places(self.time)) * self.time) ** 2) / 2)
        constants = np.concatenate([codes, np.ones((n, 1))], axis=1).astype(h.dtype)
        x = np.concatenate([h @ self.weight.T, np.broadcast_to(constants, (len(h), *constants.shape))], axis=2)
        v = np.stack([self.normalised(one.astype(np.float64)) for one in x])
        w = x.shape[2]
        distinct = np.array([at for at in np.ndindex(*[w] * self.order) if list(at) == sorted(at)])
        v = v[(slice(None), *distinct.T)]
        return (v if self.exponent == 1 else self.power(v, self.exponent)).astype(h.dtype)

    def normalised(self, x):
        """The tensor of one sequence. [seq_len, width]"""
        if self.order == 2:
            v = x.T @ x / len(x)
            values, u = np.linalg.eigh(v)
            return v if self.gamma == 1 else (u * self.power(values, self.gamma)) @ u.T
        v = np.einsum("ti,tj,tk->ijk", x, x, x) / len(x)
        unfolded = v.reshape(len(v), -1)
        u = np.linalg.eigh(unfolded @ unfolded.T)[1]
        core = np.einsum("ijk,ia,jb,kc->abc", v, u, u, u)
        return v if self.gamma == 1 else np.einsum("abc,ia,jb,kc->ijk", self.power(core, self.gamma), u, u, u)


class Transformer:
    """h = embed(x) + position; h = block_l(h) for each layer; output = head(norm(h)), or head(pool(norm(h))) everywhere.

    With weights of tokens, the last number m of each input is that of its row as a key in the first layer, at least 0.01, then √m, and so on.
    """

    def __init__(
        self, weights, dims, *, d_model, n_layers, n_heads, causal, norm, residual, position, kernel, state_mixer,
        d_head=None, n_kv_heads=None, qk_norm="none", gate="none", token_weight="none", attention_aware=0, pool="none",
        norm_kind="layer", norm_epsilon=None, residual_gate=False, head_temperature=False, value_residual="none",
        tie_embedding=False, bias=True, initialization="pytorch",
    ):
        weights.has_biases = bias  # how they began does not matter any more
        match dims["input"]:
            case {"tokens": {"vocab": vocab}}:
                self.embed = TokenTable(weights, "embed", vocab, d_model)
            case _:
                self.embed = Linear(weights, "embed", vector_width(dims), d_model)
        sizes = {"n_heads": n_heads, "d_head": d_head or d_model // n_heads, "causal": causal}
        self.position = Position(weights, "position", position, dims["seq_len"], d_model, **sizes)
        self.prompt = weights.rows("prompt.rows", d_model)
        norm, after = norms(weights, norm, norm_kind, d_model, norm_epsilon)
        self.blocks = [
            Block(
                weights, f"blocks.{layer}", d_model, norm, after, residual, residual_gate, state_mixer,
                n_heads=n_heads, kernel=kernel, d_head=d_head, n_kv_heads=n_kv_heads, qk_norm=qk_norm, gate=gate,
                norm_epsilon=norm_epsilon, head_temperature=head_temperature,
                value_residual=value_residual if layer > 0 else "none",
            )
            for layer in range(n_layers)
        ]
        self.mixes_values = value_residual != "none"
        self.final_norm = norm("final_norm")
        self.aware = attention_aware and AwareAttention(weights, "aware", d_model, attention_aware, norm)
        match pool:
            case {"tensor": {"order": order, "features": features, "time": time, "gamma": _, "power": _, **rest}} if not rest:
                self.pool = TensorPool(weights, "pool.tensor", d_model, **pool["tensor"])
                d_model = math.comb(features + time + order, order)
            case _:
                pools = {"none": lambda h: None, "mean": lambda h: h.mean(axis=1)}
                self.pool = choose("pool", pools, pool)
        self.head = (lambda h: h @ self.embed.weight.T) if tie_embedding else Linear(weights, "head", d_model, dims["d_out"])
        self.mask = causal_mask if causal else full_mask
        self.residual = residual
        shares = {"none": lambda x: None, "tfill": lambda x: np.clip(x[..., -1], LEAST_SHARE, 1)}
        self.share = choose("token_weight", shares, token_weight)

    def trace(self, x):
        share = self.share(x)  # [batch, seq_len]
        h = self.position(self.embed(x))  # [batch, seq_len, d_model]
        seq_len = h.shape[1]
        if self.prompt is not None:
            h = before(self.prompt, h)
        hidden, in_front = self.mask(h.shape[1]), h.shape[1] - seq_len
        share = share if share is None else known_in_front(share, in_front)
        embedded, patterns, first_values = h, [], [] if self.mixes_values else None
        for block in self.blocks:
            h, pattern = block(h, hidden, self.position, in_front, share, first_values)
            patterns.append(pattern)
            share = share if share is None else np.sqrt(share)
        if self.aware:
            read, pattern = self.aware(h, embedded, share)
            h = h + read if self.residual else read
            patterns.append(pattern)
        h = self.final_norm(h[:, -seq_len:])
        pooled = self.pool(h)
        if pooled is None:
            return self.head(h), patterns
        return np.repeat(self.head(pooled)[:, None], seq_len, axis=1), patterns


class Csformer:
    """h_(c,t) = x_(t,c) ν + position_t; blocks of two stages with one attention; a linear head on all times of a channel.

    x [batch, seq_len, channels] -> [batch, seq_len, horizon channels], the same answer at every position.
    """

    def __init__(
        self, weights, dims, *, d_model, n_layers, n_heads, d_adapter, patch, mix_channels, from_last, position, kernel
    ):
        self.channels, self.seq_len, self.patch, self.from_last = vector_width(dims), dims["seq_len"], patch, from_last
        times, horizon = self.seq_len // patch, dims["d_out"] // self.channels
        self.lift = weights.take("lift.weight", d_model, patch)
        sizes = {"n_heads": n_heads, "d_head": d_model // n_heads, "causal": False}
        self.position = Position(weights, "position", position, times, d_model, **sizes)
        self.blocks = []
        for layer in range(n_layers):
            name = f"blocks.{layer}"
            attention = MultiHeadAttention(weights, f"{name}.attention", d_model, n_heads, kernel)
            stage = lambda part: AdapterStage(weights, f"{name}.{part}", d_model, d_adapter, attention)
            self.blocks.append((stage("channel") if mix_channels else None, stage("time")))
        self.head = Linear(weights, "head", times * d_model, horizon)

    def trace(self, x):
        batch, rows, _ = x.shape
        if rows != self.seq_len:
            raise InputError(f"this model takes sequences of exactly {self.seq_len} vectors, not {rows}")
        if self.from_last:
            x = x - x[:, -1:]
        x = x.swapaxes(1, 2).reshape(batch * self.channels, -1, self.patch)
        h = self.position(x @ self.lift.T).reshape(batch, self.channels, rows // self.patch, -1)
        patterns = []
        for channel, time in self.blocks:
            if channel is not None:
                update, pattern = channel(h.swapaxes(1, 2))
                h = h + update.swapaxes(1, 2)
                patterns.append(pattern)
            update, pattern = time(h, self.position)
            h = h + update
            patterns.append(pattern)
        steps = self.head(h.reshape(batch, self.channels, -1))  # [batch, channels, horizon]
        answer = steps.swapaxes(1, 2).reshape(batch, 1, -1)
        return np.broadcast_to(answer, (batch, rows, answer.shape[2])), patterns


class AdapterStage:
    """adapter(norm(attention(line))) for every line of a table of rows; the attention is that of both stages.

    x [batch, lines, rows, d_model] -> the same, and the pattern [batch, lines n_heads, rows, rows]
    """

    def __init__(self, weights, name, d_model, d_adapter, attention):
        self.attention = attention
        self.norm = LayerNorm(weights, f"{name}.norm", d_model)
        self.adapter = Ffn(weights, f"{name}.adapter", d_model, d_adapter, "gelu_erf")

    def __call__(self, x, position=None):
        batch, lines, rows, d_model = x.shape
        mixed, pattern = self.attention(x.reshape(batch * lines, rows, d_model), full_mask(rows), position)
        return self.adapter(self.norm(mixed)).reshape(x.shape), pattern.reshape(batch, -1, rows, rows)


NETWORKS = {
    "paper_one_layer": PaperOneLayer,
    "paper_two_layer": PaperTwoLayer,
    "paper_set_keys": PaperSetKeys,
    "attention_stack": AttentionStack,
    "transformer": Transformer,
    "csformer": Csformer,
}


class Model:
    """A network together with the inputs that it accepts."""

    def __init__(self, network, dims, dtype):
        self.network = network
        self.dims = dims
        self.dtype = dtype

    def __call__(self, inputs):
        """Vectors [batch, seq_len, d_in] or token ids [batch, seq_len] -> [batch, seq_len, d_out]"""
        return self.trace(inputs)[0]

    def trace(self, inputs):
        """The output, and one attention pattern [batch, n_heads, q_len, k_len] per layer, first to last."""
        return self.network.trace(self.checked(np.asarray(inputs)))

    def checked(self, inputs):
        match self.dims["input"]:
            case {"tokens": {"vocab": vocab}}:
                if inputs.ndim != 2 or not np.issubdtype(inputs.dtype, np.integer):
                    raise InputError(f"expected integers [batch, seq_len], got {inputs.dtype} {list(inputs.shape)}")
                if inputs.size and not 0 <= inputs.min() <= inputs.max() < vocab:
                    raise InputError(f"token ids must lie in 0 … {vocab - 1}, got {inputs.min()} … {inputs.max()}")
                return inputs
            case _:
                d_in = vector_width(self.dims)
                if inputs.ndim != 3 or inputs.shape[2] != d_in:
                    raise InputError(f"expected vectors [batch, seq_len, {d_in}], got {list(inputs.shape)}")
                return inputs.astype(self.dtype)


# ---------------------------------------------------------------------------------------------------------------------
# Files.


class Weights:
    """The tensors of a file, each handed out once by name and shape.

    What does not fit is collected, so that one error names all of it.
    """

    def __init__(self, tensors, dtype, lora_scale=None):
        self.dtype = dtype
        self.lora_scale = lora_scale
        self.tensors = dict(tensors)
        self.problems = []
        self.has_biases = True

    def take(self, name, *shape):
        """The tensor of that name; zeros where the file cannot give it, until `finish` says so."""
        tensor = self.tensors.pop(name, None)
        if tensor is None:
            self.problems.append(f"{name}: not in the file, the model wants {list(shape)}")
        elif tensor.shape != shape:
            self.problems.append(f"{name}: the model has {list(shape)}, the file {list(tensor.shape)}")
        else:
            return self.with_low_rank(name, tensor.astype(self.dtype))
        return np.zeros(shape, self.dtype)

    def rows(self, name, width):
        """The learned rows of that name, [length, width]; None where there are none."""
        tensor = self.tensors.get(name)
        return None if tensor is None or tensor.ndim != 2 else self.take(name, len(tensor), width)

    def with_low_rank(self, name, weight):
        """W + scale B A, where LoRA has learned A [rank, d_in] and B [d_out, rank] beside the weight."""
        a, b = (f"{name.removesuffix('.weight')}.low_rank.{half}" for half in "ab")
        if self.lora_scale is None or not {a, b} <= self.tensors.keys():
            return weight
        a, b = (self.tensors.pop(half).astype(self.dtype) for half in (a, b))
        return weight + self.lora_scale * (b @ a)

    def finish(self):
        """Raises unless every tensor was found, fitted and used."""
        problems = self.problems + [f"{name}: not in the model" for name in sorted(self.tensors)]
        if problems:
            raise CheckpointError("the weights do not fit the model:\n  " + "\n  ".join(problems))


def read_safetensors(path):
    """Every tensor of a safetensors file by name.

    The format: the header's length as 8 little-endian bytes, a JSON header {name: {dtype, shape, data_offsets}}, then
    the raw row-major values; data_offsets count from the end of the header.
    """
    try:
        content = Path(path).read_bytes()
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])
        header.pop("__metadata__", None)
        return {name: tensor_in(content[8 + length :], entry) for name, entry in header.items()}
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: not a whole safetensors file of F32 or F64 tensors ({error})") from error


def tensor_in(data, entry):
    dtype = np.dtype({"F32": "<f4", "F64": "<f8"}[entry["dtype"]])
    start, end = entry["data_offsets"]
    return np.frombuffer(data[start:end], dtype).reshape(entry["shape"])


def read_config(folder):
    """Name of the model, its fields, and the sizes of its data."""
    path = Path(folder) / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        if config["format"] != FORMAT:
            raise CheckpointError(f"{path}: format {config['format']}, but this file reads format {FORMAT}")
        [(name, fields)] = config["model"].items()
        return name, fields, {key: config["dims"][key] for key in ("seq_len", "input", "d_out")}
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}") from error
    except KeyError as error:
        raise CheckpointError(f"{path}: the key {error} is missing") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: not a checkpoint's config ({error})") from error


def lora_scale(folder):
    """alpha / rank of a checkpoint that was fine-tuned with LoRA, else None."""
    config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    match config.get("experiment"):
        case {"finetune": {"lora": {"rank": rank, "alpha": alpha}}}:
            return alpha / rank
        case _:
            return None


def choose(key, known, name):
    """The entry of that name; an unknown name is an error that lists the known ones."""
    try:
        return known[name]
    except (KeyError, TypeError):
        raise CheckpointError(f"{key}: `{name}` is not known to this file; known: {', '.join(known)}") from None


def vector_width(dims):
    match dims["input"]:
        case {"continuous": {"d_in": d_in}}:
            return d_in
        case other:
            raise CheckpointError(f"dims.input: this model takes vectors, not {json.dumps(other)}")


def load(folder, dtype=np.float32):
    """The model of a checkpoint folder, computing in `dtype` (float32 or float64).

    Raises CheckpointError when the config holds a key that this file does not know or lacks one, and when a tensor is
    missing, left over or of another shape; the message names each.
    """
    dtype = np.dtype(dtype)
    if dtype not in (np.float32, np.float64):
        raise ValueError(f"dtype must be float32 or float64, not {dtype}")
    name, fields, dims = read_config(folder)
    network = choose("model", NETWORKS, name)
    weights = Weights(read_safetensors(Path(folder) / "model.safetensors"), dtype, lora_scale(folder))
    try:
        inspect.signature(network).bind(weights, dims, **fields)
    except TypeError as error:
        raise CheckpointError(f"config.json: model.{name}: {error}") from error
    model = Model(network(weights, dims, **fields), dims, dtype)
    weights.finish()
    return model


# ---------------------------------------------------------------------------------------------------------------------
# Command line.


def load_array(path):
    """The one array of a .npy file, or the one tensor of a .safetensors file."""
    if str(path).endswith(".safetensors"):
        tensors = read_safetensors(path)
        if len(tensors) != 1:
            raise InputError(f"{path}: holds {len(tensors)} tensors, not one")
        return next(iter(tensors.values()))
    try:
        return np.load(path, allow_pickle=False)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:
        raise InputError(f"{path}: not a .npy array ({error})") from error


def load_inputs(path, dims):
    """What to feed a model of these sizes; the token ids of a .safetensors file are whole numbers in floats."""
    inputs = load_array(path)
    if "tokens" not in dims["input"] or not np.array_equal(inputs, np.trunc(inputs)):
        return inputs
    return inputs.astype(np.int64)


def arguments():
    parser = argparse.ArgumentParser(
        description="Compute the output of a Headway checkpoint with numpy alone, as a check on Headway itself.",
        epilog="""\
inputs, as a .npy array or the one tensor of a .safetensors file:
  vectors     floats    [batch, seq_len, d_in]
  token ids   integers  [batch, seq_len]

output, as a .npy array:
  [batch, seq_len, d_out]; the paper's one-layer model with the channels readout gives all d_model channels, of which
  the first d_out are the prediction

example:
  headway eval runs/first/checkpoints/step-00001000 --save-outputs saved
  python headway_reference.py runs/first/checkpoints/step-00001000 --inputs saved/inputs.safetensors --out out.npy

Tensors that are missing, left over or of the wrong shape are an error that names them. Exit code 0 when the output was
written, 1 when checkpoint or inputs do not fit, 2 for a wrong command line.""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "checkpoint", metavar="CHECKPOINT", help="folder that holds config.json and model.safetensors"
    )
    parser.add_argument("--inputs", required=True, metavar="IN", help="what to feed the model, .npy or .safetensors")
    parser.add_argument("--out", required=True, metavar="OUT.npy", help="where to write its output")
    parser.add_argument(
        "--dtype", choices=["float32", "float64"], default="float32", help="precision of every step (default: float32)"
    )
    return parser.parse_args()


def main():
    args = arguments()
    try:
        model = load(args.checkpoint, np.dtype(args.dtype))
        output = model(load_inputs(args.inputs, model.dims))
    except (CheckpointError, InputError) as error:
        sys.exit(f"error: {error}")
    with open(args.out, "wb") as file:  # an open file keeps numpy from appending a second .npy
        np.save(file, output)
    print(f"wrote {args.out}: {output.dtype} {list(output.shape)}")


if __name__ == "__main__":
    main()
