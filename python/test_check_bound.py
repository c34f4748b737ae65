#!/usr/bin/env python3
"""Tests of check_bound.py: a bound or an accuracy that is damaged is noticed.

    python -m unittest discover python
"""

import hashlib
import json
import sys
import tempfile
import unittest
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import check_bound  # noqa: E402
import headway_reference as reference  # noqa: E402
from proof_formulas import Problem  # noqa: E402
from test_bound_models import PAPER, TRANSFORMER, ffn, sizes, write  # noqa: E402


class Bounds(unittest.TestCase):
    """A search whose bounds are made here, from errors on a grid, for a network of two numbers."""

    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.place, self.checkpoint = Path(holder.name) / "bound", Path(holder.name) / "run"
        self.place.mkdir()
        fields = TRANSFORMER | {"n_layers": 1, "state_mixer": ffn("gelu_erf")}
        write(self.checkpoint, "transformer", fields, sizes(2, 1, 1), np.random.default_rng(3), size=0.5)
        line = np.linspace(-1, 1, 201)
        x = np.stack(np.meshgrid(line, line, indexing="ij"), -1).reshape(-1, 2, 1)
        error = np.abs(reference.load(self.checkpoint, np.float64)(x)[..., 0] - np.sin(2 * x[:, :1, 0]) * x[:, 1:, 0]).max(-1)
        top = error.argmax()
        self.lower = float(error[top]) * (1 - 1e-12)
        at, weights = x[top, :, 0].tolist(), hashlib.sha256((self.checkpoint / "model.safetensors").read_bytes()).hexdigest()
        asked = {"target": "sin(2*x1_1)*x2_1", "domain": "x1_1 in [-1, 1], x2_1 in [-1, 1]", "arithmetic": "exact"}
        self.claim = asked | {
            "upper": 1.01 * self.lower, "lower": self.lower, "at": {"x1_1": at[0], "x2_1": at[1]}, "network": {"source": "run"},
        }  # fmt: skip
        self.state = {
            "question": list((asked | {"weights": weights}).items()), "lower": self.lower, "at": at, "closed": 1.01 * self.lower, "open": [],
        }  # fmt: skip

    def verify(self, most=40_000, **changes):
        """Lines about the search with changes in both files."""
        claim = self.claim | changes
        asked = dict(self.state["question"]) | {key: value for key, value in changes.items() if key in dict(self.state["question"])}
        state = self.state | {"question": list(asked.items()), "closed": claim["upper"], "lower": claim["lower"]}
        for name, content in (("results.json", claim), ("state.json", state)):
            (self.place / name).write_text(json.dumps(content), encoding="utf-8")
        return list(check_bound.verify(self.place, most=most, say=check_bound.Say()))

    def assert_noticed(self, words, **changes):
        with self.assertRaises(Problem) as noticed:
            self.verify(**changes)
        self.assertIn(words, str(noticed.exception))

    def test_a_bound_is_verified_and_a_smaller_one_is_not(self):
        lines = self.verify()
        self.assertEqual([line[:9] for line in lines], ["ok   lowe", "ok   uppe"], lines)
        self.assertEqual(len(self.verify(arithmetic="float32", upper=1.1 * self.lower + 0.01)), 2)
        self.assert_noticed("the bound is wrong", upper=0.99 * self.lower, lower=0.98 * self.lower)
        self.assert_noticed("not verified: on ", most=30)
        self.assert_noticed("the search has no upper bound yet", upper=None)

    def test_no_side_is_halved_alone(self):
        with tempfile.TemporaryDirectory() as place:
            write(Path(place), "paper_two_layer", PAPER, sizes(3, 1, 1), np.random.default_rng(5))
            domain = "x1_1 in [-1, 1], x2_1 in [-1, 1], x3_1 in [-1, 1]"
            question = check_bound.Question(Path(place), {"target": "1e9*x2_1", "domain": domain, "arithmetic": "exact"})
            for length, axes in ((1.0, {1}), (1e-6, {0, 2})):  # x2_1 alone is steep, until it is short
                _, _, axis = question.bounds(np.array([[-1.0, 0.0, -1.0]]), np.array([[1.0, length, 1.0]]))
                self.assertIn(int(axis[0]), axes, length)

    def test_a_larger_lower_bound(self):
        self.assert_noticed("the lower bound is not attained", lower=1.00001 * self.lower)
        self.assert_noticed("the lower bound is not attained", at={"x1_1": 0.1, "x2_1": 0.2})
        self.assert_noticed("attained outside of the domain", at={"x1_1": 1.5, "x2_1": 0.2})

    def test_a_lower_bound_at_a_jump(self):
        jump = {"target": "floor(3*x1_1)", "domain": "x1_1 in [-1, 1], x2_1 in [-1, 1]"}
        least, largest = check_bound.Question(self.checkpoint, jump | {"arithmetic": "exact"}).at([1.0, 0.2])
        self.assertAlmostEqual(largest - least, 1)  # floor(3) is 3, and less than 3 is 2
        at = {"x1_1": 1.0, "x2_1": 0.2}
        lines = self.verify(**jump, at=at, lower=largest, upper=largest + 5)
        self.assertTrue(lines[0].startswith("ON TRUST lower"), lines)
        self.assertTrue(self.verify(**jump, at=at, lower=least, upper=largest + 5)[0].startswith("ok   lower"))
        self.assert_noticed("the lower bound is not attained", **jump, at=at, lower=1.00001 * largest, upper=largest + 5)

    def test_another_question(self):
        self.assert_noticed("the bound is wrong", target="sin(2*x1_1)*x2_1 + 5", lower=0.0)
        self.assert_noticed("the bound is wrong", domain="x1_1 in [-1, 1], x2_1 in [-1, 3]")
        self.assert_noticed("does not name each of the 2 input numbers once", domain="x1_1 in [-1, 1]")
        self.assert_noticed("2 formulas are given for 1 output numbers", target="x1_1, x2_1")
        self.assert_noticed("the arithmetic half is not known here", arithmetic="half")
        self.verify()
        for name, part in (("results.json", "target"), ("results.json", "upper")):
            path = self.place / name
            whole = json.loads(path.read_text(encoding="utf-8"))
            path.write_text(json.dumps(whole | {part: "x1_1" if part == "target" else 0.5 * whole[part]}), encoding="utf-8")
            with self.assertRaisesRegex(Problem, "results.json and state.json have"):
                list(check_bound.verify(self.place))
            path.write_text(json.dumps(whole), encoding="utf-8")

    def test_boxes_for_training(self):
        boxes = {"of": 4, "bounds": [1.2 * self.lower, self.lower], "boxes": [[[-1, 1], [-1, 1]], [[0, 0.1], [0, 0.1]]]}
        path = self.place / "boxes.json"

        def written(**changes):
            path.write_text(json.dumps(boxes | changes), encoding="utf-8")

        written()
        wide = {"upper": 1.2 * self.lower}
        self.assertEqual(self.verify(**wide)[2][:32], "ok   boxes: 2 bounds for trainin")
        for words, changes in (
            ("the bound is wrong", {"bounds": [1.2 * self.lower, 1e-9]}),
            ("a box outside of the domain", {"boxes": [[[-1, 1], [-1, 1]], [[0, 0.1], [0, 1.1]]]}),
            ("does not name a box of all input numbers for each bound", {"bounds": [1.2 * self.lower]}),
        ):
            written(**changes)
            self.assert_noticed(words, **wide)
        path.unlink()

    def test_other_weights(self):
        path = self.checkpoint / "model.safetensors"
        content = bytearray(path.read_bytes())
        content[-1] ^= 0x01  # an exponent
        path.write_bytes(content)
        self.assert_noticed("the claim is about other weights")
        path.unlink()
        self.assert_noticed("the checkpoint run is not there; name it")


class Accuracy(unittest.TestCase):
    """Words of three tokens of five, answered by a network with random weights."""

    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.place, self.checkpoint = Path(holder.name) / "bound", Path(holder.name) / "run"
        self.place.mkdir()
        fields = TRANSFORMER | {"n_layers": 1, "norm": "none", "causal": True}
        dims = {"seq_len": 3, "input": {"tokens": {"vocab": 5}}, "d_out": 5}
        write(self.checkpoint, "transformer", fields, dims, np.random.default_rng(28))
        words = np.stack(np.unravel_index(np.arange(125), (5, 5, 5)), -1)
        self.right = int((reference.load(self.checkpoint, np.float64)(words)[:, -1].argmax(-1) == words.max(1)).sum())
        weights = hashlib.sha256((self.checkpoint / "model.safetensors").read_bytes()).hexdigest()
        proved = [{"name": name, "words": float(self.right - less), "of": 125.0} for name, less in (("ranges", 5), ("mixtures", 0), ("every word", 0))]
        self.claim = {"proved": proved, "vocab": 5, "k": 3, "sha256": weights, "network": {"source": "run"}}

    def verify(self, most=1000, **changes):
        claim = self.claim | changes
        claim["proved"] = [part | {"accuracy": part["words"] / part["of"]} for part in claim["proved"]]
        (self.place / "results.json").write_text(json.dumps(claim), encoding="utf-8")
        return list(check_bound.verify(self.place, most=most))

    def test_words_are_counted(self):
        self.assertTrue(10 < self.right < 115, self.right)  # both kinds are there
        self.assertEqual([line[:5] for line in self.verify()], ["ok   "] * 3)
        for at, name in enumerate(("ranges", "mixtures", "every word")):
            more = [part | {"words": self.right + 1.0} if at == index else part for index, part in enumerate(self.claim["proved"])]
            with self.assertRaisesRegex(Problem, f"{name}: {self.right + 1} are said to be right, and"):
                self.verify(proved=more)
        fewer = [self.claim["proved"][2] | {"words": self.right - 1.0}]
        with self.assertRaisesRegex(Problem, "every word: "):
            self.verify(proved=fewer)
        for words, changes in (
            ("about other weights", {"sha256": "0"}),
            ("is not one that names one of 4 tokens after 3", {"vocab": 4}),
            ("125 words are too many to try; --most 125 tries them", {"most": 100}),
            ("the accuracy is no share of 125 words", {"proved": [{"name": "ranges", "words": 9.0, "of": 10.0}]}),
        ):
            with self.assertRaisesRegex(Problem, words):
                self.verify(**changes)


if __name__ == "__main__":
    unittest.main()
