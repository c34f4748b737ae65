//! A transformer as plain matrices.

use headway_plain::network::{Activation, FeedForward, Layer, Network};

use super::{Norm, TransformerConfig};
use crate::{
    ffn::{Activation as OwnActivation, StateMixer},
    plain::{NoPlainForm, Parameters, is_bare, is_before_the_layers, is_softmax},
};

impl TransformerConfig {
    pub(super) fn plain_network(&self, parameters: &Parameters) -> Result<Network, NoPlainForm> {
        is_softmax(&self.kernel)?;
        is_before_the_layers(&self.position)?;
        is_bare(self.qk_norm, self.gate, self.token_weight)?;
        let layers = (0..self.n_layers).map(|index| self.plain_block(parameters, &format!("blocks.{index}")));
        Ok(Network { layers: layers.collect::<Result<_, _>>()?, causal: self.causal })
    }

    fn plain_block(&self, parameters: &Parameters, name: &str) -> Result<Layer, NoPlainForm> {
        let layer_norm = |part: &str| match self.norm {
            Norm::Pre => parameters.layer_norm(&format!("{name}.{part}")).map(Some),
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
