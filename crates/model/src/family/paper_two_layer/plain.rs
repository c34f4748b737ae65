//! The two-layer model as plain matrices.

use headway_plain::network::Network;

use super::PaperTwoLayerConfig;
use crate::plain::{NoPlainForm, Parameters, is_softmax};

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
}
