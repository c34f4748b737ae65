//! The general stack: embed, positions, blocks, head.

use burn::{module::Module, tensor::Tensor};
use serde::{Deserialize, Serialize};

use crate::{
    adapter::Prompt,
    attention::{
        kernel::KernelKind,
        position::{Position, PositionKind},
    },
    block::Block,
    config::IoDims,
    embed::{Embed, Input},
    ffn::StateMixer,
    init::Initializer,
    linear::Linear,
    mask::Mask,
    norm::LayerNorm,
    trace::{Recorder, Trace},
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
    /// Heads per block; divides `d_model`. Default 4.
    pub n_heads: usize,
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
            causal: true,
            norm: Norm::Pre,
            residual: true,
            position: PositionKind::default(),
            kernel: KernelKind::default(),
            state_mixer: StateMixer::None,
        }
    }
}

/// h = embed(x) + position; h = `block_l`(h) for each layer; output = head(norm(h)).
#[derive(Module, Debug)]
pub struct Transformer {
    /// Input projection or token embedding.
    pub embed: Embed,
    /// Position table.
    pub position: Position,
    /// Learned rows in front of the sequence.
    pub prompt: Option<Prompt>,
    /// Blocks, first to last.
    pub blocks: Vec<Block>,
    /// Norm before the head.
    pub final_norm: Option<LayerNorm>,
    /// `d_model` -> `d_out`
    pub head: Linear,
    #[module(skip)]
    causal: bool,
}

impl TransformerConfig {
    pub(crate) fn init(&self, dims: &IoDims, init: &mut Initializer<'_>) -> Transformer {
        Transformer {
            embed: Embed::new(&dims.input, self.d_model, init),
            position: Position::new(self.position, dims.seq_len, self.d_model, init),
            prompt: None,
            blocks: (0..self.n_layers).map(|_| Block::new(self, init)).collect(),
            final_norm: (self.norm == Norm::Pre).then(|| init.layer_norm(self.d_model)),
            head: init.linear(self.d_model, dims.d_out),
            causal: self.causal,
        }
    }
}

impl Transformer {
    /// # Shapes
    /// continuous `[batch, seq_len, d_in]` or tokens `[batch, seq_len]` -> `[batch, seq_len, d_out]`
    pub fn forward(&self, input: Input) -> Tensor<3> {
        self.run(input, &mut Recorder::default())
    }

    /// The same output together with hidden states and patterns.
    pub fn forward_traced(&self, input: Input) -> Trace {
        let mut recorder = Recorder::on();
        let output = self.run(input, &mut recorder);
        recorder.finish(output)
    }

    pub(crate) fn run(&self, input: Input, recorder: &mut Recorder) -> Tensor<3> {
        let x = self.position.forward(self.embed.forward(input)); // [batch, seq_len, d_model]
        let seq_len = x.dims()[1];
        let x = match &self.prompt {
            Some(prompt) => prompt.before(x), // [batch, length + seq_len, d_model]
            None => x,
        };
        recorder.embedded(&x);
        let mask = if self.causal { Mask::Causal } else { Mask::Full };
        let x = self.blocks.iter().fold(x, |x, block| block.run(x, &mask, recorder));
        let learned = x.dims()[1] - seq_len;
        self.read_out(if learned == 0 { x } else { x.narrow(1, learned, seq_len) })
    }

    /// From the hidden state behind a block to the prediction: head(norm(h)).
    ///
    /// # Shapes
    /// `[batch, seq_len, d_model]` -> `[batch, seq_len, d_out]`
    pub(crate) fn read_out(&self, x: Tensor<3>) -> Tensor<3> {
        let x = match &self.final_norm {
            Some(norm) => norm.forward(x),
            None => x,
        };
        self.head.forward(x)
    }
}
