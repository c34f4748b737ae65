#!/usr/bin/env python3
"""Tests of headway_reference.py: by hand, and against PyTorch where it is installed.

    python -m unittest discover python
"""

import json
import math
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import headway_reference as reference  # noqa: E402

try:
    import check_with_torch
except ImportError:
    check_with_torch = None

VECTORS = {"seq_len": 7, "input": {"continuous": {"d_in": 5}}, "d_out": 3}
TOKENS = {"seq_len": 7, "input": {"tokens": {"vocab": 11}}, "d_out": 11}


def one_layer(**changes):
    fields = {"d_model": 6, "n_heads": 2, "n_anchors": 4, "kernel": "softmax", "readout": "channels"}
    return {"paper_one_layer": fields | changes}


def two_layer(**changes):
    return {"paper_two_layer": {"d_model": 6, "n_heads": 3, "n_anchors": 0, "kernel": "softmax"} | changes}


def transformer(**changes):
    fields = {"d_model": 6, "n_layers": 2, "n_heads": 2, "causal": True, "norm": "pre", "residual": True}
    fields |= {"position": "learned", "kernel": "softmax", "state_mixer": "none"}
    return {"transformer": fields | changes}


def ffn(activation):
    return {"ffn": {"d_ffn": 13, "activation": activation}}


CASES = {
    "one layer": (one_layer(), VECTORS),
    "one layer, no anchors": (one_layer(n_anchors=0, n_heads=1), VECTORS),
    "one layer, softmax readout": (one_layer(readout="softmax"), VECTORS | {"d_out": 1}),
    "two layers": (two_layer(), VECTORS),
    "two layers, anchors": (two_layer(n_anchors=4), VECTORS),
    "causal": (transformer(), VECTORS),
    "bidirectional": (transformer(causal=False), VECTORS),
    "no norm": (transformer(norm="none"), VECTORS),
    "no residual": (transformer(residual=False), VECTORS),
    "nothing but attention": (transformer(residual=False, norm="none", causal=False, position="none"), VECTORS),
    "no positions": (transformer(position="none"), VECTORS),
    "sinusoidal": (transformer(position="sinusoidal"), VECTORS),
    "sinusoidal, odd width": (transformer(position="sinusoidal", d_model=7, n_heads=1), VECTORS),
    "tokens": (transformer(), TOKENS),
    "tokens, ffn": (transformer(state_mixer=ffn("gelu_erf"), causal=False), TOKENS),
    "gelu_erf": (transformer(state_mixer=ffn("gelu_erf")), VECTORS),
    "gelu_tanh": (transformer(state_mixer=ffn("gelu_tanh")), VECTORS),
    "relu": (transformer(state_mixer=ffn("relu")), VECTORS),
    "ffn, no norm": (transformer(state_mixer=ffn("relu"), norm="none"), VECTORS),
    "ffn, no residual": (transformer(state_mixer=ffn("relu"), residual=False), VECTORS),
}


def write_safetensors(path, tensors):
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, tensor in tensors.items():
        tensor = np.asarray(tensor)
        kind = {"float32": "F32", "float64": "F64"}[tensor.dtype.name]
        offsets = [len(data), len(data) + tensor.nbytes]
        header[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": offsets}
        data += tensor.tobytes()
    header = json.dumps(header).encode()
    Path(path).write_bytes(len(header).to_bytes(8, "little") + header + data)


def write_checkpoint(folder, model, dims, tensors):
    config = {"format": 1, "model": model, "dims": dims, "step": 12}
    (Path(folder) / "config.json").write_text(json.dumps(config))
    write_safetensors(Path(folder) / "model.safetensors", tensors)


def drawn_tensors(model, dims, dtype=np.float32):
    """Every tensor of the model, drawn so that patterns are far from uniform and norms far from the identity."""
    [(name, fields)] = model.items()
    rng = np.random.default_rng(5)
    shapes = {key: tuple(t.shape) for key, t in check_with_torch.MODULES[name](dims, fields).state_dict().items()}
    return {key: rng.normal(0, 0.7, shape).astype(dtype) for key, shape in shapes.items()}


class Checkpoints(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def run_script(self, script, *arguments):
        command = [sys.executable, HERE / script, self.folder, *arguments]
        return subprocess.run([str(part) for part in command], capture_output=True, text=True)


@unittest.skipIf(check_with_torch is None, "PyTorch is not installed")
class AgainstTorch(Checkpoints):
    def test_every_model(self):
        import torch

        for label, (model, dims) in CASES.items():
            with self.subTest(label):
                write_checkpoint(self.folder, model, dims, drawn_tensors(model, dims))
                inputs = check_with_torch.drawn_inputs(dims)
                with torch.no_grad():
                    wanted = check_with_torch.load(self.folder)(torch.from_numpy(inputs)).numpy()
                for dtype, tolerance in [(np.float64, 1e-12), (np.float32, 1e-5)]:
                    output, patterns = reference.load(self.folder, dtype).trace(inputs)
                    self.assertEqual(output.dtype, dtype)
                    np.testing.assert_allclose(output, wanted, rtol=0, atol=tolerance * np.abs(wanted).max())
                    for pattern in patterns:
                        self.assertEqual(pattern.dtype, dtype)
                        np.testing.assert_allclose(pattern.sum(-1), 1, rtol=1e-6)

    def test_script_accepts_and_refuses(self):
        write_checkpoint(self.folder, *CASES["causal"], drawn_tensors(*CASES["causal"]))
        inputs, outputs = self.folder / "in.npy", self.folder / "out.npy"
        np.save(inputs, check_with_torch.drawn_inputs(VECTORS))
        written = self.run_script("headway_reference.py", "--inputs", inputs, "--out", outputs)
        self.assertEqual(written.returncode, 0, written.stderr)

        check = self.run_script("check_with_torch.py", "--inputs", inputs, "--outputs", outputs)
        self.assertEqual((check.returncode, check.stdout.count("ok  ")), (0, 2), check.stdout + check.stderr)

        np.save(outputs, np.load(outputs) * 1.0001)
        check = self.run_script("check_with_torch.py", "--inputs", inputs, "--outputs", outputs)
        self.assertEqual(check.returncode, 1)
        self.assertIn(f"FAIL  {outputs}", check.stdout)

        np.save(outputs, np.full((2, 7, 3), np.nan))
        check = self.run_script("check_with_torch.py", "--inputs", inputs, "--outputs", outputs)
        self.assertEqual(check.returncode, 1)

    def test_sequences_shorter_than_the_table(self):
        write_checkpoint(self.folder, *CASES["causal"], drawn_tensors(*CASES["causal"]))
        model = reference.load(self.folder, np.float64)
        inputs = check_with_torch.drawn_inputs(VECTORS)
        # A causal model does not see the future, so a prefix gives the prefix of the output.
        np.testing.assert_allclose(model(inputs[:, :4]), model(inputs)[:, :4], atol=1e-12)
        with self.assertRaisesRegex(reference.InputError, "7 positions"):
            model(np.zeros((1, 8, 5)))


class ByHand(Checkpoints):
    """d_model = 2, one head, q = k = v = z, so the scores of the two rows (1, 0) and (0, 1) are 1/sqrt(2) or 0."""

    model = one_layer(d_model=2, n_heads=1, n_anchors=1)
    dims = {"seq_len": 1, "input": {"continuous": {"d_in": 1}}, "d_out": 2}

    def tensors(self):
        tensors = {
            "input_map.project.weight": [[0.5], [0.0]],
            "input_map.project.bias": [0.5, 0.0],
            "input_map.modulation": [[1.0, 3.0]],
            "input_map.anchors": [[0.0, 1.0]],
        }
        for part in ("query", "key", "value", "output"):
            tensors |= {f"attention.{part}.weight": np.eye(2), f"attention.{part}.bias": [0.0, 0.0]}
        tensors["attention.output.weight"] = [[1.0, 2.0], [0.0, 1.0]]
        return {name: np.array(values, dtype=np.float64) for name, values in tensors.items()}

    def test_output_and_pattern(self):
        write_checkpoint(self.folder, self.model, self.dims, self.tensors())
        output, [pattern] = reference.load(self.folder, np.float64).trace(np.ones((1, 1, 1)))
        seen = 1 / (1 + math.exp(-1 / math.sqrt(2)))
        np.testing.assert_allclose(pattern, [[[[seen, 1 - seen], [1 - seen, seen]]]])
        np.testing.assert_allclose(output, [[[seen + 2 * (1 - seen), 1 - seen]]])

    def assert_refused(self, tensors, *names):
        write_checkpoint(self.folder, self.model, self.dims, tensors)
        with self.assertRaises(reference.CheckpointError) as raised:
            reference.load(self.folder)
        for name in names:
            self.assertIn(name, str(raised.exception))

    def test_unfit_tensors_are_all_named(self):
        tensors = self.tensors() | {"head.weight": np.eye(2)}
        del tensors["input_map.anchors"]
        tensors["attention.key.bias"] = np.zeros(3)
        problems = ["anchors: not in the file", "head.weight: not in the model", "attention.key.bias: the model has"]
        self.assert_refused(tensors, *problems)

    def test_damaged_files_are_refused(self):
        write_checkpoint(self.folder, self.model, self.dims, self.tensors())
        path = self.folder / "model.safetensors"
        whole = path.read_bytes()
        for length in (0, 7, 100, len(whole) - 1):
            path.write_bytes(whole[:length])
            with self.assertRaisesRegex(reference.CheckpointError, "not a whole safetensors file"):
                reference.load(self.folder)

    def test_unknown_config_is_refused(self):
        changes = [({"depth": 2}, "depth"), ({"kernel": "favor"}, "favor"), ({"readout": "mean"}, "mean")]
        for change, name in changes:
            model = {"paper_one_layer": self.model["paper_one_layer"] | change}
            write_checkpoint(self.folder, model, self.dims, self.tensors())
            with self.assertRaisesRegex(reference.CheckpointError, name):
                reference.load(self.folder)
        write_checkpoint(self.folder, {"lstm": {}}, self.dims, self.tensors())
        with self.assertRaisesRegex(reference.CheckpointError, "paper_two_layer"):
            reference.load(self.folder)

    def test_unfit_inputs_are_refused(self):
        write_checkpoint(self.folder, self.model, self.dims, self.tensors())
        model = reference.load(self.folder)
        for shape in [(1, 1), (1, 1, 2), (1, 2, 1)]:
            with self.assertRaises(reference.InputError):
                model(np.ones(shape))

    def test_inputs_of_a_safetensors_file(self):
        path = self.folder / "inputs.safetensors"
        write_safetensors(path, {"inputs": np.float32([[0, 10, 3]])})
        self.assertTrue(np.issubdtype(reference.load_inputs(path, TOKENS).dtype, np.integer))
        self.assertEqual(reference.load_inputs(path, TOKENS).tolist(), [[0, 10, 3]])
        self.assertEqual(reference.load_inputs(path, VECTORS).dtype, np.float32)
        write_safetensors(path, {"inputs": np.float32([[0.5]])})  # left for the model to refuse
        self.assertEqual(reference.load_inputs(path, TOKENS).dtype, np.float32)
        write_safetensors(path, {"a": np.zeros(1), "b": np.zeros(1)})
        with self.assertRaisesRegex(reference.InputError, "holds 2 tensors, not one"):
            reference.load_inputs(path, VECTORS)

    def test_command_line(self):
        write_checkpoint(self.folder, self.model, self.dims, self.tensors())
        inputs, outputs = self.folder / "in.npy", self.folder / "result"
        np.save(inputs, np.ones((4, 1, 1)))
        done = self.run_script("headway_reference.py", "--inputs", inputs, "--out", outputs, "--dtype", "float64")
        self.assertEqual((done.returncode, done.stdout), (0, f"wrote {outputs}: float64 [4, 1, 2]\n"), done.stderr)
        self.assertEqual(np.load(outputs).shape, (4, 1, 2))
        failed = self.run_script("headway_reference.py", "--inputs", self.folder / "absent.npy", "--out", outputs)
        self.assertEqual(failed.returncode, 1)
        self.assertRegex(failed.stderr, r"^error: .*absent\.npy: No such file")


if __name__ == "__main__":
    unittest.main()
