#!/usr/bin/env python3
"""Times Headway's training steps against PyTorch's on this machine, alternating, and prints a table of ratios.

    cargo build --release
    python3 -m venv ../peer && ../peer/bin/pip install torch numpy     # outside the repository: several GB
    ../peer/bin/python benches/peer/compare.py --headway target/release/headway [A1 A4 A16 B C D E EF F1024 …]

Headway, PyTorch with plain attention, PyTorch with scaled_dot_product_attention and, with --compile, torch.compile take
turns, each in a process of its own. Each figure is the minimum over the repeats; a ratio above 1 means that Headway is
faster than PyTorch's faster attention. `headway bench --list` says what the benchmarks are.
"""
import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

STEPS = Path(__file__).resolve().parent / "steps.py"


def run(command, threads, stdin=None):
    env = {**os.environ, "RAYON_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run([str(word) for word in command], env=env, capture_output=True, text=True, input=stdin)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stderr}")
    return json.loads(done.stdout)


def headway(binary, name, threads):
    timing = run([binary, "bench", name, "--here", "--device", "cpu", "--repeats", 1], threads)
    peak = timing["peak_bytes"]
    return {"ms_per_step": 1e3 * min(timing["seconds"]), "peak_mb": peak and peak / 1e6, "flops": timing["flops"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="benchmarks; default: all")
    parser.add_argument("--headway", default="target/release/headway", help="the binary to time")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--compile", action="store_true", help="time torch.compile too (needs a C++ compiler)")
    parser.add_argument("--plain-up-to", type=int, default=2048, help="longest sequence for plain attention, whose memory is quadratic")
    parser.add_argument("--json", type=Path, help="also write every sample to this file")
    args = parser.parse_args()
    listed = run([args.headway, "bench", *args.names, "--list", "--json"], 1)
    header = f"{'':6} {'threads':>7} {'Headway':>9} {'plain':>9} {'SDPA':>9} {'compile':>9}  {'ms a step':<10}"
    print(f"{header} {'ratio':>6} {'compile':>8} {'GFLOP/s':>8} {'MB':>6} {'MB SDPA':>8}")
    everything = []
    for bench in listed:
        recipe = json.dumps([bench])
        is_attention = "attention" in bench["recipe"]
        for threads in args.threads:
            peers = {"sdpa": ["--attention", "sdpa"]}
            if not is_attention or bench["recipe"]["attention"]["seq_len"] <= args.plain_up_to:
                peers["plain"] = ["--attention", "plain"]
            if args.compile and not is_attention:
                peers["compile"] = ["--attention", "sdpa", "--compile"]
            samples = {name: [] for name in ["headway", *peers]}
            for _ in range(args.repeats):
                samples["headway"].append(headway(args.headway, bench["name"], threads))
                for name, flags in peers.items():
                    samples[name].append(run([sys.executable, STEPS, "--threads", threads, *flags], threads, recipe))
            everything.append({"name": bench["name"], "threads": threads, "samples": samples})
            best = {name: min(sample["ms_per_step"] for sample in all_) for name, all_ in samples.items()}
            cells = [f"{best[name]:>9.2f}" if name in best else " " * 9 for name in ("headway", "plain", "sdpa", "compile")]
            ratio = min(best[name] for name in ("plain", "sdpa") if name in best) / best["headway"]
            compiled = f"{best['compile'] / best['headway']:>7.2f}x" if "compile" in best else " " * 8
            rate = samples["headway"][0]["flops"] / best["headway"] / 1e6
            peaks = [[sample["peak_mb"] for sample in samples[name]] for name in ("headway", "sdpa")]
            peak = [f"{min(all_):.0f}" if None not in all_ else "" for all_ in peaks]
            print(
                f"{bench['name']:6} {threads:>7} {' '.join(cells)} {'':11} {ratio:>5.2f}x {compiled} {rate:>8.1f} "
                f"{peak[0]:>6} {peak[1]:>8}",
                flush=True,
            )
    if args.json:
        args.json.write_text(json.dumps(everything, indent=1))


if __name__ == "__main__":
    main()
