//! A transformer as plain matrices.

use headway_plain::{
    function::{Exit, Function},
    network::{Activation, Affine, FeedForward, InputMap, Layer, LayerNorm, Linear, Matrix, Network},
};

use super::{Norm, TransformerConfig};
use crate::{
    attention::value_residual::ValueResidual,
    config::{InputDims, IoDims},
    ffn::{Activation as OwnActivation, StateMixer},
    plain::{NoPlainForm, Parameters, is_bare, is_before_the_layers, is_softmax},
    pool::PoolKind,
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

    pub(super) fn whole(&self, parameters: &Parameters, dims: &IoDims) -> Result<Function, NoPlainForm> {
        let network = self.plain_network(parameters)?;
        if self.aware().is_some() {
            return Err(NoPlainForm::Other(
                "blocks alone; this network has another layer behind them (attention_aware)",
            ));
        }
        let pooled = match self.pool {
            PoolKind::None => false,
            PoolKind::Mean => true,
            PoolKind::Tensor(_) => {
                return Err(NoPlainForm::Other(
                    "heads that read rows or their mean; this network's reads products (pool)",
                ));
            }
        };
        let (d_in, embed) = match dims.input {
            InputDims::Continuous { d_in } => (d_in, parameters.affine("embed")?),
            // A token is a vector with a single 1.
            InputDims::Tokens { vocab } => (vocab, Affine::linear(parameters.weight("embed")?.transpose())),
        };
        let rows = dims.seq_len;
        // A table that is not learned is no parameter.
        let table = match self.position.spec().fixed_table(rows, self.d_model) {
            Some(table) => table,
            None => parameters.array("position.weight").map_or_else(|_| Vec::new(), |array| array.values.clone()),
        };
        let position =
            |row: usize, column: usize| table.get(row * self.d_model + column).copied().map_or(0.0, f64::from);
        let constant = Matrix::from_fn(rows, self.d_model, |row, column| embed.bias[column] + position(row, column));
        let linear = Linear::TokenWise(embed.weight);
        Ok(Function {
            seq_len: rows,
            d_in,
            d_out: dims.d_out,
            enter: Some(InputMap { linear, constant, queries: rows, keys: rows }),
            network,
            exit: Exit::Rows {
                norm: self.plain_norm(parameters, "final_norm")?,
                pooled,
                map: if self.tie_embedding {
                    Affine::linear(parameters.weight("embed")?)
                } else {
                    parameters.affine("head")?
                },
            },
        })
    }

    /// The norm of this name before a part, if there are norms.
    fn plain_norm(&self, parameters: &Parameters, name: &str) -> Result<Option<LayerNorm>, NoPlainForm> {
        self.norm_before().map(|kind| parameters.norm(name, kind, self.rms_epsilon())).transpose()
    }

    fn has_plain_blocks(&self) -> Result<(), NoPlainForm> {
        let is_gated = matches!(self.state_mixer, StateMixer::Ffn { activation, .. } if activation.is_gated());
        let others = [
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
        let norm = |part: &str| self.plain_norm(parameters, &format!("{name}.{part}"));
        let feed_forward = match self.state_mixer {
            StateMixer::None => None,
            StateMixer::Ffn { activation, .. } => Some(FeedForward {
                norm: norm("ffn_norm")?,
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
            norm: norm("attention_norm")?,
            feed_forward,
            skip: self.residual,
            ..parameters.attention(&format!("{name}.attention"), self.n_heads)?
        })
    }
}
