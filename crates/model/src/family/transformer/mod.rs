//! The transformer: embedding, positions, blocks, head.

mod block;
mod config;
mod network;
mod plain;

pub use block::Block;
pub use config::{Norm, TransformerConfig};
pub use network::Transformer;

use crate::{
    attention::{
        AttentionConfig,
        aware::AwareAttention,
        gate::Gate,
        kernel::{Demand, KernelKind},
        place::Target,
        position::{Hand, PositionKind},
        qk_norm::QkNorm,
        value_residual::ValueResidual,
        weighting::TokenWeight,
    },
    budget::{Count, size},
    config::{ConfigError, InputDims, IoDims, LARGEST_WIDTH, MOST_LAYERS},
    family::{Capability, Family, LayerShape, Model, ModelConfig, Shape},
    ffn::{Activation, StateMixer},
    init::{Initialization, Initializer},
    norm::NormKind,
    parameters::{
        Key::{self, Inputs, Length, Model as Own, Outputs},
        Rule,
    },
    plain::{NoPlainForm, Parameters},
    pool::{PoolKind, TensorPoolConfig},
};

const D_MODEL: Key = Own("d_model");
const AWARE: Key = Own("attention_aware");
const BIAS: Key = Own("bias");

/// Parts of attention that need not be there.
const PARTS: &[Rule] = &[
    ("blocks.*.attention.*_norm.weight", &[D_MODEL, Own("n_heads"), Own("d_head")], &[Own("qk_norm"), Own("n_layers")]),
    ("blocks.*.attention.gate.*", &[D_MODEL, Own("n_heads"), Own("d_head")], &[Own("gate"), Own("n_layers")]),
];

/// Learned numbers of which there is one for each layer, or for each of its heads.
const NUMBERS: &[Rule] = &[
    ("blocks.*.attention.temperature.*", &[Own("n_heads")], &[Own("head_temperature"), Own("n_layers")]),
    ("blocks.*.attention.value_mix.*", &[], &[Own("value_residual"), Own("n_layers")]),
    ("blocks.*.residual_gate", &[], &[Own("residual_gate"), Own("n_layers")]),
];

/// Rules for a table of tokens that is the head.
const TIED: &[Rule] = &[("embed.weight", &[D_MODEL, Inputs, Outputs], &[])];

/// Rules for heads whose widths do not add up to `d_model`.
const FREE_HEADS: &[Rule] = &[
    ("blocks.*.attention.output.bias", &[D_MODEL], &[BIAS, Own("n_layers")]),
    (
        "blocks.*.attention.*.bias",
        &[D_MODEL, Own("n_heads"), Own("d_head"), Own("n_kv_heads")],
        &[BIAS, Own("n_layers")],
    ),
    ("blocks.*.attention.*", &[D_MODEL, Own("n_heads"), Own("d_head"), Own("n_kv_heads")], &[Own("n_layers")]),
];

/// Rules for a head that reads all positions together.
const POOLED: &[Rule] = &[("head.weight", &[D_MODEL, Own("pool"), Outputs], &[])];

const RULES: &[Rule] = &[
    ("embed.weight", &[D_MODEL, Inputs], &[]),
    ("embed.bias", &[D_MODEL], &[Inputs, BIAS]),
    ("position.*", &[D_MODEL, Length], &[Own("position")]),
    ("blocks.*.ffn*_norm.bias", &[D_MODEL], &[Own("norm"), Own("norm_kind"), Own("state_mixer"), Own("n_layers")]),
    ("blocks.*.ffn*_norm.*", &[D_MODEL], &[Own("norm"), Own("state_mixer"), Own("n_layers")]),
    ("blocks.*.ffn.contract.bias", &[D_MODEL], &[BIAS, Own("state_mixer"), Own("n_layers")]),
    ("blocks.*.ffn.expand.bias", &[Own("state_mixer")], &[BIAS, Own("state_mixer"), Own("n_layers")]),
    ("blocks.*.ffn.up.bias", &[Own("state_mixer")], &[BIAS, Own("state_mixer"), Own("n_layers")]),
    ("blocks.*.ffn.*", &[D_MODEL, Own("state_mixer")], &[Own("state_mixer"), Own("n_layers")]),
    ("blocks.*_norm.bias", &[D_MODEL], &[Own("norm"), Own("norm_kind"), Own("n_layers")]),
    ("blocks.*_norm.*", &[D_MODEL], &[Own("norm"), Own("n_layers")]),
    ("blocks.*.attention.*.bias", &[D_MODEL], &[BIAS, Own("n_layers")]),
    ("blocks.*", &[D_MODEL], &[Own("n_layers")]),
    ("aware.norm.*", &[D_MODEL], &[Own("norm"), Own("norm_kind"), AWARE]),
    ("aware.gate.weight", &[AWARE], &[AWARE]),
    ("aware.gate.bias", &[], &[BIAS, AWARE]),
    ("aware.*.bias", &[D_MODEL], &[BIAS, AWARE]),
    ("aware.*", &[D_MODEL], &[AWARE]),
    ("final_norm.bias", &[D_MODEL], &[Own("norm"), Own("norm_kind")]),
    ("final_norm.*", &[D_MODEL], &[Own("norm")]),
    ("pool.*", &[D_MODEL, Own("pool")], &[Own("pool")]),
    ("head.weight", &[D_MODEL, Outputs], &[Own("tie_embedding")]),
    ("head.bias", &[Outputs], &[BIAS, Own("tie_embedding")]),
];

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
        self.validate_weights(dims, problems);
        self.validate_parts(dims, problems);
        if !(1..=MOST_LAYERS).contains(&self.n_layers) {
            problems.push(ConfigError::new("n_layers", format!("must be from 1 to {MOST_LAYERS}")));
        }
        if let StateMixer::Ffn { d_ffn, .. } = self.state_mixer
            && !(1..=LARGEST_WIDTH).contains(&d_ffn)
        {
            let problem = format!("must be at least 1 and at most {LARGEST_WIDTH}");
            problems.push(ConfigError::new("state_mixer.ffn.d_ffn", problem));
        }
        self.pool.validate(problems);
        if self.causal && !self.pool.is_default() {
            let problem = "makes one prediction of all positions, so that none may be hidden; give causal = false";
            problems.push(ConfigError::new("pool", problem));
        }
    }

    fn build(&self, dims: &IoDims, init: &mut Initializer<'_>) -> Model {
        Model::Transformer(Transformer::new(self, dims, init))
    }

    fn budget(&self, dims: &IoDims, count: &mut Count) {
        let [n, d] = [dims.seq_len, self.d_model].map(size);
        count.unbiased = !self.bias;
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
        self.count_block(&self.first_attention(), n, count);
        let mut block = Count { unbiased: count.unbiased, ..Count::default() };
        self.count_block(&self.attention(), n, &mut block);
        count.repeat(self.n_layers.saturating_sub(1), &block);
        if let Some(n_heads) = self.aware() {
            AwareAttention::count(n, self.d_model, n_heads, self.norm_before(), count);
        }
        // A pooling head reads all positions, whichever are asked for.
        let read = count.read.filter(|_| self.pool.is_default()).unwrap_or(n);
        if let Some(kind) = self.norm_before() {
            kind.count(read, self.d_model, count);
        }
        if self.tie_embedding {
            count.flops += 2.0 * read * d * size(dims.d_out);
            count.keep(read * d);
        } else {
            self.pool.count(read, d, size(dims.d_out), count);
        }
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
        let (rows, state) = (dims.seq_len, [dims.seq_len, d_model]);
        let layer = LayerShape { n_heads, q_len: rows, k_len: rows, state };
        let aware = self.aware().map(|n_heads| LayerShape { n_heads, ..layer });
        let layers = std::iter::repeat_n(layer, n_layers).chain(aware).collect();
        Shape { embedded: state, layers, width: dims.d_out }
    }

    fn plain(&self, parameters: &Parameters) -> Result<headway_plain::network::Network, NoPlainForm> {
        self.plain_network(parameters)
    }

    fn plain_function(
        &self,
        parameters: &Parameters,
        dims: &IoDims,
    ) -> Result<headway_plain::function::Function, NoPlainForm> {
        self.whole(parameters, dims)
    }

    fn n_heads(&self) -> Option<usize> {
        self.aware().is_none_or(|n_heads| n_heads == self.n_heads).then_some(self.n_heads)
    }

    fn sees_ahead(&self, _seq_len: usize) -> bool {
        !self.causal
    }

    /// Every kernel of softmax attention sees of a position its key and its value; weights of earlier tokens are not kept.
    fn reads_on(&self) -> bool {
        self.causal && self.token_weight.is_default() && self.kernel.spec().function() == KernelKind::Softmax
    }

    fn causal_key(&self) -> Option<&'static str> {
        Some("causal")
    }

    fn one_answer_key(&self) -> Option<&'static str> {
        (!self.pool.is_default()).then_some("pool")
    }

    fn works_on_the_host(&self) -> Option<&'static str> {
        matches!(self.pool, PoolKind::Tensor(_)).then_some("the pooling head works on the host, anew at each step")
    }

    fn projection_rank(&self, target: Target) -> usize {
        let AttentionConfig { d_model, n_heads, n_kv_heads, d_head, .. } = self.attention();
        let heads = match target {
            Target::Query | Target::Output => n_heads,
            Target::Key | Target::Value => n_kv_heads,
        };
        d_model.min(heads * d_head)
    }

    fn kernel(&self) -> Option<&KernelKind> {
        Some(&self.kernel)
    }

    fn function(&self) -> ModelConfig {
        Self { kernel: self.kernel.spec().function(), ..self.clone() }.into()
    }

    fn rules(&self) -> Vec<Rule> {
        let free: &[Rule] = if self.d_head.or(self.n_kv_heads).is_some() { FREE_HEADS } else { &[] };
        let pooled: &[Rule] = if self.pool.is_default() { &[] } else { POOLED };
        let tied: &[Rule] = if self.tie_embedding { TIED } else { &[] };
        [self.kernel.spec().rules(), self.position.spec().rules(), PARTS, NUMBERS, free, pooled, tied, RULES].concat()
    }

    fn head(&self) -> Vec<String> {
        vec![if self.tie_embedding { "embed.weight" } else { "head.*" }.to_owned()]
    }

    fn rows_by_position(&self) -> &'static [&'static str] {
        &["position.weight"]
    }

    fn examples(&self, _dims: &IoDims, scale: usize) -> Vec<ModelConfig> {
        let attention_only = Self { d_model: 3 * 5 * scale, n_heads: 3, ..Self::default() };
        let ffn = Self {
            causal: false,
            state_mixer: StateMixer::Ffn { d_ffn: 19 * scale, activation: Activation::GeluTanh },
            ..attention_only.clone()
        };
        let bare =
            Self { norm: Norm::None, residual: false, position: PositionKind::Sinusoidal, ..attention_only.clone() };
        let free = Self { d_head: Some(4 * scale), n_heads: 6, n_kv_heads: Some(2), ..attention_only.clone() };
        // Position schemes that act inside attention, and kernels that are not softmax.
        let inside = |position: &PositionKind| position.has(Hand::Rotation) || position.has(Hand::Bias);
        let positions = PositionKind::examples().into_iter().filter(inside);
        let positions = positions.map(|position| Self { position, ..free.clone() });
        let is_other = |kernel: &KernelKind| kernel.spec().function() != KernelKind::default();
        let kernels = KernelKind::examples().into_iter().filter(is_other);
        let kernels = kernels.map(|kernel| Self { kernel, ..attention_only.clone() });
        // Heads of their own, which a GPU computes packed where nothing but a mask stands in between.
        let normed = Self { qk_norm: QkNorm::Rms, ..attention_only.clone() };
        let gated = Self { gate: Gate::Sigmoid, ..attention_only.clone() };
        // The block of arXiv 2607.18363 with its feed-forward network, and each other way of a part.
        let norms = Self {
            norm: Norm::Sandwich,
            norm_kind: NormKind::ZeroCentredRms,
            qk_norm: QkNorm::ZeroCentredRms,
            residual_gate: true,
            head_temperature: true,
            state_mixer: StateMixer::Ffn { d_ffn: 19 * scale, activation: Activation::Swiglu },
            ..free.clone()
        };
        let rms = Self { norm_kind: NormKind::Rms, norm_epsilon: Some(1e-5), ..attention_only.clone() };
        let sandwich = Self { norm: Norm::Sandwich, n_layers: 3, ..ffn.clone() };
        let values = |value_residual| Self { value_residual, n_layers: 3, ..free.clone() };
        let [halved, learned] = [ValueResidual::Identity, ValueResidual::Learned].map(values);
        // A table of tokens is a head for as many outputs.
        let tied = Self { tie_embedding: true, norm_kind: NormKind::Rms, ..attention_only.clone() };
        let unbiased = Self {
            bias: false,
            initialization: Initialization::Gpt2,
            state_mixer: StateMixer::Ffn { d_ffn: 19 * scale, activation: Activation::Swiglu },
            ..free.clone()
        };
        let weighted = Self { token_weight: TokenWeight::Tfill, ..free.clone() };
        let aware =
            Self { token_weight: TokenWeight::Tfill, attention_aware: 5, causal: false, ..attention_only.clone() };
        let pooled = |pool| Self { pool, causal: false, ..attention_only.clone() };
        let tensor = TensorPoolConfig { features: 4 * scale, time: scale, ..TensorPoolConfig::default() };
        // Powers near 1: the slope of another near 0 magnifies rounding by up to 100, twice here.
        let cubic = TensorPoolConfig { order: 3, gamma: 0.9, power: 0.9, ..tensor.clone() };
        let pools = [PoolKind::Mean, PoolKind::Tensor(tensor), PoolKind::Tensor(cubic)].map(pooled);
        let parts = [norms, rms, sandwich, halved, learned, tied, unbiased];
        let all = [attention_only.clone(), ffn, bare, free.clone(), normed, gated, weighted, aware]
            .into_iter()
            .chain(parts)
            .chain(positions)
            .chain(kernels)
            .chain(pools);
        all.map(ModelConfig::from).collect()
    }
}
