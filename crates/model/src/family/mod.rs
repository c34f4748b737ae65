//! Model families: one folder each, and one row in the list below.
//!
//! A folder holds a config, a network, which is a [`Network`], and above both the config as a [`Family`]. Nothing outside of it knows
//! it by name.

mod attention_stack;
mod paper_one_layer;
mod paper_set_keys;
mod paper_two_layer;
mod prompt;
mod transformer;

use burn::tensor::{Device, Tensor};
use rand::Rng;

use crate::{
    attention::{
        place::{AttentionPlace, Target},
        precision::Precision,
    },
    budget::{Budget, Count},
    config::{ConfigError, InputDims, IoDims},
    embed::Input,
    init::Initializer,
    parameters::{Key, Keys, Rule, keys_of},
    plain::{NoPlainForm, Parameters},
    registry::open_list,
    trace::{LayerTrace, Recorder, Replacement, Trace},
};

pub use attention_stack::{AttentionStack, AttentionStackConfig, Heads, StackLayer, StackMap, StackReadout};
pub use paper_one_layer::{PaperOneLayer, PaperOneLayerConfig, Readout};
pub use paper_set_keys::{PaperSetKeys, PaperSetKeysConfig};
pub use paper_two_layer::{PaperTwoLayer, PaperTwoLayerConfig};
pub use prompt::{Prompt, PromptPlace};
pub use transformer::{Block, Norm, Transformer, TransformerConfig};

/// What a network of a family can do, whatever its sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Takes tokens; every family takes vectors.
    Tokens,
    /// Takes sequences shorter than those that it was built for.
    ShorterSequences,
    /// Its queries and keys can be different rows.
    CrossAttention,
    /// Takes learned keys and values in front of those of the rows.
    Prefix,
    /// Takes learned rows in front of the sequence.
    Prompt,
    /// Has kernels that compute in half precision where asked to.
    AttentionPrecision,
}

/// Rows and widths of one attention layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerShape {
    /// Heads, of all sizes.
    pub n_heads: usize,
    /// Rows that attend.
    pub q_len: usize,
    /// Rows that are attended to.
    pub k_len: usize,
    /// Width of the hidden state that leaves the layer.
    pub width: usize,
}

/// What the rows of an attention layer stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerRows {
    /// Rows of the layer, of which the first attend.
    pub rows: usize,
    /// The first row that is attended to.
    pub first_key: usize,
    /// How many, from the first, come from what is before the layer; those behind them are learned.
    pub read: usize,
    /// Whether the first rows are the positions of the sequence.
    pub has_positions: bool,
}

/// Rows and widths inside a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Rows and width of what enters the first attention layer.
    pub embedded: [usize; 2],
    /// The attention layers, first to last.
    pub layers: Vec<LayerShape>,
    /// Numbers per position that come out; the first `d_out` of them are the prediction.
    pub width: usize,
}

/// A model family: a config, and all that others ask about the network that it stands for.
pub trait Family {
    /// Adds every size that makes no sense by itself or for the data. That tokens have a place is checked for all families.
    fn validate(&self, dims: &IoDims, problems: &mut Vec<ConfigError>);

    /// The network of a config of which [`ModelConfig::validate`] finds nothing wrong.
    fn build(&self, dims: &IoDims, init: &mut Initializer<'_>) -> Model;

    /// Adds parameters, operations and activation memory of one sequence.
    fn budget(&self, dims: &IoDims, count: &mut Count);

    /// What such networks can do.
    fn capabilities(&self) -> &'static [Capability];

    /// Rows and widths inside the network. The config must be valid.
    fn shape(&self, dims: &IoDims) -> Shape;

    /// What the rows of each attention layer stand for. The config must be valid.
    fn layer_rows(&self, dims: &IoDims) -> Vec<LayerRows> {
        let rows =
            |layer: LayerShape| LayerRows { rows: layer.q_len, first_key: 0, read: dims.seq_len, has_positions: true };
        self.shape(dims).layers.into_iter().map(rows).collect()
    }

    /// The layers in f64 on the host, from what [`Network::enters_plain`] to the state behind the last; what stands before and
    /// after them is left out.
    ///
    /// # Errors
    /// [`NoPlainForm`]: why there is none.
    fn plain(&self, parameters: &Parameters) -> Result<headway_plain::Network, NoPlainForm>;

    /// Heads of every layer alike; `None` for a family whose layers have their own.
    fn n_heads(&self) -> Option<usize>;

    /// Whether what comes out at one of several positions depends on what goes in at later ones, whatever the weights and with any
    /// adapter.
    fn sees_ahead(&self, seq_len: usize) -> bool;

    /// Key of the config that, set to true, hides later positions; `None` if there is none.
    fn causal_key(&self) -> Option<&'static str> {
        None
    }

    /// Largest rank that a projection of attention can have in any layer: the narrower of its two sides.
    fn projection_rank(&self, target: Target) -> usize;

    /// The config with everything at its default that changes how a function of the weights is computed, and not the function.
    fn function(&self) -> ModelConfig;

    /// Which keys the parameters follow.
    fn rules(&self) -> Vec<Rule>;

    /// Patterns for the parameters of the last map before the prediction.
    fn head(&self) -> Vec<String>;

    /// Parameters with one row per position, of which a longer or shorter sequence keeps what there is.
    fn rows_by_position(&self) -> &'static [&'static str] {
        &[]
    }

    /// Configs for the law tests: one for every variant that has other parameters or computes in another way. No two sizes of one are
    /// alike at scale 1, and all but the data's grow with the scale. Those that do not fit the data are left out by whoever asks.
    fn examples(&self, dims: &IoDims, scale: usize) -> Vec<ModelConfig>;
}

/// A built network.
pub trait Network {
    /// Predictions for a batch, told to the recorder on the way.
    ///
    /// # Shapes
    /// continuous `[batch, seq_len, d_in]` or tokens `[batch, seq_len]` -> `[batch, seq_len, width]`
    fn run(&self, input: Input, recorder: &mut Recorder<'_>) -> Tensor<3>;

    /// From the hidden state behind an attention layer to the prediction.
    ///
    /// # Shapes
    /// `[batch, rows, width]` of the state behind the last layer -> as [`Network::run`]
    fn read_out(&self, hidden: Tensor<3>) -> Tensor<3>;

    /// Whether [`Network::read_out`] takes the prediction at a position from that position's row alone.
    fn reads_row_by_row(&self) -> bool {
        true
    }

    /// What enters the first layer of [`Family::plain`].
    ///
    /// # Shapes
    /// as [`Network::run`] -> `[batch, rows, width]`
    fn enters_plain(&self, input: Input) -> Tensor<3> {
        self.forward_traced(input).embedded
    }

    /// Every attention layer, or group of heads where a layer has several, in the network's order.
    fn attentions(&mut self) -> Vec<AttentionPlace<'_>>;

    /// Learned rows in front of the sequence, if there are any.
    fn prompt(&self) -> Option<&Prompt> {
        None
    }

    /// Where learned rows in front of the sequence go, if they have a place.
    fn prompt_place(&mut self) -> Option<PromptPlace<'_>> {
        None
    }

    /// Predictions for a batch.
    ///
    /// # Shapes
    /// as [`Network::run`]
    ///
    /// # Panics
    /// When the kind of input is not the one that the network was built for.
    fn forward(&self, input: Input) -> Tensor<3> {
        self.run(input, &mut Recorder::default())
    }

    /// The same output together with hidden states and patterns of every layer.
    fn forward_traced(&self, input: Input) -> Trace {
        let mut recorder = Recorder::on();
        let output = self.run(input, &mut recorder);
        recorder.finish(output)
    }
}

open_list! {
    /// A model by its name in a config file (`[model.transformer]`).
    #[derive(Clone, Debug, PartialEq)]
    config ModelConfig: Family, family, MODELS;
    /// A built model.
    #[allow(clippy::large_enum_variant, reason = "a program holds a handful of models, never a list of them")]
    built Model: Network, network, network_mut;
    "paper_one_layer" = PaperOneLayer(PaperOneLayerConfig) => PaperOneLayer, "the paper's single attention layer: linear map, interpolation tokens, softmax attention";
    "paper_two_layer" = PaperTwoLayer(PaperTwoLayerConfig) => PaperTwoLayer, "the paper's two attention layers with an affine map between them and a linear readout";
    "paper_set_keys" = PaperSetKeys(PaperSetKeysConfig) => PaperSetKeys, "the model of the paper's attention maps: one head with set interpolation points in keys and values";
    "attention_stack" = AttentionStack(AttentionStackConfig) => AttentionStack, "attention layers of any sizes, each after its own affine map: the form of the theorems";
    "transformer" = Transformer(TransformerConfig) => Transformer, "a stack of blocks: attention-only, or with a feed-forward network by one field";
}

impl ModelConfig {
    /// [`Family::examples`] of every entry that have a place for such data.
    pub fn examples(dims: &IoDims, scale: usize) -> Vec<Self> {
        let mut all: Vec<Self> =
            Self::defaults().iter().flat_map(|config| config.family().examples(dims, scale)).collect();
        all.retain(|config| config.validate(dims).is_empty());
        all
    }

    /// Checks every size against the data, reporting all problems at once.
    pub fn validate(&self, dims: &IoDims) -> Vec<ConfigError> {
        let mut problems = Vec::new();
        if matches!(dims.input, InputDims::Tokens { .. }) && !self.can(Capability::Tokens) {
            problems.push(ConfigError::new("", "takes vectors, this task gives tokens; use [model.transformer]"));
        }
        self.family().validate(dims, &mut problems);
        problems
    }

    /// Whether networks of this family can do that.
    pub fn can(&self, capability: Capability) -> bool {
        self.family().capabilities().contains(&capability)
    }

    /// Parameters, operations and activation memory, from the sizes alone.
    pub fn budget(&self, dims: &IoDims) -> Budget {
        let mut count = Count::default();
        self.family().budget(dims, &mut count);
        count.finish()
    }

    /// Rows and widths inside the network. The config must be valid.
    pub fn shape(&self, dims: &IoDims) -> Shape {
        self.family().shape(dims)
    }

    /// Heads of every layer alike; `None` for a model whose layers have their own.
    pub fn n_heads(&self) -> Option<usize> {
        self.family().n_heads()
    }

    /// The config with everything at its default that changes how the same function of the same weights is computed, and not the function:
    /// the kernel. Two configs whose weights fit each other differ in this where they compute different things.
    pub fn function(&self) -> Self {
        self.family().function()
    }

    /// Whether what comes out at one position depends on what goes in at later ones, whatever the weights and with any adapter.
    pub fn sees_ahead(&self, dims: &IoDims) -> bool {
        // There is nothing ahead of a single position.
        dims.seq_len > 1 && self.family().sees_ahead(dims.seq_len)
    }

    /// Whether a mask hides later positions.
    pub fn is_causal(&self, dims: &IoDims) -> bool {
        self.family().causal_key().is_some() && !self.family().sees_ahead(dims.seq_len)
    }

    /// Whether the model takes sequences shorter than it was built for.
    pub fn takes_shorter_sequences(&self) -> bool {
        self.can(Capability::ShorterSequences)
    }

    /// Whether [`Model::with_attention_precision`] changes anything.
    pub fn takes_attention_precision(&self) -> bool {
        self.can(Capability::AttentionPrecision)
    }

    /// What a parameter follows; `None` for a name that is no parameter of such a model.
    pub fn keys_of(&self, parameter: &str) -> Option<Keys> {
        keys_of(&self.family().rules(), parameter)
    }

    /// Sizes of the network that the task decides.
    pub fn task_sizes(&self) -> Vec<Key> {
        let rules = self.family().rules();
        let follows = |key: &Key| rules.iter().any(|(_, shape, _)| shape.contains(key));
        [Key::Inputs, Key::Length, Key::Outputs].into_iter().filter(follows).collect()
    }

    /// Patterns for the parameters of the last map before the prediction.
    pub fn head(&self) -> Vec<String> {
        self.family().head()
    }

    /// Parameters with one row per position, of which a longer or shorter sequence keeps what there is.
    pub fn rows_by_position(&self) -> &'static [&'static str] {
        self.family().rows_by_position()
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
    pub fn uninitialized(&self, dims: &IoDims, device: &Device) -> Result<Model, ConfigError> {
        self.build(dims, &mut Initializer::uninitialized(device))
    }

    fn build(&self, dims: &IoDims, init: &mut Initializer<'_>) -> Result<Model, ConfigError> {
        match self.validate(dims).into_iter().next() {
            Some(problem) => Err(problem),
            None => Ok(self.family().build(dims, init)),
        }
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
        self.network().forward(input)
    }

    /// [`Model::forward`] together with hidden states and patterns of every layer.
    pub fn forward_traced(&self, input: Input) -> Trace {
        self.network().forward_traced(input)
    }

    /// [`Model::forward_traced`] of the sequence's own rows: those of a learned prompt in front of it are left out as states and as queries,
    /// and stay as keys.
    pub fn forward_traced_without_prompt(&self, input: Input) -> Trace {
        let trace = self.forward_traced(input);
        let Some(prompt) = self.network().prompt() else { return trace };
        let length = prompt.rows.lazy_shape()[0];
        let state = |x: Tensor<3>| {
            let rows = x.dims()[1];
            x.narrow(1, length, rows - length)
        };
        let layer = |layer: LayerTrace| {
            let rows = layer.pattern.dims()[2];
            LayerTrace {
                pattern: layer.pattern.narrow(2, length, rows - length),
                hidden: state(layer.hidden),
                mixtures: layer.mixtures.into_iter().map(|mixture| mixture.narrow(2, length, rows - length)).collect(),
            }
        };
        Trace {
            output: trace.output,
            embedded: state(trace.embedded),
            layers: trace.layers.into_iter().map(layer).collect(),
        }
    }

    /// [`Model::forward`] with constants in the place of what some heads mix; those that name no head of the model change nothing.
    ///
    /// # Shapes
    /// as [`Model::forward`]
    ///
    /// # Panics
    /// When a constant is not as wide as its head's values.
    pub fn forward_replacing(&self, input: Input, replacements: &[Replacement]) -> Tensor<3> {
        self.network().run(input, &mut Recorder::replacing(replacements))
    }

    /// What the model makes of a hidden state behind its last layer, where [`Model::forward`] ends: last norm and head, channels, or
    /// the stack's readout. A state behind an earlier layer is read in the same way.
    ///
    /// # Shapes
    /// `[batch, rows, width]` of the state behind the last layer -> as [`Model::forward`]
    ///
    /// # Panics
    /// When rows or width are others than behind the last layer.
    pub fn read_out(&self, hidden: Tensor<3>) -> Tensor<3> {
        self.network().read_out(hidden)
    }

    /// Whether [`Model::read_out`] takes the prediction at a position from that position's row alone.
    pub fn reads_row_by_row(&self) -> bool {
        self.network().reads_row_by_row()
    }

    /// The same model with another precision inside attention; nothing changes where no kernel can round.
    pub fn with_attention_precision(mut self, precision: Precision) -> Self {
        self.network_mut().attentions().into_iter().for_each(|attention| *attention.precision = precision);
        self
    }
}
