//! Sizes of a transformer.

use headway_keys::Described;
use serde::{Deserialize, Serialize};

use crate::{
    attention::{
        AttentionConfig,
        gate::Gate,
        kernel::{Demand, KernelKind},
        position::{PositionKind, PositionSizes},
        qk_norm::QkNorm,
        value_residual::ValueResidual,
        weighting::TokenWeight,
    },
    budget::{Count, size},
    config::{ConfigError, InputDims, IoDims, LARGEST_WIDTH, shared_width},
    ffn::{Ffn, StateMixer},
    init::Initialization,
    norm::{NormKind, RMS_EPSILON},
    pool::PoolKind,
};

/// Positions of norms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Described)]
#[serde(rename_all = "snake_case")]
pub enum Norm {
    /// Before attention, before the feed-forward network, and once before the head.
    #[default]
    Pre,
    /// There, and once more after attention and after the feed-forward network, before they are added to the hidden state. Ding et al.
    /// 2021, arXiv 2105.13290.
    Sandwich,
    /// Nowhere.
    None,
}

impl Norm {
    /// Whether norms stand before attention, feed-forward network and head.
    pub fn is_before(self) -> bool {
        self != Self::None
    }

    /// Whether norms stand after attention and feed-forward network.
    pub fn is_after(self) -> bool {
        self == Self::Sandwich
    }
}

/// A transformer; with `state_mixer = "none"`, the default, an attention-only one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields, default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a key of its own")]
pub struct TransformerConfig {
    /// Width of the hidden state. Default 64.
    pub d_model: usize,
    /// Number of blocks. Default 2.
    pub n_layers: usize,
    /// Number of heads per block; divides `d_model` unless `d_head` is given. Default 4.
    pub n_heads: usize,
    /// Width of a head. Default: `d_model` / `n_heads`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub d_head: Option<usize>,
    /// Number of heads of keys and values, each shared by as many query heads; divides `n_heads`. Default: `n_heads`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n_kv_heads: Option<usize>,
    /// Whether a position sees only itself and earlier ones, as required by tasks whose answers appear later in the
    /// input. Default true.
    pub causal: bool,
    /// Positions of norms: `pre`, `sandwich` or `none`. Default `pre`.
    pub norm: Norm,
    /// Kind of those norms: `layer`, `rms`, or `zero_centred_rms`, with gains 1 + g. Default `layer`.
    #[serde(skip_serializing_if = "NormKind::is_default")]
    pub norm_kind: NormKind,
    /// Added to the mean square by every norm that divides by its root, those of queries and keys too. Default 1e-6.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub norm_epsilon: Option<f64>,
    /// Whether attention and the feed-forward network are added to the hidden state (true) or replace it. Default true.
    pub residual: bool,
    /// Whether what attention adds to the hidden state is multiplied by the sigmoid of a learned number, initially 1/2. Default false.
    #[serde(skip_serializing_if = "is_false")]
    pub residual_gate: bool,
    /// Position scheme, see `headway list positions`. Default `learned`.
    pub position: PositionKind,
    /// Attention kernel, see `headway list kernels`. Default `softmax`.
    pub kernel: KernelKind,
    /// Norm of each head's queries and keys: `none`, `rms`, or `zero_centred_rms`, with gains 1 + g. Default `none`.
    #[serde(skip_serializing_if = "QkNorm::is_default")]
    pub qk_norm: QkNorm,
    /// Whether the scores of each head have a learned factor, initially 1. Default false.
    #[serde(skip_serializing_if = "is_false")]
    pub head_temperature: bool,
    /// Share of the first layer's values in those of each later layer: `none`, `identity` (one half), or `learned`. Default `none`.
    #[serde(skip_serializing_if = "ValueResidual::is_default")]
    pub value_residual: ValueResidual,
    /// Gate on what the heads mix: `none` or `sigmoid`. Default `none`.
    #[serde(skip_serializing_if = "Gate::is_default")]
    pub gate: Gate,
    /// Whether tokens count less as keys if less of them is known: `none`, or `tfill`, where the last number of each input
    /// vector is the share that is known, from 0 to 1. Default `none`.
    #[serde(skip_serializing_if = "TokenWeight::is_default")]
    pub token_weight: TokenWeight,
    /// Number of heads of an attention-aware layer after the blocks, which reads apart what is known and what is not; divides
    /// `d_model`. For `token_weight = "tfill"` with `causal = false`. Default 0: no such layer.
    #[serde(skip_serializing_if = "is_zero")]
    pub attention_aware: usize,
    /// What follows attention in a block: `none`, or `{ ffn = { d_ffn = …, activation = "gelu_erf" } }`; other activations are `gelu_tanh`,
    /// `relu` and `swiglu`, which has a third map. Default `none`.
    pub state_mixer: StateMixer,
    /// Whether the head is the table of tokens, h Eᵀ without a bias; for tasks of tokens that predict tokens. Default false.
    #[serde(skip_serializing_if = "is_false")]
    pub tie_embedding: bool,
    /// Whether linear maps have a bias. Default true.
    #[serde(skip_serializing_if = "is_true")]
    pub bias: bool,
    /// How linear maps begin: `pytorch`, uniform by the width of the input, or `gpt2`, N(0, 0.02²), with biases of zero and the maps that add
    /// to the hidden state smaller by √(2 `n_layers`). Default `pytorch`.
    #[serde(skip_serializing_if = "Initialization::is_default")]
    pub initialization: Initialization,
    /// What the head reads: `none`, each position by itself, or for one prediction of a whole sequence `mean` or `{ tensor =
    /// { order = 2, features = 16, gamma = 0.5 } }`, which is then the same at every position. Default `none`.
    #[serde(skip_serializing_if = "PoolKind::is_default")]
    pub pool: PoolKind,
}

impl Default for TransformerConfig {
    fn default() -> Self {
        Self {
            d_model: 64,
            n_layers: 2,
            n_heads: 4,
            d_head: None,
            n_kv_heads: None,
            causal: true,
            norm: Norm::Pre,
            norm_kind: NormKind::Layer,
            norm_epsilon: None,
            residual: true,
            residual_gate: false,
            position: PositionKind::default(),
            kernel: KernelKind::default(),
            qk_norm: QkNorm::None,
            head_temperature: false,
            value_residual: ValueResidual::None,
            gate: Gate::None,
            token_weight: TokenWeight::None,
            attention_aware: 0,
            state_mixer: StateMixer::None,
            tie_embedding: false,
            bias: true,
            initialization: Initialization::Pytorch,
            pool: PoolKind::None,
        }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(n: &usize) -> bool {
    *n == 0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_true(flag: &bool) -> bool {
    *flag
}

impl TransformerConfig {
    /// Added to the mean square by norms that divide by its root.
    pub fn rms_epsilon(&self) -> f64 {
        self.norm_epsilon.unwrap_or(RMS_EPSILON)
    }

    /// Kind of the norms before attention, feed-forward network and head, if there are such norms.
    pub(super) fn norm_before(&self) -> Option<NormKind> {
        self.norm.is_before().then_some(self.norm_kind)
    }

    /// Kind of the norms after attention and feed-forward network, if there are such norms.
    pub(super) fn norm_after(&self) -> Option<NormKind> {
        self.norm.is_after().then_some(self.norm_kind)
    }

    /// The attention-aware layer's number of heads, if there is such a layer.
    pub(super) fn aware(&self) -> Option<usize> {
        (self.attention_aware > 0).then_some(self.attention_aware)
    }

    /// Config of the attention in a block after the first.
    pub(super) fn attention(&self) -> AttentionConfig {
        let Self { d_model, n_heads, ref kernel, .. } = *self;
        AttentionConfig {
            n_kv_heads: self.n_kv_heads.unwrap_or(n_heads),
            d_head: self.d_head.unwrap_or(d_model / n_heads.max(1)),
            qk_norm: self.qk_norm,
            norm_epsilon: self.rms_epsilon(),
            head_temperature: self.head_temperature,
            value_residual: self.value_residual,
            gate: self.gate,
            token_weight: self.token_weight,
            ..AttentionConfig::shared_width(d_model, n_heads, kernel)
        }
    }

    /// Config of the attention in the first block, whose values are those that others mix with theirs.
    pub(super) fn first_attention(&self) -> AttentionConfig {
        AttentionConfig { value_residual: ValueResidual::None, ..self.attention() }
    }

    /// Sizes that position schemes depend on.
    pub(super) fn position_sizes(&self, dims: &IoDims) -> PositionSizes {
        let AttentionConfig { d_model, n_heads, d_head, .. } = self.attention();
        PositionSizes { seq_len: dims.seq_len, d_model, d_head, n_heads, causal: self.causal }
    }

    /// Checks the numbers and widths of heads.
    pub(super) fn validate_heads(&self, problems: &mut Vec<ConfigError>) {
        let Some(d_head) = self.d_head else {
            return shared_width(self.d_model, self.n_heads, problems);
        };
        for (key, value) in [("d_model", self.d_model), ("n_heads", self.n_heads), ("d_head", d_head)] {
            if !(1..=LARGEST_WIDTH).contains(&value) {
                problems.push(ConfigError::new(key, format!("must be from 1 to {LARGEST_WIDTH}")));
            }
        }
        if self.n_heads.saturating_mul(d_head) > LARGEST_WIDTH {
            problems
                .push(ConfigError::new("d_head", format!("all heads together must be at most {LARGEST_WIDTH} wide")));
        }
    }

    /// Checks what parts of layers need of each other and of the data.
    pub(super) fn validate_parts(&self, dims: &IoDims, problems: &mut Vec<ConfigError>) {
        let mut refuse = |key, problem: String| problems.push(ConfigError::new(key, problem));
        let has_rms = self.norm.is_before() && self.norm_kind != NormKind::Layer || self.qk_norm != QkNorm::None;
        if self.norm == Norm::None && self.norm_kind != NormKind::Layer {
            refuse("norm_kind", "there are no norms: give norm = \"pre\" or \"sandwich\"".to_owned());
        }
        match self.norm_epsilon {
            Some(epsilon) if !(epsilon > 0.0 && epsilon < 1.0) => {
                refuse("norm_epsilon", "must be above 0 and below 1".to_owned());
            }
            Some(_) if !has_rms => {
                refuse(
                    "norm_epsilon",
                    "no norm here divides by a root mean square: see norm_kind and qk_norm".to_owned(),
                );
            }
            _ => {}
        }
        if self.residual_gate && !self.residual {
            refuse("residual_gate", "gates what is added to the hidden state; give residual = true".to_owned());
        }
        if self.value_residual != ValueResidual::None && self.n_layers < 2 {
            refuse(
                "value_residual",
                "mixes values of later layers with those of the first; there is one layer".to_owned(),
            );
        }
        if self.tie_embedding {
            match dims.input {
                InputDims::Continuous { .. } => {
                    refuse(
                        "tie_embedding",
                        "makes the table of tokens the head, and this task gives vectors".to_owned(),
                    );
                }
                InputDims::Tokens { vocab } if vocab != dims.d_out => {
                    let d_out = dims.d_out;
                    let problem = format!("has one output for each of {vocab} tokens, and this task asks for {d_out}");
                    refuse("tie_embedding", problem);
                }
                InputDims::Tokens { .. } => {}
            }
            if !self.pool.is_default() {
                refuse("tie_embedding", "reads each position by itself; leave pool out".to_owned());
            }
        }
    }

    /// Checks what weights of tokens need.
    pub(super) fn validate_weights(&self, dims: &IoDims, problems: &mut Vec<ConfigError>) {
        let mut refuse = |key, problem: String| problems.push(ConfigError::new(key, problem));
        if self.token_weight == TokenWeight::Tfill {
            if matches!(dims.input, InputDims::Tokens { .. }) {
                refuse("token_weight", "tfill reads a number of input vectors, and this task gives tokens".to_owned());
            }
            if let Err(reason) = self.kernel.spec().supports(Demand::Weights) {
                let problem = format!("tfill weighs the scores of attention, and {} {reason}", self.kernel.name());
                refuse("kernel", format!("{problem}; use softmax"));
            }
        }
        let n_heads = self.attention_aware;
        if n_heads == 0 {
            return;
        }
        if !self.d_model.is_multiple_of(n_heads) {
            refuse("attention_aware", format!("{n_heads} heads do not divide d_model = {}", self.d_model));
        }
        if self.token_weight == TokenWeight::None {
            let problem = "reads apart what is known of tokens; give token_weight = \"tfill\" too";
            refuse("attention_aware", problem.to_owned());
        }
        if self.causal {
            refuse("attention_aware", "reads all positions; give causal = false too".to_owned());
        }
    }

    /// Adds one block with this attention over `n` tokens to a budget.
    pub(super) fn count_block(&self, attention: &AttentionConfig, n: f64, count: &mut Count) {
        let norms = |count: &mut Count| {
            for kind in self.norm_before().into_iter().chain(self.norm_after()) {
                kind.count(n, self.d_model, count);
            }
        };
        norms(count);
        attention.count(n, self.causal, count);
        if self.residual_gate {
            // It keeps what it multiplies.
            count.parameters += 1.0;
            count.keep(n * size(self.d_model));
        }
        if let StateMixer::Ffn { d_ffn, activation } = self.state_mixer {
            norms(count);
            Ffn::count(n, size(self.d_model), size(d_ffn), activation, count);
        }
    }
}
