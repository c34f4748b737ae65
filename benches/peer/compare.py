#!/usr/bin/env python3
"""Times Headway's training steps against PyTorch's on this machine, alternating, and prints a table of ratios.

    cargo build --release
    python3 -m venv ../peer && ../peer/bin/pip install torch numpy     # outside the repository: several GB
    ../peer/bin/python benches/peer/compare.py --headway target/release/headway

Each figure is the minimum over the repeats. Headway's side is `headway train` as a user runs it, so it pays for making
its batches and for its checkpoints too.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
EXPERIMENT = HERE.parent.parent / "experiments" / "truncated_linear.toml"


def run(command, threads):
    env = {**os.environ, "RAYON_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stderr}")
    return json.loads(done.stdout)


def headway(binary, heads, steps, threads):
    with tempfile.TemporaryDirectory() as folder:
        overrides = [f"model.n_heads={heads}", f"train.steps={steps}", f"train.log_every={steps}", "train.checkpoint_every=0"]
        flags = [word for override in overrides for word in ("-s", override)]
        command = [binary, "train", EXPERIMENT, *flags, "--device", "cpu", "--json", "--out", Path(folder) / "run"]
        return run(command, threads)["seconds"] / steps


def pytorch(attention, heads, steps, threads):
    command = [sys.executable, HERE / "paper_onelayer.py", "--heads", heads, "--steps", steps, "--threads", threads]
    return run([*map(str, command), "--attention", attention], threads)["seconds"] / steps


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--headway", default="target/release/headway", help="the binary to time")
    parser.add_argument("--heads", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    print(f"{'heads':>5} {'threads':>7} | {'Headway':>9} {'PyTorch':>9} {'SDPA':>9}  ms a step | Headway is faster by")
    for heads in args.heads:
        for threads in args.threads:
            times = {"headway": [], "plain": [], "sdpa": []}
            for _ in range(args.repeats):
                times["headway"].append(headway(args.headway, heads, args.steps, threads))
                for attention in ("plain", "sdpa"):
                    times[attention].append(pytorch(attention, heads, args.steps, threads))
            best = {name: 1e3 * min(values) for name, values in times.items()}
            ratios = [best[name] / best["headway"] for name in ("plain", "sdpa")]
            print(
                f"{heads:>5} {threads:>7} | {best['headway']:>9.2f} {best['plain']:>9.2f} {best['sdpa']:>9.2f}"
                f"            | {ratios[0]:.2f}x (plain)  {ratios[1]:.2f}x (SDPA)",
                flush=True,
            )


if __name__ == "__main__":
    main()
