"""One layer of softmax attention over boxes, for check_proof.py: mixtures with affine scores, read off the weights, and what float32 adds.

A mean Σ P_k v_k over weights between two ends is at most t + max(F, 0)/Σ lower ends for any t, with F = max Σ w_k (v_k − t); a slope is the
covariance of slopes of scores with values. What float32 adds: docs/theory/proofs.md.
"""

import json

import numpy as np

from proof_formulas import ONE, ZERO, I, check, exp

U, U32, FELT, INF = 2.0**-53, 2.0**-24, 2.0**-30, np.inf
EXP_ROUNDINGS = 16  # what a float32 exponential may cost, as stated in the docs


def roundings(w):
    """Roundings of a float32 sum of products with the weights in the last axis, in any order: zeros and powers of two cost none."""
    return np.maximum((w != 0).sum(-1) - 1, 0) + (np.frexp(w)[0] % 0.5 != 0).any(-1)


class File:
    """Weights and layers of a checkpoint."""

    def __init__(self, path):
        blob = (path / "model.safetensors").read_bytes()
        size = int.from_bytes(blob[:8], "little")
        header, data, self.arrays = json.loads(blob[8 : 8 + size]), blob[8 + size :], {}
        for name, entry in header.items():
            if name != "__metadata__":
                check(entry["dtype"] == "F32", f"{name} is {entry['dtype']}, not F32")
                self.arrays[name] = np.frombuffer(data[slice(*entry["data_offsets"])], "<f4").astype(float).reshape(entry["shape"])
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        self.stack, dims = config["model"]["attention_stack"], config["dims"]
        check(self.stack.get("kernel", "softmax") == "softmax", "the proof is about softmax attention")
        self.n, self.d_in, self.d_out = dims["seq_len"], dims["input"]["continuous"]["d_in"], dims["d_out"]


class Weights(File):
    """One attention layer with affine scores: z = W x + b by row, then heads, then a readout."""

    def __init__(self, path):
        super().__init__(path)
        check(len(self.stack["layers"]) == 1, "boxes are about one layer of attention")
        self.layer, self.readout = self.stack["layers"][0], self.stack["readout"]
        self.behind = [self.arrays[f"readout.project.{part}"] for part in ("weight", "bias")] if self.readout == "affine" else None
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
                behind = self.behind and (*self.behind, at == head == 0)
                yield head_of((q[of], k[of], v[to], o[:, to]), keys, (linear, constant, error, errors), behind)

    def heads_of_forms(self, given, centre, reach):
        """Heads whose queries are s_h (u − m_h) and s_h/2 with a form u = w · x + t − centre that each reads off copies of a position's numbers:
        mixtures in u, how far a head's own u may be from it, and its ends."""
        n, d, heads, found = self.n, self.d_in, [], []
        for at, group in enumerate(self.layer["heads"]):
            q, k, v, o = (self.arrays[f"layers.0.heads.{at}.{part}.weight"] for part in ("query", "key", "value", "output"))
            check(group["d_key"] == 2 and self.readout != "affine", "heads of forms have two query numbers")
            check(not (k[:, (self.linear != 0).any((0, 2))].any() or v[:, (self.linear != 0).any((0, 2))].any()), "keys or values depend on the input")
            parts = zip(np.split(q, group["count"]), np.split(k, group["count"]), np.split(v, group["count"]), np.split(o, group["count"], 1))
            heads += list(parts)
        check(all(((m == 0) | (m == 1)).all() for m in (self.linear, self.constant)) and ((self.linear != 0).sum(-1) <= 1).all(), "rows do not copy numbers")
        check(((self.linear != 0).sum(1) <= 1).all() and ((self.constant != 0).sum(1) == 1).all(), "rows do not copy numbers once")
        own = [slice(0, d) if self.linear.shape[-1] == d else slice(i * d, (i + 1) * d) for i in range(n)]
        check(all(self.linear[i].sum() == self.linear[i][:, own[i]].sum() for i in range(n)), "rows hold numbers of other positions")
        read = lambda q: (np.stack([(q @ self.linear[i])[own[i]] for i in range(n)]), self.constant[:n] @ q)  # noqa: E731
        w, t = np.array(given["weights"]), np.array(given["offsets"]) - centre
        size = np.abs(w).sum(-1) * reach
        for maps in heads:
            (a, b), (none, half) = read(maps[0][0]), read(maps[0][1])
            check(not none.any() and (half == half[0]).all() and half[0] > 0, "second query numbers differ")
            scale = 2 * half[0]
            m = (t - b / scale).min() / 2 + (t - b / scale).max() / 2
            shift = (np.abs(a / scale - w).sum(-1) * reach + np.abs(b / scale + m - t)).max() * (1 + 1e-12)
            shift += 64 * U * (size + np.abs(t) + abs(m)).max()
            count = (np.column_stack([a, b]) != 0).sum(-1)
            noise = ((count + 2) * U32 * (np.abs(a).sum(-1) * reach + np.abs(b))).max() + 2 * U32 * half[0]
            widen = lambda w, left: np.hstack([left, w])  # noqa: E731
            query = widen(np.zeros_like(maps[0]), np.diag([scale, half[0]]))
            key, value = (widen(w, np.zeros((len(w), 2))) for w in maps[1:3])
            unit = np.eye(query.shape[1])
            row = unit[:1].T, unit[1], noise / scale * 1.001 * unit[0], np.zeros((query.shape[1], 1))
            rows = widen(self.constant, np.zeros((len(self.constant), 2)))
            found.append(head_of((query, key, value, maps[3]), rows, row) | {"shift": shift, "origin": m})
        ends = size * (1 + 1e-12) + 1e-12 * (1 + np.abs(t))
        return found, (t - ends).min(), (t + ends).max()


def head_of(maps, keys, row, readout=None):
    """One head with maps query, key, value, output on rows of keys [keys, width], for the row W x + b of a query with its errors, and behind it
    a readout with its bias, which counts once."""
    (wq, wk, wv, wo), (linear, constant, error, errors), d_key = maps, row, len(maps[0])
    part = keys @ wk.T  # [keys, d_key]
    live = (wq != 0).any(-1) & (part != 0).any(0)
    wq, wk, part = wq[live], wk[live], part[:, live]
    size = np.abs(wq) @ np.abs(constant), np.abs(wq) @ np.abs(linear)
    own = (roundings(wq) + 2) * U32
    scale = 1 / np.sqrt(d_key)
    value_size = (np.abs(keys) @ np.abs(wv).T).max(initial=0)
    seen = lambda w: roundings(w * (keys != 0)[:, None]).max(initial=0)  # products with 0 are exact  # noqa: E731
    values, costs = keys @ wv.T @ wo.T, seen(wv) + roundings(wo).max()
    value_size *= np.abs(wo).sum(-1).max()
    if readout:
        weight, bias, is_first = readout
        values = values @ weight.T + (bias if is_first else 0)
        value_size = value_size * np.abs(weight).sum(-1).max() + np.abs(bias).max()
        costs += roundings(weight).max() + bias.any()
    return {
        "slopes": scale * part @ (wq @ linear), "offsets": scale * part @ (wq @ constant), "scale": scale, "shift": 0.0, "origin": 0.0,
        "sizes": (scale * np.abs(part) @ size[0], scale * np.abs(part) @ size[1]),
        "units": (64 + 2 * keys.shape[1]) * U,  # more roundings than slopes, offsets and scores take in double precision
        "values": values, "value_size": value_size, "costs": costs, "keys": part, "query": size,
        "query_error": (1.001 * (np.abs(wq) @ error + own * size[0]), 1.001 * (np.abs(wq) @ errors + own[:, None] * size[1])),
        "product": (seen(wk) + live.sum() + (0 if np.log2(d_key) % 2 == 0 else 2)) * U32,
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
    moved = I(low, high) - I(head["origin"])
    low, high, off, every = moved.low, moved.high, head["shift"], np.arange(len(low))
    m, sizes = (low + high) / 2, np.nextafter(np.maximum(np.abs(low), np.abs(high)) + off, INF)
    r = np.nextafter(np.nextafter(np.maximum(high - m, m - low), INF) + off, INF)
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
    apart = sum(query_error[:, j : j + 1] * np.abs(keys[kept, j] - keys[first, j][:, None]) for j in range(keys.shape[1])) + 0 * score
    own = (query + query_error) @ np.abs(keys[kept]).T
    away = np.abs(score) + dev + lead[:, None]
    gamma = np.expm1((head["scale"] * (apart + head["product"] * own) + U32 * away + EXP_ROUNDINGS * U32) * 1.0011 + 1e-30)
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
        loose = np.nextafter(sum(s.size() for s in slope) * off, INF) if off else 0.0  # for every shift the mixture has slopes within these
        yield around(middle) + I(-loose, loose), over, slope, np.where((p * gamma).sum(-1) < 0.25, (moved / (1 - (p * gamma).sum(-1)) + sums) * 1.01, INF)


def errors(heads, target, low, high):
    """|Σ heads − target| over boxes [B, d]: bounds in exact arithmetic, bounds on what float32 adds, and what is seen in the middle."""
    d, m = low.shape[1], (low + high) / 2
    r = np.nextafter(np.maximum(high - m, m - low), INF)
    jets = lambda a, b: [(I(a[:, j], b[:, j]), [ONE if i == j else ZERO for i in range(d)]) for j in range(d)]  # noqa: E731
    found = [list(mixture(head, low, high)) for head in heads]
    exact, rounding, seen = (np.zeros(len(low)) for _ in range(3))
    for at, (over, point) in enumerate(zip(target(jets(low, high)), target(jets(m, m)), strict=True)):
        parts = [head[at] for head in found]
        middle, whole, slopes, extra = parts[0]
        for more in parts[1:]:
            middle, whole, slopes, extra = middle + more[0], whole + more[1], [a + b for a, b in zip(slopes, more[2])], extra + more[3]
        extra = extra + (len(parts) - 1) * U32 * 1.01 * (sum(part[1].size() for part in parts) + extra)
        here = middle - point[0]
        bound, seen = here.size(), np.fmax(seen, np.fmax(here.low, -here.high))
        for j in range(d):
            bound = np.nextafter(bound + np.nextafter((slopes[j] - over[1][j]).size() * r[:, j], INF), INF)
        exact = np.fmax(exact, np.fmin(np.nan_to_num(bound, nan=INF), (whole - over[0]).size()))
        rounding = np.maximum(rounding, extra)
    return exact, rounding, seen
