"""Certificates that `headway construct` has just written, one of every kind: sound as they are, and refused once they are damaged.

    HEADWAY_MADE=runs/relu:runs/prefix python -m unittest made_certificates

`HEADWAY_MADE` names their folders. Nothing finds these tests without it: the command line's own tests make the folders and call this.
"""

import json
import os

import numpy as np

import check_certificate
import headway_reference as reference
from test_check_certificate import Folders, smaller


def turn(matrix):
    """The last number that is not 0 gets the other sign."""
    at = tuple(place[-1] for place in np.nonzero(matrix))
    matrix[at] = -matrix[at]


class Made(Folders):
    def test_every_one_is_as_claimed_and_nothing_less(self):
        for folder in os.environ["HEADWAY_MADE"].split(os.pathsep):
            self.take(folder)
            name = self.certificate()["construction"]
            with self.subTest(name, folder=folder):
                lines = check_certificate.verify(self.place)
                if name == "program":
                    self.assert_a_program_is_looked_at(lines)
                    continue
                self.assertEqual(sum(line.startswith("ok ") for line in lines), 6, lines)
                self.assert_every_smaller_rounding_is_noticed()
                self.assert_other_words_are_noticed()
                self.assert_noticed_if(lambda c: c["bound"]["terms"][0].update(basis="measured"), "NOT CERTIFIED")
                self.assert_noticed_if(self.smaller_bound, "")
                if name in ("kernel-ridge", "network-descent"):
                    self.assert_every_head_is_looked_at()

    def assert_a_program_is_looked_at(self, lines):
        self.assertEqual([line.split()[0] for line in lines], ["ok"] * 4, lines)
        # Of all words none is off by more than e^-60 or so: a bound is too small only below that.
        nothing = {"value": 0.0, "terms": []}
        self.assert_noticed_if(lambda c: c.update(bound=nothing, rounding=nothing), "is beyond")
        self.assert_noticed_if(lambda c: c["tried"].update(words=c["tried"]["words"] - 1), "are said to be all")
        self.assert_noticed_if(lambda c: c.update(domain=c["domain"].replace("words of", "words of 1")), "the domain")
        path = self.place / "ground_truth.json"
        whole = path.read_text(encoding="utf-8")
        for change, message in (
            (lambda truth: truth["variables"][0].update(constant=1.0), "is not in the columns"),
            (lambda truth: next(head for head in truth["heads"] if "window" in head).update(window="j < i"), "is no count"),
            (lambda truth: next(head for head in truth["heads"] if head["role"] == "threshold").update(role="carry"), "is no carry"),
        ):
            truth = json.loads(whole)
            change(truth)
            path.write_text(json.dumps(truth), encoding="utf-8")
            self.assert_noticed(message)
        path.write_text(whole, encoding="utf-8")
        weights = reference.read_safetensors(self.place / "model.safetensors")
        outputs = [name for name in weights if name.endswith("output.weight")]
        # A count or a gate with the other sign, in every group of heads.
        for name in outputs:
            self.rewrite("model.safetensors", lambda weights: turn(weights[name]))  # noqa: B023
            self.assert_noticed("a wrong answer at")
            self.rewrite("model.safetensors", lambda weights: turn(weights[name]))  # noqa: B023
        task = self.place / "train.toml"
        task.write_text(task.read_text(encoding="utf-8").replace("closed > opened", "closed >= opened"), encoding="utf-8")
        self.assert_noticed("stored targets are not those")

    def assert_every_head_is_looked_at(self):
        """One number of every matrix with the other sign, which stored points may not show."""
        weights = reference.read_safetensors(self.place / "model.safetensors")
        for name in [name for name in weights if ".heads." in name and weights[name].any()]:
            self.rewrite("model.safetensors", lambda weights: turn(weights[name]))  # noqa: B023
            self.assert_noticed("")
            self.rewrite("model.safetensors", lambda weights: turn(weights[name]))  # noqa: B023

    @staticmethod
    def smaller_bound(certificate):
        """Less than what follows, though more than any error that was found."""
        bound, error = certificate["bound"], certificate["float32"]["error"]
        values = [term["value"] for term in bound["terms"]]
        most = max(values)
        # A fit is as good as can be proved of it, which may be better than what was claimed.
        is_fit = any(term["name"] == "fit" for term in bound["terms"])
        wanted = 0.9 * (error if is_fit else max(error, 0.7 * bound["value"]))
        smaller(bound, values.index(most), max(wanted - (bound["value"] - most), 0) / most)
