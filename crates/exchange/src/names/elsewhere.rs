//! Models of Headway that other programs can run: transformers of tokens with a table of positions.

use headway_model::{
    Activation, Hand, InputDims, IoDims, KernelKind, ModelConfig, Norm, PositionKind, StateMixer, TransformerConfig,
};

use super::Array;
use crate::{Arrays, Error};

/// Weights and settings for GPT-2 and TransformerLens.
#[derive(Clone, Debug)]
pub struct Elsewhere {
    /// Arrays under Headway's names, including a table of positions.
    pub arrays: Arrays,
    pub(super) config: TransformerConfig,
    pub(super) vocab: usize,
    pub(super) rows: usize,
}

/// What a transformer has that neither GPT-2 nor TransformerLens has.
fn part_of_llama(config: &TransformerConfig) -> Option<&'static str> {
    let is_gated = matches!(config.state_mixer, StateMixer::Ffn { activation, .. } if activation.is_gated());
    let parts = [
        (config.norm.is_after(), "a second norm of each part (norm = sandwich)"),
        (!config.norm_kind.is_default(), "norms by the root mean square (norm_kind)"),
        (config.residual_gate, "a gate on what is added to the hidden state (residual_gate)"),
        (config.head_temperature, "a temperature of each head (head_temperature)"),
        (!config.value_residual.is_default(), "values of the first layer in later ones (value_residual)"),
        (is_gated, "a gated feed-forward network (swiglu)"),
    ];
    parts.into_iter().find_map(|(is_there, part)| is_there.then_some(part))
}

impl Elsewhere {
    /// Takes a model with its weights under Headway's names.
    ///
    /// # Errors
    /// [`Error::Names`] for a model whose function these programs cannot compute.
    pub fn of(mut arrays: Arrays, model: &ModelConfig, dims: &IoDims) -> Result<Self, Error> {
        let no = |what: &str| {
            Err(Error::Names(format!("{what} has no name in other programs, which know transformers of tokens")))
        };
        let ModelConfig::Transformer(config) = model else { return no(&format!("a model `{}`", model.name())) };
        let InputDims::Tokens { vocab } = dims.input else { return no("an embedding of vectors") };
        if !config.residual {
            return no("a mixer that replaces the hidden state (residual = false)");
        }
        if dims.d_out != vocab {
            return no("a head that predicts something else than the next token");
        }
        let (rows, width) = (dims.seq_len, config.d_model);
        if config.position.has(Hand::Rotation) || config.position.has(Hand::Bias) {
            return no(&format!("position = {}", config.position.name()));
        }
        if config.kernel.spec().function() != KernelKind::Softmax {
            return no(&format!("kernel = {}", config.kernel.name()));
        }
        if config.d_head.or(config.n_kv_heads).is_some() {
            return no("attention whose heads have sizes of their own (d_head, n_kv_heads)");
        }
        if !config.qk_norm.is_default() {
            return no("a norm of queries and keys (qk_norm)");
        }
        if !config.gate.is_default() {
            return no("a gate on what heads mix (gate)");
        }
        if !config.token_weight.is_default() {
            return no("weights of tokens (token_weight)");
        }
        if !config.pool.is_default() {
            return no("a head that reads all positions together (pool)");
        }
        if let Some(part) = part_of_llama(config) {
            return no(part);
        }
        if !config.bias {
            // Zeros do what no bias does.
            let of_maps =
                |name: &&str| name.starts_with("head") || name.contains(".attention.") || name.contains(".ffn.");
            let maps = arrays.iter().filter_map(|(name, array)| Some((name.strip_suffix(".weight")?, array.shape[0])));
            let biases: Vec<(String, Array)> = maps
                .filter(|(name, _)| of_maps(name))
                .map(|(name, width)| (format!("{name}.bias"), Array { shape: vec![width], values: vec![0.0; width] }))
                .collect();
            arrays.extend(biases);
        }
        if config.tie_embedding {
            let table = arrays.get("embed.weight").cloned();
            arrays.extend(table.map(|table| ("head.weight".to_owned(), table)));
            arrays.insert("head.bias".to_owned(), Array { shape: vec![vocab], values: vec![0.0; vocab] });
        }
        if config.position != PositionKind::Learned {
            let values = config.position.spec().fixed_table(rows, width).unwrap_or_else(|| vec![0.0; rows * width]);
            arrays.insert("position.weight".to_owned(), Array { shape: vec![rows, width], values });
        }
        Ok(Self { arrays, config: config.clone(), vocab, rows })
    }

    /// Number of heads in each layer.
    pub fn n_heads(&self) -> usize {
        self.config.n_heads
    }

    /// The arguments of TransformerLens's configuration for these weights.
    pub fn arguments_of_transformer_lens(&self) -> String {
        let Self { config, vocab, rows, .. } = self;
        let d_head = config.d_model / config.n_heads.max(1);
        let mixer = match &config.state_mixer {
            StateMixer::None => "attn_only=True".to_owned(),
            StateMixer::Ffn { d_ffn, activation } => {
                let act_fn = match activation {
                    Activation::GeluErf => "gelu",
                    Activation::GeluTanh => "gelu_new",
                    Activation::Relu => "relu",
                    Activation::Swiglu => "silu",
                };
                format!("d_mlp={d_ffn}, act_fn=\"{act_fn}\"")
            }
        };
        let norm = match config.norm {
            Norm::Pre | Norm::Sandwich => "\"LN\"",
            Norm::None => "None",
        };
        let direction = if config.causal { "causal" } else { "bidirectional" };
        format!(
            "d_model={}, d_head={d_head}, n_heads={}, n_layers={}, n_ctx={rows}, d_vocab={vocab}, {mixer}, \
             normalization_type={norm}, attention_dir=\"{direction}\"",
            config.d_model, config.n_heads, config.n_layers
        )
    }
}
