//! The network of a transformer.

use burn::{module::Module, tensor::Tensor};

use super::{Block, Norm, TransformerConfig};
use crate::{
    attention::{place::AttentionPlace, position::Position, view::Layout},
    config::IoDims,
    embed::{Embed, Input},
    family::{Network, Prompt, PromptPlace},
    init::Initializer,
    linear::Linear,
    mask::Mask,
    norm::LayerNorm,
    trace::Recorder,
};

/// h = embed(x) + position; h = `block_l`(h) for each layer; output = head(norm(h)).
#[derive(Module, Debug)]
pub struct Transformer {
    /// Input projection or token embedding.
    pub embed: Embed,
    /// Position scheme.
    pub position: Position,
    /// Learned rows before the sequence, if any.
    pub prompt: Option<Prompt>,
    /// Blocks, first to last.
    pub blocks: Vec<Block>,
    /// Norm before the head, if there is one.
    pub final_norm: Option<LayerNorm>,
    /// `d_model` -> `d_out`
    pub head: Linear,
    #[module(skip)]
    causal: bool,
}

impl Transformer {
    pub(super) fn new(config: &TransformerConfig, dims: &IoDims, init: &mut Initializer<'_>) -> Self {
        let d_model = config.d_model;
        Self {
            embed: Embed::new(&dims.input, d_model, init),
            position: config.position.spec().build(&config.position_sizes(dims), init),
            prompt: None,
            blocks: (0..config.n_layers).map(|_| Block::new(config, init)).collect(),
            final_norm: (config.norm == Norm::Pre).then(|| init.layer_norm(d_model)),
            head: init.linear(d_model, dims.d_out),
            causal: config.causal,
        }
    }
}

impl Network for Transformer {
    fn run(&self, input: Input, recorder: &mut Recorder<'_>) -> Tensor<3> {
        let x = self.position.forward(self.embed.forward(input)); // [batch, seq_len, d_model]
        let seq_len = x.dims()[1];
        let x = match &self.prompt {
            Some(prompt) => prompt.before(x), // [batch, length + seq_len, d_model]
            None => x,
        };
        recorder.embedded(&x);
        let mask = if self.causal { Mask::Causal } else { Mask::Full };
        let learned = x.dims()[1] - seq_len;
        let layout = Layout { mask: &mask, position: Some(&self.position), in_front: learned };
        let x = self.blocks.iter().fold(x, |x, block| block.run(x, layout, recorder));
        self.read_out(if learned == 0 { x } else { x.narrow(1, learned, seq_len) })
    }

    /// `[batch, seq_len, d_model]` -> `[batch, seq_len, d_out]`
    fn read_out(&self, x: Tensor<3>) -> Tensor<3> {
        let x = match &self.final_norm {
            Some(norm) => norm.forward(x),
            None => x,
        };
        self.head.forward(x)
    }

    fn attentions(&mut self) -> Vec<AttentionPlace<'_>> {
        self.blocks.iter_mut().map(|block| block.attention.place()).collect()
    }

    fn prompt(&self) -> Option<&Prompt> {
        self.prompt.as_ref()
    }

    fn prompt_place(&mut self) -> Option<PromptPlace<'_>> {
        Some(PromptPlace { d_model: self.head.weight.lazy_shape()[0], prompt: &mut self.prompt })
    }
}
