//! Sizes of a transformer.

use serde::{Deserialize, Serialize};

use super::Transformer;
use crate::{
    adapter::Target,
    attention::{
        AttentionConfig,
        kernel::{Demand, KernelKind},
        position::{Hand, PositionKind, PositionSizes},
    },
    budget::{Count, size},
    config::{ConfigError, InputDims, IoDims, LARGEST_WIDTH, MOST_LAYERS, shared_width},
    family::{Capability, Family, LayerShape, Model, ModelConfig, Shape},
    ffn::{Activation, StateMixer},
    init::Initializer,
    parameters::{
        Key::{self, Inputs, Length, Model as Own, Outputs},
        Rule,
    },
};

/// Where layer norms stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Norm {
    /// Before each mixer and once before the head.
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
    /// Heads per block; divides `d_model` unless `d_head` is given. Default 4.
    pub n_heads: usize,
    /// Width of a head. Default: `d_model` / `n_heads`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub d_head: Option<usize>,
    /// Heads of keys and values, each shared by as many query heads; divides `n_heads`. Default: `n_heads`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n_kv_heads: Option<usize>,
    /// Whether a position sees only itself and what came before, as tasks ask whose answers stand further on in the input.
    /// Default true.
    pub causal: bool,
    /// Where layer norms stand: `pre` or `none`. Default `pre`.
    pub norm: Norm,
    /// Whether each mixer adds to the hidden state (true) or replaces it. Default true.
    pub residual: bool,
    /// Position scheme, see `headway list positions`. Default `learned`.
    pub position: PositionKind,
    /// Attention kernel, see `headway list kernels`. Default `softmax`.
    pub kernel: KernelKind,
    /// What follows attention in a block: `none`, or `{ ffn = { d_ffn = …, activation = "gelu_erf" } }`. Default `none`.
    pub state_mixer: StateMixer,
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
            state_mixer: StateMixer::None,
        }
    }
}

const D_MODEL: Key = Own("d_model");

/// Where heads do not divide `d_model` among themselves.
const FREE_HEADS: &[Rule] = &[
    ("blocks.*.attention.output.bias", &[D_MODEL], &[Own("n_layers")]),
    ("blocks.*.attention.*", &[D_MODEL, Own("n_heads"), Own("d_head"), Own("n_kv_heads")], &[Own("n_layers")]),
];

const RULES: &[Rule] = &[
    ("embed.weight", &[D_MODEL, Inputs], &[]),
    ("embed.bias", &[D_MODEL], &[Inputs]),
    ("position.*", &[D_MODEL, Length], &[Own("position")]),
    ("blocks.*.ffn_norm.*", &[D_MODEL], &[Own("norm"), Own("state_mixer"), Own("n_layers")]),
    ("blocks.*.ffn.contract.bias", &[D_MODEL], &[Own("state_mixer"), Own("n_layers")]),
    ("blocks.*.ffn.expand.bias", &[Own("state_mixer")], &[Own("state_mixer"), Own("n_layers")]),
    ("blocks.*.ffn.*", &[D_MODEL, Own("state_mixer")], &[Own("state_mixer"), Own("n_layers")]),
    ("blocks.*_norm.*", &[D_MODEL], &[Own("norm"), Own("n_layers")]),
    ("blocks.*", &[D_MODEL], &[Own("n_layers")]),
    ("final_norm.*", &[D_MODEL], &[Own("norm")]),
    ("head.weight", &[D_MODEL, Outputs], &[]),
    ("head.bias", &[Outputs], &[]),
];

impl TransformerConfig {
    /// Sizes of the attention in a block.
    pub(super) fn attention(&self) -> AttentionConfig {
        let Self { d_model, n_heads, kernel, .. } = *self;
        AttentionConfig {
            n_kv_heads: self.n_kv_heads.unwrap_or(n_heads),
            d_head: self.d_head.unwrap_or(d_model / n_heads.max(1)),
            ..AttentionConfig::shared_width(d_model, n_heads, kernel)
        }
    }

    /// Sizes that positions are for.
    pub(super) fn position_sizes(&self, dims: &IoDims) -> PositionSizes {
        PositionSizes { seq_len: dims.seq_len, d_model: self.d_model, d_head: self.attention().d_head }
    }

    /// Checks the sizes of heads.
    fn validate_heads(&self, problems: &mut Vec<ConfigError>) {
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

    /// Adds one block over `n` tokens to a budget.
    fn count_block(&self, n: f64, count: &mut Count) {
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

impl Family for TransformerConfig {
    fn validate(&self, dims: &IoDims, problems: &mut Vec<ConfigError>) {
        self.validate_heads(problems);
        if let Some(shared) = self.n_kv_heads
            && (shared == 0 || !self.n_heads.is_multiple_of(shared))
        {
            let problem =
                format!("{shared} heads of keys and values cannot be shared evenly by {} heads", self.n_heads);
            problems.push(ConfigError::new("n_kv_heads", problem));
        }
        problems.extend(self.kernel.problems());
        problems.extend(self.position.problems(&self.position_sizes(dims)));
        if self.position.has(Hand::Bias)
            && let Err(reason) = self.kernel.spec().supports(Demand::Bias)
        {
            let (position, kernel) = (self.position.name(), self.kernel.name());
            let problem =
                format!("{position} adds a bias to the scores of attention, and {kernel} {reason}; use softmax");
            problems.push(ConfigError::new("kernel", problem));
        }
        if !(1..=MOST_LAYERS).contains(&self.n_layers) {
            problems.push(ConfigError::new("n_layers", format!("must be from 1 to {MOST_LAYERS}")));
        }
        if let StateMixer::Ffn { d_ffn, .. } = self.state_mixer
            && !(1..=LARGEST_WIDTH).contains(&d_ffn)
        {
            let problem = format!("must be at least 1 and at most {LARGEST_WIDTH}");
            problems.push(ConfigError::new("state_mixer.ffn.d_ffn", problem));
        }
    }

    fn build(&self, dims: &IoDims, init: &mut Initializer<'_>) -> Model {
        Model::Transformer(Transformer::new(self, dims, init))
    }

    fn budget(&self, dims: &IoDims, count: &mut Count) {
        let [n, d] = [dims.seq_len, self.d_model].map(size);
        match dims.input {
            InputDims::Continuous { d_in } => {
                count.linear(n, size(d_in), d);
                count.keep(n * size(d_in));
            }
            InputDims::Tokens { vocab } => {
                count.parameters += size(vocab) * d;
                count.keep(n);
            }
        }
        count.parameters += self.position.spec().parameters(&self.position_sizes(dims));
        let mut block = Count::default();
        self.count_block(n, &mut block);
        count.repeat(self.n_layers, &block);
        if self.norm == Norm::Pre {
            count.norm(n, d);
        }
        count.linear(n, d, size(dims.d_out));
        count.keep(n * d);
    }

    fn capabilities(&self) -> &'static [Capability] {
        &[
            Capability::Tokens,
            Capability::ShorterSequences,
            Capability::Prefix,
            Capability::Prompt,
            Capability::AttentionPrecision,
        ]
    }

    fn shape(&self, dims: &IoDims) -> Shape {
        let Self { d_model, n_heads, n_layers, .. } = *self;
        let layer = LayerShape { n_heads, q_len: dims.seq_len, k_len: dims.seq_len, width: d_model };
        Shape { embedded: [dims.seq_len, d_model], layers: vec![layer; n_layers], width: dims.d_out }
    }

    fn n_heads(&self) -> Option<usize> {
        Some(self.n_heads)
    }

    fn sees_ahead(&self, _seq_len: usize) -> bool {
        !self.causal
    }

    fn causal_key(&self) -> Option<&'static str> {
        Some("causal")
    }

    fn projection_rank(&self, target: Target) -> usize {
        let AttentionConfig { d_model, n_heads, n_kv_heads, d_head, .. } = self.attention();
        let heads = match target {
            Target::Query | Target::Output => n_heads,
            Target::Key | Target::Value => n_kv_heads,
        };
        d_model.min(heads * d_head)
    }

    fn function(&self) -> ModelConfig {
        Self { kernel: self.kernel.spec().function(), ..self.clone() }.into()
    }

    fn rules(&self) -> Vec<Rule> {
        let free: &[Rule] = if self.d_head.or(self.n_kv_heads).is_some() { FREE_HEADS } else { &[] };
        [self.kernel.spec().rules(), free, RULES].concat()
    }

    fn head(&self) -> Vec<String> {
        vec!["head.*".to_owned()]
    }

    fn rows_by_position(&self) -> &'static [&'static str] {
        &["position.weight"]
    }

    fn examples(_dims: &IoDims, scale: usize) -> Vec<ModelConfig> {
        let attention_only = Self { d_model: 3 * 5 * scale, n_heads: 3, ..Self::default() };
        let ffn = Self {
            causal: false,
            state_mixer: StateMixer::Ffn { d_ffn: 19 * scale, activation: Activation::GeluTanh },
            ..attention_only.clone()
        };
        let bare =
            Self { norm: Norm::None, residual: false, position: PositionKind::Sinusoidal, ..attention_only.clone() };
        let free = Self { d_head: Some(4 * scale), n_heads: 6, n_kv_heads: Some(2), ..attention_only.clone() };
        // Schemes that act inside attention, and kernels of other functions than softmax.
        let inside = |position: &PositionKind| position.has(Hand::Rotation) || position.has(Hand::Bias);
        let positions = PositionKind::examples().into_iter().filter(inside);
        let positions = positions.map(|position| Self { position, ..free.clone() });
        let is_other = |kernel: &KernelKind| kernel.spec().function() != KernelKind::default();
        let kernels = KernelKind::examples().into_iter().filter(is_other);
        let kernels = kernels.map(|kernel| Self { kernel, ..attention_only.clone() });
        let all = [attention_only.clone(), ffn, bare, free.clone()].into_iter().chain(positions).chain(kernels);
        all.map(ModelConfig::from).collect()
    }
}
