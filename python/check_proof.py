#!/usr/bin/env python3
"""Check a proof over boxes, `proof.json` beside a certificate, from the weights and the formula alone.

`headway construct … --prove` writes which boxes cover the domain; nothing else of it is used. This script reads the weights and the task, and bounds
the error on each box anew, in double precision rounded outward (formulas: proof_formulas.py), halving a box where its enclosures need a smaller one.

On a box with middle m and radii r, |h − f| ≤ |h(m) − f(m)| + Σ_j sup |∂h/∂x_j − ∂f/∂x_j| r_j, and at most the distance of the ranges of h and f.
A mean Σ P_k v_k over weights between two ends is at most t + max(F, 0)/Σ lower ends for any t, with F = max Σ w_k (v_k − t); a slope of h is the
covariance of slopes of scores with values. What float32 adds: docs/theory/proofs.md. Needs Python 3.11 and numpy 1.24 or newer.
"""

import argparse
import json
import sys
import tomllib
from pathlib import Path

import numpy as np

from proof_formulas import ONE, ZERO, I, Problem, constants, exp, formula, parse

U, U32, FELT, INF = 2.0**-53, 2.0**-24, 2.0**-30, np.inf
EXP_ROUNDINGS = 16  # what a float32 exponential may cost, as stated in the docs
DEEPEST, CHUNK = 12, 128  # how often a box may be halved here; boxes that are bounded together, which leave out the same keys


def check(condition, message):
    if not condition:
        raise Problem(message)


def roundings(w):
    """Roundings of a float32 sum of products with the weights in the last axis, in any order: zeros and powers of two cost none."""
    return np.maximum((w != 0).sum(-1) - 1, 0) + (np.frexp(w)[0] % 0.5 != 0).any(-1)


class Weights:
    """One attention layer with affine scores, read off a checkpoint: z = W x + b by row, then heads, then a readout."""

    def __init__(self, path):
        blob = (path / "model.safetensors").read_bytes()
        size = int.from_bytes(blob[:8], "little")
        header, data, self.arrays = json.loads(blob[8 : 8 + size]), blob[8 + size :], {}
        for name, entry in header.items():
            if name != "__metadata__":
                check(entry["dtype"] == "F32", f"{name} is {entry['dtype']}, not F32")
                self.arrays[name] = np.frombuffer(data[slice(*entry["data_offsets"])], "<f4").astype(float).reshape(entry["shape"])
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        model, dims = config["model"]["attention_stack"], config["dims"]
        check(len(model["layers"]) == 1 and model.get("kernel", "softmax") == "softmax", "the proof is about one layer of softmax attention")
        self.layer, self.readout = model["layers"][0], model["readout"]
        self.n, self.d_in, self.d_out = dims["seq_len"], dims["input"]["continuous"]["d_in"], dims["d_out"]
        weight, rows, width = self.arrays["layers.0.map.project.weight"], self.layer["rows"], self.layer["width"]
        if self.layer["map"] == "token_wise":
            self.constant = self.arrays["layers.0.map.position"]
            self.linear = np.concatenate([np.tile(weight, (self.n, 1, 1)), np.zeros((rows - self.n, *weight.shape))])
        else:
            self.constant, self.linear = self.arrays["layers.0.map.project.bias"].reshape(rows, width), weight.reshape(rows, width, -1)
        steps = np.where((self.linear != 0).any(-1), roundings(self.linear) + (self.constant != 0), 0) * U32
        self.error = steps * np.abs(self.constant), steps[..., None] * np.abs(self.linear)

    def heads(self, row):
        """The heads that a query row sees, with affine scores c + a · x, and what float32 needs."""
        linear, constant, error, errors = self.linear[row], self.constant[row], self.error[0][row], self.error[1][row]
        first_key = self.layer["rows"] - (self.layer.get("keys") or self.layer["rows"])
        keys, varies = self.constant[first_key:], (self.linear[first_key:] != 0).any((0, 2))
        for at, group in enumerate(self.layer["heads"]):
            q, k, v, o = (self.arrays[f"layers.0.heads.{at}.{part}.weight"] for part in ("query", "key", "value", "output"))
            check(not (k[:, varies].any() or v[:, varies].any()), "keys or values depend on the input")
            for head in range(group["count"]):
                of, to = (slice(head * group[d], (head + 1) * group[d]) for d in ("d_key", "d_value"))
                wq, wk, wv, wo, d_key = q[of], k[of], v[to], o[:, to], group["d_key"]
                part = keys @ wk.T  # [keys, d_key]
                live = (wq != 0).any(-1) & (part != 0).any(0)
                wq, wk, part = wq[live], wk[live], part[:, live]
                size = np.abs(wq) @ np.abs(constant), np.abs(wq) @ np.abs(linear)
                own = (roundings(wq) + 2) * U32
                scale = 1 / np.sqrt(d_key)
                value_size = (np.abs(keys) @ np.abs(wv).T).max(initial=0)
                values, costs = keys @ wv.T @ wo.T, roundings(wv).max() + roundings(wo).max()
                value_size *= np.abs(wo).sum(-1).max()
                if self.readout == "affine":
                    weight, bias = self.arrays["readout.project.weight"], self.arrays["readout.project.bias"]
                    values = values @ weight.T + (bias if at == head == 0 else 0)
                    value_size = value_size * np.abs(weight).sum(-1).max() + np.abs(bias).max()
                    costs += roundings(weight).max() + bias.any()
                yield {
                    "slopes": scale * part @ (wq @ linear), "offsets": scale * part @ (wq @ constant), "scale": scale,
                    "sizes": (scale * np.abs(part) @ size[0], scale * np.abs(part) @ size[1]),
                    "units": (64 + 2 * keys.shape[1]) * U,  # more roundings than slopes, offsets and scores take in double precision
                    "values": values, "value_size": value_size, "costs": costs, "keys": part, "query": size,
                    "query_error": (1.001 * (np.abs(wq) @ error + own * size[0]), 1.001 * (np.abs(wq) @ errors + own[:, None] * size[1])),
                    "product": (roundings(wk).max(initial=0) + live.sum() + (0 if np.log2(d_key) % 2 == 0 else 2)) * U32,
                }


def most(v, low, high, guess, rest):
    """Upper bound on Σ P_k v_k along the last axis for weights between two ends; `rest` bounds the weight times size of keys left out."""
    t = guess[..., None]
    for _ in range(12):
        w = np.where(v > t, high, low)
        t = np.maximum(t, ((w * v).sum(-1) / w.sum(-1))[..., None])
    above, below = (high * np.maximum(v - t, 0)).sum(-1), (low * np.maximum(t - v, 0)).sum(-1)
    slack, t = 4 * (v.shape[-1] + 8) * U, t[..., 0]
    gain = above - below + slack * (above + below) + rest * (1 + np.abs(t))
    return np.nextafter(t + np.maximum(gain, 0) / low.sum(-1) * (1 + slack) + 8 * U * np.abs(t), INF)


def mean(v, low, high, rest, share):
    guess = (v * share).sum(-1)
    return I(-most(-v, low, high, -guess, rest), most(v, low, high, guess, rest))


def mixture(head, low, high):
    """For boxes [B, d], per output: the head at the middle, over the box, its slopes, and what float32 adds."""
    m, sizes, every = (low + high) / 2, np.maximum(np.abs(low), np.abs(high)), np.arange(len(low))
    r = np.nextafter(np.maximum(high - m, m - low), INF)
    score = head["offsets"] + m @ head["slopes"].T  # [B, K]
    error = head["units"] * (head["sizes"][0] + sizes @ head["sizes"][1].T)
    first = score.argmax(-1)
    score, error = score - score[every, first][:, None], error + error[every, first][:, None] + 4 * U * np.abs(score)
    reach = sum(np.abs(head["slopes"][:, j] - head["slopes"][first, j][:, None]) * r[:, j : j + 1] for j in range(m.shape[1]))
    dev = reach * (1 + 8 * U) + error
    kept = (score + dev).max(0) > -50
    rest = (~kept).sum() * np.exp(-50) * 1.01
    score, error, dev = score[:, kept], error[:, kept], dev[:, kept]
    up, down, here = exp(score + dev)[0] * (1 + 2e-14) + 1e-300, np.maximum(exp(score - dev)[0] * (1 - 2e-14) - 1e-300, 0), exp(score)[0]
    at = here * np.maximum(1 - error - 3e-14, 0), here * (1 + 2 * error + 3e-14)
    a = head["slopes"][kept]
    share = here / here.sum(-1, keepdims=True)
    slopes = [a[None, :, j] - (share @ a[:, j])[:, None] for j in range(m.shape[1])]
    widest = [2 * np.abs(head["slopes"][:, j]).max() for j in range(m.shape[1])]
    shifts = [mean(s, down, up, rest * w, share) for s, w in zip(slopes, widest)]
    # Float32: errors of scores, up to what is common to all keys.
    keys, lead = head["keys"], np.log(np.maximum(up.max(-1), 1)) + 1e-9
    query = head["query"][0] + sizes @ head["query"][1].T
    query_error = head["query_error"][0] + sizes @ head["query_error"][1].T
    off = sum(query_error[:, j : j + 1] * np.abs(keys[kept, j] - keys[first, j][:, None]) for j in range(keys.shape[1])) + 0 * score
    own = (query + query_error) @ np.abs(keys[kept]).T
    away = np.abs(score) + dev + lead[:, None]
    gamma = np.expm1((head["scale"] * (off + head["product"] * own) + U32 * away + EXP_ROUNDINGS * U32) * 1.0011 + 1e-30)
    far = 2 * (query + query_error) @ np.abs(keys).max(0)
    far = np.exp(head["scale"] * (2 * query_error @ np.abs(keys).max(0) + head["product"] * far) + U32 * (head["scale"] * far + lead) + 1e-6)
    least = down.sum(-1) * (1 - 4 * (len(a) + 8) * U)
    p = np.minimum(up / (least[:, None] - down + up), 1)
    for values in head["values"].T:
        v, largest = values[kept], np.abs(values).max()
        centre = share @ v
        size = largest + np.abs(centre)
        own = I(-64 * U * (size + head["value_size"]), 64 * U * (size + head["value_size"]))
        middle, spread = (mean(v - centre[:, None], *ends, rest * 2 * largest, share) for ends in (at, (down, up)))
        around = lambda x, centre=centre, own=own: I(centre) + x + own  # noqa: E731
        both = [mean(s * (v - centre[:, None]), down, up, rest * 2 * w * largest, share) for s, w in zip(slopes, widest)]
        noise = [4 * head["units"] * (head["sizes"][1][:, j].max() + w) * (size + head["value_size"]) for j, w in enumerate(widest)]
        slope = [b - s * spread + I(-e, e) for b, s, e in zip(both, shifts, noise)]
        over = around(spread)
        moved = (p * gamma * np.maximum(np.abs(v - over.low[:, None]), np.abs(v - over.high[:, None]))).sum(-1)
        faint = rest / least * far + np.where(p >= FELT, 0, p * (1 + gamma)).sum(-1)
        sums = U32 * ((2 * (p >= FELT).sum(-1) + 6) * (p * np.abs(v)).sum(-1) + 2 * head["costs"] * head["value_size"]) + 4 * faint * largest
        yield around(middle), over, slope, np.where((p * gamma).sum(-1) < 0.25, (moved / (1 - (p * gamma).sum(-1)) + sums) * 1.01, INF)


class Question:
    """|mixtures − target| in the variables of one kind of position."""

    def __init__(self, weights, task, positions):
        ((kind, task),) = task.items()
        place = task["domain" if kind == "function" else "input"]
        ends = place.get("cube", place.get("uniform"))
        check(ends is not None and 0 <= min(positions) and max(positions) < weights.n, "the proof is about a box, and positions of the sequence")
        low, high, self.shift, whole = float(ends["low"]), float(ends["high"]), 0.0, weights.readout == "affine"
        if kind == "truncated_linear":
            return self.clamp_question(weights, task, max(abs(low), abs(high)))
        check(kind == "function" and "table" not in task, "the proof is about a function given by formulas, or about a clamp")
        self.d = weights.n * weights.d_in if whole else weights.d_in
        self.low, self.high = np.full(self.d, low), np.full(self.d, high)
        self.heads = list(weights.heads(positions[0]))
        for other in [] if whole else positions[1:]:
            alike = (np.array_equal(a[key], b[key]) for a, b in zip(self.heads, weights.heads(other)) for key in ("slopes", "offsets", "values"))
            check(all(alike), f"positions {positions[0]} and {other} compute different functions")
        trees = [parse(text) for text in task["outputs"]]

        def target(jets):
            for i in range(weights.n if whole else 1):
                own = {f"x{j + 1}": jets[i * weights.d_in + j] for j in range(weights.d_in)}
                every = {f"x{p + 1}_{j + 1}": jets[p * weights.d_in + j] for p in range(weights.n if whole else 0) for j in range(weights.d_in)}
                index = {"i": (I(float(i + 1)), [ZERO] * self.d)} if whole else {}
                for tree in trees:
                    yield formula(tree, constants(self.d) | own | every | index)

        self.target = target

    def clamp_question(self, weights, task, reach):
        """One variable: the first column of a position's row, w · x + t − m, whose clamp at low − m and high − m, plus m, is the target."""
        low, high = float(task["low"]), float(task["high"])
        centre, n, linear = (low + high) / 2, weights.n, weights.linear
        check(not linear[:, 1:].any(), "only forms may depend on the input")
        check((weights.constant[:n, 1] == weights.constant[0, 1]).all(), "positions compute different functions")
        size = np.abs(linear[:n, 0]).sum(-1) * reach * (1 + 1e-12) + 1e-12
        form = weights.constant[:n, 0]
        if "given" in task:
            w = np.zeros((n, n, weights.d_in))
            w[np.arange(n), np.arange(n)] = task["given"]["weights"]
            self.shift = (np.abs(linear[:n, 0] - w.reshape(n, -1)).sum(-1) * reach + np.abs(form - (np.array(task["given"]["offsets"]) - centre))).max()
            self.shift = self.shift * (1 + 1e-12) + 4 * U * (np.abs(form) + size).max()
        self.d, self.low, self.high = 1, np.array([(form - size).min()]), np.array([(form + size).max()])
        noise = (weights.error[0][:n, 0] + weights.error[1][:n, 0].sum(-1) * reach).max()
        weights.linear, weights.error = np.zeros((*weights.constant.shape, 1)), tuple(np.zeros_like(e[..., :1] if e.ndim == 3 else e) for e in weights.error)
        weights.linear[0, 0, 0], weights.error[0][0, 0], weights.constant[0, 0] = 1, noise, 0
        self.heads = list(weights.heads(0))
        self.shift = max(self.shift, 0 if "given" in task else U32 * np.abs(form).max())  # drawn forms are told by the weights, rounded once
        tree = parse(f"min(max(x1 + ({centre!r}), {low!r}), {high!r})")
        self.target = lambda jets: iter([formula(tree, constants(1) | {"x1": jets[0]})])

    def bounds(self, low, high):
        """Bounds on the error in exact arithmetic and on what float32 adds, for boxes [B, d]."""
        m = (low + high) / 2
        r = np.nextafter(np.maximum(high - m, m - low), INF)
        jets = lambda a, b: [(I(a[:, j], b[:, j]), [ONE if i == j else ZERO for i in range(self.d)]) for j in range(self.d)]  # noqa: E731
        found = [list(mixture(head, low, high)) for head in self.heads]
        exact, rounding = np.zeros(len(low)), np.zeros(len(low))
        for at, (over, point) in enumerate(zip(self.target(jets(low, high)), self.target(jets(m, m)), strict=True)):
            parts = [head[at] for head in found]
            middle, whole, slopes, extra = parts[0]
            for more in parts[1:]:
                middle, whole, slopes, extra = middle + more[0], whole + more[1], [a + b for a, b in zip(slopes, more[2])], extra + more[3]
            extra = extra + (len(parts) - 1) * U32 * 1.01 * (sum(part[1].size() for part in parts) + extra)
            bound = (middle - point[0]).size()
            for j in range(self.d):
                bound = np.nextafter(bound + np.nextafter((slopes[j] - over[1][j]).size() * r[:, j], INF), INF)
            exact = np.fmax(exact, np.fmin(np.nan_to_num(bound, nan=INF), (whole - over[0]).size()))
            rounding = np.maximum(rounding, extra)
        return exact + self.shift, rounding


def boxes(tree, low, high):
    """The boxes of a tree in order: 0 for a box, else the axis from 1 along which it is halved."""
    stack, found = [(low, high)], []
    for digit in tree:
        check(stack and digit in "0123", "the tree of boxes does not end where the domain is covered")
        low, high = stack.pop()
        if digit == "0":
            found.append((low, high))
            continue
        axis = int(digit) - 1
        check(axis < len(low), f"the tree halves axis {axis + 1} of {len(low)}")
        middle, lower, upper = (low[axis] + high[axis]) / 2, high.copy(), low.copy()
        lower[axis] = upper[axis] = middle
        stack += [(upper, high), (low, lower)]
    check(not stack, f"the tree of boxes leaves {len(stack)} parts of the domain uncovered")
    return np.array([low for low, _ in found]), np.array([high for _, high in found])


def verify(path):
    path = Path(path)
    proof, certificate = (json.loads((path / name).read_text(encoding="utf-8")) for name in ("proof.json", "certificate.json"))
    task = tomllib.loads((path / "train.toml").read_text(encoding="utf-8"))["task"]
    weights = Weights(path)
    claims, examined = (proof["bound"], proof["rounding"]), 0
    check(sorted(p for part in proof["parts"] for p in part["positions"]) == list(range(weights.n)), "the parts do not name each position once")
    if "proof" in certificate:
        check(claims == tuple(certificate[key]["value"] for key in ("bound", "rounding")), "the certificate claims something else than its proof")
        check(sum(claims) <= certificate["tolerance"] * (1 + 1e-12), "the proof does not reach the tolerance")
    for part in proof["parts"]:
        question = Question(Weights(path), task, part["positions"])
        low, high = boxes(part["tree"], question.low, question.high)
        for depth in range(DEEPEST + 1):
            again = [np.zeros((0, question.d))], [np.zeros((0, question.d))]
            for at in range(0, len(low), CHUNK):
                a, b = low[at : at + CHUNK], high[at : at + CHUNK]
                found = question.bounds(a, b)
                examined += len(a)
                bad = ~((found[0] <= claims[0]) & (found[1] <= claims[1]))
                if bad.any():
                    worst = int(np.argmax(np.where(bad, found[0], 0)))
                    said = f"{found[0][worst]:.6g} + {found[1][bad].max():.3g} on the box from {a[worst]} to {b[worst]}; claimed: {claims[0]:.6g} + {claims[1]:.3g}"
                    check(depth < DEEPEST and sum(map(len, again[0])) + bad.sum() <= len(low) // 4 + 99, f"the bound does not follow: {said}")
                    axis, every = (b - a)[bad].argmax(-1), np.arange(bad.sum())
                    middle, lower, upper = (a[bad] + b[bad]) / 2, b[bad].copy(), a[bad].copy()
                    lower[every, axis] = upper[every, axis] = middle[every, axis]
                    again[0].extend([a[bad], upper]), again[1].extend([lower, b[bad]])
            low, high = (np.concatenate(ends) for ends in again)
    return f"ok   proof: error at most {claims[0]:.6g} in exact arithmetic and {claims[1]:.4g} more in float32, on {examined} boxes"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog="Exit code 0 when the bound follows, 1 when it does not.")
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="folder that `headway construct … --prove` wrote")
    path = parser.parse_args().checkpoint
    try:
        print(verify(path))
    except Problem as problem:
        sys.exit(f"FAIL {problem}")
    except (OSError, KeyError, ValueError, IndexError, TypeError) as problem:
        sys.exit(f"error: {path}: {problem!r}")


if __name__ == "__main__":
    main()
