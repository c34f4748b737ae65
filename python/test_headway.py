#!/usr/bin/env python3
"""Tests of headway.py on folders written by hand; tests/it/python_loader.rs has those that Headway wrote.

    python -m unittest discover python
"""

import json
import sys
import tempfile
import unittest
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import headway  # noqa: E402
import test_headway_reference as of_reference  # noqa: E402

RECORD = {
    "run_id": "0123456789ab-7", "started": 1_700_000_000, "seconds": 1.5, "status": "complete", "step": 20, "parameters": 12, "device": "cpu",
    "results": [
        {"name": "network", "metrics": {"test/mse": 0.5, "test/mse[points=10]": 0.25, "test/mse[points=2]": 1.0}, "errors": {"test/mse[points=2]": 0.125}},
        {"name": "mean", "metrics": {"test/mse": 2.0, "test/mse[points=10]": 2.0, "test/mse[points=2]": 2.0}},
    ],
}  # fmt: skip

METRICS = '{"step":10,"train/loss":0.1}\n{"step":20,"train/loss":0.30000000000000004,"validation/loss":2.5}\n{"step":30,"train/lo'


class Folders(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def write(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text if isinstance(text, str) else json.dumps(text))

    def write_run(self, name="run", **changes):
        self.write(f"{name}/run.json", RECORD | changes)
        self.write(f"{name}/experiment.toml", "seed = 7\n[task.copy]\nvocab = 5\n[model.transformer]\nn_heads = 2\n")
        self.write(f"{name}/metrics.jsonl", METRICS)
        return self.folder / name

    def write_weights(self, step, best):
        folder = self.folder / f"run/checkpoints/step-{step:08}"
        folder.mkdir(parents=True)
        by_hand = of_reference.ByHand
        of_reference.write_checkpoint(folder, by_hand.model, by_hand.dims, by_hand.tensors(by_hand))
        (folder / "state.json").write_text(json.dumps({"step": step, "best": best and {"step": best, "loss": 0.5}}))
        (folder / "MANIFEST").write_text("")
        return folder


class Runs(Folders):
    def test_metrics_keep_every_digit_and_no_half_line(self):
        metrics = headway.Run(self.write_run()).metrics
        self.assertEqual(list(metrics.index), [10, 20])
        self.assertEqual(list(metrics["train/loss"]), [0.1, 0.30000000000000004])
        self.assertTrue(np.isnan(metrics["validation/loss"][10]) and metrics["validation/loss"][20] == 2.5)

    def test_scores_and_slices(self):
        run = headway.Run(self.write_run())
        self.assertEqual((run.seed, run.experiment["task"]), (7, {"copy": {"vocab": 5}}))
        self.assertEqual(run.scores.to_dict(), {"test/mse": {"network": 0.5, "mean": 2.0}})
        slices = run.slices("test/mse")
        self.assertEqual(list(slices.columns), ["predictor", "points", "test/mse", "error"])
        of_network = slices[slices.predictor == "network"]
        self.assertEqual((list(of_network.points), list(of_network["test/mse"])), ([2, 10], [1.0, 0.25]))
        self.assertEqual(of_network.error.iloc[0], 0.125)
        self.assertTrue(run.slices("test/accuracy").empty)

    def test_a_run_that_has_only_begun(self):
        run = headway.Run(self.write_run(status="running", step=0, results=[]))
        self.write("run/metrics.jsonl", "")
        self.assertEqual((len(run.metrics), len(run.scores), run.checkpoints), (0, 0, {}))
        with self.assertRaisesRegex(headway.FolderError, "no whole checkpoint"):
            run.network()

    def test_runs_below_a_folder_and_one_that_is_damaged(self):
        self.write_run("a")
        self.write_run("study/runs/b", results=[], status="running")
        self.write("c/run.json", "{")
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            found = headway.runs(self.folder)
        self.assertEqual([Path(path).name for path in found.run], ["a", "b"])
        self.assertEqual((list(found.model), found["test/mse"][0]), (["transformer"] * 2, 0.5))
        self.assertTrue(np.isnan(found["test/mse"][1]))
        self.assertEqual(found.started[0], pd.Timestamp("2023-11-14 22:13:20", tz="UTC"))
        self.assertIn("c/run.json", str(warned[0].message))

    def test_what_is_no_run_says_what_to_give(self):
        for kind in (headway.Run, headway.Study, headway.tables):
            with self.assertRaisesRegex(headway.FolderError, str(self.folder)):
                kind(self.folder)
        with self.assertRaisesRegex(headway.FolderError, "nowhere"):
            headway.runs(self.folder / "nowhere")


class Checkpoints(Folders):
    def test_the_best_of_those_that_are_kept(self):
        run = headway.Run(self.write_run())
        first, second = self.write_weights(5, 5), self.write_weights(100, 5)
        (self.folder / "run/checkpoints/.step-00000200").mkdir()
        (self.folder / "run/checkpoints/step-00000300").mkdir()  # without a MANIFEST
        self.assertEqual((run.checkpoints, run.best), ({5: first, 100: second}, first))
        (first / "MANIFEST").unlink()
        self.assertEqual(run.best, second)

    def test_networks_and_patterns_by_hand(self):
        run = headway.Run(self.write_run())
        self.write_weights(5, None)
        seen = 1 / (1 + np.exp(-1 / np.sqrt(2)))  # ByHand's, of 2 keys
        inputs = np.ones((3, 1, 1))
        np.testing.assert_allclose(run.network(dtype=np.float64)(inputs)[0], [[seen + 2 * (1 - seen), 1 - seen]])
        patterns = run.patterns(inputs)
        self.assertEqual(patterns[["layer", "head", "query", "key"]].values.tolist(), [[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0], [0, 0, 1, 1]])
        np.testing.assert_allclose(patterns.weight, [seen, 1 - seen, 1 - seen, seen], rtol=1e-6)

    def test_a_module_of_pytorch_has_the_same_weights(self):
        import torch

        run = headway.Run(self.write_run())
        self.write_weights(5, None)
        module = run.module()
        self.assertIn("attention.query.weight", module.state_dict())
        with torch.no_grad():
            output = module(torch.ones(1, 1, 1, dtype=torch.float64)).numpy()
        np.testing.assert_allclose(output, run.network(dtype=np.float64)(np.ones((1, 1, 1))), rtol=1e-12)


class Studies(Folders):
    def write_study(self, **page):
        self.write("results.json", page)
        self.write("results.csv", "group,predictor,seed,metric,value,model.kernel\nNA,'=f(x),0,test/loss,0.30000000000000004,\n-1,-g,1,test/loss,-1e-3,softmax\n")
        self.write("summary.csv", "group,mean\na,\n")
        return headway.Study(self.folder)

    def test_tables_are_what_was_meant(self):
        study = self.write_study()
        first = study.results.iloc[0]
        self.assertEqual((first.group, first.predictor, first.value), ("NA", "=f(x)", 0.30000000000000004))
        self.assertTrue(pd.isna(first["model.kernel"]) and np.isnan(study.summary["mean"][0]))
        self.assertEqual(study.results.value[1], -1e-3)
        self.assertTrue(study.verdicts.empty and study.tuning.empty and study.lines.empty)
        self.assertEqual(list(headway.tables(self.folder)), ["results", "summary"])

    def test_lines_of_a_comparison(self):
        cost = {"parameters": 3.0, "training_gflop": 0.5, "seconds": 2.0, "learning_rate": 1e-3}
        estimate = {"mean": 1.0, "interval": [0.5, 2.0], "seeds": 3}
        a = {"name": "a", "estimate": estimate, "difference": None} | cost
        difference = {"estimate": {"mean": -0.25, "interval": None, "seeds": 1}, "p_value": 0.5}
        b = {"name": "b", "estimate": None, "difference": difference} | dict.fromkeys(cost)
        study = self.write_study(blocks=[{"task": "t", "match": "depth", "metric": "test/mse", "lines": [a, b]}])
        lines = study.lines.set_index("row")
        self.assertEqual(list(lines.loc["a", ["task", "match", "seeds", "mean", "low", "high", "parameters"]]), ["t", "depth", 3, 1.0, 0.5, 2.0, 3.0])
        self.assertEqual(list(lines.loc["b", ["difference", "p_value"]]), [-0.25, 0.5])
        self.assertTrue(lines.loc["b", ["mean", "difference_low", "learning_rate"]].isna().all() and pd.isna(lines.difference["a"]))


if __name__ == "__main__":
    unittest.main()
