#!/usr/bin/env python3
"""What benches/peer does without a GPU: whose turn it is, what is refused, and with which words.

    python -m unittest discover python
"""

import contextlib
import importlib.util
import io
import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

PEER = Path(__file__).resolve().parent.parent / "benches" / "peer"
sys.path.insert(0, str(PEER))

import compare  # noqa: E402

HAS_TORCH = importlib.util.find_spec("torch") is not None
ATTENTION = {"name": "F8", "for_gpu": False, "recipe": {"attention": {"n_heads": 2, "d_head": 4, "seq_len": 8, "kernel": "softmax"}}}
LONG = {"name": "F9", "for_gpu": False, "recipe": {"attention": {"n_heads": 2, "d_head": 4, "seq_len": 4096, "kernel": "softmax"}}}
STEPS = {"name": "G", "for_gpu": True, "recipe": {"steps": {}}}

HEADWAY = """#!{python}
import json, sys
if "--list" in sys.argv:
    print(json.dumps({listed}))
elif "tf32" in sys.argv:
    sys.exit("error: it has no tf32")
else:
    print(json.dumps({{"seconds": [0.002, 0.001], "flops": 1e6, "peak_bytes": 2000000, "launches": None}}))
"""


class Options(unittest.TestCase):
    def test_what_is_timed_follows_the_device(self):
        cpu, cuda = compare.parsed([]), compare.parsed(["--device", "cuda"])
        self.assertEqual((cpu.precisions, cpu.threads, cpu.repeats), (["f32"], [1, 2], 5))
        self.assertEqual((cuda.precisions, len(cuda.threads)), (["f32", "tf32", "bf16"], 1))
        self.assertEqual(compare.variants(cpu, STEPS), ["headway-f32", "plain-f32", "sdpa-f32"])
        self.assertEqual(compare.variants(cpu, LONG), ["headway-f32", "sdpa-f32"])
        on_cuda = compare.variants(cuda, STEPS)
        self.assertEqual(on_cuda[:3], ["headway-f32", "headway-tf32", "headway-bf16"])
        self.assertEqual([name for name in on_cuda if name.startswith("graph")], ["graph-f32", "graph-tf32", "graph-bf16"])
        self.assertNotIn("graph-f32", compare.variants(cuda, ATTENTION))
        self.assertIn("compile-f32", compare.variants(compare.parsed(["--compile"]), STEPS))

    def test_what_the_device_has_not_is_refused(self):
        for words, why in [(["--precisions", "tf32"], "add --device cuda"), (["--device", "cuda", "--threads", "1", "2"], "one number")]:
            said = io.StringIO()
            with contextlib.redirect_stderr(said), self.assertRaises(SystemExit) as ended:
                compare.parsed(words)
            self.assertEqual(ended.exception.code, 2)
            self.assertIn(why, said.getvalue())


class Turns(unittest.TestCase):
    def test_all_take_turns_and_one_that_fails_is_not_asked_again(self):
        asked = []

        def sample(name):
            asked.append(name)
            return {"refused": "no"} if name == "b" else {"ms_per_step": len(asked)}

        samples, without = compare.take_turns(["a", "b", "c"], 3, sample)
        self.assertEqual(asked, ["a", "b", "c", "a", "c", "a", "c"])
        self.assertEqual(without, {"b": "no"})
        self.assertEqual(compare.best(samples, "a"), 1)


class Programs(unittest.TestCase):
    def setUp(self):
        if not HAS_TORCH:
            self.assertNotEqual(os.environ.get("HEADWAY_REQUIRE_PYTHON"), "1", "PyTorch is missing")
            self.skipTest("PyTorch is missing")

    def steps(self, orders, *flags):
        lines = "".join(json.dumps({"recipe": ATTENTION["recipe"], "variant": variant}) + "\n" for variant in orders)
        command = [sys.executable, str(PEER / "steps.py"), "--seconds", "0.001", *flags]
        return subprocess.run(command, input=lines, capture_output=True, text=True)

    def test_a_step_is_captured_on_cuda_alone(self):
        answers = [json.loads(line) for line in self.steps(["plain-f32", "graph-f32", "sdpa-tf32"]).stdout.splitlines()]
        self.assertIn("pytorch", answers[0])
        self.assertGreater(answers[1]["ms_per_step"], 0)
        self.assertIn("captured on CUDA alone", answers[2]["refused"])
        self.assertIn("tf32 is of CUDA alone", answers[3]["refused"])

    def test_a_machine_without_cuda_is_told_so(self):
        done = self.steps([], "--device", "cuda")
        if done.returncode == 0:
            self.skipTest("there is one")
        self.assertEqual(done.returncode, 1)
        self.assertIn("no CUDA device for PyTorch", done.stderr)
        self.assertIn("run with --device cpu", done.stderr)

    def test_a_table_on_the_cpu(self):
        with tempfile.TemporaryDirectory() as folder:
            binary, samples = Path(folder) / "headway", Path(folder) / "samples.json"
            binary.write_text(HEADWAY.format(python=sys.executable, listed=[ATTENTION, STEPS]))
            binary.chmod(0o755)
            words = ["--headway", binary, "--repeats", "1", "--threads", "1", "--seconds", "0.001", "--json", samples]
            done = subprocess.run([sys.executable, PEER / "compare.py", *words], capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stderr)
            # Those for a GPU only by name.
            self.assertEqual([bench["name"] for bench in json.loads(samples.read_text())], ["F8"])
            self.assertRegex(done.stdout, r"F8 +f32 +1 +1\.000 ")


if __name__ == "__main__":
    unittest.main()
