//! A transformer as plain matrices.

use headway_plain::network::{Activation, FeedForward, Layer, Network};

use super::{Norm, TransformerConfig};
use crate::{
    attention::value_residual::ValueResidual,
    ffn::{Activation as OwnActivation, StateMixer},
    norm::NormKind,
    plain::{NoPlainForm, Parameters, is_bare, is_before_the_layers, is_softmax},
};

impl TransformerConfig {
    pub(super) fn plain_network(&self, parameters: &Parameters) -> Result<Network, NoPlainForm> {
        is_softmax(&self.kernel)?;
        is_before_the_layers(&self.position)?;
        is_bare(self.qk_norm, self.gate, self.token_weight)?;
        self.has_plain_blocks()?;
        let layers = (0..self.n_layers).map(|index| self.plain_block(parameters, &format!("blocks.{index}")));
        Ok(Network { layers: layers.collect::<Result<_, _>>()?, causal: self.causal })
    }

    fn has_plain_blocks(&self) -> Result<(), NoPlainForm> {
        let is_gated = matches!(self.state_mixer, StateMixer::Ffn { activation, .. } if activation.is_gated());
        let others = [
            (self.norm_kind != NormKind::Layer, "blocks with layer norms; this network has others (norm_kind)"),
            (self.norm == Norm::Sandwich, "blocks with one norm before each part; this network has a second (norm)"),
            (self.residual_gate, "blocks that add what they compute; this network gates it (residual_gate)"),
            (self.head_temperature, "heads of one temperature; in this network it is learned (head_temperature)"),
            (
                self.value_residual != ValueResidual::None,
                "layers that know their input alone; this network's mix in values of the first (value_residual)",
            ),
            (is_gated, "feed-forward networks of two maps; this network's have three (swiglu)"),
        ];
        match others.into_iter().find(|(is_other, _)| *is_other) {
            Some((_, reason)) => Err(NoPlainForm::Other(reason)),
            None => Ok(()),
        }
    }

    fn plain_block(&self, parameters: &Parameters, name: &str) -> Result<Layer, NoPlainForm> {
        let layer_norm = |part: &str| match self.norm {
            Norm::Pre | Norm::Sandwich => parameters.layer_norm(&format!("{name}.{part}")).map(Some),
            Norm::None => Ok(None),
        };
        let feed_forward = match self.state_mixer {
            StateMixer::None => None,
            StateMixer::Ffn { activation, .. } => Some(FeedForward {
                norm: layer_norm("ffn_norm")?,
                expand: parameters.affine(&format!("{name}.ffn.expand"))?,
                contract: parameters.affine(&format!("{name}.ffn.contract"))?,
                activation: match activation {
                    OwnActivation::GeluErf => Activation::GeluErf,
                    OwnActivation::GeluTanh => Activation::GeluTanh,
                    OwnActivation::Relu => Activation::Relu,
                    OwnActivation::Swiglu => return Err(NoPlainForm::Other("feed-forward networks of two maps")),
                },
            }),
        };
        Ok(Layer {
            norm: layer_norm("attention_norm")?,
            feed_forward,
            skip: self.residual,
            ..parameters.attention(&format!("{name}.attention"), self.n_heads)?
        })
    }
}
