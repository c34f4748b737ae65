#!/usr/bin/env python3
"""Load a Headway checkpoint into PyTorch modules and compare what they compute.

The modules below are ordinary PyTorch around PyTorch's own multi-head attention; a checkpoint's tensors
enter through load_state_dict(strict=True), so a name or an orientation that PyTorch would not accept fails here. Their
float64 output is compared with headway_reference.py and, where given, with the output that Headway itself wrote.

Needs Python 3.10, numpy 1.24 and PyTorch 1.13 or newer.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import headway_reference as reference

REFERENCE_TOLERANCE = 1e-10
"""Largest difference, relative to the largest entry, between two float64 computations of the same network."""

ACTIVATIONS = {
    "gelu_erf": functional.gelu,
    "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "relu": functional.relu,
}


class MultiHeadAttention(nn.Module):
    """PyTorch's multi-head attention, its four projections under Headway's names."""

    def __init__(self, d_model, n_heads):
        super().__init__()
        self.query, self.key, self.value, self.output = (nn.Linear(d_model, d_model) for _ in range(4))
        self.n_heads = n_heads
        self.prefix = None

    def forward(self, x, causal=False):
        batch, rows, d_model = x.shape
        if self.prefix is not None:
            split = lambda x: x.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)
            before = lambda rows, x: torch.cat([rows.expand(batch, -1, -1), x], dim=1)
            k, v = before(self.prefix.keys, self.key(x)), before(self.prefix.values, self.value(x))
            length = k.shape[1] - rows
            seen = torch.ones(rows, rows, dtype=torch.bool).tril() if causal else torch.ones(rows, rows, dtype=torch.bool)
            seen = torch.cat([torch.ones(rows, length, dtype=torch.bool), seen], dim=1)
            q, k, v = split(self.query(x)), split(k), split(v)
            scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
            mixed = scores.masked_fill(~seen, -torch.inf).softmax(-1) @ v
            return self.output(mixed.transpose(1, 2).flatten(2))
        x = x.transpose(0, 1)  # [rows, batch, d_model], the order that PyTorch's function takes
        mixed, _ = functional.multi_head_attention_forward(
            query=x,
            key=x,
            value=x,
            embed_dim_to_check=d_model,
            num_heads=self.n_heads,
            in_proj_weight=None,
            in_proj_bias=torch.cat([self.query.bias, self.key.bias, self.value.bias]),
            bias_k=None,
            bias_v=None,
            add_zero_attn=False,
            dropout_p=0.0,
            out_proj_weight=self.output.weight,
            out_proj_bias=self.output.bias,
            attn_mask=torch.ones(rows, rows, dtype=torch.bool).triu(1) if causal else None,
            use_separate_proj_weight=True,
            q_proj_weight=self.query.weight,
            k_proj_weight=self.key.weight,
            v_proj_weight=self.value.weight,
        )
        return mixed.transpose(0, 1)  # [batch, rows, d_model]


class InputMap(nn.Module):
    """Linear map, gain per position, anchors appended."""

    def __init__(self, seq_len, d_in, d_model, n_anchors):
        super().__init__()
        self.project = nn.Linear(d_in, d_model)
        self.modulation = nn.Parameter(torch.ones(seq_len, d_model))
        self.register_parameter("anchors", nn.Parameter(torch.zeros(n_anchors, d_model)) if n_anchors else None)

    def forward(self, x):
        z = self.project(x) * self.modulation
        return z if self.anchors is None else torch.cat([z, self.anchors.expand(len(x), -1, -1)], dim=1)


class PaperOneLayer(nn.Module):
    """The paper's single attention layer."""

    def __init__(self, dims, config):
        super().__init__()
        d_model = config["d_model"]
        self.input_map = InputMap(dims["seq_len"], dims["input"]["continuous"]["d_in"], d_model, config["n_anchors"])
        self.attention = MultiHeadAttention(d_model, config["n_heads"])
        self.softmax_readout = config["readout"] == "softmax"

    def forward(self, x):
        y = self.attention(self.input_map(x))[:, : x.shape[1]]
        return (y.softmax(-1) * y).sum(-1, keepdim=True) if self.softmax_readout else y


class PaperTwoLayer(nn.Module):
    """The paper's two attention layers with an affine map between them."""

    def __init__(self, dims, config):
        super().__init__()
        d_model, n_heads = config["d_model"], config["n_heads"]
        self.input_map = InputMap(dims["seq_len"], dims["input"]["continuous"]["d_in"], d_model, config["n_anchors"])
        self.attention_1 = MultiHeadAttention(d_model, n_heads)
        self.affine = nn.Linear(d_model, d_model)
        self.attention_2 = MultiHeadAttention(d_model, n_heads)
        self.head = nn.Linear(d_model, dims["d_out"])

    def forward(self, x):
        z = self.attention_2(self.affine(self.attention_1(self.input_map(x))))
        return self.head(z[:, : x.shape[1]])


class PaperSetKeys(nn.Module):
    """The model of the paper's attention maps, with set interpolation points."""

    def __init__(self, dims, config):
        super().__init__()
        d_model, rows = config["d_model"], dims["seq_len"] + config["n_anchors"]
        self.input_map = InputMap(dims["seq_len"], dims["input"]["continuous"]["d_in"], d_model, config["n_anchors"])
        self.attention = MultiHeadAttention(d_model, 1)
        self.points = torch.linspace(config["low"], config["high"], rows, dtype=torch.float64)
        self.keys = torch.arange(rows) * (self.points + self.points[0] - 2 * config["shift"])
        self.scale = config["inverse_temperature"] / d_model**0.5

    def forward(self, x):
        z, attention = self.input_map(x), self.attention
        batch = len(x)
        keys = self.keys.to(z).expand(batch, -1)[..., None]
        values = self.points.to(z).expand(batch, -1)[..., None]
        k = torch.cat([attention.key(z)[..., :-1], keys], dim=-1)
        v = torch.cat([values, attention.value(z)[..., 1:]], dim=-1)
        pattern = (self.scale * attention.query(z) @ k.transpose(1, 2)).softmax(-1)
        return attention.output(pattern @ v)[:, : x.shape[1]]


class AttentionStack(nn.Module):
    """Attention layers of any sizes, each after its own affine map."""

    def __init__(self, dims, config):
        super().__init__()
        rows, width = dims["seq_len"], dims["input"]["continuous"]["d_in"]
        layers = []
        for layer in config["layers"]:
            layers.append(StackLayer(rows, width, layer))
            rows, width = layers[-1].queries, layer["d_out"]
        self.layers = nn.Sequential(*layers)
        self.seq_len, self.readout = dims["seq_len"], None
        if config["readout"] != "rows":
            softmax = None if config["readout"] == "affine" else config["readout"]["softmax"]
            self.readout = StackHead(rows, width, dims["seq_len"] * dims["d_out"], softmax)

    def forward(self, x):
        h = self.layers(x)
        return h[:, : self.seq_len] if self.readout is None else self.readout(h).unflatten(1, (self.seq_len, -1))


class StackLayer(nn.Module):
    """An affine map to `rows` rows, of which the first ask and the last answer."""

    def __init__(self, rows_in, d_in, config):
        super().__init__()
        self.rows, width = config["rows"], config["width"]
        self.queries, self.keys = (config.get(part, self.rows) for part in ("queries", "keys"))
        self.map = nn.Module()
        self.token_wise = config["map"] == "token_wise"
        if self.token_wise:
            self.map.project = nn.Linear(d_in, width, bias=False)
            self.map.position = nn.Parameter(torch.zeros(self.rows, width))
        else:
            self.map.project = nn.Linear(rows_in * d_in, self.rows * width)
        self.heads = nn.ModuleList(HeadGroup(width, config["d_out"], **heads) for heads in config["heads"])

    def forward(self, x):
        if self.token_wise:
            z = functional.pad(self.map.project(x), (0, 0, 0, self.rows - x.shape[1])) + self.map.position
        else:
            z = self.map.project(x.flatten(1)).unflatten(1, (self.rows, -1))
        return sum(heads(z[:, : self.queries], z[:, self.rows - self.keys :]) for heads in self.heads)


class HeadGroup(nn.Module):
    """Heads of one size, one after the other."""

    def __init__(self, width, d_out, count, d_key, d_value):
        super().__init__()
        self.count, self.d_key = count, d_key
        self.query, self.key = (nn.Linear(width, count * d_key, bias=False) for _ in range(2))
        self.value, self.output = nn.Linear(width, count * d_value, bias=False), nn.Linear(count * d_value, d_out, bias=False)
        self.prefix = None

    def forward(self, asking, answering):
        k, v = self.key(answering), self.value(answering)
        if self.prefix is not None:
            learned = (self.prefix.keys, self.prefix.values)
            k, v = (torch.cat([rows.expand(len(x), -1, -1), x], dim=1) for rows, x in zip(learned, (k, v)))
        parts = zip(*(x.chunk(self.count, -1) for x in (self.query(asking), k, v)))
        mixed = [(q @ k.transpose(1, 2) / self.d_key**0.5).softmax(-1) @ v for q, k, v in parts]
        return self.output(torch.cat(mixed, dim=-1))


class StackHead(nn.Module):
    """From the last rows to the flat prediction, through a softmax over channels or straight."""

    def __init__(self, rows, width, flat, softmax):
        super().__init__()
        self.softmax = None
        if softmax is not None:
            self.softmax = nn.Module()
            self.softmax.scores = nn.Linear(width, softmax["width"])
            self.softmax.values = nn.Linear(softmax["width"], softmax["d_value"], bias=False)
            width = softmax["d_value"]
        self.project = nn.Linear(rows * width, flat)

    def forward(self, h):
        if self.softmax is not None:
            h = self.softmax.values(self.softmax.scores(h).softmax(-1))
        return self.project(h.flatten(1))


class Ffn(nn.Module):
    """Two linear maps around a nonlinearity."""

    def __init__(self, d_model, d_ffn, activation):
        super().__init__()
        self.expand = nn.Linear(d_model, d_ffn)
        self.contract = nn.Linear(d_ffn, d_model)
        self.activation = ACTIVATIONS[activation]

    def forward(self, x):
        return self.contract(self.activation(self.expand(x)))


def layer_norm(config):
    """A layer norm, or nothing under the same name: the identity has no tensors."""
    return nn.LayerNorm(config["d_model"], eps=1e-5) if config["norm"] == "pre" else nn.Identity()


class Block(nn.Module):
    """Attention and, where there is one, a feed-forward network, each with its norm and residual."""

    def __init__(self, config):
        super().__init__()
        self.residual, self.causal = config["residual"], config["causal"]
        self.attention_norm = layer_norm(config)
        self.attention = MultiHeadAttention(config["d_model"], config["n_heads"])
        self.ffn = None
        if config["state_mixer"] != "none":
            self.ffn_norm = layer_norm(config)
            self.ffn = Ffn(config["d_model"], **config["state_mixer"]["ffn"])

    def forward(self, x):
        update = self.attention(self.attention_norm(x), self.causal)
        x = x + update if self.residual else update
        if self.ffn is None:
            return x
        update = self.ffn(self.ffn_norm(x))
        return x + update if self.residual else update


class SinusoidalTable(nn.Module):
    """Sines in the even channels, cosines in the odd ones; nothing to load."""

    def __init__(self, seq_len, d_model):
        super().__init__()
        table = torch.zeros(seq_len, d_model + d_model % 2, dtype=torch.float64)
        rate = 10_000 ** -(torch.arange(0, d_model, 2, dtype=torch.float64) / d_model)
        angle = torch.outer(torch.arange(seq_len, dtype=torch.float64), rate)
        table[:, 0::2], table[:, 1::2] = angle.sin(), angle.cos()
        self.register_buffer("table", table[:, :d_model], persistent=False)

    def forward(self, positions):
        return self.table[positions]


class Transformer(nn.Module):
    """Embed, positions, blocks, head."""

    def __init__(self, dims, config):
        super().__init__()
        d_model, seq_len = config["d_model"], dims["seq_len"]
        if "tokens" in dims["input"]:
            self.embed = nn.Embedding(dims["input"]["tokens"]["vocab"], d_model)
        else:
            self.embed = nn.Linear(dims["input"]["continuous"]["d_in"], d_model)
        positions = {"none": lambda *_: None, "learned": nn.Embedding, "sinusoidal": SinusoidalTable}
        self.position = positions[config["position"]](seq_len, d_model)
        self.prompt = None
        self.blocks = nn.Sequential(*(Block(config) for _ in range(config["n_layers"])))
        self.final_norm = layer_norm(config)
        self.head = nn.Linear(d_model, dims["d_out"])

    def forward(self, x):
        h = self.embed(x)
        if self.position is not None:
            h = h + self.position(torch.arange(x.shape[1]))
        if self.prompt is not None:
            h = torch.cat([self.prompt.rows.expand(len(h), -1, -1), h], dim=1)
        return self.head(self.final_norm(self.blocks(h)[:, -x.shape[1] :]))


class Csformer(nn.Module):
    """Attention over channels, then over time, by one module, each with a norm and an adapter of its own."""

    def __init__(self, dims, config):
        super().__init__()
        self.channels, self.seq_len, self.patch = dims["input"]["continuous"]["d_in"], dims["seq_len"], config["patch"]
        self.from_last, d_model, times = config["from_last"], config["d_model"], dims["seq_len"] // config["patch"]
        self.lift = nn.Linear(self.patch, d_model, bias=False)
        positions = {"none": lambda *_: None, "learned": nn.Embedding, "sinusoidal": SinusoidalTable}
        self.position = positions[config["position"]](times, d_model)
        self.blocks = nn.ModuleList(TwoStages(config) for _ in range(config["n_layers"]))
        self.head = nn.Linear(times * d_model, dims["d_out"] // self.channels)

    def forward(self, x):
        if self.from_last:
            x = x - x[:, -1:]
        h = self.lift(x.transpose(1, 2).unflatten(2, (-1, self.patch)))  # [batch, channels, times, d_model]
        if self.position is not None:
            h = h + self.position(torch.arange(h.shape[2]))
        for block in self.blocks:
            h = block(h)
        answer = self.head(h.flatten(2)).transpose(1, 2).flatten(1)  # [batch, horizon channels]
        return answer[:, None].expand(-1, self.seq_len, -1)


class TwoStages(nn.Module):
    """h + adapter(norm(attention(h))) over channels, then over time."""

    def __init__(self, config):
        super().__init__()
        self.attention = MultiHeadAttention(config["d_model"], config["n_heads"])
        if config["mix_channels"]:
            self.channel = Adapter(config)
        self.time = Adapter(config)

    def forward(self, h):
        stage = lambda own, h: own(self.attention(h.flatten(0, 1)).unflatten(0, h.shape[:2]))
        if hasattr(self, "channel"):
            h = h + stage(self.channel, h.transpose(1, 2)).transpose(1, 2)
        return h + stage(self.time, h)


class Adapter(nn.Module):
    """A norm and two affine maps around a GELU."""

    def __init__(self, config):
        super().__init__()
        self.norm = nn.LayerNorm(config["d_model"], eps=1e-5)
        self.adapter = Ffn(config["d_model"], config["d_adapter"], "gelu_erf")

    def forward(self, x):
        return self.adapter(self.norm(x))


MODULES = {
    "paper_one_layer": PaperOneLayer,
    "paper_two_layer": PaperTwoLayer,
    "paper_set_keys": PaperSetKeys,
    "attention_stack": AttentionStack,
    "transformer": Transformer,
    "csformer": Csformer,
}


def load(folder):
    """The checkpoint as a float64 PyTorch module; every tensor name and shape must agree."""
    name, config, dims = reference.read_config(folder)
    refuse_parts(config)
    module = MODULES[name](dims, config)
    state = with_low_rank(read_tensors(Path(folder) / "model.safetensors"), reference.lora_scale(folder))
    for at in {tensor.rsplit(".", 1)[0] for tensor in state if tensor.rsplit(".", 2)[-2] in ("prefix", "prompt")}:
        owner, _, part = at.rpartition(".")
        learned = nn.Module()
        for name in ("keys", "values", "rows"):
            if f"{at}.{name}" in state:
                learned.register_parameter(name, nn.Parameter(state[f"{at}.{name}"]))
        setattr(module.get_submodule(owner), part, learned)
    module = module.double().eval()
    module.load_state_dict(state, strict=True)
    return module


PARTS = (
    "d_head", "n_kv_heads", "qk_norm", "gate", "token_weight", "pool", "norm_kind", "norm_epsilon", "residual_gate", "head_temperature",
    "value_residual", "tie_embedding", "bias",
)
"""Keys of parts that have no module here; they stand in a config where they differ from their default."""


def refuse_parts(config):
    """Says which parts have no module here; tests of the model crate compare those of attention with PyTorch one by one."""
    without = {key: config[key] for key in PARTS if key in config}
    if config.get("kernel", "softmax") not in ("softmax", "naive"):
        without["kernel"] = config["kernel"]
    if config.get("norm") == "sandwich":
        without["norm"] = "sandwich"
    if "swiglu" in json.dumps(config.get("state_mixer")):
        without["state_mixer"] = config["state_mixer"]
    if config.get("position", "none") not in ("none", "learned", "sinusoidal"):
        without["position"] = config["position"]
    if without:
        parts = ", ".join(f"{key} = {json.dumps(value)}" for key, value in without.items())
        raise reference.CheckpointError(f"{parts}: this file has no PyTorch module for it; headway_reference.py computes it")


def with_low_rank(state, scale):
    """W + scale B A in place of each W that LoRA has learned A and B beside."""
    state = dict(state)
    for name in [name.removesuffix(".low_rank.a") for name in state if name.endswith(".low_rank.a")]:
        a, b = (state.pop(f"{name}.low_rank.{half}").double() for half in "ab")
        state[f"{name}.weight"] = state[f"{name}.weight"].double() + scale * (b @ a)
    return state


def read_tensors(path):
    """Tensors by name, through the safetensors package where it is installed."""
    try:
        from safetensors.torch import load_file
    except ImportError:
        return {name: torch.from_numpy(array.copy()) for name, array in reference.read_safetensors(path).items()}
    return load_file(path)


def drawn_inputs(dims):
    """Two sequences from the standard normal law, or of uniform tokens, the same at every call."""
    rng = np.random.default_rng(0)
    match dims["input"]:
        case {"tokens": {"vocab": vocab}}:
            return rng.integers(vocab, size=(2, dims["seq_len"]))
        case {"continuous": {"d_in": d_in}}:
            return rng.standard_normal((2, dims["seq_len"], d_in))


def agrees(name, found, wanted, tolerance):
    """Prints one line about max |found − wanted| / max |wanted|, and says whether it is within the tolerance."""
    if found.shape != wanted.shape:
        print(f"FAIL  {name}: shape {list(found.shape)}, PyTorch has {list(wanted.shape)}")
        return False
    difference = np.abs(found - wanted).max(initial=0.0) / max(np.abs(wanted).max(initial=0.0), np.finfo(float).tiny)
    within = bool(difference <= tolerance)  # false for a NaN
    verdict = "ok  " if within else "FAIL"
    print(f"{verdict}  {name}: {difference:.2e} of the largest entry apart, tolerance {tolerance:.0e}")
    return within


def arguments():
    parser = argparse.ArgumentParser(
        description="Load a Headway checkpoint into PyTorch and compare its float64 output with headway_reference.py\n"
        "and, where given, with Headway's own.",
        epilog="""\
example:
  headway eval runs/first/checkpoints/step-00001000 --save-outputs saved
  python check_with_torch.py runs/first/checkpoints/step-00001000 \\
      --inputs saved/inputs.safetensors --outputs saved/outputs.safetensors

Differences are the largest one, divided by the largest entry of PyTorch's output. Exit code 0 when all agree, 1 when
something differs or does not load, 2 for a wrong command line.""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="folder that holds config.json and model.safetensors")
    parser.add_argument(
        "--inputs",
        metavar="IN",
        help="what to feed the model, .npy or .safetensors (default: two sequences drawn from a fixed seed)",
    )
    parser.add_argument("--outputs", metavar="OUT", help="what Headway computed from the same inputs")
    parser.add_argument(
        "--tolerance", type=float, default=1e-5, help="largest relative difference to Headway's output (default: 1e-5)"
    )
    args = parser.parse_args()
    if args.outputs and not args.inputs:
        parser.error("--outputs needs the --inputs that they came from")
    return args


def main():
    args = arguments()
    try:
        numpy_model = reference.load(args.checkpoint, np.float64)
        dims = numpy_model.dims
        inputs = reference.load_inputs(args.inputs, dims) if args.inputs else drawn_inputs(dims)
        from_numpy = numpy_model(inputs)
        outputs = reference.load_array(args.outputs) if args.outputs else None
        torch_model = load(args.checkpoint)
    except (reference.CheckpointError, reference.InputError, RuntimeError) as error:
        sys.exit(f"error: {error}")

    tensor = torch.from_numpy(inputs.astype(np.int64 if np.issubdtype(inputs.dtype, np.integer) else np.float64))
    with torch.no_grad():
        from_torch = torch_model(tensor).numpy()

    checks = [agrees("headway_reference.py", from_numpy, from_torch, REFERENCE_TOLERANCE)]
    if outputs is not None:
        checks.append(agrees(args.outputs, outputs, from_torch, args.tolerance))
    sys.exit(0 if all(checks) else 1)


if __name__ == "__main__":
    main()
