//! One block of a transformer.

use burn::{module::Module, tensor::Tensor};

use super::{Norm, TransformerConfig};
use crate::{
    attention::{MultiHeadAttention, view::Layout},
    ffn::{Ffn, StateMixer},
    init::Initializer,
    norm::LayerNorm,
    trace::Recorder,
};

/// Attention, then optionally a feed-forward network, each with its norm and residual connection:
///
/// h ← h + attention(norm(h)), then h ← h + ffn(norm(h)) if there is a feed-forward network. Without norm or residual
/// connection that part is left out.
///
/// # References
/// Pre-norm order: Xiong et al. 2020, arXiv 2002.04745.
#[derive(Module, Debug)]
pub struct Block {
    /// Norm before attention.
    pub attention_norm: Option<LayerNorm>,
    /// Self-attention.
    pub attention: MultiHeadAttention,
    /// Norm before the feed-forward network.
    pub ffn_norm: Option<LayerNorm>,
    /// Feed-forward network; `None` in an attention-only block.
    pub ffn: Option<Ffn>,
    #[module(skip)]
    residual: bool,
}

impl Block {
    pub(super) fn new(config: &TransformerConfig, init: &mut Initializer<'_>) -> Self {
        let norm = |init: &mut Initializer<'_>| (config.norm == Norm::Pre).then(|| init.layer_norm(config.d_model));
        let ffn = match config.state_mixer {
            StateMixer::None => None,
            StateMixer::Ffn { d_ffn, activation } => Some((d_ffn, activation)),
        };
        Self {
            attention_norm: norm(init),
            attention: config.attention().init(init),
            ffn_norm: ffn.and_then(|_| norm(init)),
            ffn: ffn.map(|(d_ffn, activation)| Ffn::new(config.d_model, d_ffn, activation, init)),
            residual: config.residual,
        }
    }

    /// # Shapes
    /// `[batch, seq_len, d_model]` -> `[batch, seq_len, d_model]`
    pub(super) fn run(&self, x: Tensor<3>, layout: Layout<'_>, recorder: &mut Recorder<'_>) -> Tensor<3> {
        let normed = normalise(self.attention_norm.as_ref(), x.clone());
        let x = if self.residual {
            self.attention.run_on_itself_onto(x, normed, layout, recorder)
        } else {
            self.attention.run_on_itself(normed, layout, recorder)
        };
        let x = match &self.ffn {
            Some(ffn) => {
                let normed = normalise(self.ffn_norm.as_ref(), x.clone());
                if self.residual { ffn.forward_onto(x, normed) } else { ffn.forward(normed) }
            }
            None => x,
        };
        recorder.layer(&x);
        x
    }
}

fn normalise(norm: Option<&LayerNorm>, x: Tensor<3>) -> Tensor<3> {
    match norm {
        Some(norm) => norm.forward(x),
        None => x,
    }
}
