#!/usr/bin/env python3
"""Times Headway's training steps against PyTorch's on this machine, taking turns, and prints a table of ratios.

    cargo build --release
    python3 -m venv ../peer && ../peer/bin/pip install torch numpy     # outside the repository: several GB
    python3 benches/peer/compare.py [A1 A4 A16 B C D E EF F1024 …] --python ../peer/bin/python --headway target/release/headway
    python3 benches/peer/compare.py --python ../peer/bin/python --headway … --device cuda [--budget 150]

This file needs no PyTorch; --python names the interpreter that has it, which needs no network. On the CPU each sample is a process
of its own, with as many threads as --threads says, and Headway is compared with eager PyTorch, plain and with
scaled_dot_product_attention (and with torch.compile, if --compile is given). On CUDA one PyTorch process stays for all samples,
and there are the whole step captured in a CUDA graph, and TF32 and bf16 beside f32, each compared with Headway in the same
precision; launches and waits of a step stand beside the times. Each figure is the minimum over the repeats; a ratio above 1
means that Headway is faster. `headway bench --list` says what the benchmarks are.
"""
import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

STEPS = Path(__file__).resolve().parent / "steps.py"
OURS = "headway"


def run(command, threads, stdin=None):
    env = {**os.environ, "RAYON_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run([str(word) for word in command], env=env, capture_output=True, text=True, input=stdin)
    if done.returncode:
        raise Failed(f"{' '.join(map(str, command))} failed:\n{done.stderr.strip()}", done.returncode)
    return done.stdout


class Failed(Exception):
    """A program that did not do what it was asked: what it said, and its exit code."""


NO_DEVICE = 4  # Headway's exit code for a device that lacks memory or a precision


class Headway:
    """The binary: a process for each sample, which warms up before it is timed."""

    def __init__(self, args, threads):
        self.binary, self.device, self.threads = args.headway, args.headway_device or args.device, threads

    def sample(self, bench, variant):
        precision = variant.partition("-")[2]
        flags = [] if precision == "f32" else ["--precision", precision]
        command = [self.binary, "bench", bench["name"], "--here", "--device", self.device, *flags, "--repeats", 1]
        try:
            timing = json.loads(run(command, self.threads))
        except Failed as why:
            said, code = why.args
            if code != NO_DEVICE:
                raise
            return {"refused": said.splitlines()[-1]}
        peak = timing["peak_bytes"]
        return {
            "ms_per_step": 1e3 * min(timing["seconds"]),
            "peak_mb": peak and peak / 1e6,
            "flops": timing["flops"],
            "launches": timing.get("launches"),
            "waits": waits_of(timing),
        }


def waits_of(timing):
    """Steps that waited for their batch, where the binary counts them."""
    waits = timing.get("waits")
    return waits.get("waits") if isinstance(waits, dict) else waits


class Torch:
    """PyTorch: a process for each sample on the CPU, one process on a GPU, which takes seconds to wake."""

    def __init__(self, args, threads):
        self.command = [args.python, str(STEPS), "--device", args.device, "--threads", str(threads), "--seconds", str(args.seconds)]
        self.threads, self.child = threads, None
        if args.device != "cpu":
            self.child = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            self.is_called = self.answer()

    def answer(self):
        line = self.child.stdout.readline()
        if not line:
            said = self.child.stderr.read().strip()
            raise Failed(f"{' '.join(self.command)} failed:\n{said}", self.child.wait())
        return json.loads(line)

    def sample(self, bench, variant):
        order = json.dumps({"recipe": bench["recipe"], "variant": variant})
        if self.child is None:
            return json.loads(run(self.command, self.threads, order).splitlines()[-1])
        try:
            self.child.stdin.write(order + "\n")
            self.child.stdin.flush()
        except BrokenPipeError:
            pass  # It has ended, and says why below.
        return self.answer()

    def close(self):
        if self.child is not None:
            self.child.stdin.close()
            self.child.wait()


def variants(args, bench):
    """What takes turns: Headway in each precision, then PyTorch's variants that make sense for the benchmark."""
    attention = bench["recipe"].get("attention")
    kinds = ["sdpa"]
    if attention is None or attention["seq_len"] <= args.plain_up_to:
        kinds.insert(0, "plain")
    if attention is None:
        kinds += ["graph"] * (args.device == "cuda") + ["compile"] * args.compile
    ours = [f"{OURS}-{precision}" for precision in args.precisions]
    # Plain attention is no one's choice for speed in other precisions.
    theirs = [f"{kind}-{precision}" for precision in args.precisions for kind in kinds if kind != "plain" or precision == "f32"]
    return ours + theirs


def take_turns(names, repeats, sample):
    """A B C A B C …: the samples of each name, or why it has none; one that fails is not asked again."""
    samples, without = {name: [] for name in names}, {}
    for _ in range(repeats):
        for name in names:
            if name in without:
                continue
            answer = sample(name)
            why = answer.get("refused") or answer.get("failed")
            if why:
                without[name] = why
            else:
                samples[name].append(answer)
    return {name: all_ for name, all_ in samples.items() if all_}, without


def best(samples, name):
    return min(sample["ms_per_step"] for sample in samples[name]) if name in samples else None


def lines(bench, threads, samples):
    """The table's lines of a benchmark, one for each precision that Headway has."""
    first = lambda name, what: samples[name][0].get(what) if name in samples else None
    text = lambda value, form: "" if value is None else form.format(value)
    for ours in (name for name in samples if name.startswith(OURS)):
        precision = ours.partition("-")[2]
        time_of_ours = best(samples, ours)
        times = {kind: best(samples, f"{kind}-{precision}") for kind in ("plain", "sdpa", "graph", "compile")}
        ratio = lambda others: min(others) / time_of_ours if others else None
        eager = ratio([times[kind] for kind in ("plain", "sdpa") if times[kind] is not None])
        whole = ratio([times[kind] for kind in ("graph", "compile") if times[kind] is not None])
        rate = samples[ours][0]["flops"] / time_of_ours / 1e6
        peaks = [first(name, "peak_mb") for name in (ours, f"sdpa-{precision}")]
        calls = [first(name, what) for what in ("launches", "waits") for name in (ours, f"sdpa-{precision}")]
        calls = " ".join(f"{text(call, '{}'):>5}" for call in calls)
        cells = [f"{time_of_ours:>9.3f}"] + [f"{text(times[kind], '{:.3f}'):>9}" for kind in ("plain", "sdpa", "graph", "compile")]
        yield (
            f"{bench['name']:6} {precision:>5} {threads:>7} {' '.join(cells)}  {text(eager, '{:.2f}x'):>7} {text(whole, '{:.2f}x'):>7} "
            f"{rate:>9.1f} {text(peaks[0], '{:.0f}'):>7} {text(peaks[1], '{:.0f}'):>7} {calls}"
        )


HEADER = (
    f"{'':6} {'':>5} {'threads':>7} {'Headway':>9} {'plain':>9} {'SDPA':>9} {'graph':>9} {'compile':>9}  {'eager':>7} {'whole':>7} "
    f"{'GFLOP/s':>9} {'MB':>7} {'MB SDPA':>7} launches, waits (Headway, SDPA)"
)


def parsed(words=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="benchmarks; default: all, on the CPU without those for a GPU")
    parser.add_argument("--headway", default="target/release/headway", help="the binary to time")
    parser.add_argument("--python", default=sys.executable, help="the Python that has PyTorch; default: this one")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--headway-device", help="Headway's name of the same device, as in wgpu:0; default: that of --device")
    parser.add_argument("--precisions", nargs="+", choices=["f32", "tf32", "bf16"], help="default: f32, on CUDA all three")
    parser.add_argument("--threads", type=int, nargs="+", help="CPU threads; default: 1 and 2, on CUDA all cores")
    parser.add_argument("--repeats", type=int, help="turns; default: 5, on CUDA 2")
    parser.add_argument("--seconds", type=float, help="least seconds of one of PyTorch's samples; default: 0.5, on CUDA 0.1")
    parser.add_argument("--budget", type=float, help="seconds after which no further benchmark begins; default: none")
    parser.add_argument("--compile", action="store_true", help="time torch.compile too (needs a C++ compiler, and minutes)")
    parser.add_argument("--plain-up-to", type=int, default=2048, help="longest sequence for plain attention, whose memory is quadratic")
    parser.add_argument("--json", type=Path, help="also write every sample to this file")
    args = parser.parse_args(words)
    on_gpu = args.device == "cuda"
    args.precisions = args.precisions or (["f32", "tf32", "bf16"] if on_gpu else ["f32"])
    args.threads = args.threads or ([os.cpu_count()] if on_gpu else [1, 2])
    args.repeats = args.repeats or (2 if on_gpu else 5)
    args.seconds = args.seconds or (0.1 if on_gpu else 0.5)
    if not on_gpu and "tf32" in args.precisions:
        parser.error("tf32 is of CUDA alone: add --device cuda")
    if on_gpu and len(args.threads) > 1:
        parser.error("--threads takes one number on CUDA: a GPU does not care")
    return args


def main():
    args, began = parsed(), time.monotonic()
    listed = json.loads(run([args.headway, "bench", *args.names, "--list", "--json"], 1))
    if not args.names and args.device == "cpu":
        listed = [bench for bench in listed if not bench.get("for_gpu")]
    everything, left_out = [], []
    programs = {threads: (Headway(args, threads), Torch(args, threads)) for threads in args.threads}
    print(HEADER)
    for bench in listed:
        if args.budget and time.monotonic() - began > args.budget:
            left_out.append(bench["name"])
            continue
        for threads, (ours, theirs) in programs.items():
            sample = lambda name: (ours if name.startswith(OURS) else theirs).sample(bench, name)
            samples, without = take_turns(variants(args, bench), args.repeats, sample)
            everything.append({"name": bench["name"], "threads": threads, "samples": samples, "without": without})
            for line in lines(bench, threads, samples):
                print(line, flush=True)
            for name, why in without.items():
                print(f"{bench['name']:6} {name}: {why}", flush=True)
        if args.json:
            args.json.write_text(json.dumps(everything, indent=1))
    for _, theirs in programs.values():
        theirs.close()
    if left_out:
        print(f"left out after {args.budget:.0f} seconds: {', '.join(left_out)}")


if __name__ == "__main__":
    try:
        main()
    except Failed as why:
        sys.exit(why.args[0])
