//! Llama in the names of Hugging Face, and what has the same names: Mistral, Qwen2 with biases, Qwen3 with norms of queries and keys.
//!
//! Rotary positions that turn channels c and c + d/2, keys and values that several heads share, norms by the root mean square, a
//! feed-forward network with SwiGLU. Every matrix is `[out, in]`.
//!
//! # References
//! Touvron et al. 2023, arXiv 2302.13971; Qwen3: arXiv 2505.09388.

use headway_model::{
    Activation, InputDims, IoDims, KernelKind, ModelConfig, Norm, NormKind, PositionKind, QkNorm, RopeConfig,
    StateMixer, TransformerConfig, weights::Array,
};
use serde_json::json;

use super::{Convention, Fills, Format, Place, Renamed, layer_of, rename_each};
use crate::{Arrays, Error};

pub(super) const CONVENTION: Convention = Convention {
    format: Format::Pytorch,
    name: "llama",
    summary: "model.embed_tokens.weight, model.layers.0.self_attn.q_proj.weight, …: Llama, Mistral, Qwen2 and Qwen3 of Hugging Face",
    fits: |arrays| prefix(arrays).is_some(),
    rename,
};

/// Values of `model_type` whose networks have these names and this function.
pub(crate) const ARCHITECTURES: [&str; 4] = ["llama", "mistral", "qwen2", "qwen3"];

const FIRST: &str = "layers.0.self_attn.q_proj.weight";

/// The maps of a layer by their names there and here.
const MAPS: [(&str, &str); 7] = [
    ("self_attn.q_proj", "attention.query"),
    ("self_attn.k_proj", "attention.key"),
    ("self_attn.v_proj", "attention.value"),
    ("self_attn.o_proj", "attention.output"),
    ("mlp.gate_proj", "ffn.expand"),
    ("mlp.up_proj", "ffn.up"),
    ("mlp.down_proj", "ffn.contract"),
];

/// The norms of a layer by their names there and here.
const NORMS: [(&str, &str); 4] = [
    ("input_layernorm", "attention_norm"),
    ("post_attention_layernorm", "ffn_norm"),
    ("self_attn.q_norm", "attention.query_norm"),
    ("self_attn.k_norm", "attention.key_norm"),
];

/// The prefix before `layers.0`; `None` if there is no such name.
fn prefix(arrays: &Arrays) -> Option<String> {
    let found = arrays.keys().find_map(|name| name.strip_suffix(FIRST))?;
    (found.is_empty() || found.ends_with('.')).then(|| found.to_owned())
}

fn rename(arrays: Arrays) -> Result<Renamed, Error> {
    let prefix = prefix(&arrays).unwrap_or_default();
    // The prefix before `model.`, which the head has too.
    let outer = prefix.strip_suffix("model.").unwrap_or(&prefix).to_owned();
    let mut renamed = rename_each(arrays, |name, array| {
        if name.strip_prefix(&outer) == Some("lm_head.weight") {
            return Ok(Place::weight("head.weight", array));
        }
        let Some(inner) = name.strip_prefix(&prefix) else { return Ok(Place::Unknown) };
        match inner {
            "embed_tokens.weight" => return Ok(Place::weight("embed.weight", array)),
            "norm.weight" => return Ok(Place::weight("final_norm.weight", array)),
            _ => {}
        }
        let Some((layer, rest)) = layer_of(inner, "layers.") else { return Ok(Place::Unknown) };
        // Frequencies, which theta gives.
        if rest == "self_attn.rotary_emb.inv_freq" {
            return Ok(Place::NoWeight);
        }
        let of_map = rest.rsplit_once('.').filter(|(_, parameter)| ["weight", "bias"].contains(parameter));
        let of_norm = of_map.filter(|(_, parameter)| *parameter == "weight");
        let named = |pair: Option<(&str, &str)>, list: &[(&str, &str)]| {
            let (module, parameter) = pair?;
            let (_, ours) = list.iter().find(|(theirs, _)| *theirs == module)?;
            Some(format!("blocks.{layer}.{ours}.{parameter}"))
        };
        match named(of_map, &MAPS).or_else(|| named(of_norm, &NORMS)) {
            Some(ours) => Ok(Place::weight(ours, array)),
            None => Ok(Place::Unknown),
        }
    })?;
    renamed.fills = Fills { zero_biases: true, unit_norms: false };
    renamed.shown.extend([("norm_kind", "\"rms\""), ("norm", "\"pre\""), ("causal", "true")].map(owned));
    if renamed.arrays.contains_key("blocks.0.attention.query_norm.weight") {
        renamed.shown.push(owned(("qk_norm", "\"rms\"")));
    }
    if renamed.arrays.contains_key("blocks.0.ffn.up.weight") {
        renamed.shown.push(owned(("activation", "\"swiglu\"")));
    }
    renamed.causal = Some(true);
    renamed.is_rotary = true;
    let table = renamed.arrays.get("embed.weight").cloned();
    match (renamed.arrays.get("head.weight"), table) {
        (Some(head), Some(table)) => renamed.head_is_embedding = Some(*head == table),
        (None, Some(table)) => {
            renamed.arrays.insert("head.weight".to_owned(), table);
            renamed.head_is_embedding = Some(true);
        }
        (_, None) => {}
    }
    if renamed.head_is_embedding == Some(true) {
        let line = "the head is the embedding: with tie_embedding = true it stays so, without it head.weight is a copy";
        renamed.assumed.push(line.to_owned());
    }
    Ok(renamed)
}

fn owned((key, value): (&'static str, &str)) -> (&'static str, String) {
    (key, value.to_owned())
}

/// Whether Llama's names are those in which other programs know a model: its positions are rotary.
pub fn is_alike(model: &ModelConfig) -> bool {
    matches!(model, ModelConfig::Transformer(TransformerConfig { position: PositionKind::Rope(_), .. }))
}

/// A transformer's weights, which have Headway's names, as Hugging Face's `LlamaForCausalLM`, or `Qwen3ForCausalLM` if queries and keys have
/// norms, and its `config.json`.
///
/// Zero-centred gains g become 1 + g. Gates of layers are multiplied into the output map, temperatures of heads into the query map. If the
/// model has no feed-forward network, one of width one that adds zero is written. Biases that are all zero are left out.
///
/// # Errors
/// [`Error::Names`] for a model that neither can represent.
pub fn export(arrays: &Arrays, model: &ModelConfig, dims: &IoDims) -> Result<(Arrays, serde_json::Value), Error> {
    let no =
        |what: &str| Err(Error::Names(format!("{what} has no name in Llama; export with --names headway instead")));
    let ModelConfig::Transformer(config) = model else { return no(&format!("a model `{}`", model.name())) };
    let InputDims::Tokens { vocab } = dims.input else { return no("an embedding of vectors") };
    let PositionKind::Rope(rope) = &config.position else {
        return no(&format!("position = {}", config.position.name()));
    };
    let has_norms = config.qk_norm != QkNorm::None;
    if let Some(what) = not_in_llama(config, rope, dims.d_out == vocab) {
        return no(what);
    }
    let widths = Widths::of(config);
    let mut theirs = Arrays::new();
    let take = |name: &str| {
        let missing = || Error::Names(format!("the checkpoint has no `{name}`, which Llama needs"));
        arrays.get(name).cloned().ok_or_else(missing)
    };
    let gains = |name: &str, kind: NormKind| {
        let offset = if kind == NormKind::ZeroCentredRms { 1.0 } else { 0.0 };
        let array = take(name)?;
        Ok::<_, Error>(Array { values: array.values.iter().map(|gain| gain + offset).collect(), ..array })
    };
    let qk_kind = if config.qk_norm == QkNorm::ZeroCentredRms { NormKind::ZeroCentredRms } else { NormKind::Rms };
    theirs.insert("model.embed_tokens.weight".to_owned(), take("embed.weight")?);
    theirs.insert("model.norm.weight".to_owned(), gains("final_norm.weight", config.norm_kind)?);
    for layer in 0..config.n_layers {
        let ours = |rest: &str| format!("blocks.{layer}.{rest}");
        let name = |rest: &str| format!("model.layers.{layer}.{rest}");
        for (their_norm, norm) in NORMS {
            let kind = if norm.starts_with("attention.") { qk_kind } else { config.norm_kind };
            if arrays.contains_key(&ours(&format!("{norm}.weight"))) {
                theirs.insert(name(&format!("{their_norm}.weight")), gains(&ours(&format!("{norm}.weight")), kind)?);
            }
        }
        for (map, part) in MAPS {
            for parameter in ["weight", "bias"] {
                let Some(array) = arrays.get(&ours(&format!("{part}.{parameter}"))) else { continue };
                let array = match part {
                    "attention.query" => widths.heated(array, arrays.get(&ours("attention.temperature.log_scale"))),
                    "attention.output" => gated(array, arrays.get(&ours("residual_gate"))),
                    _ => array.clone(),
                };
                theirs.insert(name(&format!("{map}.{parameter}")), array);
            }
        }
        if config.state_mixer == StateMixer::None {
            let d = config.d_model;
            let filled = |shape: &[usize], value: f32| Array {
                shape: shape.to_vec(),
                values: vec![value; shape.iter().product()],
            };
            theirs.insert(name("post_attention_layernorm.weight"), filled(&[d], 1.0));
            for (map, shape) in [("gate_proj", [1, d]), ("up_proj", [1, d]), ("down_proj", [d, 1])] {
                theirs.insert(name(&format!("mlp.{map}.weight")), filled(&shape, 0.0));
            }
        }
    }
    if !config.tie_embedding {
        theirs.insert("lm_head.weight".to_owned(), take("head.weight")?);
        if arrays.get("head.bias").is_some_and(|bias| bias.values.iter().any(|bias| *bias != 0.0)) {
            return no("a bias of the head, which tie_embedding = true leaves out,");
        }
    }
    let is_bias = |name: &str| name.rsplit('.').next() == Some("bias");
    let has_bias = |part: &str| {
        let of_part = |(name, array): (&String, &Array)| {
            name.contains(part) && is_bias(name) && array.values.iter().any(|bias| *bias != 0.0)
        };
        theirs.iter().any(of_part)
    };
    let [attention_bias, mlp_bias] = [has_bias("self_attn."), has_bias("mlp.")];
    if mlp_bias && has_norms {
        return no("a bias of the feed-forward network beside norms of queries and keys, as Qwen3 has them,");
    }
    theirs.retain(|name, _| {
        let is_kept = if name.contains("mlp.") { mlp_bias } else { attention_bias };
        is_kept || !is_bias(name)
    });
    let json = json!({
        "architectures": [if has_norms { "Qwen3ForCausalLM" } else { "LlamaForCausalLM" }],
        "model_type": if has_norms { "qwen3" } else { "llama" },
        "vocab_size": vocab,
        "max_position_embeddings": dims.seq_len,
        "hidden_size": config.d_model,
        "intermediate_size": widths.d_ffn,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": widths.n_kv_heads,
        "head_dim": widths.d_head,
        "hidden_act": "silu",
        "rms_norm_eps": config.rms_epsilon(),
        "rope_theta": rope.theta,
        "attention_bias": attention_bias,
        "mlp_bias": mlp_bias,
        "attention_dropout": 0.0,
        "tie_word_embeddings": config.tie_embedding,
        "bos_token_id": null,
        "eos_token_id": null,
    });
    Ok((theirs, json))
}

/// What a transformer with rotary positions has that Llama and Qwen3 do not have.
fn not_in_llama(config: &TransformerConfig, rope: &RopeConfig, is_next_token: bool) -> Option<&'static str> {
    let has_norms = config.qk_norm != QkNorm::None;
    let is_other_ffn =
        matches!(config.state_mixer, StateMixer::Ffn { activation, .. } if activation != Activation::Swiglu);
    let without = [
        (!is_next_token, "a head that predicts something else than the next token"),
        (!config.causal, "attention to later positions (causal = false)"),
        (!config.residual, "a mixer that replaces the hidden state (residual = false)"),
        (config.norm != Norm::Pre, "another place of norms than before each part (norm)"),
        (config.norm_kind == NormKind::Layer, "a layer norm (norm_kind = layer)"),
        (*rope != RopeConfig { theta: rope.theta, ..RopeConfig::default() }, "a rotation of some channels (position)"),
        (config.kernel.spec().function() != KernelKind::Softmax, "a kernel other than softmax (kernel)"),
        (!config.gate.is_default(), "a gate on what heads mix (gate)"),
        (!config.token_weight.is_default(), "weights of tokens (token_weight)"),
        (!config.value_residual.is_default(), "values of the first layer in later ones (value_residual)"),
        (config.head_temperature && has_norms, "a temperature of each head behind norms (head_temperature)"),
        (!config.pool.is_default(), "a head that reads all positions together (pool)"),
        (is_other_ffn, "a feed-forward network without SwiGLU (state_mixer)"),
    ];
    without.into_iter().find_map(|(is_there, what)| is_there.then_some(what))
}

struct Widths {
    d_head: usize,
    n_kv_heads: usize,
    d_ffn: usize,
}

impl Widths {
    fn of(config: &TransformerConfig) -> Self {
        let d_ffn = if let StateMixer::Ffn { d_ffn, .. } = config.state_mixer { d_ffn } else { 1 };
        Self {
            d_head: config.d_head.unwrap_or(config.d_model / config.n_heads.max(1)),
            n_kv_heads: config.n_kv_heads.unwrap_or(config.n_heads),
            d_ffn,
        }
    }

    /// A query map, or its bias, whose heads have these temperatures.
    fn heated(&self, array: &Array, log_scale: Option<&Array>) -> Array {
        let Some(log_scale) = log_scale else { return array.clone() };
        let of_row = array.values.len() / array.shape[0].max(1);
        let factor = |at: usize| log_scale.values[at / (self.d_head * of_row)].exp();
        let values = array.values.iter().enumerate().map(|(at, value)| value * factor(at)).collect();
        Array { shape: array.shape.clone(), values }
    }
}

/// An output map, or its bias, times the sigmoid of its layer's gate.
fn gated(array: &Array, gate: Option<&Array>) -> Array {
    let factor = gate.map_or(1.0, |gate| 1.0 / (1.0 + (-f64::from(gate.values[0])).exp()));
    Array { shape: array.shape.clone(), values: array.values.iter().map(|v| (f64::from(*v) * factor) as f32).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::counted;

    #[test]
    fn names_and_what_they_show() -> Result<(), Error> {
        let layer = |rest: &str| format!("model.layers.0.{rest}");
        let tied = [
            ("model.embed_tokens.weight".to_owned(), [7, 4].as_slice()),
            ("model.norm.weight".to_owned(), &[4]),
            (layer("self_attn.q_proj.weight"), &[6, 4]),
            (layer("self_attn.q_proj.bias"), &[6]),
            (layer("self_attn.o_proj.weight"), &[4, 6]),
            (layer("self_attn.rotary_emb.inv_freq"), &[1]),
            (layer("self_attn.k_norm.weight"), &[2]),
            (layer("input_layernorm.weight"), &[4]),
            (layer("post_attention_layernorm.weight"), &[4]),
            (layer("post_feedforward_layernorm.weight"), &[4]),
            (layer("mlp.up_proj.weight"), &[5, 4]),
        ];
        let tied: Vec<(&str, &[usize])> = tied.iter().map(|(name, shape)| (name.as_str(), *shape)).collect();
        let renamed = rename(counted::arrays(&tied))?;
        let names: Vec<&str> = renamed.arrays.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "blocks.0.attention.key_norm.weight",
                "blocks.0.attention.output.weight",
                "blocks.0.attention.query.bias",
                "blocks.0.attention.query.weight",
                "blocks.0.attention_norm.weight",
                "blocks.0.ffn.up.weight",
                "blocks.0.ffn_norm.weight",
                "embed.weight",
                "final_norm.weight",
                "head.weight"
            ]
        );
        assert_eq!(renamed.arrays["blocks.0.attention.query.weight"], counted::array(&[6, 4]));
        assert_eq!(renamed.head_is_embedding, Some(true));
        // Gemma 2 has this norm, and is another function.
        assert_eq!(renamed.unknown, [layer("post_feedforward_layernorm.weight")]);
        assert_eq!(renamed.not_weights, [layer("self_attn.rotary_emb.inv_freq")]);
        assert!(renamed.shown.contains(&("activation", "\"swiglu\"".to_owned())), "{:?}", renamed.shown);
        Ok(())
    }

    /// Two heads of width one with factors 1 and e, a gate of σ(0).
    #[test]
    fn temperatures_and_gates_are_multiplied_into_maps() {
        let widths = Widths { d_head: 1, n_kv_heads: 2, d_ffn: 1 };
        let array = |values: &[f32]| Array { shape: vec![2, values.len() / 2], values: values.to_vec() };
        let log_scale = Array { shape: vec![2], values: vec![0.0, 1.0] };
        let e = std::f32::consts::E;
        assert_eq!(widths.heated(&array(&[1., 2., 3., 4.]), Some(&log_scale)).values, [1., 2., 3. * e, 4. * e]);
        assert_eq!(widths.heated(&array(&[1., 2.]), Some(&log_scale)).values, [1., 2. * e]);
        assert_eq!(gated(&array(&[1., 2.]), Some(&Array { shape: vec![1], values: vec![0.0] })).values, [0.5, 1.0]);
    }
}
