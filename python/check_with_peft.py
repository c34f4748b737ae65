#!/usr/bin/env python3
"""Adapters of Headway in PEFT, and adapters of PEFT for Headway, with the real program. Run by hand; the tests read the files it made.

    python check_with_peft.py make DIR         # DIR/base.safetensors, DIR/NAME/ as PEFT saves NAME, DIR/NAME/merged.safetensors
    python check_with_peft.py use HEADWAY      # the binary trains, PEFT applies what it learned; outputs are compared

`make` writes an adapter for every way in which PEFT names modules, scales, stores and saves; merged.safetensors holds the weights that
merge_and_unload() gives. `use` fine-tunes with LoRA, a prefix and a prompt, also on a task with other inputs, loads each adapter with
PeftModel.from_pretrained on the same network in PyTorch, and compares what both compute.

Needs Python 3.10, PyTorch 2, transformers and peft: `pip install torch transformers peft`. Last run with peft 0.21.2, transformers 5.24,
torch 2.15.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

TOLERANCE = 1e-5
"""Largest difference allowed, relative to the largest output: float32 twice."""


class Config(PretrainedConfig):
    """Sizes of a network, with the one that PEFT looks for."""

    model_type = "headway"

    def __init__(self, d_in=3, d_out=1, seq_len=7, d_model=8, n_layers=2, n_heads=2, tokens=None, **kwargs):
        super().__init__(**kwargs)
        self.d_in, self.d_out, self.seq_len, self.d_model = d_in, d_out, seq_len, d_model
        self.n_layers, self.n_heads, self.tokens = n_layers, n_heads, tokens
        self.vocab_size = tokens or -1


class Attention(nn.Module):
    """Causal attention whose rows may also look at keys and values from before."""

    def __init__(self, d_model, n_heads):
        super().__init__()
        self.query, self.key, self.value, self.output = (nn.Linear(d_model, d_model) for _ in range(4))
        self.n_heads = n_heads

    def forward(self, x, before):
        q, k, v = (part(x).unflatten(2, (self.n_heads, -1)).transpose(1, 2) for part in (self.query, self.key, self.value))
        hidden = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        if before is not None:
            k, v = torch.cat([before[0], k], 2), torch.cat([before[1], v], 2)
            hidden = torch.cat([torch.zeros(x.shape[1], before[0].shape[2], dtype=torch.bool), hidden], 1)
        scores = (q @ k.transpose(2, 3) / q.shape[3] ** 0.5).masked_fill(hidden, -torch.inf)
        return self.output((scores.softmax(3) @ v).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """A norm, attention, and the sum with what came in."""

    def __init__(self, d_model, n_heads):
        super().__init__()
        self.attention_norm = nn.LayerNorm(d_model)
        self.attention = Attention(d_model, n_heads)

    def forward(self, x, before):
        return x + self.attention(self.attention_norm(x), before)


class Network(PreTrainedModel):
    """A transformer under Headway's names, called as PEFT calls networks."""

    config_class = Config

    def __init__(self, config):
        super().__init__(config)
        self.embed = nn.Embedding(config.tokens, config.d_model) if config.tokens else nn.Linear(config.d_in, config.d_model)
        self.position = nn.Embedding(config.seq_len, config.d_model)
        self.blocks = nn.ModuleList(Block(config.d_model, config.n_heads) for _ in range(config.n_layers))
        self.final_norm = nn.LayerNorm(config.d_model)
        self.head = nn.Linear(config.d_model, config.d_out)

    def embedded(self, x):
        """What enters the first block: positions are those of the sequence, whatever stands in front of it."""
        return self.embed(x) + self.position(torch.arange(x.shape[1]))

    def forward(self, input_ids=None, inputs_embeds=None, past_key_values=None, **_):
        x = self.embedded(input_ids) if inputs_embeds is None else inputs_embeds
        for at, block in enumerate(self.blocks):
            before = None
            if past_key_values is not None:
                layer = past_key_values.layers[at]
                before = (layer.keys, layer.values)
            x = block(x, before)
        return self.head(self.final_norm(x))


def drawn(module, seed):
    """The module with every parameter that is not frozen drawn anew, so that no part of an adapter is zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
    return module


ALL = ["query", "key", "value", "output"]

ADAPTERS = {
    "default": {},
    "pattern": {"target_modules": r".*attention\.(query|value|key|output)"},
    "all_linear": {"target_modules": "all-linear", "exclude_modules": ["head"]},
    "by_root": {"use_rslora": True, "lora_alpha": 3},
    "by_module": {"rank_pattern": {"blocks.1.attention.query": 3}, "alpha_pattern": {"key": 6, r"blocks.0.*value": 1}},
    "layers": {"layers_to_transform": [1], "layers_pattern": "blocks"},
    "excluded": {"exclude_modules": r"blocks\.0.*"},
    "saved": {"modules_to_save": ["head"]},
    "bias_all": {"bias": "all"},
    "bias_lora_only": {"bias": "lora_only"},
    "table": {"target_modules": ["position", "query"]},
    "gaussian": {"init_lora_weights": "gaussian"},
    "bf16": {},
    "f16": {},
    "bin": {},
}

MORE = {
    "dora": {"use_dora": True},
    "lora_bias": {"lora_bias": True},
    "pissa": {"init_lora_weights": "pissa"},
    "tokens": {"trainable_token_indices": {"position": [0, 2]}},
}
"""Those that ask for more than W + s A B of the base."""


def make(folder):
    """Every adapter as PEFT saves it, with what it makes of the base."""
    folder.mkdir(parents=True, exist_ok=True)
    base = drawn(Network(Config()), 0)
    save_file(base.state_dict(), folder / "base.safetensors", {"format": "pt"})
    for seed, (name, changes) in enumerate({**ADAPTERS, **MORE}.items(), 1):
        network = Network(Config())
        network.load_state_dict(base.state_dict())
        config = LoraConfig(**{"r": 2, "lora_alpha": 4, "target_modules": ALL, **changes})
        tuned = drawn(get_peft_model(network, config), seed)
        if name in ("bf16", "f16"):
            tuned = tuned.to({"bf16": torch.bfloat16, "f16": torch.float16}[name])
        tuned.save_pretrained(folder / name)
        (folder / name / "README.md").unlink(missing_ok=True)
        if name == "bin":
            # What PEFT wrote by default before 0.7, and on request until safe_serialization went; it reads it still.
            weights = folder / name / "adapter_model.safetensors"
            torch.save(load_file(weights), weights.with_suffix(".bin"))
            weights.unlink()
        if name in ADAPTERS:
            fresh = Network(Config())
            fresh.load_state_dict(base.state_dict())
            merged = PeftModel.from_pretrained(fresh, folder / name).merge_and_unload().state_dict()
            save_file(merged, folder / name / "merged.safetensors", {"format": "pt"})
        print(f"{name}: {sorted(path.name for path in (folder / name).iterdir())}")


EXPERIMENT = """
[task.icl_linear]
d = 3
n_points = 4

[data.fresh]
validation = 4
test = 8

[model.transformer]
d_model = 8
n_layers = 2
n_heads = 2
state_mixer = "none"

[optimizer.adam]
learning_rate = 0.05

[train]
steps = 6
batch_size = 4
eval_every = 3
checkpoint_every = 6
keep_last = 9
"""

RUNS = {
    "lora": (["finetune.lora.rank=2"], {}),
    "lora_new_inputs": (["finetune.lora.rank=2", "task.d=5", "task.n_points=6"], {"d_in": 5, "seq_len": 11}),
    "lora_tokens": (
        ["finetune.lora.rank=2", "task={copy={vocab=6, n_data=4}}"],
        {"tokens": 7, "d_out": 7, "seq_len": 9},
    ),
    "prefix": (["finetune.prefix.length=3"], {}),
    "prefix_new_inputs": (["finetune.prefix.length=3", "task.d=5"], {"d_in": 5}),
    "prompt": (["finetune.prompt.length=3"], {}),
}


def use(binary):
    """What Headway learned, applied by PEFT."""
    failed = []
    with tempfile.TemporaryDirectory() as lab:
        lab = Path(lab)
        (lab / "experiment.toml").write_text(EXPERIMENT)

        def headway(*words):
            subprocess.run([binary, *words], cwd=lab, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        headway("train", "experiment.toml", "--device", "cpu", "--out", "base")
        weights = load_file(lab / "base/checkpoints/step-00000006/model.safetensors")
        for name, (changes, sizes) in RUNS.items():
            overrides = [word for change in changes for word in ("-s", change)]
            headway("finetune", "experiment.toml", "--from", "base", "--device", "cpu", "--out", name, *overrides)
            checkpoint = lab / name / "checkpoints/step-00000006"
            headway("eval", str(checkpoint), "--device", "cpu", "--save-outputs", "saved")
            inputs, wanted = (load_file(lab / f"saved/{part}.safetensors")[part] for part in ("inputs", "outputs"))
            dims = json.loads((checkpoint / "config.json").read_text())["dims"]
            network = Network(Config(**{**sizes, "seq_len": dims["seq_len"], "d_out": dims["d_out"]}))
            state = network.state_dict()
            # Of another task's maps nothing is taken from the base: the adapter has them.
            fits = {at: tensor for at, tensor in weights.items() if at in state and state[at].shape == tensor.shape}
            network.load_state_dict(fits, strict=False)
            peft = PeftModel.from_pretrained(network, checkpoint).eval()
            inputs = inputs.long() if sizes.get("tokens") else inputs
            with torch.no_grad():
                if name.startswith("prompt"):
                    found = peft(inputs_embeds=network.embedded(inputs))[:, -inputs.shape[1] :]
                else:
                    found = peft(inputs)
                untuned = Network.forward(network, inputs) if name.startswith("pr") else None
            apart = ((found - wanted).abs().max() / wanted.abs().max()).item()
            moved = 1.0 if untuned is None else (found - untuned).abs().max().item()
            verdict = "ok  " if apart <= TOLERANCE and moved > 1e-4 else "FAIL"
            if verdict == "FAIL":
                failed.append(name)
            print(f"{verdict}  {name}: {apart:.1e} of the largest output apart")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["make", folder]:
            make(Path(folder))
        case ["use", binary]:
            use(str(Path(binary).resolve()))
        case _:
            sys.exit(__doc__)
