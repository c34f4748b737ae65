"""Chains of inequalities that `headway construct … --prove` has just written: each follows as it is, and is refused once a step, a weight or the task
is damaged.

    HEADWAY_PROVED=runs/relu:runs/gd python -m unittest made_chains

`HEADWAY_PROVED` names their folders. Nothing finds these tests without it: the command line's own tests make the folders and call this.
"""

import json
import os
import tomllib

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
        boxes = {"slope of the head", "slope of the loss", "noise of the head", "mass of the head"}
        boxes = boxes if any(step["name"] in boxes - {"slope of the loss"} for step in steps) else set()
        for at, step in enumerate(steps):
            # A hundredth less, as a fraction whose denominator is a power of two; half of what boxes find, which is below a lattice's bound.
            value = fraction(step["at_most"])
            less = f"{value.numerator * (2048 if step['name'] in boxes else 4055)}/2^{value.denominator.bit_length() - 1 + 12}"
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
            damage = self.damage_of_squares(other) if "R" in self.certificate()["sizes"] else self.damage_of_descent(other)
        whole = (self.place / "model.safetensors").read_bytes()
        for changes, words in damage:
            with self.subTest(changes):

                def scaled(weights, changes=changes, words=words):
                    for name, by in changes.items():
                        # The last rows of a step's query silence rows, which has no scale; of four rows of a gate's the first has its score.
                        gates, silencing = "beta" in words, "delta`" in words or "delta''`" in words
                        rows = slice(None, None, 4) if gates else slice(0, -1) if silencing and str(name).endswith("query.weight") else slice(None)
                        name, rows = name if isinstance(name, tuple) else (name, rows)
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

    def damage_of_squares(self, other):
        """Form e2, two steps."""
        return [
            ({"layers.0.map.position": 1.01}, "the step `R`"),
            ({"layers.0.heads.1.query.weight": 1.01}, "eta` claims"),
            ({"layers.0.heads.1.query.weight": 0.99}, other),
            ({"layers.0.heads.1.key.weight": 1.01}, "the step `alpha`"),
            ({"layers.0.heads.1.key.weight": 0.99}, "the step `1/alpha`"),
            ({"layers.0.heads.1.value.weight": 0.9}, other),
            ({"layers.1.map.position": 1.1}, other),
            ({"layers.1.heads.1.output.weight": 1.001}, other),
            ({"layers.2.heads.1.query.weight": 0.999}, other),
            ({"layers.4.heads.0.output.weight": 1.01}, "the step `1/sigma`"),
            ({"layers.4.heads.0.output.weight": 0.99}, "the step `sigma`"),
        ]

    def damage_of_descent(self, other):
        """Changes of weights, and what is said of each."""
        task = tomllib.loads((self.place / "train.toml").read_text(encoding="utf-8"))["task"]["in_context_regression"]
        options = task["gradient_descent"]
        sloped, sparse = options.get("loss", "squared") != "squared", options.get("lasso", 0.0) > 0
        depth = 1 + 2 * sloped + sparse
        firsts = range(1, 1 + options["steps"] * depth, depth)
        last = f"layers.{1 + options['steps'] * depth}.heads.0"

        def scaled(heads):
            """Scores of another scale, in queries and outputs alike."""
            return {f"{head}.query.weight": 1.01 for head in heads} | {f"{head}.output.weight": 1 / 1.01 for head in heads}

        steps = [f"layers.{at + 2 * sloped}.heads.1" for at in firsts]
        damage = [
            (scaled(steps), "the step `delta`"),
            ({name: 1 / by for name, by in scaled(steps).items()}, "the step `1/delta`"),
            (scaled([last]), "the step `delta'`"),
            ({f"{steps[-1]}.output.weight": 1.001}, other),
            ({"layers.0.heads.0.key.weight": 1.1}, other),
            ({"layers.1.map.position": 1.1}, other),
            ({"layers.1.map.project.weight": 0.9}, other),
        ]
        if sloped:
            predictions = [f"layers.{at}.heads.1" for at in firsts]
            damage += [
                (scaled(predictions), "the step `delta''`"),
                ({f"layers.{firsts[-1] + 1}.heads.1.value.weight": 1.1}, other),
                ({f"layers.{firsts[-1] + 1}.map.position": 1.1}, other),
            ]
        if "huber" in options.get("loss", ""):
            damage.append(({f"layers.{at + 1}.heads.1.query.weight": 0.99 for at in firsts}, "the step `1/beta of slopes`"))
        if options.get("loss") == "logistic":
            d, rows = task["d"], 2 * task["n_points"] + 3
            anchors = range(rows, rows + round(self.certificate()["sizes"]["anchors"]))
            damage += [
                # Values of anchors, and the factor of z.
                ({("layers.2.map.position", (anchors, -1)): 1.01}, "the step `slope of the"),
                ({("layers.2.map.project.weight", 2 * d + 2): 0.99}, "the step `slope of the"),
            ]
        if sparse:
            damage += [
                ({f"layers.{at + depth - 1}.heads.1.query.weight": 0.99 for at in firsts}, "the step `1/beta`"),
                ({f"layers.{firsts[-1] + depth - 1}.heads.1.output.weight": 1.1}, other),
                ({f"layers.{firsts[-1] + depth - 1}.map.position": 1.1}, other),
            ]
        return damage
