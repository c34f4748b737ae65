//! The two-layer model as plain matrices.

use headway_plain::{
    function::{Exit, Function},
    network::{InputMap, Linear, Matrix, Network},
};

use super::PaperTwoLayerConfig;
use crate::{
    config::IoDims,
    plain::{NoPlainForm, Parameters, is_softmax},
};

impl PaperTwoLayerConfig {
    /// The map between the layers becomes part of the second layer's heads.
    pub(super) fn plain_network(&self, parameters: &Parameters) -> Result<Network, NoPlainForm> {
        is_softmax(&self.kernel)?;
        let first = parameters.attention("attention_1", self.n_heads)?;
        let mut second = parameters.attention("attention_2", self.n_heads)?;
        let between = parameters.affine("affine")?;
        for head in &mut second.heads {
            for map in [&mut head.query, &mut head.key, &mut head.value] {
                *map = between.then(map);
            }
        }
        Ok(Network { layers: vec![first, second], causal: false })
    }

    /// The map between the layers stays a map of its own, so that every number is one of the file's.
    pub(super) fn whole(&self, parameters: &Parameters, dims: &IoDims) -> Result<Function, NoPlainForm> {
        is_softmax(&self.kernel)?;
        let first = parameters.attention("attention_1", self.n_heads)?;
        let mut second = parameters.attention("attention_2", self.n_heads)?;
        let (enter, between) = (parameters.input_map("input_map")?, parameters.affine("affine")?);
        let rows = enter.constant.nrows();
        let constant = Matrix::from_fn(rows, between.bias.len(), |_, column| between.bias[column]);
        let linear = Linear::TokenWise(between.weight);
        second.map = Some(InputMap { linear, constant, queries: rows, keys: rows });
        Ok(Function {
            seq_len: dims.seq_len,
            d_in: dims.vector_width(),
            d_out: dims.d_out,
            enter: Some(enter),
            network: Network { layers: vec![first, second], causal: false },
            exit: Exit::Rows { norm: None, pooled: false, map: parameters.affine("head")? },
        })
    }
}
