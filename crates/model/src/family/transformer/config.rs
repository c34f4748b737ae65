//! Sizes of a transformer.

use serde::{Deserialize, Serialize};

use crate::{
    attention::{
        AttentionConfig,
        gate::Gate,
        kernel::{Demand, KernelKind},
        position::{PositionKind, PositionSizes},
        qk_norm::QkNorm,
        weighting::TokenWeight,
    },
    budget::{Count, size},
    config::{ConfigError, InputDims, IoDims, LARGEST_WIDTH, shared_width},
    ffn::StateMixer,
    pool::PoolKind,
};

/// Positions of layer norms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Norm {
    /// Before attention, before the feed-forward network, and once before the head.
    #[default]
    Pre,
    /// Nowhere.
    None,
}

/// A transformer; with `state_mixer = "none"`, the default, an attention-only one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
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
    /// Positions of layer norms: `pre` or `none`. Default `pre`.
    pub norm: Norm,
    /// Whether attention and the feed-forward network are added to the hidden state (true) or replace it. Default true.
    pub residual: bool,
    /// Position scheme, see `headway list positions`. Default `learned`.
    pub position: PositionKind,
    /// Attention kernel, see `headway list kernels`. Default `softmax`.
    pub kernel: KernelKind,
    /// Norm of each head's queries and keys: `none` or `rms`. Default `none`.
    #[serde(skip_serializing_if = "QkNorm::is_default")]
    pub qk_norm: QkNorm,
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
    /// What follows attention in a block: `none`, or `{ ffn = { d_ffn = …, activation = "gelu_erf" } }`. Default `none`.
    pub state_mixer: StateMixer,
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
            residual: true,
            position: PositionKind::default(),
            kernel: KernelKind::default(),
            qk_norm: QkNorm::None,
            gate: Gate::None,
            token_weight: TokenWeight::None,
            attention_aware: 0,
            state_mixer: StateMixer::None,
            pool: PoolKind::None,
        }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(n: &usize) -> bool {
    *n == 0
}

impl TransformerConfig {
    /// The attention-aware layer's number of heads, if there is such a layer.
    pub(super) fn aware(&self) -> Option<usize> {
        (self.attention_aware > 0).then_some(self.attention_aware)
    }

    /// Config of the attention in a block.
    pub(super) fn attention(&self) -> AttentionConfig {
        let Self { d_model, n_heads, ref kernel, .. } = *self;
        AttentionConfig {
            n_kv_heads: self.n_kv_heads.unwrap_or(n_heads),
            d_head: self.d_head.unwrap_or(d_model / n_heads.max(1)),
            qk_norm: self.qk_norm,
            gate: self.gate,
            token_weight: self.token_weight,
            ..AttentionConfig::shared_width(d_model, n_heads, kernel)
        }
    }

    /// Sizes that position schemes depend on.
    pub(super) fn position_sizes(&self, dims: &IoDims) -> PositionSizes {
        PositionSizes { seq_len: dims.seq_len, d_model: self.d_model, d_head: self.attention().d_head }
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

    /// Adds one block over `n` tokens to a budget.
    pub(super) fn count_block(&self, n: f64, count: &mut Count) {
        let d = size(self.d_model);
        if self.norm == Norm::Pre {
            count.norm(n, d);
        }
        self.attention().count(n, self.causal, count);
        if let StateMixer::Ffn { d_ffn, activation } = self.state_mixer {
            if self.norm == Norm::Pre {
                count.norm(n, d);
            }
            count.linear(n, d, size(d_ffn));
            count.linear(n, size(d_ffn), d);
            count.keep(n * d + (1.0 + activation.kept()) * n * size(d_ffn));
        }
    }
}
