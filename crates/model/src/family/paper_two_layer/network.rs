//! The network of the two-layer model.

use burn::{module::Module, tensor::Tensor};

use super::PaperTwoLayerConfig;
use crate::{
    attention::trace::Recorder,
    attention::{AttentionConfig, MultiHeadAttention, place::AttentionPlace},
    config::IoDims,
    embed::Input,
    family::Network,
    init::Initializer,
    input_map::InputMap,
    linear::Linear,
    mask::Mask,
};

/// Input map, attention, affine map, attention, of which the first n rows are kept, and a linear readout.
#[derive(Module, Debug)]
pub struct PaperTwoLayer {
    /// The map A.
    pub input_map: InputMap,
    /// First attention layer.
    pub attention_1: MultiHeadAttention,
    /// Affine map between the layers.
    pub affine: Linear,
    /// Second attention layer.
    pub attention_2: MultiHeadAttention,
    /// `d_model` -> `d_out`
    pub head: Linear,
}

impl PaperTwoLayer {
    pub(super) fn new(config: &PaperTwoLayerConfig, dims: &IoDims, init: &mut Initializer<'_>) -> Self {
        let PaperTwoLayerConfig { d_model, n_heads, n_anchors, ref kernel } = *config;
        let attention = AttentionConfig::shared_width(d_model, n_heads, kernel);
        Self {
            input_map: InputMap::new(dims, d_model, n_anchors, init),
            attention_1: attention.init(init),
            affine: init.linear(d_model, d_model),
            attention_2: attention.init(init),
            head: init.linear(d_model, dims.d_out),
        }
    }
}

impl Network for PaperTwoLayer {
    fn run(&self, input: Input, recorder: &mut Recorder<'_>) -> Tensor<3> {
        let x = input.vectors();
        let z = self.input_map.forward(x); // [batch, seq_len + n_anchors, d_model]
        recorder.embedded(&z);
        let z = self.attention_1.run_on_itself(z, (&Mask::Full).into(), recorder);
        recorder.layer(&z);
        let z = self.affine.forward(z);
        let z = self.attention_2.run_on_itself(z, (&Mask::Full).into(), recorder);
        recorder.layer(&z);
        self.read_out(z)
    }

    /// `[batch, rows, d_model]` -> `[batch, seq_len, d_out]`
    fn read_out(&self, z: Tensor<3>) -> Tensor<3> {
        self.head.forward(z.narrow(1, 0, self.input_map.seq_len()))
    }

    fn attentions(&mut self) -> Vec<AttentionPlace<'_>> {
        vec![self.attention_1.place(), self.attention_2.place()]
    }
}
