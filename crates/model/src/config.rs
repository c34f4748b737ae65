//! From a plain config and the sizes of the data to a model.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use rand::Rng;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    adapter::Target,
    attention::{kernel::KernelKind, precision::Precision},
    attention_stack::{AttentionStack, AttentionStackConfig},
    embed::Input,
    ffn::StateMixer,
    init::Initializer,
    paper::{PaperOneLayer, PaperOneLayerConfig, PaperTwoLayer, PaperTwoLayerConfig, Readout},
    paper_set_keys::{PaperSetKeys, PaperSetKeysConfig},
    transformer::{Transformer, TransformerConfig},
};

/// What one position of the input is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum InputDims {
    /// A vector of `d_in` numbers.
    Continuous {
        /// Width of the vector.
        d_in: usize,
    },
    /// A token id below `vocab`.
    Tokens {
        /// Vocabulary size.
        vocab: usize,
    },
}

/// The sizes that a task dictates to a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IoDims {
    /// Longest sequence.
    pub seq_len: usize,
    /// What a position holds.
    pub input: InputDims,
    /// Numbers predicted per position; for tokens the logits.
    pub d_out: usize,
}

impl IoDims {
    /// Sequences of vectors.
    pub fn continuous(seq_len: usize, d_in: usize, d_out: usize) -> Self {
        Self { seq_len, input: InputDims::Continuous { d_in }, d_out }
    }

    /// Sequences of tokens, predicting logits over the same vocabulary.
    pub fn tokens(seq_len: usize, vocab: usize) -> Self {
        Self { seq_len, input: InputDims::Tokens { vocab }, d_out: vocab }
    }
}

/// A model that cannot be built, with the key to change.
#[derive(Clone, Debug, PartialEq, Error)]
#[error("{}{}{problem}", .key, if .key.is_empty() { "" } else { ": " })]
pub struct ConfigError {
    /// Key below the model's own table, for example `n_heads`.
    pub key: &'static str,
    /// What is wrong and what would be right.
    pub problem: String,
}

impl ConfigError {
    pub(crate) fn new(key: &'static str, problem: impl Into<String>) -> Self {
        Self { key, problem: problem.into() }
    }
}

/// Declares the list of models once: config names, the built model, dispatch and `headway list models` all come from it.
macro_rules! models {
    ($($name:literal = $variant:ident($config:ident), $summary:literal;)+) => {
        /// A model by its name in a config file (`[model.transformer]`).
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub enum ModelConfig {
            $(#[doc = $summary] #[serde(rename = $name)] $variant($config),)+
        }

        /// Every model's name with one line about it.
        pub const MODELS: &[(&str, &str)] = &[$(($name, $summary),)+];

        /// A built model.
        #[derive(Module, Debug)]
        #[allow(clippy::large_enum_variant, reason = "a program holds a handful of models, never a list of them")]
        pub enum Model {
            $(#[doc = $summary] $variant($variant),)+
        }

        impl ModelConfig {
            /// Name in a config file.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $name,)+ }
            }
        }
    };
}

models! {
    "paper_one_layer" = PaperOneLayer(PaperOneLayerConfig), "the paper's single attention layer: linear map, interpolation tokens, softmax attention";
    "paper_two_layer" = PaperTwoLayer(PaperTwoLayerConfig), "the paper's two attention layers with an affine map between them and a linear readout";
    "paper_set_keys" = PaperSetKeys(PaperSetKeysConfig), "the model of the paper's attention maps: one head with set interpolation points in keys and values";
    "attention_stack" = AttentionStack(AttentionStackConfig), "attention layers of any sizes, each after its own affine map: the form of the theorems";
    "transformer" = Transformer(TransformerConfig), "a stack of blocks: attention-only, or with a feed-forward network by one field";
}

/// Widths beyond this are a slip of the keyboard: one weight matrix would need terabytes.
pub(crate) const LARGEST_WIDTH: usize = 1 << 20;
/// As is a stack deeper than this.
pub(crate) const MOST_LAYERS: usize = 2_000;

impl ModelConfig {
    /// Checks every size against the data, reporting all problems at once.
    pub fn validate(&self, dims: &IoDims) -> Vec<ConfigError> {
        let mut problems = Vec::new();
        let d_model = match self {
            Self::AttentionStack(config) => {
                expect_vectors(dims, &mut problems);
                config.validate(dims, &mut problems);
                return problems;
            }
            Self::PaperOneLayer(config) => shared_width(config.d_model, config.n_heads, &mut problems),
            Self::PaperTwoLayer(config) => shared_width(config.d_model, config.n_heads, &mut problems),
            Self::PaperSetKeys(config) => shared_width(config.d_model, 1, &mut problems),
            Self::Transformer(config) => shared_width(config.d_model, config.n_heads, &mut problems),
        };
        match self {
            Self::AttentionStack(_) => {}
            Self::PaperOneLayer(config) => {
                expect_vectors(dims, &mut problems);
                countable_anchors(config.n_anchors, &mut problems);
                match config.readout {
                    Readout::Softmax if dims.d_out != 1 => {
                        let problem =
                            format!("the softmax readout gives one number per position, the task wants {}", dims.d_out);
                        problems.push(ConfigError::new("readout", problem));
                    }
                    Readout::Channels if d_model < dims.d_out => {
                        let problem = format!("{d_model} channels cannot hold the task's {} outputs", dims.d_out);
                        problems.push(ConfigError::new("d_model", problem));
                    }
                    _ => {}
                }
            }
            Self::PaperTwoLayer(config) => {
                expect_vectors(dims, &mut problems);
                countable_anchors(config.n_anchors, &mut problems);
            }
            Self::PaperSetKeys(config) => {
                expect_vectors(dims, &mut problems);
                countable_anchors(config.n_anchors, &mut problems);
                if d_model < dims.d_out.max(2) {
                    let problem = format!("{d_model} channels are too few; give {} or more", dims.d_out.max(2));
                    problems.push(ConfigError::new("d_model", problem));
                }
                for (key, value) in config.numbers() {
                    if !value.is_finite() {
                        problems.push(ConfigError::new(key, "must be finite"));
                    }
                }
                // Points and scores are computed in single precision.
                let [low, high] = [config.low, config.high].map(|end| end as f32);
                if low >= high && low.is_finite() && high.is_finite() {
                    let problem = format!("{} must be below high = {}", config.low, config.high);
                    problems.push(ConfigError::new("low", problem));
                }
                if config.inverse_temperature.is_finite() && config.inverse_temperature <= 0.0 {
                    problems.push(ConfigError::new("inverse_temperature", "must be above 0"));
                }
            }
            Self::Transformer(config) => {
                if !(1..=MOST_LAYERS).contains(&config.n_layers) {
                    problems.push(ConfigError::new("n_layers", format!("must be from 1 to {MOST_LAYERS}")));
                }
                if let StateMixer::Ffn { d_ffn, .. } = config.state_mixer
                    && !(1..=LARGEST_WIDTH).contains(&d_ffn)
                {
                    let problem = format!("must be at least 1 and at most {LARGEST_WIDTH}");
                    problems.push(ConfigError::new("state_mixer.ffn.d_ffn", problem));
                }
            }
        }
        problems
    }

    /// Heads of every layer alike; nothing for a model whose layers have their own.
    pub fn n_heads(&self) -> Option<usize> {
        match self {
            Self::PaperOneLayer(config) => Some(config.n_heads),
            Self::PaperTwoLayer(config) => Some(config.n_heads),
            Self::PaperSetKeys(_) => Some(1),
            Self::AttentionStack(_) => None,
            Self::Transformer(config) => Some(config.n_heads),
        }
    }

    /// The config with everything at its default that changes how the same function of the same weights is computed, and not the function:
    /// the kernel. Two configs whose weights fit each other differ in this where they compute different things.
    pub fn function(&self) -> Self {
        let mut config = self.clone();
        match &mut config {
            Self::PaperOneLayer(config) => config.kernel = KernelKind::default(),
            Self::PaperTwoLayer(config) => config.kernel = KernelKind::default(),
            Self::PaperSetKeys(_) => {}
            Self::AttentionStack(config) => config.kernel = KernelKind::default(),
            Self::Transformer(config) => config.kernel = KernelKind::default(),
        }
        config
    }

    /// Largest rank that a projection of attention can have in any layer: the narrower of its two sides.
    pub(crate) fn projection_rank(&self, target: Target) -> usize {
        match self {
            Self::PaperOneLayer(config) => config.d_model,
            Self::PaperTwoLayer(config) => config.d_model,
            Self::PaperSetKeys(config) => config.d_model,
            Self::AttentionStack(config) => config.projection_rank(target),
            Self::Transformer(config) => config.d_model,
        }
    }

    /// Whether what comes out at one position depends on what goes in at later ones, whatever the weights and with any adapter.
    pub fn sees_ahead(&self, dims: &IoDims) -> bool {
        // There is nothing ahead of a single position.
        dims.seq_len > 1
            && match self {
                Self::PaperOneLayer(_) | Self::PaperTwoLayer(_) | Self::PaperSetKeys(_) => true,
                Self::AttentionStack(config) => config.sees_ahead(dims.seq_len),
                Self::Transformer(config) => !config.causal,
            }
    }

    /// Whether the model takes sequences shorter than it was built for.
    pub fn takes_shorter_sequences(&self) -> bool {
        matches!(self, Self::Transformer(_))
    }

    /// Whether [`Model::with_attention_precision`] changes anything.
    pub fn takes_attention_precision(&self) -> bool {
        !matches!(self, Self::PaperSetKeys(_))
    }

    /// Builds the model with fresh weights drawn from `rng` on the host, so that every device starts alike.
    ///
    /// # Errors
    /// The first problem that [`ModelConfig::validate`] finds.
    pub fn init(&self, dims: &IoDims, rng: &mut dyn Rng, device: &Device) -> Result<Model, ConfigError> {
        self.build(dims, &mut Initializer::new(rng, device))
    }

    /// The model without weights, for those of a file: names and shapes are there, memory is taken when values are.
    ///
    /// # Errors
    /// as [`ModelConfig::init`]
    pub fn hollow(&self, dims: &IoDims, device: &Device) -> Result<Model, ConfigError> {
        self.build(dims, &mut Initializer::hollow(device))
    }

    fn build(&self, dims: &IoDims, init: &mut Initializer<'_>) -> Result<Model, ConfigError> {
        if let Some(problem) = self.validate(dims).into_iter().next() {
            return Err(problem);
        }
        Ok(match (self, &dims.input) {
            (Self::PaperOneLayer(config), InputDims::Continuous { d_in }) => {
                Model::PaperOneLayer(config.init(dims, *d_in, init))
            }
            (Self::PaperTwoLayer(config), InputDims::Continuous { d_in }) => {
                Model::PaperTwoLayer(config.init(dims, *d_in, init))
            }
            (Self::PaperSetKeys(config), InputDims::Continuous { d_in }) => {
                Model::PaperSetKeys(config.init(dims, *d_in, init))
            }
            (Self::AttentionStack(config), InputDims::Continuous { d_in }) => {
                Model::AttentionStack(config.init(dims, *d_in, init))
            }
            (Self::Transformer(config), _) => Model::Transformer(config.init(dims, init)),
            (_, InputDims::Tokens { .. }) => unreachable!("validate refuses tokens for models of vectors"),
        })
    }
}

impl Model {
    /// Predictions for a batch.
    ///
    /// # Shapes
    /// continuous `[batch, seq_len, d_in]` or tokens `[batch, seq_len]` -> `[batch, seq_len, d_out]`;
    /// the paper's one-layer models return all their `d_model` channels, of which the first `d_out` are the prediction
    ///
    /// # Panics
    /// When the kind of input is not the one the model was built for.
    pub fn forward(&self, input: Input) -> Tensor<3> {
        match self {
            Self::PaperOneLayer(model) => model.forward(vectors(input)),
            Self::PaperTwoLayer(model) => model.forward(vectors(input)),
            Self::PaperSetKeys(model) => model.forward(vectors(input)),
            Self::AttentionStack(model) => model.forward(vectors(input)),
            Self::Transformer(model) => model.forward(input),
        }
    }

    /// The same model with another precision inside attention.
    pub fn with_attention_precision(mut self, precision: Precision) -> Self {
        match &mut self {
            Self::PaperOneLayer(model) => model.attention.precision = precision,
            Self::PaperTwoLayer(model) => {
                model.attention_1.precision = precision;
                model.attention_2.precision = precision;
            }
            // It has no kernel that could round.
            Self::PaperSetKeys(_) => {}
            Self::AttentionStack(model) => {
                let heads = model.layers.iter_mut().flat_map(|layer| &mut layer.heads);
                heads.for_each(|heads| heads.precision = precision);
            }
            Self::Transformer(model) => {
                model.blocks.iter_mut().for_each(|block| block.attention.precision = precision);
            }
        }
        self
    }
}

/// Checks a hidden width that heads divide among themselves; returns it.
fn shared_width(d_model: usize, n_heads: usize, problems: &mut Vec<ConfigError>) -> usize {
    for (key, value) in [("d_model", d_model), ("n_heads", n_heads)] {
        if value == 0 {
            problems.push(ConfigError::new(key, "must be at least 1"));
        }
        if value > LARGEST_WIDTH {
            problems.push(ConfigError::new(key, format!("must be at most {LARGEST_WIDTH}")));
        }
    }
    if n_heads > 0 && d_model <= LARGEST_WIDTH && !d_model.is_multiple_of(n_heads) {
        let fits: Vec<_> = (1..=d_model).filter(|h| d_model.is_multiple_of(*h)).map(|h| h.to_string()).collect();
        let problem = format!("{n_heads} heads do not divide d_model = {d_model}; these do: {}", fits.join(", "));
        problems.push(ConfigError::new("n_heads", problem));
    }
    d_model
}

fn countable_anchors(n_anchors: usize, problems: &mut Vec<ConfigError>) {
    if n_anchors > LARGEST_WIDTH {
        problems.push(ConfigError::new("n_anchors", format!("must be at most {LARGEST_WIDTH}")));
    }
}

fn expect_vectors(dims: &IoDims, problems: &mut Vec<ConfigError>) {
    if let InputDims::Tokens { .. } = dims.input {
        problems.push(ConfigError::new("", "takes vectors, this task gives tokens; use [model.transformer]"));
    }
}

pub(crate) fn vectors(input: Input) -> Tensor<3> {
    match input {
        Input::Continuous(x) => x,
        Input::Tokens(_) => panic!("this model takes vectors, not tokens"),
    }
}
