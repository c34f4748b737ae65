#!/usr/bin/env python3
"""Networks as users write them in PyTorch, to be imported, and a check of what was exported for PyTorch and numpy.

Each class below is one program's way to write a network that Headway has too: PyTorch's own modules, GPT-2 as Hugging Face,
minGPT and nanoGPT lay it out, Llama and Qwen3, the in-context learners of Garg et al., HookedTransformer of TransformerLens, and the models of
Hu et al. The packages themselves are not needed: names, layouts and formulas are written out here.

    python foreign_models.py make DIR                            # DIR/NAME.pt and DIR/NAME.legacy.pt of every network
    python foreign_models.py check NAME INPUTS OUTPUTS …         # the network's output against Headway's, of one or several
    python foreign_models.py hugging-face DIR INPUTS OUTPUTS …   # a folder that was exported in Llama's names, likewise
    python foreign_models.py exported CHECKPOINT FILE … --inputs IN --outputs OUT

Needs Python 3.10, numpy 1.24 and PyTorch 1.13 or newer.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import check_with_torch
import headway_reference as reference

TOLERANCE = 1e-5
"""Largest difference allowed, relative to the largest output."""


def hidden_from(rows):
    """True where a causal model may not look."""
    return torch.ones(rows, rows, dtype=torch.bool).triu(1)


def heads_of(x, heads):
    """[batch, rows, heads · width] -> [batch, heads, rows, width]"""
    return x.unflatten(2, (heads, -1)).transpose(1, 2)


def attend(q, k, v, causal):
    """softmax(q kᵀ / sqrt(width)) v, heads put side by side again."""
    scores = q @ k.transpose(2, 3) / q.shape[3] ** 0.5
    if causal:
        scores = scores.masked_fill(hidden_from(scores.shape[2]), -torch.inf)
    return (scores.softmax(3) @ v).transpose(1, 2).flatten(2)


# ---------------------------------------------------------------------------------------------------------------------
# PyTorch's own modules.


class Encoder(nn.Module):
    """nn.TransformerEncoder between linear maps of the user's, with a table of positions that has an axis for the batch."""

    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(6, 3, 11, dropout=0.0, batch_first=True, norm_first=True)
        self.read = nn.Linear(5, 6)
        self.pos = nn.Parameter(torch.zeros(1, 7, 6))
        self.encoder = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(6), enable_nested_tensor=False)
        self.write = nn.Linear(6, 1)

    def forward(self, x):
        return self.write(self.encoder(self.read(x) + self.pos))


def without_bias(norm):
    """A layer norm with a gain alone, as bias=False makes it since PyTorch 2.1."""
    norm.register_parameter("bias", None)
    return norm


class AttentionOnlyLayer(nn.TransformerEncoderLayer):
    """Without its feed-forward network, and without any bias."""

    def __init__(self, width, heads):
        super().__init__(width, heads, 1, dropout=0.0, batch_first=True, norm_first=True)
        self.self_attn = nn.MultiheadAttention(width, heads, bias=False, batch_first=True)
        self.linear1 = self.linear2 = self.norm2 = nn.Identity()
        without_bias(self.norm1)

    def forward(self, x, mask):
        normed = self.norm1(x)
        return x + self.self_attn(normed, normed, normed, attn_mask=mask, need_weights=False)[0]


class AttentionOnlyEncoder(nn.Module):
    reads_tokens = True

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(7, 6)
        self.position = nn.Embedding(8, 6)
        self.layers = nn.ModuleList(AttentionOnlyLayer(6, 2) for _ in range(2))
        self.final_norm = without_bias(nn.LayerNorm(6))
        self.head = nn.Linear(6, 7, bias=False)

    def forward(self, tokens):
        rows = tokens.shape[1]
        x = self.embed(tokens) + self.position(torch.arange(rows))
        for layer in self.layers:
            x = layer(x, hidden_from(rows))
        return self.head(self.final_norm(x))


class BareAttention(nn.Module):
    """A list of nn.MultiheadAttention with residuals and nothing else."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(5, 6)
        self.attns = nn.ModuleList(nn.MultiheadAttention(6, 3, batch_first=True) for _ in range(2))
        self.head = nn.Linear(6, 1)

    def forward(self, x):
        x = self.embed(x)
        for attn in self.attns:
            x = x + attn(x, x, x, need_weights=False)[0]
        return self.head(x)


# ---------------------------------------------------------------------------------------------------------------------
# GPT-2.


class Conv1D(nn.Module):
    """Hugging Face's linear map, its weight [in, out]."""

    def __init__(self, d_in, d_out):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(d_in, d_out))
        self.bias = nn.Parameter(torch.zeros(d_out))

    def forward(self, x):
        return x @ self.weight + self.bias


class Gpt2Attention(nn.Module):
    def __init__(self, width, heads, rows, linear):
        super().__init__()
        self.heads = heads
        self.c_attn = linear(width, 3 * width)
        self.c_proj = linear(width, width)
        self.register_buffer("bias", (~hidden_from(rows)).view(1, 1, rows, rows))
        self.register_buffer("masked_bias", torch.tensor(-1e4))

    def forward(self, x):
        q, k, v = (heads_of(part, self.heads) for part in self.c_attn(x).chunk(3, dim=2))
        return self.c_proj(attend(q, k, v, causal=True))


class Gpt2Mlp(nn.Module):
    def __init__(self, width, linear, activation):
        super().__init__()
        self.c_fc = linear(width, 4 * width)
        self.c_proj = linear(4 * width, width)
        self.activation = activation

    def forward(self, x):
        return self.c_proj(self.activation(self.c_fc(x)))


class Gpt2Block(nn.Module):
    def __init__(self, width, heads, rows, linear, activation, norm):
        super().__init__()
        self.ln_1 = norm(width)
        self.attn = Gpt2Attention(width, heads, rows, linear)
        if activation is not None:
            self.ln_2 = norm(width)
            self.mlp = Gpt2Mlp(width, linear, activation)

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x)) if hasattr(self, "mlp") else x


class Gpt2Body(nn.Module):
    def __init__(self, vocab, rows, width, heads, layers, linear=Conv1D, activation=None, norm=nn.LayerNorm):
        super().__init__()
        self.wte = nn.Embedding(vocab, width)
        self.wpe = nn.Embedding(rows, width)
        self.h = nn.ModuleList(Gpt2Block(width, heads, rows, linear, activation, norm) for _ in range(layers))
        self.ln_f = norm(width)

    def forward(self, x):
        x = x + self.wpe(torch.arange(x.shape[1]))
        for block in self.h:
            x = block(x)
        return self.ln_f(x)


def gelu_tanh(x):
    return F.gelu(x, approximate="tanh")


class HuggingFace(nn.Module):
    """GPT2LMHeadModel: the head is the embedding."""

    reads_tokens = True

    def __init__(self):
        super().__init__()
        self.transformer = Gpt2Body(7, 16, 8, 4, 2, activation=gelu_tanh)
        self.lm_head = nn.Linear(8, 7, bias=False)
        self.lm_head.weight = self.transformer.wte.weight

    def forward(self, tokens):
        return self.lm_head(self.transformer(self.transformer.wte(tokens)))


class NanoGpt(nn.Module):
    """nn.Linear without bias, a head of its own, attention only."""

    reads_tokens = True

    def __init__(self):
        super().__init__()

        def linear(d_in, d_out):
            return nn.Linear(d_in, d_out, bias=False)

        self.transformer = Gpt2Body(7, 8, 6, 2, 2, linear, norm=lambda width: without_bias(nn.LayerNorm(width)))
        self.lm_head = nn.Linear(6, 7, bias=False)

    def forward(self, tokens):
        return self.lm_head(self.transformer(self.transformer.wte(tokens)))


class InContext(nn.Module):
    """GPT-2 between two linear maps, as Garg et al. use it; its table of tokens is never looked at."""

    def __init__(self):
        super().__init__()
        self._read_in = nn.Linear(3, 8)
        self._backbone = Gpt2Body(13, 10, 8, 2, 2, activation=gelu_tanh)
        self._read_out = nn.Linear(8, 1)

    def forward(self, x):
        return self._read_out(self._backbone(self._read_in(x)))


# ---------------------------------------------------------------------------------------------------------------------
# Llama, and Qwen3, which norms queries and keys.


class RmsGain(nn.Module):
    def __init__(self, width, epsilon):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.epsilon) * self.weight


class LlamaAttention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.heads, self.width, self.theta = c["num_attention_heads"], c["head_dim"], c["rope_theta"]
        self.turned = int(self.width * c.get("partial_rotary_factor", 1))
        self.shared = self.heads // c["num_key_value_heads"]
        d, bias = c["hidden_size"], c["attention_bias"]
        self.q_proj = nn.Linear(d, self.heads * self.width, bias)
        self.k_proj = nn.Linear(d, c["num_key_value_heads"] * self.width, bias)
        self.v_proj = nn.Linear(d, c["num_key_value_heads"] * self.width, bias)
        self.o_proj = nn.Linear(self.heads * self.width, d, bias)
        if c["model_type"] == "qwen3":
            self.q_norm, self.k_norm = (RmsGain(self.width, c["rms_norm_eps"]) for _ in range(2))

    def rotated(self, x):
        """Halves of the channels that turn, which are the first ones, as the two axes of planes."""
        x, still = x[..., : self.turned], x[..., self.turned :]
        half = self.turned // 2
        angles = torch.arange(x.shape[2], dtype=x.dtype)[:, None] / self.theta ** (torch.arange(half, dtype=x.dtype) / half)
        cos, sin = angles.cos().repeat(1, 2), angles.sin().repeat(1, 2)
        turned = x * cos + torch.cat([-x[..., half:], x[..., :half]], -1) * sin
        return torch.cat([turned, still], -1)

    def forward(self, x):
        split = lambda y: y.unflatten(2, (-1, self.width)).transpose(1, 2)
        q, k, v = split(self.q_proj(x)), split(self.k_proj(x)), split(self.v_proj(x))
        if hasattr(self, "q_norm"):
            q, k = self.q_norm(q), self.k_norm(k)
        k, v = (y.repeat_interleave(self.shared, dim=1) for y in (self.rotated(k), v))
        return self.o_proj(attend(self.rotated(q), k, v, causal=True))


class LlamaMlp(nn.Module):
    def __init__(self, d, d_ffn, bias):
        super().__init__()
        self.gate_proj, self.up_proj = nn.Linear(d, d_ffn, bias), nn.Linear(d, d_ffn, bias)
        self.down_proj = nn.Linear(d_ffn, d, bias)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class LlamaLayer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.input_layernorm, self.post_attention_layernorm = (RmsGain(c["hidden_size"], c["rms_norm_eps"]) for _ in range(2))
        self.self_attn = LlamaAttention(c)
        self.mlp = LlamaMlp(c["hidden_size"], c["intermediate_size"], c["mlp_bias"])

    def forward(self, x):
        x = x + self.self_attn(self.input_layernorm(x))
        return x + self.mlp(self.post_attention_layernorm(x))


class Llama(nn.Module):
    """LlamaForCausalLM or Qwen3ForCausalLM of a config.json."""

    reads_tokens = True

    def __init__(self, config):
        super().__init__()
        width, vocab = config["hidden_size"], config["vocab_size"]
        self.model = nn.Module()
        self.model.embed_tokens = nn.Embedding(vocab, width)
        self.model.layers = nn.ModuleList(LlamaLayer(config) for _ in range(config["num_hidden_layers"]))
        self.model.norm = RmsGain(width, config["rms_norm_eps"])
        self.is_tied = config["tie_word_embeddings"]
        if not self.is_tied:
            self.lm_head = nn.Linear(width, vocab, bias=False)

    def forward(self, tokens):
        x = self.model.embed_tokens(tokens)
        for layer in self.model.layers:
            x = layer(x)
        return self.model.norm(x) @ (self.model.embed_tokens if self.is_tied else self.lm_head).weight.T


LLAMA = {
    "model_type": "llama", "vocab_size": 7, "hidden_size": 8, "intermediate_size": 11, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 2, "hidden_act": "silu", "rms_norm_eps": 1e-5, "rope_theta": 31.0,
    "attention_bias": False, "mlp_bias": False, "tie_word_embeddings": True,
}
LLAMA_PARTIAL = LLAMA | {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "partial_rotary_factor": 0.5}
QWEN3 = LLAMA | {
    "model_type": "qwen3", "head_dim": 6, "num_attention_heads": 3, "num_key_value_heads": 1, "rms_norm_eps": 1e-6,
    "attention_bias": True, "tie_word_embeddings": False,
}


# ---------------------------------------------------------------------------------------------------------------------
# TransformerLens.


class Parameters(nn.Module):
    """Parameters by name."""

    def __init__(self, **shapes):
        super().__init__()
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.zeros(shape)))


class HookedAttention(Parameters):
    def __init__(self, width, heads, rows):
        size = width // heads
        matrices = {name: (heads, width, size) for name in ("W_Q", "W_K", "W_V")}
        biases = {name: (heads, size) for name in ("b_Q", "b_K", "b_V")}
        super().__init__(**matrices, **biases, W_O=(heads, size, width), b_O=(width,))
        self.register_buffer("mask", ~hidden_from(rows))
        self.register_buffer("IGNORE", torch.tensor(-torch.inf))

    def forward(self, x):
        q, k, v = (
            torch.einsum("brd,hde->bhre", x, getattr(self, f"W_{p}")) + getattr(self, f"b_{p}")[:, None]
            for p in ("Q", "K", "V")
        )
        scores = torch.einsum("bhqe,bhke->bhqk", q, k) / q.shape[3] ** 0.5
        pattern = torch.where(self.mask, scores, self.IGNORE).softmax(3)
        return torch.einsum("bhqk,bhke,hed->bqd", pattern, v, self.W_O) + self.b_O


class HookedTransformer(nn.Module):
    """attn_only=True, normalization_type="LNPre": norms without parameters."""

    reads_tokens = True

    def __init__(self):
        super().__init__()
        self.embed = Parameters(W_E=(7, 6))
        self.pos_embed = Parameters(W_pos=(8, 6))
        self.blocks = nn.ModuleList(nn.ModuleDict({"attn": HookedAttention(6, 3, 8)}) for _ in range(2))
        self.unembed = Parameters(W_U=(6, 7), b_U=(7,))

    def forward(self, tokens):
        def norm(x):
            return F.layer_norm(x, (6,))

        x = self.embed.W_E[tokens] + self.pos_embed.W_pos
        for block in self.blocks:
            x = x + block["attn"](norm(x))
        return norm(x) @ self.unembed.W_U + self.unembed.b_U


# ---------------------------------------------------------------------------------------------------------------------
# The models of Hu et al. 2025.


class MappingA(nn.Module):
    def __init__(self, d_in, width, rows, anchors):
        super().__init__()
        self.token_proj = nn.Linear(d_in, width)
        self.modulation = nn.Parameter(torch.ones(rows, width))
        self.interp_tokens = nn.Parameter(torch.zeros(anchors, width))

    def forward(self, x):
        tokens = self.token_proj(x) * self.modulation
        return torch.cat([tokens, self.interp_tokens.expand(len(x), -1, -1)], dim=1)


class PaperAttention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x):
        q, k, v = (heads_of(p(x), self.heads) for p in (self.q_proj, self.k_proj, self.v_proj))
        return self.out_proj(attend(q, k, v, causal=False))


class PaperOneLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.mapping_A = MappingA(5, 6, 7, 4)
        self.attn_layer = PaperAttention(6, 2)

    def forward(self, x):
        return self.attn_layer(self.mapping_A(x))[:, :7]


class PaperTwoLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.mapping_A = MappingA(5, 6, 7, 0)
        self.attn1 = PaperAttention(6, 3)
        self.A2 = nn.Linear(6, 6)
        self.attn2 = PaperAttention(6, 3)
        self.out_proj = nn.Linear(6, 1)

    def forward(self, x):
        return self.out_proj(self.attn2(self.A2(self.attn1(self.mapping_A(x))))[:, :7])


# ---------------------------------------------------------------------------------------------------------------------
# Files.


def beside_an_optimizer(state):
    """As training scripts save it."""
    moments = {"exp_avg": torch.zeros(5), "step": torch.tensor(3.0)}
    return {"epoch": 3, "model_state_dict": state, "optimizer": {"state": {0: moments}, "lr": 1e-3}}


def compiled(state):
    """What torch.compile puts before every name."""
    return {f"_orig_mod.{name}": tensor for name, tensor in state.items()}


def transposed(state):
    """The same matrices, their columns side by side in memory."""
    return {name: t.t().contiguous().t() if t.dim() == 2 else t for name, t in state.items()}


def in_bfloat16(state):
    return {name: t.bfloat16() if t.is_floating_point() else t for name, t in state.items()}


def in_float64(state):
    return {name: t.double() if t.is_floating_point() else t for name, t in state.items()}


CASES = {
    "encoder": (Encoder, transposed),
    "encoder_attention_only": (AttentionOnlyEncoder, dict),
    "bare_attention": (BareAttention, in_float64),
    "hugging_face": (HuggingFace, beside_an_optimizer),
    "nano_gpt": (NanoGpt, compiled),
    "in_context": (InContext, dict),
    "llama": (lambda: Llama(LLAMA), dict),
    "llama_partial": (lambda: Llama(LLAMA_PARTIAL), dict),
    "qwen3": (lambda: Llama(QWEN3), dict),
    "hooked_transformer": (HookedTransformer, in_bfloat16),
    "paper_one_layer": (PaperOneLayer, lambda state: {"state_dict": state}),
    "paper_two_layer": (PaperTwoLayer, dict),
}
"""Each network with the form in which its weights are saved."""


def build(name):
    """The network with every parameter away from zero and one, the same at every call."""
    torch.manual_seed(sorted(CASES).index(name))
    module = CASES[name][0]()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))
    # Numbers that every form of the file holds exactly.
    return module.bfloat16().float().eval()


def make(folder):
    for name, (_, form) in CASES.items():
        module = build(name)
        state = form(module.state_dict())
        torch.save(state, folder / f"{name}.pt")
        torch.save(state, folder / f"{name}.legacy.pt", _use_new_zipfile_serialization=False)
    torch.save(build("encoder"), folder / "whole_module.pt")
    # Weights and their running mean, beside the state of the optimiser.
    state = build("encoder").state_dict()
    both = {"model": state, "ema": {name: 0.5 * tensor for name, tensor in state.items()}}
    torch.save(both | {"optimizer": {"step": torch.zeros(1)}}, folder / "averaged.pt")
    # As save_pretrained of Hugging Face wrote it until it wrote safetensors.
    (folder / "hugging_face").mkdir()
    torch.save(build("hugging_face").state_dict(), folder / "hugging_face" / "pytorch_model.bin")
    config = {"model_type": "gpt2", "n_head": 4, "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5}
    (folder / "hugging_face" / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": True}))
    for name, config in {"llama": LLAMA, "llama_partial": LLAMA_PARTIAL, "qwen3": QWEN3}.items():
        (folder / name).mkdir()
        torch.save(build(name).state_dict(), folder / name / "pytorch_model.bin")
        (folder / name / "config.json").write_text(json.dumps(config))


def check(name, inputs, outputs):
    module = build(name).double()
    inputs = torch.from_numpy(reference.load_array(inputs).astype(np.float64))
    with torch.no_grad():
        wanted = module(inputs.long() if getattr(module, "reads_tokens", False) else inputs).numpy()
    return check_with_torch.agrees(name, reference.load_array(outputs), wanted, TOLERANCE)


def tensors_of(path):
    """Tensors of an exported file, read by nothing of ours where another package reads them."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    if path.suffix == ".pt":
        return torch.load(path, weights_only=True)
    return check_with_torch.read_tensors(path)


def exported(checkpoint, path, inputs, outputs):
    name, config, dims = reference.read_config(checkpoint)
    module = check_with_torch.MODULES[name](dims, config).double().eval()
    module.load_state_dict(tensors_of(path), strict=True)
    inputs = reference.load_inputs(inputs, dims)
    with torch.no_grad():
        wanted = module(torch.from_numpy(inputs if inputs.dtype == np.int64 else inputs.astype(np.float64))).numpy()
    return check_with_torch.agrees(path.name, reference.load_array(outputs), wanted, TOLERANCE)


def hugging_face(folder, inputs, outputs):
    """A folder that was exported in Llama's names."""
    module = Llama(json.loads((folder / "config.json").read_text())).double().eval()
    module.load_state_dict(check_with_torch.read_tensors(folder / "model.safetensors"), strict=True)
    with torch.no_grad():
        wanted = module(torch.from_numpy(reference.load_array(inputs)).long()).numpy()
    return check_with_torch.agrees(folder.name, reference.load_array(outputs), wanted, TOLERANCE)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("make", help="write a file of every network, in both forms of torch.save")
    verb.add_argument("folder", type=Path)
    verb = verbs.add_parser("check", help="compare the outputs of networks with Headway's")
    verb.add_argument("triples", nargs="+", metavar="NAME INPUTS OUTPUTS")
    verb = verbs.add_parser("exported", help="compare the output of exported weights with Headway's")
    verb.add_argument("checkpoint", type=Path)
    verb.add_argument("files", type=Path, nargs="+", metavar="FILE")
    verb.add_argument("--inputs", type=Path, required=True)
    verb.add_argument("--outputs", type=Path, required=True)
    verb = verbs.add_parser("hugging-face", help="compare the output of folders in Llama's names with Headway's")
    verb.add_argument("triples", nargs="+", metavar="FOLDER INPUTS OUTPUTS")
    args = parser.parse_args()
    match args.verb:
        case "hugging-face":
            triples = [args.triples[at : at + 3] for at in range(0, len(args.triples), 3)]
            results = [hugging_face(Path(folder), inputs, outputs) for folder, inputs, outputs in triples]
            sys.exit(0 if all(results) else 1)
        case "make":
            make(args.folder)
        case "check":
            triples = [args.triples[at : at + 3] for at in range(0, len(args.triples), 3)]
            results = [check(*triple) for triple in triples]
            sys.exit(0 if all(results) else 1)
        case "exported":
            results = [exported(args.checkpoint, file, args.inputs, args.outputs) for file in args.files]
            sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
