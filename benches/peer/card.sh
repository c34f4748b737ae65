#!/usr/bin/env bash
# The whole table of docs/gpu.md on a machine with an NVIDIA GPU, in at most two and a half minutes; nothing is fetched.
#
#   HEADWAY=target/release/headway PYTHON=../peer/bin/python bash benches/peer/card.sh [FOLDER] [NAMES …]
#
# FOLDER gets table.txt, samples.json, what the machine says of itself, and which commit was measured. The first run of a build pays
# for compiling kernels, and with autotuning for trying some: run it twice, and keep the second table.
set -euo pipefail
cd "$(dirname "$0")/../.."
headway=${HEADWAY:-target/release/headway} python=${PYTHON:-python3} to=${1:-card}
shift || true
mkdir -p "$to"
{
    date -u +%Y-%m-%d
    git describe --always --dirty 2>/dev/null || echo 'no checkout'
    nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
    nproc
    "$headway" devices
    "$python" -c 'import torch; print("PyTorch", torch.__version__, "for CUDA", torch.version.cuda)'
} | tee "$to/machine.txt"
python3 benches/peer/compare.py --device cuda --headway "$headway" --python "$python" --budget 120 --json "$to/samples.json" "$@" |
    tee "$to/table.txt"
