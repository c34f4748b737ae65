#!/usr/bin/env python3
"""Benchmarks of Headway in PyTorch: the peer that compare.py times Headway against.

Reads one order a line, {"recipe": …, "variant": "sdpa-tf32"}, the recipe as `headway bench NAME --list --json` prints it; builds the
same model, and times whole training steps on batches made beforehand. Nothing is read back in between. The first line that it
prints says which PyTorch it is; then each order is answered by one JSON line. A variant is an attention or a way to run (plain, sdpa, compile, graph; the last two with sdpa) and a precision.
"""
import argparse
import contextlib
import gc
import json
import math
import resource
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

BATCHES = 8
KINDS, PRECISIONS = ("plain", "sdpa", "compile", "graph"), ("f32", "tf32", "bf16")


class Attention(nn.Module):
    def __init__(self, d_model, n_heads, causal, fused):
        super().__init__()
        self.n_heads, self.causal, self.fused = n_heads, causal, fused
        self.query, self.key, self.value, self.output = (nn.Linear(d_model, d_model) for _ in range(4))

    def forward(self, x):
        batch, rows, width = x.shape
        q, k, v = (p(x).view(batch, rows, self.n_heads, -1).transpose(1, 2) for p in (self.query, self.key, self.value))
        if self.fused:
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        else:
            scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
            if self.causal:
                hidden = torch.ones(rows, rows, dtype=torch.bool, device=x.device).triu(1)
                scores = scores.masked_fill(hidden, float("-inf"))
            mixed = torch.softmax(scores, dim=-1) @ v
        return self.output(mixed.transpose(1, 2).reshape(batch, rows, width))


class InputMap(nn.Module):
    def __init__(self, d_in, d_model, seq_len, n_anchors):
        super().__init__()
        self.project = nn.Linear(d_in, d_model)
        self.modulation = nn.Parameter(torch.ones(seq_len, d_model))
        self.anchors = nn.Parameter(torch.linspace(-1, 1, n_anchors)[:, None].repeat(1, d_model)) if n_anchors else None

    def forward(self, x):
        rows = self.project(x) * self.modulation
        return rows if self.anchors is None else torch.cat([rows, self.anchors.expand(len(x), -1, -1)], dim=1)


class OneLayer(nn.Module):
    def __init__(self, sizes, fused, *, d_model, n_heads, n_anchors, **_):
        super().__init__()
        self.seq_len = sizes["seq_len"]
        self.input_map = InputMap(sizes["d_in"], d_model, self.seq_len, n_anchors)
        self.attention = Attention(d_model, n_heads, False, fused)

    def forward(self, x):
        return self.attention(self.input_map(x))[:, : self.seq_len]


class TwoLayer(nn.Module):
    def __init__(self, sizes, fused, *, d_model, n_heads, n_anchors, **_):
        super().__init__()
        self.seq_len = sizes["seq_len"]
        self.input_map = InputMap(sizes["d_in"], d_model, self.seq_len, n_anchors)
        self.attention_1, self.attention_2 = (Attention(d_model, n_heads, False, fused) for _ in range(2))
        self.affine, self.head = nn.Linear(d_model, d_model), nn.Linear(d_model, sizes["d_out"])

    def forward(self, x):
        return self.head(self.attention_2(self.affine(self.attention_1(self.input_map(x))))[:, : self.seq_len])


class Block(nn.Module):
    def __init__(self, d_model, n_heads, causal, fused, d_ffn):
        super().__init__()
        self.attention_norm, self.attention = nn.LayerNorm(d_model), Attention(d_model, n_heads, causal, fused)
        self.ffn_norm = nn.LayerNorm(d_model) if d_ffn else None
        self.ffn = nn.Sequential(nn.Linear(d_model, d_ffn), nn.GELU(), nn.Linear(d_ffn, d_model)) if d_ffn else None

    def forward(self, x):
        x = x + self.attention(self.attention_norm(x))
        return x if self.ffn is None else x + self.ffn(self.ffn_norm(x))


class Transformer(nn.Module):
    def __init__(self, sizes, fused, *, d_model, n_layers, n_heads, causal, state_mixer, **_):
        super().__init__()
        d_ffn = 0 if state_mixer == "none" else state_mixer["ffn"]["d_ffn"]
        self.embed = nn.Linear(sizes["d_in"], d_model)
        self.position = nn.Parameter(0.02 * torch.randn(sizes["seq_len"], d_model))
        self.blocks = nn.ModuleList(Block(d_model, n_heads, causal, fused, d_ffn) for _ in range(n_layers))
        self.final_norm, self.head = nn.LayerNorm(d_model), nn.Linear(d_model, sizes["d_out"])

    def forward(self, x):
        x = self.embed(x) + self.position
        for block in self.blocks:
            x = block(x)
        return self.head(self.final_norm(x))


MODELS = {"paper_one_layer": OneLayer, "paper_two_layer": TwoLayer, "transformer": Transformer}


def sizes_of(task):
    """Sequence length, width in and out, and which positions are scored, for the tasks that benchmarks use."""
    (name, fields), = task.items()
    if name == "truncated_linear":
        return {"seq_len": fields["seq_len"], "d_in": fields["d_in"], "d_out": 1}, slice(None)
    if name == "relu_network":
        return {"seq_len": fields["seq_len"], "d_in": fields["d"], "d_out": fields["d"]}, slice(None)
    if name == "icl_linear":
        return {"seq_len": 2 * fields["n_points"] - 1, "d_in": fields["d"], "d_out": 1}, slice(None, None, 2)
    raise Refused(f"no peer for the task {name}")


class Refused(Exception):
    """Why a variant cannot be timed here."""


def in_precision(device, precision):
    """Sets how f32 products are multiplied, and returns the context of a forward pass."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    if precision == "bf16":
        return lambda: torch.autocast(device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext


def training_step(experiment, kind, precision, device):
    """A whole training step: forward, backward, clipping, Adam."""
    sizes, scored = sizes_of(experiment["task"])
    (name, fields), = experiment["model"].items()
    model = MODELS[name](sizes, kind != "plain", **fields).to(device)
    forward = torch.compile(model) if kind == "compile" else model
    (rule, settings), = experiment["optimizer"].items()
    if rule != "adam":
        raise Refused(f"no peer for the optimizer {rule}")
    # A graph needs the number of steps on the device; the fused form is the fastest there is there.
    best = {"fused": True, "capturable": kind == "graph"} if device.type == "cuda" and kind in ("compile", "graph") else {}
    optimizer = torch.optim.Adam(model.parameters(), lr=settings["learning_rate"], **best)
    clip_norm = experiment["train"].get("clip_norm")
    batch = experiment["train"]["batch_size"]
    inputs = torch.randn(BATCHES, batch, sizes["seq_len"], sizes["d_in"], device=device)
    targets = torch.randn(BATCHES, batch, sizes["seq_len"], sizes["d_out"], device=device)
    padded = experiment["train"]["loss"] == "padded"
    context = in_precision(device, precision)
    turn = 0

    def update(x, y):
        with context():
            prediction = forward(x)
        prediction = prediction.float()
        if padded:
            y = F.pad(y, (0, prediction.shape[-1] - y.shape[-1]))
        loss = F.mse_loss(prediction[:, scored, : y.shape[-1]], y[:, scored])
        loss.backward()
        if clip_norm is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
        optimizer.step()

    def next_batch():
        nonlocal turn
        turn += 1
        return inputs[turn % BATCHES], targets[turn % BATCHES]

    def eager():
        optimizer.zero_grad()
        update(*next_batch())

    if kind != "graph":
        return eager
    place = [tensor.clone() for tensor in next_batch()]
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(5):
            optimizer.zero_grad(set_to_none=True)
            update(*place)
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    optimizer.zero_grad(set_to_none=True)
    with torch.cuda.graph(graph):
        update(*place)

    def replayed():
        for to, tensor in zip(place, next_batch()):
            to.copy_(tensor)
        graph.replay()

    return replayed


def attention_step(n_heads, d_head, seq_len, kernel, kind, precision, device, causal=False):
    """Attention alone, forward and backward."""
    if kernel != "softmax":
        raise Refused(f"PyTorch has no {next(iter(kernel)) if isinstance(kernel, dict) else kernel} of its own: time attention alone by softmax, F512 and so on")
    in_precision(device, precision)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    q, k, v, weights = (torch.randn(1, n_heads, seq_len, d_head, device=device, dtype=dtype) for _ in range(4))
    inputs = [tensor.requires_grad_() for tensor in (q, k, v)]
    if causal and kind != "sdpa":
        future = torch.full((seq_len, seq_len), -math.inf, device=device, dtype=dtype).triu(1)

    def step():
        if kind == "sdpa":
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        else:
            scores = q @ k.transpose(-2, -1) / math.sqrt(d_head)
            mixed = torch.softmax(scores + future if causal else scores, dim=-1) @ v
        (mixed * weights).sum().backward()
        for tensor in inputs:
            tensor.grad = None

    return step


def build(recipe, variant, device):
    """The step of a variant; Refused if there is none here."""
    kind, _, precision = variant.partition("-")
    if kind not in KINDS or precision not in PRECISIONS:
        raise Refused(f"no variant {variant}; a variant is one of {', '.join(KINDS)}, then -, then one of {', '.join(PRECISIONS)}")
    if kind == "graph" and device.type != "cuda":
        raise Refused("a step is captured on CUDA alone: run with --device cuda, or leave graph out")
    if precision == "tf32" and device.type != "cuda":
        raise Refused("tf32 is of CUDA alone: run with --device cuda, or leave tf32 out")
    if kind != "plain" and not hasattr(F, "scaled_dot_product_attention"):
        raise Refused(f"PyTorch {torch.__version__} has no scaled_dot_product_attention: install 2.0 or newer, or time plain alone")
    if "steps" in recipe:
        return training_step(recipe["steps"], kind, precision, device)
    if kind in ("compile", "graph"):
        raise Refused("attention alone is timed plain and with sdpa")
    return attention_step(**recipe["attention"], kind=kind, precision=precision, device=device)


WAITS = {"cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize"}
LAUNCHES = {"cudaLaunchKernel", "cudaLaunchKernelExC", "cuLaunchKernel", "cuLaunchKernelEx", "cudaGraphLaunch"}


def calls(work):
    """Launches and waits of some work on a GPU, by what it calls: a replayed graph is one launch."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as watched:
        work()
    counts = {event.key: event.count for event in watched.key_averages()}
    return [sum(counts.get(name, 0) for name in names) for names in (LAUNCHES, WAITS)]


def resident():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:")) / 1e3


class Peer:
    """Times variants on one device, and keeps the steps of the recipe that it was asked for last."""

    def __init__(self, device, seconds):
        self.device, self.seconds = device, seconds
        self.recipe, self.steps = None, {}

    def wait(self):
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def sample(self, step, count):
        self.wait()
        began = time.perf_counter()
        for _ in range(count):
            step()
        self.wait()
        return (time.perf_counter() - began) / count

    def answer(self, recipe, variant):
        on_gpu = self.device.type == "cuda"
        if recipe != self.recipe:
            self.recipe, self.steps = recipe, {}
            gc.collect()
            if on_gpu:
                torch.cuda.empty_cache()
        precision = variant.partition("-")[2]
        if variant not in self.steps:
            before = torch.cuda.memory_allocated() if on_gpu else resident()
            if on_gpu:
                torch.cuda.reset_peak_memory_stats()
            step = build(recipe, variant, self.device)
            for _ in range(5 if variant.startswith("compile") else 1):
                self.sample(step, 1)
            launches = waits = None
            if on_gpu:
                # What the profiler itself waits for does not count.
                launches, waits = (of - none for of, none in zip(calls(step), calls(lambda: None)))
            count = max(1, min(1000, math.ceil(self.seconds / self.sample(step, 1))))
            if on_gpu:
                peak = (torch.cuda.max_memory_allocated() - before) / 1e6
            else:
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3 - before
            self.steps[variant] = (step, count, {"peak_mb": peak, "launches": launches, "waits": waits})
        step, count, said = self.steps[variant]
        in_precision(self.device, precision)
        return {"ms_per_step": 1e3 * self.sample(step, count), **said}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0.5, help="least seconds of a sample")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        built = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
        sys.exit(f"no CUDA device for PyTorch {torch.__version__}, which was built {built}: look at nvidia-smi, or run with --device cpu")
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    peer = Peer(torch.device(args.device), args.seconds)
    name = torch.cuda.get_device_name(0) if args.device == "cuda" else "cpu"
    print(json.dumps({"pytorch": torch.__version__, "cuda": torch.version.cuda, "device": name}), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        try:
            answer = peer.answer(order["recipe"], order["variant"])
        except Refused as why:
            answer = {"refused": str(why)}
        except RuntimeError as why:  # among others, out of memory
            answer = {"failed": str(why).splitlines()[0]}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
