//! Model families: one folder each, and one row in the list below.
//!
//! A folder contains a config, a network, which is a [`Network`], its layers as plain matrices, and in its `mod.rs` the
//! config as a [`Family`]. Outside the folder, this crate names the family only here and in what `lib.rs` exports.

mod attention_stack;
mod csformer;
mod paper_one_layer;
mod paper_set_keys;
mod paper_two_layer;
mod prompt;
mod transformer;

use burn::tensor::{Device, Int, Tensor};
use rand::Rng;

use crate::{
    attention::trace::{Kept, LayerTrace, Recorder, Replacement, Trace, last_rows, picked_rows},
    attention::{
        kernel::{AttentionKernel, Draw, KernelKind, Redraw},
        place::{AttentionPlace, Target},
    },
    budget::{Budget, Count},
    config::{ConfigError, InputDims, IoDims},
    embed::Input,
    init::Initializer,
    parameters::{Key, Keys, Rule, keys_of},
    plain::{NoPlainForm, Parameters},
    registry::open_list,
    weights::{Array, load_partial, shapes},
};

pub use attention_stack::{AttentionStack, AttentionStackConfig, Heads, StackLayer, StackMap, StackReadout};
pub use csformer::{Csformer, CsformerBlock, CsformerConfig, Stage};
pub use paper_one_layer::{PaperOneLayer, PaperOneLayerConfig, Readout};
pub use paper_set_keys::{PaperSetKeys, PaperSetKeysConfig};
pub use paper_two_layer::{PaperTwoLayer, PaperTwoLayerConfig};
pub use prompt::{Prompt, PromptPlace};
pub use transformer::{Block, Norm, Transformer, TransformerConfig};

/// Something that the networks of a family can do, whatever their sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Take tokens; every family takes vectors.
    Tokens,
    /// Take sequences shorter than those they were built for.
    ShorterSequences,
    /// Have different rows as queries and as keys.
    CrossAttention,
    /// Take learned keys and values before those of the rows.
    Prefix,
    /// Take learned rows before the sequence.
    Prompt,
    /// Compute attention in another precision than f32 on request.
    AttentionPrecision,
}

/// Numbers of rows and widths of one attention layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerShape {
    /// Number of heads, of all sizes together.
    pub n_heads: usize,
    /// Number of queries.
    pub q_len: usize,
    /// Number of keys.
    pub k_len: usize,
    /// Shape `[rows, width]` of the hidden state after the layer. Rows are its queries, unless lines of a table attend
    /// apart: then rows are the same behind every layer.
    pub state: [usize; 2],
}

/// What the rows of an attention layer are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerRows {
    /// Number of rows of the layer; the first of them are the queries.
    pub rows: usize,
    /// Index of the first row that is a key.
    pub first_key: usize,
    /// Number of rows, from the first, that come from the layer's input; the rows after them are learned.
    pub read: usize,
    /// Whether the first rows are the positions of the sequence.
    pub has_positions: bool,
}

/// Numbers of rows and widths inside a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Shape `[rows, width]` of the state before the first attention layer.
    pub embedded: [usize; 2],
    /// The attention layers, first to last.
    pub layers: Vec<LayerShape>,
    /// Number of outputs per position, the first `d_out` of which are the prediction.
    pub width: usize,
}

/// A model family: a config, and the properties of its networks for other modules.
pub trait Family {
    /// Adds every problem of the sizes, by themselves or with the data. Whether tokens are supported is checked for all
    /// families together.
    fn validate(&self, dims: &IoDims, problems: &mut Vec<ConfigError>);

    /// Builds the network of a config for which [`ModelConfig::validate`] finds no problem.
    fn build(&self, dims: &IoDims, init: &mut Initializer<'_>) -> Model;

    /// Adds parameters, operations and activation memory of one sequence.
    fn budget(&self, dims: &IoDims, count: &mut Count);

    /// What its networks can do.
    fn capabilities(&self) -> &'static [Capability];

    /// Numbers of rows and widths inside the network. The config must be valid.
    fn shape(&self, dims: &IoDims) -> Shape;

    /// What the rows of each attention layer are. The config must be valid.
    fn layer_rows(&self, dims: &IoDims) -> Vec<LayerRows> {
        let rows =
            |layer: LayerShape| LayerRows { rows: layer.q_len, first_key: 0, read: dims.seq_len, has_positions: true };
        self.shape(dims).layers.into_iter().map(rows).collect()
    }

    /// The layers in f64 on the host, from the state given by [`Network::enters_plain`] to the state after the last layer;
    /// what comes before and after them is left out.
    ///
    /// # Errors
    /// [`NoPlainForm`] if the network has no plain form, with the reason.
    fn plain(&self, parameters: &Parameters) -> Result<headway_plain::network::Network, NoPlainForm>;

    /// The whole network in f64 on the host, from the numbers of a sequence to the prediction; a token is a vector with a single 1.
    ///
    /// # Errors
    /// [`NoPlainForm`] if the network has no such form, with the reason.
    fn plain_function(
        &self,
        _parameters: &Parameters,
        _dims: &IoDims,
    ) -> Result<headway_plain::function::Function, NoPlainForm> {
        Err(NoPlainForm::Other("networks that are plain from input to answer; this family is not among them"))
    }

    /// Number of heads in every layer; `None` if layers differ.
    fn n_heads(&self) -> Option<usize>;

    /// Whether, with more than one position, the output at some position depends on the input at later ones, for any
    /// weights and any adapter.
    fn sees_ahead(&self, seq_len: usize) -> bool;

    /// Whether a network can read on from the keys and values of the positions that it has read: these do not change with
    /// what follows, and attention needs nothing else of those positions. It then tells them to the [`Recorder`] layer by
    /// layer.
    fn reads_on(&self) -> bool {
        false
    }

    /// Key of the config that hides later positions if it is true; `None` if there is none.
    fn causal_key(&self) -> Option<&'static str> {
        None
    }

    /// Key of the config by which the prediction is one for the whole sequence, the same at every position: empty if that
    /// is so for any config, `None` if positions have predictions of their own.
    fn one_answer_key(&self) -> Option<&'static str> {
        None
    }

    /// Why a pass does something on the host between operations on the device, so that it cannot be captured, in words;
    /// `None` if it does nothing there.
    fn works_on_the_host(&self) -> Option<&'static str> {
        None
    }

    /// The kernel of its attention layers, if the config chooses one.
    fn kernel(&self) -> Option<&KernelKind> {
        None
    }

    /// Largest rank that a projection of attention can have in any layer: the smaller of its two widths.
    fn projection_rank(&self, target: Target) -> usize;

    /// The config with those settings at their defaults that change only how a function of the weights is computed, and
    /// not the function.
    fn function(&self) -> ModelConfig;

    /// Rules that say which config keys determine each parameter.
    fn rules(&self) -> Vec<Rule>;

    /// Patterns for the parameters of the last map before the output.
    fn head(&self) -> Vec<String>;

    /// Parameters with one row per position, of which shorter and longer sequences keep the rows that both have.
    fn rows_by_position(&self) -> &'static [&'static str] {
        &[]
    }

    /// Configs for the law tests: one for each variant with other parameters or another computation. At scale 1 no two
    /// sizes of a config are equal; all sizes except those of the data grow with the scale. The caller drops examples
    /// that do not fit the data.
    fn examples(&self, dims: &IoDims, scale: usize) -> Vec<ModelConfig>;
}

/// A built network.
pub trait Network {
    /// Predictions for a batch, reported to the recorder on the way.
    ///
    /// # Shapes
    /// continuous `[batch, seq_len, d_in]` or tokens `[batch, seq_len]` -> `[batch, seq_len, width]`
    fn run(&self, input: Input, recorder: &mut Recorder<'_>) -> Tensor<3>;

    /// From the hidden state after an attention layer to the prediction.
    ///
    /// # Shapes
    /// state after the last layer `[batch, rows, width]` -> as [`Network::run`]
    fn read_out(&self, hidden: Tensor<3>) -> Tensor<3>;

    /// Whether [`Network::read_out`] computes the prediction at a position from that position's row alone.
    fn reads_row_by_row(&self) -> bool {
        true
    }

    /// The state before the first layer of [`Family::plain`].
    ///
    /// # Shapes
    /// Input as for [`Network::run`] -> `[batch, rows, width]`
    fn enters_plain(&self, input: Input) -> Tensor<3> {
        self.forward_traced(input).embedded
    }

    /// All attention layers, or groups of heads if a layer has several, in the network's order.
    fn attentions(&mut self) -> Vec<AttentionPlace<'_>>;

    /// Learned rows before the sequence, if there are any.
    fn prompt(&self) -> Option<&Prompt> {
        None
    }

    /// The place for learned rows before the sequence; `None` if the family cannot have them.
    fn prompt_place(&mut self) -> Option<PromptPlace<'_>> {
        None
    }

    /// Predictions for a batch.
    ///
    /// # Shapes
    /// as [`Network::run`]
    ///
    /// # Panics
    /// If the input is of another kind than the network was built for.
    fn forward(&self, input: Input) -> Tensor<3> {
        self.run(input, &mut Recorder::default())
    }

    /// The output together with hidden states and patterns of all layers.
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
    "csformer" = Csformer(CsformerConfig) => Csformer, "forecasts of several series: attention over channels and over time with the same weights";
}

impl ModelConfig {
    /// [`Family::examples`] of every entry, only those that accept such data.
    pub fn examples(dims: &IoDims, scale: usize) -> Vec<Self> {
        let mut all: Vec<Self> =
            Self::defaults().iter().flat_map(|config| config.family().examples(dims, scale)).collect();
        all.retain(|config| config.validate(dims).is_empty());
        all
    }

    /// Checks every size against the data and returns all problems.
    pub fn validate(&self, dims: &IoDims) -> Vec<ConfigError> {
        let mut problems = Vec::new();
        if matches!(dims.input, InputDims::Tokens { .. }) && !self.can(Capability::Tokens) {
            problems.push(ConfigError::new("", "takes vectors, this task gives tokens; use [model.transformer]"));
        }
        self.family().validate(dims, &mut problems);
        problems
    }

    /// Whether networks of this family have the capability.
    pub fn can(&self, capability: Capability) -> bool {
        self.family().capabilities().contains(&capability)
    }

    /// Parameters, operations and activation memory, computed from the sizes alone, of predictions at all positions.
    pub fn budget(&self, dims: &IoDims) -> Budget {
        self.counted(dims, Count::default())
    }

    /// [`ModelConfig::budget`] of predictions at `positions` of a sequence alone, on average: of [`Model::forward_last`] and
    /// [`Model::forward_picked`].
    pub fn budget_at(&self, dims: &IoDims, positions: f64) -> Budget {
        self.counted(dims, Count { read: Some(positions), ..Count::default() })
    }

    fn counted(&self, dims: &IoDims, mut count: Count) -> Budget {
        self.family().budget(dims, &mut count);
        count.finish()
    }

    /// Numbers of rows and widths inside the network. The config must be valid.
    pub fn shape(&self, dims: &IoDims) -> Shape {
        self.family().shape(dims)
    }

    /// Number of heads in every layer; `None` if layers differ.
    pub fn n_heads(&self) -> Option<usize> {
        self.family().n_heads()
    }

    /// The config with those settings at their defaults that change only how the same function of the same weights is
    /// computed: the kernel. If the weights of two configs fit each other, the configs compute different functions
    /// exactly if they differ in this.
    pub fn function(&self) -> Self {
        self.family().function()
    }

    /// Whether the output at some position depends on the input at later ones, for any weights and any adapter.
    pub fn sees_ahead(&self, dims: &IoDims) -> bool {
        // A single position has no later ones.
        dims.seq_len > 1 && self.family().sees_ahead(dims.seq_len)
    }

    /// Whether a mask hides later positions.
    pub fn is_causal(&self, dims: &IoDims) -> bool {
        self.family().causal_key().is_some() && !self.family().sees_ahead(dims.seq_len)
    }

    /// Whether such a model has [`Model::read_on`].
    pub fn reads_on(&self) -> bool {
        self.family().reads_on()
    }

    /// Whether the model takes sequences shorter than those it was built for.
    pub fn takes_shorter_sequences(&self) -> bool {
        self.can(Capability::ShorterSequences)
    }

    /// Why a pass does something on the host between operations on the device, in words; `None` if it does not.
    pub fn works_on_the_host(&self) -> Option<&'static str> {
        let redraws = self.redraw().map(|_| "directions of the kernel are drawn anew on the host");
        self.family().works_on_the_host().or(redraws)
    }

    /// How buffers of its kernels are drawn anew while training; `None` if they are drawn once.
    pub fn redraw(&self) -> Option<Redraw> {
        self.family().kernel()?.spec().redraw()
    }

    /// Whether attention takes another precision than f32, see [`Initializer::with_precision`].
    pub fn takes_attention_precision(&self) -> bool {
        self.can(Capability::AttentionPrecision)
    }

    /// Keys that determine a parameter; `None` if such a model has no parameter of this name.
    pub fn keys_of(&self, parameter: &str) -> Option<Keys> {
        keys_of(&self.family().rules(), parameter)
    }

    /// Sizes of the network that the task determines.
    pub fn task_sizes(&self) -> Vec<Key> {
        let rules = self.family().rules();
        let follows = |key: &Key| rules.iter().any(|(_, shape, _)| shape.contains(key));
        [Key::Inputs, Key::Length, Key::Outputs].into_iter().filter(follows).collect()
    }

    /// Patterns for the parameters of the last map before the output.
    pub fn head(&self) -> Vec<String> {
        self.family().head()
    }

    /// Parameters with one row per position, of which shorter and longer sequences keep the rows that both have.
    pub fn rows_by_position(&self) -> &'static [&'static str] {
        self.family().rows_by_position()
    }

    /// Builds the model with fresh weights drawn from `rng` on the host, so that they are the same on every device.
    ///
    /// # Errors
    /// The first problem that [`ModelConfig::validate`] finds.
    pub fn init(&self, dims: &IoDims, rng: &mut dyn Rng, device: &Device) -> Result<Model, ConfigError> {
        self.build(dims, &mut Initializer::new(rng, device))
    }

    /// Builds the model without weights, to be loaded from a file: names and shapes exist, but no memory is taken until
    /// values are set.
    ///
    /// # Errors
    /// as [`ModelConfig::init`]
    pub fn uninitialized(&self, dims: &IoDims, device: &Device) -> Result<Model, ConfigError> {
        self.build(dims, &mut Initializer::uninitialized(device))
    }

    /// Builds the model with an initializer.
    ///
    /// # Errors
    /// as [`ModelConfig::init`]
    pub fn build(&self, dims: &IoDims, init: &mut Initializer<'_>) -> Result<Model, ConfigError> {
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
    /// If the input is of another kind than the model was built for.
    pub fn forward(&self, input: Input) -> Tensor<3> {
        self.network().forward(input)
    }

    /// The kernels of its attention layers, or of groups of heads if a layer has several, in the network's order.
    pub fn kernels(&self) -> Vec<AttentionKernel> {
        let mut model = self.clone();
        model.network_mut().attentions().into_iter().map(|place| place.kernel.clone()).collect()
    }

    /// The patterns of every attention layer, each with that of another kernel on the same queries and keys: `kernels` are those of
    /// [`Model::kernels`] of a network that has others. A layer whose heads differ in size is one for each of them.
    ///
    /// # Shapes
    /// `[batch, n_heads, q_len, k_len]`
    ///
    /// # Panics
    /// as [`Model::forward`]
    pub fn patterns_beside(&self, input: Input, kernels: &[AttentionKernel]) -> Vec<[Tensor<4>; 2]> {
        let mut recorder = Recorder::comparing(kernels);
        self.network().run(input, &mut recorder);
        recorder.compared()
    }

    /// The model with other numbers in the buffers of its kernels, drawn layer by layer in the order of their names.
    #[must_use]
    pub fn with_redrawn_kernels(self, draw: &Draw, rng: &mut dyn Rng) -> Self {
        let buffers = shapes(&self).into_iter().filter(|(name, _)| format!(".{name}").contains(".kernel."));
        let drawn = buffers.filter_map(|(name, shape)| {
            let values = draw(shape.as_slice().try_into().ok()?, rng);
            Some((name, Array { shape, values }))
        });
        let drawn = drawn.collect();
        load_partial(self, drawn).0
    }

    /// Predictions at the positions that follow those in `kept`, which holds these too afterwards: up to rounding what
    /// [`Model::forward`] predicts there, at the cost of the new positions. Only for models that
    /// [read on](ModelConfig::reads_on), and no further than their table of positions, if they have one.
    ///
    /// # Shapes
    /// as [`Model::forward`]
    pub fn read_on(&self, input: Input, kept: &mut Kept) -> Tensor<3> {
        let output = self.network().run(input, &mut Recorder::keeping(kept));
        kept.add(output.dims()[1]);
        output
    }

    /// [`Model::forward`] at the last `asked` positions alone, for less where the prediction is read row by row.
    ///
    /// # Shapes
    /// as [`Model::forward`], but `[batch, asked, d_out]`
    ///
    /// # Panics
    /// as [`Model::forward`]
    pub fn forward_last(&self, input: Input, asked: usize) -> Tensor<3> {
        last_rows(self.network().run(input, &mut Recorder::asking(asked)), asked)
    }

    /// [`Model::forward_last`] at some rows of it alone, counted over all sequences: where few are asked for, a wide head costs little.
    ///
    /// # Shapes
    /// rows `[k]` -> `[1, k, d_out]`
    ///
    /// # Panics
    /// as [`Model::forward`]; or if there is no such row.
    pub fn forward_picked(&self, input: Input, asked: usize, rows: Tensor<1, Int>) -> Tensor<3> {
        let output = self.network().run(input, &mut Recorder::picking(asked, rows.clone()));
        let [batch, n, _] = output.dims();
        // A network that reads its prediction otherwise gives all rows.
        if [batch, n] == [1, rows.dims()[0]] { output } else { picked_rows(last_rows(output, asked), rows) }
    }

    /// [`Model::forward`] together with hidden states and patterns of all layers.
    pub fn forward_traced(&self, input: Input) -> Trace {
        self.network().forward_traced(input)
    }

    /// [`Model::forward_traced`] for the sequence's own rows: rows of a learned prompt are left out of states and
    /// queries, but stay as keys.
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

    /// [`Model::forward`] with the outputs of some heads replaced by constants; replacements for heads that the model
    /// does not have are ignored.
    ///
    /// # Shapes
    /// as [`Model::forward`]
    ///
    /// # Panics
    /// If a constant does not have the width of its head's values.
    pub fn forward_replacing(&self, input: Input, replacements: &[Replacement]) -> Tensor<3> {
        self.network().run(input, &mut Recorder::replacing(replacements))
    }

    /// The last part of [`Model::forward`], applied to a hidden state after the last layer: final norm and head,
    /// channels, or the stack's readout. A state after an earlier layer is read in the same way.
    ///
    /// # Shapes
    /// state after the last layer `[batch, rows, width]` -> as [`Model::forward`]
    ///
    /// # Panics
    /// If the state does not have the shape of that after the last layer.
    pub fn read_out(&self, hidden: Tensor<3>) -> Tensor<3> {
        self.network().read_out(hidden)
    }

    /// Whether [`Model::read_out`] computes the prediction at a position from that position's row alone.
    pub fn reads_row_by_row(&self) -> bool {
        self.network().reads_row_by_row()
    }
}
