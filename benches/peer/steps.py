#!/usr/bin/env python3
"""One benchmark of Headway in PyTorch: the peer that compare.py times Headway against.

Reads the recipe that `headway bench NAME --list --json` prints, builds the same model, and times whole training steps on
batches made beforehand. Nothing is read back in between. Prints one JSON line.
"""
import argparse
import json
import math
import resource
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

BATCHES, SAMPLE_SECONDS = 8, 0.5


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
                hidden = torch.ones(rows, rows, dtype=torch.bool).triu(1)
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
    sys.exit(f"no peer for the task {name}")


def training_step(experiment, fused, compiled):
    sizes, scored = sizes_of(experiment["task"])
    (name, fields), = experiment["model"].items()
    model = MODELS[name](sizes, fused, **fields)
    forward = torch.compile(model) if compiled else model
    (kind, settings), = experiment["optimizer"].items()
    if kind != "adam":
        sys.exit(f"no peer for the optimizer {kind}")
    optimizer = torch.optim.Adam(model.parameters(), lr=settings["learning_rate"])
    clip_norm = experiment["train"].get("clip_norm")
    batch = experiment["train"]["batch_size"]
    inputs = torch.randn(BATCHES, batch, sizes["seq_len"], sizes["d_in"])
    targets = torch.randn(BATCHES, batch, sizes["seq_len"], sizes["d_out"])
    padded = experiment["train"]["loss"] == "padded"
    turn = 0

    def step():
        nonlocal turn
        x, y = inputs[turn % BATCHES], targets[turn % BATCHES]
        turn += 1
        prediction = forward(x)
        if padded:
            y = F.pad(y, (0, prediction.shape[-1] - y.shape[-1]))
        loss = F.mse_loss(prediction[:, scored, : y.shape[-1]], y[:, scored])
        optimizer.zero_grad()
        loss.backward()
        if clip_norm is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
        optimizer.step()

    return step


def attention_step(n_heads, d_head, seq_len, fused):
    q, k, v, weights = (torch.randn(1, n_heads, seq_len, d_head) for _ in range(4))
    inputs = [tensor.requires_grad_() for tensor in (q, k, v)]

    def step():
        if fused:
            mixed = F.scaled_dot_product_attention(q, k, v)
        else:
            mixed = torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(d_head), dim=-1) @ v
        (mixed * weights).sum().backward()
        for tensor in inputs:
            tensor.grad = None

    return step


def resident():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:")) / 1e3


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--attention", choices=["plain", "sdpa"], default="sdpa")
    parser.add_argument("--compile", action="store_true", help="torch.compile the forward pass")
    args = parser.parse_args()
    recipe = json.load(sys.stdin)[0]["recipe"]
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    fused = args.attention == "sdpa"
    if "steps" in recipe:
        step = training_step(recipe["steps"], fused, args.compile)
    else:
        step = attention_step(**recipe["attention"], fused=fused)
    before = resident()

    def sample(count):
        began = time.perf_counter()
        for _ in range(count):
            step()
        return (time.perf_counter() - began) / count

    for _ in range(5 if args.compile else 1):
        sample(1)
    seconds = sample(max(1, min(1000, math.ceil(SAMPLE_SECONDS / sample(1)))))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3 - before
    print(json.dumps({"ms_per_step": 1e3 * seconds, "peak_mb": peak}))


if __name__ == "__main__":
    main()
