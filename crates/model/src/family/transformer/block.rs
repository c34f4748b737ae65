//! One block of a transformer.

use burn::{
    module::{Module, Param},
    tensor::{Tensor, activation},
};

use super::TransformerConfig;
use crate::{
    attention::trace::Recorder,
    attention::{MultiHeadAttention, view::Layout},
    ffn::{Ffn, StateMixer},
    init::Initializer,
    norm::{StateNorm, normalise},
};

/// Attention, then optionally a feed-forward network, each with its norms and residual connection:
///
/// h ← h + σ(s) after(attention(norm(h))), then h ← h + after(ffn(norm(h))) if there is a feed-forward network. Without norms, gate or
/// residual connection that part is left out.
///
/// # References
/// Pre-norm order: Xiong et al. 2020, arXiv 2002.04745. A second norm behind: Ding et al. 2021, arXiv 2105.13290. The gate: arXiv
/// 2607.18363.
#[derive(Module, Debug)]
pub struct Block {
    /// Norm before attention.
    pub attention_norm: Option<StateNorm>,
    /// Self-attention.
    pub attention: MultiHeadAttention,
    /// Norm after attention.
    pub attention_after_norm: Option<StateNorm>,
    /// s, whose sigmoid multiplies what attention adds; initially zero. `[1]`
    pub residual_gate: Option<Param<Tensor<1>>>,
    /// Norm before the feed-forward network.
    pub ffn_norm: Option<StateNorm>,
    /// Feed-forward network; `None` in an attention-only block.
    pub ffn: Option<Ffn>,
    /// Norm after the feed-forward network.
    pub ffn_after_norm: Option<StateNorm>,
    #[module(skip)]
    residual: bool,
}

impl Block {
    pub(super) fn new(config: &TransformerConfig, layer: usize, init: &mut Initializer<'_>) -> Self {
        let (d_model, epsilon) = (config.d_model, config.rms_epsilon());
        let before = |init: &mut Initializer<'_>| Some(config.norm_before()?.init(d_model, epsilon, init));
        let after = |init: &mut Initializer<'_>| Some(config.norm_after()?.init(d_model, epsilon, init));
        let ffn = match config.state_mixer {
            StateMixer::None => None,
            StateMixer::Ffn { d_ffn, activation } => Some((d_ffn, activation)),
        };
        let attention = if layer == 0 { config.first_attention() } else { config.attention() };
        Self {
            attention_norm: before(init),
            attention: attention.init(init),
            attention_after_norm: after(init),
            residual_gate: config.residual_gate.then(|| init.param([1], |_| vec![0.0])),
            ffn_norm: ffn.and_then(|_| before(init)),
            ffn: ffn.map(|(d_ffn, activation)| Ffn::new(d_model, d_ffn, activation, init)),
            ffn_after_norm: ffn.and_then(|_| after(init)),
            residual: config.residual,
        }
    }

    /// # Shapes
    /// `[batch, seq_len, d_model]` -> `[batch, seq_len, d_model]`
    pub(super) fn run(&self, x: Tensor<3>, layout: Layout<'_>, recorder: &mut Recorder<'_>) -> Tensor<3> {
        let normed = normalise(self.attention_norm.as_ref(), x.clone());
        let is_bare = self.attention_after_norm.is_none() && self.residual_gate.is_none();
        let x = if self.residual && is_bare {
            self.attention.run_on_itself_onto(x, normed, layout, recorder)
        } else {
            let update = self.attention.run_on_itself(normed, layout, recorder);
            let update = normalise(self.attention_after_norm.as_ref(), update);
            let update = match &self.residual_gate {
                Some(gate) => update * activation::sigmoid(gate.val()).reshape([1, 1, 1]),
                None => update,
            };
            if self.residual { x + update } else { update }
        };
        let x = match &self.ffn {
            Some(ffn) => {
                let normed = normalise(self.ffn_norm.as_ref(), x.clone());
                match (self.residual, &self.ffn_after_norm) {
                    (true, None) => ffn.forward_onto(x, normed),
                    (true, after) => x + normalise(after.as_ref(), ffn.forward(normed)),
                    (false, after) => normalise(after.as_ref(), ffn.forward(normed)),
                }
            }
            None => x,
        };
        recorder.layer(&x);
        x
    }
}
