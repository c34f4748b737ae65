#!/usr/bin/env python3
"""Tests of what check_bound.py is made of: enclosures of functions, networks and targets hold what they enclose.

    python -m unittest discover python
"""

import json
import math
import sys
import tempfile
import unittest
from fractions import Fraction
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import bound_network  # noqa: E402
import bound_target  # noqa: E402
import formulas  # noqa: E402
import headway_reference as reference  # noqa: E402
from bound_models import MONOMIALS, Rules, Taylor, points  # noqa: E402
from proof_formulas import Problem  # noqa: E402

OWN = 1e-11  # what the plain arithmetic of these tests rounds


def values(model, t):
    """The polynomials of a model at points t [boxes, free]. -> [boxes, …]"""
    products = [np.prod([t[:, a] for a in monomial], axis=0) * np.ones(len(t)) for monomial in MONOMIALS[model.d]]
    return sum(c * p.reshape(-1, *[1] * (c.ndim - 1)) for c, p in zip(model.c, products))


class Fresh(reference.Weights):
    """Weights that are drawn as they are asked for."""

    def __init__(self, rng, size=0.8):
        super().__init__({}, np.float64)
        self.rng, self.size, self.drawn = rng, size, {}

    def take(self, name, *shape):
        about = 1.0 if name.endswith("norm.weight") else 0.0
        scale = self.size / math.sqrt(shape[-1]) if len(shape) > 1 else 0.3
        self.drawn[name] = np.float32(about + scale * self.rng.normal(size=shape))
        return self.drawn[name].astype(float)


def write(folder, family, fields, dims, rng, task=None, size=0.8):
    """A checkpoint with random weights."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = Fresh(rng, size)
    reference.NETWORKS[family](weights, dims, **fields)
    header, data = {}, b""
    for key, array in weights.drawn.items():
        header[key] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [len(data), len(data) + array.nbytes]}
        data += array.tobytes()
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data)
    experiment = {"seed": 3, "task": task} if task else None
    config = {"format": 1, "model": {family: fields}, "dims": dims, "experiment": experiment}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


def sizes(seq_len, d_in, d_out):
    return {"seq_len": seq_len, "input": {"continuous": {"d_in": d_in}}, "d_out": d_out}


PAPER = {"d_model": 8, "n_heads": 2, "n_anchors": 3, "kernel": "softmax"}
TRANSFORMER = {
    "d_model": 12, "n_layers": 2, "n_heads": 2, "causal": False, "norm": "pre", "residual": True, "position": "learned", "kernel": "softmax",
    "state_mixer": "none",
}  # fmt: skip
LAYERS = [
    {"map": "token_wise", "rows": 5, "width": 7, "queries": 3, "keys": 4, "heads": [{"count": 2, "d_key": 3, "d_value": 2}, {"count": 1, "d_key": 2, "d_value": 4}], "d_out": 6},
    {"map": "sequence_wise", "rows": 4, "width": 5, "heads": [{"count": 1, "d_key": 2, "d_value": 3}], "d_out": 4},
]  # fmt: skip


def ffn(activation):
    return {"ffn": {"d_ffn": 16, "activation": activation}}


NETWORKS = [
    ("paper_one_layer", PAPER | {"readout": "channels"}, (3, 1, 2)),
    ("paper_one_layer", PAPER | {"readout": "softmax"}, (2, 1, 1)),
    ("paper_two_layer", PAPER, (2, 1, 1)),
    ("paper_set_keys", {"d_model": 8, "n_anchors": 3, "low": -1.0, "high": 1.0, "inverse_temperature": 2.0, "shift": 0.1}, (2, 1, 2)),
    ("attention_stack", {"layers": LAYERS, "readout": "affine", "kernel": "softmax"}, (2, 1, 1)),
    ("attention_stack", {"layers": LAYERS, "readout": {"softmax": {"width": 5, "d_value": 2}}, "kernel": "naive"}, (3, 1, 2)),
    ("attention_stack", {"layers": LAYERS[:1], "readout": "rows", "kernel": "softmax"}, (3, 1, 6)),
    ("transformer", TRANSFORMER, (3, 1, 1)),
    ("transformer", TRANSFORMER | {"causal": True, "state_mixer": ffn("gelu_erf"), "pool": "mean"}, (3, 1, 2)),
    ("transformer", TRANSFORMER | {"state_mixer": ffn("gelu_tanh"), "norm_kind": "rms", "position": "sinusoidal", "bias": False}, (2, 1, 1)),
    ("transformer", TRANSFORMER | {"state_mixer": ffn("relu"), "norm": "none", "n_heads": 4, "n_kv_heads": 2, "d_head": 5, "residual": False}, (1, 2, 1)),
    ("transformer", TRANSFORMER | {"norm_kind": "zero_centred_rms", "norm_epsilon": 1e-3, "position": "none"}, (2, 1, 1)),
]


class Models(unittest.TestCase):
    """Operations hold those of all functions that their models stand for, over wide boxes and narrow ones."""

    def setUp(self):
        self.rng = np.random.default_rng(0)

    def draw(self, d, shape, width, boxes=200, about=1.0):
        """Models, points, and at these the values of functions that they stand for."""
        c = self.rng.normal(size=(len(MONOMIALS[d]), boxes, *shape))
        c[0] *= about
        for k, monomial in enumerate(MONOMIALS[d]):
            c[k] *= width ** len(monomial)
        x = Taylor(c, width**3 * self.rng.uniform(size=(boxes, *shape)))
        t = self.rng.uniform(-1, 1, (boxes, d))
        t[: boxes // 4] = np.sign(t[: boxes // 4])
        return x, t, lambda model, t=t: values(model, t) + model.e * self.rng.uniform(-1, 1, model.e.shape)

    def assert_holds(self, model, t, expected):
        off = np.abs(values(model, t) - expected)
        self.assertTrue((off <= model.e + OWN * (1 + np.abs(expected))).all(), (off - model.e).max())
        low, high = model.range()
        self.assertTrue(((low <= expected + OWN * (1 + np.abs(expected))) & (expected - OWN * (1 + np.abs(expected)) <= high)).all())

    def test_functions_and_products(self):
        for d, width, single in ((1, 0.01, False), (2, 0.3, True), (3, 0.05, False), (2, 2.0, False), (0, 0.0, True)):
            rules = Rules(single)
            x, t, at = self.draw(d, (4,), width, about=2)
            y, _, _ = self.draw(d, (4,), width)
            a, b = at(x), at(y, t)
            self.assert_holds(rules.product(x, y, np.multiply), t, a * b)
            self.assert_holds(rules.plus(x, y), t, a + b)
            self.assert_holds(rules.product(x, y, lambda p, q: (p * q).sum(-1), 4, 0.3), t, 0.3 * (a * b).sum(-1))
            weight, bias = self.rng.normal(size=(3, 4)), self.rng.normal(size=3)
            self.assert_holds(rules.affine(x, weight, bias), t, a @ weight.T + bias)
            for name, of in (("relu", reference.relu), ("gelu", reference.gelu_erf), ("gelu_tanh", reference.gelu_tanh), ("tanh", np.tanh)):
                with self.subTest(name, width=width):
                    self.assert_holds(getattr(rules, name)(x), t, of(a))
            for centred in (True, False):
                moved = a - a.mean(-1, keepdims=True) if centred else a
                expected = moved / np.sqrt((moved**2).mean(-1, keepdims=True) + 1e-5) * bias[0] + weight[0]
                self.assert_holds(rules.norm(x, centred, np.full(4, bias[0]), weight[0], 1e-5), t, expected)

    def test_roundings_are_counted(self):
        # Sums that cancel, beside the same in rational arithmetic.
        rules, exact = Rules(), np.vectorize(Fraction)
        a, b, c = self.rng.normal(size=(300, 6)), self.rng.normal(size=(300, 6)), self.rng.normal(size=6)
        b[:, -1] = -(a[:, :-1] * b[:, :-1]).sum(-1) / a[:, -1]
        for model, expected in (
            (rules.product(points(a), points(b), lambda p, q: (p * q).sum(-1), 6), (exact(a) * exact(b)).sum(-1)),
            (rules.affine(points(a), c[None], 0.1).at(0), (exact(a) * exact(c)).sum(-1) + Fraction(0.1)),
            (rules.plus(points(a), points(b)).at(0), (exact(a) + exact(b))[:, 0]),
            (rules.scaled(points(a), c).at(0), (exact(a) * exact(c))[:, 0]),
        ):
            off = np.array([abs(float(Fraction(value) - wanted)) for value, wanted in zip(model.c[0], expected)])
            self.assertTrue((off <= model.e).all() and off.max() > 0)
            self.assertLess(model.e.max(), 1e-14 * np.abs(a).max() * np.abs(b).max())

    def test_exponentials(self):
        for width in (0.01, 1.0, 4.0):
            c = np.zeros((3, 101))
            c[1] = width
            t = np.linspace(-1, 1, 101)[:, None]
            self.assert_holds(Rules.exponential(Taylor(c, np.zeros(101))), t, np.exp(width * t[:, 0]))

    def test_mixtures(self):
        for d, width, sharp in ((1, 0.01, 1), (2, 0.1, 5), (3, 0.03, 40), (2, 1.0, 3), (1, 3.0, 300), (0, 0, 800)):
            for seen in (None, np.tri(3, 5, dtype=bool)):
                s, t, at = self.draw(d, (3, 5), width, about=sharp)
                v, _, _ = self.draw(d, (5, 2), width)
                scores, v_at = at(s), at(v, t)
                scores = scores if seen is None else np.where(seen, scores, -np.inf)
                with self.subTest(width=width, sharp=sharp, causal=seen is not None):
                    self.assert_holds(Rules().mixture(s, v, seen), t, reference.softmax(scores) @ v_at)

    def test_a_mixture_of_two(self):
        """Scores ± r t with values ± 1 are tanh(r t), of which a form on a wide box knows little, but the right things."""
        t = np.linspace(-1, 1, 401)
        for r in (0.01, 0.3, 1.0, 1.7, 2.5, 6.0, 60.0):
            s, v = np.zeros((3, len(t), 1, 2)), np.zeros((3, len(t), 2, 1))
            s[1], v[0, :, :, 0] = (r, -r), (1, -1)
            y = Rules().mixture(Taylor(s, np.zeros(s.shape[1:])), Taylor(v, np.zeros(v.shape[1:])))
            self.assert_holds(y, t[:, None], np.tanh(r * t)[:, None, None])
            self.assertLess(y.e.max(), min(1 + 1e-9, 1.5 * r**3), r)  # what is left of tanh is r³/3 at most

    def test_errors_are_of_third_order(self):
        for name in ("gelu", "gelu_tanh", "tanh"):
            errors = []
            for width in (1e-1, 1e-2):
                x, _, _ = self.draw(2, (), width, boxes=50)
                self.rng = np.random.default_rng(0)
                errors.append(getattr(Rules(), name)(Taylor(x.c, 0 * x.e)).e.max())
            self.assertLess(errors[1], errors[0] / 300, name)


class Networks(unittest.TestCase):
    def test_every_family_holds_its_network(self):
        rng = np.random.default_rng(1)
        with tempfile.TemporaryDirectory() as holder:
            for at, (family, fields, shape) in enumerate(NETWORKS):
                folder, dims = Path(holder) / str(at), sizes(*shape)
                write(folder, family, fields, dims, rng)
                over, found = bound_network.load(folder)
                model, in_single = reference.load(folder, np.float64), reference.load(folder)
                # Numbers that are set or tabled are those of float32.
                if fields.get("position") == "sinusoidal":
                    model.network.position.table = in_single.network.position.table.astype(float)
                if family == "paper_set_keys":
                    model.network.points, model.network.keys = (np.float32(part).astype(float) for part in (model.network.points, model.network.keys))
                names = [f"x{i + 1}_{j + 1} in [-1, 1]" for i in range(shape[0]) for j in range(shape[1])]
                inputs = bound_target.Inputs(shape[0], shape[1], ", ".join(names))
                self.assertEqual(found, dims)
                d = len(names)
                errors = []
                for width in (0.5, 0.05, 1e-3, 1e-4):
                    with self.subTest(family, fields=fields, width=width):
                        middle = rng.uniform(-1, 1, (50, d))
                        x = inputs.models(middle - width, middle + width)
                        h, single = over(Rules(), x), over(Rules(single=True), x)
                        self.assertEqual(h.e.shape, (50, shape[0], shape[2]))
                        errors.append(np.median(h.e))
                        for _ in range(4):
                            t = np.clip(rng.normal(size=(50, d)), -1, 1)
                            off = np.abs(values(h, t) - model(values(x, t))[..., : shape[2]])
                            self.assertTrue((off <= h.e + OWN).all(), (off - h.e).max())
                            off = np.abs(values(single, t) - in_single(values(x, t))[..., : shape[2]])
                            self.assertTrue((off <= single.e).all())
                # The error is of third order, until rounding is all that is left.
                self.assertLess(errors[-1], max(errors[-2] / 300, 1e-11), fields)

    def test_others_are_refused_by_name(self):
        rng = np.random.default_rng(2)
        with tempfile.TemporaryDirectory() as holder:
            for at, (family, fields, words) in enumerate([
                ("transformer", TRANSFORMER | {"position": {"rope": {"theta": 100.0}}}, "act inside the layers"),
                ("transformer", TRANSFORMER | {"qk_norm": "rms"}, "qk_norm = rms is not followed here"),
                ("transformer", TRANSFORMER | {"state_mixer": ffn("swiglu")}, "activation = swiglu"),
                ("transformer", TRANSFORMER | {"norm": "sandwich"}, "norm = sandwich"),
                ("paper_two_layer", PAPER | {"kernel": "sigmoid"}, "the kernel sigmoid is not followed here"),
            ]):  # fmt: skip
                folder = Path(holder) / str(at)
                write(folder, family, fields, sizes(2, 2, 1), rng)
                with self.assertRaises(Problem) as refused:
                    bound_network.load(folder)
                self.assertIn(words, str(refused.exception))
            (folder / "config.json").write_text('{"format": 1, "model": {"csformer": {}}, "dims": {"seq_len": 1, "input": {}, "d_out": 1}}', encoding="utf-8")
            with self.assertRaisesRegex(Problem, "the family csformer"):
                bound_network.load(folder)


class Targets(unittest.TestCase):
    def over(self, text, width, domain="x1_1 in [-1, 1], x2_1 in [-1, 1]", seq_len=2):
        inputs = bound_target.Inputs(seq_len, 1, domain)
        found = bound_target.target(text, {}, sizes(seq_len, 1, len(bound_target.split(text))), inputs)
        rng = np.random.default_rng(0)
        middle = rng.uniform(-1, 1, (300, len(inputs.free)))
        t = rng.uniform(-1, 1, middle.shape)
        x = middle + width * t
        return found.over(middle - width, middle + width)[0], t, x

    def test_formulas_are_held_and_their_errors_small(self):
        names = {"x1_1": 0, "x2_1": 1}
        smooth = [
            "sin(2*x1_1)*x2_1", "exp(x1_1)/(2 + x2_1^2) - x1_1^3", "sqrt(3 + x1_1*x2_1)", "ln(3 + x1_1) + log2(4 - x2_1)*log10(5 + x1_1)",
            "tanh(x1_1 + x2_1)", "gelu(3*x1_1)*sigmoid(x2_1)", "silu(x1_1) - erf(x2_1)", "atan(2*x1_1) + tan(x2_1/2)", "asin(x1_1/3) + acos(x2_1/3)",
            "sinh(x1_1)*cosh(x2_1)", "(2 + x1_1)^1.5", "(2 + x1_1)^x2_1", "cos(PI*x1_1)^2 + E", "(3 + x1_1)^-2*x2_1",
        ]  # fmt: skip
        kinked = ["max(x1_1, x2_1, 0.2)", "min(abs(x1_1), relu(x2_1)) + x1_1*x2_1", "abs(x1_1 - x2_1)*x1_1", "step(x1_1)*x2_1", "atan2(x1_1, 2 + x2_1)"]
        for text in smooth + kinked:
            tree = formulas.parse(text)
            errors = []
            for width in (0.05, 0.005):
                model, t, x = self.over(text, width)
                expected = formulas.evaluate(tree, {name: x[:, a] for name, a in names.items()})
                off = np.abs(values(model, t)[:, 0] - expected)
                self.assertTrue((off <= model.e[:, 0] + OWN).all(), text)
                errors.append(np.median(model.e))
            if text in smooth:
                self.assertLess(errors[1], errors[0] / 300, text)
                self.assertTrue(np.isfinite(model.e).all(), text)

    def test_names_of_a_position_and_fixed_numbers(self):
        model, t, x = self.over("x1*i, x1_1 + x3_1", 0.1, "x1_1 in [-1, 1], x3_1 in [-1, 1]; x2_1 = 0.5", 3)
        expected = [x[:, 0], x[:, 0] + x[:, 1], np.ones(len(x)), x[:, 0] + x[:, 1], 3 * x[:, 1], x[:, 0] + x[:, 1]]
        for at, value in enumerate(expected):
            self.assertLess(np.abs(values(model, t)[:, at] - value).max(), 1e-12)
        self.assertEqual(bound_target.Inputs(4, 1, "x2_1 in [-1, 1]; the other 3 at 0.25").fixed, {"x1_1": 0.25, "x3_1": 0.25, "x4_1": 0.25})
        for text in ("x1_1 in [-1, 1]", "x1_1 in [-1, 1], x2_1 in [1, 1]", "x1_1 in [-1, 1]; x2_1 = 1, x3_1 = 1", "nothing"):
            with self.assertRaises(Problem, msg=text):
                bound_target.Inputs(2, 1, text)

    def test_what_a_task_draws(self):
        # The stream cipher with a key of zeros, as published for ChaCha8.
        first = b"".join(word.to_bytes(8, "little") for word, _ in zip(bound_target.words(0, stream=0), range(4)))
        self.assertEqual(first.hex(), "3e00ef2f895f40d67f5bb8e81f09a5a12c840ec3ce9a7f3b181be188ef711a1e")
        numbers = np.array([x for x, _ in zip(bound_target.normals(7), range(20_000))])
        for power, expected, sigma in ((1, 0, 1), (2, 1, math.sqrt(2)), (4, 3, math.sqrt(96))):
            self.assertLess(abs((numbers**power).mean() - expected), 4 * sigma / math.sqrt(len(numbers)))

    def test_functions_of_tasks(self):
        rng = np.random.default_rng(5)
        x = rng.uniform(-1, 1, (20, 2))
        inputs = bound_target.Inputs(2, 1, "x1_1 in [-1, 1], x2_1 in [-1, 1]")
        clamp = {"low": -0.5, "high": 0.25, "target_scale": 2.0, "given": {"weights": [[1.5], [-1.0]], "offsets": [0.25, 0.5]}}
        text = "2 clamp(w_i . x_i + t_i, -0.5, 0.25) with the task's w and t"
        found = bound_target.target(text, {"experiment": {"seed": 0, "task": {"truncated_linear": clamp}}}, sizes(2, 1, 1), inputs)
        expected = 2 * np.clip(x * [1.5, -1.0] + [0.25, 0.5], -0.5, 0.25)
        self.assertLess(np.abs(found.over(x, x)[0].c[0] - expected).max(), 1e-12)
        w, b, v, c = (np.float32(rng.normal(size=shape)).astype(float) for shape in ((3, 2), 3, (2, 3), 2))
        given = {key: part.tolist() for key, part in zip(("weights_in", "bias_in", "weights_out", "bias_out"), (w, b, v, c))}
        task = {"relu_network": {"d_hidden": 3, "target_scale": 0.5, "given": given}}
        text = "the task's ReLU network of 3 units"
        found = bound_target.target(text, {"experiment": {"seed": 0, "task": task}}, sizes(2, 1, 1), inputs)
        self.assertLess(np.abs(found.over(x, x)[0].c[0] - 0.5 * (np.maximum(x @ w.T + b, 0) @ v.T + c)).max(), 1e-12)
        table = {"function": {"table": {"x": [-1.0, 0.0, 0.5], "y": [0.0, 1.0, 0.25]}}}
        half = bound_target.Inputs(2, 1, "x1_1 in [-1, 1]; x2_1 = 0.25")
        found = bound_target.target("the task's table", {"experiment": {"task": table}}, sizes(2, 1, 1), half)
        middle, t = x[:, :1], rng.uniform(-1, 1, (20, 1))
        model, _ = found.over(middle - 0.1, middle + 0.1)
        expected = np.concatenate([np.interp(middle + 0.1 * t, [-1, 0, 0.5], [0, 1, 0.25]), np.full((20, 1), 0.625)], 1)
        self.assertTrue((np.abs(values(model, t) - expected) <= model.e + OWN).all())
        with self.assertRaisesRegex(Problem, "another target"):
            bound_target.target("the task's ReLU network of 4 units", {"experiment": {"seed": 0, "task": task}}, sizes(2, 1, 1), inputs)

if __name__ == "__main__":
    unittest.main()
