#!/usr/bin/env python3
"""The paper's one-layer training step in PyTorch: the peer that compare.py times Headway against.

Same sizes, data law, loss and optimiser as experiments/truncated_linear.toml. Nothing is read back during the timed
steps. Prints one JSON line with the seconds that the steps took.
"""
import argparse
import json
import math
import time

import torch
import torch.nn.functional as F
from torch import nn

SEQ_LEN, D_IN, D_MODEL, N_ANCHORS, BATCH, SAMPLES = 50, 10, 32, 10, 32, 800


class Attention(nn.Module):
    def __init__(self, heads, fused):
        super().__init__()
        self.heads, self.fused = heads, fused
        self.query, self.key, self.value, self.output = (nn.Linear(D_MODEL, D_MODEL) for _ in range(4))

    def forward(self, x):
        batch, rows, width = x.shape
        q, k, v = (p(x).view(batch, rows, self.heads, -1).transpose(1, 2) for p in (self.query, self.key, self.value))
        if self.fused:
            mixed = F.scaled_dot_product_attention(q, k, v)
        else:
            mixed = torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1]), dim=-1) @ v
        return self.output(mixed.transpose(1, 2).reshape(batch, rows, width))


class OneLayer(nn.Module):
    def __init__(self, heads, fused):
        super().__init__()
        self.project = nn.Linear(D_IN, D_MODEL)
        self.modulation = nn.Parameter(torch.ones(SEQ_LEN, D_MODEL))
        self.anchors = nn.Parameter(torch.linspace(-1, 1, N_ANCHORS)[:, None].repeat(1, D_MODEL))
        self.attention = Attention(heads, fused)

    def forward(self, x):
        rows = [self.project(x) * self.modulation, self.anchors.expand(len(x), -1, -1)]
        return self.attention(torch.cat(rows, dim=1))[:, :SEQ_LEN]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--heads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--attention", choices=["plain", "sdpa"], default="plain")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    inputs = 10 * torch.rand(SAMPLES, SEQ_LEN, D_IN) - 5
    w, t = torch.randn(SEQ_LEN, D_IN), torch.randn(SEQ_LEN)
    targets = ((inputs * w).sum(-1) + t).clamp(-25, 25)
    model = OneLayer(args.heads, args.attention == "sdpa")
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def batches():
        while True:
            yield from torch.randperm(SAMPLES).split(BATCH)

    def step(index):
        prediction = model(inputs[index])
        padded = torch.zeros_like(prediction)
        padded[..., 0] = targets[index]
        optimizer.zero_grad()
        F.mse_loss(prediction, padded).backward()
        optimizer.step()

    order = batches()
    for _ in range(10):
        step(next(order))
    began = time.perf_counter()
    for _ in range(args.steps):
        step(next(order))
    print(json.dumps({"steps": args.steps, "seconds": time.perf_counter() - began}))


if __name__ == "__main__":
    main()
