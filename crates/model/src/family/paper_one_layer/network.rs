//! The network of the one-layer model.

use burn::{
    module::Module,
    tensor::{Tensor, activation},
};

use super::{PaperOneLayerConfig, Readout};
use crate::{
    attention::trace::Recorder,
    attention::{AttentionConfig, MultiHeadAttention, place::AttentionPlace},
    config::IoDims,
    embed::Input,
    family::Network,
    init::Initializer,
    input_map::InputMap,
    mask::Mask,
};

/// Input map, one softmax attention over all p rows, of which the first n rows are kept.
#[derive(Module, Debug)]
pub struct PaperOneLayer {
    /// The map A.
    pub input_map: InputMap,
    /// The attention layer.
    pub attention: MultiHeadAttention,
    #[module(skip)]
    readout: Readout,
}

impl PaperOneLayer {
    pub(super) fn new(config: &PaperOneLayerConfig, dims: &IoDims, init: &mut Initializer<'_>) -> Self {
        let PaperOneLayerConfig { d_model, n_heads, n_anchors, ref kernel, readout } = *config;
        Self {
            input_map: InputMap::new(dims, d_model, n_anchors, init),
            attention: AttentionConfig::shared_width(d_model, n_heads, kernel).init(init),
            readout,
        }
    }
}

impl Network for PaperOneLayer {
    fn run(&self, input: Input, recorder: &mut Recorder<'_>) -> Tensor<3> {
        let x = input.vectors();
        let z = self.input_map.forward(x); // [batch, seq_len + n_anchors, d_model]
        recorder.embedded(&z);
        let z = self.attention.run_on_itself(z, (&Mask::Full).into(), recorder);
        recorder.layer(&z);
        self.read_out(z)
    }

    /// `[batch, rows, d_model]` -> as [`Self::forward`]
    fn read_out(&self, z: Tensor<3>) -> Tensor<3> {
        let y = z.narrow(1, 0, self.input_map.seq_len()); // [batch, seq_len, d_model]
        match self.readout {
            Readout::Channels => y,
            Readout::Softmax => (activation::softmax(y.clone(), 2) * y).sum_dim(2), // [batch, seq_len, 1]
        }
    }

    fn attentions(&mut self) -> Vec<AttentionPlace<'_>> {
        vec![self.attention.place()]
    }
}
