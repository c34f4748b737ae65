#!/usr/bin/env python3
"""Check a constructed checkpoint's certificate with numpy alone, in float32 and in float64.

`headway construct` writes beside the weights the points at which its model was farthest from the target:

    certificate.json      what was proved and measured
    hardest.safetensors   inputs [points, seq_len, d_in], targets [points, seq_len, d_out], scored [seq_len]

This script computes the network's output at those points with headway_reference.py, which shares no code with Headway, and
compares the largest error with bound and rounding together. Weights are float32 in the file, so that rounding counts in float64 as well.

Needs Python 3.10 and numpy 1.24 or newer.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

import headway_reference as reference

TARGET_ROUNDING = 2.0**-24
"""Targets are stored in float32: each may be off by this much of itself."""


def check(folder, dtype):
    """Largest error over the stored points, the bound on it, and whether the one is below the other."""
    certificate = json.loads((Path(folder) / "certificate.json").read_text(encoding="utf-8"))
    points = reference.read_safetensors(Path(folder) / "hardest.safetensors")
    model = reference.load(folder, dtype)
    outputs = model(points["inputs"]).astype(np.float64)
    scored = points["scored"] > 0
    error = np.abs(outputs - points["targets"])[:, scored].max()
    bound = certificate["bound"]["value"] + certificate["rounding"]["value"]
    bound += TARGET_ROUNDING * np.abs(points["targets"]).max()
    return error, bound, bool(error <= bound)


def main():
    parser = argparse.ArgumentParser(
        description="Check a constructed checkpoint's certificate with numpy alone, in float32 and in float64.",
        epilog="Exit code 0 when every error is below its bound, 1 when one is not or the folder holds no certificate.",
    )
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="folder that `headway construct` wrote")
    args = parser.parse_args()
    good = True
    for dtype in (np.float32, np.float64):
        try:
            error, bound, holds = check(args.checkpoint, dtype)
        except (OSError, KeyError, ValueError, reference.CheckpointError, reference.InputError) as problem:
            sys.exit(f"error: {args.checkpoint}: {problem}")
        print(f"{'ok  ' if holds else 'FAIL'} {np.dtype(dtype)}: largest error {error:.4g}, bound with rounding {bound:.4g}")
        good &= holds
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
