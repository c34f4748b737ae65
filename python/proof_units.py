"""Chains of inequalities of compiled ReLU networks, for check_proof.py: gates (form t2), and anchors behind a matrix product (t1) or before a
readout (s).

A unit of anchors is a function of one number alone, as heads or the readout's softmax compute it: boxes over that number bound it here anew, as
proof_mixtures.py does for networks of one layer. The formulas are those of docs/theory/relu-network.md and proofs.md.
"""

import math

import numpy as np

from proof_chains import APART, CLOSE, EPS, NOTHING, Q, any_order, columns, exact, exp, filled, root, rounded, shaped, wired
from proof_formulas import ONE, ZERO, I, check, constants, formula, parse
from proof_mixtures import File, errors, head_of

GAP, PER_KEY, CHUNK, DEEPEST = 1e-4, 34, 256, 40


class Mixing:
    """Heads whose softmax weights are numbers of matrices: rows of labels before, then those of bias and null."""

    def __init__(self, weights, layer, keys):
        self.keys, self.heads = keys, []
        constant = weights.arrays[f"layers.{layer}.map.position"]
        linear = weights.arrays[f"layers.{layer}.map.project.weight"]  # [width, d_in]
        spec = weights.stack["layers"][layer]
        self.rows, self.queries = spec["rows"], spec.get("queries") or spec["rows"]
        check(spec["map"] == "token_wise" and spec.get("keys") in (None, self.rows), "the rows of a mixing are not its keys")
        data = (linear != 0).any(-1)
        self.middle = -constant[:keys, data]
        check(((linear == 0) | (linear == 1)).all() and (linear.sum(1) <= 1).all(), "rows do not copy numbers")
        labels = constant[:, ~data]
        check(not constant[keys:, data].any() and ((labels == 0) | (labels == 1)).all(), "rows have something else than labels")
        for at, group in enumerate(spec["heads"]):
            q, k, v, o = (weights.arrays[f"layers.{layer}.heads.{at}.{part}.weight"] for part in ("query", "key", "value", "output"))
            check(not q[:, data].any() and not k[:, data].any(), "scores of a mixing depend on the input")
            for head in range(group["count"]):
                of, to = (slice(head * group[d], (head + 1) * group[d]) for d in ("d_key", "d_value"))
                if not o[:, to].any():
                    continue  # it writes nothing
                asks = q[of] @ constant[: self.queries].T  # [d_key, queries]
                unit = math.sqrt(group["d_key"])
                check(np.allclose(asks, unit * np.eye(*asks.shape), rtol=1e-6, atol=0), "a query of a mixing is not its own label")
                score = exact(k[of] @ constant.T)  # one label a row, so that sums are exact; [queries, rows]
                value = v[to]
                check(len(value) == 1, "a head that mixes has one value")
                source = (value[:, data] @ linear[data])[0]  # what it reads of the data
                check(((source == 0) | (source == 1)).all() and source.sum() == 1, "a value of a mixing is not one number")
                offset = np.where(data, 0.0, value[0]) @ constant.T
                check(not np.delete(offset, keys).any(), "rows other than that of bias have values of their own")
                self.heads.append(self.one(score, int(source.argmax()), exact(offset), exact(o[:, to][:, 0])))
        if weights.stack.get("causal"):
            ahead = (j for rows, *_ in self.heads for i, row in enumerate(rows) for j in row if i < j < keys)
            check(next(ahead, None) is None, "a mask hides a row that a mixing reads")

    def one(self, score, channel, offset, output):
        """Softmax weights w with their scores, ln w relative to the largest."""
        rows = []
        for row in score:
            top = max(row)
            scores = {j: s - top for j, s in enumerate(row) if s - top > NOTHING}
            weights = {j: exp(s) for j, s in scores.items()}
            total = sum(weights.values())
            rows.append({j: (w / total, scores[j]) for j, w in weights.items()})
        return rows, channel, offset, output

    def matrix(self, d_in, d_out):
        """C [queries, d_out, keys, d_in], positive and negative part, and offsets of the rows of bias, [queries, d_out]."""
        shape = (self.queries, d_out, self.keys, d_in)
        parts, offsets = [np.full(shape, Q(0), object) for _ in "+-"], np.full(shape[:2], Q(0), object)
        for rows, channel, offset, output in self.heads:
            for i, row in enumerate(rows):
                for c, o in enumerate(output):
                    for j, (w, _) in row.items():
                        if o and j < self.keys:
                            parts[0 if o > 0 else 1][i, c, j, channel] += abs(o) * w
                        elif o and j == self.keys:
                            offsets[i, c] += o * w * offset[j]
        return *parts, offsets

    def leak(self, reach):
        return 2 * self.rows * exp(Q(-80)) * sum(max(abs(o) for o in output) for *_, output in self.heads) * reach

    def rounding(self, low, high, d_out):
        """What float32 adds to each number, [queries, d_out], in any order of sums; values lie within an interval that holds 0."""
        reach, found = max(-low, high), np.full((self.queries, d_out), Q(0), object)
        written = [[[] for _ in range(d_out)] for _ in range(self.queries)]
        for rows, _, _, output in self.heads:
            for i, row in enumerate(rows):
                total = 1 - row.get(self.keys + 1, (Q(0), 0))[0]
                if total <= Q(1, 2**80):
                    continue
                mean = sum(w * s for w, s in row.values())
                shared = sum(w * abs(s - mean) for w, s in row.values()) * 3 / 2
                own = root(sum(w * (6 - 7 * s) ** 2 for w, s in row.values()))
                sums = in_any_order([w for j, (w, _) in row.items() if j <= self.keys])
                sums += total * (in_any_order([w for w, _ in row.values()]) + 4)
                off = (high - low) * shared + own * min((high - low) / 2, reach * root(total)) + reach * sums
                for c, o in enumerate(output):
                    if o:
                        found[i, c] += abs(o) * off
                        written[i][c].append(abs(o) * total * reach)
        for i in range(self.queries):
            for c in range(d_out):
                found[i, c] = rounded(EPS * (found[i, c] + 2 * sum(written[i][c]) + in_any_order(written[i][c])) * Q(1001, 1000) * CLOSE)
        return found


def in_any_order(sizes):
    """Roundings of a sum in the worst of all orders, the largest numbers first."""
    total, partial = Q(0), Q(0)
    for at, size in enumerate(sorted(sizes, reverse=True)):
        partial += size
        total += partial if at else 0
    return total


def wired_gates(weights, rows, count):
    """A row holds a u' in every column, 1, and its labels as a query and as a key; the row after them is a key for all, with values 0."""
    of, width = columns(("u", count), ("unit", 1), ("query", rows), ("key", rows))
    scale, every = math.sqrt(rows + 1), list(range(rows))
    shaped(weights, 1, rows + 1, rows, rows + 1, (count, rows + 1, 1))
    beta = weights.arrays["layers.1.heads.0.query.weight"][0, 0]
    check(beta > 0, "a gate is not one")
    labels = [(every, of["unit"], 1), (every, of["query"], 1), (every, of["key"], 1), (rows, of["key"], 1)]
    asks = [filled((rows + 1, width), (0, u, beta), ([j + 1 for j in every], of["query"], APART * scale)) for u in of["u"]]
    answers = filled((rows + 1, width), (0, of["unit"], 1), ([j + 1 for j in every], of["key"], 1))
    wired(weights, 1, {
        "map.project.weight": np.eye(width, count), "map.position": filled((rows + 1, width), *labels),
        "heads.0.query.weight": np.concatenate(asks), "heads.0.key.weight": np.tile(answers, (count, 1)),
        "heads.0.value.weight": np.eye(count, width), "heads.0.output.weight": np.eye(count),
    })  # fmt: skip


def gates(weights, task, steps, claims):
    """Form t2. Without a causal mask there is a unit a row; with it, the units of a position stand in the columns of its row."""
    specs, n, d_in, d_out = weights.stack["layers"], weights.n, weights.d_in, weights.d_out
    rows, count = specs[1]["queries"], specs[1]["d_out"]
    low, high = ends(task)
    gather, scatter = Mixing(weights, 0, n), Mixing(weights, 2, rows)
    # Unit j is Σ A (x − m) + b, an output Σ W h; units are counted row by row, and where there is none A and b are 0.
    plus, minus, offset = gather.matrix(d_in, count)
    units = rows * count
    a, b, middle = (plus - minus).reshape(units, n, d_in), offset.reshape(units), exact(gather.middle)
    lows, highs = low - middle, high - middle
    half = max(max(abs(x) for x in side.flat) for side in (lows, highs))
    least, most = reach(a, b, lows, highs)
    plus, minus, added = scatter.matrix(count, d_out)
    size = plus + minus
    wired_gates(weights, rows, count)
    as_given(task, middle, 0, float(half), a.reshape(units, -1), b, (plus - minus).reshape(-1, units), added.reshape(-1))
    query = weights.arrays["layers.1.heads.0.query.weight"]
    beta = Q(float(query[0, 0]))  # times √d_key

    gate = steps.next("gate", Q(0))
    check(gate * exp(1 + gate) >= CLOSE, "the step `gate` claims less than sup t / (1 + exp t)")  # at the largest, e^t (t − 1) = 1
    blunt = steps.next("1/beta", root(rows + 1) / beta)
    total = steps.next("S", max(map(sum, size.reshape(-1, units))) * CLOSE)
    one = steps.next("S1", max(sum(row) for part in (plus, minus) for row in part.reshape(-1, units)) * CLOSE)
    low = steps.next("low", max(1, -min(least)))
    top = steps.next("top", max(1, max(most)))
    gathering = steps.next("gathering leak", gather.leak(half) * CLOSE)
    scattering = steps.next("scattering leak", scatter.leak(1) * CLOSE)
    off, each = gather.rounding(-half, half, count).reshape(units), [Q(0)] * units
    there = [j for j in range(units) if any(a[j].flat) or b[j]]
    for at, j in enumerate(there):
        each[j] = steps.next(f"gathered {at + 1}", off[j] + half * sum(map(abs, a[j].flat)) * any_order(1))
    scattered = steps.next("scattered", max(scatter.rounding(Q(0), Q(1), d_out).flat))
    steps.next("gates", min(gate * blunt, low / 2) * one)
    steps.next("other keys of a gate", total * (rows - 1) * exp(Q(-APART)) * CLOSE * 2 * low)
    steps.next("weights of zero", total * gathering + scattering * (top + gate * blunt))
    steps.next("gather", max(sum(w * g for w, g in zip(row, each)) for row in size.reshape(-1, units)) * CLOSE)
    steps.next("rounding of gates", total * (EPS * (Q(224, 1000) * (8 * APART + 16) + Q(176, 100)) * blunt + top * any_order(4)))
    steps.next("scatter", scattered * top * (1 + gate * blunt))
    return steps.end(("gates", "other keys of a gate", "weights of zero"), ("gather", "rounding of gates", "scatter"), claims)


def ends(task):
    return (Q(float(task["input"]["uniform"][end])) for end in ("low", "high"))


def reach(a, b, lows, highs):
    """The smallest and the largest value of every Σ a x + b over a box of x."""
    return [[sum(end(row * lows, row * highs).flat) + offset for row, offset in zip(a, b)] for end in (np.minimum, np.maximum)]


def as_given(task, middle, centre, half, a, b, out, bias):
    """Whether units Σ a (x − middle) + b, with outputs `out` [outputs, units], are those of the task's network, up to the rounding of their weights
    and of logarithms: relu(u) = s relu(u / s), with s the largest u in the box."""
    low, high = ends(task)
    w, b1, v, b2 = (np.array(task["given"][name], float) for name in ("weights_in", "bias_in", "weights_out", "bias_out"))
    largest = np.maximum(w * float(low), w * float(high)).sum(1) + b1
    live = (largest > 0) & (v != 0).any(0)
    scale, middle = largest[live], np.asarray(middle, float).reshape(-1)
    wanted = np.column_stack([w[live] / scale[:, None], ((w[live] @ middle + b1[live]) / scale - centre) / half])
    answers = np.column_stack([v[:, live] * scale, b2])
    found = np.column_stack([np.asarray(a, float), np.asarray(b, float) / half])
    out = np.asarray(out, float)
    left = [j for j in range(len(found)) if out[:, j].any()]
    for row, answer in zip(wanted, answers.T):
        alike = [j for j in left if near(found[j], row, np.abs(row).max()) and near(out[:, j], answer, np.abs(answers).max(1))]
        check(alike, "a unit of the task's network is missing")
        left.remove(alike[0])
    check(not left and near(np.asarray(bias, float), b2, np.abs(answers).max(1)), "the network has more than the task's network has")


def near(found, wanted, largest):
    """Whether numbers are as they are wanted, rounded as they are or by the logarithm of what they are of the largest."""
    with np.errstate(divide="ignore", invalid="ignore"):
        deep = np.where(wanted != 0, np.log(largest / np.abs(wanted)), 0)
    return (np.abs(found - wanted) <= float(EPS) * (8 + 3 * np.abs(deep)) * np.abs(wanted) + 1e-30).all()


def parts(low, high, bent, count):
    """Even parts of `bent`, and parts of doubling size on both sides, as far as `low` and `high`."""
    cuts = list(np.linspace(*bent, count + 1))
    step = (bent[1] - bent[0]) / count
    while cuts[0] > low:
        cuts.insert(0, max(cuts[0] - step, low))
        step *= 2
    step = (bent[1] - bent[0]) / count
    while cuts[-1] < high:
        cuts.append(min(cuts[-1] + step, high))
        step *= 2
    return np.array(cuts)[:-1, None], np.array(cuts)[1:, None]


def unit(heads, centre, low, high):
    """sup |Σ heads − clamp(u + centre, 0, 1)| for u within two ends, in exact arithmetic, and what float32 adds at most."""
    tree = parse(f"min(max(x1 + {centre!r}, 0), 1)")
    target = lambda jets: iter([formula(tree, constants(1) | {"x1": jets[0]})])  # noqa: E731
    low, high = parts(low, high, (-centre, 1 - centre), PER_KEY * sum(len(head["offsets"]) for head in heads))
    bound, rounding, seen = 0.0, 0.0, 0.0
    for depth in range(DEEPEST + 1):
        found = [errors(heads, target, low[at : at + CHUNK], high[at : at + CHUNK]) for at in range(0, len(low), CHUNK)]
        most, added, least = (np.concatenate(each) for each in zip(*found))
        check(depth > 0 or np.isfinite(added).all(), "what float32 adds to a unit has no bound")
        rounding, seen = max(rounding, added.max()) if depth == 0 else rounding, max(seen, least.max())
        done = most <= seen * (1 + GAP)
        bound = max(bound, most[done].max(initial=0))
        if done.all():
            return Q(float(bound)), Q(float(rounding))
        low, high = low[~done], high[~done]
        middle = (low + high) / 2
        low, high = np.concatenate([low, middle]), np.concatenate([middle, high])
    check(False, f"boxes of a unit do not come to an end: {most.max():.6g} where {seen:.6g} is seen")


def anchors_of_heads(weights, count):
    """Form t1: the factors and constants of u' in the first column of every row, and the heads that see it."""
    spec = weights.stack["layers"][0]
    rows, width = spec["rows"], spec["width"]
    queries, keys = spec.get("queries") or rows, spec.get("keys") or rows
    check((spec["map"], queries, keys) == ("sequence_wise", count, rows), "layers.0 has other sizes than the construction gives it")
    linear = weights.arrays["layers.0.map.project.weight"].reshape(rows, width, -1)
    constant = weights.arrays["layers.0.map.project.bias"].reshape(rows, width)
    check(not (linear[:, 1:].any() or linear[count:].any()), "rows have more than one number that depends on the input")
    query = np.zeros((width, 1)), np.zeros(width), np.zeros(width), np.zeros((width, 1))
    query[0][0, 0] = query[1][1] = 1
    found = []
    for at, group in enumerate(spec["heads"]):
        q, k, v, o = (weights.arrays[f"layers.0.heads.{at}.{part}.weight"] for part in ("query", "key", "value", "output"))
        check(not q[:, 2:].any() and (constant[:count, 1] == 1).all(), "a query reads something else than u' and 1")
        check(not (k[:, 0].any() or v[:, 0].any()), "keys or values depend on the input")
        for head in range(group["count"]):
            of, to = (slice(head * group[d], (head + 1) * group[d]) for d in ("d_key", "d_value"))
            found.append(head_of((q[of], k[of], v[to], o[:, to]), constant, query))
    return exact(linear[:count, 0]), exact(constant[:count, 0]), found


def anchors_of_readout(weights):
    """Form s: the softmax as a head, whose query is (u, 1), with a factor of a half on its scores, which is exact."""
    scores, bias, values = (weights.arrays[f"readout.softmax.{part}"] for part in ("scores.weight", "scores.bias", "values.weight"))
    check(scores.shape == (len(bias), 1) and values.shape == (1, len(bias)), "the readout's softmax has other sizes than the construction gives it")
    keys = np.column_stack([scores[:, 0], bias, values[0]])
    query = np.eye(3)[:, :1], np.eye(3)[1], np.zeros(3), np.zeros((3, 1))
    maps = 2 * np.eye(4, 3) * [1, 1, 0], np.eye(4, 3) * [1, 1, 0], np.eye(3)[2:], np.ones((1, 1))
    return [head_of(maps, keys, query)]


def anchors(weights, task, steps, claims):
    """Forms t1 and s."""
    n, d_in, d_out = weights.n, weights.d_in, weights.d_out
    low, high = ends(task)
    if weights.stack["readout"] == "rows":
        first = weights.stack["layers"][0]
        count = first.get("queries") or first["rows"]
        scatter, centre, gathering = Mixing(weights, 1, count), 0.0, Q(0)
        plus, minus, added = scatter.matrix(1, d_out)
        size, out, bias = (plus + minus).reshape(-1, count), (plus - minus).reshape(-1, count), added.reshape(-1)
        a, b, heads = anchors_of_heads(weights, count)
        lows, highs = np.full(n * d_in, low), np.full(n * d_in, high)
        middle, half = np.zeros(n * d_in), max(abs(low), abs(high))
        off = [any_order(n * d_in + 2) * (half * sum(map(abs, row)) + abs(offset)) for row, offset in zip(a, b)]
    else:
        gather, centre, heads = Mixing(weights, 0, n), 0.5, anchors_of_readout(weights)
        count = gather.queries
        plus, minus, offset = gather.matrix(d_in, 1)
        a, b = (plus - minus).reshape(count, -1), offset.reshape(count)
        middle = exact(gather.middle).reshape(-1)
        lows, highs = low - middle, high - middle
        half = max(abs(x) for side in (lows, highs) for x in side)
        mixed = gather.rounding(-half, half, 1).reshape(count)
        off = [each + half * sum(map(abs, row)) * any_order(1) for each, row in zip(mixed, a)]
        out, bias = (exact(weights.arrays[f"readout.project.{part}"]) for part in ("weight", "bias"))
        size = abs(out)
        check(size.shape == (n * d_out, count), "the readout has other sizes than the construction gives it")
    as_given(task, middle, centre, float(half) if centre else 1.0, a, b, out, bias)
    least, most = reach(a, b, lows, highs)

    total = steps.next("S", max(map(sum, size)) * CLOSE)
    lowest = steps.next("low", max(1, -min(least) - Q(centre)))
    top = steps.next("top", max(1, max(most) + Q(centre)))
    if centre:
        gathering = steps.next("gathering leak", gather.leak(half) * CLOSE)
    kind = "gathered" if centre else "formed"
    each = [steps.next(f"{kind} {j + 1}", one) for j, one in enumerate(off)]
    aside = max(each) + gathering
    sides = np.nextafter(float(-lowest - aside - Q(centre)), -np.inf), np.nextafter(float(top + aside - Q(centre)), np.inf)
    exactly, added = unit(heads, centre, *sides)
    one, single = steps.next("unit", exactly), steps.next("unit in float32", added)
    steps.next("interpolation", total * (one + top - 1))
    through = max(sum(w * g for w, g in zip(row, each)) for row in size) * CLOSE
    if centre:
        steps.next("weights of zero", total * gathering)
        steps.next("gather", through)
        steps.next("units", total * single)
        offsets = steps.next("b2", max(map(abs, bias)))
        steps.next("sums", any_order(count + 2) * (total * (1 + one + single) + offsets))
        return steps.end(("interpolation", "weights of zero"), ("gather", "units", "sums"), claims)
    leak = steps.next("scattering leak", scatter.leak(1) * CLOSE)
    steps.next("weights of zero", leak * (1 + one + single))
    steps.next("linear form", through)
    steps.next("units", total * single)
    scattered = steps.next("scattered", max(scatter.rounding(Q(0), Q(1), d_out).flat))
    steps.next("scatter", scattered * (1 + one + single))
    return steps.end(("interpolation", "weights of zero"), ("linear form", "units", "scatter"), claims)


def relu_network(weights, task, steps, claims):
    form = len(weights.stack["layers"]), weights.stack["readout"] == "rows"
    check(form in ((3, True), (2, True), (1, False)), "a chain is about a ReLU network in the form t1, t2 or s")
    return (gates if form[0] == 3 else anchors)(weights, task, steps, claims)
