#!/usr/bin/env python3
"""What Headway and the programs themselves make of each other's files: transformers, TransformerLens and PyTorch.

`foreign_models.py` writes out names and formulas of other programs and needs none of them. This script runs them, and is run by
hand: it makes the fixtures that the tests read, and checks with a Headway binary that every network computes the same on both
sides, in and out.

    python foreign_programs.py fixtures ../tests/fixtures/programs     # files of the programs, with inputs and logits
    python foreign_programs.py check ../target/release/headway         # in and out, in a temporary folder

Made and checked with PyTorch 2.15, transformers 5.24 and TransformerLens 4.3.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from torch import nn
from transformer_lens import TransformerBridge, TransformerBridgeConfig
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

TOLERANCE = 1e-5
"""Largest difference allowed, relative to the largest output."""

VOCAB, ROWS, WIDTH, HEADS, LAYERS = 7, 8, 6, 3, 2

EXPERIMENT = """[task.copy]
vocab = 6
n_data = 4
[data.fresh]
validation = 1
test = 4
[model.transformer]
d_model = 6
n_layers = 2
n_heads = 3
{model}
[train]
steps = 5
batch_size = 4
eval_every = 0
[optimizer.adam]
learning_rate = 0.05
"""


def away_from_zero(module, seed):
    """Every parameter drawn anew, so that none is zero or one."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return module.eval()


def gpt2(**changes):
    sizes = {"vocab_size": VOCAB, "n_positions": ROWS, "n_embd": WIDTH, "n_layer": LAYERS, "n_head": HEADS}
    return away_from_zero(GPT2LMHeadModel(GPT2Config(**sizes | changes)), 1)


def bridge_config(**changes):
    sizes = {"d_model": WIDTH, "d_head": WIDTH // HEADS, "n_heads": HEADS, "n_layers": LAYERS, "n_ctx": ROWS, "d_vocab": VOCAB}
    return TransformerBridgeConfig(**sizes | changes)


def native(**changes):
    return away_from_zero(TransformerBridge.boot_native(bridge_config(**changes)), 2)


def tokens():
    return torch.from_numpy(np.random.default_rng(3).integers(0, VOCAB, (4, ROWS)))


def logits(model, inputs):
    with torch.no_grad():
        out = model(inputs)
    return (out if torch.is_tensor(out) else out.logits).numpy()


def wanted(path, model):
    inputs = tokens()
    arrays = {"tokens": inputs.numpy().astype(np.float32), "logits": np.ascontiguousarray(logits(model, inputs))}
    save_file(arrays, path)


def fixtures(folder):
    folder.mkdir(parents=True, exist_ok=True)
    model = gpt2()
    model.save_pretrained(folder / "gpt2_folder", max_shard_size="2KB")
    (folder / "gpt2_folder" / "generation_config.json").unlink(missing_ok=True)
    wanted(folder / "gpt2_logits.safetensors", model)
    booted = TransformerBridge.boot_transformers(str(folder / "gpt2_folder"), device="cpu")
    torch.save({name: tensor.clone() for name, tensor in booted.state_dict().items()}, folder / "bridge_of_gpt2.pt")
    bridge = native(attn_only=True)
    torch.save(bridge.state_dict(), folder / "bridge.pt")
    wanted(folder / "bridge_logits.safetensors", bridge)
    # PyTorch: without check sums; a module that was saved whole, whose norms stand behind; parametrized weights.
    torch.manual_seed(4)
    torch.serialization.set_crc32_options(False)
    torch.save(bridge.state_dict(), folder / "no_check_sums.pt")
    torch.serialization.set_crc32_options(True)
    layer = nn.TransformerEncoderLayer(4, 2, 5, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 1, norm=nn.LayerNorm(4), enable_nested_tensor=False)
    torch.save(encoder, folder / "post_norm_module.pt")
    torch.save(encoder.state_dict(), folder / "post_norm.pt")
    for name, of in [
        ("sparse", lambda w: w.to_sparse()),
        ("quantized", lambda w: torch.quantize_per_tensor(w, 0.1, 0, torch.qint8)),
        ("float8", lambda w: w.to(torch.float8_e4m3fn)),
        ("tensor", None),
    ]:
        torch.save({"w": of(torch.eye(3))} if of else torch.eye(3), folder / f"{name}.pt")


class Lab:
    """A temporary folder with a Headway binary."""

    def __init__(self, binary, folder):
        self.binary, self.folder = binary, folder

    def __call__(self, *words):
        done = subprocess.run([self.binary, *map(str, words)], cwd=self.folder, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"headway {' '.join(map(str, words))}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def outputs(self, checkpoint):
        """Inputs and outputs of a checkpoint as Headway computes them."""
        saved = self.folder / f"{Path(checkpoint).name}-saved"
        self("eval", checkpoint, "--device", "cpu", "--save-outputs", saved)
        arrays = [next(iter(load_file(saved / f"{name}.safetensors").values())) for name in ("inputs", "outputs")]
        return torch.from_numpy(arrays[0].astype(np.int64)), arrays[1]


def agrees(name, found, wanted):
    difference = np.abs(found - wanted).max() / np.abs(wanted).max()
    print(f"{'ok  ' if difference <= TOLERANCE else 'FAIL'} {name}: {difference:.2e} of the largest output")
    return bool(difference <= TOLERANCE)


MIXERS = {
    "attention only": "",
    "relu": 'state_mixer = { ffn = { d_ffn = 9, activation = "relu" } }',
    "gelu_tanh": 'state_mixer = { ffn = { d_ffn = 24, activation = "gelu_tanh" } }',
    "gelu_erf": 'state_mixer = { ffn = { d_ffn = 24, activation = "gelu_erf" } }',
}


def imported(lab, name, source, model, mixer, *words):
    (lab.folder / "experiment.toml").write_text(EXPERIMENT.format(model=mixer))
    out = f"in-{name.replace(' ', '-')}"
    lab("import", source, "--experiment", "experiment.toml", "--out", out, *words)
    inputs, outputs = lab.outputs(out)
    return agrees(f"in:  {name}", outputs, logits(model, inputs))


def check(binary, folder):
    lab = Lab(binary, folder)
    results = []
    gelu = MIXERS["gelu_tanh"]
    model = gpt2()
    model.save_pretrained(folder / "hf")
    model.save_pretrained(folder / "shards", max_shard_size="2KB")
    results.append(imported(lab, "GPT2LMHeadModel", "hf", model, gelu))
    results.append(imported(lab, "GPT2LMHeadModel in parts", "shards", model, gelu))
    torch.save(model.state_dict(), folder / "gpt2.bin")
    results.append(imported(lab, "GPT2LMHeadModel by torch.save", "gpt2.bin", model, gelu))
    untied = gpt2(tie_word_embeddings=False, activation_function="gelu", n_inner=24)
    untied.save_pretrained(folder / "untied")
    results.append(imported(lab, "GPT2LMHeadModel with a head of its own", "untied", untied, MIXERS["gelu_erf"]))
    booted = TransformerBridge.boot_transformers(str(folder / "hf"), device="cpu")
    torch.save(booted.state_dict(), folder / "booted.pt")
    results.append(imported(lab, "bridge booted from GPT-2", "booted.pt", booted, gelu))
    booted.enable_compatibility_mode()
    torch.save(booted.state_dict(), folder / "folded.pt")
    results.append(imported(lab, "bridge with folded norms", "folded.pt", booted, gelu))
    for name, changes, mixer in [
        ("attention only", {"attn_only": True}, ""),
        ("LNPre", {"attn_only": True, "normalization_type": "LNPre"}, 'norm = "pre"'),
        ("no norms", {"attn_only": True, "normalization_type": None}, 'norm = "none"'),
        ("bidirectional", {"attn_only": True, "attention_dir": "bidirectional"}, "causal = false"),
        ("gelu", {"d_mlp": 24, "act_fn": "gelu"}, MIXERS["gelu_erf"]),
    ]:
        bridge = native(**changes)
        torch.save(bridge.state_dict(), folder / "bridge.pt")
        results.append(imported(lab, f"native bridge {name}", "bridge.pt", bridge, mixer))

    for name, mixer in MIXERS.items():
        # As wide as the vocabulary, or the bias of the head has no place in GPT-2.
        text = EXPERIMENT.format(model=mixer).replace("d_model = 6", "d_model = 12")
        (folder / "experiment.toml").write_text(text)
        run = f"run-{name.replace(' ', '-')}"
        lab("train", "experiment.toml", "--out", run, "--device", "cpu")
        inputs, outputs = lab.outputs(run)
        out = folder / f"{run}-hf"
        lab("export", run, "--format", "hugging-face", "--out", out)
        hf = AutoModelForCausalLM.from_pretrained(str(out)).eval()
        results.append(agrees(f"out: AutoModelForCausalLM, {name}", logits(hf, inputs), outputs))
        booted = TransformerBridge.boot_transformers(str(out), device="cpu")
        results.append(agrees(f"out: bridge booted from that, {name}", logits(booted, inputs), outputs))
        file = folder / f"{run}.safetensors"
        said = lab("export", run, "--format", "safetensors", "--names", "transformer-bridge", "--out", file)
        line = next(line for line in said.splitlines() if line.startswith("cfg = "))
        cfg = eval(line.removeprefix("cfg = "), {"TransformerBridgeConfig": TransformerBridgeConfig})
        bridge = TransformerBridge.boot_native(cfg).eval()
        bridge.load_state_dict({name: torch.from_numpy(array) for name, array in load_file(file).items()})
        results.append(agrees(f"out: native bridge, {name}", logits(bridge, inputs), outputs))
        # And the folder comes back as it was, where GPT-2 has the same form.
        back = f"{run}-back"
        if mixer:
            lab("import", out, "--experiment", "experiment.toml", "--out", back)
            results.append(agrees(f"back: {name}", lab.outputs(back)[1], outputs))
    return all(results)


def main():
    warnings.filterwarnings("ignore")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("fixtures", help="write the files that the tests read")
    verb.add_argument("folder", type=Path)
    verb = verbs.add_parser("check", help="compare both sides, in and out")
    verb.add_argument("binary", type=Path)
    args = parser.parse_args()
    if args.verb == "fixtures":
        fixtures(args.folder)
        return
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(0 if check(args.binary.resolve(), Path(folder)) else 1)


if __name__ == "__main__":
    main()
