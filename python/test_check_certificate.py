#!/usr/bin/env python3
"""Tests of formulas.py and of check_certificate.py, which must notice what is damaged.

    python -m unittest discover python
"""

import json
import math
import re
import shutil
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import certificate_folder  # noqa: E402
import check_certificate  # noqa: E402
import formulas  # noqa: E402
import headway_reference as reference  # noqa: E402

CHECKPOINTS = HERE.parent / "checkpoints"


class Formulas(unittest.TestCase):
    def test_values(self):
        x = {"x1": np.float64(2), "x2": np.float64(3), "i": np.float64(5)}
        for text, expected in [
            ("-x1^2", -4),
            ("2 ^ 3 ^ 2", 512),
            ("2*-x2 + .5e1", -1),
            ("10 - 3 - 2", 5),
            ("12 / 3 * 2", 8),
            ("max(1, x2, x1) - min(4, 3)*PI/PI", 0),
            ("step(0) + signum(-3) + relu(-1)", 0),
            ("atan2(x1, x2)", math.atan2(2, 3)),
            ("gelu(1)", 0.841344746068543),
            ("silu(2)*(1 + exp(-2)) + i", 7),
            ("log10(1000) + log2(8) + ln(E)", 7),
        ]:
            self.assertAlmostEqual(float(formulas.evaluate(formulas.parse(text), x)), expected, places=12, msg=text)
        for text in ("2x1", "sin", "sin(1, 2)", "(1", "|x1|", ""):
            with self.assertRaises((formulas.FormulaError, KeyError), msg=text):
                formulas.evaluate(formulas.parse(text), x)

    def test_bounds_hold_and_mean_something(self):
        for text, low, high, slope, bend in [
            ("sin(3*x1)*x2", 0, 1, 3, 9),
            ("max(abs(x1 - 0.413), abs(x2 - 0.577))", 0, 1, 1, math.inf),
            ("x1 + 125*relu(0.008 - abs(x1 - 0.3) - abs(x2 - 0.7))", 0, 1, math.hypot(126, 125), math.inf),
            ("exp(-((x1 - 0.0123456)*1e5)^2)", -3, 3, 1e5 * math.sqrt(2 / math.e), 2e10),
            ("sqrt(abs(x1))", -1, 1, math.inf, math.inf),
            ("step(x1)", -1, 1, math.inf, math.inf),
            ("0*ln(x1)", -1, 1, math.inf, math.inf),
            ("atan2(x1 + 1, 1)", 0, 1, 0.5, 0.5),
            ("atan2(2, x1 + 2)", 0, 1, 0.25, 0.125),
            ("atan2(x1 - 0.5, x2 - 2)", 0, 1, math.inf, math.inf),
        ]:
            tree, names = formulas.parse(text), {"x1": 0, "x2": 1}
            for what, known in (("slope", slope), ("bend", bend)):
                bounds = lambda a, b: getattr(formulas.enclose(tree, a, b, names), what)()  # noqa: B023, E731
                sides = 2 if "x2" in text else 1
                least, most = formulas.supremum(bounds, [low] * sides, [high] * sides, boxes=20_000)
                self.assertGreaterEqual(most, known * (1 - 1e-12), (text, what))
                if math.isfinite(known):
                    self.assertLess(most, 1.02 * known, (text, what))
                    self.assertLessEqual(least, known * (1 + 1e-12), (text, what))

    def test_every_function_is_held(self):
        rng = np.random.default_rng(0)
        for name, (value, _) in formulas.FUNCTIONS.items():
            tree = (name, ("variable", "x1"))
            low, high = {"acos": (-1, 1), "asin": (-1, 1), "tan": (-1.5, 1.5)}.get(name, (-3, 3))
            if name in ("ln", "log2", "log10", "sqrt"):
                low = 0.01
            ends = np.sort(rng.uniform(low, high, (500, 2)), axis=1)
            jet = formulas.enclose(tree, ends[:, :1], ends[:, 1:], {"x1": 0})
            a, b = ends.T
            middle = (a + b) / 2
            with np.errstate(all="ignore"):
                inside = [value(x) for x in (a, middle, b)]
            for y in inside:
                self.assertTrue(((jet.value.low <= y) & (y <= jet.value.high)).all(), name)
            slope, slack = (inside[2] - inside[0]) / (b - a), 1e-12 / (b - a)
            good = (jet.gradient[0].low <= slope + slack) & (slope - slack <= jet.gradient[0].high)
            self.assertTrue(good.all(), name)


class Folders(unittest.TestCase):
    """A copy of a folder, to be damaged."""

    def take(self, folder):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.place = Path(holder.name) / "made"
        shutil.copytree(folder, self.place)

    def certificate(self):
        return json.loads((self.place / "certificate.json").read_text(encoding="utf-8"))

    def change(self, change):
        certificate = self.certificate()
        change(certificate)
        (self.place / "certificate.json").write_text(json.dumps(certificate), encoding="utf-8")

    def rewrite(self, name, change):
        """A safetensors file with other numbers."""
        tensors = {k: np.array(v, np.float32) for k, v in reference.read_safetensors(self.place / name).items()}
        change(tensors)
        header, data = {}, b""
        for key, array in tensors.items():
            array = np.ascontiguousarray(array, dtype="<f4")
            header[key] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [len(data), len(data) + array.nbytes]}
            data += array.tobytes()
        text = json.dumps(header).encode()
        (self.place / name).write_bytes(len(text).to_bytes(8, "little") + text + data)

    def assert_noticed(self, message):
        with self.assertRaises(check_certificate.Problem) as found:
            check_certificate.verify(self.place)
        self.assertIn(message, str(found.exception))

    def assert_noticed_if(self, change, message):
        """Changes the certificate, and takes that back."""
        whole = self.certificate()
        self.change(change)
        self.assert_noticed(message)
        self.change(lambda certificate: (certificate.clear(), certificate.update(whole)))

    def assert_every_smaller_rounding_is_noticed(self):
        for at, term in enumerate(self.certificate()["rounding"]["terms"]):
            # Of a term of nothing there is no less, and formulas on a sphere are known at points alone.
            if term["value"] > 0:
                for share in (0.7, 0.0):
                    self.assert_noticed_if(lambda c: smaller(c["rounding"], at, share), f"rounding: the term `{term['name']}` is")  # noqa: B023

    def assert_other_words_are_noticed(self):
        for what in ("target", "domain"):
            for change in (more, lambda text: text[:-1], lambda text: text + "?", lambda text: ""):
                self.assert_noticed_if(lambda c: c.update({what: change(c[what])}), f"the {what}")  # noqa: B023


def smaller(bound, at, share):
    """One term less, and the sum with it."""
    terms = bound["terms"]
    terms[at]["value"] *= share
    bound["value"] = sum(term["value"] for term in terms)


def more(text):
    """With a larger last number, or with other words where there is none."""
    larger = re.sub(r"\d+(?=\D*$)", lambda number: str(int(number[0]) + 1), text)
    return larger if larger != text else text.replace("circle", "sphere").replace("largest", "smallest")


class Certificates(Folders):
    def setUp(self):
        self.take(CHECKPOINTS / "clamp")

    def test_what_ships_is_as_claimed(self):
        for name in ("clamp", "clamp_hard"):
            lines = check_certificate.verify(CHECKPOINTS / name)
            self.assertEqual(len(lines), 6, lines)
            self.assertTrue(all(line.startswith("ok") for line in lines), lines)

    def test_a_smaller_claim(self):
        # A tenth less than what follows is still more than most errors.
        self.change(lambda certificate: smaller(certificate["bound"], 0, 0.9))
        self.assert_noticed("an error of")
        # Nor does it help to show no points at which the error is large.
        self.points_where_the_error_is_small()
        with mock.patch.object(certificate_folder, "RANDOM", 0):
            self.assert_noticed("is claimed where")

    def points_where_the_error_is_small(self):
        """Stored points that show nothing: the folder's own files cannot vouch for themselves."""

        def zeros(points):
            points["inputs"] = np.zeros_like(points["inputs"])
            model = check_certificate.Folder(self.place)
            points["targets"] = check_certificate.target(model, points["inputs"]).astype(np.float32)

        self.rewrite("hardest.safetensors", zeros)

    def test_a_bound_and_targets_that_agree_with_each_other_only(self):
        # Targets that are what the network gives, and a bound of nothing.
        def network(points):
            points["targets"] = check_certificate.Folder(self.place).models[np.float64](points["inputs"]).astype(np.float32)

        self.rewrite("hardest.safetensors", network)
        self.assert_noticed("stored targets are off")

    def test_a_smaller_rounding(self):
        self.assert_every_smaller_rounding_is_noticed()

    def test_a_rounding_of_nothing(self):
        self.change(lambda certificate: certificate.update(rounding={"value": 0.0, "terms": []}))
        self.assert_noticed("the term `scores` is missing")

    def test_other_words(self):
        self.assert_other_words_are_noticed()

    def test_another_verdict(self):
        self.change(lambda certificate: certificate.update(verdict="given"))
        self.assert_noticed("the verdict is said to be")

    def test_a_smaller_error(self):
        self.change(lambda certificate: certificate["float32"].update(error=0.011))
        self.assert_noticed("the largest error is said to be")

    def test_terms_that_do_not_add_up(self):
        self.change(lambda certificate: certificate["bound"].update(value=0.02))
        self.assert_noticed("do not add up")

    def test_a_negative_term(self):
        self.change(lambda certificate: certificate["rounding"]["terms"][0].update(value=-1e-6))
        self.assert_noticed("is negative")

    def test_what_was_measured_certifies_nothing(self):
        self.change(lambda certificate: certificate["bound"]["terms"][0].update(basis="measured"))
        self.assert_noticed("NOT CERTIFIED")

    def test_a_tolerance_below_the_bound(self):
        self.change(lambda certificate: certificate.update(tolerance=0.01))
        self.assert_noticed("beyond the tolerance")

    def test_another_weight(self):
        def shift(weights):
            weights["layers.0.heads.0.value.weight"][0, -3] += 0.1

        self.rewrite("model.safetensors", shift)
        self.assert_noticed("an error of")

    def test_another_task(self):
        path = self.place / "train.toml"
        whole = path.read_text()
        path.write_text(whole.replace("high = 2.0", "high = 1.9", 1))
        self.assert_noticed("the target is said to be")
        # A weight of the other sign.
        path.write_text(re.sub(r"(weights = \[\s*\[\s*)(-?)", lambda found: found[1] + ("" if found[2] else "-"), whole))
        self.assert_noticed("stored targets are off")


if __name__ == "__main__":
    unittest.main()
