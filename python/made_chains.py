"""Chains of inequalities that `headway construct … --prove` has just written: each follows as it is, and is refused once a step, a weight or the task
is damaged.

    HEADWAY_PROVED=runs/relu:runs/gd python -m unittest made_chains

`HEADWAY_PROVED` names their folders. Nothing finds these tests without it: the command line's own tests make the folders and call this.
"""

import json
import os

import check_certificate
import check_proof
from proof_chains import fraction
from proof_formulas import Problem
from test_check_certificate import Folders


class Chains(Folders):
    def test_every_step_follows_and_nothing_less(self):
        for folder in os.environ["HEADWAY_PROVED"].split(os.pathsep):
            self.take(folder)
            with self.subTest(folder=folder):
                said = check_proof.verify(self.place)
                self.assertIn("inequalities between exact rationals", said)
                self.assertIn(said, check_certificate.verify(self.place))
                self.assert_every_step_is_needed()
                self.assert_weights_and_task_are_read()

    def assert_refused(self, words):
        with self.assertRaises(Problem) as refused:
            check_proof.verify(self.place)
        self.assertIn(words, str(refused.exception))

    def assert_refused_with(self, change, words):
        path = self.place / "proof.json"
        whole = path.read_text(encoding="utf-8")
        proof = json.loads(whole)
        change(proof)
        path.write_text(json.dumps(proof), encoding="utf-8")
        self.assert_refused(words)
        path.write_text(whole, encoding="utf-8")

    def assert_every_step_is_needed(self):
        steps = json.loads((self.place / "proof.json").read_text(encoding="utf-8"))["steps"]
        for at, step in enumerate(steps):
            # A hundredth less, as a fraction whose denominator is a power of two.
            value = fraction(step["at_most"])
            less = f"{value.numerator * 4055}/2^{value.denominator.bit_length() - 1 + 12}"
            self.assertTrue(0 < fraction(less) < value)
            self.assert_refused_with(lambda proof, at=at, less=less: proof["steps"][at].update(at_most=less), f"the step `{step['name']}` claims")
        self.assert_refused_with(lambda proof: proof["steps"].pop(), "the chain ends before the step")
        self.assert_refused_with(lambda proof: proof["steps"].pop(2), "where `")
        self.assert_refused_with(lambda proof: proof["steps"].append(proof["steps"][0]), "goes on with")
        self.assert_refused_with(lambda proof: proof["steps"][1].update(at_most="infinity"), "is no fraction")
        self.assert_refused_with(lambda proof: proof.update(bound=0.9 * proof["bound"]), "claims something else than its proof")
        path = self.place / "certificate.json"
        whole = path.read_text(encoding="utf-8")
        for part in ("bound", "rounding"):
            certificate = json.loads(whole)
            certificate[part]["value"] *= 0.999
            path.write_text(json.dumps(certificate), encoding="utf-8")
            value = certificate[part]["value"]
            self.assert_refused_with(lambda proof, part=part, value=value: proof.update({part: value}), "but its terms add up to")
        path.write_text(whole, encoding="utf-8")

    def assert_weights_and_task_are_read(self):
        other, missing = "is not what the construction writes", "a unit of the task's network is missing"
        layers = self.certificate()["sizes"].get("layers", 3)
        if self.certificate()["construction"] == "relu-network" and "p" in self.certificate()["sizes"]:
            task, damage = self.damage_of_anchors()
        elif self.certificate()["construction"] == "relu-network":
            task = ("high = 1.0", "high = 2.0", missing)
            damage = [
                ({"layers.2.heads.0.output.weight": 1.01}, missing),
                ({"layers.0.heads.0.output.weight": 1.2}, missing),
                ({"layers.0.heads.0.key.weight": 1.05}, missing),
                ({"layers.1.heads.0.query.weight": 0.9}, other),
                ({"layers.1.heads.0.value.weight": 1.1}, other),
                ({"layers.1.map.position": 1.1}, other),
                ({"layers.0.heads.0.query.weight": 1.1}, "is not its own label"),
            ]
        else:
            task = ("noise = 0.03", "noise = 0.04", "the step `")
            steps = [f"layers.{at}.heads.1" for at in range(1, round(layers) - 1)]
            # Scores of another scale, in queries and outputs alike.
            delta = {f"{step}.query.weight": 1.01 for step in steps} | {f"{step}.output.weight": 1 / 1.01 for step in steps}
            last = f"layers.{round(layers) - 1}.heads.0"
            damage = [
                (delta, "the step `delta`"),
                ({name: 1 / by for name, by in delta.items()}, "the step `1/delta`"),
                ({f"{last}.query.weight": 1.01, f"{last}.output.weight": 1 / 1.01}, "the step `delta'`"),
                ({f"{steps[-1]}.output.weight": 1.001}, other),
                ({"layers.0.heads.0.key.weight": 1.1}, other),
                ({"layers.1.map.position": 1.1}, other),
                ({"layers.1.map.project.weight": 0.9}, other),
            ]
        whole = (self.place / "model.safetensors").read_bytes()
        for changes, words in damage:
            with self.subTest(changes):

                def scaled(weights, changes=changes, words=words):
                    for name, by in changes.items():
                        # The last rows of a step's query silence rows, which has no scale.
                        rows = slice(0, -1) if "delta`" in words and name.endswith("query.weight") else slice(None)
                        weights[name][rows] *= by

                self.rewrite("model.safetensors", scaled)
                self.assert_refused(words)
                (self.place / "model.safetensors").write_bytes(whole)
        path = self.place / "train.toml"
        old, new, words = task
        path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
        self.assert_refused(words)

    def damage_of_anchors(self):
        """Forms t1, whose network a file gave, and s, whose network a seed drew."""
        missing = "a unit of the task's network is missing"
        if "H" in self.certificate()["sizes"]:
            return ("weights_in = [[", "weights_in = [[-", missing), [
                ({"layers.1.heads.0.output.weight": 1.01}, missing),
                ({"layers.0.map.project.weight": 1 + 1e-5}, missing),
                ({"layers.0.heads.0.query.weight": 1.05}, "the step `unit`"),
                ({"layers.0.heads.0.value.weight": 1.05}, "the step `unit`"),
                ({"layers.0.map.project.bias": 1.1}, "a query reads something else"),
                ({"layers.1.heads.0.query.weight": 1.1}, "is not its own label"),
            ]  # fmt: skip
        return ("high = 1.0", "high = 2.0", missing), [
            ({"readout.project.weight": 1.01}, missing),
            ({"readout.project.bias": 1.01}, "the network has more than"),
            ({"readout.softmax.scores.weight": 1.05}, "the step `unit`"),
            ({"readout.softmax.scores.bias": 0.95}, "the step `unit`"),
            ({"readout.softmax.values.weight": 1.05}, "the step `unit`"),
            ({"layers.0.heads.0.key.weight": 1.05}, missing),
            ({"layers.0.heads.0.query.weight": 1.1}, "is not its own label"),
        ]
