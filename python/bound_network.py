"""A checkpoint's network over boxes, for check_bound.py: the networks of headway_reference.py that `headway certify` takes, in Taylor models.

Weights and sizes are read by headway_reference.py, in double precision. What a network has and this file does not follow is refused by name.
"""

import inspect
from pathlib import Path

import numpy as np

import headway_reference as reference
from bound_models import Rules, constant, joined, points
from proof_formulas import Problem, check


def swapped(x):
    return x.swapaxes(-1, -2)


class Heads:
    """Σ_h softmax(c q_h k_hᵀ) v_h O_h + b, with maps [heads, d, width], keys and values shared by as many heads in a row."""

    def __init__(self, query, key, value, output, bias, scale):
        self.maps, self.output, self.bias, self.scale, self.set = (query, key, value), output, bias, scale, None

    @classmethod
    def of_channels(cls, weights, name, d_model, n_heads, d_head=None, n_kv_heads=None, kept=None):
        """Heads that are slices of the channels; `kept` of the outputs are wanted."""
        d_head, n_kv_heads = d_head or d_model // n_heads, n_kv_heads or n_heads
        sizes = {"query": n_heads, "key": n_kv_heads, "value": n_kv_heads}
        maps = [reference.Linear(weights, f"{name}.{part}", d_model, count * d_head) for part, count in sizes.items()]
        output = reference.Linear(weights, f"{name}.output", n_heads * d_head, d_model)
        return cls(*((m.weight, m.bias, d_head) for m in maps), output.weight[:kept], output.bias[:kept], 1 / np.sqrt(d_head))

    def __call__(self, rules, asking, answering, seen=None):
        q, k, v = (self.split(rules.affine(x, weight, bias), d) for x, (weight, bias, d) in zip((asking, answering, answering), self.maps))
        if self.set is not None:  # the last number of each key and the first of each value
            for part, column, numbers in zip((k, v), (-1, 0), self.set):
                part.c[..., column], part.e[..., column] = 0, 0
                part.c[0, ..., column] = numbers
        shared = q.e.shape[1] // k.e.shape[1]
        k, v = (x.map(lambda part: np.repeat(part, shared, axis=1)) for x in (k, v))
        scores = rules.product(q, k, lambda a, b: a @ swapped(b), q.e.shape[-1], self.scale)
        mixed = rules.mixture(scores, v, seen)  # [boxes, heads, n, d]
        return rules.affine(mixed.map(lambda part: part.swapaxes(1, 2).reshape(len(part), part.shape[2], -1)), self.output, self.bias)

    @staticmethod
    def split(x, d):
        return x.map(lambda part: part.reshape(*part.shape[:2], -1, d).swapaxes(1, 2))


def input_map(weights, dims, d_model, n_anchors):
    """The paper's map: (x_i W + b) ⊙ m_i, then the anchors."""
    found = reference.InputMap(weights, "input_map", dims["seq_len"], reference.vector_width(dims), d_model, n_anchors)

    def over(rules, x):
        z = rules.scaled(rules.affine(x, found.project.weight, found.project.bias), found.modulation)
        return joined([z, constant(found.anchors, z)], 1)

    return over


def paper_one_layer(weights, dims, *, d_model, n_heads, n_anchors, kernel, readout):
    enter, kept = input_map(weights, dims, d_model, n_anchors), dims["d_out"] if readout == "channels" else None
    heads = Heads.of_channels(weights, "attention", d_model, n_heads, kept=kept)

    def over(rules, x):
        z = enter(rules, x)
        z = heads(rules, z.at(slice(dims["seq_len"])), z)
        if readout == "channels":
            return z
        row = z.map(lambda part: part[:, :, None, :])  # a row's channels are scores and values
        return rules.mixture(row, z.map(lambda part: part[..., None])).map(lambda part: part[:, :, 0])

    return over


def paper_two_layer(weights, dims, *, d_model, n_heads, n_anchors, kernel):
    enter = input_map(weights, dims, d_model, n_anchors)
    first, second = (Heads.of_channels(weights, name, d_model, n_heads) for name in ("attention_1", "attention_2"))
    between, head = reference.Linear(weights, "affine", d_model, d_model), reference.Linear(weights, "head", d_model, dims["d_out"])

    def over(rules, x):
        z = enter(rules, x)
        z = rules.affine(first(rules, z, z), between.weight, between.bias)
        return rules.affine(second(rules, z.at(slice(dims["seq_len"])), z), head.weight, head.bias)

    return over


def paper_set_keys(weights, dims, *, d_model, n_anchors, low, high, inverse_temperature, shift):
    enter, rows = input_map(weights, dims, d_model, n_anchors), dims["seq_len"] + n_anchors
    heads = Heads.of_channels(weights, "attention", d_model, 1, kept=dims["d_out"])
    heads.scale *= inverse_temperature
    points = np.float32(low + (high - low) / (max(rows, 2) - 1) * np.arange(rows))  # set in float32
    heads.set = np.arange(rows, dtype=np.float32) * (points + points[0] - 2 * np.float32(shift)), points

    def over(rules, x):
        z = enter(rules, x)
        return heads(rules, z.at(slice(dims["seq_len"])), z)

    return over


def attention_stack(weights, dims, *, layers, readout, kernel, causal=False):
    rows, width, parts = dims["seq_len"], reference.vector_width(dims), []
    for at, layer in enumerate(layers):
        parts.append(stack_layer(weights, f"layers.{at}", rows, width, causal, **layer))
        rows, width = layer.get("queries") or layer["rows"], layer["d_out"]
    softmax = readout["softmax"] if isinstance(readout, dict) and list(readout) == ["softmax"] else None
    check(softmax or readout in ("rows", "affine"), f"the readout {readout} is not followed here")
    if softmax:
        scores = reference.Linear(weights, "readout.softmax.scores", width, softmax["width"])
        values = weights.take("readout.softmax.values.weight", softmax["d_value"], softmax["width"])
        width = softmax["d_value"]
    project = None if readout == "rows" else reference.Linear(weights, "readout.project", rows * width, dims["seq_len"] * dims["d_out"])

    def over(rules, x):
        for part in parts:
            x = part(rules, x)
        if softmax:
            x = rules.mixture(rules.affine(x, scores.weight, scores.bias), constant(values.T, x))
        if project is None:
            return x.at(slice(dims["seq_len"]))
        flat = x.map(lambda part: part.reshape(len(part), -1))
        return rules.affine(flat, project.weight, project.bias).map(lambda part: part.reshape(len(part), dims["seq_len"], -1))

    return over


def stack_layer(weights, name, rows_in, d_in, causal, *, map, rows, width, heads, d_out, queries=None, keys=None):
    queries, keys = queries or rows, keys or rows
    check(map in ("token_wise", "sequence_wise"), f"the map {map} is not followed here")
    if map == "token_wise":
        weight, position = weights.take(f"{name}.map.project.weight", width, d_in), weights.take(f"{name}.map.position", rows, width)
    else:
        project = reference.Linear(weights, f"{name}.map.project", rows_in * d_in, rows * width)
    asking, answering = np.arange(queries)[:, None], np.arange(rows - keys, rows)
    seen = (answering <= asking) | (answering >= rows_in) if causal else None
    groups = []
    for at, group in enumerate(heads):
        sizes = [(part, group["count"] * group[d], group[d]) for part, d in (("query", "d_key"), ("key", "d_key"), ("value", "d_value"))]
        maps = [(weights.take(f"{name}.heads.{at}.{part}.weight", size, width), 0.0, d) for part, size, d in sizes]
        output = weights.take(f"{name}.heads.{at}.output.weight", d_out, group["count"] * group["d_value"])
        groups.append(Heads(*maps, output, 0.0, 1 / np.sqrt(group["d_key"])))

    def over(rules, x):
        if map == "token_wise":
            z = rules.affine(x, weight, position[:rows_in])
            z = joined([z, constant(position[rows_in:], z)], 1)
        else:
            flat = x.map(lambda part: part.reshape(len(part), -1))
            z = rules.affine(flat, project.weight, project.bias).map(lambda part: part.reshape(len(part), rows, width))
        total = None
        for group in groups:
            update = group(rules, z.at(slice(queries)), z.at(slice(rows - keys, None)), seen)
            total = update if total is None else rules.plus(total, update)
        return total

    return over


# What a transformer may have beside what is followed here, and how it reads without it.
PLAIN = {
    "qk_norm": "none", "gate": "none", "token_weight": "none", "attention_aware": 0, "residual_gate": False, "head_temperature": False,
    "value_residual": "none",
}  # fmt: skip


def transformer(weights, dims, **fields):
    bound = inspect.signature(reference.Transformer).bind(weights, dims, **fields)
    bound.apply_defaults()
    a = bound.arguments
    for key, plain in PLAIN.items():
        check(a[key] == plain, f"{key} = {a[key]} is not followed here")
    check(a["position"] in ("none", "learned", "sinusoidal"), f"the positions {a['position']} act inside the layers, which is not followed here")
    check(a["norm"] in ("none", "pre") and a["pool"] in ("none", "mean"), f"norm = {a['norm']}, pool = {a['pool']} is not followed here")
    weights.has_biases, d_model, n = a["bias"], a["d_model"], dims["seq_len"]
    is_of_tokens = "tokens" in dims["input"]
    check(is_of_tokens or not a["tie_embedding"], "tie_embedding is followed here for tokens alone")
    if is_of_tokens:
        embed = reference.TokenTable(weights, "embed", dims["input"]["tokens"]["vocab"], d_model)
    else:
        embed = reference.Linear(weights, "embed", reference.vector_width(dims), d_model)
    table = None
    if a["position"] != "none":
        # A table that is not learned is one of float32 as well.
        learned = a["position"] == "learned"
        table = weights.take("position.weight", n, d_model) if learned else np.float32(reference.sinusoidal_table(n, d_model)).astype(float)
    blocks = [block(weights, f"blocks.{layer}", a) for layer in range(a["n_layers"])]
    final_norm = norm(weights, "final_norm", a)
    head = (embed.weight, 0.0)
    if not a["tie_embedding"]:
        head = reference.Linear(weights, "head", d_model, dims["d_out"])
        head = (head.weight, head.bias)

    def over(rules, x, rows=slice(None)):
        """The answers at some of the rows, for models of numbers or for tokens [words, seq_len]."""
        h = points(embed(x)) if is_of_tokens else rules.affine(x, embed.weight, embed.bias)
        h = h if table is None else rules.plus(h, constant(table, h))
        for at, part in enumerate(blocks):
            h = part(rules, h, rows if at + 1 == len(blocks) else slice(None))
        h = final_norm(rules, h)
        if a["pool"] == "mean":
            h = rules.affine(h.map(swapped), np.full((1, n), 1 / n)).map(swapped)
            return rules.affine(h, *head).map(lambda part: np.repeat(part, n, axis=1))
        return rules.affine(h, *head)

    return over


def norm(weights, name, a):
    if a["norm"] == "none":
        return lambda rules, x: x
    if a["norm_kind"] == "layer":
        gain, bias, epsilon = weights.take(f"{name}.weight", a["d_model"]), weights.take(f"{name}.bias", a["d_model"]), reference.LAYER_NORM_EPSILON
    else:
        check(a["norm_kind"] in ("rms", "zero_centred_rms"), f"norm_kind = {a['norm_kind']} is not followed here")
        found = reference.RmsNorm(weights, name, a["d_model"], float(a["norm_kind"] != "rms"), a["norm_epsilon"])
        gain, bias, epsilon = found.gain, 0.0, found.epsilon
    return lambda rules, x: rules.norm(x, a["norm_kind"] == "layer", gain, bias, epsilon)


def block(weights, name, a):
    before = norm(weights, f"{name}.attention_norm", a)
    heads = Heads.of_channels(weights, f"{name}.attention", a["d_model"], a["n_heads"], a["d_head"], a["n_kv_heads"])
    network = None
    if a["state_mixer"] != "none":
        check(list(a["state_mixer"]) == ["ffn"], f"state_mixer = {a['state_mixer']} is not followed here")
        network = feed_forward(weights, name, a, **a["state_mixer"]["ffn"])

    def over(rules, x, rows):
        y = before(rules, x)
        n = y.e.shape[1]
        update = heads(rules, y.at(rows), y, np.tri(n, dtype=bool)[rows] if a["causal"] else None)
        x = rules.plus(x.at(rows), update) if a["residual"] else update
        if network is None:
            return x
        update = network(rules, x)
        return rules.plus(x, update) if a["residual"] else update

    return over


def feed_forward(weights, name, a, d_ffn, activation):
    check(activation in ("relu", "gelu_erf", "gelu_tanh"), f"activation = {activation} is not followed here")
    before = norm(weights, f"{name}.ffn_norm", a)
    expand = reference.Linear(weights, f"{name}.ffn.expand", a["d_model"], d_ffn)
    contract = reference.Linear(weights, f"{name}.ffn.contract", d_ffn, a["d_model"])
    of = {"relu": Rules.relu, "gelu_erf": Rules.gelu, "gelu_tanh": Rules.gelu_tanh}[activation]

    def over(rules, x):
        hidden = of(rules, rules.affine(before(rules, x), expand.weight, expand.bias))
        return rules.affine(hidden, contract.weight, contract.bias)

    return over


NETWORKS = {family.__name__: family for family in (paper_one_layer, paper_two_layer, paper_set_keys, attention_stack, transformer)}


def load(folder):
    """The network as a function of rules and inputs [boxes, seq_len, d_in] -> [boxes, seq_len, d_out], and the sizes of its data."""
    folder = Path(folder)
    name, fields, dims = reference.read_config(folder)
    check(name in NETWORKS, f"networks of the family {name} are not followed here, but {', '.join(NETWORKS)}")
    check("continuous" in dims["input"] or name == "transformer", f"the input of {name} is not one of numbers")
    kernel = fields.get("kernel", "softmax")
    check(kernel in ("softmax", "naive"), f"the kernel {kernel} is not followed here, but softmax")
    tensors = reference.read_safetensors(folder / "model.safetensors")
    for learned in ("prefix", "prompt"):
        check(not any(learned in key.split(".") for key in tensors), f"the network has a learned {learned}, which is not followed here")
    weights = reference.Weights(tensors, np.float64, reference.lora_scale(folder))
    try:
        over = NETWORKS[name](weights, dims, **fields)
    except TypeError as error:
        raise Problem(f"config.json: model.{name}: {error}") from None
    weights.finish()
    return over, dims
